//! A SPEC as canonical text, which reads back equal.

use super::Spec;
use crate::packet::{Packet, tcp_flag};
use crate::ruleset::Hook;
use crate::value::{Family, Interface, protocol};
use std::fmt;
use std::net::IpAddr;

const LETTERS: [(u8, char); 8] = [
    (tcp_flag::SYN, 'S'),
    (tcp_flag::FIN, 'F'),
    (tcp_flag::RST, 'R'),
    (tcp_flag::PSH, 'P'),
    (tcp_flag::ACK, 'A'),
    (tcp_flag::URG, 'U'),
    (tcp_flag::ECE, 'E'),
    (tcp_flag::CWR, 'C'),
];

/// A packet as the SPEC that [`parse`](super::parse) reads back to it, on any node: the hook is always there, the ctstate where it is not the
/// first packet's own, and a device without a name is none. A packet whose fields contradict each other (TCP without ports that is no fragment) has no SPEC; what is
/// written of it then does not read back.
pub fn of_packet(packet: &Packet) -> String {
    let new = Packet::new(
        packet.hook,
        packet.protocol,
        packet.source,
        packet.destination,
        None,
    );
    let spec = Spec {
        protocol: packet.protocol,
        source: packet.source,
        destination: packet.destination,
        ports: packet.ports,
        tcp_flags: packet
            .tcp_flags
            .filter(|_| packet.tcp_flags != new.tcp_flags),
        icmp: packet.icmp.filter(|_| packet.icmp != new.icmp),
        fragment: packet.fragment,
        in_interface: packet
            .in_interface
            .filter(|device| *device != Interface::none()),
        hook: Some(packet.hook),
        mark: packet.mark,
        ctstate: Some(packet.ctstate).filter(|state| *state != packet.first_ctstate()),
        ttl: packet.ttl,
        length: packet.length,
        dscp: packet.dscp,
        source_mac: packet.source_mac,
    };
    spec.to_string()
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_protocol(f, self.protocol, Family::of(self.source))?;
        write_endpoint(f, self.source, self.ports.map(|p| p.0))?;
        f.write_str(" >")?;
        write_endpoint(f, self.destination, self.ports.map(|p| p.1))?;
        if let Some(interface) = &self.in_interface {
            write_interface(f, interface)?;
        }
        match self.hook {
            Some(Hook::Output) => f.write_str(" hook=output")?,
            Some(_) => f.write_str(" hook=prerouting")?,
            None => {}
        }
        if self.mark != 0 {
            write!(f, " mark={:#x}", self.mark)?;
        }
        if let Some(state) = self.ctstate {
            write!(f, " ctstate={}", state.name().to_ascii_lowercase())?;
        }
        if let Some(flags) = self.tcp_flags {
            write_flags(f, flags)?;
        }
        if let Some((kind, code)) = self.icmp {
            write!(f, " type={kind} code={code}")?;
        }
        write_header_fields(f, self)
    }
}

/// The name, if the protocol is the family's own or every family's; else the number, of which nothing is expected.
fn write_protocol(f: &mut fmt::Formatter<'_>, number: u8, family: Family) -> fmt::Result {
    match (number, family) {
        (protocol::ICMPV6, Family::V6) => f.write_str("icmp6"),
        (protocol::ICMPV6, Family::V4) | (protocol::ICMP, Family::V6) => write!(f, "{number}"),
        _ => match protocol::name(number) {
            Some(name) => f.write_str(name),
            None => write!(f, "{number}"),
        },
    }
}

fn write_endpoint(f: &mut fmt::Formatter<'_>, address: IpAddr, port: Option<u16>) -> fmt::Result {
    match (address, port) {
        (IpAddr::V4(a), Some(port)) => write!(f, " {a}:{port}"),
        (IpAddr::V4(a), None) => write!(f, " {a}"),
        (IpAddr::V6(a), Some(port)) => write!(f, " [{a}]:{port}"),
        (IpAddr::V6(a), None) => write!(f, " [{a}]"),
    }
}

fn write_interface(f: &mut fmt::Formatter<'_>, interface: &Interface) -> fmt::Result {
    f.write_str(" in=")?;
    for c in interface.name().chars() {
        if c.is_whitespace() || c.is_control() || matches!(c, '%' | '#' | '>') {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                write!(f, "%{byte:02x}")?;
            }
        } else {
            write!(f, "{c}")?;
        }
    }
    Ok(())
}

fn write_flags(f: &mut fmt::Formatter<'_>, flags: u8) -> fmt::Result {
    let letters: String = LETTERS
        .iter()
        .filter(|(bit, _)| flags & bit != 0)
        .map(|(_, c)| c)
        .collect();
    write!(
        f,
        " flags={}",
        if letters.is_empty() { "none" } else { &letters }
    )
}

fn write_header_fields(f: &mut fmt::Formatter<'_>, spec: &Spec) -> fmt::Result {
    if let Some(ttl) = spec.ttl {
        write!(f, " ttl={ttl}")?;
    }
    if let Some(length) = spec.length {
        write!(f, " length={length}")?;
    }
    if let Some(dscp) = spec.dscp {
        write!(f, " dscp={dscp}")?;
    }
    if let Some([a, b, c, d, e, g]) = spec.source_mac {
        write!(f, " mac={a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")?;
    }
    if spec.fragment {
        f.write_str(" fragment-offset=1")?;
    }
    Ok(())
}
