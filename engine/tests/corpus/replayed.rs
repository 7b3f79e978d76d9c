//! Replays: packets as frames of a capture, each with the verdict that the reference draws.

use crate::cases;
use kpclass_compiler::Config;
use kpclass_compiler::header::Header;
use kpclass_engine::capture::Capture;
use kpclass_engine::check::Check;
use kpclass_engine::report::Dispositions;
use kpclass_engine::verdicts::FrameVerdict;
use kpclass_engine::{HookChoice, Listeners, Report, Rules, Settings, Source, draw, replay};
use kpclass_reference::Walk;
use kpclass_reference::packet::read_frame;
use kpclass_ruleset::decision::{Decision, Disposition, Nat, Snat};
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::value::{CtState, Family, Interface};
use kpclass_ruleset::{Hook, RuleId};
use kpclass_workload::corpus::Case;
use kpclass_workload::frame::{Framer, Link, Origin};
use std::collections::BTreeMap;
use std::io::Cursor;

/// What a replay takes of its settings, and not of a frame: whether the packet is sent, its device, its mark.
type Start = (bool, Option<Interface>, u32);

pub(crate) const SEED: u64 = 0x5eed;

/// LINKTYPE_RAW.
const RAW: u32 = 101;

#[test]
fn a_replay_gives_each_packet_the_references_verdict() {
    let (mut replayed, mut frames_seen) = (0, 0);
    for case in cases() {
        let mut groups: BTreeMap<Start, Vec<&Packet>> = BTreeMap::new();
        let packets = case.packets.iter().map(|asked| &asked.packet);
        // A replay takes each packet as the first of its connection, and leaves later fragments out.
        for p in packets.filter(|p| p.ctstate == CtState::New && !p.fragment) {
            let start = (p.hook == Hook::Output, p.in_interface, p.mark);
            groups.entry(start).or_default().push(p);
        }
        for (start, packets) in groups {
            for frames in [packets.len(), 67] {
                replay_group(&case, start, &packets, frames);
                replayed += 1;
                frames_seen += frames;
            }
        }
    }
    assert!(
        replayed > 400 && frames_seen > 10_000,
        "{replayed} replays, {frames_seen} frames"
    );
}

/// Replays so many frames of these packets, with one worker and with three, with verdicts and without.
fn replay_group(case: &Case, (sent, in_interface, mark): Start, packets: &[&Packet], count: usize) {
    let config = Config {
        mark: Some(mark),
        ..Config::default()
    };
    let (v4, v6) = match case.family {
        Family::V4 => (Some(&case.ruleset), None),
        Family::V6 => (None, Some(&case.ruleset)),
    };
    let rules = Rules::new(v4, v6, &case.node, &config).expect("no loops");
    let walk = Walk::new(&case.ruleset, &case.node).expect("no loops");
    let (hook, choice) = match sent {
        true => (Hook::Output, HookChoice::Output),
        false => (Hook::Prerouting, HookChoice::Prerouting),
    };
    let mut capture = Frames::default();
    for packet in packets.iter().cycle().take(count) {
        let read = |mut read: Packet| {
            (read.in_interface, read.mark) = (in_interface.filter(|_| !sent), mark);
            read
        };
        capture.push(packet, &walk, hook, read);
    }
    for threads in [1, 3] {
        let settings = Settings {
            hook: choice,
            in_interface,
            mark,
            seed: SEED,
            threads,
            check: Check::Full,
            top: 10,
        };
        let said = verdicts(&rules, &settings, &capture);
        assert_eq!(said, capture.decisions, "{}", case.name);
        let report = report(&rules, &settings, &capture);
        assert_eq!(
            report.check.disagreements, 0,
            "{}: {:#?}",
            case.name, report.check.shown
        );
        capture.same_counts(&report, &case.name);
        capture.same_credits(&rules, &report, &case.name);
    }
}

/// Frames, and what the reference draws for each.
#[derive(Default)]
pub(crate) struct Frames {
    bytes: Vec<u8>,
    pub(crate) decisions: Vec<Decision>,
}

impl Frames {
    /// Adds a frame of `packet`. It is read again by the reference's own reader, as `read` completes it.
    pub(crate) fn push(
        &mut self,
        packet: &Packet,
        walk: &Walk<'_>,
        hook: Hook,
        read: impl FnOnce(Packet) -> Packet,
    ) {
        let mut framer = Framer::new(Link::Raw, 0);
        let frame = framer.frame(packet, Origin::Outside);
        let packet = read(read_frame(RAW, frame).expect("a frame").at(hook, None));
        let number = draw::number(&Header::from(&packet), SEED);
        self.decisions.push(walk.decide(&packet, number).decision);
        let len = u32::try_from(frame.len()).expect("a short frame");
        for word in [0, 0, len, len] {
            self.bytes.extend(word.to_le_bytes());
        }
        self.bytes.extend(frame);
    }

    /// The frames as a capture.
    fn source(&self) -> Source {
        let mut bytes = Vec::new();
        for word in [0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 65535, RAW] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(&self.bytes);
        let capture = Capture::from_reader("corpus", Cursor::new(bytes));
        Source::Open(Box::new(capture.expect("a capture")))
    }

    /// Asserts that a report counts what was decided.
    pub(crate) fn same_counts(&self, report: &Report, name: &str) {
        let mut sum = Dispositions::default();
        for decision in &self.decisions {
            *match decision.disposition {
                Disposition::Forward => &mut sum.forward,
                Disposition::Local => &mut sum.local,
                Disposition::Out => &mut sum.out,
                Disposition::Drop => &mut sum.drop,
                Disposition::Reject(_) => &mut sum.reject,
                Disposition::Unknown(_) => &mut sum.unknown,
            } += 1;
        }
        let masqueraded = |d: &&Decision| matches!(d.snat, Some((Snat::Masquerade, _)));
        let masqueraded = self.decisions.iter().filter(masqueraded).count();
        assert_eq!(report.dispositions, sum, "{name}");
        assert_eq!(report.masqueraded, masqueraded as u64, "{name}");
        assert_eq!(report.classified, self.decisions.len() as u64, "{name}");
    }

    /// Asserts that a report credits each endpoint, and each rule that refuses, with the packets that went there.
    pub(crate) fn same_credits(&self, rules: &Rules<'_>, report: &Report, name: &str) {
        let mut sent: BTreeMap<(&str, Nat), u64> = BTreeMap::new();
        let mut refused: BTreeMap<(Disposition, Option<RuleId>), u64> = BTreeMap::new();
        for decision in &self.decisions {
            let service = |rule| {
                rules
                    .families()
                    .find_map(|(_, of)| of.services.name_of_rule(rule))
            };
            if let Some((nat, rule)) = decision.dnat
                && let Some(service) = service(rule)
            {
                *sent.entry((service, nat)).or_default() += 1;
            }
            if let Disposition::Drop | Disposition::Reject(_) = decision.disposition {
                let by = (decision.disposition, decision.decided_by);
                *refused.entry(by).or_default() += 1;
            }
        }
        let mut credited: BTreeMap<(&str, Nat), u64> = BTreeMap::new();
        for service in &report.services {
            for endpoint in service.endpoints.iter().filter(|e| e.packets > 0) {
                let to = (service.service.as_str(), endpoint.endpoint);
                *credited.entry(to).or_default() += endpoint.packets;
            }
        }
        let refusals = report.refusals.iter();
        let refusals = refusals.map(|r| ((r.disposition, r.rule), r.packets));
        assert_eq!(credited, sent, "{name}");
        assert_eq!(refusals.collect::<BTreeMap<_, _>>(), refused, "{name}");
    }
}

/// Each frame's decision, as a replay tells it.
pub(crate) fn verdicts(rules: &Rules<'_>, settings: &Settings, frames: &Frames) -> Vec<Decision> {
    let mut said: Vec<Decision> = Vec::new();
    let sink = |verdict: FrameVerdict<'_>| {
        said.push(verdict.packet.expect("a verdict").decision.clone());
    };
    let listeners = Listeners {
        progress: &|_| {},
        verdicts: Some(Box::new(sink)),
    };
    replay(vec![frames.source()], rules, settings, listeners).expect("a whole capture");
    said
}

/// What a replay counts, in batches.
pub(crate) fn report(rules: &Rules<'_>, settings: &Settings, frames: &Frames) -> Report {
    let listeners = Listeners {
        progress: &|_| {},
        verdicts: None,
    };
    replay(vec![frames.source()], rules, settings, listeners).expect("a whole capture")
}
