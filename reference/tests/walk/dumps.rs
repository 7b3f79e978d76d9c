//! Every dump at hand, asked about packets on the edges of its own rules: the three forms of the answer must agree.

use kpclass_reference::{Probability, Walk};
use kpclass_ruleset::Hook;
use kpclass_ruleset::Ruleset;
use kpclass_ruleset::decision::Decision;
use kpclass_ruleset::matches::{MatchKind, Ports};
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::value::{Family, address_number, number_address, protocol};
use kpclass_workload::corpus::describe;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// So many packets of a dump are asked about, taken evenly from the edges of all its rules; fewer where each costs a long walk.
fn sample(rules: usize) -> usize {
    (2_000_000 / rules.max(1)).clamp(20, 400)
}

#[test]
fn kube_proxys_dumps() {
    check_folder("dumps/kube-proxy", 40);
}

#[test]
fn third_parties_dumps() {
    check_folder("dumps/wild", 30);
}

fn check_folder(folder: &str, at_least: usize) {
    let shared = std::env::var_os("KPCLASS_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    let mut files = Vec::new();
    collect(&shared.join(folder), &mut files);
    if files.is_empty() {
        std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("SKIPPED: no dumps in {}\n", shared.join(folder).display()),
        )
        .ok();
        return;
    }
    files.sort();
    let mut walked = 0;
    for path in files {
        let Ok(bytes) = std::fs::read(&path) else {
            continue;
        };
        // What is no dump, or one that the readers refuse, is theirs to test.
        let Ok(rules) = read(&[Input::new(path.display().to_string(), bytes)]) else {
            continue;
        };
        for ruleset in rules.v4.iter().chain(&rules.v6) {
            check(&path, ruleset);
            walked += 1;
        }
    }
    assert!(walked >= at_least, "only {walked} rulesets");
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut to_do = vec![folder.to_path_buf()];
    while let Some(folder) = to_do.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => to_do.push(entry.path()),
                _ if entry.file_name().to_string_lossy().contains(".txt") => {
                    files.push(entry.path())
                }
                _ => {}
            }
        }
    }
}

fn check(path: &Path, rules: &Ruleset) {
    let node = NodeFacts::default();
    let walk = match Walk::new(rules, &node) {
        Ok(walk) => walk,
        Err(error) => panic!("{}: {error}", path.display()),
    };
    let packets = packets(rules);
    for packet in packets
        .iter()
        .step_by(packets.len() / sample(rules.rules().len()) + 1)
    {
        check_packet(&walk, packet, &|decision| {
            format!(
                "{}: {packet:?}: {}",
                path.display(),
                describe(rules, decision)
            )
        });
    }
}

fn check_packet(walk: &Walk<'_>, packet: &Packet, context: &dyn Fn(&Decision) -> String) {
    let pieces = walk.partition(packet);
    assert_eq!(pieces.last().expect("a piece").last, u64::MAX);
    assert!(
        pieces
            .windows(2)
            .all(|two| two[0].last < two[1].last && two[0].decision != two[1].decision)
    );
    let mut first = 0;
    for piece in pieces.iter().take(20) {
        for draw in [first, piece.last] {
            let decided = walk.decide(packet, draw).decision;
            assert_eq!(decided, piece.decision, "{}", context(&decided));
        }
        first = piece.last.wrapping_add(1);
    }
    let outcomes = walk.outcomes(packet);
    let sum = outcomes
        .iter()
        .fold(Probability::zero(), |sum, o| sum.plus(&o.probability));
    assert!(sum.is_one(), "{}: {sum}", context(&pieces[0].decision));
    assert!(
        outcomes
            .windows(2)
            .all(|two| two[0].probability >= two[1].probability)
    );
    for piece in pieces.iter().take(20) {
        let found = outcomes
            .iter()
            .any(|o| o.decision.disposition == piece.decision.disposition);
        assert!(found, "{}", context(&piece.decision));
    }
}

/// Packets to and from the addresses and ports that rules name, and their neighbours.
fn packets(rules: &Ruleset) -> Vec<Packet> {
    let family = rules.family();
    let mut edges = BTreeSet::new();
    for (_, rule) in rules.rules() {
        let matches = rules.matches(rule);
        let destination = matches.iter().find_map(|m| match &m.kind {
            MatchKind::Destination(prefix) => Some(prefix.address()),
            _ => None,
        });
        let number = matches.iter().find_map(|m| match m.kind {
            MatchKind::Protocol(number) => Some(number),
            _ => None,
        });
        let port = matches.iter().find_map(|m| match &m.kind {
            MatchKind::Tcp(tcp) => Some(first_port(&tcp.ports)),
            MatchKind::Udp(ports) | MatchKind::Sctp(ports) => Some(first_port(ports)),
            _ => None,
        });
        let address = destination.unwrap_or(number_address(family, outsider(family) + 7));
        for address in [
            address,
            number_address(family, address_number(address).wrapping_add(1)),
        ] {
            edges.insert((address, number.unwrap_or(protocol::TCP), port.unwrap_or(80)));
        }
    }
    let mut packets = Vec::new();
    for (address, number, port) in edges {
        for (hook, source) in [
            (Hook::Prerouting, 1),
            (Hook::Prerouting, 0x0100_0001),
            (Hook::Output, 9),
        ] {
            let ports = matches!(number, protocol::TCP | protocol::UDP | protocol::SCTP)
                .then_some((40_000, port));
            let source: IpAddr = number_address(family, outsider(family) + source);
            packets.push(Packet::new(hook, number, source, address, ports));
        }
    }
    packets
}

/// 10.0.0.0, or fd00::
fn outsider(family: Family) -> u128 {
    match family {
        Family::V4 => 0x0a00_0000,
        Family::V6 => 0xfd00 << 112,
    }
}

fn first_port(ports: &Ports) -> u16 {
    ports.destination.first
}
