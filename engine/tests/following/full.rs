//! Captures of more connections than conntrack's table has room for.

use super::{Asked, counted, followed, pcap};
use kpclass_compiler::Config;
use kpclass_engine::{Report, Rules};
use kpclass_ruleset::conntrack::{Datagram, Settings};
use kpclass_ruleset::node::{LocalAddresses, NodeFacts};
use kpclass_ruleset::{readers, spec};
use std::time::Duration;

/// A Service of one endpoint; nobody is masqueraded.
const RULES: &str = "*nat\n:PREROUTING ACCEPT\n\
    -A PREROUTING -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.1.0.5:8080\nCOMMIT\n";

/// Timeouts are short, so that the table empties from time to time.
const SYSCTLS: [&str; 12] = [
    "tcp_timeout_syn_sent=9",
    "tcp_timeout_syn_recv=7",
    "tcp_timeout_established=60",
    "tcp_timeout_fin_wait=11",
    "tcp_timeout_close_wait=8",
    "tcp_timeout_last_ack=5",
    "tcp_timeout_time_wait=13",
    "tcp_timeout_close=2",
    "tcp_timeout_unacknowledged=30",
    "udp_timeout=4",
    "udp_timeout_stream=20",
    "max=30",
];

/// What few clients and one Service say to each other, without sense; mostly at once, now and then after a while.
fn talk(seed: u64, packets: usize) -> Vec<(Duration, String)> {
    let mut state = seed;
    let mut next = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    };
    let mut now = Duration::from_secs(1_000_000);
    let said = (0..packets).map(|_| {
        now += match next(60) {
            0 => Duration::from_secs(125),
            1..3 => Duration::from_secs(3 + next(15)),
            _ => Duration::from_millis(1 + next(40)),
        };
        let client = format!("10.0.0.{}:4000", 1 + next(24));
        let flags = [" flags=S", " flags=A", " flags=A", " flags=FA", " flags=R"];
        let (protocol, service, flags) = match next(4) {
            0 => ("udp", "10.0.9.9:53", ""),
            1 => ("tcp", "10.0.9.9:80", flags[next(5) as usize]),
            _ => ("tcp", "10.96.0.1:80", flags[next(5) as usize]),
        };
        let text = match (next(2), flags) {
            (0, " flags=S") => format!("{protocol} {service} > {client} flags=SA"),
            (0, _) => format!("{protocol} {service} > {client}{flags}"),
            _ => format!("{protocol} {client} > {service}{flags}"),
        };
        (now, text)
    });
    said.collect()
}

fn replays(seed: u64) -> Report {
    let read = readers::read(&[readers::Input::new("rules", RULES)]).expect("reads");
    let node = NodeFacts {
        local: Some(LocalAddresses::new(["10.0.0.254".parse().expect("one")])),
        ..NodeFacts::default()
    };
    let config = Config::default();
    let rules = Rules::new(read.v4.as_ref(), None, &node, &config).expect("no loops");
    let frames = talk(seed, 8000).into_iter().map(|(at, text)| {
        let packet = spec::parse(&text).expect(&text).packet(&node);
        (at, Datagram::new(packet))
    });
    let file = pcap(&frames.collect::<Vec<_>>());
    let mut conntrack = Settings::default();
    for sysctl in SYSCTLS {
        conntrack
            .set(&format!("nf_conntrack_{sysctl}"))
            .expect(sysctl);
    }
    let what = format!("seed {seed}");
    let asked = [Asked::Each, Asked::Check, Asked::Nothing];
    let reports = asked.map(|asked| followed((&what, &file), &rules, &conntrack, (1, asked)));
    let [each, others @ ..] = reports;
    for other in others {
        assert!(counted(&each) == counted(&other), "{what}");
    }
    each
}

#[test]
fn a_table_that_fills_and_empties_again_is_followed_as_by_the_reference() {
    let (mut known, mut unknown) = (0, 0);
    for seed in 1..=12 {
        let ends = replays(seed).dispositions;
        (known, unknown) = (known + ends.forward, unknown + ends.unknown);
    }
    eprintln!("{known} packets known, {unknown} not");
    assert!(known > 10_000 && unknown > 10_000, "{known}, {unknown}");
}
