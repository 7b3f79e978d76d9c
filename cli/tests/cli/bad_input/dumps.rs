//! Dumps.

use super::{RULES, bad, check, pcap};
use crate::program::Place;

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
