//! What is generated is read as it was written, and loaded by the kernel's own tools.

use kpclass_ruleset::Ruleset;
use kpclass_ruleset::matches::MatchKind;
use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::save::save;
use kpclass_ruleset::target::Target;
use kpclass_ruleset::value::Family;
use kpclass_workload::rulesets::{Generated, Recipe, Shape, generate};
use std::io::Write;
use std::process::{Command, Stdio};

const SEEDS: u64 = 300;

fn recipes(seeds: std::ops::Range<u64>) -> impl Iterator<Item = Recipe> {
    seeds.flat_map(|seed| {
        [Shape::Free, Shape::KubeProxy]
            .into_iter()
            .flat_map(move |shape| {
                [Family::V4, Family::V6].map(|family| Recipe::new(shape, family, seed))
            })
    })
}

fn reread(text: &str, family: Family) -> (Ruleset, usize) {
    let rules = read(&[Input::new("again", text)]).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let warnings = rules.warnings.len();
    let ruleset = match family {
        Family::V4 => rules.v4,
        Family::V6 => rules.v6,
    };
    (ruleset.unwrap(), warnings)
}

fn assert_decided(generated: &Generated) {
    let ruleset = &generated.ruleset;
    for (id, rule) in ruleset.rules() {
        let text = kpclass_ruleset::save::rule_text(ruleset, id);
        for m in ruleset.matches(rule) {
            assert!(!matches!(m.kind, MatchKind::Undecided(_)), "{text}");
        }
        assert!(
            !matches!(
                rule.target,
                Target::Undecided(_) | Target::Rewrite(_) | Target::SetChange(_)
            ),
            "{text}"
        );
    }
    assert!(ruleset.chains().all(|(_, chain)| chain.declared));
}

#[test]
fn every_text_reads_without_a_warning_and_saves_to_the_same() {
    for recipe in recipes(0..SEEDS) {
        let generated = generate(&recipe);
        let (ruleset, warnings) = reread(&generated.text, recipe.family);
        assert_eq!(warnings, 0, "{recipe:?}");
        assert_decided(&generated);
        let saved = save(&ruleset);
        assert_eq!(saved, save(&generated.ruleset), "{recipe:?}");
        assert_eq!(saved, save(&reread(&saved, recipe.family).0), "{recipe:?}");
    }
}

#[test]
fn a_recipe_decides_everything() {
    for recipe in recipes(7..9) {
        let (one, two) = (generate(&recipe), generate(&recipe));
        assert_eq!((one.text, one.ipsets), (two.text, two.ipsets));
    }
}

/// Runs a tool in a network namespace of its own; what it said if it refused, `None` if it could not be run at all.
fn load(tool: &str, generated: &Generated) -> Option<Result<(), String>> {
    let sets = generated.ipsets.as_deref().unwrap_or_default();
    let script = format!("ipset restore <<'SETS' && exec {tool}\n{sets}SETS\n");
    let mut child = Command::new("unshare")
        .args(["-n", "sh", "-c", &script])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    // A tool that is absent, or may not run, does not read.
    let _ = child
        .stdin
        .take()
        .map(|mut stdin| stdin.write_all(generated.text.as_bytes()));
    let output = child.wait_with_output().ok()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if ["unshare:", "not found", "ermission denied", "not permitted"]
        .iter()
        .any(|words| said.contains(words))
    {
        return None;
    }
    Some(match output.status.success() {
        true => Ok(()),
        false => Err(said),
    })
}

/// Both back ends load it, not only read it; needs root.
#[test]
fn the_kernel_loads_what_is_generated() {
    let seeds = std::env::var("KPCLASS_LOADS").map_or(8, |n| n.parse().unwrap());
    for recipe in recipes(0..seeds) {
        let generated = generate(&recipe);
        let tools = match recipe.family {
            Family::V4 => ["iptables-legacy-restore", "iptables-nft-restore"],
            Family::V6 => ["ip6tables-legacy-restore", "ip6tables-nft-restore"],
        };
        for tool in tools {
            match load(tool, &generated) {
                None => {
                    let _ = writeln!(std::io::stderr(), "SKIPPED: {tool} cannot be run here");
                    return;
                }
                Some(Ok(())) => {}
                Some(Err(said)) => panic!("{tool}: {said}\n{recipe:?}\n{}", generated.text),
            }
        }
    }
}
