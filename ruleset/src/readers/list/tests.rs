//! Rows of listings, and the options they must be read as.

use super::columns::{Layout, Row, count};
use super::spell;
use super::*;
use crate::ruleset::Counters;
use crate::value::Family;

const HEADER: &str = "target     prot opt source               destination         ";
const HEADER_V: &str =
    " pkts bytes target     prot opt in     out     source               destination         ";

fn spelled(line: &str, header: &str, family: Family) -> (String, Vec<String>) {
    let row =
        Row::read(line, Layout::of_header(header)).unwrap_or_else(|| panic!("no row: {line}"));
    let spelled = spell::spell(&row, family);
    let unread = spelled
        .unread
        .iter()
        .map(|unread| format!("{}: {}", unread.module, unread.text));
    (spelled.options.as_str().trim().to_owned(), unread.collect())
}

/// The options of a row with this target, protocol and text.
fn options_of(target: &str, text: &str) -> String {
    let line = format!("{target:<10} tcp  --  0.0.0.0/0            0.0.0.0/0            {text}");
    let (options, unread) = spelled(&line, HEADER, Family::V4);
    assert_eq!(unread, Vec::<String>::new(), "{text}");
    options.replacen("-p 6", "", 1).trim().to_owned()
}

#[test]
fn matches_are_read_as_the_options_they_were_made_with() {
    let cases = [
        ("tcp dpt:443", "-m tcp --dport 443"),
        (
            "tcp spts:1:5 dpts:!3:9 flags:0x17/0x02",
            "-m tcp --sport 1:5 ! --dport 3:9 --tcp-flags FIN,SYN,RST,ACK SYN",
        ),
        ("tcp dpt:!https", "-m tcp ! --dport 443"),
        ("tcp dpts:ssh:http", "-m tcp --dport 22:80"),
        (
            "tcp dpt:22flags: 0x17/0x02",
            "-m tcp --dport 22 --tcp-flags FIN,SYN,RST,ACK SYN",
        ),
        (
            "tcpflags: 0x17/0x02 multiport dports 53,80",
            "-m tcp --tcp-flags FIN,SYN,RST,ACK SYN -m multiport --dports 53,80",
        ),
        (
            "tcp flags:!0x3F/0x00",
            "-m tcp ! --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE",
        ),
        (
            "tcp flags:FIN,SYN,RST,ACK/SYN",
            "-m tcp --tcp-flags FIN,SYN,RST,ACK SYN",
        ),
        ("tcp option=!7", "-m tcp ! --tcp-option 7"),
        (
            "udp spt:53 dpts:1024:65535",
            "-m udp --sport 53 --dport 1024:65535",
        ),
        ("sctp dpt:3868", "-m sctp --dport 3868"),
        ("icmptype 8", "-m icmp --icmp-type 8"),
        ("icmptype 3 code 4", "-m icmp --icmp-type 3/4"),
        ("icmp !type 8", "-m icmp ! --icmp-type 8"),
        ("icmptype 255", "-m icmp --icmp-type any"),
        ("icmp echo-request", "-m icmp --icmp-type echo-request"),
        ("ipv6-icmptype 135", "-m icmp6 --icmpv6-type 135"),
        (
            "ipv6-icmp neighbour-solicitation",
            "-m icmp6 --icmpv6-type neighbour-solicitation",
        ),
        (
            "multiport dports 80,443,8000:8080",
            "-m multiport --dports 80,443,8000:8080",
        ),
        (
            "multiport sports !ssh,https",
            "-m multiport ! --sports 22,443",
        ),
        ("multiport ports  !80", "-m multiport ! --ports 80"),
        ("ctstate NEW", "-m conntrack --ctstate NEW"),
        (
            "! ctstate RELATED,ESTABLISHED,DNAT",
            "-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT",
        ),
        (
            "ctstate NEW ctorigdst 10.0.0.1 ! ctorigdstport 80",
            "-m conntrack --ctstate NEW --ctorigdst 10.0.0.1 ! --ctorigdstport 80",
        ),
        (
            "state RELATED,ESTABLISHED",
            "-m state --state RELATED,ESTABLISHED",
        ),
        ("! state INVALID", "-m state ! --state INVALID"),
        (
            "ADDRTYPE match dst-type LOCAL",
            "-m addrtype --dst-type LOCAL",
        ),
        (
            "ADDRTYPE match src-type !UNICAST dst-type LOCAL limit-in",
            "-m addrtype ! --src-type UNICAST --dst-type LOCAL --limit-iface-in",
        ),
        ("mark match 0x4000/0x4000", "-m mark --mark 0x4000/0x4000"),
        (
            "mark match ! 0x4000/0x4000",
            "-m mark ! --mark 0x4000/0x4000",
        ),
        ("MARK match 0x1", "-m mark --mark 0x1"),
        ("connmark match !0x1/0xff", "-m connmark ! --mark 0x1/0xff"),
        (
            "statistic mode random probability 0.33333333349",
            "-m statistic --mode random --probability 0.33333333349",
        ),
        (
            "statistic mode random ! probability 0.5",
            "-m statistic --mode random ! --probability 0.5",
        ),
        (
            "statistic mode nth every 3 packet 1",
            "-m statistic --mode nth --every 3 --packet 1",
        ),
        (
            "recent: SET name: X side: source mask: 255.255.255.255",
            "-m recent --set --name X --rsource --mask 255.255.255.255",
        ),
        (
            "recent: CHECK seconds: 10800 reap name: X side: source mask: 255.255.255.255",
            "-m recent --rcheck --seconds 10800 --reap --name X --rsource --mask 255.255.255.255",
        ),
        (
            "! recent: UPDATE seconds: 60 hit_count: 41 TTL-Match name: ssh side: dest",
            "-m recent ! --update --seconds 60 --hitcount 41 --rttl --name ssh --rdest",
        ),
        (
            "match-set KUBE-CLUSTER-IP dst,dst",
            "-m set --match-set KUBE-CLUSTER-IP dst,dst",
        ),
        ("! match-set X src", "-m set ! --match-set X src"),
        ("limit: avg 3/min burst 5", "-m limit --limit 3/min"),
        (
            "limit: avg 10/sec burst 50",
            "-m limit --limit 10/sec --limit-burst 50",
        ),
        ("owner UID match 1337", "-m owner --uid-owner 1337"),
        ("! owner GID match 0-99", "-m owner ! --gid-owner 0-99"),
        ("owner socket exists", "-m owner --socket-exists"),
        (
            "source IP range 10.0.0.1-10.0.0.9",
            "-m iprange --src-range 10.0.0.1-10.0.0.9",
        ),
        (
            "source IP range ! 10.0.0.1-10.0.0.9 destination IP range 10.1.0.1-10.1.0.2",
            "-m iprange ! --src-range 10.0.0.1-10.0.0.9 --dst-range 10.1.0.1-10.1.0.2",
        ),
        (
            "MAC 00:11:22:aa:BB:cc",
            "-m mac --mac-source 00:11:22:aa:BB:cc",
        ),
        (
            "MAC ! 00:11:22:33:44:55",
            "-m mac ! --mac-source 00:11:22:33:44:55",
        ),
        (
            "MAC00:11:22:33:44:55",
            "-m mac --mac-source 00:11:22:33:44:55",
        ),
        ("length 40:100", "-m length --length 40:100"),
        ("length !40", "-m length ! --length 40"),
        ("TTL match TTL == 64", "-m ttl --ttl-eq 64"),
        ("TTL match TTL != 64", "-m ttl ! --ttl-eq 64"),
        ("TTL match TTL < 5", "-m ttl --ttl-lt 5"),
        ("HL match HL > 5", "-m hl --hl-gt 5"),
        ("DSCP match 0x2e", "-m dscp --dscp 0x2e"),
        ("DSCP match !0x2e", "-m dscp ! --dscp 0x2e"),
        (
            "PHYSDEV match --physdev-is-bridged",
            "-m physdev --physdev-is-bridged",
        ),
        (
            "PHYSDEV match ! --physdev-in veth0 --physdev-out br0",
            "-m physdev ! --physdev-in veth0 --physdev-out br0",
        ),
        (
            "nfacct-name  localhost_nps",
            "-m nfacct --nfacct-name localhost_nps",
        ),
        (
            "rpfilter loose validmark invert",
            "-m rpfilter --loose --validmark --invert",
        ),
        ("helper match \"ftp\"", "-m helper --helper ftp"),
        ("PKTTYPE != multicast", "-m pkttype ! --pkt-type multicast"),
        (
            "/* a -> b: \"c\" */ tcp dpt:80",
            "-m comment --comment \"a -> b: \\\"c\\\"\" -m tcp --dport 80",
        ),
        (
            "state NEW tcp dpt:22 /* x */",
            "-m state --state NEW -m tcp --dport 22 -m comment --comment x",
        ),
    ];
    for (text, options) in cases {
        assert_eq!(
            options_of("ACCEPT", text),
            format!("{options} -j ACCEPT"),
            "{text}"
        );
    }
}

#[test]
fn targets_are_read_as_the_options_they_were_made_with() {
    let cases = [
        (
            "DNAT",
            "tcp to:10.10.2.58:16443",
            "-m tcp -j DNAT --to-destination 10.10.2.58:16443",
        ),
        (
            "DNAT",
            "to:10.0.0.1-10.0.0.5:80-90 random persistent",
            "-j DNAT --to-destination 10.0.0.1-10.0.0.5:80-90 --random --persistent",
        ),
        (
            "DNAT",
            "to:[fd00::1]:80",
            "-j DNAT --to-destination [fd00::1]:80",
        ),
        ("SNAT", "to::53", "-j SNAT --to-source :53"),
        (
            "SNAT",
            "to:10.0.0.1 random-fully",
            "-j SNAT --to-source 10.0.0.1 --random-fully",
        ),
        ("MASQUERADE", "", "-j MASQUERADE"),
        (
            "MASQUERADE",
            "mark match 0x1 random-fully",
            "-m mark --mark 0x1 -j MASQUERADE --random-fully",
        ),
        (
            "MASQUERADE",
            "masq ports: 1024-65535 random",
            "-j MASQUERADE --to-ports 1024-65535 --random",
        ),
        (
            "REDIRECT",
            "redir ports 8080",
            "-j REDIRECT --to-ports 8080",
        ),
        (
            "REDIRECT",
            "tcp dpt:80 redir ports 80-90 random",
            "-m tcp --dport 80 -j REDIRECT --to-ports 80-90 --random",
        ),
        ("NETMAP", "to:10.1.0.0/16", "-j NETMAP --to 10.1.0.0/16"),
        ("NETMAP", "10.1.0.0/16", "-j NETMAP --to 10.1.0.0/16"),
        (
            "REJECT",
            "reject-with tcp-reset",
            "-j REJECT --reject-with tcp-reset",
        ),
        ("MARK", "MARK or 0x4000", "-j MARK --or-mark 0x4000"),
        ("MARK", "MARK xor 0x4000", "-j MARK --xor-mark 0x4000"),
        (
            "MARK",
            "MARK and 0xfffcffff",
            "-j MARK --and-mark 0xfffcffff",
        ),
        ("MARK", "MARK set 0x1", "-j MARK --set-mark 0x1"),
        (
            "MARK",
            "mark match 0x2 MARK xset 0x1/0xf",
            "-m mark --mark 0x2 -j MARK --set-xmark 0x1/0xf",
        ),
        (
            "CONNMARK",
            "CONNMARK restore mask 0x80",
            "-j CONNMARK --restore-mark --mask 0x80",
        ),
        ("CONNMARK", "CONNMARK save", "-j CONNMARK --save-mark"),
        (
            "CONNMARK",
            "CONNMARK save nfmask 0xf ctmask ~0xf0",
            "-j CONNMARK --save-mark --nfmask 0xf --ctmask 0xf0",
        ),
        ("CONNMARK", "CONNMARK or 0x80", "-j CONNMARK --or-mark 0x80"),
        (
            "LOG",
            "LOG flags 0 level 4 prefix \"dropped OUT: \"",
            "-j LOG --log-prefix \"dropped OUT: \"",
        ),
        (
            "LOG",
            "LOG flags 6 level 7",
            "-j LOG --log-level 7 --log-tcp-options --log-ip-options",
        ),
        (
            "LOG",
            "LOG level warning tcp-sequence prefix `[UFW BLOCK] '",
            "-j LOG --log-prefix \"[UFW BLOCK] \" --log-tcp-sequence",
        ),
        ("CT", "CT notrack", "-j CT --notrack"),
        ("CT", "NOTRACK", "-j CT --notrack"),
        ("NOTRACK", "", "-j NOTRACK"),
        ("CT", "CT helper ftp zone 5", "-j CT --helper ftp --zone 5"),
        (
            "CHECKSUM",
            "udp dpt:68 CHECKSUM fill",
            "-m udp --dport 68 -j CHECKSUM --checksum-fill",
        ),
        (
            "TCPMSS",
            "tcp flags:0x06/0x02 TCPMSS clamp to PMTU",
            "-m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
        ),
        ("TCPMSS", "TCPMSS set 1400", "-j TCPMSS --set-mss 1400"),
        (
            "TPROXY",
            "TPROXY redirect 0.0.0.0:37379 mark 0x200/0xffffffff",
            "-j TPROXY --on-port 37379 --on-ip 0.0.0.0 --tproxy-mark 0x200/0xffffffff",
        ),
        (
            "NFLOG",
            "nflog-prefix \"x\" nflog-group 86",
            "-j NFLOG --nflog-prefix x --nflog-group 86",
        ),
        (
            "NFQUEUE",
            "NFQUEUE num 3 bypass",
            "-j NFQUEUE --queue-num 3 --queue-bypass",
        ),
        (
            "TTL",
            "TTL match TTL == 1 TTL set to 64",
            "-m ttl --ttl-eq 1 -j TTL --ttl-set 64",
        ),
        ("DSCP", "DSCP set 0x2e", "-j DSCP --set-dscp 0x2e"),
        ("SET", "add-set X src,dst", "-j SET --add-set X src,dst"),
        (
            "KUBE-SVC-X",
            "[goto] tcp dpt:80",
            "-m tcp --dport 80 -g KUBE-SVC-X",
        ),
        (
            "KUBE-SVC-X",
            "tcp dpt:80",
            "-m tcp --dport 80 -j KUBE-SVC-X",
        ),
        ("", "/* counts */", "-m comment --comment counts"),
    ];
    for (target, text, options) in cases {
        assert_eq!(options_of(target, text), options, "{target} {text}");
    }
}

#[test]
fn columns_of_every_version() {
    let cases = [
        (
            HEADER,
            "KUBE-MARK-MASQ  tcp  -- !10.1.0.0/16          10.152.183.1         ",
            "! -s 10.1.0.0/16 -d 10.152.183.1 -p 6 -j KUBE-MARK-MASQ",
        ),
        (
            HEADER,
            "ACCEPT     6    --  0.0.0.0/0           !10.0.0.0/255.0.0.255",
            "! -d 10.0.0.0/255.0.0.255 -p 6 -j ACCEPT",
        ),
        (
            HEADER,
            "ACCEPT     0    --!10.64.0.0/14          0.0.0.0/0",
            "! -s 10.64.0.0/14 -j ACCEPT",
        ),
        (
            HEADER,
            "ACCEPT    !icmp -f  anywhere             anywhere",
            "! -p 1 -f -j ACCEPT",
        ),
        (
            HEADER,
            "ACCEPT     all  !f  anywhere             anywhere",
            "! -f -j ACCEPT",
        ),
        (
            HEADER,
            "           udp  --  anywhere             anywhere",
            "-p 17",
        ),
        (
            HEADER,
            "DOCKER     all  --  anywhere            !loopback/8           ADDRTYPE match dst-type LOCAL",
            "! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER",
        ),
        (
            HEADER,
            "X  all  --  localhost            base-address.mcast.net/4",
            "-s 127.0.0.1 -d 224.0.0.0/4 -j X",
        ),
        (
            HEADER_V,
            "  19G   70T ACCEPT     all  --  !docker0 br-421a9e16d12b  0.0.0.0/0            0.0.0.0/0",
            "! -i docker0 -o br-421a9e16d12b -j ACCEPT",
        ),
        (
            HEADER_V,
            "    0     0            all  --  any    cni0    anywhere             anywhere            ",
            "-o cni0",
        ),
        (
            HEADER_V,
            "    0     0 ACCEPT     all  --  *      azv+    0.0.0.0/0            0.0.0.0/0",
            "-o azv+ -j ACCEPT",
        ),
    ];
    for (header, line, options) in cases {
        assert_eq!(
            spelled(line, header, Family::V4),
            (options.to_owned(), Vec::new()),
            "{line}"
        );
    }
    let v6 = [
        (
            " pkts bytes target     prot opt in     out     source               destination",
            "55833 3952K            tcp      eth1.150 *       ::/0                 2001:4ca0:2001::/48  state NEW",
            "-d 2001:4ca0:2001::/48 -i eth1.150 -p 6 -m state --state NEW",
        ),
        (
            HEADER,
            "ACCEPT     all      ::1                  ::/0",
            "-s ::1 -j ACCEPT",
        ),
        (
            HEADER,
            "ACCEPT     all  --  localhost            anywhere",
            "-s ::1 -j ACCEPT",
        ),
        (
            HEADER,
            "ACCEPT     ipv6-icmp    anywhere             anywhere             ipv6-icmp echo-request",
            "-p 58 -m icmp6 --icmpv6-type echo-request -j ACCEPT",
        ),
    ];
    for (header, line, options) in v6 {
        assert_eq!(
            spelled(line, header, Family::V6),
            (options.to_owned(), Vec::new()),
            "{line}"
        );
    }
}

#[test]
fn a_row_without_its_header_is_told_by_its_words() {
    let rows = [
        "ACCEPT     all  --  0.0.0.0/0            0.0.0.0/0",
        "3    ACCEPT     all  --  0.0.0.0/0            0.0.0.0/0",
        "   10   600 ACCEPT     all  --  *      *       0.0.0.0/0            0.0.0.0/0",
        "7       10   600 ACCEPT     all  --  *      *       0.0.0.0/0            0.0.0.0/0",
        "   10   600 ACCEPT     all      *      *       ::/0                 ::/0",
    ];
    for line in rows {
        let row = Row::read(line, None).expect(line);
        assert_eq!(
            (row.target, row.protocol, row.text),
            ("ACCEPT", "all", ""),
            "{line}"
        );
    }
    let none = [
        "",
        "ACCEPT",
        "ACCEPT all --",
        "the packet tcp -- x",
        "to be or not to be -- that is the question",
        "Chain X (1 references)",
        "ACCEPT all -- 0.0.0.0/0",
    ];
    for line in none {
        assert_eq!(Row::read(line, None), None, "{line}");
    }
}

#[test]
fn headers_and_headings() {
    let layout = |number, counters| {
        Some(Layout {
            number,
            counters,
            interfaces: counters,
        })
    };
    assert_eq!(Layout::of_header(HEADER), layout(false, false));
    assert_eq!(
        Layout::of_header("num  target     prot opt source"),
        layout(true, false)
    );
    assert_eq!(
        Layout::of_header(
            "num   pkts bytes target     prot opt in     out     source               destination"
        ),
        layout(true, true)
    );
    assert_eq!(Layout::of_header("target practice"), None);
    let heading =
        |text| Heading::read(text).map(|heading| (heading.name, heading.policy, heading.counters));
    let counters = Some(Counters {
        packets: 3_386_000,
        bytes: 2_827_000_000,
    });
    assert_eq!(
        heading("Chain INPUT (policy ACCEPT 3386K packets, 2827M bytes)"),
        Some(("INPUT", Some("ACCEPT"), counters))
    );
    assert_eq!(
        heading("Chain FORWARD (policy DROP)\r"),
        Some(("FORWARD", Some("DROP"), None))
    );
    assert_eq!(
        heading("Chain KUBE-SVC-X (2 references)"),
        Some(("KUBE-SVC-X", None, None))
    );
    assert_eq!(heading("Chain X"), Some(("X", None, None)));
    assert_eq!(heading("Chain reactions are (not) rules"), None);
    assert_eq!(heading("Chain"), None);
}

#[test]
fn counters_with_units() {
    assert_eq!(count("82391"), Some(82391));
    assert_eq!(count("545K"), Some(545_000));
    assert_eq!(count("70T"), Some(70_000_000_000_000));
    for wrong in ["", "K", "12k", "-1", "99999999999999999999", "99999999999T"] {
        assert_eq!(count(wrong), None, "{wrong}");
    }
}

#[test]
fn what_is_not_known_is_kept_and_never_made_up() {
    let unread = |target: &str, text: &str| {
        let line = format!("{target} tcp -- k1/24 0.0.0.0/0 {text}");
        let (options, unread) = spelled(&line, HEADER, Family::V4);
        (options.replacen("-p 6 ", "", 1), unread)
    };
    let cases = [
        (
            "ACCEPT",
            "policy match dir in pol ipsec mode tunnel proto esp",
            "-j ACCEPT",
            "policy: policy match dir in pol ipsec mode tunnel proto esp",
        ),
        (
            "ACCEPT",
            "tcp dpt:nobodys",
            "-j ACCEPT",
            "tcp: tcp dpt:nobodys",
        ),
        (
            "ACCEPT",
            "MAC XX:XX:XX:XX:XX:XX ctstate NEW",
            "-m conntrack --ctstate NEW -j ACCEPT",
            "mac: MAC XX:XX:XX:XX:XX:XX",
        ),
        (
            "SNAT",
            "vaddr 10.96.0.10 vport 53 to:10.96.0.10",
            "-j SNAT --to-source 10.96.0.10",
            "ipvs: vaddr 10.96.0.10 vport 53",
        ),
        (
            "DROP",
            "STRING match  \"tcp dpt:80\" ALGO name bm",
            "-j DROP",
            "string: STRING match  \"tcp dpt:80\" ALGO name bm",
        ),
        (
            "DROP",
            "limit: above 10/sec burst 20 mode srcip /* x */",
            "-m comment --comment x -j DROP",
            "hashlimit: limit: above 10/sec burst 20 mode srcip",
        ),
        ("DROP", "! foo bar", "-j DROP", "negated: ! foo bar"),
    ];
    for (target, text, options, kept) in cases {
        assert_eq!(
            unread(target, text),
            (
                options.to_owned(),
                vec!["hostname: -s k1/24".to_owned(), kept.to_owned()]
            ),
            "{text}"
        );
    }
}
