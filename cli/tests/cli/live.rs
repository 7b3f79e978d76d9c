//! `--rules live` and `--local-addrs live`: the node itself is asked, here by stand-ins on the PATH.

use crate::packets::RULES;
use crate::program::{Place, Run};
use std::os::unix::fs::PermissionsExt;

/// A place whose PATH holds only these programs, as shell scripts.
fn node(programs: &[(&str, &str)]) -> Place {
    let place = Place::new();
    place.file("n.rules", RULES);
    for (name, script) in programs {
        let name = place.file(name, format!("#!/bin/sh\n{script}\n"));
        let path = place.path().join(name);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("a script");
    }
    place
}

fn run(place: &Place, arguments: &[&str]) -> Run {
    let mut command = place.command(arguments);
    Run::from(
        command
            .env("PATH", place.path())
            .output()
            .expect("run kpclass"),
    )
}

const SAVE: &str = "while IFS= read -r line; do printf '%s\\n' \"$line\"; done < n.rules";
const ASK: [&str; 4] = [
    "explain",
    "--json",
    "--packet",
    "tcp 10.9.0.1:1 > 10.2.0.1:80",
];

#[test]
fn rules_and_addresses_come_from_the_node() {
    let addresses = r#"echo '[{"ifname":"eth0","addr_info":[{"family":"inet","local":"10.9.0.1","prefixlen":24}]}]'"#;
    let place = node(&[
        ("iptables-save", SAVE),
        ("ip6tables-save", "exit 0"),
        ("ip", addresses),
    ]);
    let live = run(
        &place,
        &[&ASK[..], &["--rules", "live", "--local-addrs", "live"]].concat(),
    )
    .fine();
    let given = run(
        &place,
        &[
            &ASK[..],
            &["--rules", "n.rules", "--local-addrs", "10.9.0.1"],
        ]
        .concat(),
    );
    assert_eq!(live, given.fine());
    assert!(live.contains("\"hook\":\"output\""), "{live}");
}

#[test]
fn a_node_without_ipv6_is_a_warning() {
    let place = node(&[
        ("iptables-save", SAVE),
        ("ip6tables-save", "echo no IPv6 here >&2; exit 1"),
    ]);
    let run = run(&place, &[&ASK[..], &["--rules", "live"]].concat());
    let warning = "kpclass: warning: running ip6tables-save: exit status: 1: no IPv6 here\n";
    assert!(run.stderr.contains(warning), "{}", run.stderr);
    run.fine();
}

#[test]
fn a_node_that_cannot_be_asked_is_trouble() {
    let said = run(&node(&[]), &[&ASK[..], &["--rules", "live"]].concat()).trouble();
    assert!(
        said.contains("running iptables-save: no such file or directory"),
        "{said}"
    );
    assert!(said.contains("on the node itself, as root"), "{said}");
    let silent = node(&[("iptables-save", "exit 0"), ("ip6tables-save", "exit 0")]);
    let said = run(&silent, &[&ASK[..], &["--rules", "live"]].concat()).trouble();
    assert!(
        said.contains("--rules live: iptables-save printed nothing"),
        "{said}"
    );
    let place = node(&[("ip", "echo nonsense")]);
    let said = run(
        &place,
        &[&ASK[..], &["--rules", "n.rules", "--local-addrs", "live"]].concat(),
    );
    let said = said.trouble();
    assert!(
        said.contains("ip -j addr: line 1: needed an address"),
        "{said}"
    );
}
