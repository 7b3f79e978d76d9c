//! What the kernel was seen to do with one packet.

use std::fmt;
use std::net::IpAddr;

/// A packet's header as it was at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Source and destination port, of a protocol that has them.
    pub ports: Option<(u16, u16)>,
    /// The mark.
    pub mark: u32,
}

/// Where it was seen last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// Behind POSTROUTING, on its way out by a device other than `lo`.
    Left,
    /// Behind INPUT.
    Delivered,
    /// Neither: dropped, or rejected.
    #[default]
    Gone,
}

/// What the kernel answered of its own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An ICMP or ICMPv6 destination unreachable with this code.
    Unreachable(u8),
    /// A TCP reset.
    Reset,
}

/// What became of one packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Where it was seen last.
    pub end: End,
    /// As it was there; `None` if it is gone.
    pub last: Option<Sighting>,
    /// As it was behind nat PREROUTING or nat OUTPUT; `None` if it was gone by then.
    pub behind_nat: Option<Sighting>,
    /// What its sender was told. (A delivered packet may be answered too, where nobody listens; that counts for nothing.)
    pub answer: Option<Answer>,
}

impl fmt::Display for Sighting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |address: IpAddr, port: Option<u16>| match (address, port) {
            (_, None) => address.to_string(),
            (IpAddr::V4(a), Some(port)) => format!("{a}:{port}"),
            (IpAddr::V6(a), Some(port)) => format!("[{a}]:{port}"),
        };
        write!(
            f,
            "{} > {} mark={:#x}",
            end(self.source, self.ports.map(|p| p.0)),
            end(self.destination, self.ports.map(|p| p.1)),
            self.mark
        )
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match (self.end, self.answer) {
            (End::Left, _) => "left".to_string(),
            (End::Delivered, _) => "delivered".to_string(),
            (End::Gone, None) => "gone".to_string(),
            (End::Gone, Some(Answer::Reset)) => "answered by a reset".to_string(),
            (End::Gone, Some(Answer::Unreachable(code))) => {
                format!("answered by unreachable, code {code}")
            }
        };
        f.write_str(&word)?;
        if let Some(last) = &self.last {
            write!(f, " as {last}")?;
        }
        match &self.behind_nat {
            Some(nat) => write!(f, " (behind nat {nat})"),
            None => f.write_str(" (not seen behind nat)"),
        }
    }
}
