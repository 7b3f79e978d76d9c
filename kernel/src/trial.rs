//! A trace of packets put to the kernel and to the reference, which must agree on each.
//!
//! A packet with one possible decision must meet just that; one with several (`statistic`, ranges) one of them. Of packets whose every
//! rule is known, the kernel's counters of each rule must be what the reference's ways add up to: so not only the end is judged, but the way.

use crate::backend::Backend;
use crate::error::KernelError;
use crate::judge::fits;
use crate::kernel::{Kernel, Loading};
use crate::seen::Seen;
use kpclass_reference::{Event, Walk};
use kpclass_ruleset::decision::Decision;
use kpclass_ruleset::matches::MatchKind;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::target::Target;
use kpclass_ruleset::value::{Family, Interface, protocol};
use kpclass_ruleset::{Hook, Rule, RuleId, Ruleset, TableId};
use std::collections::HashMap;
use std::net::IpAddr;

/// So many disagreements are kept; the others are counted.
pub const MAX_KEPT: usize = 20;

/// A packet on which kernel and reference differ.
#[derive(Clone, Debug)]
pub struct Disagreement {
    /// The packet.
    pub packet: Packet,
    /// What became of it.
    pub seen: Seen,
    /// What the reference says can become of it.
    pub decisions: Vec<Decision>,
}

/// A rule that the kernel counted otherwise than the reference.
#[derive(Clone, Copy, Debug)]
pub struct Miscount {
    /// The rule.
    pub rule: RuleId,
    /// Packets that the kernel counted.
    pub kernel: u64,
    /// Packets that matched it by the reference's ways.
    pub reference: u64,
}

/// How a trace fared.
#[derive(Clone, Debug, Default)]
pub struct Trial {
    /// Packets on which both were asked and the reference knew an answer.
    pub judged: u64,
    /// Of them, those with more than one possible decision.
    pub drawn: u64,
    /// Of them, those whose rules' counters were compared.
    pub counted: u64,
    /// Packets for which the reference's answer is unknown.
    pub unknown: u64,
    /// Packets that the judge cannot put to the kernel.
    pub left_out: u64,
    /// Those that differed.
    pub disagreed: u64,
    /// The first of them.
    pub disagreements: Vec<Disagreement>,
    /// Rules whose counters differed.
    pub miscounts: Vec<Miscount>,
    /// Rules that some judged packet matched.
    pub rules_met: u64,
    /// Rules in all.
    pub rules: u64,
}

impl Trial {
    /// Whether everything agreed.
    pub fn agrees(&self) -> bool {
        self.disagreed == 0 && self.miscounts.is_empty()
    }
}

/// Whether there is no route for it, before there is a packet: from 127.0.0.0/8 to another host.
fn is_refused(kernel: &Kernel, packet: &Packet) -> bool {
    packet.hook == Hook::Output
        && matches!(packet.source, IpAddr::V4(a) if a.is_loopback())
        && !kernel.is_local(packet.destination)
}

/// Why the judge cannot put a ruleset to a back end, if it cannot.
pub fn ruleset_left_out(backend: Backend, ruleset: &Ruleset) -> Option<&'static str> {
    let has = |table| {
        let chain = ruleset.entry(table, Hook::Input);
        chain.is_some_and(|chain| ruleset.chain_rules(chain).len() > 0)
    };
    (backend == Backend::Nft && has(TableId::Nat) && has(TableId::Security)).then_some(
        "iptables-nft 1.8.9 asks security INPUT behind nat INPUT (priority 150 for 50), where the kernel's own tables ask it before",
    )
}

/// Whether fragments are joined before rules see them that the reference shows a fragment alone: all while conntrack is on, and the node's
/// own before INPUT (`ip_local_deliver`).
fn is_joined(kernel: &Kernel, packet: &Packet) -> bool {
    let to = packet.destination;
    packet.fragment && (kernel.is_conntrack_on() || kernel.is_local(to) || is_for_many(to))
}

/// Why the judge cannot put a packet to the kernel, if it cannot.
pub fn left_out(packet: &Packet) -> Option<&'static str> {
    if packet.hook == Hook::Prerouting && packet.in_interface == Some(Interface::lo()) {
        return Some("what arrives by lo was sent by the node: it starts at OUTPUT");
    }
    if packet.ctstate != packet.first_ctstate() {
        return Some("a packet that is not its connection's first");
    }
    let unspecified = packet.destination.is_unspecified() || packet.source.is_unspecified();
    if packet.hook == Hook::Output && unspecified {
        return Some("an unspecified address that the kernel replaces before there is a packet");
    }
    if packet.hook == Hook::Output && is_for_many(packet.destination) {
        return Some(
            "a multicast or broadcast that the node sends: the kernel makes two of it, and only the first meets nat",
        );
    }
    if is_link_local(packet.destination) {
        return Some("a link-local destination: the routes of each device tell");
    }
    if packet.protocol == protocol::DCCP {
        return Some("DCCP: recent kernels track it without ports, older ones with them");
    }
    if packet.protocol == protocol::UDPLITE && packet.hook == Hook::Prerouting {
        return Some(
            "UDP-Lite that arrives: conntrack verifies its checksum with UDP's number, so that a right one is INVALID unless a device verified it",
        );
    }
    if matches!(
        (packet.source.is_ipv4(), packet.protocol),
        (true, protocol::ICMPV6) | (false, protocol::ICMP)
    ) {
        return Some("the other family's ICMP: conntrack looks at its type, which no Packet holds");
    }
    None
}

fn is_for_many(address: IpAddr) -> bool {
    address.is_multicast()
        || matches!(address, IpAddr::V4(a) if a.is_broadcast() || a.octets() == [127, 255, 255, 255])
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(a) if a.is_unicast_link_local())
}

/// Puts a trace to both. The rules must have been loaded ([`Kernel::load`]) and no packet asked since.
///
/// # Errors
/// Where the system fails.
pub fn run(
    kernel: &mut Kernel,
    ruleset: &Ruleset,
    walk: &Walk<'_>,
    trace: &[Packet],
) -> Result<Trial, KernelError> {
    let mut trial = Trial {
        rules: ruleset.rules().len() as u64,
        ..Trial::default()
    };
    let mut ways = HashMap::new();
    let (mut countable, mut others) = (Vec::new(), Vec::new());
    for packet in trace {
        if left_out(packet).is_some() || is_refused(kernel, packet) || is_joined(kernel, packet) {
            trial.left_out += 1;
            continue;
        }
        let decisions: Vec<Decision> = walk
            .partition(packet)
            .into_iter()
            .map(|piece| piece.decision)
            .collect();
        if decisions.iter().any(Decision::is_unknown) {
            trial.unknown += 1;
            continue;
        }
        let whole = decisions.len() == 1 && add_way(walk, packet, &mut ways);
        let to = if whole { &mut countable } else { &mut others };
        to.push((packet.clone(), decisions));
    }
    trial.counted = countable.len() as u64;
    ask(kernel, &countable, &mut trial)?;
    trial.miscounts = miscounts(kernel, ruleset, &ways)?;
    ask(kernel, &others, &mut trial)?;
    trial.rules_met = ways.len() as u64;
    Ok(trial)
}

/// Adds the rules that the packet matches to what the kernel should count; not where a rule on its way is open, or a number drawn tells
/// the way. (The lowest number takes the first side of every draw, the highest the other: one way for both is one for all.)
fn add_way(walk: &Walk<'_>, packet: &Packet, ways: &mut HashMap<RuleId, u64>) -> bool {
    if packet.hook == Hook::Prerouting && packet.in_interface.is_none() {
        return false;
    }
    let path = walk.decide(packet, 0).path;
    if walk.decide(packet, u64::MAX).path != path {
        return false;
    }
    let open = |event| matches!(event, Event::Immaterial(_) | Event::Unknown(_));
    if path.iter().any(|step| open(step.event)) {
        return false;
    }
    for rule in path.iter().filter_map(|step| step.rule) {
        *ways.entry(rule).or_default() += 1;
    }
    true
}

fn ask(
    kernel: &mut Kernel,
    asked: &[(Packet, Vec<Decision>)],
    trial: &mut Trial,
) -> Result<(), KernelError> {
    let packets: Vec<Packet> = asked.iter().map(|(packet, _)| packet.clone()).collect();
    let seen = kernel.ask(&packets)?;
    for ((packet, decisions), seen) in asked.iter().zip(seen) {
        trial.judged += 1;
        trial.drawn += u64::from(decisions.len() > 1);
        let is_local = |address| kernel.is_local(address);
        if decisions
            .iter()
            .any(|decision| fits(packet, decision, &seen, &is_local))
        {
            continue;
        }
        trial.disagreed += 1;
        if trial.disagreements.len() < MAX_KEPT {
            trial.disagreements.push(Disagreement {
                packet: packet.clone(),
                seen,
                decisions: decisions.clone(),
            });
        }
    }
    Ok(())
}

/// The packet by which some rule's counters differ: found by halving the trace, with the rules loaded anew each time. `None` if none of
/// the halves differs, as where it took two packets.
///
/// # Errors
/// Where the system fails.
pub fn miscounted(
    kernel: &mut Kernel,
    loading: &Loading<'_>,
    ruleset: &Ruleset,
    walk: &Walk<'_>,
    trace: &[Packet],
) -> Result<Option<Packet>, KernelError> {
    let mut within = trace;
    while within.len() > 1 {
        let (first, second) = within.split_at(within.len() / 2);
        let mut differs = |half: &[Packet]| -> Result<bool, KernelError> {
            kernel.load(loading)?;
            Ok(!run(kernel, ruleset, walk, half)?.miscounts.is_empty())
        };
        within = if differs(first)? {
            first
        } else if differs(second)? {
            second
        } else {
            return Ok(None);
        };
    }
    Ok(within.first().cloned())
}

/// A rule's place: table, chain, and number in it.
type Place = (TableId, String, u32);

fn place(ruleset: &Ruleset, rule: RuleId) -> Place {
    let chain = ruleset.rule(rule).chain;
    (
        ruleset.chain(chain).table,
        ruleset.chain_name(chain).to_string(),
        ruleset.rulenum(rule),
    )
}

fn miscounts(
    kernel: &Kernel,
    ruleset: &Ruleset,
    ways: &HashMap<RuleId, u64>,
) -> Result<Vec<Miscount>, KernelError> {
    let counted = counters(kernel, ruleset.family())?;
    Ok(ruleset
        .rules()
        .filter(|(_, rule)| !may_be_open(ruleset, rule))
        .filter_map(|(rule, _)| {
            let kernel = counted.get(&place(ruleset, rule)).copied().unwrap_or(0);
            let reference = ways.get(&rule).copied().unwrap_or(0);
            (kernel != reference).then_some(Miscount {
                rule,
                kernel,
                reference,
            })
        })
        .collect())
}

/// Whether the reference may pass a rule over without a word: one that does nothing, and asks what is not known of a packet.
fn may_be_open(ruleset: &Ruleset, rule: &Rule) -> bool {
    let does_nothing = matches!(rule.target, Target::None | Target::Transparent(_));
    does_nothing
        && ruleset.matches(rule).iter().any(|m| {
            matches!(
                m.kind,
                MatchKind::OutInterface(_)
                    | MatchKind::Addrtype(_)
                    | MatchKind::Conntrack(_)
                    | MatchKind::Set(_)
                    | MatchKind::Undecided(_)
            )
        })
}

/// The kernel's counters, by place.
fn counters(kernel: &Kernel, family: Family) -> Result<HashMap<Place, u64>, KernelError> {
    let saved = kernel.saved()?;
    let Some(ruleset) = saved.filter(|saved| saved.family() == family) else {
        return Ok(HashMap::new());
    };
    Ok(ruleset
        .rules()
        .map(|(id, rule)| {
            let packets = rule.counters.map_or(0, |counters| counters.packets);
            (place(&ruleset, id), packets)
        })
        .collect())
}

/// The rules that the kernel counts when it is asked about one packet, which must be the first since the rules were loaded; by the places that
/// they have in `ruleset`.
///
/// # Errors
/// Where the system fails.
pub fn way(
    kernel: &mut Kernel,
    ruleset: &Ruleset,
    packet: &Packet,
) -> Result<Vec<RuleId>, KernelError> {
    kernel.ask(std::slice::from_ref(packet))?;
    let counted = counters(kernel, ruleset.family())?;
    Ok(ruleset
        .rules()
        .map(|(id, _)| id)
        .filter(|id| counted.get(&place(ruleset, *id)).is_some_and(|n| *n > 0))
        .collect())
}
