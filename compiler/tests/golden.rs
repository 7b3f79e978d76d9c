//! The stages of a small cluster as text, one file for each set of passes. `KPCLASS_BLESS=1 cargo test -p kpclass-compiler` rewrites them;
//! read the difference before it is committed.

use kpclass_compiler::{Config, Passes, Program};
use kpclass_ruleset::node::{LocalAddresses, NodeFacts};
use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::target::Target;
use kpclass_ruleset::value::Family;
use kpclass_ruleset::{FileId, Ruleset, RulesetBuilder, Source, TableId};
use std::path::Path;

fn ruleset(text: &str) -> Ruleset {
    let input = Input {
        name: "small.rules".into(),
        family: None,
        table: None,
        bytes: text.into(),
    };
    read(&[input]).unwrap().v4.unwrap()
}

fn small() -> Ruleset {
    ruleset(include_str!("small.rules"))
}

fn node() -> NodeFacts {
    NodeFacts {
        local: Some(LocalAddresses::new(["192.168.0.2".parse().unwrap()])),
        ..NodeFacts::default()
    }
}

fn compare(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("KPCLASS_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert!(
        text == golden,
        "{name} changed; KPCLASS_BLESS=1 rewrites it\n{text}"
    );
}

fn compiled(config: &Config) -> Program {
    let program = Program::compile(&small(), &node(), config).unwrap();
    program.verify().unwrap();
    program
}

#[test]
fn each_set_of_passes_has_its_golden_program() {
    let on = Passes::with_all_nodes();
    let sets = [
        ("program.txt", on),
        (
            "program-no-select.txt",
            Passes {
                select: false,
                ..on
            },
        ),
        (
            "program-no-merge-tails.txt",
            Passes {
                merge_tails: false,
                ..on
            },
        ),
        ("program-no-share.txt", Passes { share: false, ..on }),
    ];
    for (name, passes) in sets {
        compare(
            name,
            &compiled(&Config {
                passes,
                ..Config::default()
            })
            .to_string(),
        );
    }
}

#[test]
fn classes_are_the_keys_that_rules_single_out() {
    let program = compiled(&Config {
        passes: Passes::with_all_nodes(),
        ..Config::default()
    });
    compare("classes.txt", &program.display_classes().to_string());
}

#[test]
fn three_endpoints_are_one_selection_and_their_ways_one_tail() {
    let config = Config {
        passes: Passes::with_all_nodes(),
        ..Config::default()
    };
    let text = compiled(&config).to_string();
    let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
    // From PREROUTING and OUTPUT, marked or not, by cluster IP and by node port.
    assert!(count(" select ") >= 4, "{text}");
    assert_eq!(count(" draw "), 0, "{text}");
    // The endpoints' ways through FORWARD and POSTROUTING: masqueraded, or not.
    assert_eq!(count(" route 10.1.0.5 "), 2, "{text}");
    assert_eq!(count(" route 10.1.0.6 "), 0, "{text}");
}

/// Marks of n independent tests are 2^n states.
fn exploding(tests: u32) -> String {
    let mut text = String::from("*mangle\n:PREROUTING ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n");
    for bit in 0..tests {
        let source = 10 + bit;
        text.push_str(&format!(
            "-A PREROUTING -s {source}.0.0.0/{} -j MARK --set-xmark {:#x}/{:#x}\n",
            8 + bit % 8,
            1 << bit,
            1 << bit
        ));
    }
    text.push_str("-A FORWARD -m mark --mark 0x1/0x1 -j DROP\nCOMMIT\n");
    text
}

#[test]
fn a_class_that_explodes_is_walked_and_said_so() {
    let ruleset = ruleset(&exploding(24));
    let program = Program::compile(&ruleset, &node(), &Config::default()).unwrap();
    program.verify().unwrap();
    assert!(program.walked_classes() > 0);
    assert!(program.len() < 1 << 18, "{} nodes", program.len());
    assert_eq!(compiled(&Config::default()).walked_classes(), 0);
}

#[test]
fn a_chain_that_reaches_itself_is_refused() {
    let mut builder = RulesetBuilder::new(Family::V4);
    let [forward, a, b] = ["FORWARD", "A", "B"].map(|name| builder.chain(TableId::Filter, name));
    let source = Source {
        file: FileId(0),
        line: 1,
    };
    for (from, to) in [(forward, a), (a, b), (b, a)] {
        builder.push(from, [], Target::Jump(to), source, None);
    }
    let ruleset = builder.finish(Vec::new());
    let why = Program::compile(&ruleset, &node(), &Config::default()).unwrap_err();
    assert_eq!(why.chain(), "A");
}
