//! Rules, facts of a node and packets grown from choices: the compiled program, with passes on or off and budgets large or nothing, verifies, and decides
//! each packet as the reference does, for every number that could be drawn; and so does its short way, by which captures are replayed.

use super::choices::Choices;
use super::node_facts;
use super::rule_lines::{address, dump, port};
use kpclass_compiler::header::Header;
use kpclass_compiler::program::node::Act;
use kpclass_compiler::{Config, Context, Passes, Program};
use kpclass_engine::judge::first_difference;
use kpclass_reference::Walk;
use kpclass_ruleset::decision::{Decision, Snat};
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::value::{CtState, Family, Interface, protocol};
use kpclass_ruleset::{Hook, Ruleset};
use kpclass_workload::edges::Edges;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Packets of one run, at most: what bounds its time.
const MOST_PACKETS: usize = 200;

/// Pieces of a packet's answer that are asked for one by one.
const MOST_PIECES: usize = 64;

/// After so long no further packet is judged: rules may be grown that draw for each packet as often as is allowed.
const LONG: Duration = Duration::from_secs(1);

/// Holds what the bytes choose to what the module says.
///
/// # Panics
/// Where it does not hold.
pub fn check(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let family = choices.one(&[Family::V4, Family::V6]);
    let node = node_facts::grow(&mut choices, family);
    let config = config(&mut choices);
    let seed = choices.any();
    let own: Vec<Packet> = (0..8).map(|_| packet(&mut choices, family)).collect();
    let text = dump(&mut choices, family);
    let rules = match read(&[Input::new("grown", text.as_str())]) {
        Ok(rules) => rules,
        Err(error) => panic!("{error}\n{text}"),
    };
    for ruleset in rules.v4.iter().chain(&rules.v6) {
        let mut packets = own.clone();
        packets.retain(|packet| packet.family() == ruleset.family());
        packets.extend(edges(ruleset, &node, seed));
        if let Err((packet, _)) = judge(ruleset, &node, &config, &packets) {
            report(&text, &node, &config, &packet);
        }
    }
}

/// Takes rules out while program and reference still differ on the packet, and says what is left.
fn report(text: &str, node: &NodeFacts, config: &Config, packet: &Packet) -> ! {
    let difference = |text: &str| {
        let rules = read(&[Input::new("grown", text)]).ok()?;
        let both = rules.v4.iter().chain(&rules.v6);
        let ruleset = both
            .into_iter()
            .find(|ruleset| ruleset.family() == packet.family())?;
        let judged = judge(ruleset, node, config, std::slice::from_ref(packet));
        judged.err().map(|(_, difference)| difference)
    };
    let mut lines: Vec<&str> = text.lines().collect();
    let mut at = lines.len();
    while at > 0 {
        at -= 1;
        let mut fewer = lines.clone();
        fewer.remove(at);
        if difference(&fewer.join("\n")).is_some() {
            lines = fewer;
        }
    }
    let text = lines.join("\n");
    let difference = difference(&text).unwrap_or_default();
    panic!("{difference}\n{config:?}\n{node:?}\n{text}");
}

fn config(choices: &mut Choices<'_>) -> Config {
    let any = Config::any();
    let passes = Passes {
        share: !choices.once_in(4),
        merge_tails: !choices.once_in(4),
        select: !choices.once_in(4),
        lean: !choices.once_in(4),
    };
    let few = choices.once_in(4);
    Config {
        class_nodes: if few {
            choices.one(&[0, 1, 4, 32])
        } else {
            any.class_nodes
        },
        total_nodes: if few {
            choices.one(&[0, 16, 1 << 24])
        } else {
            any.total_nodes
        },
        passes,
        ..any
    }
}

/// A packet whose fields come from the pools of the rules.
fn packet(choices: &mut Choices<'_>, family: Family) -> Packet {
    use protocol::{DCCP, ICMP, ICMPV6, SCTP, TCP, UDP};
    let hook = choices.one(&[Hook::Prerouting, Hook::Prerouting, Hook::Output]);
    let number = choices.one(&[TCP, UDP, ICMP, ICMPV6, SCTP, DCCP, 47]);
    let fragment = choices.once_in(16);
    let has_ports = matches!(number, TCP | UDP | SCTP | DCCP) && !fragment;
    let ports = has_ports.then(|| (port(choices), port(choices)));
    let (source, destination) = (address(choices, family), address(choices, family));
    let mut packet = Packet::new(hook, number, source, destination, ports);
    packet.fragment = fragment;
    if fragment {
        (packet.tcp_flags, packet.icmp) = (None, None);
    }
    packet.tcp_flags = packet
        .tcp_flags
        .map(|syn| choices.one(&[syn, 0x12, 0x10, 0, 0x3f, 0xff]));
    packet.icmp = packet
        .icmp
        .map(|echo| choices.one(&[echo, (3, 4), (0, 0), (255, 0), (1, 1)]));
    if hook == Hook::Prerouting {
        let devices = ["eth0", "lo", "eth1", "cali12345678901"].map(Interface::new);
        packet.in_interface = choices.one(&[None, devices[0], devices[1], devices[2], devices[3]]);
    }
    packet.mark = choices.one(&[0, 0, 0x4000, 0x8000, u32::MAX]);
    packet.ctstate = if choices.once_in(2) {
        choices.one(&CtState::ALL)
    } else {
        packet.first_ctstate()
    };
    let known = choices.any::<u8>();
    packet.length = (known & 1 != 0).then(|| port(choices));
    packet.ttl = (known & 2 != 0).then(|| choices.one(&[64, 1, 0, 255]));
    packet.dscp = (known & 4 != 0).then(|| choices.one(&[0, 46, 10]));
    packet.source_mac = (known & 8 != 0).then(|| [2, 0, 0, 0, 0, choices.one(&[0, 1, 3])]);
    packet
}

/// Packets on the edges of the rules.
fn edges(ruleset: &Ruleset, node: &NodeFacts, seed: u64) -> Vec<Packet> {
    let mut locals: Vec<IpAddr> = node
        .local
        .iter()
        .flat_map(|l| l.addresses.iter().copied())
        .collect();
    locals.sort();
    let mut edges = Edges::new(ruleset, &locals, seed);
    let mut packets = Vec::new();
    for (rule, _) in ruleset.rules() {
        packets.extend(edges.of_rule(rule, 1));
        if packets.len() > MOST_PACKETS {
            break;
        }
    }
    packets.truncate(MOST_PACKETS);
    packets
}

/// Holds the program to the reference on each packet.
///
/// # Errors
/// The first packet on which they differ, and how.
fn judge(
    ruleset: &Ruleset,
    node: &NodeFacts,
    config: &Config,
    packets: &[Packet],
) -> Result<(), (Packet, String)> {
    let both = Program::compile(ruleset, node, config).map_err(|error| error.to_string());
    let both = both.and_then(|program| {
        program
            .verify()
            .map_err(|broken| format!("does not verify: {broken}"))?;
        let walk = Walk::new(ruleset, node).map_err(|error| error.to_string())?;
        Ok((program, walk))
    });
    let begun = Instant::now();
    let mut in_time = packets.iter().take_while(|_| begun.elapsed() < LONG);
    in_time.try_for_each(|packet| {
        let judged = both.as_ref().map_err(Clone::clone);
        judged
            .and_then(|(program, walk)| one(walk, program, packet))
            .map_err(|difference| (packet.clone(), difference))
    })
}

fn one(walk: &Walk<'_>, program: &Program, packet: &Packet) -> Result<(), String> {
    let spec = || kpclass_ruleset::spec::of_packet(packet);
    let (header, context) = (Header::from(packet), Context::from(packet));
    let Some(pieces) = program.partition(&header, &context) else {
        return Err(format!("{} is not decided", spec()));
    };
    let reference = walk.partition(packet);
    if let Some((draw, reference, program)) = first_difference(&reference, &pieces) {
        return Err(format!(
            "{}\n number {draw}\n reference {reference:#?}\n program {program:#?}",
            spec()
        ));
    }
    let known = pieces.iter().filter(|piece| !piece.decision.gave_up());
    for piece in known.take(MOST_PIECES) {
        let decided = program.decide(&header, &context, piece.last);
        if decided.as_ref() != Some(&piece.decision) {
            return Err(format!(
                "{}\n number {} alone: {decided:#?}\n of all: {:#?}",
                spec(),
                piece.last,
                piece.decision
            ));
        }
        short_way(program, &header, &context, piece.last, &piece.decision).map_err(|short| {
            format!(
                "{}\n number {}\n short way: {short}\n decided: {:#?}",
                spec(),
                piece.last,
                piece.decision
            )
        })?;
    }
    Ok(())
}

/// What a replay would count of the packet, by the flat form and by the nodes, must be what is decided; a packet that takes the long way says
/// nothing.
fn short_way(
    program: &Program,
    header: &Header,
    context: &Context,
    draw: u64,
    decided: &Decision,
) -> Result<(), String> {
    let ways = [
        program.outcome(header, context, draw),
        program.outcome_by_nodes(header, context, draw),
    ];
    for outcome in ways.into_iter().flatten() {
        let end = program.end(outcome.end);
        let dnat = outcome.dnat.map(|act| match program.act(act) {
            Act::Dnat(dnat) => Some(dnat.rule),
            _ => None,
        });
        let masqueraded = matches!(decided.snat, Some((Snat::Masquerade, _)));
        let agrees = end.disposition == decided.disposition
            && end.decided_by == decided.decided_by
            && (decided.is_unknown() || dnat == decided.dnat.map(|(_, rule)| Some(rule)))
            && (decided.is_unknown() || outcome.masqueraded == masqueraded);
        if !agrees {
            return Err(format!("{outcome:?} {end:?} {dnat:?}"));
        }
    }
    Ok(())
}
