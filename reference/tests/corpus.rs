//! The corpus: each case's packets have exactly the outcomes that it says, each with its exact probability.

use kpclass_reference::Walk;
use kpclass_workload::corpus::{Asked, Case, describe, effect, read_folder};
use std::collections::BTreeSet;
use std::path::Path;

/// Cases that must at least be there: a corpus that was lost must not pass.
const AT_LEAST: usize = 120;

#[test]
fn every_case_has_the_outcomes_that_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/corpus");
    let cases = read_folder(&folder).unwrap_or_else(|error| panic!("{error}"));
    let mut failures = Vec::new();
    for case in &cases {
        let walk = Walk::new(&case.ruleset, &case.node).expect("no loops");
        for asked in &case.packets {
            failures.extend(difference(&walk, case, asked));
        }
    }
    let count = failures.len();
    assert!(failures.is_empty(), "{count} differ\n{}", failures.join(""));
    assert!(cases.len() >= AT_LEAST, "only {} cases", cases.len());
}

/// How the walk differs from the case, with lines that would stand in the corpus.
fn difference(walk: &Walk<'_>, case: &Case, asked: &Asked) -> Option<String> {
    let outcomes = walk.outcomes(&asked.packet);
    let said = outcomes.iter().map(|outcome| {
        let line = describe(&case.ruleset, &outcome.decision);
        (outcome.probability.to_string(), line)
    });
    let said: BTreeSet<(String, String)> = said.collect();
    let expected = asked.outcomes.iter();
    let expected: BTreeSet<(String, String)> = expected
        .map(|outcome| (outcome.chance.to_string(), outcome.line.clone()))
        .collect();
    let lines = |outcomes: &BTreeSet<(String, String)>| {
        let lines = outcomes
            .iter()
            .map(|(chance, line)| format!("    {chance} {line}\n"));
        lines.collect::<String>()
    };
    if said != expected {
        return Some(format!(
            "{} ({})\n  {}\n  the case says\n{}  the walk says\n{}",
            case.name,
            case.why,
            asked.spec,
            lines(&expected),
            lines(&said),
        ));
    }
    strays(walk, case, asked)
}

/// What the walk decides for some number drawn and does not count among the outcomes.
fn strays(walk: &Walk<'_>, case: &Case, asked: &Asked) -> Option<String> {
    let known: BTreeSet<&str> = asked.outcomes.iter().map(|o| o.effect.as_str()).collect();
    walk.partition(&asked.packet).iter().find_map(|piece| {
        let drawn = walk.decide(&asked.packet, piece.last).decision;
        let line = effect(&case.ruleset, &drawn);
        let same = drawn == piece.decision && known.contains(line.as_str());
        let number = piece.last;
        (!same).then(|| format!("{}\n  {}\n  {number} draws {line}\n", case.name, asked.spec))
    })
}
