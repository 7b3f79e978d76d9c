//! What the two sides of one connection send.

use crate::numbers::Numbers;
use kpclass_ruleset::packet::{Packet, tcp_flag};
use kpclass_ruleset::value::protocol;
use tcp_flag::{ACK, FIN, PSH, RST, SYN, URG};

/// A side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It sends the first packet.
    Client,
    /// It answers what reaches it.
    Server,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A TCP segment with these flags and so many bytes.
    Segment(u8, u16),
    /// A datagram, or a packet of a protocol without more.
    Data,
    /// An ICMP query of the client's type, or its answer.
    Echo,
    /// An SCTP packet with these chunks.
    Chunks(Vec<u8>),
    /// An ICMP error (IPv4 type and code, or IPv6's) about the last packet that this side got; by a router in between?
    Error((u8, u8), bool),
}

use Side::{Client, Server};

/// One talk, from its first packet on.
pub(super) fn steps(first: &Packet, is_wild: bool, numbers: &mut Numbers) -> Vec<(Side, What)> {
    let mut steps = match first.protocol {
        protocol::TCP => tcp(is_wild, numbers),
        protocol::SCTP => sctp(numbers),
        protocol::ICMP | protocol::ICMPV6 => repeat(&What::Echo, numbers),
        _ => repeat(&What::Data, numbers),
    };
    if numbers.chance(0.35) {
        let error = error(first, numbers);
        let at = 1 + numbers.index(steps.len());
        steps.insert(at, (numbers.choose([Client, Server, Server]), error));
    }
    steps
}

fn repeat(what: &What, numbers: &mut Numbers) -> Vec<(Side, What)> {
    let count = 2 + numbers.index(6);
    let mut steps = vec![(Client, what.clone())];
    for _ in 0..count {
        steps.push((numbers.choose([Client, Server]), what.clone()));
    }
    if numbers.chance(0.1) {
        steps.insert(0, (Server, what.clone()));
    }
    steps
}

fn error(first: &Packet, numbers: &mut Numbers) -> What {
    let kind = if first.source.is_ipv4() {
        numbers.choose([(3, 1), (3, 3), (3, 4), (11, 0), (12, 0), (4, 0)])
    } else {
        numbers.choose([(1, 0), (1, 4), (2, 0), (3, 0), (4, 1)])
    };
    What::Error(kind, numbers.chance(0.4))
}

fn tcp(is_wild: bool, numbers: &mut Numbers) -> Vec<(Side, What)> {
    let segment = |flags, bytes| What::Segment(flags, bytes);
    let mut steps = vec![
        (Client, segment(SYN, 0)),
        (Server, segment(SYN | ACK, 0)),
        (Client, segment(ACK, 0)),
    ];
    for _ in 0..numbers.index(4) {
        let side = numbers.choose([Client, Server]);
        let other = if side == Client { Server } else { Client };
        let bytes = numbers.choose([1, 20, 100, 700]);
        steps.push((side, segment(ACK | PSH, bytes)));
        steps.push((other, segment(ACK, 0)));
    }
    let (closes, other) = numbers.choose([(Client, Server), (Server, Client)]);
    match numbers.index(4) {
        0 => steps.push((closes, segment(RST | ACK, 0))),
        1 => {}
        _ => steps.extend([
            (closes, segment(FIN | ACK, 0)),
            (other, segment(ACK, 0)),
            (other, segment(FIN | ACK, 0)),
            (closes, segment(ACK, 0)),
        ]),
    }
    if numbers.chance(0.2) {
        steps.truncate(numbers.choose([1, 2, 3, 4]));
    }
    if is_wild {
        disturb(&mut steps, numbers);
    }
    steps
}

/// Leaves some out, repeats some, and puts in what nobody expects.
fn disturb(steps: &mut Vec<(Side, What)>, numbers: &mut Numbers) {
    for _ in 0..1 + numbers.index(4) {
        let at = numbers.index(steps.len() + 1);
        match numbers.index(4) {
            0 if at < steps.len() && steps.len() > 1 => {
                steps.remove(at);
            }
            1 if at < steps.len() => {
                let again = steps[at].clone();
                steps.insert(at, again);
            }
            _ => {
                let flags = numbers.choose([
                    SYN,
                    SYN,
                    SYN | ACK,
                    ACK,
                    ACK,
                    FIN | ACK,
                    RST,
                    RST | ACK,
                    SYN | URG,
                    ACK | URG,
                    FIN,
                    0,
                    SYN | FIN,
                    FIN | PSH | URG,
                ]);
                let side = numbers.choose([Client, Client, Server]);
                steps.insert(at, (side, What::Segment(flags, 0)));
            }
        }
    }
}

fn sctp(numbers: &mut Numbers) -> Vec<(Side, What)> {
    const DATA: u8 = 0;
    const SACK: u8 = 3;
    let chunks = |list: &[u8]| What::Chunks(list.to_vec());
    let mut steps = vec![
        (Client, chunks(&[1])),
        (Server, chunks(&[2])),
        (Client, chunks(&[10, DATA])),
        (Server, chunks(&[11])),
    ];
    for _ in 0..numbers.index(4) {
        let list = numbers.choose([
            [DATA, SACK],
            [SACK, DATA],
            [SACK, SACK],
            [4, DATA],
            [5, DATA],
        ]);
        steps.push((numbers.choose([Client, Server]), chunks(&list)));
    }
    let (closes, other) = numbers.choose([(Client, Server), (Server, Client)]);
    match numbers.index(3) {
        0 => steps.push((closes, chunks(&[6]))),
        1 => {}
        _ => steps.extend([
            (closes, chunks(&[7])),
            (other, chunks(&[8])),
            (closes, chunks(&[14])),
        ]),
    }
    if numbers.chance(0.3) {
        steps.truncate(1 + numbers.index(steps.len()));
    }
    if numbers.chance(0.3) && steps.len() > 4 {
        let again = steps[3].clone();
        steps.insert(4, again);
    }
    steps
}
