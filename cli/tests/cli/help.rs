//! Help, version, completions, the man page, and the manners of a command among others.

use crate::program::{Place, Run};
use std::io::{BufRead, BufReader};
use std::process::Stdio;

const VERBS: [&str; 8] = [
    "replay",
    "explain",
    "services",
    "dump",
    "generate",
    "bench",
    "completions",
    "man",
];

#[test]
fn every_verb_explains_itself_with_examples() {
    let place = Place::new();
    let program = place.run(&["--help"]).fine();
    for verb in VERBS {
        assert!(
            program.contains(&format!("\n  {verb} ")),
            "{verb} is not listed in:\n{program}"
        );
        let help = place.run(&[verb, "--help"]).fine();
        assert!(help.contains("Usage: kpclass"), "{verb}");
        assert!(help.contains("Examples:\n  "), "{verb} has no examples");
        assert!(
            help.contains(&format!("kpclass {verb}")),
            "{verb}'s examples do not use it"
        );
    }
}

#[test]
fn no_line_of_help_is_cut_or_endless() {
    let place = Place::new();
    for verb in VERBS {
        let short = place.run(&[verb, "-h"]).fine();
        assert!(!short.contains("Examples:"), "{verb} -h is the short help");
    }
}

#[test]
fn the_version_is_the_packages() {
    let version = Place::new().run(&["--version"]).fine();
    assert_eq!(version, format!("kpclass {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn completions_and_the_man_page_know_every_verb() {
    let place = Place::new();
    let man = place.run(&["man"]).fine();
    assert!(man.contains(".TH kpclass 1"), "{man}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.run(&["completions", shell]).fine();
        for verb in VERBS {
            assert!(script.contains(verb), "{shell} does not know {verb}");
        }
    }
    assert!(man.contains("KPCLASS GENERATE CLUSTER"));
    for verb in VERBS {
        assert!(
            man.contains(&format!("KPCLASS {}", verb.to_uppercase())),
            "{verb} is not in the man page"
        );
    }
}

#[test]
fn no_verb_and_a_wrong_verb_are_trouble() {
    let place = Place::new();
    let said = place.run::<&str>(&[]).trouble();
    assert!(said.contains("Usage: kpclass"), "{said}");
    let said = place.run(&["reply"]).trouble();
    assert!(said.contains("unrecognized subcommand 'reply'"), "{said}");
}

#[test]
fn a_reader_that_goes_away_is_no_trouble() {
    let place = Place::new();
    let mut command = place.command(&["completions", "bash"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let run = Run::from(child.wait_with_output().unwrap());
    assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_reader_of_one_line_is_no_trouble() {
    let place = Place::new();
    let mut command = place.command(&["man"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(!line.is_empty());
    let run = Run::from(child.wait_with_output().unwrap());
    assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_full_disk_is_trouble() {
    let place = Place::new();
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut command = place.command(&["man"]);
    let run = Run::from(
        command
            .stdout(full)
            .stderr(Stdio::piped())
            .output()
            .unwrap(),
    );
    assert_eq!(
        run.trouble(),
        "kpclass: standard output: no space left on device\n"
    );
}
