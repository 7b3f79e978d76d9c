//! Matches on headers: ports, flags, types, length, ttl, dscp, mac, marks.

use crate::support::{ask, nobody, node, rules};

/// Whether a rule in raw PREROUTING holds: `yes`, `no`, or what is missing.
fn holds(rule: &str, spec: &str) -> String {
    holds_at("PREROUTING", rule, spec)
}

fn holds_at(chain: &str, rule: &str, spec: &str) -> String {
    let line = ask(
        &rules(&format!("*mangle\n-A {chain} {rule} -j DROP")),
        &node(&["192.168.0.2"]),
        spec,
    );
    match line.strip_prefix(&format!("unknown at {chain} 1: ")) {
        Some(fact) => fact.to_string(),
        None => {
            if line.starts_with("drop by") {
                "yes".into()
            } else {
                "no".into()
            }
        }
    }
}

const TCP: &str = "tcp 10.0.0.1:4000 > 10.0.0.2:80";
const UDP: &str = "udp 10.0.0.1:4000 > 10.0.0.2:53";
const LATER: &str = "tcp 10.0.0.1 > 10.0.0.2 fragment-offset=185";

#[test]
fn ports_and_their_inversions() {
    for (rule, expected) in [
        ("-p tcp -m tcp --dport 80", "yes"),
        ("-p tcp -m tcp --dport 80:90", "yes"),
        ("-p tcp -m tcp --dport 0:79", "no"),
        ("-p tcp -m tcp ! --dport 80", "no"),
        ("-p tcp -m tcp --sport 4000 --dport 80", "yes"),
        ("-p tcp -m tcp --sport 4001 --dport 80", "no"),
        ("-p udp -m udp ! --dport 80", "no"),
        ("-p tcp", "yes"),
        ("! -p tcp", "no"),
        ("! -p udp", "yes"),
    ] {
        assert_eq!(holds(rule, TCP), expected, "{rule}");
    }
    assert_eq!(holds("-p udp -m udp --dport 53", UDP), "yes");
    assert_eq!(
        holds("-p sctp -m sctp --dport 5", "sctp 10.0.0.1:4 > 10.0.0.2:5"),
        "yes"
    );
    assert_eq!(
        holds("-p dccp -m dccp --dport 5", "dccp 10.0.0.1:4 > 10.0.0.2:5"),
        "yes"
    );
}

#[test]
fn a_later_fragment_has_no_ports_whatever_the_inversion() {
    for rule in [
        "-p tcp -m tcp --dport 80",
        "-p tcp -m tcp ! --dport 80",
        "-p tcp -m multiport ! --dports 80",
        "-p tcp -m tcp",
    ] {
        assert_eq!(holds(rule, LATER), "no", "{rule}");
    }
    assert_eq!(holds("-p tcp", LATER), "yes");
    assert_eq!(holds("-f", LATER), "yes");
    assert_eq!(holds("! -f", LATER), "no");
    assert_eq!(holds("! -f", TCP), "yes");
}

#[test]
fn tcp_flags() {
    let flags = |flags: &str| format!("{TCP} flags={flags} ctstate=new");
    assert_eq!(
        holds("-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN", &flags("S")),
        "yes"
    );
    assert_eq!(
        holds(
            "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN",
            &flags("SA")
        ),
        "no"
    );
    assert_eq!(
        holds(
            "-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN",
            &flags("SA")
        ),
        "yes"
    );
    assert_eq!(
        holds("-p tcp -m tcp --tcp-option 8", &flags("S")),
        "the packet's TCP options"
    );
    assert_eq!(
        holds("-p tcp -m tcp --dport 81 --tcp-option 8", &flags("S")),
        "no",
        "false beats unknown"
    );
}

#[test]
fn icmp_types() {
    let echo = "icmp 10.0.0.1 > 10.0.0.2 type=8";
    assert_eq!(holds("-p icmp -m icmp --icmp-type 8", echo), "yes");
    assert_eq!(holds("-p icmp -m icmp --icmp-type 8/1", echo), "no");
    assert_eq!(holds("-p icmp -m icmp --icmp-type any", echo), "yes");
    assert_eq!(holds("-p icmp -m icmp ! --icmp-type 8", echo), "no");
    assert_eq!(
        holds(
            "-p icmp -m icmp ! --icmp-type 8",
            "icmp 10.0.0.1 > 10.0.0.2 fragment-offset=8"
        ),
        "no"
    );
    let six = "icmp6 fd00::1 > fd00::2 type=128";
    assert_eq!(holds("-p ipv6-icmp -m icmp6 --icmpv6-type 128", six), "yes");
    assert_eq!(holds("-p ipv6-icmp -m icmp6 --icmpv6-type 135", six), "no");
}

#[test]
fn multiport_and_iprange_include_their_ends() {
    for (rule, expected) in [
        ("-p tcp -m multiport --dports 22,80:90", "yes"),
        ("-p tcp -m multiport --dports 22,70:79", "no"),
        ("-p tcp -m multiport ! --dports 22,70:79", "yes"),
        ("-p tcp -m multiport --sports 4000", "yes"),
        ("-p tcp -m multiport --ports 4000", "yes"),
        ("-m iprange --src-range 10.0.0.1-10.0.0.1", "yes"),
        ("-m iprange --src-range 10.0.0.2-10.0.0.9", "no"),
        (
            "-m iprange --src-range 10.0.0.0-10.0.0.1 --dst-range 10.0.0.2-10.0.0.3",
            "yes",
        ),
        ("-m iprange ! --dst-range 10.0.0.2-10.0.0.3", "no"),
    ] {
        assert_eq!(holds(rule, TCP), expected, "{rule}");
    }
}

#[test]
fn masks_and_inverted_addresses() {
    assert_eq!(
        holds("-d 10.7.0.2/255.0.255.255", TCP),
        "yes",
        "holes in a mask"
    );
    assert_eq!(holds("! -s 10.0.0.0/8", TCP), "no");
    assert_eq!(holds("! -s 10.0.1.0/24", TCP), "yes");
}

#[test]
fn what_only_a_frame_tells() {
    let known = format!("{TCP} length=60 ttl=64 dscp=46 mac=02:00:00:00:00:01");
    for (rule, fact) in [
        ("-m length --length 40:100", "the packet's length"),
        ("-m ttl --ttl-eq 64", "the packet's TTL or hop limit"),
        ("-m dscp --dscp 0x2e", "the packet's DSCP"),
        (
            "-m mac --mac-source 02:00:00:00:00:01",
            "the packet's source MAC address",
        ),
    ] {
        assert_eq!(holds(rule, TCP), fact, "{rule}");
        assert_eq!(holds(rule, &known), "yes", "{rule}");
    }
    assert_eq!(holds("-m ttl --ttl-lt 64", &known), "no");
    assert_eq!(holds("-m ttl --ttl-gt 63", &known), "yes");
}

#[test]
fn ttl_is_one_less_behind_routing() {
    let known = format!("{TCP} ttl=64");
    assert_eq!(holds_at("FORWARD", "-m ttl --ttl-eq 63", &known), "yes");
    assert_eq!(holds_at("POSTROUTING", "-m ttl --ttl-eq 63", &known), "yes");
    assert_eq!(
        holds_at(
            "OUTPUT",
            "-m ttl --ttl-eq 64",
            "tcp 192.168.0.2:1 > 10.0.0.2:80 ttl=64"
        ),
        "yes"
    );
}

/// Found by fuzzing: the reference took it for unknown, the program for false.
#[test]
fn no_ttl_is_below_0_or_above_255() {
    for test in ["--ttl-lt 0", "--ttl-gt 255"] {
        assert_eq!(holds_at("FORWARD", &format!("-m ttl {test}"), TCP), "no");
    }
}

#[test]
fn a_rewritten_header_is_not_known() {
    let rules = rules(
        "*mangle\n-A PREROUTING -j TTL --ttl-set 5\n-A PREROUTING -m ttl --ttl-eq 64 -j DROP",
    );
    assert_eq!(
        ask(&rules, &nobody(), &format!("{TCP} ttl=64")),
        "unknown at PREROUTING 2: the packet's TTL or hop limit"
    );
}

#[test]
fn mac_is_never_seen_on_output() {
    let rule = "-m mac ! --mac-source 02:00:00:00:00:01";
    assert_eq!(
        holds(rule, &format!("{TCP} in=lo mac=02:00:00:00:00:07")),
        "no"
    );
    assert_eq!(holds(rule, &format!("{TCP} mac=02:00:00:00:00:07")), "yes");
    assert_eq!(
        holds_at("INPUT", rule, "tcp 192.168.0.2:1 > 192.168.0.2:80"),
        "no"
    );
}

#[test]
fn marks() {
    let marked = format!("{TCP} mark=0x4001");
    assert_eq!(holds("-m mark --mark 0x4000/0x4000", &marked), "yes");
    assert_eq!(holds("-m mark --mark 0x4000", &marked), "no");
    assert_eq!(holds("-m mark ! --mark 0x4000/0x4000", &marked), "no");
    let rules = rules(
        "*mangle\n-A PREROUTING -j CONNMARK --save-mark\n-A PREROUTING -j MARK --set-xmark 0x0/0xffffffff\n-A FORWARD -m connmark --mark 0x4001 -j CONNMARK --restore-mark",
    );
    assert_eq!(ask(&rules, &nobody(), &marked), "forward mark=0x4001");
    assert_eq!(
        ask(&rules, &nobody(), &format!("{marked} ctstate=invalid")),
        "forward"
    );
}

#[test]
fn what_one_packet_cannot_decide() {
    assert_eq!(
        holds("-m limit --limit 5/min", TCP),
        "match limit is not decided by one packet"
    );
}
