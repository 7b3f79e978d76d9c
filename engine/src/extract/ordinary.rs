//! The straight path for most frames: Ethernet, IPv4 without options or fragments or IPv6 without extension headers, TCP or UDP, nothing cut.
//! Whatever is not so, it leaves to [`super::extract`], whose answer for these is the same.
//!
//! Whole words are read where fields lie side by side, as little-endian numbers whatever the machine, so that one comparison
//! asks of several fields. Offsets are those of `wire`, behind an Ethernet header.

use crate::wire::{Ethernet, Ipv4, Ipv6, Tcp, ethertype};
use kpclass_compiler::program::lookup::{Address, Port, Tuple, v4_key};
use kpclass_ruleset::value::protocol;

const UDP_LEN: usize = 8;

/// EtherType, then the version and 5 words of header, in the half from the EtherType on.
const PLAIN_IPV4: u32 = 0x45 << 16 | ethertype::IPV4.swap_bytes() as u32;

/// EtherType, then the version.
const IPV6: u32 = 0x60 << 16 | ethertype::IPV6.swap_bytes() as u32;

/// A frame's bytes from `at` on, where they are, loaded as one.
#[inline(always)]
fn bytes<const M: usize, const N: usize>(frame: &[u8; N], at: usize) -> [u8; M] {
    frame[at..].first_chunk().copied().unwrap_or([0; M])
}

/// The little-endian word of a frame's bytes from `at` on.
#[inline(always)]
fn word<const N: usize>(frame: &[u8; N], at: usize) -> u64 {
    u64::from_le_bytes(bytes(frame, at))
}

#[inline(always)]
fn half<const N: usize>(frame: &[u8; N], at: usize) -> u32 {
    u32::from_le_bytes(bytes(frame, at))
}

#[inline(always)]
fn port<const N: usize>(frame: &[u8; N], at: usize) -> Port {
    Port::of_bytes(bytes(frame, at))
}

/// Protocol and the bits of the fragment field that make a later fragment, in the word from the fragment field on.
const PROTOCOL_AND_OFFSET: u32 = 0xff00_ff1f;

/// That word of a packet that is no later fragment.
const fn whole(protocol: u8) -> u32 {
    (protocol as u32) << 24
}

/// The addresses and ports of an ordinary IPv4 frame; `None`: it is none.
#[inline(always)]
pub fn v4(captured: &[u8]) -> Option<Tuple<u32>> {
    const LEAST: usize = Ethernet::LEN + Ipv4::LEN + Tcp::LEN;
    let frame: &[u8; LEAST] = captured.first_chunk()?;
    // EtherType, version and header length, type of service.
    let first = half(frame, 12);
    let total_len = usize::from(u16::from_be_bytes(bytes(frame, 16)));
    let kind = half(frame, 20) & PROTOCOL_AND_OFFSET;
    let (tcp, udp) = (kind == whole(protocol::TCP), kind == whole(protocol::UDP));
    let least = Ipv4::LEN + UDP_LEN + usize::from(tcp) * (Tcp::LEN - UDP_LEN);
    let most = captured.len() - Ethernet::LEN;
    // One condition, not six: what each of them would mispredict is paid for once.
    let is_plain = (first & 0xff_ffff == PLAIN_IPV4)
        & (tcp | udp)
        & (total_len.wrapping_sub(least) <= most - least);
    is_plain.then(|| Tuple {
        key: v4_key(word(frame, 30), (kind >> 24) as u8),
        source: half(frame, 26),
        source_port: port(frame, 34),
    })
}

/// The same of IPv6.
#[inline(always)]
pub fn v6(captured: &[u8]) -> Option<Tuple<u128>> {
    const LEAST: usize = Ethernet::LEN + Ipv6::LEN + UDP_LEN;
    let frame: &[u8; LEAST] = captured.first_chunk()?;
    let address = |at| u128::from(word(frame, at + 8)) << 64 | u128::from(word(frame, at));
    // EtherType and version.
    let first = half(frame, 12) & 0x00f0_ffff;
    let payload_len = usize::from(u16::from_be_bytes(bytes(frame, 18)));
    let number = frame[20];
    let (tcp, udp) = (number == protocol::TCP, number == protocol::UDP);
    let least = if tcp { Tcp::LEN } else { UDP_LEN };
    let is_plain = (first == IPV6)
        & (tcp | udp)
        & (payload_len >= least)
        & (payload_len <= captured.len() - Ethernet::LEN - Ipv6::LEN);
    is_plain.then(|| Tuple {
        key: address(38).key(number, port(frame, 56)),
        source: address(22),
        source_port: port(frame, 54),
    })
}
