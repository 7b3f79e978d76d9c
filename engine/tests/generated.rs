//! Generated rulesets: the program says what the reference says, however it was compiled, and whatever is known.
//!
//! `KPCLASS_SEEDS` is how many seeds are tried for each shape and family, beside a fresh one.

use kpclass_compiler::{Config, Passes, Program};
use kpclass_engine::judge::{Difference, Judge};
use kpclass_reference::Walk;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::value::Family;
use kpclass_ruleset::{Ruleset, spec};
use kpclass_workload::hits::{Hits, RulesetHits};
use kpclass_workload::reduce::reduce;
use kpclass_workload::rulesets::{Generated, Recipe, Shape, generate};
use kpclass_workload::trace::trace;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seeds that are tried where nobody says how many.
const SEEDS: u64 = 16;

/// Packets of a ruleset.
const PACKETS: usize = 120;

fn configs() -> Vec<Config> {
    let on = Passes::default();
    #[rustfmt::skip]
    let passes = [
        on,
        Passes { merge_tails: false, ..on },
        Passes { select: false, ..on },
        Passes { share: false, ..on },
        Passes { lean: false, ..on },
    ];
    let with = |passes| Config {
        passes,
        ..Config::any()
    };
    let mut configs: Vec<Config> = passes.map(with).into();
    for class_nodes in [0, 64] {
        configs.push(Config {
            class_nodes,
            ..Config::any()
        });
    }
    configs
}

/// What a judge is told: all facts, or only what a capture without names and a dump alone tell.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    All,
    Little,
}

impl Told {
    fn node(self, generated: &Generated) -> NodeFacts {
        match self {
            Self::All => generated.node.clone(),
            Self::Little => NodeFacts::default(),
        }
    }

    fn packet(self, packet: Packet) -> Packet {
        match self {
            Self::All => packet,
            Self::Little => Packet {
                in_interface: None,
                length: None,
                ttl: None,
                dscp: None,
                source_mac: None,
                ..packet
            },
        }
    }
}

fn seeds() -> Vec<u64> {
    let asked = std::env::var("KPCLASS_SEEDS").ok();
    let count = asked.map_or(SEEDS, |text| {
        text.parse().expect("KPCLASS_SEEDS is a number")
    });
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let fresh = now.map_or(0, |now| now.as_nanos() as u64 >> 10);
    eprintln!("fresh seed {fresh}");
    (0..count).chain([fresh]).collect()
}

/// Judges one ruleset; the difference with the smallest ruleset that has one.
fn judge(recipe: &Recipe, hits: &mut Hits) -> Result<(), String> {
    let generated = generate(recipe);
    let packets = trace(&generated, PACKETS, recipe.seed);
    for told in [Told::All, Told::Little] {
        let node = told.node(&generated);
        let walk = Walk::new(&generated.ruleset, &node).map_err(|why| why.to_string())?;
        let packets: Vec<Packet> = packets.iter().map(|p| told.packet(p.clone())).collect();
        if told == Told::All {
            let mut met = RulesetHits::new(&generated.ruleset);
            for packet in &packets {
                let path = walk.decide(packet, 1 << 62).path;
                met.packet(path.iter().filter_map(|step| step.rule));
            }
            hits.add(&met);
        }
        for config in configs() {
            let program = Program::compile(&generated.ruleset, &node, &config);
            let program = program.map_err(|why| why.to_string())?;
            program
                .verify()
                .map_err(|why| format!("{recipe:?}: {why}"))?;
            let judge = Judge::new(&generated.ruleset, &node, &walk, &program);
            for (at, packet) in packets.iter().enumerate() {
                let judged = judge.decisions(packet).map(|_| ());
                let judged = judged.and_then(|()| match at % 4 {
                    0 => judge.outcomes(packet),
                    _ => Ok(()),
                });
                judged.map_err(|_| reduced(&generated, &node, &config, packet, told))?;
            }
        }
    }
    Ok(())
}

/// The smallest ruleset and packet on which the two still differ, as a case would have them.
fn reduced(
    generated: &Generated,
    node: &NodeFacts,
    config: &Config,
    packet: &Packet,
    told: Told,
) -> String {
    let mut last = String::new();
    let left = reduce(
        &generated.text,
        packet,
        &mut |ruleset, _, packet| match difference(ruleset, node, config, packet) {
            Some(difference) => {
                last = difference.to_string();
                true
            }
            None => false,
        },
    );
    format!(
        "{:?}, told {told:?}, {config:?}\n{last}\n{}\n{}",
        generated.recipe,
        spec::of_packet(&left.packet),
        left.text
    )
}

fn difference(
    ruleset: &Ruleset,
    node: &NodeFacts,
    config: &Config,
    packet: &Packet,
) -> Option<Box<Difference>> {
    let walk = Walk::new(ruleset, node).ok()?;
    let program = Program::compile(ruleset, node, config).ok()?;
    let judge = Judge::new(ruleset, node, &walk, &program);
    let judged = judge.decisions(packet).map(|_| ());
    judged.and_then(|()| judge.outcomes(packet)).err()
}

#[test]
fn program_and_reference_agree_on_generated_rulesets() {
    let mut hits = Hits::default();
    let mut failures = Vec::new();
    for seed in seeds() {
        for shape in [Shape::Free, Shape::KubeProxy] {
            for family in [Family::V4, Family::V6] {
                let recipe = Recipe::new(shape, family, seed);
                failures.extend(judge(&recipe, &mut hits).err());
            }
        }
    }
    let count = failures.len();
    assert!(
        failures.is_empty(),
        "{count} rulesets\n{}",
        failures.join("\n")
    );
    eprintln!("{hits}");
}
