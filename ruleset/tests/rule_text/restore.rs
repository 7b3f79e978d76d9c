//! iptables itself judges what is written: `iptables-restore --test`, legacy and nft, accepts it, and what it prints after loading is what
//! was written.
//!
//! Needs root and iptables, in a network namespace of its own; skips without, unless `CI=true`.

use super::corpus::{files, folders, layout, only, read_files, read_text};
use kpclass_ruleset::Ruleset;
use kpclass_ruleset::save::{rule_text, save};
use kpclass_ruleset::value::Family;
use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Runs a shell command in a new network namespace, with `input` on its standard input.
fn isolated(command: &str, input: &str) -> Option<Output> {
    let child = Command::new("unshare")
        .args(["--net", "sh", "-c", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.ok()?;
    let mut stdin = child.stdin.take().expect("piped");
    let text = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().ok();
    let _ = writer.join();
    output
}

/// Whether a backend is here and may be used.
fn usable(backend: &str) -> bool {
    let output = isolated(
        &format!("iptables-{backend}-restore --test"),
        "*filter\nCOMMIT\n",
    );
    let usable = output.is_some_and(|output| output.status.success());
    let required = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(
        usable || !required,
        "iptables-{backend}-restore is needed, as root"
    );
    if !usable {
        std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("SKIPPED: iptables-{backend}-restore is absent or may not be used here\n"),
        )
        .ok();
    }
    usable
}

fn program(family: Family, backend: &str) -> String {
    match family {
        Family::V4 => format!("iptables-{backend}"),
        Family::V6 => format!("ip6tables-{backend}"),
    }
}

/// Rulesets of real clusters, one for each file.
fn rulesets() -> Vec<(String, Ruleset)> {
    let wanted = |name: &str| name.ends_with("iptables-save.txt") || name.ends_with(".rules");
    let folders = ["dumps/kube-proxy", "flows"].into_iter().flat_map(folders);
    let paths = folders.flat_map(|folder| files(&folder, wanted));
    paths
        .map(|path| (path.display().to_string(), only(read_files(&[&path]))))
        .collect()
}

#[test]
fn restore_accepts_what_is_written() {
    for backend in ["legacy", "nft"] {
        if !usable(backend) {
            continue;
        }
        for (name, ruleset) in rulesets() {
            let program = program(ruleset.family(), backend);
            let output =
                isolated(&format!("{program}-restore --test"), &save(&ruleset)).expect("runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name} {backend}: {said}");
        }
    }
}

/// Rules of every match and target, one each, as written by hand.
const RULES: &str = include_str!("every-kind.rules");

#[test]
fn every_kind_of_rule_prints_as_iptables_prints_it() {
    for backend in ["legacy", "nft"] {
        if !usable(backend) {
            continue;
        }
        let (mut loaded, mut wrong) = (0, Vec::new());
        for (table, rule) in rules_of(RULES) {
            let text = format!("*{table}\n:X - [0:0]\n:Y - [0:0]\n-A X {rule}\nCOMMIT\n");
            let command =
                format!("iptables-{backend}-restore && iptables-{backend}-save -t {table}");
            let output = isolated(&command, &text).expect("runs");
            if !output.status.success() {
                std::io::Write::write_fmt(
                    &mut std::io::stderr(),
                    format_args!("SKIPPED: this kernel does not take `{rule}` ({backend})\n"),
                )
                .ok();
                continue;
            }
            let printed = String::from_utf8_lossy(&output.stdout);
            let printed = printed
                .lines()
                .find(|line| line.starts_with("-A X"))
                .expect("a rule");
            let ruleset = only(read_text(&text));
            let ours = ruleset
                .rules()
                .map(|(id, _)| rule_text(&ruleset, id))
                .next()
                .expect("a rule");
            if ours != printed {
                wrong.push(format!(
                    "{rule} ({backend})\n   ours {ours}\nprinted {printed}"
                ));
            }
            assert_eq!(
                layout(&only(read_text(&save(&ruleset)))),
                layout(&ruleset),
                "{rule}"
            );
            loaded += 1;
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(
            loaded > 20,
            "{backend}: only {loaded} rules could be loaded"
        );
    }
}

/// Tables and rules of a list: a line `*TABLE`, then rules.
fn rules_of(text: &'static str) -> Vec<(&'static str, &'static str)> {
    let mut table = "filter";
    let mut rules = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        match line.strip_prefix('*') {
            Some(name) => table = name,
            None => rules.push((table, line)),
        }
    }
    rules
}
