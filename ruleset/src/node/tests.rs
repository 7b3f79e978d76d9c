use super::{LocalAddresses, parse_addresses};
use crate::value::Interface;
use std::net::IpAddr;

const IP: &str = "\
1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
    inet 127.0.0.1/8 scope host lo
       valid_lft forever preferred_lft forever
2: eth0@if5: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1400 qdisc pfifo_fast state UP group default qlen 1000
    link/ether 02:fc:00:00:00:01 brd ff:ff:ff:ff:ff:ff link-netnsid 0
    inet 192.0.2.2/24 brd 192.0.2.255 scope global eth0
       valid_lft forever preferred_lft forever
    inet 192.0.2.3/24 brd 192.0.2.255 scope global secondary eth0
    inet6 fe80::fc:ff:fe00:1/64 scope link
3: tun0: <POINTOPOINT,NOARP,UP> mtu 1400 qdisc noop state UP
    inet 10.8.0.1 peer 10.8.0.2/32 scope global tun0
";
const ONE_LINE: &str = "\
1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever
2: eth0@if5    inet 192.0.2.2/24 brd 192.0.2.255 scope global eth0\\       valid_lft forever
2: eth0    inet 192.0.2.3/24 brd 192.0.2.255 scope global secondary eth0\\       valid_lft forever
2: eth0    inet6 fe80::fc:ff:fe00:1/64 scope link \\       valid_lft forever preferred_lft forever
3: tun0    inet 10.8.0.1 peer 10.8.0.2/32 scope global tun0\\       valid_lft forever
";
const BRIEF: &str = "\
lo               UNKNOWN        127.0.0.1/8
eth0@if5         UP             192.0.2.2/24 192.0.2.3/24 fe80::fc:ff:fe00:1/64
tun0             UNKNOWN        10.8.0.1 peer 10.8.0.2/32
";
const JSON: &str = r#"[{"ifindex":1,"ifname":"lo","addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8}]},{},
{"ifname":"eth0","link":"if5","address":"02:fc:00:00:00:01","addr_info":[{"family":"inet","local":"192.0.2.2","prefixlen":24},
{"local":"192.0.2.3"},{"family":"inet6","local":"fe80::fc:ff:fe00:1","prefixlen":64}]},
{"ifname":"tun0","addr_info":[{"family":"inet","local":"10.8.0.1","address":"10.8.0.2","prefixlen":32}]}]"#;

fn addresses(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|a| a.parse().unwrap()).collect()
}

fn assert_holds(local: &LocalAddresses, list: &[&str]) {
    assert_eq!(local.addresses, addresses(list).into_iter().collect());
}

#[test]
fn every_form_of_ip_addr_gives_the_same() {
    for text in [IP, ONE_LINE, BRIEF, JSON] {
        let local = parse_addresses(text).unwrap();
        assert_holds(
            &local,
            &[
                "127.0.0.1",
                "192.0.2.2",
                "192.0.2.3",
                "fe80::fc:ff:fe00:1",
                "10.8.0.1",
            ],
        );
        let eth0 = Interface::new("eth0").unwrap();
        let first = local
            .devices
            .iter()
            .filter(|(device, _)| *device == eth0)
            .map(|(_, address)| *address);
        let want = addresses(&["192.0.2.2", "192.0.2.3", "fe80::fc:ff:fe00:1"]);
        assert_eq!(first.collect::<Vec<_>>(), want, "{text}");
        assert_eq!(local.devices.len(), 5);
    }
}

#[test]
fn a_list_is_parted_by_commas_and_blanks() {
    let local =
        parse_addresses(" 10.0.0.1,10.0.0.2/24 fd00::1 # the VIP\n[fd00::2] fe80::1%eth0\n")
            .unwrap();
    assert_holds(
        &local,
        &["10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2", "fe80::1"],
    );
    assert!(local.devices.is_empty());
}

#[test]
fn what_is_no_address_is_an_error_with_its_line() {
    for (text, line, needed) in [
        ("", 1, "at least one"),
        ("[]", 1, "at least one"),
        ("1: lo: <UP>\n", 1, "at least one"),
        ("10.0.0.1\nhost", 2, "an address"),
        ("10.0.0.1/x", 1, "an address"),
        ("10.0.0.1/129", 1, "an address"),
        ("10.0.0.0-10.0.0.9", 1, "an address"),
        ("1: lo: <UP>\n   inet 1.2.3/8", 2, "an address"),
        (
            "1: abcdefghijklmnop: <UP>\n   inet 1.2.3.4/8",
            1,
            "a device's name",
        ),
        ("lo UP 1.2.3.4/8\neth0 UP x", 2, "an address"),
        ("[{\"ifname\":\n7}]", 2, "`ip -j addr`"),
        ("[{\"addr_info\":[{\"local\":\"x\"}]}]", 1, "an address"),
    ] {
        let error = parse_addresses(text).expect_err(text);
        assert_eq!(error.line(), line, "{text}: {error}");
        assert!(error.to_string().contains(needed), "{text}: {error}");
    }
}
