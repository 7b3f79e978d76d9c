//! One frame's connection up to that frame, and the reference's way of its packet: what `explain` tells of it.
//!
//! The capture is read once, so that nobody knows yet whose frame it will be: a few frames of each connection are kept, the first ones and the last ones,
//! and only so many of all.

use super::Following;
use super::behind::{Key, key};
use super::judge::{Questions, Said, Trackers};
use super::reader::{All, Reader};
use super::story::{Met, Noted};
use crate::capture::{CaptureError, CutOff};
use crate::connections::{Ends, Packet, Width};
use crate::fragments::Ended;
use crate::replay::{Settings, Source};
use crate::rules::Rules;
use crate::skip::SkipReason;
use ahash::AHashMap;
use kpclass_compiler::header::{Header, known};
use kpclass_reference::connections as reference;
use kpclass_ruleset::conntrack::{self, CtStatus, Datagram, Direction, Tuple, Unjoined};
use kpclass_ruleset::decision::Decision;
use kpclass_ruleset::value::{CtState, Family, address_number, number_address};
use std::collections::VecDeque;

/// What is told of a frame.
#[derive(Debug)]
pub enum Told {
    /// Its packet, and its connection up to it.
    Packet(Box<History>),
    /// A packet that was asked about before, seen again behind nat.
    Again(Vec<Step>),
    /// It holds no packet to ask about.
    Skipped(SkipReason),
    /// A fragment that waited, and what became of it; `None`: it waits still where the capture ends.
    Waited(Option<Ended>),
    /// The capture does not hold it, but so many; it may be cut off.
    Absent(u64, Option<CutOff>),
}

/// A packet and its connection.
#[derive(Debug)]
pub struct History {
    /// Its family.
    pub family: Family,
    /// The packet as the reference reads it.
    pub datagram: Datagram,
    /// What the reference says of it, with its way.
    pub tracked: reference::Tracked,
    /// Whether the engine says the same.
    pub agrees: bool,
    /// The frames of its connection, itself the last; frames that are not kept are missing between two of them.
    pub steps: Vec<Step>,
    /// How many frames are missing.
    pub left_out: u64,
    /// The frames of its fragments that came before, by where what they brought begins; none of a packet that came whole.
    pub fragments: Vec<u64>,
}

/// A frame of a connection.
#[derive(Clone, Debug)]
pub struct Step {
    /// The frame.
    pub met: Met,
    /// Its header as it came.
    pub header: Header,
    /// What became of it; `None`: it is seen again behind nat.
    pub became: Option<Became>,
}

/// What became of a packet.
#[derive(Clone, Debug)]
pub struct Became {
    /// As rules saw it.
    pub ctstate: CtState,
    /// Its direction, if it has a connection.
    pub direction: Option<Direction>,
    /// The connection's status behind it.
    pub status: CtStatus,
    /// The connection's original tuple, and the reply tuple.
    pub tuples: Option<(Tuple, Option<Tuple>)>,
    /// Whether it began the connection.
    pub begins: bool,
    /// What the rules and the connection do with it.
    pub decision: Decision,
    /// Where it ended.
    pub ends: Ends,
}

/// Frames of one connection that are kept: its first, and its last.
const FIRST: usize = 16;
const LAST: usize = 48;

/// Frames of all connections that are kept.
const MOST: usize = 1 << 18;

/// Keeps frames by connection until the one that is asked about.
#[derive(Debug)]
pub(super) struct Recorder {
    wanted: u64,
    connections: AHashMap<Key, Kept>,
    /// By what is seen behind nat of packets in the original direction.
    behind: AHashMap<Key, Key>,
    kept: usize,
    found: Option<Found>,
}

#[derive(Debug)]
enum Found {
    Packet(Kept),
    Again(Kept),
    Skipped(SkipReason),
}

/// The frames of a connection.
#[derive(Clone, Debug, Default)]
struct Kept {
    first: Vec<Step>,
    last: VecDeque<Step>,
    left_out: u64,
}

impl Kept {
    /// Adds a frame; how many more are kept.
    fn add(&mut self, step: Step) -> usize {
        if self.first.len() < FIRST {
            self.first.push(step);
            return 1;
        }
        self.last.push_back(step);
        if self.last.len() <= LAST {
            return 1;
        }
        self.last.pop_front();
        self.left_out += 1;
        0
    }

    fn len(&self) -> usize {
        self.first.len() + self.last.len()
    }

    fn newest(&self) -> u64 {
        let newest = self.last.back().or(self.first.last());
        newest.map_or(0, |step| step.met.frame)
    }

    fn steps(self) -> Vec<Step> {
        self.first.into_iter().chain(self.last).collect()
    }
}

impl Recorder {
    pub(super) fn new(wanted: u64) -> Self {
        Self {
            wanted,
            connections: AHashMap::new(),
            behind: AHashMap::new(),
            kept: 0,
            found: None,
        }
    }

    /// A packet that was tracked.
    pub(super) fn note<A: Width>(&mut self, noted: &Noted<'_, A>) {
        let tracked = noted.tracked;
        let key = key(&noted.key);
        let became = Became::of(noted);
        let tuples = became.tuples;
        let step = Step {
            met: noted.met,
            header: noted.packet.header,
            became: Some(became),
        };
        let Some((_, reply)) = tuples else {
            let mut alone = Kept::default();
            alone.add(step);
            self.finish(noted.met, || Found::Packet(alone));
            return;
        };
        if tracked.begins
            && let Some(old) = self.connections.remove(&key)
        {
            self.kept -= old.len();
        }
        if let Some(reply) = reply {
            let end = |(address, port)| (address_number(address), port);
            let (server, client) = (end(reply.source), end(reply.destination));
            self.behind.insert((key.0, client, server), key);
        }
        self.add(key, step);
        self.finish_with(noted.met, key, Found::Packet);
    }

    /// A frame that is not asked about.
    pub(super) fn skip(&mut self, met: Met, packet: Option<&Packet>, reason: SkipReason) {
        let again = packet.filter(|_| reason == SkipReason::BehindNat);
        let Some(packet) = again else {
            self.finish(met, || Found::Skipped(reason));
            return;
        };
        let (protocol, from, to) = key(&packet.header);
        let original = self.behind.get(&(protocol, from, to)).copied();
        let key = original.unwrap_or((protocol, to, from));
        let step = Step {
            met,
            header: packet.header,
            became: None,
        };
        if self.connections.contains_key(&key) {
            self.add(key, step);
        }
        self.finish_with(met, key, Found::Again);
    }

    fn add(&mut self, key: Key, step: Step) {
        self.kept += self.connections.entry(key).or_default().add(step);
        if self.kept > MOST {
            self.forget();
        }
    }

    /// Forgets the half of the connections that were not met for longest.
    fn forget(&mut self) {
        let mut newest: Vec<u64> = self.connections.values().map(Kept::newest).collect();
        let middle = newest.len() / 2;
        let (_, middle, _) = newest.select_nth_unstable(middle);
        let middle = *middle;
        self.connections.retain(|_, kept| kept.newest() >= middle);
        let connections = &self.connections;
        self.behind.retain(|_, key| connections.contains_key(key));
        self.kept = connections.values().map(Kept::len).sum();
    }

    /// It is found with what is kept of its connection.
    fn finish_with(&mut self, met: Met, key: Key, found: impl FnOnce(Kept) -> Found) {
        if met.frame == self.wanted {
            let kept = self.connections.remove(&key);
            self.found = Some(found(kept.unwrap_or_default()));
        }
    }

    fn finish(&mut self, met: Met, found: impl FnOnce() -> Found) {
        if met.frame == self.wanted {
            self.found = Some(found());
        }
    }
}

impl Became {
    fn of<A: Width>(noted: &Noted<'_, A>) -> Self {
        let tracked = noted.tracked;
        let (mut tuples, mut ends) = (tracked.shared_tuples(), tracked.header);
        // The source that frames behind nat show is the packet's, though nobody could know it yet.
        if let (Some((address, port)), Some((original, reply))) =
            (tracked.source_shown, &mut tuples)
        {
            ends.source = Some(address.number());
            ends.ports = ends.ports.map(|(_, to)| (Some(port), to));
            let of_ports = ends.ports.and_then(|(_, to)| to);
            let server = ends.destination.zip(of_ports);
            let number = |address| number_address(A::FAMILY, address);
            *reply = reply.or(server.map(|(server, to)| Tuple {
                protocol: original.protocol,
                source: (number(server), to),
                destination: (number(address.number()), port),
            }));
        }
        Self {
            ctstate: tracked.ctstate,
            direction: tracked.direction,
            status: tracked.status,
            tuples,
            begins: tracked.begins,
            decision: noted.decision.clone(),
            ends,
        }
    }
}

/// Follows a capture's connections up to a frame.
///
/// # Errors
/// If the capture cannot be opened or read.
pub fn tell(
    source: Source,
    rules: &Rules<'_>,
    settings: &Settings,
    conntrack: &conntrack::Settings,
    frame: u64,
) -> Result<Told, CaptureError> {
    std::thread::scope(|scope| {
        let (questions, from) = Questions::channel();
        let answer = scope.spawn(move || {
            let mut trackers = Trackers::new(rules, conntrack);
            let mut answer = None;
            for question in from.iter().flatten() {
                let tracked = trackers.answer(&question);
                if question.frame == frame {
                    answer = tracked.map(|tracked| (question, tracked));
                }
            }
            answer
        });
        let mut following = Following::new(rules, settings, conntrack, Some(questions), None);
        following.rest.recorder = Some(Recorder::new(frame));
        following.rest.counts_alone = false;
        let endpoints = following.endpoints();
        let reader = Reader::new(rules, (settings, conntrack), true, endpoints).up_to(frame);
        let All {
            frames,
            cuts,
            watched,
            ..
        } = reader.all(vec![source], |block| following.take(block))?;
        let found = following
            .rest
            .recorder
            .take()
            .and_then(|recorder| recorder.found);
        // Nobody asks any more.
        drop(following.finish());
        let answer = answer.join();
        let answer = answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok(match (found, answer) {
            (Some(Found::Packet(kept)), Some((question, tracked))) => {
                let (said, left_out) = (Said::by_reference(&tracked), kept.left_out);
                Told::Packet(Box::new(History {
                    family: question.datagram.packet.family(),
                    agrees: !question.misread && said.agrees(&question.said),
                    datagram: question.datagram,
                    tracked,
                    steps: kept.steps(),
                    left_out,
                    fragments: watched.waited,
                }))
            }
            (Some(Found::Again(kept)), _) => Told::Again(kept.steps()),
            (Some(Found::Skipped(SkipReason::Fragment(Unjoined::Held))), _) => {
                Told::Waited(watched.ended)
            }
            (Some(Found::Skipped(reason)), _) => Told::Skipped(reason),
            _ => Told::Absent(frames, cuts.into_iter().next().map(|cut| cut.cut)),
        })
    })
}

impl super::Rest<'_> {
    pub(super) fn skip(&mut self, met: Met, packet: Option<&Packet>, reason: SkipReason) {
        if let Some(recorder) = &mut self.recorder {
            recorder.skip(met, packet, reason);
        }
    }
}

impl Step {
    /// The TCP flags, of a segment.
    pub fn tcp_flags(&self) -> Option<u8> {
        (self.header.known & known::TCP_FLAGS != 0).then_some(self.header.tcp_flags)
    }
}

#[cfg(test)]
mod tests;
