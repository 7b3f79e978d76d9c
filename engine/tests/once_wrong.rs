//! Disagreements of program and reference that fuzzing found, each with its cause. (`fuzz/regressions/` holds the inputs as they were found.)

use kpclass_compiler::header::Header;
use kpclass_compiler::{Config, Context, Program};
use kpclass_engine::check::first_difference;
use kpclass_reference::Walk;
use kpclass_ruleset::decision::Decision;
use kpclass_ruleset::node::{LocalAddresses, NodeFacts};
use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::spec;

/// The node's addresses, if they are given.
fn node(local: &[&str]) -> NodeFacts {
    let addresses = local.iter().map(|a| a.parse().expect("an address"));
    NodeFacts {
        local: (!local.is_empty()).then(|| LocalAddresses::new(addresses)),
        ..NodeFacts::default()
    }
}

/// What both say of the packet, with large classes compiled and with all of them walked.
#[track_caller]
fn agreed(rules: &str, node: &NodeFacts, packet: &str) -> Decision {
    let rules = read(&[Input::new("rules", rules)]).expect("reads");
    let ruleset = rules.v4.or(rules.v6).expect("a ruleset");
    let packet = spec::parse(packet).expect("parses").packet(node);
    let walk = Walk::new(&ruleset, node).expect("no loop");
    let reference = walk.partition(&packet);
    for class_nodes in [Config::any().class_nodes, 0] {
        let config = Config {
            class_nodes,
            ..Config::any()
        };
        let program = Program::compile(&ruleset, node, &config).expect("no loop");
        let (header, context) = (Header::from(&packet), Context::from(&packet));
        let pieces = program.partition(&header, &context).expect("decides");
        let difference = first_difference(&reference, &pieces);
        assert!(difference.is_none(), "{class_nodes} nodes: {difference:#?}");
    }
    reference[0].decision.clone()
}

#[test]
fn d() {
    for (i, (post, svc)) in [
        (
            "-p udp -m udp ! --dport 443 --sport 8080",
            "-d 127.0.0.1/32 -m recent --set --name D --rsource",
        ),
        (
            "-p udp -m udp --sport 8080",
            "-d 127.0.0.1/32 -m recent --set --name D --rsource",
        ),
        ("-p udp -m udp --sport 8080", "-d 127.0.0.1/32"),
        (
            "-p udp -m udp ! --dport 443 --sport 8080",
            "-d 127.0.0.1/32",
        ),
        ("-p udp -m udp ! --dport 443", "-d 127.0.0.1/32"),
        (
            "-p udp",
            "-d 127.0.0.1/32 -m recent --set --name D --rsource",
        ),
        (
            "-p udp -m udp --sport 8080",
            "-m recent --set --name D --rsource",
        ),
    ]
    .iter()
    .enumerate()
    {
        let r = std::panic::catch_unwind(|| {
            agreed(
                &format!(
                    "*nat\n-A OUTPUT -p udp -j KUBE-SVC-A\n-A POSTROUTING {post} -j KUBE-SVC-A\n-A KUBE-SVC-A {svc} -j DNAT --to-destination 10.0.0.1\nCOMMIT\n"
                ),
                &node(&["127.0.0.1"]),
                "udp 127.0.0.1:40522 > 127.0.0.1:442 hook=output",
            )
        });
        println!("VARIANT {i} {}", r.is_ok());
    }
}
