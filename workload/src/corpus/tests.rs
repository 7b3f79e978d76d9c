//! The reader, whole and broken.

use super::*;

const GOOD: &str = r#"
[[case]]
name = "a"
why = "b"
dump = """
*nat
:svc -
-A PREROUTING -j svc
-A svc -j DNAT --to-destination 10.1.1.1
*filter
:FORWARD DROP
"""
node = { addresses = ["eth0 192.168.0.2", "10.0.0.9"], route_localnet = false, ipsets = "create S hash:ip\n" }
packets = [
  { spec = "tcp 10.0.0.1:1 > 10.0.0.2:80", outcomes = ["1/2 drop by FORWARD 1 dnat=10.1.1.1:80", "1/2 forward mark=0x4 marked-by svc 1"] },
  { spec = "tcp 10.0.0.9:1 > 10.0.0.2:80", outcomes = ["out masquerade"] },
]
"#;

fn broken(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    let error = cases(&GOOD.replacen(from, to, 1), "f.toml").unwrap_err();
    assert_eq!(error.file(), "f.toml");
    error.to_string()
}

#[test]
fn a_case_is_read_whole() {
    let case = cases(GOOD, "f.toml").unwrap().remove(0);
    assert_eq!((case.name.as_str(), case.why.as_str()), ("a", "b"));
    assert_eq!(
        case.text,
        "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n:svc - [0:0]\n\
         -A PREROUTING -j svc\n-A svc -j DNAT --to-destination 10.1.1.1\nCOMMIT\n\
         *filter\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\nCOMMIT\n"
    );
    assert_eq!(case.ruleset.rules().len(), 2);
    let local = case.node.local.unwrap();
    assert_eq!((local.addresses.len(), local.devices.len()), (2, 1));
    assert!(case.node.ipsets.unwrap().contains_key("S"));
    assert_eq!(case.packets[1].packet.hook, kpclass_ruleset::Hook::Output);
    let outcome = &case.packets[0].outcomes[0];
    assert_eq!(outcome.chance, Chance { n: 1, d: 2 });
    assert_eq!(outcome.line, "drop by FORWARD 1 dnat=10.1.1.1:80");
    assert_eq!(outcome.effect, "drop dnat=10.1.1.1:80");
    assert_eq!(case.packets[0].outcomes[1].effect, "forward mark=0x4");
}

#[test]
fn a_dump_with_a_commit_stands_as_it_is() {
    let text = GOOD.replacen(":FORWARD DROP\n", ":FORWARD DROP [0:0]\nCOMMIT\n", 1);
    let case = cases(&text.replacen(":svc -", ":svc - [0:0]", 1), "f").unwrap();
    assert!(!case[0].text.contains(":INPUT"));
}

#[test]
fn what_is_wrong_is_named() {
    let packet = "f.toml: case \"a\": packet `tcp 10.0.0.1:1 > 10.0.0.2:80`: ";
    for (from, to, said) in [
        (
            "why = \"b\"",
            "why = \" \"",
            "f.toml: case \"a\": `why` is empty",
        ),
        (
            "name = \"a\"",
            "name = \"\"",
            "f.toml: case \"\": `name` is empty",
        ),
        (
            "*filter",
            "*filters",
            "f.toml: case \"a\": dump: no table is named filters",
        ),
        (
            "*nat",
            "",
            "f.toml: case \"a\": dump: no table before `:svc -`",
        ),
        (
            "\"10.0.0.9\"",
            "\"10.0.0\"",
            "f.toml: case \"a\": node: `10.0.0`: needs an address, or a device and an address",
        ),
        (
            "create S",
            "crate S",
            "f.toml: case \"a\": node: ipsets: line 1: needed `create` or `add`, as `ipset save` writes, found `crate`",
        ),
        (
            "1/2 forward",
            "1/3 forward",
            &format!("{packet}the chances of its outcomes do not sum to 1"),
        ),
        (
            "1/2 forward",
            "2/4 forward",
            &format!("{packet}`2/4`: needs a reduced fraction above 0 and up to 1"),
        ),
        (
            "1/2 forward",
            "1/2 forwarded",
            &format!(
                "{packet}`forwarded mark=0x4 marked-by svc 1`: needs forward, local, out, drop, reject TYPE or unknown at …"
            ),
        ),
        (
            "svc 1\"",
            "svc\"",
            &format!(
                "{packet}`forward mark=0x4 marked-by svc`: `marked-by` needs a chain and a number"
            ),
        ),
        (
            "mark=0x4",
            "mark=4",
            &format!("{packet}`forward mark=4 marked-by svc 1`: `mark=4` says nothing"),
        ),
        (
            "1/2 forward mark=0x4",
            "1/2 drop dnat=10.1.1.1:80",
            &format!("{packet}`drop dnat=10.1.1.1:80` is expected twice"),
        ),
        (
            "[\"out masquerade\"]",
            "[]",
            "f.toml: case \"a\": packet `tcp 10.0.0.9:1 > 10.0.0.2:80`: no outcome is expected",
        ),
        (
            "tcp 10.0.0.9:1 > 10.0.0.2:80",
            "tcp [fd00::1]:1 > [fd00::2]:80",
            "f.toml: case \"a\": its packets are of two families",
        ),
    ] {
        assert_eq!(broken(from, to), said);
    }
    assert!(broken("name =", "nmae =").contains("unknown field `nmae`"));
    assert!(broken("route_localnet", "localnet").contains("unknown field `localnet`"));
    assert!(broken("-j DNAT", "-j").contains("f.toml, case \"a\":8:"));
    let empty = "[[case]]\nname = \"a\"\nwhy = \"b\"\ndump = \"*nat\"\npackets = []";
    let said = cases(empty, "f.toml").unwrap_err().to_string();
    assert_eq!(said, "f.toml: case \"a\": no packet is asked about");
}

#[test]
fn two_cases_of_one_name_are_refused() {
    let said = cases(&GOOD.repeat(2), "f.toml").unwrap_err();
    assert_eq!(said.case(), Some("a"));
    assert_eq!(
        said.to_string(),
        "f.toml: case \"a\": another case has this name"
    );
}

#[test]
fn chances_sum_exactly() {
    let third = Chance { n: 1, d: 3 };
    assert!(Chance::are_all([third; 3].into_iter()));
    assert!(!Chance::are_all([third; 2].into_iter()));
    assert!(!Chance::are_all([].into_iter()));
    let long = Chance { n: 1, d: u128::MAX };
    assert!(
        !Chance::are_all([long, Chance { n: 1, d: 2 }].into_iter()),
        "too long"
    );
    assert_eq!(third.to_string(), "1/3");
    assert!((third.as_f64() - 1.0 / 3.0).abs() < 1e-12);
}
