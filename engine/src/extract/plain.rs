//! Most frames in one go, as conntrack reads them: Ethernet or Linux cooked v2, IPv4 without options or fragments, TCP or UDP, nothing cut, no length
//! that does not fit. Whatever is not so is left to [`super::of_connection`], whose answer for these is the same.

use super::has_ethertype;
use super::{OfConnection, connection};
use crate::link::LinkType;
use crate::wire::{Ethernet, Ipv4, Sll2, Tcp, ethertype};
use kpclass_compiler::header::{Header, known};
use kpclass_ruleset::value::protocol;

const UDP_LEN: usize = 8;

/// What is read of such a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain {
    /// Source address.
    pub source: u32,
    /// Destination address.
    pub destination: u32,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// TCP or UDP.
    pub protocol: u8,
    /// TCP's flags; 0 of UDP.
    pub tcp_flags: u8,
    ttl: u8,
    dscp: u8,
    length: u16,
    mac: [u8; 6],
    has_mac: bool,
    /// TCP's sequence number, and what it acknowledges; of UDP the identification, and the beginning of what it holds.
    sequence: u32,
    acknowledged: u32,
}

/// Reads a frame, if it is such a one.
#[inline(always)]
pub fn plain(link: LinkType, captured: &[u8]) -> Option<Plain> {
    let (number, offset, mac) = match link {
        LinkType::ETHERNET => {
            let header = Ethernet::read(captured)?;
            (header.ethertype(), Ethernet::LEN, Some(header.source()))
        }
        LinkType::LINUX_SLL2 => {
            let header = Sll2::read(captured)?;
            let is_one = has_ethertype(header.device_type());
            is_one.then(|| (header.protocol(), Sll2::LEN, header.source()))?
        }
        _ => return None,
    };
    if number != ethertype::IPV4 {
        return None;
    }
    let packet = captured.get(offset..)?;
    let read = of_ipv4(packet)?;
    Some(Plain {
        mac: mac.unwrap_or_default(),
        has_mac: mac.is_some(),
        ..read
    })
}

#[inline(always)]
fn of_ipv4(packet: &[u8]) -> Option<Plain> {
    const LEAST: usize = Ipv4::LEN + Tcp::LEN;
    const WITHOUT_OPTIONS: u8 = 0x45;
    // More fragments or an offset: the first fragment alone has ports, too, but few are met.
    const FRAGMENT: u16 = 0x3fff;
    let bytes: &[u8; LEAST] = packet.first_chunk()?;
    let half = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let word = |at: usize| u32::from(half(at)) << 16 | u32::from(half(at + 2));
    let (total_len, number) = (usize::from(half(2)), bytes[9]);
    let (tcp, udp) = (number == protocol::TCP, number == protocol::UDP);
    let payload_len = total_len.wrapping_sub(Ipv4::LEN);
    // A header of TCP in words, the length that UDP gives.
    let (least, given) = match tcp {
        true => (Tcp::LEN, usize::from(bytes[32] >> 4) * 4),
        false => (UDP_LEN, usize::from(half(24))),
    };
    let is_plain = (bytes[0] == WITHOUT_OPTIONS)
        & (half(6) & FRAGMENT == 0)
        & (tcp | udp)
        & (total_len >= Ipv4::LEN + least)
        & (total_len <= packet.len())
        & (given >= least)
        & (given <= payload_len);
    let content = |at: usize| if total_len < at + 4 { 0 } else { word(at) };
    let numbers = match tcp {
        true => (word(24), word(28)),
        false => {
            let beginning = [content(28), content(32), content(36)];
            (half(4).into(), connection::folded(beginning))
        }
    };
    is_plain.then(|| Plain {
        source: word(12),
        destination: word(16),
        source_port: half(20),
        destination_port: half(22),
        protocol: number,
        tcp_flags: if tcp { bytes[33] } else { 0 },
        ttl: bytes[8],
        dscp: bytes[1] >> 2,
        length: total_len as u16,
        mac: [0; 6],
        has_mac: false,
        sequence: numbers.0,
        acknowledged: numbers.1,
    })
}

impl Plain {
    fn is_tcp(&self) -> bool {
        self.protocol == protocol::TCP
    }

    /// As rules see it.
    pub fn header(&self) -> Header {
        let tcp = if self.is_tcp() { known::TCP_FLAGS } else { 0 };
        let mac = if self.has_mac { known::MAC } else { 0 };
        Header {
            source: self.source.into(),
            destination: self.destination.into(),
            source_port: self.source_port,
            destination_port: self.destination_port,
            length: self.length,
            known: known::PORTS | known::LENGTH | known::TTL | known::DSCP | tcp | mac,
            protocol: self.protocol,
            tcp_flags: self.tcp_flags,
            ttl: self.ttl,
            dscp: self.dscp,
            source_mac: self.mac,
            ..Header::default()
        }
    }

    /// What nat and forwarding leave as it is, see [`OfConnection::sign`].
    pub fn sign(&self) -> Option<u64> {
        let tcp = self.is_tcp();
        tcp.then(|| connection::signed(self.sequence, self.length, self.tcp_flags))?
    }

    /// See [`OfConnection::datagram`].
    pub fn datagram(&self) -> Option<u64> {
        let identification = self.sequence as u16;
        match self.is_tcp() {
            true => None,
            false => connection::printed(identification, self.length, self.acknowledged),
        }
    }

    /// How many hops it may go.
    pub fn ttl(&self) -> u8 {
        self.ttl
    }

    /// See [`OfConnection::syn`].
    pub fn syn(&self) -> Option<u32> {
        connection::opening(self.tcp_flags, self.sequence, self.acknowledged)
    }

    /// As conntrack sees it.
    pub fn of_connection(&self) -> OfConnection {
        OfConnection {
            sign: self.sign(),
            datagram: self.datagram(),
            syn: self.syn(),
            ..OfConnection::of_header(self.header())
        }
    }
}
