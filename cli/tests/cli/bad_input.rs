//! Broken dumps, captures, options and packets: each gives a clear error (what, where, given, needed), status 2,
//! nothing on stdout, and never a panic.

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
                ],
                &["--mode conntrack", "not tracked yet", "--mode packet"],
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

#[test]
fn facts_of_the_node() {
    let ask = |arguments: &'static [&'static str], says| bad(arguments, says);
    check(
        &[
            ask(
                &[
                    "dump",
                    "ruleset",
                    "--rules",
                    "good.rules",
                    "--local-addrs",
                    "10.0.0.300",
                ],
                &["--local-addrs", "`10.0.0.300`", "an address"],
            ),
            ask(
                &[
                    "dump",
                    "ruleset",
                    "--rules",
                    "good.rules",
                    "--local-addrs",
                    "",
                ],
                &["--local-addrs", "at least one address"],
            ),
            ask(
                &[
                    "dump",
                    "ruleset",
                    "--rules",
                    "good.rules",
                    "--local-addrs",
                    "empty",
                ],
                &["empty: line 1", "at least one address"],
            ),
            ask(
                &[
                    "dump",
                    "ruleset",
                    "--rules",
                    "good.rules",
                    "--local-addrs",
                    "bad.json",
                ],
                &["bad.json: line"],
            ),
            ask(
                &[
                    "dump",
                    "ruleset",
                    "--rules",
                    "good.rules",
                    "--ipset",
                    "absent",
                ],
                &["absent: no such file or directory"],
            ),
            ask(
                &[
                    "dump",
                    "ruleset",
                    "--rules",
                    "good.rules",
                    "--ipset",
                    "bad.sets",
                ],
                &["bad.sets: line 1"],
            ),
            ask(
                &[
                    "dump",
                    "ruleset",
                    "--rules",
                    "good.rules",
                    "--ipset",
                    "a.sets",
                    "--ipset",
                    "a.sets",
                ],
                &["a.sets: ipset `a` is given twice"],
            ),
            ask(
                &[
                    "dump",
                    "ruleset",
                    "--rules",
                    "good.rules",
                    "--sysctl",
                    "route_localnet=2",
                ],
                &["--sysctl `route_localnet=2`", "route_localnet=1"],
            ),
            ask(
                &[
                    "dump",
                    "ruleset",
                    "--rules",
                    "good.rules",
                    "--sysctl",
                    "ip_forward=1",
                ],
                &["--sysctl `ip_forward=1`"],
            ),
            ask(
                &[
                    "dump",
                    "ruleset",
                    "--rules",
                    "good.rules",
                    "--missing-chains",
                    "drop",
                ],
                &["'drop'", "return, unknown"],
            ),
        ],
        &[
            ("empty", b""),
            ("bad.json", b"[{\"ifname\": 3}]"),
            ("bad.sets", b"create x hash:nonsense\n"),
            ("a.sets", b"create a hash:ip family inet\nadd a 10.0.0.1\n"),
        ],
    );
}

#[test]
fn packet_specs() {
    const fn ask(arguments: &'static [&'static str; 5], says: &'static [&'static str]) -> Bad {
        bad(arguments, says)
    }
    macro_rules! spec {
        ($text:expr, $($says:expr),+) => {
            ask(&["explain", "--rules", "good.rules", "--packet", $text], &["--packet: column", $($says),+])
        };
    }
    check(
        &[
            spec!("", "a protocol", "found the end"),
            spec!("foo 10.0.0.1 > 10.0.0.2", "column 1", "`foo`"),
            spec!("tcp", "the source address", "found the end"),
            spec!("tcp 10.0.0.1:1", "`>`", "found the end"),
            spec!(
                "tcp 10.0.0.1:1 >",
                "the destination address",
                "found the end"
            ),
            spec!("tcp 10.0.0.1:1 10.0.0.2:2", "`>`", "`10.0.0.2:2`"),
            spec!("tcp 10.0.0.1 > 10.0.0.2:80", "port", "^"),
            spec!("tcp 10.0.0.1:1 > 10.0.0.2:65536", "65536"),
            spec!("tcp 10.0.0.256:1 > 10.0.0.2:80", "10.0.0.256"),
            spec!("tcp 10.0.0.1:1 > [fd00::1]:80", "fd00::1"),
            spec!("icmp 10.0.0.1:1 > 10.0.0.2", "10.0.0.1:1"),
            spec!("tcp 10.0.0.1:1 > 10.0.0.2:80 flags=Q", "flag"),
            spec!("tcp 10.0.0.1:1 > 10.0.0.2:80 ctstate=maybe", "maybe"),
            spec!("tcp 10.0.0.1:1 > 10.0.0.2:80 hook=input", "input"),
            spec!(
                "tcp 10.0.0.1:1 > 10.0.0.2:80 mark=0x1ffffffff",
                "0x1ffffffff"
            ),
            spec!(
                "tcp 10.0.0.1:1 > 10.0.0.2:80 in=a-name-that-is-too-long",
                "in="
            ),
            spec!("tcp 10.0.0.1:1 > 10.0.0.2:80 colour=red", "colour"),
            spec!("udp 10.0.0.1:1 > 10.0.0.2:80 flags=S", "flags"),
            spec!("tcp 10.0.0.1:1 > 10.0.0.2:80 type=8", "type"),
        ],
        &[],
    );
}

#[test]
fn files_of_packets() {
    macro_rules! file {
        ($name:expr, $($says:expr),+) => {
            bad(&["explain", "--rules", "good.rules", "--packets", $name], &[$($says),+])
        };
    }
    check(
        &[
            file!("absent", "absent: no such file or directory"),
            file!("empty", "empty: needs one packet a line, holds none"),
            file!("comments", "comments: needs one packet a line, holds none"),
            file!("second", "second: line 3, column 1", "`nonsense`"),
            file!("binary", "binary: line 1, column 1"),
        ],
        &[
            ("empty", b""),
            ("comments", b"# nothing\n\n"),
            ("second", b"tcp 10.0.0.1:1 > 10.0.0.2:80\n\nnonsense\n"),
            ("binary", b"\xff\x00\xfe"),
        ],
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

#[test]
fn captures() {
    macro_rules! frame {
        ($name:expr, $($says:expr),+) => {
            bad(&["explain", "--rules", "good.rules", "--frame", $name], &[$($says),+])
        };
    }
    let whole = pcap(1, &[0; 60]);
    let mut arp = [0; 60];
    arp[12..14].copy_from_slice(&[8, 6]);
    let mut old = whole.clone();
    old[4] = 1;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &whole).unwrap();
    let gzip = gzip.finish().unwrap();
    check(
        &[
            frame!(
                "whole.pcap",
                "--frame `whole.pcap`",
                "a frame's number, from 1"
            ),
            frame!("whole.pcap:0", "--frame `whole.pcap:0`", "from 1"),
            frame!("whole.pcap:2", "whole.pcap: needs frame 2, holds 1"),
            frame!("absent.pcap:1", "absent.pcap: ", "o such file"),
            frame!(".:1", ".: is a directory"),
            frame!("empty:1", "empty: is empty", "24 bytes"),
            frame!("text:1", "text: is no capture", "begins with"),
            frame!(
                "head:1",
                "head: is cut off in its file header: needs 24 bytes, has 10"
            ),
            frame!("old:1", "old: has version 1."),
            frame!(
                "cut:1",
                "cut: needs frame 1, holds 0",
                "cut off in frame 1 at byte 24: 76 bytes needed, 70 available"
            ),
            frame!("arp:1", "arp: frame 1 holds no packet to ask about: not IP"),
            frame!(
                "link:1",
                "link: frame 1 holds no packet to ask about: link type 147 is not read"
            ),
            frame!(
                "short:1",
                "short: frame 1 holds no packet to ask about",
                "cut off"
            ),
            frame!("text.gz:1", "text.gz: holds no capture: the gzip data"),
            frame!("broken.gz:1", "broken.gz"),
        ],
        &[
            ("whole.pcap", &whole),
            ("empty", b""),
            ("text", b"no capture at all, but text\n"),
            ("head", &whole[..10]),
            ("old", &old),
            ("cut", &whole[..94]),
            ("arp", &pcap(1, &arp)),
            ("link", &pcap(147, &[0; 60])),
            ("short", &pcap(1, &[0; 6])),
            ("text.gz", &{
                let mut gzip =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                std::io::Write::write_all(&mut gzip, b"no capture at all, but text\n").unwrap();
                gzip.finish().unwrap()
            }),
            ("broken.gz", &gzip[..15]),
        ],
    );
}

/// A `nat` table whose fourth line is the rule.
fn nat(rule: &str) -> Vec<u8> {
    format!("*nat\n:PREROUTING ACCEPT [0:0]\n:A - [0:0]\n{rule}\nCOMMIT\n").into_bytes()
}

#[test]
fn dumps_that_are_none() {
    macro_rules! dump {
        ($name:expr, $($says:expr),+) => {
            bad(&["dump", "ruleset", "--rules", $name], &[concat!($name, ":"), $($says),+])
        };
    }
    let gzip = |text: &[u8]| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, text).unwrap();
        gzip.finish().unwrap()
    };
    check(
        &[
            dump!("empty", "no iptables rule, chain or table in it: it is empty"),
            dump!("blank", "it is empty"),
            dump!("comments", "1:1: no iptables rule, chain or table in it", "1 | # only"),
            dump!("prose", "1:1: no iptables rule", "1 | Dear node,", "^^^^^^^^^^"),
            dump!("record", "1:1: no iptables rule", "{\"a\": 1}"),
            dump!("bytes", "1:1: no iptables rule"),
            dump!("capture", "no iptables rule"),
            dump!("text.gz", "1:1: no iptables rule", "hello world"),
            dump!("cut.gz", "begins as gzip does, but cannot be unpacked"),
            dump!("cut.zst", "begins as zstd does, but cannot be unpacked"),
            dump!("listing", "the table of this listing cannot be told", "`--rules nat:FILE`"),
        ],
        &[
            ("empty", b""),
            ("blank", b"\n\n  \n"),
            ("comments", b"# only\n# comments\n"),
            ("prose", b"Dear node,\nplease forward my packets.\n"),
            ("record", b"{\"a\": 1}\n"),
            ("bytes", &(0..=255).collect::<Vec<u8>>()),
            ("capture", &pcap(1, &[0; 60])),
            ("text.gz", &gzip(b"hello world\n")),
            ("cut.gz", &gzip(RULES.repeat(99).as_bytes())[..40]),
            ("cut.zst", b"\x28\xb5\x2f\xfd\0\0\0"),
            ("listing", b"Chain PREROUTING (policy ACCEPT)\ntarget     prot opt source    destination\nKUBE-X  all  --\n"),
        ],
    );
}

#[test]
fn lines_of_a_dump() {
    let cases: [(&str, &str, &str); 30] = [
        (
            "-A PREROUTING -d 10.0.0.1/32 -p tcp -m tcp --dport 443 -j",
            "4:56: a jump needs the name of a target or chain",
            "was the line cut off?",
        ),
        (
            "-A PREROUTING -d 10.0.0.300/32 -j A",
            "4:18: `10.0.0.300` is not an IPv4 address",
            "^^^^^^^^^^^^^",
        ),
        (
            "-A PREROUTING -d 10.0.0.1/33 -j A",
            "4:18: `33` is not a prefix length up to 32, nor a mask",
            "^",
        ),
        (
            "-A PREROUTING -p tcp -m tcp --dport 70000 -j A",
            "4:37: `70000` is not a port (0 to 65535)",
            "^^^^^",
        ),
        (
            "-A PREROUTING -p nonsense -j A",
            "4:18: `nonsense` is not a protocol",
            "^^^^^^^^",
        ),
        (
            "-A PREROUTING --nonsense 3 -j A",
            "4:15: no module or target of this rule has the option `--nonsense`",
            "^^^^^^^^^^",
        ),
        (
            "-A PREROUTING --dport 80 -j A",
            "4:15: no module or target of this rule has the option `--dport`",
            "^^^^^^^",
        ),
        (
            "-A PREROUTING ! -j A",
            "4:17: `!` cannot stand before `-j`",
            "^^",
        ),
        (
            "-A PREROUTING -s 10.0.0.1 -s 10.0.0.2 -j A",
            "4:27: this option is given twice",
            "^^",
        ),
        (
            "-A PREROUTING -j A -j A",
            "4:23: a second target",
            "the rule has `A` already",
        ),
        (
            "-A A -j A",
            "4:9: a loop of chains, which the kernel refuses: A -> A",
            "^",
        ),
        (
            "-A PREROUTING -j POSTROUTING",
            "4:18: a jump to the built-in chain `POSTROUTING`",
            "only hooks call it",
        ),
        (
            "-A PREROUTING -m comment --comment \"open -j A",
            "4:36: a quote is opened here and never closed",
            "was the line cut off?",
        ),
        (
            "-A PREROUTING -m mark --mark zz -j A",
            "4:30: `zz` is not a number",
            "^^",
        ),
        (
            "-A PREROUTING -m statistic --mode random --probability 1.5 -j A",
            "4:56: `1.5` is not a probability from 0 to 1",
            "^^^",
        ),
        (
            "-A PREROUTING -m conntrack --ctstate MAYBE -j A",
            "4:38: `MAYBE` is not a connection state",
            "^^^^^",
        ),
        (
            "-A PREROUTING -p tcp -j DNAT --to-destination 10.0.0.1:99999",
            "4:47: `99999` is not a port",
            "^",
        ),
        (
            "-A PREROUTING -p tcp -j DNAT",
            "4:25: `-j DNAT` needs `--to-destination` and an address",
            "^^^^",
        ),
        (
            "-A PREROUTING -i averyveryverylonginterface -j A",
            "4:18: `averyveryverylonginterface` is too long",
            "at most 15 bytes",
        ),
        (
            "-A XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX -j ACCEPT",
            "4:4: a chain's name has at most 28 bytes, this one 40",
            "^",
        ),
        (
            "-A",
            "4:1: `-A` needs the name of a chain",
            "was the line cut off?",
        ),
        (
            "-A PREROUTING -p tcp -m multiport --dports 1,2,x -j A",
            "4:44: `x` is not a port",
            "^^^^^",
        ),
        (
            "-A PREROUTING -s 10.0.0.1\0 -j ACCEPT",
            "4:18: ",
            "is not an IPv4 address",
        ),
        (
            "-A PREROUTING -d fd00::1/128 -j A\n-A PREROUTING -d 10.0.0.1/32 -j A",
            "5:18: `10.0.0.1` is an IPv4 address in rules for IPv6",
            "^",
        ),
        (
            "-A A -j B\n-A B -j A",
            "5:9: a loop of chains, which the kernel refuses: A -> B -> A",
            "^",
        ),
        (
            ":PREROUTING MAYBE [0:0]",
            "4:13: `MAYBE` is not a policy: ACCEPT or DROP",
            "^^^^^",
        ),
        (
            "*nats",
            "4:1: `nats` is not a table of iptables",
            "raw, mangle, nat, filter and security",
        ),
        (
            "-A PREROUTING -j REJECT --reject-with a-letter",
            "4:39: `a-letter` is not an answer that REJECT knows",
            "^^^^^^^^",
        ),
        ("-A PREROUTING -m conntrack --ctstate", "4:", "--ctstate"),
        (
            "-A PREROUTING -m iprange --src-range 10.0.0.9-10.0.0.1 -j A",
            "4:",
            "10.0.0.9-10.0.0.1",
        ),
    ];
    let place = Place::new();
    let mut wrong = Vec::new();
    for (rule, first, second) in cases {
        place.file("n.rules", nat(rule));
        let run = place.run(&["dump", "ruleset", "--rules", "n.rules"]);
        let says = run.stderr.starts_with(&format!("kpclass: n.rules:{first}"))
            && run.stderr.contains(second);
        if (run.status, run.stdout.as_str(), says) != (Some(2), "", true) {
            wrong.push(format!(
                "{rule}\n  {:?} {} {}",
                run.status, run.stdout, run.stderr
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
