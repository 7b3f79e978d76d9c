//! Whole connections to Services, as a capture on the node shows them: which endpoint each goes to is chosen here, as the kernel chooses, not as a replay draws.

use clap::ValueEnum;
use kpclass_compiler::header::Header;
use kpclass_compiler::{Context, Program};
use kpclass_engine::rules::Rules;
use kpclass_ruleset::Hook;
use kpclass_ruleset::decision::{Disposition, Snat};
use kpclass_ruleset::packet::{Packet, tcp_flag};
use kpclass_ruleset::value::{Family, protocol};
use kpclass_workload::cluster::traffic::Traffic;
use kpclass_workload::frame::Origin;
use kpclass_workload::numbers::Numbers;
use std::net::IpAddr;

/// Where a capture sees connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Vantage {
    /// Packets as they come to the node, before nat
    Arriving,
    /// Before nat and behind it
    Both,
    /// What the clients send and get
    Client,
}

/// Connections that are alive at a time.
pub(crate) struct Conversations<'r> {
    rules: &'r Rules<'r>,
    traffic: Traffic,
    nodes: Vec<IpAddr>,
    vantage: Vantage,
    /// Packets of a connection, at most, but for those that open and close it.
    most_data: u32,
    numbers: Numbers,
    live: Vec<Conversation>,
}

/// One connection.
struct Conversation {
    first: Packet,
    origin: Origin,
    /// The endpoint, and the address and port that it sees the client as; `None`: nobody answers.
    server: Option<(End, End)>,
    /// The client's first sequence number.
    sequence: u32,
    step: u32,
    /// The step at which it closes.
    last: u32,
}

type End = (IpAddr, u16);

/// Packets that open a connection: an answer comes at once.
const OPENING: u32 = 3;

impl<'r> Conversations<'r> {
    pub(crate) fn new(
        rules: &'r Rules<'r>,
        mut traffic: Traffic,
        nodes: Vec<IpAddr>,
        (live, most_data, vantage, seed): (usize, u32, Vantage, u64),
    ) -> Self {
        let mut numbers = Numbers::new(!seed);
        let begin = |_| begin(rules, &mut traffic, &nodes, most_data, &mut numbers);
        let live = (0..live.max(1)).map(begin).collect();
        Self {
            live,
            rules,
            traffic,
            nodes,
            vantage,
            most_data,
            numbers,
        }
    }

    /// The next packets of some connection: one, or all that open it. How each is seen, once or twice.
    pub(crate) fn next(
        &mut self,
        mut take: impl FnMut(&Packet, Origin, (u32, u32)) -> std::io::Result<()>,
    ) -> std::io::Result<u64> {
        let at = self.numbers.index(self.live.len());
        let conversation = &mut self.live[at];
        let mut seen = 0;
        loop {
            let begun = conversation.sequence;
            let numbers = (begun.wrapping_add(conversation.step), begun.wrapping_add(1));
            for (packet, origin) in conversation.seen(self.vantage) {
                take(&packet, origin, numbers)?;
                seen += 1;
            }
            conversation.step += 1;
            if conversation.is_over() || conversation.step >= OPENING {
                break;
            }
        }
        if conversation.is_over() {
            *conversation = begin(
                self.rules,
                &mut self.traffic,
                &self.nodes,
                self.most_data,
                &mut self.numbers,
            );
        }
        Ok(seen)
    }
}

/// A new connection of somebody who is not the node.
fn begin(
    rules: &Rules<'_>,
    traffic: &mut Traffic,
    nodes: &[IpAddr],
    most_data: u32,
    numbers: &mut Numbers,
) -> Conversation {
    loop {
        let (mut first, origin) = traffic.packet();
        let is_sent = first.hook == Hook::Output || nodes.contains(&first.source);
        // Frames of a given size hold no chunks, without which there is no connection of SCTP.
        if is_sent || first.protocol == protocol::SCTP {
            continue;
        }
        first.source_mac = None;
        if let Some((from, _)) = &mut first.ports {
            *from = 1024 + numbers.below(64_000) as u16;
        }
        let family = Family::of(first.source);
        let program = rules.of(family).map(|of| &of.program);
        let node = nodes
            .iter()
            .copied()
            .find(|node| Family::of(*node) == family);
        let server = program.and_then(|program| server(program, &first, node, numbers));
        return Conversation {
            server,
            first,
            origin,
            sequence: numbers.bits() as u32,
            step: 0,
            last: 4 + numbers.below(most_data.into()) as u32,
        };
    }
}

fn server(
    program: &Program,
    first: &Packet,
    node: Option<IpAddr>,
    numbers: &mut Numbers,
) -> Option<(End, End)> {
    let context = Context::from(first);
    let decision = program.decide(&Header::from(first), &context, numbers.bits())?;
    if !matches!(
        decision.disposition,
        Disposition::Forward | Disposition::Local
    ) {
        return None;
    }
    let (from, to) = first.ports?;
    let nat = decision.dnat.map(|(nat, _)| nat);
    let address = nat.map_or(Some(first.destination), |nat| nat.address)?;
    let server = (address, nat.and_then(|nat| nat.port).unwrap_or(to));
    let client = match decision.snat {
        Some((Snat::Masquerade, _)) => (node?, 1024 + numbers.below(64_000) as u16),
        _ => (first.source, from),
    };
    Some((server, client))
}

/// What senders give their packets, unless they say otherwise.
const FIRST_TTL: u8 = 64;

impl Conversation {
    fn is_over(&self) -> bool {
        self.server.is_none() || self.step > self.last + 2
    }

    /// The present step's packet, each time it is seen.
    fn seen(&self, vantage: Vantage) -> Vec<(Packet, Origin)> {
        let as_came = (self.first.source, self.first.destination);
        let ports = self.first.ports.unwrap_or_default();
        let (is_reply, flags) = self.present();
        let packet = |from: End, to: End, origin: Origin| {
            let mut packet = self.first.clone();
            (packet.source, packet.destination) = (from.0, to.0);
            packet.ports = packet.ports.map(|_| (from.1, to.1));
            packet.tcp_flags = packet.tcp_flags.map(|_| flags);
            (packet, origin)
        };
        let (client, service) = ((as_came.0, ports.0), (as_came.1, ports.1));
        let Some((server, seen_as)) = self.server else {
            return vec![(self.first.clone(), self.origin)];
        };
        let (arrives, mut leaves) = match is_reply {
            false => (
                packet(client, service, self.origin),
                packet(seen_as, server, Origin::Pod),
            ),
            true => (
                packet(server, seen_as, Origin::Pod),
                packet(service, client, self.origin),
            ),
        };
        // It has gone on by one hop.
        leaves.0.ttl = Some(FIRST_TTL - 1);
        match (vantage, is_reply) {
            (Vantage::Arriving, _) | (Vantage::Client, false) => vec![arrives],
            (Vantage::Client, true) => vec![leaves],
            (Vantage::Both, _) => vec![arrives, leaves],
        }
    }

    /// Whether the server sends it, and a segment's flags.
    fn present(&self) -> (bool, u8) {
        use tcp_flag::{ACK, FIN, PSH, SYN};
        if self.first.protocol != protocol::TCP {
            return (self.step % 2 == 1, 0);
        }
        match self.step {
            0 => (false, SYN),
            1 => (true, SYN | ACK),
            2 => (false, ACK),
            step if step < self.last => (step % 2 == 1, ACK | PSH),
            step if step == self.last => (false, FIN | ACK),
            step if step == self.last + 1 => (true, FIN | ACK),
            _ => (false, ACK),
        }
    }
}
