use super::{Dimension, Entry, Value, parse_ipsets};
use std::net::IpAddr;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn range(first: &str, last: &str) -> Value {
    Value::Addresses(ip(first), ip(last))
}

fn entries(kind: &str, adds: &[&str]) -> Vec<Entry> {
    let mut text = format!("create s {kind} hashsize 1024 maxelem 65536\n");
    adds.iter()
        .for_each(|add| text.push_str(&format!("add s {add}\n")));
    let mut saved = parse_ipsets(&text).unwrap();
    assert!(saved.left_out.is_empty());
    saved.sets.remove("s").unwrap().entries
}

fn values(kind: &str, add: &str) -> Vec<Value> {
    entries(kind, &[add]).remove(0).values
}

#[test]
fn each_type_reads_its_entries() {
    assert_eq!(
        values("hash:ip family inet", "10.0.0.1"),
        [range("10.0.0.1", "10.0.0.1")]
    );
    assert_eq!(
        values("hash:net", "10.0.0.0/24"),
        [range("10.0.0.0", "10.0.0.255")]
    );
    assert_eq!(
        values("hash:net", "0.0.0.0/0"),
        [range("0.0.0.0", "255.255.255.255")]
    );
    assert_eq!(
        values("hash:ip", "10.0.0.1-10.0.0.9"),
        [range("10.0.0.1", "10.0.0.9")]
    );
    assert_eq!(
        values("hash:net family inet6", "::/0"),
        [range("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")]
    );
    assert_eq!(
        values("hash:ip family inet6", "[fd00::1]"),
        [range("fd00::1", "fd00::1")]
    );
    assert_eq!(
        values("hash:ip,port", "10.0.0.1,udp:53-54"),
        [range("10.0.0.1", "10.0.0.1"), Value::Port(Some(17), 53, 54)]
    );
    assert_eq!(
        values("hash:ip,port,net", "10.0.0.1,icmp:8/0,10.2.0.0/16"),
        [
            range("10.0.0.1", "10.0.0.1"),
            Value::Port(Some(1), 0x800, 0x800),
            range("10.2.0.0", "10.2.255.255")
        ]
    );
    assert_eq!(
        values("hash:net,iface", "10.0.0.0/8,eth0")[1],
        Value::Iface("eth0".into())
    );
    assert_eq!(
        values("hash:ip,mark", "10.0.0.1,0x63")[1],
        Value::Mark(0x63)
    );
    assert_eq!(
        values("hash:mac", "02:00:00:00:00:0A"),
        [Value::Mac([2, 0, 0, 0, 0, 10])]
    );
    assert_eq!(
        values("bitmap:port range 0-1024", "80-90"),
        [Value::Port(None, 80, 90)]
    );
    assert_eq!(
        values(
            "bitmap:ip,mac range 10.0.0.0/24",
            "10.0.0.1,02:00:00:00:00:01"
        )
        .len(),
        2
    );
}

#[test]
fn a_netmask_makes_each_address_its_network() {
    assert_eq!(
        values("hash:ip netmask 24", "10.0.1.0"),
        [range("10.0.1.0", "10.0.1.255")]
    );
    assert_eq!(
        values("bitmap:ip range 10.0.0.0/8 netmask 16", "10.1.0.0-10.2.0.0"),
        [range("10.1.0.0", "10.2.255.255")]
    );
}

#[test]
fn options_of_entries() {
    let read = entries(
        "hash:net counters comment timeout 0",
        &[
            "10.0.0.0/8 timeout 300 packets 1 bytes 60 comment \"a b # c\"",
            "10.1.0.0/16 nomatch",
        ],
    );
    assert_eq!(
        read.iter().map(|e| e.nomatch).collect::<Vec<_>>(),
        [false, true]
    );
}

#[test]
fn a_list_names_its_members() {
    let text = "# saved\ncreate a hash:ip\ncreate l list:set size 8\nadd l a\nadd l elsewhere\n";
    let saved = parse_ipsets(text).unwrap();
    assert_eq!(saved.sets["l"].members, ["a", "elsewhere"]);
    assert!(saved.sets["l"].dimensions.is_empty());
    assert_eq!(saved.sets["a"].dimensions, [Dimension::Ip]);
}

#[test]
fn what_is_not_modelled_leaves_its_set_out() {
    let text = "create m bitmap:ip,mac range 10.0.0.0/24\nadd m 10.0.0.1\ncreate i hash:net,iface\n\
                add i 10.0.0.0/8,physdev:eth0\ncreate w hash:net,iface\nadd w 10.0.0.0/8,eth wildcard\n\
                create k hash:ip,mark markmask 0xff\ncreate b hash:ip bitmask 255.0.255.0\ncreate ok hash:ip\n";
    let saved = parse_ipsets(text).unwrap();
    assert_eq!(saved.sets.keys().collect::<Vec<_>>(), ["ok"]);
    let out: Vec<&str> = saved
        .left_out
        .iter()
        .map(|(name, ..)| name.as_str())
        .collect();
    assert_eq!(out, ["m", "i", "w", "k", "b"]);
}

#[test]
fn what_ipset_would_refuse_is_an_error_with_its_line() {
    for (text, line, needed) in [
        ("create", 1, "a set's name"),
        ("create s", 1, "a set's type"),
        ("create s hash:udp", 1, "a type"),
        (
            "create s hash:ip\ncreate s hash:ip",
            2,
            "not created before",
        ),
        ("create s hash:ip family inet4", 1, "inet or inet6"),
        ("create s hash:ip family", 1, "inet or inet6"),
        ("create s hash:ip netmask 33", 1, "a prefix length"),
        ("create s hash:ip colour", 1, "an option of `create`"),
        ("add s 10.0.0.1", 1, "creates"),
        ("create s hash:ip\nadd s", 2, "an entry"),
        ("create s hash:ip\n\nadd s fd00::1", 3, "the set's family"),
        (
            "create s hash:ip\nadd s 10.0.0.1,tcp:80",
            2,
            "an entry of hash:ip,",
        ),
        (
            "create s hash:ip,port\nadd s 10.0.0.1",
            2,
            "an entry of hash:ip,port",
        ),
        (
            "create s hash:ip,port\nadd s 10.0.0.1,tcp:90-80",
            2,
            "a port",
        ),
        ("create s hash:ip,port\nadd s 10.0.0.1,foo:80", 2, "a port"),
        (
            "create s hash:ip,port\nadd s 10.0.0.1,icmp:256/0",
            2,
            "a port",
        ),
        ("create s hash:net\nadd s 10.0.0.0/33", 2, "a network"),
        ("create s hash:ip\nadd s 10.0.0.9-10.0.0.1", 2, "a range"),
        (
            "create s hash:ip\nadd s 10.0.0.1 comment \"a",
            2,
            "a closing quote",
        ),
        (
            "create s hash:ip\nadd s 10.0.0.1 timeout",
            2,
            "a value after timeout",
        ),
        (
            "create s hash:ip\nadd s 10.0.0.1 colour",
            2,
            "an option of `add`",
        ),
        ("create s hash:mac\nadd s 1:2:3", 2, "a MAC"),
        ("create s hash:ip,mark\nadd s 10.0.0.1,x", 2, "a mark"),
        (
            "create a list:set\ncreate b list:set\nadd b a",
            2,
            "no list:set",
        ),
        ("Name: s\nType: hash:ip", 1, "`ipset save`"),
        ("*filter", 1, "`create` or `add`"),
    ] {
        let error = parse_ipsets(text).expect_err(text);
        assert_eq!(error.line(), line, "{text}: {error}");
        assert!(error.to_string().contains(needed), "{text}: {error}");
    }
}
