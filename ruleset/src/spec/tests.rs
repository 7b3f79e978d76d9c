use super::{of_packet, parse, parse_file};
use crate::node::{LocalAddresses, NodeFacts};
use crate::packet::{Packet, tcp_flag};
use crate::ruleset::Hook;
use crate::value::{CtState, Interface, protocol};

fn packet(text: &str) -> Packet {
    parse(text).unwrap().packet(&NodeFacts::default())
}

#[test]
fn a_spec_is_a_syn_that_arrives_unless_it_says_otherwise() {
    let p = packet("tcp 10.1.5.5:40000 > 10.152.183.1:443");
    let want = Packet::new(
        Hook::Prerouting,
        protocol::TCP,
        "10.1.5.5".parse().unwrap(),
        "10.152.183.1".parse().unwrap(),
        Some((40000, 443)),
    );
    assert_eq!(p, want);
}

#[test]
fn every_option_is_read() {
    let p = packet(
        "tcp [fd00::1]:1 > [fd00::2]:2 in=eth0 hook=prerouting mark=0x4000 ctstate=related flags=SA. ttl=63 length=60 dscp=46 \
         mac=02:00:00:00:00:0a",
    );
    assert_eq!(p.in_interface, Interface::new("eth0"));
    assert_eq!((p.mark, p.ctstate), (0x4000, CtState::Related));
    assert_eq!(p.tcp_flags, Some(tcp_flag::SYN | tcp_flag::ACK));
    assert_eq!((p.ttl, p.length, p.dscp), (Some(63), Some(60), Some(46)));
    assert_eq!(p.source_mac, Some([2, 0, 0, 0, 0, 10]));
}

#[test]
fn the_hook_is_output_for_the_nodes_own_sources() {
    let node = NodeFacts {
        local: Some(LocalAddresses::new(["10.10.2.58".parse().unwrap()])),
        ..NodeFacts::default()
    };
    let hook = |text: &str| parse(text).unwrap().packet(&node).hook;
    assert_eq!(hook("tcp 10.10.2.58:1 > 10.152.183.1:443"), Hook::Output);
    assert_eq!(hook("tcp 127.0.0.5:1 > 10.152.183.1:443"), Hook::Output);
    assert_eq!(hook("udp [::1]:1 > [fd00::1]:443"), Hook::Output);
    assert_eq!(hook("tcp 10.1.5.5:1 > 10.152.183.1:443"), Hook::Prerouting);
    assert_eq!(
        hook("tcp 10.10.2.58:1 > 10.152.183.1:443 hook=prerouting"),
        Hook::Prerouting
    );
}

#[test]
fn the_ctstate_follows_the_flags_unless_given() {
    let state = |options: &str| packet(&format!("tcp 10.0.0.1:1 > 10.0.0.2:2 {options}")).ctstate;
    assert_eq!(state(""), CtState::New);
    assert_eq!(state("flags=SA"), CtState::Invalid);
    assert_eq!(state("flags=."), CtState::New);
    assert_eq!(state("flags=none"), CtState::Invalid);
    assert_eq!(state("flags=SA ctstate=NEW"), CtState::New);
    assert_eq!(packet("icmp 10.0.0.1 > 10.0.0.2").ctstate, CtState::New);
    assert_eq!(
        packet("icmp 10.0.0.1 > 10.0.0.2 type=0").ctstate,
        CtState::Invalid
    );
    assert_eq!(
        packet("icmp6 fd00::1 > fd00::2 type=135").ctstate,
        CtState::Untracked
    );
}

#[test]
fn protocols_without_ports() {
    assert_eq!(packet("gre 10.0.0.1 > 10.0.0.2").protocol, protocol::GRE);
    assert_eq!(packet("47 10.0.0.1 > 10.0.0.2").protocol, protocol::GRE);
    assert_eq!(
        packet("icmpv6 [fd00::1] > fd00::2 code=3").icmp,
        Some((128, 3))
    );
    assert_eq!(packet("ICMP 10.0.0.1>10.0.0.2 type=13").icmp, Some((13, 0)));
    let fragment = packet("udp 10.0.0.1 > 10.0.0.2 fragment-offset=185");
    assert!(fragment.fragment && fragment.ports.is_none());
    assert_eq!(
        packet("tcp 10.0.0.1 > 10.0.0.2 fragment-offset=1").tcp_flags,
        None
    );
    assert!(!packet("udp 10.0.0.1:1 > 10.0.0.2:2 fragment-offset=0").fragment);
}

/// Text, column, a word of what was needed.
const BROKEN: [(&str, usize, &str); 48] = [
    ("", 1, "a protocol"),
    ("tcp", 4, "the source"),
    ("tpc 10.0.0.1:1 > 10.0.0.2:2", 1, "a protocol"),
    ("256 10.0.0.1 > 10.0.0.2", 1, "a number up to 255"),
    ("tcp 10.0.0.1:1", 15, "`>` and the destination"),
    ("tcp 10.0.0.1:1 10.0.0.2:2", 16, "`>` between"),
    ("tcp 10.0.0.1:1 -> 10.0.0.2:2", 16, "`>` between"),
    ("tcp 10.0.0.1:1 >", 17, "the destination"),
    ("tcp > 10.0.0.2:2", 5, "an address"),
    ("tcp 10.0.0.1:70000 > 10.0.0.2:2", 14, "0 to 65535"),
    ("tcp 10.0.0.1:1 > 10.0.0.2:https", 27, "0 to 65535"),
    ("tcp 10.0.0.1:+1 > 10.0.0.2:2", 14, "0 to 65535"),
    ("tcp 10.0.0.1: > 10.0.0.2:2", 14, "0 to 65535"),
    ("tcp 10.0.0.1 > 10.0.0.2:2", 5, "a port behind"),
    ("tcp 10.0.0.1:1 > 10.0.0.2", 18, "a port behind"),
    ("tcp [fd00::1]:1 > fd00::2", 19, "in brackets"),
    ("tcp fd00::1:zz > [fd00::2]:2", 5, "brackets around"),
    ("tcp 10.0.0.256:1 > 10.0.0.2:2", 5, "an IPv4 address"),
    ("tcp 10.0.0.1:1 > [10.0.0.2]:2", 19, "between the brackets"),
    ("tcp [fd00::1:1 > [fd00::2]:2", 5, "`]` after"),
    ("tcp [fd00::1]1 > [fd00::2]:2", 14, "`:` and a port"),
    ("tcp host:1 > 10.0.0.2:2", 5, "an IPv4 address"),
    ("tcp 10.0.0.1:1 > [fd00::2]:2", 18, "an IPv4 address, as"),
    ("icmp fd00::1 > 10.0.0.2", 16, "an IPv6 address, as"),
    ("icmp fd00::1 > fd00::2", 1, "icmp6"),
    ("icmp6 10.0.0.1 > 10.0.0.2", 1, "icmp between"),
    ("icmp 10.0.0.1:1 > 10.0.0.2:2", 6, "no port"),
    ("gre 10.0.0.1 > 10.0.0.2:2", 16, "no port"),
    ("tcp 10.0.0.1:1 > 10.0.0.2:2 eth0", 29, "in="),
    ("tcp 10.0.0.1:1 > 10.0.0.2:2 iface=eth0", 29, "in="),
    (
        "tcp 10.0.0.1:1 > 10.0.0.2:2 mark=1 mark=1",
        36,
        "mark= once",
    ),
    ("tcp 10.0.0.1:1 > 10.0.0.2:2 mark=0x100000000", 34, "a mark"),
    (
        "tcp 10.0.0.1:1 > 10.0.0.2:2 mark=0x4000/0x4000",
        34,
        "a mark",
    ),
    ("tcp 10.0.0.1:1 > 10.0.0.2:2 mark=-1", 34, "a mark"),
    (
        "tcp 10.0.0.1:1 > 10.0.0.2:2 hook=forward",
        34,
        "prerouting or output",
    ),
    (
        "tcp 10.0.0.1:1 > 10.0.0.2:2 ctstate=open",
        37,
        "established",
    ),
    ("tcp 10.0.0.1:1 > 10.0.0.2:2 flags=SX", 36, "letters"),
    ("tcp 10.0.0.1:1 > 10.0.0.2:2 flags=", 35, "letters"),
    ("udp 10.0.0.1:1 > 10.0.0.2:2 flags=S", 29, "only tcp"),
    ("tcp 10.0.0.1:1 > 10.0.0.2:2 type=8", 29, "only icmp"),
    ("icmp 10.0.0.1 > 10.0.0.2 type=256", 31, "0 to 255"),
    ("tcp 10.0.0.1:1 > 10.0.0.2:2 in=", 32, "1 to 15 bytes"),
    (
        "tcp 10.0.0.1:1 > 10.0.0.2:2 in=abcdefghijklmnop",
        32,
        "1 to 15 bytes",
    ),
    ("tcp 10.0.0.1:1 > 10.0.0.2:2 in=a%zz", 32, "after %"),
    ("tcp 10.0.0.1:1 > 10.0.0.2:2 ttl=256", 33, "0 to 255"),
    ("tcp 10.0.0.1:1 > 10.0.0.2:2 dscp=64", 34, "0 to 63"),
    ("tcp 10.0.0.1:1 > 10.0.0.2:2 mac=1:2:3:4:5", 33, "six bytes"),
    (
        "tcp 10.0.0.1:1 > 10.0.0.2:2 fragment-offset=1",
        5,
        "a later fragment",
    ),
];

#[test]
fn broken_specs_name_the_column_and_what_is_needed() {
    for (text, column, needed) in BROKEN {
        let error = parse(text).expect_err(text);
        assert_eq!(error.column(), column, "{text}: {error}");
        assert!(error.needed().contains(needed), "{text}: {error}");
    }
}

#[test]
fn an_error_shows_the_text_with_carets() {
    let error = parse("tcp 10.0.0.1:70000 > 10.0.0.2:2").unwrap_err();
    let want = "column 14: needed a port from 0 to 65535, found `70000`\n  \
                tcp 10.0.0.1:70000 > 10.0.0.2:2\n               ^^^^^";
    assert_eq!(error.to_string(), want);
}

#[test]
fn an_error_in_an_endless_line_stays_short() {
    let text = format!("tcp {}\u{7} > 10.0.0.2:2", "é".repeat(100_000));
    let shown = parse(&text).unwrap_err().to_string();
    assert!(shown.len() < 2000, "{}", shown.len());
    assert!(!shown.contains('\u{7}'));
}

#[test]
fn a_file_has_one_a_line() {
    let text = "\u{feff}# first\r\ntcp 10.0.0.1:1 > 10.0.0.2:2 # to a\r\n\r\n  udp 10.0.0.1:1 > 10.0.0.2:2\n";
    let lines: Vec<u32> = parse_file(text)
        .unwrap()
        .into_iter()
        .map(|(line, _)| line)
        .collect();
    assert_eq!(lines, [2, 4]);
    let error = parse_file("tcp 10.0.0.1:1 > 10.0.0.2:2\ntcp x\n").unwrap_err();
    assert_eq!((error.line(), error.column()), (Some(2), 5));
    assert!(
        error
            .to_string()
            .starts_with("line 2, column 5: needed an address"),
        "{error}"
    );
}

#[test]
fn a_spec_writes_canonically() {
    for (typed, canonical) in [
        (
            "TCP  10.1.5.5:40000>10.152.183.1:443",
            "tcp 10.1.5.5:40000 > 10.152.183.1:443",
        ),
        ("icmpv6 fd00::1 > fd00:0::2", "icmp6 [fd00::1] > [fd00::2]"),
        (
            "6 10.0.0.1:1 > 10.0.0.2:2 flags=.W mark=16384 hook=OUTPUT ctstate=New",
            "tcp 10.0.0.1:1 > 10.0.0.2:2 hook=output mark=0x4000 ctstate=new flags=AC",
        ),
        ("99 10.0.0.1 > 10.0.0.2", "99 10.0.0.1 > 10.0.0.2"),
        (
            "1 fd00::1 > fd00::2 type=8",
            "1 [fd00::1] > [fd00::2] type=8 code=0",
        ),
    ] {
        assert_eq!(parse(typed).unwrap().to_string(), canonical);
        assert_eq!(parse(canonical).unwrap(), parse(typed).unwrap());
    }
}

#[test]
fn a_packet_writes_to_a_spec_that_reads_back() {
    for text in [
        "tcp 10.1.5.5:40000 > 10.152.183.1:443",
        "tcp 10.1.5.5:40000 > 10.152.183.1:443 flags=none ctstate=established",
        "tcp [fd00::1]:0 > [::1]:65535 in=a%20b%23%25 hook=output mark=0xffffffff flags=SFRPAUEC mac=ff:00:11:22:33:44",
        "udp 127.0.0.1:1 > 10.0.0.2:2 hook=prerouting ttl=0 length=0 dscp=0 ctstate=untracked",
        "icmp 10.0.0.1 > 10.0.0.2 type=0 code=255",
        "icmp6 fd00::1 > fd00::2 type=129",
        "58 10.0.0.1 > 10.0.0.2",
        "sctp 10.0.0.1 > 10.0.0.2 fragment-offset=9",
        "icmp 10.0.0.1 > 10.0.0.2 fragment-offset=9",
        "0 10.0.0.1 > 10.0.0.2 in=lo",
    ] {
        let first = packet(text);
        let written = of_packet(&first);
        assert_eq!(packet(&written), first, "{text} -> {written}");
    }
}
