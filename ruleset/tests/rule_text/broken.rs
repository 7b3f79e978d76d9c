//! Malformed text is refused with a message that says where, what was there and what was needed.

use kpclass_ruleset::readers::{Input, read};
use std::io::Write;

/// The error of a text: `line:column: message`.
fn error(text: &str) -> String {
    match read(&[Input::new("dump", text)]) {
        Ok(rules) => format!("it is read, with warnings {:?}", rules.warnings),
        Err(error) => error
            .to_string()
            .strip_prefix("dump:")
            .expect("names the file")
            .trim_start()
            .to_owned(),
    }
}

/// A rule of table nat and its error, which stands on line 2.
const RULES: &[(&str, &str)] = &[
    (
        "-A KUBE-SERVICES -p tcp -m tcp --dport 443 -j",
        "2:44: a jump needs the name of a target or chain",
    ),
    ("-A X -g", "2:6: a goto needs the name of a target or chain"),
    ("-A", "2:1: `-A` needs the name of a chain"),
    ("-A X -s", "2:6: `-s` needs an address"),
    (
        "-A X -s 10.0.0.256 -j Y",
        "2:9: `10.0.0.256` is not an IPv4 address",
    ),
    (
        "-A X -s 10.0.0.0/33 -j Y",
        "2:9: `33` is not a prefix length up to 32, nor a mask",
    ),
    (
        "-A X -s 10.0.0.1,,10.0.0.2 -j Y",
        "2:9: `` is not an IPv4 address",
    ),
    (
        "-A X ! -s 10.0.0.1,10.0.0.2 -j Y",
        "2:8: `!` cannot stand before a list of addresses",
    ),
    (
        "-A X -s 10.0.0.1 -s 10.0.0.2 -j Y",
        "2:18: this option is given twice",
    ),
    (
        "-A X -s node1.example -j Y",
        "2:9: `node1.example` is not an IPv4 address",
    ),
    ("-A X -p tpc -j Y", "2:9: `tpc` is not a protocol"),
    (
        "-A X ! -p all -j Y",
        "2:8: `!` before every protocol leaves none",
    ),
    (
        "-A X -p tcp -m tcp --dport 65536 -j Y",
        "2:28: `65536` is not a port (0 to 65535) or the name of a service",
    ),
    (
        "-A X -p tcp -m tcp --dport 90:80 -j Y",
        "2:28: `90:80` is a range whose first port is above its last",
    ),
    (
        "-A X -p tcp -m tcp --dprot 80 -j Y",
        "2:20: no module or target of this rule has the option `--dprot`",
    ),
    (
        "-A X --dport 80 -j Y",
        "2:6: no module or target of this rule has the option `--dport`",
    ),
    (
        "-A X -p udp -m udp --tcp-flags SYN SYN -j Y",
        "2:20: no module or target of this rule has the option `--tcp-flags`",
    ),
    (
        "-A X -p tcp -m tcp --tcp-flags SYN,FOO SYN -j Y",
        "2:32: `FOO` is not a TCP flag (FIN SYN RST PSH ACK URG ALL NONE)",
    ),
    (
        "-A X -p tcp -m tcp --tcp-flags SYN",
        "2:20: `--tcp-flags` needs flags that must be set, after those to look at",
    ),
    (
        "-A X -p icmp -m icmp --icmp-type pnig -j Y",
        "2:34: `pnig` is not an ICMP type",
    ),
    (
        "-A X -i averyverylongname0 -j Y",
        "2:9: `averyverylongname0` is too long: a device's name has at most 15 bytes",
    ),
    (
        "-A X -m conntrack --ctstate NWE -j Y",
        "2:29: `NWE` is not a connection state such as NEW or ESTABLISHED",
    ),
    (
        "-A X -m conntrack -j Y",
        "2:9: `-m conntrack` needs an option such as `--ctstate`",
    ),
    (
        "-A X -m mark --mark 0x4000/0xfffffffff -j Y",
        "2:21: `0xfffffffff` is above 4294967295",
    ),
    (
        "-A X -m mark --mark blue -j Y",
        "2:21: `blue` is not a number",
    ),
    (
        "-A X -m statistic --mode random --probability 1.5 -j Y",
        "2:47: `1.5` is not a probability from 0 to 1",
    ),
    (
        "-A X -m statistic --mode often -j Y",
        "2:26: `often` is neither `random` nor `nth`",
    ),
    (
        "-A X -m statistic --mode nth --probability 0.5 -j Y",
        "2:30: this option is of the other `--mode`",
    ),
    (
        "-A X -m addrtype --dst-type LOCL -j Y",
        "2:29: `LOCL` is not an address type such as LOCAL or UNICAST",
    ),
    (
        "-A X -m set --match-set S src,up -j Y",
        "2:27: `up` is neither `src` nor `dst`",
    ),
    (
        "-A X -m mac --mac-source 00:11:22:33:44 -j Y",
        "2:26: `00:11:22:33:44` is not an address of six bytes such as 00:16:3e:00:00:01",
    ),
    (
        "-A X -p tcp -m multiport --dports 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16 -j Y",
        "2:35: a multiport list holds at most 15 ports (a range counts twice), this one 16",
    ),
    (
        "-A X -m comment --comment \"cut of",
        "2:27: a quote is opened here and never closed",
    ),
    (
        "-A X -m comment -j Y",
        "2:9: `-m comment` needs `--comment` and a text",
    ),
    ("-A X -m", "2:6: `-m` needs the name of a module"),
    (
        "-A X -j Y -j Z",
        "2:14: a second target: the rule has `Y` already",
    ),
    ("-A X ! -j Y", "2:8: `!` cannot stand before `-j`"),
    ("-A X -j Y !", "2:11: `!` needs a condition after it"),
    (
        "-A X foo -j Y",
        "2:6: `foo` stands where an option is needed",
    ),
    ("-A X -q 5 -j Y", "2:6: `-q` is not an option of a rule"),
    (
        "-A X -g ACCEPT",
        "2:9: `-g` needs a chain; `ACCEPT` is a target",
    ),
    (
        "-A X -j PREROUTING",
        "2:9: a jump to the built-in chain `PREROUTING`: only hooks call it",
    ),
    (
        "-A X -j DNAT",
        "2:9: `-j DNAT` needs `--to-destination` and an address",
    ),
    (
        "-A X -p tcp -j DNAT --to-destination 10.0.0.1:x",
        "2:38: `x` is not a port or a range of ports",
    ),
    (
        "-A X -s 10.0.0.1 -j DNAT --to-destination fd00::1",
        "2:43: `fd00::1` is an IPv6 address in rules for IPv4",
    ),
    (
        "-A X -j MARK",
        "2:9: `-j MARK` needs an option such as `--set-xmark`",
    ),
    (
        "-A X -j MASQUERADE --to-ports 70000",
        "2:31: `70000` is not a port (0 to 65535) or the name of a service",
    ),
    (
        "-A X -j KUBE-SVC-ABCDEFGHIJKLMNOPQRST",
        "2:9: a chain's name has at most 28 bytes, this one 29",
    ),
    (
        "-I X 0 -j Y",
        "2:6: `0` is not the number of a rule: they count from 1",
    ),
    ("-R X 7 -j Y", "2:1: the chain has no rule 7"),
    ("-t nta -A X -j Y", "2:4: `nta` is not a table of iptables"),
    (
        ":X ACCEPT [0:0]",
        "2:4: only a built-in chain has a policy; another has `-`",
    ),
    (
        ":PREROUTING MAYBE [0:0]",
        "2:13: `MAYBE` is not a policy: ACCEPT or DROP",
    ),
    (
        ":PREROUTING ACCEPT 0:0",
        "2:20: counters are written [PACKETS:BYTES]",
    ),
    (
        "-P X ACCEPT",
        "2:6: only a built-in chain has a policy; another has `-`",
    ),
];

#[test]
fn malformed_rules_are_refused_at_their_place() {
    assert!(RULES.len() >= 50);
    let mut wrong = Vec::new();
    for (rule, expected) in RULES {
        let given = error(&format!(
            "*nat
{rule}
COMMIT
"
        ));
        if given != *expected {
            wrong.push(format!(
                "{rule}
   given {given}
expected {expected}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}",
        wrong.join(
            "
"
        )
    );
}

#[test]
fn what_is_no_dump_is_refused_by_its_first_line() {
    assert_eq!(
        error(""),
        "no iptables rule, chain or table in it: it is empty"
    );
    assert_eq!(
        error("\n \n"),
        "no iptables rule, chain or table in it: it is empty"
    );
    let given = error("{\"level\":\"debug\"}\n");
    assert_eq!(
        given,
        "1:1: no iptables rule, chain or table in it; its first line is no such thing"
    );
    assert!(error("apiVersion: v1\nkind: Service\n").starts_with("1:1: no iptables rule"));
    assert!(error("\0\x01\x02").starts_with("1:1: no iptables rule"));
}

#[test]
fn tables_that_are_not_known_or_cannot_be_told() {
    assert_eq!(
        error("*broute\n:BROUTING ACCEPT\n"),
        "1:1: `broute` is not a table of iptables"
    );
    assert_eq!(
        error("-A PREROUTING -s 10.0.0.0/8 -j ACCEPT\n"),
        "1:1: no line says whose table this rule is in: it may be raw, mangle, nat"
    );
    let text = "-A PREROUTING -s 10.0.0.0/8 -j ACCEPT\n";
    let input = Input {
        table: Some(kpclass_ruleset::TableId::Nat),
        ..Input::new("dump", text)
    };
    assert!(read(&[input]).is_ok(), "the user says the table");
}

#[test]
fn loops_are_refused() {
    let nat = |rules: &str| error(&format!("*nat\n:PREROUTING ACCEPT [0:0]\n{rules}COMMIT\n"));
    assert_eq!(
        nat("-A A -j A\n"),
        "3:9: a loop of chains, which the kernel refuses: A -> A"
    );
    let given = nat("-A A -j B\n-A B -g C\n-A C -j A\n");
    assert_eq!(
        given,
        "5:9: a loop of chains, which the kernel refuses: A -> B -> C -> A"
    );
    // Long chains of chains neither overflow a stack nor take long.
    let mut long = String::new();
    for i in 0..50_000 {
        long += &format!("-A C{i} -j C{}\n", i + 1);
    }
    assert!(read(&[Input::new("dump", format!("*nat\n{long}COMMIT\n"))]).is_ok());
    assert!(nat(&format!("{long}-A C50000 -j C0\n")).contains("a loop of chains"));
}

/// Short texts that would take hours or all memory if taken literally.
#[test]
fn expensive_texts_are_refused() {
    let addresses = vec!["10.0.0.1"; 2_000].join(",");
    let given = error(&format!(
        "*nat\n-A X -s {addresses} -d {addresses} -j ACCEPT\n"
    ));
    assert!(
        given.starts_with("2:1: the commands up to here take too long"),
        "{given}"
    );
    let given = error(&format!("*nat\n-A X{} -j ACCEPT\n", " -m tcp".repeat(101)));
    assert_eq!(given, "2:709: a rule has at most 100 modules");
    let given = error(&format!(
        "*nat\n{}{}",
        "-A X\n".repeat(50_000),
        "-D X -j Y\n".repeat(50_000)
    ));
    assert!(given.contains("take too long"), "{given}");
    let chains: String = (0..50_000).map(|i| format!(":C{i} -\n")).collect();
    let given = error(&format!("*nat\n{chains}{}", "-F\n".repeat(50_000)));
    assert!(given.contains("take too long"), "{given}");
}

#[test]
fn the_report_draws_the_line() {
    let text = "*nat\n-A KUBE-SERVICES -d 10.152.183.1/32 -p tcp -m tcp --dport 443 -j\n";
    let error = read(&[Input::new("node7.rules", text)]).expect_err("cut");
    let expected = "node7.rules:2:63: a jump needs the name of a target or chain
  |
2 | -A KUBE-SERVICES -d 10.152.183.1/32 -p tcp -m tcp --dport 443 -j
  |                                                               ^^ ends here
  = was the line cut off?
";
    assert_eq!(error.report(), expected);
    assert_eq!(error.position(), Some((2, 63)));
}

#[test]
fn archives_that_are_damaged() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder
        .write_all(b"*nat\n-A X -j Y\nCOMMIT\n")
        .expect("writes");
    let mut bytes = encoder.finish().expect("finishes");
    assert!(read(&[Input::new("dump.gz", bytes.clone())]).is_ok());
    bytes.truncate(bytes.len() - 6);
    let error = read(&[Input::new("dump.gz", bytes)])
        .expect_err("cut")
        .to_string();
    assert!(
        error.starts_with("dump.gz: begins as gzip does, but cannot be unpacked"),
        "{error}"
    );
    let error = read(&[Input::new("z", *b"\x28\xb5\x2f\xfdxxxx")])
        .expect_err("no zstd")
        .to_string();
    assert!(
        error.starts_with("z: begins as zstd does, but cannot be unpacked"),
        "{error}"
    );
}

/// Whatever is cut off or changed in a dump, reading it ends, and without a panic.
#[test]
fn damaged_dumps_never_panic() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../testdata/dumps/kube-proxy/a-microk8s/v1.30-nft/iptables-save.txt"
    );
    let text = std::fs::read(path).expect("reads");
    for end in (0..text.len()).step_by(61) {
        let _ = read(&[Input::new("cut", &text[..end])]);
        let _ = read(&[Input::new("cut", &text[end..])]);
        let mut changed = text[..text.len().min(4_000)].to_vec();
        let at = end % changed.len();
        for byte in [0, b'"', b'!', b' ', b'\n', 0xff] {
            changed[at] = byte;
            let _ = read(&[Input::new("changed", &changed[..])]);
        }
    }
}
