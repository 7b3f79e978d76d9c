//! Connections in captures: what is counted of packets that go the way of one before them is what is counted where each is asked about.

use kpclass_compiler::Config;
use kpclass_engine::capture::Capture;
use kpclass_engine::check::Check;
use kpclass_engine::following::ConnectionsReport;
use kpclass_engine::{Listeners, Report, Rules, Source, follow};
use kpclass_ruleset::conntrack::{Datagram, Settings};
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::value::{CtState, Family};
use kpclass_ruleset::{readers, spec};
use kpclass_workload::frame::{Framer, Link, Origin, Tag};
use kpclass_workload::scripts::{Script, Side, Step, What, script};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Scripts that are played as captures.
const SCRIPTS: u64 = 60;

/// Packets of a script.
const PACKETS: usize = 120;

/// What the hosts of a script send, as if nothing was translated: a client's own packets, and answers from where it sent them.
fn frames(script: &Script) -> Vec<(Duration, Datagram)> {
    let mut now = Duration::from_secs(1_000_000);
    let mut frames = Vec::new();
    for step in &script.steps {
        now += Duration::from_millis(7);
        match step {
            Step::Wait(time) => now += *time,
            Step::Replace => {}
            Step::Send(talk, side, what) => {
                let (first, id) = &script.talks[*talk];
                let packet = spoken(first, *side, what);
                let mut datagram = Datagram::new(packet);
                datagram.icmp_id = first.icmp.map(|_| *id);
                frames.push((now, datagram));
            }
        }
    }
    frames
}

fn spoken(first: &Packet, side: Side, what: &What) -> Packet {
    let mut packet = first.clone();
    if side == Side::Server {
        (packet.source, packet.destination) = (first.destination, first.source);
        packet.ports = first.ports.map(|(from, to)| (to, from));
        packet.icmp = first.icmp.map(|(kind, code)| match kind {
            8 => (0, code),
            128 => (129, code),
            other => (other, code),
        });
    }
    packet.length = None;
    if let What::Segment(flags, bytes) = what {
        packet.tcp_flags = Some(*flags);
        let header = if packet.source.is_ipv4() { 40 } else { 60 };
        packet.length = Some(header + bytes);
    }
    packet
}

/// A classic pcap of Ethernet with nanoseconds.
fn pcap(frames: &[(Duration, Datagram)]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_3c4d_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend(word.to_le_bytes());
    }
    let mut framer = Framer::whole(Link::Ethernet);
    for (number, (at, datagram)) in (1..).zip(frames) {
        let tag = Tag {
            icmp_id: datagram.icmp_id,
            sequence: number,
            ..Tag::default()
        };
        let frame = framer.tagged(&datagram.packet, Origin::Outside, &tag);
        let len = frame.len() as u32;
        for word in [at.as_secs() as u32, at.subsec_nanos(), len, len] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    file
}

fn followed(file: &[u8], rules: &Rules<'_>, conntrack: &Settings, how: (usize, Check)) -> Report {
    let capture = Capture::from_reader("script", std::io::Cursor::new(file.to_vec()));
    let sources = vec![Source::Open(Box::new(capture.expect("a capture")))];
    let settings = kpclass_engine::Settings {
        threads: how.0,
        check: how.1,
        ..kpclass_engine::Settings::default()
    };
    let listeners = Listeners {
        progress: &|_| {},
        verdicts: None,
    };
    let report = follow(sources, rules, &settings, conntrack, listeners);
    let mut report = report.expect("a replay");
    assert_eq!(report.check.disagreements, 0, "{:#?}", report.check);
    (report.timing, report.check) = Default::default();
    report
}

#[test]
fn packets_that_go_the_way_of_one_before_them_are_counted_as_if_each_was_asked_about() {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let fresh = since.expect("behind 1970").as_secs() << 8;
    eprintln!("fresh seeds from {fresh} on");
    let (mut packets, mut established) = (0, 0);
    for seed in (0..SCRIPTS).chain(fresh..fresh + SCRIPTS / 3) {
        let script = script(seed, PACKETS);
        let mut conntrack = Settings::default();
        for line in &script.settings {
            conntrack.set(line).expect("a setting");
        }
        let ruleset = &script.generated.ruleset;
        let (v4, v6) = match ruleset.family() {
            Family::V4 => (Some(ruleset), None),
            Family::V6 => (None, Some(ruleset)),
        };
        let node = &script.generated.node;
        let rules = Rules::new(v4, v6, node, &Config::default()).expect("no loops");
        // Each packet thrice: by the last all that can be known of it is.
        let sent = frames(&script).into_iter();
        let sent: Vec<_> = sent
            .flat_map(|frame| [frame.clone(), frame.clone(), frame])
            .collect();
        let file = pcap(&sent);
        let each = followed(&file, &rules, &conntrack, (1, Check::Full));
        for threads in [1, 3] {
            let counted = followed(&file, &rules, &conntrack, (threads, Check::Off));
            let (each, counted) = (format!("{each:#?}"), format!("{counted:#?}"));
            let mut lines = each.lines().zip(counted.lines());
            let differ = lines.find(|(one, other)| one != other);
            assert!(
                each == counted,
                "seed {seed}, {threads} threads: {differ:?}\n{}",
                script.generated.text
            );
        }
        packets += each.frames;
        let connections = each.connections.expect("connections");
        established += packets_in(&connections, CtState::Established);
    }
    eprintln!("{packets} packets, {established} of them ESTABLISHED");
    assert!(established > packets / 20, "{established} of {packets}");
}

fn packets_in(connections: &ConnectionsReport, ctstate: CtState) -> u64 {
    let mut all = CtState::ALL.iter().zip(connections.states);
    all.find(|(of, _)| **of == ctstate).map_or(0, |(_, n)| n)
}

/// A Service with two endpoints; what is established is dropped on its way on.
const RULES: &str = "*nat\n:PREROUTING ACCEPT\n\
    -A PREROUTING -d 10.96.0.1/32 -p tcp -m statistic --mode random --probability 0.5 -j DNAT --to-destination 10.1.0.5:80\n\
    -A PREROUTING -d 10.96.0.1/32 -p tcp -j DNAT --to-destination 10.1.0.6:80\nCOMMIT\n\
    *filter\n:FORWARD ACCEPT\n-A FORWARD -p udp -m conntrack --ctstate ESTABLISHED -j DROP\nCOMMIT\n";

/// Packets at milliseconds, followed with each asked about, and only counted.
fn replayed(packets: &[(u64, &str)]) -> [Report; 2] {
    let read = readers::read(&[readers::Input::new("rules", RULES)]).expect("reads");
    let node = NodeFacts::default();
    let config = Config::default();
    let rules = Rules::new(read.v4.as_ref(), None, &node, &config).expect("no loops");
    let frames = packets.iter().map(|(at, text)| {
        let packet = spec::parse(text).expect(text).packet(&node);
        (Duration::from_millis(*at), Datagram::new(packet))
    });
    let file = pcap(&frames.collect::<Vec<_>>());
    let settings = Settings::default();
    [Check::Full, Check::Off].map(|check| followed(&file, &rules, &settings, (1, check)))
}

#[test]
fn what_was_noted_holds_for_its_ctstate_and_as_long_as_its_connection_lives() {
    let (asks, answers) = (
        "udp 10.0.0.9:4000 > 10.0.0.1:53",
        "udp 10.0.0.1:53 > 10.0.0.9:4000",
    );
    let both = replayed(&[
        (0, asks),
        (1, asks),
        (2, asks),
        (3, asks),
        (4, answers),
        (5, asks),
        (6, asks),
        (200_000, asks),
        (200_001, asks),
    ]);
    for report in both {
        let connections = report.connections.expect("connections");
        assert_eq!((connections.begun, connections.replied), (2, 1));
        let states = [CtState::New, CtState::Established].map(|of| packets_in(&connections, of));
        assert_eq!(states, [6, 3]);
        let ends = (report.dispositions.forward, report.dispositions.drop);
        assert_eq!(ends, (6, 3));
    }
}

/// The answer is the first frame of the next block.
#[test]
fn the_next_block_shows_where_the_last_packet_of_this_one_went() {
    let other = "udp 10.0.0.7:7 > 10.0.0.8:8";
    for endpoint in ["10.1.0.5", "10.1.0.6"] {
        let answer = format!("tcp {endpoint}:80 > 10.0.0.9:4000 flags=SA");
        let mut packets = vec![(0, other); 2047];
        packets.push((1, "tcp 10.0.0.9:4000 > 10.96.0.1:80 flags=S"));
        packets.push((2, &answer));
        for report in replayed(&packets) {
            let connections = report.connections.expect("connections");
            let seen = (connections.begun, connections.replied, connections.shown);
            assert_eq!(seen, (2, 1, 1), "{endpoint}");
        }
    }
}
