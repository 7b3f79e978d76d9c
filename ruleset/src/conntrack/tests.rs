use super::*;
use crate::Hook;
use crate::value::{Family, protocol};
use std::time::Duration;

fn datagram(number: u8, ports: Option<(u16, u16)>) -> Datagram {
    let address = |last| std::net::IpAddr::from([10, 0, 0, last]);
    Datagram::new(Packet::new(
        Hook::Prerouting,
        number,
        address(1),
        address(2),
        ports,
    ))
}

#[test]
fn the_inverse_of_the_inverse_is_the_tuple() {
    for datagram in [
        datagram(protocol::TCP, Some((4000, 80))),
        datagram(protocol::ICMP, None),
        datagram(protocol::GRE, None),
    ] {
        let tuple = Tuple::of(&datagram).expect("a tuple");
        let inverse = tuple.inverse().expect("an inverse");
        assert_eq!(inverse.source.0, tuple.destination.0);
        assert_eq!(inverse.inverse(), Some(tuple));
    }
}

#[test]
fn an_icmp_tuple_holds_id_and_type_and_inverts_the_type() {
    let mut echo = datagram(protocol::ICMP, None);
    echo.icmp_id = Some(7);
    let tuple = Tuple::of(&echo).expect("a tuple");
    assert_eq!((tuple.source.1, tuple.destination.1), (7, 0x800));
    let reply = tuple.inverse().expect("a reply");
    assert_eq!((reply.source.1, reply.destination.1), (7, 0));
    echo.packet.icmp = Some((3, 1));
    assert_eq!(Tuple::of(&echo).expect("a tuple").inverse(), None);
}

#[test]
fn settings_are_taken_as_sysctl_prints_them() {
    let mut settings = Settings::default();
    settings
        .set("net.netfilter.nf_conntrack_udp_timeout = 7")
        .expect("a timeout");
    settings.set("nf_conntrack_tcp_loose=0").expect("a switch");
    settings
        .set("net/netfilter/nf_conntrack_max=9")
        .expect("a number");
    settings
        .set("net.nf_conntrack_max=8")
        .expect("its other name");
    assert_eq!(settings.udp, Duration::from_secs(7));
    assert_eq!((settings.tcp_loose, settings.max), (false, 8));
    for wrong in [
        "nf_conntrack_udp_timeout",
        "nf_conntrack_udp_timeout=soon",
        "nf_conntrack_udp_timeout=-1",
        "nf_conntrack_buckets=1",
        "net.ipv4.ip_forward=1",
    ] {
        let error = settings.set(wrong).expect_err(wrong).to_string();
        assert!(error.starts_with(&format!("`{wrong}` ")), "{error}");
    }
}

#[test]
fn every_timeout_has_its_own_field() {
    for (name, _) in Settings::TIMEOUTS {
        let mut settings = Settings::default();
        settings
            .set(&format!("nf_conntrack_{name}=4242"))
            .expect(name);
        let changed = Settings::TIMEOUTS
            .iter()
            .filter(|(_, field)| *field(&mut settings) == Duration::from_secs(4242));
        assert_eq!(changed.count(), 1, "{name}");
    }
}

#[test]
fn fragments_of_each_family_wait_as_long_as_its_own_sysctl_says() {
    let mut settings = Settings::default();
    let wait = |settings: &Settings| {
        [Family::V4, Family::V6].map(|family| settings.fragments_wait(family).as_secs())
    };
    assert_eq!(wait(&settings), [30, 60]);
    for text in [
        "net.ipv4.ipfrag_time = 7",
        "net.netfilter.nf_conntrack_frag6_timeout=9",
    ] {
        settings.set(text).expect(text);
    }
    assert_eq!(wait(&settings), [7, 9]);
    settings.set("net/ipv4/ipfrag_time=8").expect("slashes");
    assert_eq!(wait(&settings), [8, 9]);
}

#[test]
fn later_options_read_as_rules_write_them() {
    let text = "! --ctstatus ASSURED,seen_reply --ctexpire 5:9 --ctreplsrc 10.0.0.0/8 --ctrepldstport 80:90";
    let options = later_options(text, Family::V4).expect("options");
    let asked = CtStatus::ASSURED.with(CtStatus::SEEN_REPLY);
    assert_eq!(
        options[0],
        LaterOption {
            inverted: true,
            test: LaterTest::Status(asked)
        }
    );
    assert_eq!(options[1].test, LaterTest::Expires(5, 9));
    assert_eq!(options.len(), 4);
    assert_eq!(later_options("--ctstatus DNAT", Family::V4), None);
    assert_eq!(later_options("--ctstatus", Family::V4), None);
}

#[test]
fn a_status_prints_its_names() {
    assert_eq!(CtStatus::default().to_string(), "NONE");
    let status = CtStatus::from_kernel(0x2e | 1 << 9);
    assert_eq!(status.to_string(), "SEEN_REPLY,ASSURED,CONFIRMED,DNAT");
    assert!(
        !status
            .without(CtStatus::ASSURED)
            .intersects(CtStatus::ASSURED)
    );
}

#[test]
fn an_entry_lives_as_long_as_the_longest_of_its_protocols_timeouts() {
    let mut settings = Settings::default();
    let seconds = |settings: &Settings, number| settings.longest(number).as_secs();
    assert_eq!(seconds(&settings, protocol::TCP), 432_000);
    assert_eq!(seconds(&settings, protocol::ICMP), 30);
    for text in [
        "nf_conntrack_gre_timeout_stream=1",
        "nf_conntrack_tcp_timeout_established=1",
        "nf_conntrack_tcp_timeout_max_retrans=1",
        "nf_conntrack_tcp_timeout_unacknowledged=1",
        "nf_conntrack_tcp_timeout_close_wait=7",
        "nf_conntrack_icmpv6_timeout=9",
    ] {
        settings.set(text).unwrap();
    }
    assert_eq!(seconds(&settings, protocol::GRE), 30);
    assert_eq!(seconds(&settings, protocol::TCP), 120, "SYN_SENT2's");
    assert_eq!(seconds(&settings, protocol::ICMP), 30);
    assert_eq!(seconds(&settings, protocol::ICMPV6), 9);
    assert_eq!(seconds(&settings, 253), 600);
}
