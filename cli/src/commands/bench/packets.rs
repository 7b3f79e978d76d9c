//! The packets that are timed, each with where the rule stands that takes it.

use crate::inputs;
use crate::trouble::Trouble;
use kpclass_engine::rules::FamilyRules;
use kpclass_reference::packet::read_frame;
use kpclass_ruleset::matches::MatchKind;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::value::{Family, PortRange};
use kpclass_ruleset::{Hook, Rule, Ruleset, TableId};
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// So many packets of a capture are timed at most, the first ones.
const MOST: usize = 1 << 16;

/// So many of a rung.
const MOST_OF_A_RUNG: usize = 64;

/// A client outside every cluster (TEST-NET-1, documentation).
const CLIENTS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 10)),
];

/// A packet, and where the rule of `KUBE-SERVICES` stands that takes it, counted from 1; behind the last, if none does.
#[derive(Clone, Debug)]
pub(super) struct At {
    pub position: u32,
    pub packet: Packet,
}

/// All packets.
#[derive(Debug)]
pub(super) struct Placed {
    pub packets: Vec<At>,
    /// Rules of `KUBE-SERVICES`.
    pub positions: u32,
    /// Services that they name.
    pub services: usize,
    /// Where the packets come from.
    pub of: &'static str,
}

/// Packets that stand about equally far down.
#[derive(Debug)]
pub(super) struct Rung {
    /// The mean of their positions.
    pub position: f64,
    pub packets: Vec<Packet>,
}

impl Placed {
    /// Packets by position: 1, 2, 5, 10, 20, …, and the last.
    pub(super) fn rungs(&self) -> Vec<Rung> {
        let mut rungs = Vec::new();
        let mut above = 0;
        for limit in limits(self.positions + 1) {
            let is_here = |at: &&At| at.position > above && at.position <= limit;
            let mut here: Vec<&At> = self.packets.iter().filter(is_here).collect();
            above = limit;
            // The ones nearest to the limit: a rung is a place, not a range.
            here.sort_by_key(|at| std::cmp::Reverse(at.position));
            here.truncate(MOST_OF_A_RUNG);
            if here.is_empty() {
                continue;
            }
            let sum: f64 = here.iter().map(|at| f64::from(at.position)).sum();
            rungs.push(Rung {
                position: sum / here.len() as f64,
                packets: here.iter().map(|at| at.packet.clone()).collect(),
            });
        }
        rungs
    }

    /// Rules of `KUBE-SERVICES` for each Service.
    pub(super) fn rules_each_service(&self) -> f64 {
        f64::from(self.positions) / self.services.max(1) as f64
    }
}

/// 1, 2, 5, 10, …, below `last`, then `last`.
fn limits(last: u32) -> Vec<u32> {
    let decades = (0..10).flat_map(|n| [1, 2, 5].map(|m| m * 10u64.pow(n)));
    let below = decades.take_while(|limit| *limit < u64::from(last));
    below.map(|limit| limit as u32).chain([last]).collect()
}

/// The packets of a capture that are of the family, or one to each key that a rule of `KUBE-SERVICES` names.
pub(super) fn placed(of: &FamilyRules<'_>, capture: Option<&Path>) -> Result<Placed, Trouble> {
    let ruleset = of.ruleset;
    let mut positions = Positions::new();
    let (mut services, mut last) = (BTreeSet::new(), 0);
    if let Some(chain) = ruleset.chain_named(TableId::Nat, "KUBE-SERVICES") {
        for (id, rule) in ruleset.chain_rules(chain) {
            last = ruleset.rulenum(id);
            if let Some(key) = key(ruleset, rule) {
                positions.entry(key).or_insert(last);
                services.extend(of.services.of_rule(id));
            }
        }
    }
    let packets = match capture {
        Some(path) => captured(of, path, &positions, last + 1)?,
        None => {
            let mut all: Vec<(Key, u32)> = positions.into_iter().collect();
            all.sort_unstable_by_key(|(_, position)| *position);
            all.into_iter().map(|(key, at)| to(key, at)).collect()
        }
    };
    Ok(Placed {
        packets,
        positions: last,
        services: services.len(),
        of: if capture.is_some() {
            "capture"
        } else {
            "services"
        },
    })
}

/// Protocol, address, port.
type Key = (u8, IpAddr, u16);

/// Where each key stands.
type Positions = HashMap<Key, u32>;

/// What a rule asks of the destination, if that is one address and port.
fn key(ruleset: &Ruleset, rule: &Rule) -> Option<Key> {
    let (mut protocol, mut address, mut port) = (None, None, None);
    for condition in ruleset.matches(rule).iter().filter(|m| !m.inverted) {
        match &condition.kind {
            MatchKind::Protocol(number) => protocol = Some(*number),
            MatchKind::Destination(prefix) if prefix.is_host() => address = Some(prefix.address()),
            MatchKind::Tcp(tcp) if !tcp.ports.destination_inverted => {
                port = single(tcp.ports.destination);
            }
            MatchKind::Udp(ports) | MatchKind::Sctp(ports) if !ports.destination_inverted => {
                port = single(ports.destination);
            }
            _ => {}
        }
    }
    Some((protocol?, address?, port?))
}

fn single(ports: PortRange) -> Option<u16> {
    (ports.first == ports.last).then_some(ports.first)
}

fn to((protocol, destination, port): Key, position: u32) -> At {
    let client = CLIENTS[Family::of(destination) as usize];
    let from = 1024 + (position.wrapping_mul(2_654_435_761) % 60_000) as u16;
    let ports = Some((from, port));
    At {
        position,
        packet: Packet::new(Hook::Prerouting, protocol, client, destination, ports),
    }
}

/// The first packets of a capture that arrive, in its order.
fn captured(
    of: &FamilyRules<'_>,
    path: &Path,
    positions: &Positions,
    behind: u32,
) -> Result<Vec<At>, Trouble> {
    let mut capture = inputs::frame::open(&path.display().to_string())?;
    let mut packets = Vec::new();
    while let Some(chunk) = capture
        .next_chunk()
        .map_err(|error| Trouble::new(error.to_string()))?
    {
        for frame in chunk.frames() {
            let Ok(read) = read_frame(frame.link.0, frame.captured) else {
                continue;
            };
            let packet = read.at(Hook::Prerouting, None);
            let is_timed = packet.family() == of.ruleset.family()
                && packet.ports.is_some()
                && !packet.fragment
                && !of
                    .program
                    .is_local(kpclass_ruleset::value::address_number(packet.source));
            if is_timed {
                let key = packet
                    .ports
                    .map(|(_, port)| (packet.protocol, packet.destination, port));
                let position = key.and_then(|key| positions.get(&key).copied());
                packets.push(At {
                    position: position.unwrap_or(behind),
                    packet,
                });
            }
            if packets.len() == MOST {
                return Ok(packets);
            }
        }
    }
    Ok(packets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_grow_by_decades_up_to_the_last() {
        assert_eq!(limits(1), [1]);
        assert_eq!(limits(7), [1, 2, 5, 7]);
        assert_eq!(limits(100), [1, 2, 5, 10, 20, 50, 100]);
    }

    #[test]
    fn a_rung_holds_the_packets_nearest_to_its_limit() {
        let packets = (1..=200).map(|at| {
            let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
            to((6, address, 80), at)
        });
        let placed = Placed {
            packets: packets.collect(),
            positions: 200,
            services: 100,
            of: "services",
        };
        let rungs = placed.rungs();
        let positions: Vec<f64> = rungs.iter().map(|rung| rung.position).collect();
        assert_eq!(positions[..3], [1.0, 2.0, 4.0]);
        assert_eq!(
            rungs.last().map(|rung| rung.packets.len()),
            Some(MOST_OF_A_RUNG)
        );
        assert!((placed.rules_each_service() - 2.0).abs() < 1e-9);
    }
}
