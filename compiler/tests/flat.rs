//! Which classes have a flat form: what kube-proxy writes must have one, or replays are slow without anyone noticing.

use kpclass_compiler::header::{Header, known};
use kpclass_compiler::program::lookup::{Lookups, Tuple};
use kpclass_compiler::program::node::Act;
use kpclass_compiler::{Class, ClassId, Config, Context, Passes, Program};
use kpclass_ruleset::Hook;
use kpclass_ruleset::node::{LocalAddresses, NodeFacts};
use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::spec;
use kpclass_ruleset::value::{CtState, Family, address_number};
use std::net::IpAddr;
use std::path::Path;

/// Classes of a dump, and how many of them have a flat form.
fn classes(text: &str, local: &[&str]) -> (usize, usize) {
    let ruleset = read(&[Input::new("rules", text)]).unwrap().v4.unwrap();
    let local = local.iter().map(|a| a.parse::<IpAddr>().unwrap());
    let node = NodeFacts {
        local: Some(LocalAddresses::new(local)),
        ..NodeFacts::default()
    };
    let program = Program::compile(&ruleset, &node, &Config::default()).unwrap();
    let exact = |class: &&Class| !matches!(class, Class::Portless { .. });
    let all = program.classes().iter().filter(exact).count();
    (all, program.lookups().classes())
}

#[test]
fn every_class_of_kube_proxys_rules_is_flat() {
    let dumps = [
        "testdata/dumps/kube-proxy/a-microk8s/v1.30-nft/iptables-save.txt",
        "pcaps/zoo.rules",
    ];
    for dump in dumps {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(dump);
        let text = std::fs::read_to_string(path).unwrap();
        let (all, flat) = classes(&text, &["172.18.0.2"]);
        assert!(all > 5, "{dump}");
        assert_eq!(flat, all, "{dump}");
    }
}

#[test]
fn what_asks_for_more_than_the_tuple_is_left_to_the_nodes() {
    let rules = |ask: &str| {
        format!(
            "*nat\n-A PREROUTING -d 10.0.0.9 -p tcp -m tcp --dport 80 {ask} -j DNAT --to-destination 10.1.0.1:8080\nCOMMIT\n"
        )
    };
    assert_eq!(classes(&rules(""), &[]), (2, 2));
    assert_eq!(classes(&rules("-m length --length 40:60"), &[]), (2, 1));
    assert_eq!(classes(&rules("-m ttl --ttl-lt 5"), &[]), (2, 1));
}

#[test]
fn an_outcome_is_told_where_nothing_is_missing() {
    let text = include_str!("small.rules");
    let ruleset = read(&[Input::new("rules", text)]).unwrap().v4.unwrap();
    let node = NodeFacts {
        local: Some(LocalAddresses::new(["192.168.0.2".parse().unwrap()])),
        ..NodeFacts::default()
    };
    let all_nodes = Config {
        passes: Passes::with_all_nodes(),
        ..Config::default()
    };
    let program = Program::compile(&ruleset, &node, &all_nodes).unwrap();
    assert_eq!(program.local_addresses(), [0xc0a8_0002]);
    for (spec, told) in [
        ("tcp 10.0.0.1:1 > 10.96.0.10:80", true),
        ("udp 10.0.0.1:1 > 192.168.0.2:9", true),
        ("tcp 192.168.0.2:1 > 10.0.0.9:80", true),
        // Whether this node is of the group, and whether it lets loopback in.
        ("udp 10.0.0.1:1 > 224.0.0.9:9", false),
        ("udp 10.0.0.1:1 > 127.0.0.1:9", false),
    ] {
        let packet = spec::parse(spec).unwrap().packet(&node);
        let (header, context) = (Header::from(&packet), Context::from(&packet));
        for draw in [0, u64::MAX] {
            let outcome = program.outcome(&header, &context, draw);
            assert_eq!(outcome.is_some(), told, "{spec}");
            let by_nodes = program.outcome_by_nodes(&header, &context, draw);
            assert_eq!(by_nodes.is_some(), told, "{spec}");
        }
    }
}

/// Asks of packets to each class, from each source and to each destination given, flat form and nodes for the same; how many were told.
fn hold_together(text: &str, family: Family, local: &str, others: &[&str]) -> usize {
    let read = read(&[Input::new("rules", text)]).unwrap();
    let ruleset = match family {
        Family::V4 => read.v4,
        Family::V6 => read.v6,
    };
    let node = NodeFacts {
        local: Some(LocalAddresses::new([local.parse().unwrap()])),
        ..NodeFacts::default()
    };
    let all_nodes = Config {
        passes: Passes::with_all_nodes(),
        ..Config::default()
    };
    let program = Program::compile(&ruleset.unwrap(), &node, &all_nodes).unwrap();
    let number = |text: &&str| address_number(text.parse().unwrap());
    let addresses: Vec<u128> = [&local].into_iter().chain(others).map(number).collect();
    let mut told = 0;
    for class in program.classes() {
        let (protocol, port, to) = match *class {
            Class::Exact {
                protocol,
                destination,
                port,
            } => (protocol, port, vec![destination]),
            Class::Port { protocol, port } => (protocol, port, addresses.clone()),
            _ => (6, 4444, addresses.clone()),
        };
        for (destination, source) in to
            .iter()
            .flat_map(|to| addresses.iter().map(move |a| (to, a)))
        {
            let is_v6 = if family == Family::V6 { known::V6 } else { 0 };
            let header = Header {
                source: *source,
                destination: *destination,
                source_port: 4000,
                destination_port: port,
                protocol,
                known: known::PORTS | is_v6,
                ..Header::default()
            };
            let is_sent = program.is_local(*source);
            let context = Context {
                hook: if is_sent {
                    Hook::Output
                } else {
                    Hook::Prerouting
                },
                in_interface: None,
                mark: 0,
                ctstate: CtState::New,
                is_joined: false,
            };
            for draw in (0..20).map(|part| u64::MAX / 19 * part) {
                let flat = program.outcome(&header, &context, draw);
                let by_nodes = program.outcome_by_nodes(&header, &context, draw);
                assert_eq!(flat, by_nodes, "{header:?} {draw}");
                told += usize::from(flat.is_some());
            }
        }
    }
    told
}

#[test]
fn flat_form_and_nodes_say_the_same() {
    let zoo = include_str!("../../pcaps/zoo.rules");
    let dual = include_str!("../../pcaps/dual.rules");
    let v4 = [
        "10.244.1.2",
        "10.244.0.3",
        "10.96.0.1",
        "203.0.113.9",
        "127.0.0.1",
        "224.0.0.1",
    ];
    let v6 = [
        "fd00:10:244::2",
        "fd00:10:244:1::3",
        "2001:db8::9",
        "::1",
        "fe80::1",
        "ff02::1",
    ];
    assert!(hold_together(zoo, Family::V4, "172.18.0.2", &v4) > 10_000);
    assert!(hold_together(dual, Family::V4, "172.18.0.2", &v4) > 1_000);
    assert!(hold_together(dual, Family::V6, "fc00:f853:ccd:e793::2", &v6) > 1_000);
    // A key of a Service at the node's own address, and a node port, are two.
    let both = "*nat\n:KUBE-NODEPORTS -\n\
        -A PREROUTING -d 172.18.0.2/32 -p tcp -m tcp --dport 30080 -j DNAT --to-destination 10.244.1.2:80\n\
        -A PREROUTING -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\n\
        -A KUBE-NODEPORTS -p tcp -m tcp --dport 30080 -j DNAT --to-destination 10.244.1.3:81\n\
        -A KUBE-NODEPORTS -p udp -m udp --dport 30080 -j DNAT --to-destination 10.244.1.3:82\nCOMMIT\n";
    assert!(hold_together(both, Family::V4, "172.18.0.2", &v4) > 500);
    // Who draws from which endpoints depends on the source.
    let local = "*nat\n\
        -A PREROUTING -d 203.0.113.9/32 -p tcp -m tcp --dport 80 -j ext\n\
        -A ext -s 10.244.0.0/16 -j svc\n-A ext -m addrtype --src-type LOCAL -j svc\n-A ext -j svl\n\
        -A svc -m statistic --mode random --probability 0.33333333349 -j sep1\n\
        -A svc -m statistic --mode random --probability 0.50000000000 -j sep2\n-A svc -j sep3\n\
        -A svl -m statistic --mode random --probability 0.50000000000 -j sep2\n-A svl -j sep3\n\
        -A sep1 -p tcp -j DNAT --to-destination 10.244.1.1:80\n\
        -A sep2 -p tcp -j DNAT --to-destination 10.244.1.2:80\n\
        -A sep3 -p tcp -j DNAT --to-destination 10.244.1.3:80\nCOMMIT\n";
    assert!(hold_together(local, Family::V4, "172.18.0.2", &v4) > 500);
}

#[test]
fn the_bytes_of_a_program_grow_with_it() {
    let service = |i: usize| {
        format!(
            "-A PREROUTING -d 10.0.{}.{}/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.1.0.1:8080\n",
            i / 250,
            i % 250
        )
    };
    let bytes = |count: usize| {
        let rules: String = (0..count).map(service).collect();
        let text = format!("*nat\n:PREROUTING ACCEPT [0:0]\n{rules}COMMIT\n");
        let ruleset = read(&[Input::new("rules", text)]).unwrap().v4.unwrap();
        let program =
            Program::compile(&ruleset, &NodeFacts::default(), &Config::default()).unwrap();
        assert!(!program.is_empty() && program.conntrack_on());
        program.bytes()
    };
    let (small, large) = (bytes(100), bytes(1000));
    assert!((8 * small..12 * small).contains(&large), "{small} {large}");
    assert!((128..256).contains(&(large / 1000)), "{large}");
}

#[test]
fn the_chances_of_rewrites_are_those_of_their_draws() {
    let draw = |chance, to| {
        format!(
            "-A s -p tcp -m statistic --mode random --probability {chance} -j DNAT --to-destination {to}:8080"
        )
    };
    let text = format!(
        "*nat\n:PREROUTING ACCEPT [0:0]\n:s - [0:0]\n\
         -A PREROUTING -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -s 10.0.0.0/8 -j s\n{}\n{}\n\
         -A s -p tcp -j DNAT --to-destination 10.1.0.3:8080\n\
         -A PREROUTING -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.1.0.4\nCOMMIT\n",
        draw("0.25000000000", "10.1.0.1"),
        draw("0.50000000000", "10.1.0.2"),
    );
    let ruleset = read(&[Input::new("rules", text)]).unwrap().v4.unwrap();
    let on = Passes::default();
    for passes in [
        on,
        Passes::with_all_nodes(),
        Passes {
            select: false,
            ..Passes::with_all_nodes()
        },
    ] {
        let config = Config {
            passes,
            ..Config::default()
        };
        let program = Program::compile(&ruleset, &NodeFacts::default(), &config).unwrap();
        let packet = spec::parse("tcp 10.0.0.1:1 > 10.96.0.1:80").unwrap();
        let packet = packet.packet(&NodeFacts::default());
        let chances = program.dnat_chances(program.class(&Header::from(&packet)));
        let mut chances: Vec<_> = chances
            .into_iter()
            .map(|(dnat, chance)| (dnat.address.unwrap().to_string(), chance))
            .collect();
        chances.sort_by(|(a, _), (b, _)| a.cmp(b));
        let expected = [
            ("10.1.0.1", 0.25),
            ("10.1.0.2", 0.375),
            ("10.1.0.3", 0.375),
            ("10.1.0.4", 1.0),
        ];
        assert_eq!(chances, expected.map(|(a, chance)| (a.to_owned(), chance)));
    }
}

/// Where the nodes of a class were dropped, its chances are those that they gave.
#[test]
fn the_chances_of_rewrites_are_the_same_without_the_nodes() {
    let text = include_str!("../../pcaps/zoo.rules");
    let ruleset = read(&[Input::new("rules", text)]).unwrap().v4.unwrap();
    let node = NodeFacts {
        local: Some(LocalAddresses::new(["10.10.2.58".parse().unwrap()])),
        ..NodeFacts::default()
    };
    let [flat, whole] = [Passes::default(), Passes::with_all_nodes()].map(|passes| {
        let config = Config {
            passes,
            ..Config::default()
        };
        Program::compile(&ruleset, &node, &config).unwrap()
    });
    let chances = |program: &Program, class| -> Vec<(String, f64)> {
        let text = |dnat| format!("{dnat:?}");
        let mut chances: Vec<_> = program
            .dnat_chances(class)
            .into_iter()
            .map(|(dnat, chance)| (text(dnat), chance))
            .collect();
        chances.sort_by(|(a, _), (b, _)| a.cmp(b));
        chances
    };
    let mut several = 0;
    for class in (0..flat.classes().len() as u32).map(ClassId) {
        assert_eq!(flat.class_name(class), whole.class_name(class));
        let (of_flat, of_nodes) = (chances(&flat, class), chances(&whole, class));
        assert_eq!(of_flat.len(), of_nodes.len(), "{}", flat.class_name(class));
        for (flat, nodes) in of_flat.iter().zip(&of_nodes) {
            assert!(
                flat.0 == nodes.0 && (flat.1 - nodes.1).abs() < 1e-15,
                "{flat:?} {nodes:?}"
            );
        }
        several += usize::from(of_flat.len() > 1);
    }
    assert!(several > 10, "{several} classes with several rewrites");
}

#[test]
fn a_service_is_reached_without_the_nodes() {
    let text = include_str!("small.rules");
    let ruleset = read(&[Input::new("rules", text)]).unwrap().v4.unwrap();
    let node = NodeFacts {
        local: Some(LocalAddresses::new(["192.168.0.2".parse().unwrap()])),
        ..NodeFacts::default()
    };
    let program = Program::compile(&ruleset, &node, &Config::default()).unwrap();
    let all_nodes = Config {
        passes: Passes::with_all_nodes(),
        ..Config::default()
    };
    let all_nodes = Program::compile(&ruleset, &node, &all_nodes).unwrap();
    assert!(program.len() < all_nodes.len(), "its nodes are dropped");
    let Lookups::V4(lookup) = program.lookups() else {
        panic!("rules of IPv4");
    };
    for (source, endpoint, draw, masqueraded) in [
        ("10.0.0.1", "10.1.0.5", 0, true),
        ("10.0.0.1", "10.1.0.6", u64::MAX / 2, true),
        ("10.1.0.9", "10.1.0.7", u64::MAX, false),
        ("10.1.0.7", "10.1.0.7", u64::MAX, true),
    ] {
        let packet = spec::parse(&format!("tcp {source}:1 > 10.96.0.10:80")).unwrap();
        let header = Header::from(&packet.packet(&node));
        let tuple = Tuple::of(&header).expect("it has ports");
        let at_hand = lookup.at_hand();
        let place = at_hand.place(tuple.key, lookup.bucket(tuple.key));
        assert!(lookup.is_here(place));
        let drawn = at_hand.draw(place, draw, &tuple, false);
        let (member, answers) = drawn.settled().expect("nothing more is asked");
        assert!(!lookup.is_other(member));
        let own = lookup.members()[member as usize];
        let leaf = at_hand.leaf(own.row, answers, own.own == tuple.source);
        assert!(!leaf.is_slow() && leaf.is_taken());
        assert_eq!(leaf.is_masqueraded(), masqueraded, "{source} {endpoint}");
        let Some(Act::Dnat(dnat)) = lookup.dnat(member, leaf).map(|act| program.act(act)) else {
            panic!("{source} {endpoint}");
        };
        assert_eq!(dnat.address, endpoint.parse().ok());
    }
}

/// Endpoints that go other ways than those beside them in the same Service, and are not taken for one of them.
#[test]
fn members_that_are_nearly_alike_are_told_apart() {
    let endpoint = |at: usize, marks: &str| {
        let own = format!("10.1.0.{at}/32");
        let mark = match marks {
            "" => String::new(),
            marks => format!("-A sep{at} {} -j mark\n", marks.replace("OWN", &own)),
        };
        format!("{mark}-A sep{at} -p tcp -j DNAT --to-destination 10.1.0.{at}:8080\n")
    };
    let usual = "-s OWN";
    let marks = [usual, usual, "", "! -s OWN", usual, usual, usual];
    let endpoints: String = marks
        .iter()
        .enumerate()
        .map(|(at, marks)| endpoint(at + 1, marks))
        .collect();
    let draws: String = (1..marks.len())
        .map(|at| {
            let chance = 1.0 / (marks.len() + 1 - at) as f64;
            format!("-A svc -m statistic --mode random --probability {chance:.11} -j sep{at}\n")
        })
        .collect();
    let text = format!(
        "*nat\n-A PREROUTING -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j svc\n\
         -A svc ! -s 10.1.0.0/16 -j mark\n{draws}-A svc -j sep{}\n{endpoints}\
         -A mark -j MARK --set-xmark 0x4000/0x4000\n-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE\nCOMMIT\n\
         *filter\n-A FORWARD -d 10.1.0.5/32 -j DROP\nCOMMIT\n",
        marks.len()
    );
    let ruleset = read(&[Input::new("rules", text)]).unwrap().v4.unwrap();
    let node = NodeFacts {
        local: Some(LocalAddresses::new(["192.168.0.2".parse().unwrap()])),
        ..NodeFacts::default()
    };
    let compiled = |passes| {
        let config = Config {
            passes,
            ..Config::default()
        };
        Program::compile(&ruleset, &node, &config).unwrap()
    };
    let (program, all_nodes) = (
        compiled(Passes::default()),
        compiled(Passes::with_all_nodes()),
    );
    let mut ends = std::collections::BTreeSet::new();
    for source in (1..=8)
        .map(|at| format!("10.1.0.{at}"))
        .chain(["10.9.9.9".into()])
    {
        let packet = spec::parse(&format!("tcp {source}:1 > 10.96.0.1:80")).unwrap();
        let packet = packet.packet(&node);
        let (header, context) = (Header::from(&packet), Context::from(&packet));
        for member in 0..marks.len() as u64 {
            let draw = u64::MAX / marks.len() as u64 * member + (1 << 58);
            let flat = program.outcome(&header, &context, draw).unwrap();
            let told = |program: &Program, outcome: kpclass_compiler::program::Outcome| {
                let act = outcome.dnat.map(|act| program.act(act));
                let end = program.end(outcome.end).disposition;
                (format!("{act:?} {end:?}"), outcome.masqueraded)
            };
            let by_nodes = all_nodes.outcome_by_nodes(&header, &context, draw).unwrap();
            let told = (told(&program, flat), told(&all_nodes, by_nodes));
            assert_eq!(told.0, told.1, "{source}, member {member}");
            ends.insert(told.0);
        }
    }
    // Each endpoint's packets are masqueraded or not, but what the fifth one's chain takes is dropped.
    assert_eq!(ends.len(), 2 * marks.len() - 1);
    assert_eq!(program.lookups().classes(), 2);
}
