//! The reference's tracker follows the same packets, read by its own reader, on a thread of its own: both must say the same of each.

use crate::check::FollowedDisagreement;
use crate::connections::{Tracked, Width};
use crate::rules::Rules;
use crossbeam::channel::{self, Receiver, Sender};
use kpclass_reference::connections as reference;
use kpclass_ruleset::conntrack::{CtStatus, Datagram, Direction, Settings, Tuple};
use kpclass_ruleset::decision::{Decision, Disposition, Fact, Unknown};
use kpclass_ruleset::spec;
use kpclass_ruleset::value::{CtState, Family, number_address};
use std::fmt;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

/// What is said of one packet, in words that both trackers share.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    ctstate: CtState,
    direction: Option<Direction>,
    status: CtStatus,
    tuples: Option<(Tuple, Option<Tuple>)>,
    connmark: u32,
    decision: Decision,
    clashes: bool,
    header: reference::Header,
}

impl Said {
    /// By the reference.
    pub fn by_reference(tracked: &reference::Tracked) -> Self {
        Self {
            ctstate: tracked.ctstate,
            direction: tracked.direction,
            status: tracked.status,
            tuples: tracked.tuples,
            connmark: tracked.connmark,
            decision: tracked.traced.decision.clone(),
            clashes: tracked.clashes,
            header: tracked.header,
        }
    }

    /// By the engine.
    pub fn by_engine<A: Width>(tracked: &Tracked<A>) -> Self {
        let address = |number: Option<u128>| number.map(|n| number_address(A::FAMILY, n));
        Self {
            ctstate: tracked.ctstate,
            direction: tracked.direction,
            status: tracked.status,
            tuples: tracked.shared_tuples(),
            connmark: tracked.connmark,
            decision: tracked.decision.clone(),
            clashes: tracked.clashes,
            header: reference::Header {
                source: address(tracked.header.source),
                destination: address(tracked.header.destination),
                ports: tracked.header.ports,
            },
        }
    }

    /// Whether both say the same, or one gave up, which claims nothing (WALK.md 4.3).
    pub fn agrees(&self, other: &Self) -> bool {
        let gave_up = |said: &Self| {
            let fact = Fact::TooMany;
            matches!(said.decision.disposition, Disposition::Unknown(Unknown { fact: f, .. }) if f == fact)
        };
        self == other || gave_up(self) || gave_up(other)
    }
}

/// `ESTABLISHED REPLY [SEEN_REPLY,CONFIRMED] forward mark 0x0, 10.0.0.1:80 > 10.0.0.9:4000`.
impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.ctstate.name())?;
        match self.direction {
            Some(Direction::Original) => f.write_str(" ORIGINAL")?,
            Some(Direction::Reply) => f.write_str(" REPLY")?,
            None => {}
        }
        write!(f, " [{}] {:?}", self.status, self.decision.disposition)?;
        let Decision {
            decided_by,
            dnat,
            snat,
            marked_by,
            ..
        } = self.decision;
        let rules = [
            ("by", decided_by),
            ("dnat by", dnat.map(|d| d.1)),
            ("snat by", snat.map(|s| s.1)),
            ("marked by", marked_by),
        ];
        for (word, rule) in rules {
            if let Some(rule) = rule {
                write!(f, " {word} {rule:?}")?;
            }
        }
        write!(
            f,
            " mark {:#x} connmark {:#x}",
            self.decision.mark, self.connmark
        )?;
        let end = |address: Option<std::net::IpAddr>| address.map_or("?".into(), |a| a.to_string());
        let (from, to) = (end(self.header.source), end(self.header.destination));
        write!(f, ", {from} > {to} {:?}", self.header.ports)?;
        if let Some((original, reply)) = &self.tuples {
            write!(f, ", connection {original}")?;
            match reply {
                Some(reply) => write!(f, " / {reply}")?,
                None => f.write_str(" / ?")?,
            }
        }
        match self.clashes {
            true => f.write_str(", clashes"),
            false => Ok(()),
        }
    }
}

/// A packet and what the engine says of it.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) capture: u32,
    pub(super) frame: u64,
    pub(super) datagram: Datagram,
    pub(super) at: Duration,
    pub(super) draw: u64,
    /// A source that is closed before, of the connection with this original tuple.
    pub(super) closes: Option<(Tuple, (std::net::IpAddr, u16))>,
    /// The source with which it left, where the captures show it.
    pub(super) source: Option<(std::net::IpAddr, Option<u16>)>,
    pub(super) said: Said,
    /// The reference's reader reads the frame otherwise.
    pub(super) misread: bool,
    /// It is told of behind packets that came later.
    pub(super) is_late: bool,
}

/// So many packets go to the judge at once.
const BATCH: usize = 512;

/// The way to the judge.
pub(super) struct Questions {
    to: Sender<Vec<Question>>,
    batch: Vec<Question>,
}

/// What the judge finds.
#[derive(Debug, Default)]
pub(super) struct Judgement {
    pub(super) checked: u64,
    pub(super) disagreements: u64,
    pub(super) shown: Vec<FollowedDisagreement>,
}

impl Questions {
    /// Starts the judge.
    pub(super) fn begin<'scope, 'env>(
        scope: &'scope Scope<'scope, 'env>,
        rules: &'env Rules<'_>,
        settings: &'env Settings,
    ) -> (Self, ScopedJoinHandle<'scope, Judgement>) {
        let (questions, from) = Self::channel();
        let judge = scope.spawn(move || judge(&from, rules, settings));
        (questions, judge)
    }

    /// For whoever takes them.
    pub(super) fn channel() -> (Self, Receiver<Vec<Question>>) {
        let (to, from) = channel::bounded(8);
        let batch = Vec::with_capacity(BATCH);
        (Self { to, batch }, from)
    }

    pub(super) fn ask(&mut self, question: Question) {
        self.batch.push(question);
        if self.batch.len() == BATCH {
            self.send();
        }
    }

    /// No more of them. A judge that is gone is met where it is joined.
    pub(super) fn send(&mut self) {
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        drop(self.to.send(batch));
    }
}

fn judge(questions: &Receiver<Vec<Question>>, rules: &Rules<'_>, settings: &Settings) -> Judgement {
    let mut trackers = Trackers::new(rules, settings);
    let mut judgement = Judgement::default();
    for question in questions.iter().flatten() {
        let Some(tracked) = trackers.answer(&question) else {
            continue;
        };
        judgement.checked += 1;
        let reference = Said::by_reference(&tracked);
        if question.misread || !reference.agrees(&question.said) {
            judgement.disagreements += 1;
            judgement.show(&question, &reference);
        }
    }
    judgement
}

/// The reference's trackers.
pub(super) struct Trackers<'r> {
    v4: Option<reference::Tracker<'r>>,
    v6: Option<reference::Tracker<'r>>,
}

impl<'r> Trackers<'r> {
    pub(super) fn new(rules: &'r Rules<'_>, settings: &Settings) -> Self {
        let tracker = |family| {
            let of = rules.of(family)?;
            Some(reference::Tracker::new(of.walk, settings.clone()))
        };
        Self {
            v4: tracker(Family::V4),
            v6: tracker(Family::V6),
        }
    }

    /// What the reference says of a packet; `None`: it has no rules.
    pub(super) fn answer(&mut self, question: &Question) -> Option<reference::Tracked> {
        let tracker = match question.datagram.packet.family() {
            Family::V4 => self.v4.as_mut()?,
            Family::V6 => self.v6.as_mut()?,
        };
        let Question {
            datagram,
            at,
            draw,
            source,
            closes,
            is_late,
            ..
        } = question;
        if *is_late {
            return Some(tracker.decide_late(datagram, *at, *draw));
        }
        if let Some((original, source)) = closes {
            tracker.pin(original, *source);
        }
        Some(tracker.decide_seen(datagram, *at, *draw, *source))
    }
}

impl Judgement {
    fn show(&mut self, question: &Question, reference: &Said) {
        if self.shown.len() >= crate::check::MAX_SHOWN {
            return;
        }
        let reads = if question.misread {
            "reads the frame otherwise; "
        } else {
            ""
        };
        self.shown.push(FollowedDisagreement {
            capture: question.capture,
            frame: question.frame,
            packet: spec::of_packet(&question.datagram.packet),
            reference: format!("{reads}{reference}"),
            program: question.said.to_string(),
        });
    }
}
