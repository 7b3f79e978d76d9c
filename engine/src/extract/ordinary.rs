//! The straight path for most frames: Ethernet, IPv4 without options or fragments or IPv6 without extension headers, TCP or UDP, nothing cut.
//! Whatever is not so, it leaves to [`super::extract`], whose answer for these is the same.

use crate::wire::{Ethernet, Ipv4, Ipv6, Ports, Tcp, ethertype};
use kpclass_compiler::program::lookup::Tuple;
use kpclass_ruleset::value::protocol;

const UDP_LEN: usize = 8;

/// The addresses and ports of an ordinary IPv4 frame; `None`: it is none.
#[inline(always)]
pub fn v4(captured: &[u8]) -> Option<Tuple<u32>> {
    const LEAST: usize = Ethernet::LEN + Ipv4::LEN + Tcp::LEN;
    let frame: &[u8; LEAST] = captured.first_chunk()?;
    let ip = Ipv4::read(&frame[Ethernet::LEN..])?;
    let ports = Ports::read(&frame[Ethernet::LEN + Ipv4::LEN..])?;
    let total_len = usize::from(ip.total_len());
    let number = ip.protocol();
    // One condition, not six: what each of them would mispredict is paid for once.
    let is_plain = (Ethernet::read(frame)?.ethertype() == ethertype::IPV4)
        & (ip.version() == 4)
        & (ip.header_len() == Ipv4::LEN)
        & !ip.is_later_fragment()
        & has_room(number, total_len.wrapping_sub(Ipv4::LEN))
        & (total_len <= captured.len() - Ethernet::LEN);
    is_plain.then(|| tuple(ip.source(), ip.destination(), ports, number))
}

/// The same of IPv6.
#[inline(always)]
pub fn v6(captured: &[u8]) -> Option<Tuple<u128>> {
    const LEAST: usize = Ethernet::LEN + Ipv6::LEN + UDP_LEN;
    let frame: &[u8; LEAST] = captured.first_chunk()?;
    let ip = Ipv6::read(&frame[Ethernet::LEN..])?;
    let ports = Ports::read(&frame[Ethernet::LEN + Ipv6::LEN..])?;
    let payload_len = usize::from(ip.payload_len());
    let number = ip.next_header();
    let is_plain = (Ethernet::read(frame)?.ethertype() == ethertype::IPV6)
        & (ip.version() == 6)
        & has_room(number, payload_len)
        & (payload_len <= captured.len() - Ethernet::LEN - Ipv6::LEN);
    is_plain.then(|| tuple(ip.source(), ip.destination(), ports, number))
}

#[inline(always)]
fn tuple<A>(source: A, destination: A, ports: Ports<'_>, protocol: u8) -> Tuple<A> {
    Tuple {
        source,
        destination,
        source_port: ports.source(),
        destination_port: ports.destination(),
        protocol,
    }
}

/// Whether it is TCP or UDP, and its header fits.
#[inline(always)]
fn has_room(number: u8, payload_len: usize) -> bool {
    let tcp = (number == protocol::TCP) & (payload_len >= Tcp::LEN);
    let udp = (number == protocol::UDP) & (payload_len >= UDP_LEN);
    // (A length below that of its own header wraps around.)
    (tcp | udp) & (payload_len <= usize::from(u16::MAX))
}
