//! Captures of fragments.

use super::{
    Asked, PACKETS, RULES, SCRIPTS, counted, file, file_of, followed, frames, played, written,
};
use kpclass_compiler::Config;
use kpclass_engine::link::LinkType;
use kpclass_engine::{Report, Rules};
use kpclass_ruleset::conntrack::Settings;
use kpclass_ruleset::decision::Fact;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::{readers, spec};
use kpclass_workload::frame::{Framer, Link, Origin, Piece, Tag};
use kpclass_workload::numbers::Numbers;
use kpclass_workload::scripts::script;
use std::time::Duration;

/// Whether fragments are joined: else they are asked about as they come.
fn joins(rules: &Rules<'_>) -> bool {
    let of = rules.v4.as_ref().or(rules.v6.as_ref());
    of.is_some_and(|of| of.program.conntrack_on())
}

/// A frame's fragments, in some order. The first one of IPv6 holds the upper layer's header.
fn in_pieces(number: u16, frame: &[u8], numbers: &mut Numbers) -> Vec<Vec<u8>> {
    let is_v4 = frame[14] >> 4 == 4;
    let (headers, least) = if is_v4 { (34, 1) } else { (54, 3) };
    let size = 8 * (least + numbers.index(4));
    let mut pieces = Piece::all(number, frame.len() - headers, size);
    numbers.shuffle(&mut pieces);
    let pieces = pieces.iter();
    pieces
        .map(|piece| piece.cut(Link::Ethernet, frame))
        .collect()
}

#[test]
fn a_capture_of_fragments_is_followed_as_one_of_whole_packets() {
    let (mut packets, mut joined, mut by_lo) = (0, 0, 0);
    for seed in 0..SCRIPTS {
        let (script, mut numbers) = (script(seed, PACKETS), Numbers::new(seed));
        let packets_of = frames(&script);
        let whole = written(&packets_of);
        let mut cut = Vec::new();
        for (number, ((at, frame), (_, datagram))) in (1..).zip(whole.iter().zip(&packets_of)) {
            // What comes back by lo in fragments is not known.
            let is_sent = script.generated.node.is_local(datagram.packet.source) == Some(true);
            let pieces = match is_sent {
                true => vec![frame.clone()],
                false => in_pieces(number, frame, &mut numbers),
            };
            cut.extend(pieces.into_iter().map(|piece| (*at, piece)));
        }
        let files = [&whole, &cut].map(|frames| {
            let frames = frames.iter().map(|(at, frame)| (*at, &frame[..]));
            file(frames)
        });
        let what = format!("seed {seed}");
        let reports = played(&script, |rules, conntrack| {
            let follow =
                |file: Vec<u8>| followed((&what, &file), rules, conntrack, (2, Asked::Check));
            joins(rules).then(|| files.map(follow))
        });
        let Some([whole, cut]) = reports else {
            continue;
        };
        // What was met behind nat alone may have been sent, too.
        let mut unknowns = cut.unknowns.iter();
        if unknowns.any(|unknown| unknown.unknown.fact == Fact::Fragments) {
            by_lo += cut.classified;
            continue;
        }
        packets += cut.classified;
        let reasons: Vec<&str> = cut.skipped.iter().map(|(reason, _)| *reason).collect();
        assert!(
            reasons.iter().all(|r| *r == "fragment-joined"),
            "{reasons:?}"
        );
        joined += cut.skipped.iter().map(|(_, frames)| frames).sum::<u64>();
        let said = |report: &Report| {
            let connections = report.connections.as_ref().expect("connections");
            let counts = (connections.begun, connections.replied, &connections.states);
            let rest = (
                &connections.services,
                &connections.causes,
                report.classified,
            );
            format!("{:#?}", (report.dispositions, counts, rest))
        };
        assert_eq!(said(&whole), said(&cut), "{what}");
    }
    eprintln!("{packets} packets, {joined} fragments before the last of each");
    assert!(joined > packets / 2, "{joined}");
    assert!(by_lo < packets / 10, "{by_lo}");
}

/// Fragments are lost, repeated, too long, and cut by the capture; every frame is counted once.
#[test]
fn fragments_are_accounted_for_with_any_number_of_threads() {
    let mut reasons = std::collections::BTreeMap::new();
    for seed in 0..SCRIPTS {
        let (script, mut numbers) = (script(seed, PACKETS), Numbers::new(seed));
        let mut cut: Vec<(Duration, Vec<u8>)> = Vec::new();
        let mut late = Duration::ZERO;
        for (number, (at, frame)) in (1..).zip(written(&frames(&script))) {
            late += Duration::from_secs(9 * u64::from(numbers.below(20) == 0));
            let mut pieces = in_pieces(number, &frame, &mut numbers);
            match numbers.below(8) {
                0 => drop(pieces.pop()),
                1 => pieces.push(pieces[0].clone()),
                2 => {
                    let across = Piece {
                        id: number,
                        from: 0,
                        to: 40,
                        more: true,
                        ecn: 0,
                    };
                    pieces.insert(pieces.len() / 2, across.cut(Link::Ethernet, &frame));
                }
                _ => {}
            }
            cut.extend(pieces.into_iter().map(|piece| (at + late, piece)));
        }
        let file = file(cut.iter().map(|(at, frame)| (*at, &frame[..])));
        let file = (&*format!("seed {seed}"), &*file);
        played(&script, |rules, conntrack| {
            if !joins(rules) {
                return;
            }
            let each = followed(file, rules, conntrack, (1, Asked::Each));
            let skipped: u64 = each.skipped.iter().map(|(_, frames)| frames).sum();
            assert_eq!(each.frames, each.classified + skipped);
            let bytes: usize = cut.iter().map(|(_, frame)| frame.len()).sum();
            assert_eq!(each.bytes, bytes as u64);
            for threads in [1, 2, 3, 5, 8, 16] {
                let other = followed(file, rules, conntrack, (threads, Asked::Nothing));
                assert_eq!(
                    counted(&each),
                    counted(&other),
                    "{}, {threads} threads",
                    file.0
                );
            }
            for (reason, frames) in each.skipped {
                *reasons.entry(reason).or_insert(0) += frames;
            }
        });
    }
    eprintln!("{reasons:?}");
    for reason in ["joined", "timed-out", "overlap", "repeated", "held"] {
        assert!(
            reasons.contains_key(&*format!("fragment-{reason}")),
            "{reasons:?}"
        );
    }
}

/// `tcpdump -i any`: a bridge and its port show the same fragments in turn, and they are seen to leave. Neither sight takes the other's for repetitions.
#[test]
fn fragments_seen_at_several_devices_are_several_sightings() {
    let packet = spec::parse("udp 10.0.0.9:4000 > 10.0.0.1:53 length=100");
    let packet = packet.expect("a packet").packet(&NodeFacts::default());
    let mut framer = Framer::whole(Link::Sll2);
    let whole = framer.tagged(&packet, Origin::Outside, &Tag::default());
    let pieces = Piece::all(7, 80, 40);
    let seen = |piece: usize, device: u8, packet_type: u8| {
        let mut frame = pieces[piece].cut(Link::Sll2, whole);
        (frame[7], frame[10]) = (device, packet_type);
        frame
    };
    let arrives = [seen(0, 2, 0), seen(0, 3, 0), seen(1, 2, 0), seen(1, 3, 0)];
    let leaves = [seen(0, 3, 4), seen(1, 3, 4)];
    let frames = arrives.iter().chain(&leaves);
    let frames = frames.map(|frame| (Duration::ZERO, &frame[..]));
    let file = file_of(LinkType::LINUX_SLL2, frames);
    let read = readers::read(&[readers::Input::new("rules", RULES)]).expect("reads");
    let node = NodeFacts::default();
    let rules = Rules::new(read.v4.as_ref(), None, &node, &Config::default()).expect("no loops");
    let settings = Settings::default();
    let report = followed(("a bridge", &file), &rules, &settings, (1, Asked::Check));
    assert_eq!(report.classified, 2);
    assert_eq!(report.skipped, [("behind-nat", 1), ("fragment-joined", 3)]);
    assert_eq!(report.connections.map(|c| c.begun), Some(1));
}
