//! What is noted of the rules' questions: a replay's check counts packets as one that differ in nothing that some rule asks about, and what
//! no later rule asks about is forgotten on the way.

use kpclass_compiler::graph::Asked;
use kpclass_compiler::{Config, Program};
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::node::ipset::parse_ipsets;
use kpclass_ruleset::readers::{Input, read};

/// What the matches of one rule of a table's chain ask about.
fn asked(table: &str, chain: &str, matches: &str) -> Asked {
    let text = format!(
        "*{table}\n:{chain} ACCEPT [0:0]\n-A {chain} {matches} -j MARK --set-xmark 0x1/0x1\nCOMMIT\n"
    );
    let ruleset = read(&[Input::new("rules", text)]).unwrap().v4.unwrap();
    let sets = parse_ipsets("create S hash:ip family inet\nadd S 10.0.0.1\n").unwrap();
    let node = NodeFacts {
        ipsets: Some(sets.sets),
        ..NodeFacts::default()
    };
    let program = Program::compile(&ruleset, &node, &Config::default()).unwrap();
    program.asked()
}

#[test]
fn each_match_asks_for_its_fields() {
    let none = Asked::default();
    #[rustfmt::skip]
    let rows = [
        ("-s 10.0.0.1/32 -d 10.0.0.2/32 -o eth0 -p tcp -m tcp --dport 80", none),
        ("-p tcp -m tcp --sport 80", Asked { source_port: true, late_source_port: true, ..none }),
        ("-p tcp -m multiport --ports 80,81", Asked { source_port: true, late_source_port: true, ..none }),
        ("-p tcp -m tcp --tcp-flags SYN SYN", Asked { tcp_flags: true, ..none }),
        ("-p icmp -m icmp --icmp-type 8", Asked { icmp: true, ..none }),
        ("-m length --length 40:60", Asked { length: true, ..none }),
        ("-m ttl --ttl-lt 5", Asked { ttl: true, ..none }),
        ("-m dscp --dscp 0x0a", Asked { dscp: true, ..none }),
        ("-m mac --mac-source 02:00:00:00:00:01", Asked { mac: true, ..none }),
        ("-i eth0", Asked { in_interface: true, ..none }),
        ("-f", Asked { fragment: true, ..none }),
        ("-m conntrack --ctorigsrc 10.0.0.1", Asked { original: true, ..none }),
        ("-m conntrack --ctorigdst 10.0.0.1", Asked { original: true, ..none }),
        ("-p tcp -m conntrack --ctorigsrcport 80", Asked { original: true, connection: true, source_port: true, ..none }),
        ("-p tcp -m conntrack --ctorigdstport 80", Asked { original: true, connection: true, icmp: true, ..none }),
        ("-m conntrack --ctstatus ASSURED", Asked { connection: true, snat_state: true, ..none }),
        ("-m conntrack --ctstate NEW,DNAT", none),
        ("-m conntrack --ctstate SNAT", Asked { snat_state: true, source_port: true, ..none }),
    ];
    for (matches, expected) in rows {
        assert_eq!(asked("filter", "FORWARD", matches), expected, "{matches}");
    }
}

#[test]
fn late_is_what_nat_is_not_asked_before() {
    let none = Asked::default();
    let of_set = Asked {
        source_port: true,
        icmp: true,
        mac: true,
        in_interface: true,
        ..none
    };
    let list = "--name L --mask 255.255.255.255";
    #[rustfmt::skip]
    let rows = [
        ("-m statistic --mode random --probability 0.5".to_owned(), none, Asked { late_draw: true, ..none }),
        ("-m set --match-set S src".to_owned(), of_set, Asked { late_sets: true, late_source_port: true, ..of_set }),
        ("-p udp -m udp --sport 80".to_owned(), Asked { source_port: true, ..none }, Asked { source_port: true, late_source_port: true, ..none }),
        (format!("-m recent --set {list} --rsource"), none, none),
        (format!("-m recent --set {list} --rdest"), none, Asked { late_sets: true, ..none }),
        (format!("-m recent --rcheck {list} --rsource"), none, Asked { late_recent: true, ..none }),
        (format!("-m recent --rcheck {list} --rdest"), none, Asked { late_sets: true, late_recent: true, ..none }),
    ];
    for (matches, early, late) in rows {
        for (table, chain, expected) in [
            ("nat", "PREROUTING", early),
            ("nat", "OUTPUT", early),
            ("nat", "POSTROUTING", late),
            // The lo leg asks it behind nat OUTPUT.
            ("mangle", "PREROUTING", late),
            ("filter", "FORWARD", late),
        ] {
            assert_eq!(
                asked(table, chain, &matches),
                expected,
                "{table} {chain} {matches}"
            );
        }
    }
}
