//! The program, compiled in every way that must not change an answer.

use crate::cases;
use kpclass_compiler::header::Header;
use kpclass_compiler::{Config, Context, Passes, Program};
use kpclass_engine::judge::Judge;
use kpclass_reference::Walk;
use kpclass_ruleset::line::{describe, effect};
use kpclass_workload::corpus::{Asked, Case};
use std::collections::BTreeMap;

/// Every way to compile that must not change an answer.
fn configs() -> Vec<(&'static str, Config)> {
    let on = Passes::default();
    let with = |passes| Config {
        passes,
        ..Config::any()
    };
    #[rustfmt::skip]
    let passes = [
        ("all passes", on),
        ("without merge_tails", Passes { merge_tails: false, ..on }),
        ("without select", Passes { select: false, ..on }),
        ("without share", Passes { share: false, ..on }),
        ("without lean", Passes { lean: false, ..on }),
        ("no optional pass", Passes { merge_tails: false, select: false, share: false, lean: false }),
    ];
    let mut configs: Vec<_> = passes.map(|(name, p)| (name, with(p))).into();
    for class_nodes in [0, 1, 8] {
        let walked = Config {
            class_nodes,
            ..Config::any()
        };
        configs.push(("a class budget of 0, 1 or 8 nodes", walked));
    }
    configs
}

#[test]
fn the_program_says_what_reference_and_case_say() {
    let mut failures = Vec::new();
    for case in cases() {
        for (name, config) in configs() {
            failures.extend(difference(&case, &config, &case.packets).map(|d| (name, d)));
        }
        // Compiled for one packet, as `explain` does it, and a replay where it is a first packet.
        for asked in &case.packets {
            let config = Config {
                mark: Some(asked.packet.mark),
                ctstates: vec![asked.packet.ctstate],
                ..Config::default()
            };
            let difference = difference(&case, &config, std::slice::from_ref(asked));
            failures.extend(difference.map(|d| ("for this packet alone", d)));
        }
    }
    let lines = failures
        .iter()
        .map(|(name, why)| format!("{name}: {why}\n"));
    assert!(failures.is_empty(), "{}", lines.collect::<String>());
}

/// The first difference between the program and the reference, or the case.
fn difference(case: &Case, config: &Config, packets: &[Asked]) -> Option<String> {
    let program = Program::compile(&case.ruleset, &case.node, config).expect("no loops");
    program
        .verify()
        .unwrap_or_else(|broken| panic!("{}: {broken}", case.name));
    let walk = Walk::new(&case.ruleset, &case.node).expect("no loops");
    let judge = Judge::new(&case.ruleset, &case.node, &walk, &program);
    packets.iter().find_map(|asked| {
        let judged = judge.decisions(&asked.packet);
        let judged = judged.and_then(|_| judge.outcomes(&asked.packet));
        let why = judged.map_err(|why| why.to_string());
        let why = why.and_then(|()| as_expected(case, &program, asked));
        Some(format!("{}\n{}", case.name, why.err()?))
    })
}

/// The program against the case itself: the same effects, each first met by the rules that the case names, with about its chance.
fn as_expected(case: &Case, program: &Program, asked: &Asked) -> Result<(), String> {
    let (header, context) = (Header::from(&asked.packet), Context::from(&asked.packet));
    let pieces = program.partition(&header, &context).ok_or("not compiled")?;
    let mut said: BTreeMap<String, (String, f64)> = BTreeMap::new();
    let mut from = 0u128;
    for piece in &pieces {
        let end = u128::from(piece.last) + 1;
        let line = || (describe(&case.ruleset, &piece.decision), 0.0);
        let of = said
            .entry(effect(&case.ruleset, &piece.decision))
            .or_insert_with(line);
        of.1 += (end - from) as f64 / 2f64.powi(64);
        from = end;
    }
    let agree = said.len() == asked.outcomes.len()
        && asked.outcomes.iter().all(|expected| {
            said.get(&expected.effect).is_some_and(|(line, share)| {
                *line == expected.line && (share - expected.chance.as_f64()).abs() < 1e-9
            })
        });
    match agree {
        true => Ok(()),
        false => Err(format!(
            "{}: {said:?}, and not {:?}",
            asked.spec, asked.outcomes
        )),
    }
}
