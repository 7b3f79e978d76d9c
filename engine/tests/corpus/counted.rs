//! What a replay counts where more than one part of the classes is compiled, and where the node has more addresses than there are slots for.

use crate::replayed::{Frames, SEED, report, verdicts};
use kpclass_compiler::Config;
use kpclass_engine::check::Check;
use kpclass_engine::{HookChoice, Rules, Settings};
use kpclass_reference::Walk;
use kpclass_ruleset::node::{LocalAddresses, NodeFacts};
use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::{Hook, Ruleset, spec};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

const SETTINGS: Settings = Settings {
    hook: HookChoice::Prerouting,
    in_interface: None,
    mark: 0,
    seed: SEED,
    threads: 1,
    check: Check::Off,
    top: 10,
};

fn ruleset(text: &str) -> Ruleset {
    let rules = read(&[Input::new("counted", text)]).expect("rules");
    rules.v4.expect("rules of IPv4")
}

fn frames<'s>(walk: &Walk<'_>, node: &NodeFacts, specs: impl Iterator<Item = &'s str>) -> Frames {
    let mut frames = Frames::default();
    for text in specs {
        let packet = spec::parse(text).expect("a packet").packet(node);
        frames.push(&packet, walk, Hook::Prerouting, |read| read);
    }
    frames
}

/// Each Service has an address of its own. Every second one has an endpoint, the others refuse; one refuses what no other names.
#[test]
fn each_packet_counts_under_the_key_that_it_came_to() {
    let (mut chains, mut nat, mut filter) = (String::new(), String::new(), String::new());
    let (mut specs, mut expected) = (Vec::new(), BTreeMap::new());
    for i in 0..600 {
        let vip = format!("10.96.{}.{}", i / 250, i % 250);
        let to = format!("10.97.{}.{}", i / 250, i % 250);
        let of = |says: &str| {
            format!(
                "-d {vip}/32 -p tcp -m comment --comment \"shop/s{i} {says}\" -m tcp --dport 80"
            )
        };
        let _ = match i % 2 {
            0 => write!(
                nat,
                "-A KUBE-SERVICES {} -j KUBE-SVC-{i}\n\
                 -A KUBE-SVC-{i} -p tcp -m comment --comment \"shop/s{i}\" -m tcp -j DNAT --to-destination {to}:8080\n",
                of("cluster IP"),
            ),
            _ => writeln!(
                filter,
                "-A KUBE-SERVICES {} -j REJECT",
                of("has no endpoints")
            ),
        };
        let _ = writeln!(chains, ":KUBE-SVC-{i} - [0:0]");
        specs.push(format!("tcp 10.0.0.9:4000 > {vip}:80"));
        expected.insert((format!("shop/s{i}"), format!("tcp {vip}:80")), 1);
    }
    specs.push("udp 10.9.0.1:4000 > 10.77.0.1:53".to_owned());
    specs.push("udp 10.8.0.1:4000 > 10.77.0.1:53".to_owned());
    expected.insert(("shop/any".to_owned(), "other".to_owned()), 1);
    let ruleset = ruleset(&format!(
        "*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n{chains}-A PREROUTING -j KUBE-SERVICES\n{nat}COMMIT\n\
         *filter\n:FORWARD ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n-A FORWARD -j KUBE-SERVICES\n{filter}\
         -A KUBE-SERVICES -s 10.9.0.0/16 -m comment --comment \"shop/any has no endpoints\" -j REJECT\nCOMMIT\n"
    ));
    let node = NodeFacts::default();
    let rules = Rules::new(Some(&ruleset), None, &node, &Config::default()).expect("no loops");
    let walk = Walk::new(&ruleset, &node).expect("no loops");
    let frames = frames(&walk, &node, specs.iter().map(String::as_str));
    let report = report(&rules, &SETTINGS, &frames);
    frames.same_counts(&report, "keys");
    frames.same_credits(&rules, &report, "keys");
    let counted = report.services.iter();
    let counted = counted.map(|s| ((s.service.clone(), s.key.clone()), s.tally.packets));
    assert_eq!(counted.collect::<BTreeMap<_, u64>>(), expected);
}

/// One is asked of after the other whose they are: what comes from the node itself is refused, what goes there stays.
#[test]
fn so_many_addresses_of_the_node_are_told_from_others() {
    let own = (0..5000).map(|i| IpAddr::from(Ipv4Addr::from(0x0a14_0001 + i)));
    let node = NodeFacts {
        local: Some(LocalAddresses::new(own)),
        ..NodeFacts::default()
    };
    let ruleset = ruleset(
        "*nat\n:PREROUTING ACCEPT [0:0]\n\
         -A PREROUTING -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.1.0.1:8080\nCOMMIT\n\
         *filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -d 10.0.0.7/32 -j DROP\nCOMMIT\n",
    );
    let rules = Rules::new(Some(&ruleset), None, &node, &Config::default()).expect("no loops");
    let walk = Walk::new(&ruleset, &node).expect("no loops");
    let specs = [
        "tcp 10.20.0.1:4000 > 10.96.0.1:80",
        "tcp 10.20.19.7:4000 > 10.96.0.1:80",
        "tcp 10.20.20.7:4000 > 10.96.0.1:80",
        "tcp 10.20.0.1:4000 > 10.0.0.9:80",
        "tcp 10.20.19.7:4000 > 10.0.0.7:80",
        "tcp 10.20.20.7:4000 > 10.0.0.9:80",
        "tcp 10.0.0.9:4000 > 10.20.0.1:80",
        "tcp 10.0.0.9:4000 > 10.20.19.7:80",
        "tcp 10.0.0.9:4000 > 10.20.20.7:80",
        "tcp 10.0.0.9:4000 > 10.0.0.7:80",
    ];
    let frames = frames(&walk, &node, specs.into_iter());
    let report = report(&rules, &SETTINGS, &frames);
    frames.same_counts(&report, "addresses");
    let counts = report.dispositions;
    assert_eq!((counts.drop, counts.local, counts.forward), (5, 2, 3));
    assert_eq!(verdicts(&rules, &SETTINGS, &frames), frames.decisions);
}
