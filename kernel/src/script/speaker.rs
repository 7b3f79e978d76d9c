//! Who sends what from where: the hosts on both sides, as far as a script needs them.

use super::Player;
use super::playing::Seen;
use crate::seen::End;
use kpclass_reference::connections::Tracked;
use kpclass_ruleset::Hook;
use kpclass_ruleset::conntrack::{Datagram, Tuple};
use kpclass_ruleset::packet::{Packet, tcp_flag};
use kpclass_ruleset::value::{Interface, protocol};
use kpclass_workload::frame::{Sctp, Tag};
use kpclass_workload::scripts::{Script, Side, What};
use std::net::IpAddr;

/// The hosts of a script.
pub(super) struct Speakers {
    talks: Vec<Talk>,
    devices: Vec<Interface>,
}

/// One connection's two ends.
struct Talk {
    /// The client's first packet.
    first: Packet,
    icmp_id: u16,
    /// What the server got last: how it sees the connection.
    at_server: Option<Tuple>,
    /// What the client got last.
    at_client: Option<Tuple>,
    tcp: Tcp,
}

/// The numbers of both sides, the client's first, as conntrack has seen them.
#[derive(Default)]
struct Tcp {
    /// The last initial number of each that was given out.
    given: [u32; 2],
    initial: [u32; 2],
    next: [Option<u32>; 2],
    /// What the other side has acknowledged.
    acknowledged: [Option<u32>; 2],
    /// The initial number of a SYN that conntrack let pass unread.
    pending: [Option<u32>; 2],
    /// The original tuple of the connection that conntrack takes each one's segments for.
    taken_for: [Option<Tuple>; 2],
}

/// So far apart are the initial numbers of two connections on the same ports.
const APART: u32 = 1_000_000;

impl Speakers {
    pub(super) fn new(script: &Script) -> Self {
        let talks = script.talks.iter().map(|(first, id)| Talk {
            first: first.clone(),
            icmp_id: *id,
            at_server: None,
            at_client: None,
            tcp: Tcp {
                given: [1_000, 500_000],
                initial: [1_000, 500_000],
                ..Tcp::default()
            },
        });
        Self {
            talks: talks.collect(),
            devices: script.generated.devices.clone(),
        }
    }

    /// The packet of a step; `None`: it cannot be sent, as there is nothing to answer or no way to do so.
    pub(super) fn speak(
        &mut self,
        talk: usize,
        side: Side,
        what: &What,
        player: &mut Player,
    ) -> Option<(Datagram, Tag)> {
        let device = *self.devices.get(talk % self.devices.len().max(1))?;
        let talk = self.talks.get_mut(talk)?;
        let tuple = talk.tuple(side)?;
        let is_local = |address: IpAddr| player.world.is_local(address);
        if let What::Error((kind, code), by_router) = what {
            // About what this side has got, which is what the other one sent.
            let about = tuple.inverse()?;
            let source = match by_router {
                true => router(about.source.0),
                false => tuple.source.0,
            };
            let mut packet = talk.packet_from(side, source, device, &is_local);
            packet.source = source;
            packet.destination = about.source.0;
            packet.ports = None;
            packet.tcp_flags = None;
            packet.length = None;
            packet.protocol = match packet.source {
                IpAddr::V4(_) => protocol::ICMP,
                IpAddr::V6(_) => protocol::ICMPV6,
            };
            packet.icmp = Some((*kind, *code));
            let tag = Tag {
                carried: Some(about),
                ..talk.tag(&packet)
            };
            return complete(packet, tag, player);
        }
        let mut packet = talk.packet_from(side, tuple.source.0, device, &is_local);
        (packet.source, packet.destination) = (tuple.source.0, tuple.destination.0);
        packet.ports = tuple
            .has_ports()
            .then_some((tuple.source.1, tuple.destination.1));
        if tuple.is_icmp() {
            let [kind, code] = tuple.destination.1.to_be_bytes();
            packet.icmp = Some((kind, code));
        }
        let mut tag = talk.tag(&packet);
        if tuple.is_icmp() {
            tag.icmp_id = Some(tuple.source.1);
        }
        packet.length = None;
        match what {
            What::Segment(flags, bytes) => {
                let header = if packet.source.is_ipv4() { 40 } else { 60 };
                packet.tcp_flags = Some(*flags);
                packet.length = Some(header + bytes);
                let (sequence, acknowledgment) = talk.tcp.numbers(side, *flags);
                tag.sequence = sequence;
                tag.acknowledgment = Some(acknowledgment);
            }
            What::Chunks(list) => {
                let tags = [0x1111, 0x2222];
                let own = side as usize;
                let mut chunks = [None; 3];
                for (to, kind) in chunks.iter_mut().zip(list) {
                    *to = Some(*kind);
                }
                tag.sctp = Some(Sctp {
                    tag: if list.contains(&1) { 0 } else { tags[1 - own] },
                    initiate: tags[own],
                    chunks,
                });
            }
            What::Data | What::Echo | What::Error(..) => {}
        }
        complete(packet, tag, player)
    }

    /// Notes what came of a packet: the other side has got it, or has not.
    pub(super) fn heard(
        &mut self,
        talk: usize,
        side: Side,
        datagram: &Datagram,
        seen: &Seen,
        tracked: &Tracked,
    ) {
        let Some(talk) = self.talks.get_mut(talk) else {
            return;
        };
        let packet = &datagram.packet;
        if datagram.carried.is_some() {
            return;
        }
        if let (protocol::TCP, Some(flags), true) = (
            packet.protocol,
            packet.tcp_flags,
            tracked.direction.is_some(),
        ) {
            let header = if packet.source.is_ipv4() { 40 } else { 60 };
            let bytes = packet.length.unwrap_or(header) - header;
            talk.tcp.taken_for[side as usize] = tracked.tuples.map(|(original, _)| original);
            talk.tcp.went(side, flags, bytes.into(), tracked.unread);
        }
        let Some((last, _)) = seen.last.as_ref().filter(|_| seen.end != End::Gone) else {
            return;
        };
        let mut tuple = match Tuple::of(datagram) {
            Some(tuple) => tuple,
            None => return,
        };
        (tuple.source.0, tuple.destination.0) = (last.source, last.destination);
        if let Some((from, to)) = last.ports {
            (tuple.source.1, tuple.destination.1) = (from, to);
        }
        match side {
            Side::Client => talk.at_server = Some(tuple),
            Side::Server => talk.at_client = Some(tuple),
        }
    }
}

impl Talk {
    /// The tuple of what a side sends.
    fn tuple(&self, side: Side) -> Option<Tuple> {
        let mut first = Datagram::new(self.first.clone());
        first.icmp_id = self.first.icmp.map(|_| self.icmp_id);
        let client = Tuple::of(&first)?;
        match side {
            Side::Client => Some(client),
            Side::Server => self.at_server.unwrap_or(client).inverse(),
        }
    }

    /// A packet like the first one, that starts where what comes from `source` does.
    fn packet_from(
        &self,
        side: Side,
        source: IpAddr,
        device: Interface,
        is_local: &dyn Fn(IpAddr) -> bool,
    ) -> Packet {
        let mut packet = self.first.clone();
        if side == Side::Server || source != self.first.source {
            let sent = is_local(source);
            packet.mark = 0;
            packet.hook = if sent { Hook::Output } else { Hook::Prerouting };
            packet.in_interface = (!sent).then_some(device);
            packet.source_mac = (!sent).then_some([2, 0, 0, 0, 0, 0xfe]);
        }
        packet
    }

    fn tag(&self, packet: &Packet) -> Tag {
        let [a, b, c, d] = packet.mark.to_ne_bytes();
        Tag {
            identification: 1,
            flow_label: 1,
            destination_mac: Some([2, 0, a, b, c, d]),
            icmp_id: Some(self.icmp_id),
            ..Tag::default()
        }
    }
}

impl Tcp {
    /// Sequence and acknowledgment number of a segment.
    fn numbers(&mut self, side: Side, flags: u8) -> (u32, u32) {
        use tcp_flag::{ACK, RST, SYN};
        let (own, other) = (side as usize, 1 - side as usize);
        let acknowledged = self.next[other].unwrap_or(self.initial[other].wrapping_add(1));
        if flags & SYN != 0 {
            let answered = self.pending[other].unwrap_or(self.initial[other]);
            let again = flags & ACK != 0 && self.next[own].is_some();
            if again && self.pending[other].is_none() {
                return (self.initial[own], answered.wrapping_add(1));
            }
            self.given[own] = self.given[own].wrapping_add(APART);
            return (self.given[own], answered.wrapping_add(1));
        }
        let known = self.next[own].unwrap_or(self.initial[own].wrapping_add(1));
        if flags & RST != 0 {
            let answers_syn = self.next[own].is_none() && side == Side::Server;
            let exact = self.acknowledged[own].unwrap_or(known);
            // The other's segments can be another connection to conntrack: then there is nothing to acknowledge.
            let is_one = self.taken_for[own] == self.taken_for[other] && self.next[other].is_some();
            let acknowledged = if is_one { acknowledged } else { 0 };
            return (if answers_syn { 0 } else { exact }, acknowledged);
        }
        (known, acknowledged)
    }

    /// conntrack has taken the segment for one of the connection; `unread`: without looking at its numbers.
    fn went(&mut self, side: Side, flags: u8, bytes: u32, unread: bool) {
        use tcp_flag::{ACK, FIN, RST, SYN};
        let (own, other) = (side as usize, 1 - side as usize);
        if flags & SYN != 0 && flags & ACK == 0 {
            if unread {
                self.pending[own] = Some(self.given[own]);
            } else {
                self.pending = [None; 2];
                self.initial[own] = self.given[own];
                self.next = [None; 2];
                self.next[own] = Some(self.initial[own].wrapping_add(1));
                self.acknowledged = [None; 2];
            }
            return;
        }
        if unread || flags & RST != 0 {
            return;
        }
        if flags & SYN != 0 {
            if let Some(begun) = self.pending[other].take() {
                self.initial[other] = begun;
                self.next[other] = Some(begun.wrapping_add(1));
                self.acknowledged = [None; 2];
            }
            self.initial[own] = self.given[own];
            self.next[own] = Some(self.initial[own].wrapping_add(1));
        } else {
            let next = self.next[own].unwrap_or(self.initial[own].wrapping_add(1));
            let fin = u32::from(flags & FIN != 0);
            self.next[own] = Some(next.wrapping_add(bytes).wrapping_add(fin));
        }
        if flags & ACK != 0 {
            let next = self.next[other].unwrap_or(self.initial[other].wrapping_add(1));
            self.acknowledged[other] = Some(next);
        }
    }
}

/// A host of nobody's.
fn router(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::from([198, 51, 100, 99]),
        IpAddr::V6(_) => IpAddr::from([0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 1]),
    }
}

/// With what only the finished frame tells.
fn complete(mut packet: Packet, tag: Tag, player: &mut Player) -> Option<(Datagram, Tag)> {
    if is_refused(&packet) {
        return None;
    }
    if packet.length.is_none() {
        packet.length = Some(player.world.injector.length(&packet, &tag));
    }
    let chunks = tag
        .sctp
        .map(|sctp| sctp.chunks.into_iter().flatten().collect());
    let mut datagram = Datagram::new(packet);
    datagram.icmp_id = tag.icmp_id;
    datagram.carried = tag.carried;
    datagram.chunks = chunks;
    Some((datagram, tag))
}

/// Sent by the node from or to what the kernel refuses before there is a packet.
fn is_refused(packet: &Packet) -> bool {
    let sent = packet.hook == Hook::Output;
    sent && (packet.source.is_loopback() || packet.destination.is_unspecified())
}
