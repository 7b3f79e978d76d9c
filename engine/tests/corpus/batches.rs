//! Batches of every length, and every number of workers, over thousands of Services: most come the flat way, and some that ask for more than
//! addresses and ports the nodes' way.

use crate::replayed::{Frames, SEED, report, verdicts};
use kpclass_compiler::Config;
use kpclass_engine::check::Check;
use kpclass_engine::report::Dispositions;
use kpclass_engine::{HookChoice, Rules, Settings};
use kpclass_reference::Walk;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::{Hook, RuleId, Ruleset};
use kpclass_workload::edges::Edges;
use std::fmt::Write as _;

/// More than a batch holds, twice.
const LONGEST: usize = 130;

/// The chances of three endpoints, as kube-proxy gives them, and such as no first guess meets.
const CHANCES: [[&str; 3]; 2] = [
    ["0.33333333349", "0.50000000000", "1.00000000000"],
    ["0.05000000028", "0.10000000009", "1.00000000000"],
];

/// Services with three endpoints each, half of whose sources are masqueraded; each third one asks for a length.
fn services(count: usize) -> Ruleset {
    let mut chains = String::new();
    let mut rules = String::new();
    for i in 0..count {
        let vip = format!("10.96.{}.{}", i / 250, i % 250);
        let length = if i % 3 == 0 {
            " -m length --length 20:65535"
        } else {
            ""
        };
        let _ = writeln!(chains, ":KUBE-SVC-{i} - [0:0]");
        let _ = writeln!(
            rules,
            "-A PREROUTING -d {vip}/32 -p tcp -m tcp --dport 80{length} -j KUBE-SVC-{i}"
        );
        let _ = writeln!(
            rules,
            "-A KUBE-SVC-{i} -s 10.1.0.0/17 -m comment --comment \"shop/s{i}\" -j MARK --set-xmark 0x4000/0x4000"
        );
        for (k, chance) in CHANCES[i % 2].iter().enumerate() {
            let to = format!("10.{}.{}.{}", 2 + k, i / 250, i % 250);
            let _ = writeln!(
                rules,
                "-A KUBE-SVC-{i} -p tcp -m statistic --mode random --probability {chance} -j DNAT --to-destination {to}:8080"
            );
        }
    }
    let text = format!(
        "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n{chains}{rules}\
         -A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE\nCOMMIT\n\
         *filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -d 10.2.0.0/24 -p tcp -j REJECT --reject-with tcp-reset\n\
         -A FORWARD -d 10.3.0.7/32 -j DROP\nCOMMIT\n"
    );
    let rules = read(&[Input::new("services", text)]).expect("rules");
    rules.v4.expect("rules of IPv4")
}

fn packets(ruleset: &Ruleset, count: usize) -> Vec<Packet> {
    let mut edges = Edges::new(ruleset, &[], 3);
    let rules = ruleset.rules().len() as u32;
    let mut packets = Vec::new();
    // A step that is prime to the number of rules goes through them out of order.
    let mut rule = 0;
    while packets.len() < count {
        rule = (rule + 7919) % rules;
        let of = edges.of_rule(RuleId(rule), 1);
        packets.extend(
            of.into_iter()
                .filter(|p| p.hook == Hook::Prerouting && !p.fragment),
        );
    }
    packets.truncate(count);
    packets
}

fn frames(packets: &[Packet], walk: &Walk<'_>) -> Frames {
    let mut frames = Frames::default();
    for packet in packets {
        frames.push(packet, walk, Hook::Prerouting, |read| read);
    }
    frames
}

fn settings(threads: usize) -> Settings {
    Settings {
        hook: HookChoice::Prerouting,
        seed: SEED,
        threads,
        check: Check::Off,
        ..Settings::default()
    }
}

#[test]
fn every_batch_length_and_number_of_workers() {
    let (ruleset, node) = (services(2500), NodeFacts::default());
    let rules = Rules::new(Some(&ruleset), None, &node, &Config::default()).expect("no loops");
    let program = &rules.v4.as_ref().expect("rules of IPv4").program;
    let flat = program.lookups().classes();
    assert!((1500..2000).contains(&flat), "{flat}");
    let walk = Walk::new(&ruleset, &node).expect("no loops");
    let packets = packets(&ruleset, 40_000);
    for length in 0..=LONGEST {
        let frames = frames(&packets[length..2 * length], &walk);
        let report = report(&rules, &settings(1), &frames);
        frames.same_counts(&report, &format!("{length} frames"));
        frames.same_credits(&rules, &report, &format!("{length} frames"));
    }
    // Several chunks, so that all workers have some.
    let many = frames(&packets, &walk);
    for threads in [1, 2, 3, 8] {
        let report = report(&rules, &settings(threads), &many);
        many.same_counts(&report, &format!("{threads} workers"));
        many.same_credits(&rules, &report, &format!("{threads} workers"));
        assert!(report.services.len() > 2000, "{}", report.services.len());
        assert_ne!(report.dispositions, Dispositions::default());
        let said = verdicts(&rules, &settings(threads), &many);
        assert!(said == many.decisions, "{threads} workers");
    }
    let rewritten = many.decisions.iter().filter(|d| d.dnat.is_some()).count();
    assert!(rewritten * 4 > packets.len(), "{rewritten} rewritten");
}
