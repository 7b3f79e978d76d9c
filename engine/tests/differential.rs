//! The reference judges the program: on the edges of every rule of every dump that a kube-proxy wrote, both give the same decision
//! for every number that could be drawn.

use kpclass_compiler::{Config, Passes, Program};
use kpclass_engine::judge::Judge;
use kpclass_reference::Walk;
use kpclass_ruleset::node::{LocalAddresses, NodeFacts};
use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::{Hook, Ruleset};
use kpclass_workload::edges::Edges;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

fn shared() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let path = std::env::var_os("KPCLASS_SHARED").map_or(beside, PathBuf::from);
    path.is_dir().then_some(path)
}

fn rulesets(path: &Path) -> Vec<Ruleset> {
    let input = Input {
        name: path.display().to_string(),
        family: None,
        table: None,
        bytes: std::fs::read(path).unwrap(),
    };
    let rules = read(&[input]).unwrap();
    rules.v4.into_iter().chain(rules.v6).collect()
}

struct Tried {
    packets: u64,
    rewritten: u64,
}

fn try_edges(
    ruleset: &Ruleset,
    node: &NodeFacts,
    config: &Config,
    extra: usize,
    seed: u64,
) -> Tried {
    let program = Program::compile(ruleset, node, config).unwrap();
    program.verify().unwrap();
    let walk = Walk::new(ruleset, node).unwrap();
    let judge = Judge::new(ruleset, node, &walk, &program);
    let locals: Vec<IpAddr> = node
        .local
        .iter()
        .flat_map(|l| l.addresses.iter().copied())
        .collect();
    let mut locals = locals;
    locals.sort();
    let mut edges = Edges::new(ruleset, &locals, seed);
    let mut tried = Tried {
        packets: 0,
        rewritten: 0,
    };
    for (id, _) in ruleset.rules() {
        for packet in edges.of_rule(id, extra) {
            let pieces = judge.decisions(&packet).unwrap_or_else(|difference| {
                panic!(
                    "seed {seed}, rule {id:?}, {:?}\n{difference}",
                    config.passes
                )
            });
            tried.packets += 1;
            tried.rewritten += u64::from(pieces[0].decision.dnat.is_some());
        }
    }
    for hook in [Hook::Prerouting, Hook::Output] {
        for _ in 0..200 {
            let packet = edges.anything(hook);
            if let Err(difference) = judge.decisions(&packet) {
                panic!("seed {seed}\n{difference}");
            }
            tried.packets += 1;
        }
    }
    tried
}

/// A node with addresses, and one of which none are known.
fn nodes() -> [NodeFacts; 2] {
    let addresses = [
        "192.168.0.2",
        "10.10.2.58",
        "172.18.0.2",
        "fd00::2",
        "192.168.99.11",
    ];
    let addresses = addresses.map(|a| a.parse::<IpAddr>().unwrap());
    let known = NodeFacts {
        local: Some(LocalAddresses::new(addresses)),
        route_localnet: Some(true),
        ..NodeFacts::default()
    };
    [known, NodeFacts::default()]
}

#[test]
fn program_and_reference_agree_on_the_edges_of_kube_proxys_rules() {
    let Some(shared) = shared() else {
        std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("SKIPPED: shared/ is not beside this checkout\n"),
        )
        .ok();
        return;
    };
    let mut dumps: Vec<PathBuf> = Vec::new();
    for scenario in ["a-microk8s", "b-zoo", "b-dualstack"] {
        for version in std::fs::read_dir(shared.join("dumps/kube-proxy").join(scenario)).unwrap() {
            for file in std::fs::read_dir(version.unwrap().path()).unwrap() {
                let path = file.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                if name.ends_with("save.txt") {
                    dumps.push(path);
                }
            }
        }
    }
    dumps.sort();
    assert!(dumps.len() >= 8, "{dumps:?}");
    let mut total = Tried {
        packets: 0,
        rewritten: 0,
    };
    for (at, dump) in dumps.iter().enumerate() {
        for ruleset in rulesets(dump) {
            for node in nodes() {
                let tried = try_edges(&ruleset, &node, &Config::any(), 1, at as u64);
                total.packets += tried.packets;
                total.rewritten += tried.rewritten;
            }
        }
    }
    eprintln!("{} packets, {} rewritten", total.packets, total.rewritten);
    assert!(total.packets > 100_000);
    assert!(
        total.rewritten * 10 > total.packets,
        "too few packets meet a Service"
    );
}

#[test]
fn every_pass_may_be_off() {
    let flows = Path::new(env!("CARGO_MANIFEST_DIR")).join("../reference/testdata/flows");
    let dump = flows.join("InternalExternalMasquerade-1.nft.save");
    let ruleset = rulesets(&dump).pop().unwrap();
    let on = Passes::default();
    let off = [
        Passes {
            merge_tails: false,
            ..on
        },
        Passes {
            select: false,
            ..on
        },
        Passes { share: false, ..on },
        Passes { lean: false, ..on },
    ];
    for passes in off {
        for node in nodes() {
            try_edges(
                &ruleset,
                &node,
                &Config {
                    passes,
                    ..Config::any()
                },
                4,
                7,
            );
        }
    }
    for node in nodes() {
        let walked = Config {
            class_nodes: 0,
            ..Config::any()
        };
        try_edges(&ruleset, &node, &walked, 4, 8);
    }
}
