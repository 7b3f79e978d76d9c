//! Broken dumps, captures, options and packets: each gives a clear error (what, where, given, needed), status 2,
//! nothing on stdout, and never a panic.

mod captures;
mod dumps;
mod facts;
mod packets;

use crate::program::Place;

/// A run that must fail, and what its error must say.
struct Bad {
    arguments: &'static [&'static str],
    says: &'static [&'static str],
}

const fn bad(arguments: &'static [&'static str], says: &'static [&'static str]) -> Bad {
    Bad { arguments, says }
}

/// A small dump that reads.
const RULES: &str = "\
*nat
:PREROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.2.0.1/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.1:8080
COMMIT
";

/// Runs every case in a place with `good.rules`, and says all that is wrong at once.
#[track_caller]
fn check(cases: &[Bad], files: &[(&str, &[u8])]) {
    let place = Place::new();
    place.file("good.rules", RULES);
    for (name, content) in files {
        place.file(name, content);
    }
    let mut wrong = Vec::new();
    for case in cases {
        let run = place.run(case.arguments);
        let call = format!("kpclass {}", case.arguments.join(" "));
        if (run.status, run.stdout.as_str()) != (Some(2), "") {
            wrong.push(format!(
                "{call}\n  status {:?}, stdout {:?}",
                run.status, run.stdout
            ));
        }
        if run.stderr.contains("panicked") || !run.stderr.starts_with("kpclass: ") {
            wrong.push(format!("{call}\n  said {}", run.stderr));
        }
        for text in case.says.iter().filter(|text| !run.stderr.contains(*text)) {
            wrong.push(format!(
                "{call}\n  does not say {text:?} but {}",
                run.stderr
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn options() {
    check(
        &[
            bad(
                &["--colour"],
                &["unexpected argument '--colour'", "--color"],
            ),
            bad(
                &["explain"],
                &["required", "--rules <FILE>", "--packet <SPEC>"],
            ),
            bad(
                &["explain", "--rules", "good.rules"],
                &["required", "--packet <SPEC>"],
            ),
            bad(&["replay", "a.pcap"], &["required", "--rules <FILE>"]),
            bad(
                &["replay", "--rules", "good.rules"],
                &["required", "<CAPTURE>"],
            ),
            bad(
                &["dump", "everything", "--rules", "good.rules"],
                &["'everything'", "ruleset, graph, classes, program"],
            ),
            bad(&["dump", "ruleset"], &["required", "--rules"]),
            bad(&["completions", "cmd"], &["'cmd'", "bash"]),
            bad(
                &["services", "--rules", "absent.rules"],
                &["absent.rules: no such file or directory"],
            ),
            bad(&["services", "--rules", "."], &[".: is a directory"]),
            bad(
                &["services", "--rules", ""],
                &["--rules ``: needs a file, - or live"],
            ),
            bad(
                &["services", "--rules", "nat:"],
                &["--rules `nat:`: needs a file"],
            ),
            bad(
                &["services", "--rules", "ip4:ip6:good.rules"],
                &["at most one family and one table"],
            ),
            bad(
                &["services", "--rules", "-", "--rules", "-"],
                &["given twice", "read only once"],
            ),
            bad(
                &[
                    "replay",
                    "a.pcap",
                    "--rules",
                    "good.rules",
                    "--mode",
                    "conntrack",
                    "--sysctl",
                    "nf_conntrack_udp_timeout=soon",
                ],
                &["--sysctl `nf_conntrack_udp_timeout=soon`", "whole number"],
            ),
            bad(
                &[
                    "replay",
                    "a.pcap",
                    "--rules",
                    "good.rules",
                    "--sysctl",
                    "nf_conntrack_udp_timeout=60",
                    "--mode",
                    "packet",
                ],
                &["nf_conntrack_udp_timeout=60", "--mode conntrack"],
            ),
            bad(
                &["replay", "a.pcap", "--rules", "good.rules", "--mode", "x"],
                &["'x'", "packet"],
            ),
            bad(
                &[
                    "replay",
                    "a.pcap",
                    "--rules",
                    "good.rules",
                    "--hook",
                    "input",
                ],
                &["'input'", "auto, prerouting, output"],
            ),
            bad(
                &[
                    "replay",
                    "a.pcap",
                    "--rules",
                    "good.rules",
                    "--threads",
                    "0",
                ],
                &["--threads `0`", "from 1"],
            ),
            bad(
                &[
                    "replay",
                    "a.pcap",
                    "--rules",
                    "good.rules",
                    "--threads",
                    "all",
                ],
                &["--threads `all`", "a number"],
            ),
            bad(
                &[
                    "replay",
                    "a.pcap",
                    "--rules",
                    "good.rules",
                    "--check",
                    "some",
                ],
                &["--check `some`", "sample:N"],
            ),
            bad(
                &[
                    "replay",
                    "a.pcap",
                    "--rules",
                    "good.rules",
                    "--check",
                    "sample:0",
                ],
                &["--check `sample:0`", "N from 1"],
            ),
            bad(
                &["replay", "a.pcap", "--rules", "good.rules", "--seed", "-3"],
                &["-3"],
            ),
            bad(
                &[
                    "replay",
                    "a.pcap",
                    "--rules",
                    "good.rules",
                    "--verdicts",
                    "v.txt",
                ],
                &["--verdicts `v.txt`", ".csv"],
            ),
        ],
        &[],
    );
}

/// A classic pcap with one frame of `captured` bytes.
fn pcap(link: u32, captured: &[u8]) -> Vec<u8> {
    let mut bytes = 0xa1b2_c3d4u32.to_le_bytes().to_vec();
    bytes.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0]);
    bytes.extend(link.to_le_bytes());
    let len = u32::try_from(captured.len())
        .expect("a short frame")
        .to_le_bytes();
    bytes.extend([0; 8].into_iter().chain(len).chain(len));
    bytes.extend(captured);
    bytes
}
