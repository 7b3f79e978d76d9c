//! Connections: the engine's tracker says of every packet what the reference's says, which the kernel judges.
//!
//! `KPCLASS_SCRIPTS` is how many scripts are played, beside some of fresh seeds.

#[path = "shared/joiners.rs"]
mod joiners;

use joiners::Joiners;
use kpclass_compiler::header::Header;
use kpclass_compiler::{Config, Program};
use kpclass_engine::capture::Capture;
use kpclass_engine::connections::{Packet, Tracker, Width};
use kpclass_engine::draw::number as number_drawn;
use kpclass_engine::following::Said;
use kpclass_engine::{FamilyRules, Listeners, Report, Rules, Source, follow};
use kpclass_reference::Walk;
use kpclass_reference::connections as reference;
use kpclass_reference::fragments::{Place, Put};
use kpclass_ruleset::Ruleset;
use kpclass_ruleset::conntrack::{Datagram, Settings, Tuple};
use kpclass_ruleset::decision::Disposition;
use kpclass_ruleset::node::{LocalAddresses, NodeFacts};
use kpclass_ruleset::packet::Packet as Sent;
use kpclass_ruleset::readers;
use kpclass_ruleset::services::Services;
use kpclass_ruleset::value::{CtState, Family, Interface, number_address, protocol};
use kpclass_ruleset::{Hook, spec};
use kpclass_workload::corpus::{Sequence, SequenceStep, read_sequences};
use kpclass_workload::scripts::{Script, Side, Step, What, script};
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Scripts that are played where nobody says how many.
const SCRIPTS: u64 = 150;

/// Packets of a script.
const PACKETS: usize = 24;

fn compiled(ruleset: &Ruleset, node: &NodeFacts) -> Program {
    let config = Config {
        mark: None,
        ..Config::default()
    };
    Program::compile(ruleset, node, &config).expect("no loops")
}

/// Both trackers, asked side by side.
struct Both<'r, A: Width> {
    reference: reference::Tracker<'r>,
    engine: Tracker<'r, A>,
    packets: u64,
    states: [u64; 5],
}

impl<A: Width> Both<'_, A> {
    /// What both say of a packet; an error is how they differ.
    fn take(
        &mut self,
        datagram: &Datagram,
        at: Duration,
        draw: u64,
    ) -> Result<reference::Tracked, String> {
        self.packets += 1;
        let said = self.reference.decide(datagram, at, draw);
        let found = self.engine.take(&Packet::from(datagram), at, draw);
        self.states[CtState::ALL
            .iter()
            .position(|s| *s == said.ctstate)
            .expect("one of all")] += 1;
        let (a, b) = (Said::by_reference(&said), Said::by_engine(&found));
        if a.agrees(&b) {
            return Ok(said);
        }
        let spec = spec::of_packet(&datagram.packet);
        Err(format!(
            "{spec} at {at:?}\n  reference {a}\n  engine    {b}\n"
        ))
    }
}

#[test]
fn every_sequence_becomes_the_same() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/sequences");
    let files = ["connections.toml", "unknowns.toml"].map(|name| folder.join(name));
    let sequences: Vec<Sequence> = files
        .iter()
        .flat_map(|path| read_sequences(path).unwrap_or_else(|error| panic!("{error}")))
        .collect();
    let differ = sequences.iter().filter_map(|sequence| {
        let why = match sequence.rules.1.family() {
            Family::V4 => play_sequence::<u32>(sequence),
            Family::V6 => play_sequence::<u128>(sequence),
        };
        Some(format!("{}: {}", sequence.name, why.err()?))
    });
    let differ: Vec<String> = differ.collect();
    assert!(
        differ.is_empty(),
        "{} differ\n{}",
        differ.len(),
        differ.join("\n")
    );
}

fn play_sequence<A: Width>(sequence: &Sequence) -> Result<(), String> {
    let replaced = sequence.steps.iter().filter_map(|step| match step {
        SequenceStep::Rules(_, ruleset) => Some(&**ruleset),
        SequenceStep::Packet(..) | SequenceStep::Fragment(..) => None,
    });
    let rulesets: Vec<&Ruleset> = [&sequence.rules.1].into_iter().chain(replaced).collect();
    let node = &sequence.node;
    let programs: Vec<Program> = rulesets
        .iter()
        .map(|ruleset| compiled(ruleset, node))
        .collect();
    let mut both = both::<A>(rulesets[0], &programs[0], node, &sequence.settings);
    let mut joiners = Joiners::new(&sequence.settings);
    let mut at = 0;
    for step in &sequence.steps {
        match step {
            SequenceStep::Rules(..) => {
                at += 1;
                both.replace(rulesets[at], &programs[at], node);
            }
            SequenceStep::Packet(time, datagram, _) => drop(both.take(datagram, *time, 0)?),
            SequenceStep::Fragment(time, datagram, cut, _) => {
                let (frame, packet) = (cut.frame(datagram), &datagram.packet);
                let captured = (&frame[..], frame.len() as u32);
                let is_sent = packet.hook == Hook::Output;
                let put = joiners.put(captured, Place::default(), is_sent, *time)?;
                if let Some(Put::Whole(Ok(whole))) = put {
                    both.take(&whole.at(packet), *time, 0)?;
                }
            }
        }
    }
    Ok(())
}

fn both<'r, A: Width>(
    ruleset: &'r Ruleset,
    program: &'r Program,
    node: &'r NodeFacts,
    settings: &Settings,
) -> Both<'r, A> {
    let walk = Walk::new(ruleset, node).expect("no loops");
    Both {
        reference: reference::Tracker::new(walk, settings.clone()),
        engine: Tracker::new(program, ruleset, settings.clone()),
        packets: 0,
        states: [0; 5],
    }
}

impl<'r, A: Width> Both<'r, A> {
    fn replace(&mut self, ruleset: &'r Ruleset, program: &'r Program, node: &'r NodeFacts) {
        self.reference
            .replace(Walk::new(ruleset, node).expect("no loops"));
        self.engine.replace(program, ruleset);
    }
}

#[test]
fn every_packet_of_generated_scripts_becomes_the_same() {
    let count = std::env::var("KPCLASS_SCRIPTS").map_or(SCRIPTS, |n| n.parse().expect("a number"));
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("behind 1970");
    let fresh = since.as_secs() << 8;
    eprintln!("fresh seeds from {fresh} on");
    let (mut packets, mut states, mut differ) = (0, [0; 5], Vec::new());
    for seed in (0..count).chain(fresh..fresh + count / 3) {
        let script = script(seed, PACKETS);
        let played = match script.generated.ruleset.family() {
            Family::V4 => play::<u32>(&script, seed, None),
            Family::V6 => play::<u128>(&script, seed, None),
        };
        match played {
            Ok((more, each)) => {
                packets += more;
                for (all, one) in states.iter_mut().zip(each) {
                    *all += one;
                }
            }
            Err(why) => differ.push(format!("seed {seed}: {why}")),
        }
    }
    let shown: Vec<&str> = differ.iter().take(10).map(String::as_str).collect();
    assert!(
        differ.is_empty(),
        "{} scripts differ\n{}",
        differ.len(),
        shown.join("\n")
    );
    eprintln!("{packets} packets, by ctstate {states:?}");
    assert!(packets >= 20 * count, "{packets} packets");
    assert!(states.iter().all(|n| *n > count / 10), "{states:?}");
}

/// A table of one to five entries: what the kernel may have evicted, both know nothing of.
#[test]
fn every_packet_that_meets_a_full_table_becomes_the_same() {
    let (mut packets, mut states) = (0, [0; 5]);
    for seed in 0..SCRIPTS {
        let script = script(seed, PACKETS);
        let max = Some(1 + seed as u32 % 5);
        let played = match script.generated.ruleset.family() {
            Family::V4 => play::<u32>(&script, seed, max),
            Family::V6 => play::<u128>(&script, seed, max),
        };
        let (more, each) = played.unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        packets += more;
        let sums = states.iter_mut().zip(each);
        sums.for_each(|(all, one)| *all += one);
    }
    eprintln!("{packets} packets, by ctstate {states:?}");
    assert!(states.iter().all(|n| *n > SCRIPTS / 10), "{states:?}");
}

/// Plays a script, with so many connections at most; how many packets there were, by ctstate, too.
fn play<A: Width>(script: &Script, seed: u64, max: Option<u32>) -> Result<(u64, [u64; 5]), String> {
    let mut settings = Settings::default();
    for line in &script.settings {
        settings.set(line).map_err(|why| why.to_string())?;
    }
    settings.max = max.unwrap_or(settings.max);
    let (node, rulesets) = (
        &script.generated.node,
        [&script.generated.ruleset, &script.later.1],
    );
    let programs = rulesets.map(|ruleset| compiled(ruleset, node));
    let mut both = both::<A>(rulesets[0], &programs[0], node, &settings);
    let mut hosts = Hosts::new(script);
    let mut now = Duration::from_secs(1_000_000);
    let mut replaced = 0;
    for (number, step) in (0u64..).zip(&script.steps) {
        now += Duration::from_millis(7);
        match step {
            Step::Wait(time) => now += *time,
            Step::Replace => {
                replaced = 1 - replaced;
                both.replace(rulesets[replaced], &programs[replaced], node);
            }
            Step::Send(talk, side, what) => {
                let Some(datagram) = hosts.speak(*talk, *side, what) else {
                    continue;
                };
                let draw = number_drawn(&Header::from(&datagram.packet), seed);
                let said = both
                    .take(&datagram, now, draw)
                    .map_err(|why| format!("step {number}: {why}{}", script.generated.text))?;
                hosts.heard(*talk, *side, &datagram, &said);
            }
        }
    }
    Ok((both.packets, both.states))
}

/// The hosts of a script: each sends what it is told to, and answers what reached it.
struct Hosts<'s> {
    script: &'s Script,
    /// What reached each talk's server, and its client.
    got: Vec<[Option<Tuple>; 2]>,
}

impl<'s> Hosts<'s> {
    fn new(script: &'s Script) -> Self {
        let got = vec![[None; 2]; script.talks.len()];
        Self { script, got }
    }

    fn speak(&self, talk: usize, side: Side, what: &What) -> Option<Datagram> {
        let (first, id) = self.script.talks.get(talk)?;
        let devices = &self.script.generated.devices;
        let device = *devices.get(talk % devices.len().max(1))?;
        let mut datagram = Datagram::new(first.clone());
        datagram.icmp_id = first.icmp.map(|_| *id);
        let client = Tuple::of(&datagram)?;
        let tuple = match side {
            Side::Client => client,
            Side::Server => self.got[talk][0].unwrap_or(client).inverse()?,
        };
        let mut packet = first.clone();
        (packet.source, packet.destination) = (tuple.source.0, tuple.destination.0);
        packet.ports = tuple
            .has_ports()
            .then_some((tuple.source.1, tuple.destination.1));
        packet.length = Some(100);
        match what {
            What::Error(kind, by_router) => {
                let about = tuple.inverse()?;
                (packet.destination, packet.ports, packet.tcp_flags) = (about.source.0, None, None);
                packet.protocol = match packet.source {
                    IpAddr::V4(_) => protocol::ICMP,
                    IpAddr::V6(_) => protocol::ICMPV6,
                };
                packet.icmp = Some(*kind);
                if *by_router {
                    packet.source = router(packet.source);
                }
                (datagram.carried, datagram.chunks) = (Some(about), None);
            }
            What::Segment(flags, bytes) => {
                packet.tcp_flags = Some(*flags);
                packet.length = Some(40 + bytes);
            }
            What::Chunks(list) => datagram.chunks = Some(list.clone()),
            What::Data | What::Echo => {}
        }
        if tuple.is_icmp() && datagram.carried.is_none() {
            let [kind, code] = tuple.destination.1.to_be_bytes();
            packet.icmp = Some((kind, code));
        }
        if side == Side::Server || packet.source != first.source {
            self.starts(&mut packet, device);
        }
        datagram.packet = packet;
        Some(datagram)
    }

    /// A packet that starts where what comes from its source does.
    fn starts(&self, packet: &mut Sent, device: Interface) {
        let sent = self.script.generated.node.is_local(packet.source) == Some(true);
        packet.mark = 0;
        packet.hook = if sent { Hook::Output } else { Hook::Prerouting };
        packet.in_interface = (!sent).then_some(device);
        packet.source_mac = (!sent).then_some([2, 0, 0, 0, 0, 0xfe]);
    }

    fn heard(&mut self, talk: usize, side: Side, datagram: &Datagram, said: &reference::Tracked) {
        let arrives = matches!(
            said.traced.decision.disposition,
            Disposition::Forward | Disposition::Local | Disposition::Out
        );
        let Some(mut tuple) = Tuple::of(datagram).filter(|_| arrives && datagram.carried.is_none())
        else {
            return;
        };
        // What is not known of nat's choice: one of those that it may be.
        let nat = number_address(Family::of(tuple.source.0), 0xc000_0201);
        tuple.source.0 = said.header.source.unwrap_or(nat);
        tuple.destination.0 = said.header.destination.unwrap_or(nat);
        if let Some((from, to)) = said.header.ports {
            (tuple.source.1, tuple.destination.1) = (from.unwrap_or(40_000), to.unwrap_or(40_000));
        }
        self.got[talk][usize::from(side == Side::Server)] = Some(tuple);
    }
}

/// A host of nobody's.
fn router(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::from([198, 51, 100, 99]),
        IpAddr::V6(_) => IpAddr::from([0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 1]),
    }
}

/// Two rulesets that treat a connection's later packets differently.
const BOTH_WAYS: [&str; 2] = [
    "*filter\n-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\nCOMMIT\n",
    "*filter\n-A FORWARD -m conntrack --ctstate ESTABLISHED -j DROP\nCOMMIT\n",
];

/// Last byte of an address of 10.0.0.0/24, and port.
type End = (u8, u16);

/// Segments as a classic pcap of raw IPv4: from, to, flags, sequence and acknowledgment number.
fn capture(segments: &[(End, End, u8, u32, u32)]) -> Capture {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 101] {
        file.extend(word.to_le_bytes());
    }
    for (from, to, flags, sequence, acknowledgment) in segments {
        for word in [1_u32, 0, 40, 40] {
            file.extend(word.to_le_bytes());
        }
        file.extend([0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0]);
        file.extend([10, 0, 0, from.0, 10, 0, 0, to.0]);
        file.extend([from.1.to_be_bytes(), to.1.to_be_bytes()].concat());
        file.extend([sequence.to_be_bytes(), acknowledgment.to_be_bytes()].concat());
        file.extend([0x50, *flags, 0, 0, 0, 0, 0, 0]);
    }
    Capture::from_reader("segments", std::io::Cursor::new(file)).expect("a capture")
}

const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;

fn read_v4(text: &str) -> Ruleset {
    let rules = readers::read(&[readers::Input::new("rules", text)]).expect("reads");
    rules.v4.expect("rules of IPv4")
}

/// Follows a capture by the program of one ruleset, held to the walk of another.
fn followed(ruleset: &Ruleset, judge: &Ruleset, node: &NodeFacts, capture: Capture) -> Report {
    let rules = Rules {
        v4: Some(FamilyRules {
            ruleset,
            program: compiled(ruleset, node),
            walk: Walk::new(judge, node).expect("no loops"),
            services: Services::new(ruleset),
        }),
        v6: None,
        node,
    };
    let listeners = Listeners {
        progress: &|_| {},
        verdicts: None,
    };
    let sources = vec![Source::Open(Box::new(capture))];
    let (how, conntrack) = (kpclass_engine::Settings::default(), Settings::default());
    follow(sources, &rules, &how, &conntrack, listeners).expect("a replay")
}

#[test]
fn a_replay_is_held_to_the_reference() {
    let node = NodeFacts::default();
    let rulesets = BOTH_WAYS.map(read_v4);
    let (client, server) = ((1, 4000), (2, 80));
    let segments = [(client, server, SYN, 1, 0), (server, client, SYN_ACK, 1, 2)];
    for (judge, disagreements) in [(0, 0), (1, 1)] {
        let report = followed(&rulesets[0], &rulesets[judge], &node, capture(&segments));
        assert_eq!(report.check.checked, 2);
        assert_eq!(report.check.disagreements, disagreements);
        let shown = report.check.followed.iter().map(|d| d.frame);
        assert_eq!(shown.collect::<Vec<_>>(), vec![2; disagreements as usize]);
        assert_eq!(
            report.connections.map(|c| (c.begun, c.replied)),
            Some((1, 1))
        );
    }
}

/// Answers come from one endpoint to one address, in another order than the SYNs: only what they acknowledge tells whose they are.
#[test]
fn a_masqueraded_source_is_found_by_what_is_acknowledged() {
    let ruleset = read_v4(
        "*nat\n-A PREROUTING -d 10.0.0.100/32 -p tcp -j DNAT --to-destination 10.0.0.5:80\n\
         -A POSTROUTING -j MASQUERADE --random-fully\nCOMMIT\n",
    );
    let node = NodeFacts {
        local: Some(LocalAddresses::new(["10.0.0.9"
            .parse()
            .expect("an address")])),
        ..NodeFacts::default()
    };
    let (service, endpoint) = ((100, 80), (5, 80));
    let segments = |answers: [u32; 2]| {
        [
            ((1, 4000), service, SYN, 100, 0),
            ((2, 4000), service, SYN, 200, 0),
            (endpoint, (9, 7000), SYN_ACK, 1, answers[0]),
            (endpoint, (9, 8000), SYN_ACK, 1, answers[1]),
        ]
    };
    let report = followed(&ruleset, &ruleset, &node, capture(&segments([201, 101])));
    assert_eq!((report.check.checked, report.check.disagreements), (4, 0));
    assert_eq!(report.dispositions.forward, 4);
    assert_eq!(
        report.connections.map(|c| (c.begun, c.replied)),
        Some((2, 2))
    );
    // Who acknowledges something else could be answering either.
    let report = followed(&ruleset, &ruleset, &node, capture(&segments([301, 401])));
    assert_eq!(report.check.disagreements, 0);
    assert_eq!(
        (report.dispositions.forward, report.dispositions.unknown),
        (2, 2)
    );
}
