//! Broken listings: what is said about each, and that nothing is lost without a word.

use kpclass_ruleset::readers::{Input, Rules, WarningKind, read};
use kpclass_ruleset::{Policy, TableId};

const HEADER: &str = "target     prot opt source               destination         ";
const NUMBERED: &str = "num  target     prot opt source               destination         ";

/// A nat listing in which `row` is the only rule, on line 3.
fn nat(row: &str) -> String {
    format!(
        "Chain PREROUTING (policy ACCEPT)\n{HEADER}\n{row}\n\nChain KUBE-SVC-X (1 references)\n{HEADER}\n"
    )
}

fn rules(text: &str) -> Rules {
    read(&[Input::new("x", text)]).unwrap_or_else(|error| panic!("{}{text}", error.report()))
}

/// The messages of the warnings of a kind.
fn warnings(rules: &Rules, kind: WarningKind) -> Vec<String> {
    rules
        .warnings
        .iter()
        .filter(|w| w.kind == kind)
        .map(ToString::to_string)
        .collect()
}

#[test]
fn malformed_rows_are_errors_that_name_their_line() {
    let cases = [
        (
            "ACCEPT all -- 10.0.0.0/33 0.0.0.0/0",
            "`33` is not a prefix length up to 32, nor a mask",
        ),
        (
            "ACCEPT all -- 10.0.0.0/8 fd00::/8",
            "`fd00::` is an IPv6 address in rules for IPv4",
        ),
        (
            "ACCEPT 300 -- 10.0.0.1 0.0.0.0/0",
            "`300` is not a protocol",
        ),
        (
            "ACCEPT tcp -- 10.0.0.1 0.0.0.0/0 tcp dpt:70000",
            "`70000` is not a port (0 to 65535) or the name of a service",
        ),
        (
            "ACCEPT tcp -- 10.0.0.1 0.0.0.0/0 tcp dpts:9:3",
            "`9:3` is a range whose first port is above its last",
        ),
        (
            "ACCEPT tcp -- 10.0.0.1 0.0.0.0/0 tcp flags:FOO/SYN",
            "`FOO` is not a TCP flag (FIN SYN RST PSH ACK URG ALL NONE)",
        ),
        (
            "ACCEPT all -- 10.0.0.1 0.0.0.0/0 ctstate FRESH",
            "`FRESH` is not a connection state such as NEW or ESTABLISHED",
        ),
        (
            "ACCEPT all -- 10.0.0.1 0.0.0.0/0 ADDRTYPE match dst-type HERE",
            "`HERE` is not an address type such as LOCAL or UNICAST",
        ),
        (
            "ACCEPT all -- 10.0.0.1 0.0.0.0/0 mark match 0xzz",
            "`0xzz` is not a number",
        ),
        (
            "ACCEPT all -- 10.0.0.1 0.0.0.0/0 statistic mode random probability 1.5",
            "`1.5` is not a probability from 0 to 1",
        ),
        (
            "ACCEPT all -- 10.0.0.1 0.0.0.0/0 statistic mode nth every 0",
            "`0` is not a number of packets: at least 1",
        ),
        (
            "ACCEPT all -- 10.0.0.1 0.0.0.0/0 match-set X up",
            "`up` is neither `src` nor `dst`",
        ),
        (
            "ACCEPT all -- 10.0.0.1 0.0.0.0/0 recent: SET name: X mask: 255",
            "`255` is not an IPv4 address",
        ),
        (
            "DNAT tcp -- 10.0.0.1 0.0.0.0/0 tcp dpt:80",
            "`-j DNAT` needs `--to-destination` and an address",
        ),
        (
            "DNAT tcp -- 10.0.0.1 0.0.0.0/0 to:10.0.0.1:",
            "`` is not a port or a range of ports",
        ),
        (
            "MARK all -- 10.0.0.1 0.0.0.0/0",
            "`-j MARK` needs an option such as `--set-xmark`",
        ),
        (
            "PREROUTING all -- 10.0.0.1 0.0.0.0/0",
            "a jump to the built-in chain `PREROUTING`: only hooks call it",
        ),
        (
            "ACCEPT all -- 10.0.0.1 0.0.0.0/0 [goto]",
            "`-g` needs a chain; `ACCEPT` is a target",
        ),
        (
            "KUBE-SVC-XPGD46QRK7WJZT7O-AND-MORE all -- 10.0.0.1 0.0.0.0/0",
            "a chain's name has at most 28 bytes, this one 34",
        ),
    ];
    for (row, message) in cases {
        let error = read(&[Input::new("x", nat(row))])
            .map(|_| ())
            .expect_err(row);
        assert_eq!(error.to_string(), format!("x:3:1: {message}"), "{row}");
        assert!(
            error
                .notes()
                .iter()
                .any(|note| note.starts_with("the rule reads as: -A PREROUTING")),
            "{row}"
        );
    }
}

#[test]
fn headings_and_tables_that_do_not_add_up_are_errors() {
    let accept = "ACCEPT     all  --  0.0.0.0/0            0.0.0.0/0";
    let dnat = "DNAT       tcp  --  0.0.0.0/0            0.0.0.0/0            to:10.0.0.1";
    let reject = "REJECT     all  --  0.0.0.0/0            0.0.0.0/0            reject-with icmp-port-unreachable";
    let cases = [
        (
            String::new(),
            "x: no iptables rule, chain or table in it: it is empty",
        ),
        (
            "\n\n  \n".to_owned(),
            "x: no iptables rule, chain or table in it: it is empty",
        ),
        (
            format!("noise\n{HEADER}\n{accept}\n{accept}\n"),
            "x:3:1: a listing's rules need the heading of their chain above them",
        ),
        (
            format!("{HEADER}\n"),
            "x:1:1: no iptables rule, chain or table in it",
        ),
        (
            format!("Chain INPUT (policy ACCEPT)\n{HEADER}\n{accept}\n"),
            "x:1:1: the table of this listing cannot be told: by its chains and targets it may be mangle, nat, filter, security",
        ),
        (
            format!("Chain INPUT (policy ACCEPT)\n{HEADER}\n{dnat}\n{reject}\n"),
            "x:1:1: the table of this listing cannot be told: no table has these chains and targets together",
        ),
        (
            format!("Chain FORWARD (policy ACCEPT)\n{HEADER}\n{dnat}\n"),
            "x:1:1: the table of this listing cannot be told: no table has these chains and targets together",
        ),
        (
            format!("Chain FORWARD (policy QUEUE)\n{HEADER}\n{reject}\n"),
            "x:1:1: `QUEUE` is not a policy: ACCEPT or DROP",
        ),
        (
            format!("Chain KUBE-SEP-SZEZPYI4DJWRAXYB-AND-MORE (1 references)\n{HEADER}\n{dnat}\n"),
            "x:1:1: a chain's name has at most 28 bytes, this one 34",
        ),
    ];
    for (text, expected) in cases {
        let error = read(&[Input::new("x", text.clone())])
            .map(|_| ())
            .expect_err(&text)
            .to_string();
        assert!(error.starts_with(expected), "{text}\n{error}\n{expected}");
    }
}

#[test]
fn the_user_names_the_table_that_cannot_be_told() {
    let text = format!(
        "Chain INPUT (policy DROP)\n{HEADER}\nACCEPT     all  --  0.0.0.0/0            0.0.0.0/0\n"
    );
    let input = Input {
        table: Some(TableId::Mangle),
        ..Input::new("x", text)
    };
    let rules = read(&[input]).expect("named");
    assert_eq!(
        warnings(&rules, WarningKind::TableInferred),
        Vec::<String>::new()
    );
    let ruleset = rules.v4.expect("IPv4");
    let input = ruleset
        .chain_named(TableId::Mangle, "INPUT")
        .expect("listed");
    assert_eq!(
        (
            ruleset.chain(input).policy,
            ruleset.chain_rules(input).len()
        ),
        (Policy::Drop, 1)
    );
}

#[test]
fn rules_without_their_chain_are_left_out_and_named() {
    let row = |number: u32| {
        format!("{number}    RETURN     all  --  10.0.0.{number}             0.0.0.0/0")
    };
    let cases = [
        // A heading was cut away: the numbers begin again.
        (
            format!(
                "Chain KUBE-SVC-X (1 references)\n{NUMBERED}\n{}\n{}\n{}\n{}\n",
                row(1),
                row(2),
                row(1),
                row(2)
            ),
            2,
            "x:5: lines 5 to 6: rules without the heading of their chain are left out",
        ),
        // The text begins in the middle of a chain.
        (
            format!(
                "{}\n\nChain KUBE-SVC-X (1 references)\n{NUMBERED}\n{}\n",
                row(7),
                row(1)
            ),
            1,
            "x:1: line 1: rules without the heading of their chain are left out",
        ),
        // A header without its heading.
        (
            format!(
                "{NUMBERED}\n{}\n\nChain KUBE-SVC-X (1 references)\n{NUMBERED}\n{}\n",
                row(1),
                row(1)
            ),
            1,
            "x:2: line 2: rules without the heading of their chain are left out",
        ),
        // A grep took some.
        (
            format!(
                "Chain KUBE-SVC-X (1 references)\n{NUMBERED}\n{}\n{}\n",
                row(2),
                row(5)
            ),
            2,
            "x:3: rule 1 of chain KUBE-SVC-X was cut away",
        ),
        // Columns cut off.
        (
            format!(
                "Chain KUBE-SVC-X (1 references)\n{NUMBERED}\n{}\n2    RETURN     all  --  10.0\n",
                row(1)
            ),
            1,
            "x:4: a rule whose columns are cut or malformed is left out",
        ),
    ];
    for (text, read, warning) in cases {
        let rules = rules(&text);
        let said = warnings(&rules, WarningKind::SkippedLine);
        assert_eq!(said.first().map(String::as_str), Some(warning), "{text}");
        assert_eq!(rules.v4.expect("IPv4").rules().len(), read, "{text}");
    }
}

#[test]
fn a_text_with_blank_lines_between_all_lines_is_read_as_without() {
    let row = "RETURN     all  --  10.0.0.1             0.0.0.0/0";
    let text = format!("Chain KUBE-SVC-X (1 references)\n\n{HEADER}\n\n{row}\n\n{row}\n\n");
    assert_eq!(rules(&text).v4.expect("IPv4").rules().len(), 2);
    let apart = format!("Chain KUBE-SVC-X (1 references)\n{HEADER}\n{row}\n\n{row}\n");
    assert_eq!(rules(&apart).v4.expect("IPv4").rules().len(), 1);
}

#[test]
fn a_chain_listed_twice_is_read_once() {
    let chain = |address: &str| {
        format!(
            "Chain KUBE-SVC-X (1 references)\n{HEADER}\nRETURN     all  --  {address}             0.0.0.0/0\n\n"
        )
    };
    let rules = rules(&format!("{}{}", chain("10.0.0.1"), chain("10.0.0.2")));
    assert_eq!(
        warnings(&rules, WarningKind::TableTwice),
        ["x:7: line 7 left out: chain KUBE-SVC-X is given before"]
    );
    assert_eq!(rules.v4.expect("IPv4").rules().len(), 1);
}

#[test]
fn names_and_texts_that_nobody_knows_make_their_rule_unknown() {
    let text = nat(
        "ACCEPT     tcp  --  k1/24                0.0.0.0/0            tcp dpt:nobodys\nACCEPT     all  --  k1/24                0.0.0.0/0",
    );
    let rules = rules(&text);
    assert_eq!(
        warnings(&rules, WarningKind::HiddenByForm)[1..],
        [
            "x:3: `-s k1/24` is not known; rules that have it match or not, nobody knows (lines 3, 4)",
            "x:3: `tcp dpt:nobodys` is not known; rules that have it match or not, nobody knows (lines 3)",
        ]
    );
    assert_eq!(rules.v4.expect("IPv4").rules().len(), 2);
}

#[test]
fn hostile_listings_end() {
    let heading = "Chain KUBE-SVC-X (1 references)\n";
    let row = "ACCEPT     all  --  0.0.0.0/0            0.0.0.0/0            ";
    let texts = [
        format!("{heading}{HEADER}\n{row}{}\n", "/* ".repeat(300_000)),
        format!("{heading}{HEADER}\n{row}{}\n", "\"a ".repeat(300_000)),
        format!("{heading}{HEADER}\n{row}{}\n", "ctstate X ".repeat(100_000)),
        format!(
            "{heading}{HEADER}\n{row}/* open\n{}",
            "more\n".repeat(200_000)
        ),
        format!(
            "-A X -m comment --comment \"open\n{}",
            "more\n".repeat(200_000)
        ),
        heading.repeat(50_000),
        format!(
            "Chain INPUT (policy ACCEPT)\n{HEADER}\n{}",
            format!("{row}\n").repeat(50_000)
        ),
        "Chain INPUT (policy ACCEPT)\n".repeat(100_000),
        "]".repeat(1_000_000),
        "\\n".repeat(500_000),
        format!("{heading}{}", "x -\n".repeat(200_000)),
    ];
    for text in texts {
        // Either answer is right; both must come soon.
        let _ = read(&[Input {
            table: Some(TableId::Nat),
            ..Input::new("x", text)
        }]);
    }
}
