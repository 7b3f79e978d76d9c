//! Scripts of connections, made from a seed: rules, and what hosts on both sides of the node send, in which order, with pauses and with rules that are replaced
//! on the way.
//!
//! ```text
//! seed ─► ruleset + rules that ask for connections ─► first packets that meet it ─► talks ─► steps, interleaved
//! ```
//!
//! What a server answers depends on how its client's packets arrive there, so a step only says who sends what; whoever plays the script fills in the addresses
//! (`kpclass_kernel::script`).

mod rules;
mod talk;

use crate::numbers::Numbers;
use crate::rulesets::{Generated, Ingredients, Recipe, Shape, generate, read_rules};
use crate::trace::trace;
use kpclass_ruleset::Ruleset;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::value::{CtState, Family, protocol};
use std::time::Duration;
pub use talk::{Side, What};

/// A script.
#[derive(Clone, Debug)]
pub struct Script {
    /// The rules at first, and the node.
    pub generated: Generated,
    /// The rules that [`Step::Replace`] loads.
    pub later: (String, Ruleset),
    /// `nf_conntrack_udp_timeout=1`.
    pub settings: Vec<String>,
    /// Whether segments of TCP may stand where no window allows them, so that windows must not be looked at.
    pub is_wild: bool,
    /// The connections, each by its client's first packet and the id of its ICMP queries.
    pub talks: Vec<(Packet, u16)>,
    /// What happens.
    pub steps: Vec<Step>,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// One side of a talk sends something.
    Send(usize, Side, What),
    /// Nobody sends anything.
    Wait(Duration),
    /// The rules are replaced.
    Replace,
}

/// A pause that is over before anything is.
const SHORT: Duration = Duration::from_millis(300);
/// A pause that outlives a timeout of one second.
const LONG: Duration = Duration::from_millis(1_450);

/// Makes the script of a seed, with at least `packets` packets.
pub fn script(seed: u64, packets: usize) -> Script {
    let mut numbers = Numbers::new(seed ^ 0x0073_6372_6970_7473);
    let numbers = &mut numbers;
    let family = numbers.choose([Family::V4, Family::V6]);
    let shape = numbers.choose([Shape::Free, Shape::KubeProxy]);
    let mut recipe = Recipe::new(shape, family, seed);
    recipe.rules = recipe.rules.min(60);
    recipe.with = Ingredients {
        conntrack: true,
        sets: false,
        ..recipe.with
    };
    let mut generated = generate(&recipe);
    let base = generated.text.clone();
    let first = rules::with_connections(&base, &generated, numbers);
    let second = match numbers.chance(0.5) {
        true => rules::with_connections(&base, &generated, numbers),
        false => {
            let other = generate(&Recipe {
                seed: seed ^ 0xffff,
                ..recipe.clone()
            });
            rules::with_connections(&other.text, &generated, numbers)
        }
    };
    generated.ruleset = read_rules(family, &first);
    generated.text = first;
    let later = (second.clone(), read_rules(family, &second));
    let is_wild = numbers.chance(0.6);
    let has_pauses = numbers.chance(0.22);
    let talks = talks(&generated, seed, numbers);
    let mut script = Script {
        generated,
        later,
        settings: settings(has_pauses, numbers),
        is_wild,
        talks,
        steps: Vec::new(),
    };
    write_steps(&mut script, packets, has_pauses, numbers);
    script
}

fn settings(has_pauses: bool, numbers: &mut Numbers) -> Vec<String> {
    let mut settings = Vec::new();
    if has_pauses {
        for name in [
            "udp_timeout",
            "udp_timeout_stream",
            "icmp_timeout",
            "icmpv6_timeout",
            "gre_timeout",
            "gre_timeout_stream",
            "generic_timeout",
            "tcp_timeout_syn_sent",
            "tcp_timeout_syn_recv",
            "tcp_timeout_established",
            "tcp_timeout_fin_wait",
            "tcp_timeout_close_wait",
            "tcp_timeout_last_ack",
            "tcp_timeout_time_wait",
            "tcp_timeout_close",
            "sctp_timeout_closed",
            "sctp_timeout_cookie_wait",
            "sctp_timeout_established",
        ] {
            if numbers.chance(0.6) {
                settings.push(format!("nf_conntrack_{name}=1"));
            }
        }
    }
    if numbers.chance(0.1) {
        settings.push("nf_conntrack_tcp_loose=0".into());
    }
    settings
}

/// First packets that meet rules, of all protocols.
fn talks(generated: &Generated, seed: u64, numbers: &mut Numbers) -> Vec<(Packet, u16)> {
    let count = 2 + numbers.index(4);
    let met = trace(generated, 300, seed);
    let good = met.into_iter().filter(is_host_to_host);
    let mut good: Vec<Packet> = good.collect();
    numbers.shuffle(&mut good);
    let mut talks: Vec<(Packet, u16)> = Vec::new();
    for packet in good {
        if talks.len() == count {
            break;
        }
        let ends = |p: &Packet| (p.source, p.destination, p.protocol, p.ports);
        if talks.iter().any(|(talk, _)| ends(talk) == ends(&packet)) {
            continue;
        }
        talks.push((packet, 1 + numbers.index(60_000) as u16));
        // The same client once more: to another port, from another, or the very same.
        if numbers.chance(0.3) && talks.len() < count {
            let (again, id) = talks[talks.len() - 1].clone();
            let other = like(again, generated, numbers);
            // Numbers of TCP and tags of SCTP are each talk's own.
            let is_numbered = matches!(other.protocol, protocol::TCP | protocol::SCTP);
            let ends = |p: &Packet| (p.source, p.destination, p.protocol, p.ports);
            let is_there = talks.iter().any(|(talk, _)| ends(talk) == ends(&other));
            if !(is_numbered && is_there) {
                talks.push((other, id));
            }
        }
    }
    talks
}

fn is_host_to_host(packet: &Packet) -> bool {
    let one = |address: std::net::IpAddr| match address {
        std::net::IpAddr::V4(a) => {
            !(a.is_multicast() || a.is_broadcast() || a.is_unspecified() || a.is_loopback())
        }
        std::net::IpAddr::V6(a) => {
            !(a.is_multicast()
                || a.is_unspecified()
                || a.is_loopback()
                || a.is_unicast_link_local())
        }
    };
    let known = matches!(
        packet.protocol,
        protocol::TCP
            | protocol::UDP
            | protocol::SCTP
            | protocol::ICMP
            | protocol::ICMPV6
            | 47
            | 253
    );
    let of_family = match packet.protocol {
        protocol::ICMP => packet.source.is_ipv4(),
        protocol::ICMPV6 => packet.source.is_ipv6(),
        _ => true,
    };
    known
        && of_family
        && packet.ctstate == CtState::New
        && !packet.fragment
        && one(packet.source)
        && one(packet.destination)
        && packet.source != packet.destination
}

fn like(mut packet: Packet, generated: &Generated, numbers: &mut Numbers) -> Packet {
    match numbers.index(3) {
        0 => packet.ports = packet.ports.map(|(from, to)| (from ^ 1, to)),
        1 => {
            // Straight to where a rule may send it, too.
            let others = trace(generated, 40, numbers.bits());
            let other = others.into_iter().find(|other| {
                is_host_to_host(other) && other.protocol == packet.protocol && other.ports.is_some()
            });
            if let (Some(other), Some((from, _))) = (other, packet.ports) {
                packet.destination = other.destination;
                packet.ports = other.ports.map(|(_, to)| (from, to));
            }
        }
        _ => {}
    }
    packet
}

fn write_steps(script: &mut Script, packets: usize, has_pauses: bool, numbers: &mut Numbers) {
    let talks = script.talks.iter().enumerate();
    let mut open: Vec<(usize, Vec<(Side, What)>)> = talks
        .map(|(at, (first, _))| (at, talk::steps(first, script.is_wild, numbers)))
        .collect();
    let mut sent = 0;
    let mut replaces = usize::from(numbers.chance(0.4));
    while sent < packets || !open.iter().all(|(_, left)| left.is_empty()) {
        if open.is_empty() || sent > 3 * packets {
            break;
        }
        let at = numbers.index(open.len());
        let (of, left) = &mut open[at];
        if left.is_empty() {
            if sent < packets {
                // The talk begins once more, on the same ports.
                let (first, _) = &script.talks[*of];
                *left = talk::steps(first, script.is_wild, numbers);
            }
            continue;
        }
        for _ in 0..1 + numbers.index(4) {
            if left.is_empty() {
                break;
            }
            let (side, what) = left.remove(0);
            script.steps.push(Step::Send(*of, side, what));
            sent += 1;
        }
        if has_pauses && numbers.chance(0.09) {
            let pause = numbers.choose([SHORT, LONG]);
            script.steps.push(Step::Wait(pause));
        }
        if replaces > 0 && sent > packets / 3 {
            script.steps.push(Step::Replace);
            replaces -= 1;
        }
    }
}
