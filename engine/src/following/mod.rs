//! A replay that follows connections: packets in the captures' order, one owner for the tables.
//!
//! ```text
//! frames ─► Reader ─► blocks of packets, with what they show of nat ─► quick? sight? Tracker ─► counts, verdicts
//!           (on a thread of its own, if there are two)                                 └─► the reference's tracker, on another thread
//! ```

mod again;
mod ahead;
mod ask;
pub mod balance;
mod behind;
mod by_service;
mod endpoints;
mod findings;
mod fragments;
pub mod history;
mod judge;
mod reader;
mod shown;
mod story;

use crate::capture::CaptureError;
use crate::check::{Check, CheckReport};
use crate::connections::{Packet, Tracker, Whose, Width};
use crate::counts::{Account, Counts};
use crate::index::{Guess, Hasher};
use crate::replay::{Listeners, Settings, Source, VerdictSink};
use crate::report::{Report, Timing};
use crate::rules::{FamilyRules, Rules};
use crate::skip::SkipReason;
use again::KeptBack;
use ask::Rest;
pub use by_service::{Balance, EndpointConnections, ServiceConnections, Talk, Unasked};
use crossbeam::channel;
use endpoints::Endpoints;
pub use findings::{Finding, Masquerade, Skewed, Stale, Unequal, What};
use judge::Questions;
pub use judge::Said;
use kpclass_ruleset::conntrack;
use kpclass_ruleset::value::Family;
use reader::{All, Arrived, Block, One, Reader, What as Read};
use std::sync::Arc;
use std::time::Instant;
pub use story::{ConnectionsReport, Met, Story};

/// Blocks that wait between the two threads.
const WAITING: usize = 4;

/// A packet's connection is asked for so many packets before it is looked up, twice as many before that the way to it, and half as many where it is counted.
const AHEAD: usize = 12;

/// Replays the captures one after another, following connections from the first to the last.
///
/// # Errors
/// If a capture cannot be opened or read. A capture that is cut off is replayed up to the cut, and the report says so.
pub fn follow(
    sources: Vec<Source>,
    rules: &Rules<'_>,
    settings: &Settings,
    conntrack: &conntrack::Settings,
    listeners: Listeners<'_>,
) -> Result<Report, CaptureError> {
    let started = Instant::now();
    let Listeners { verdicts, .. } = listeners;
    std::thread::scope(|scope| {
        let (questions, judge) = match settings.check {
            Check::Off => (None, None),
            _ => {
                let (questions, judge) = Questions::begin(scope, rules, conntrack);
                (Some(questions), Some(judge))
            }
        };
        let checks = questions.is_some();
        let mut following = Following::new(rules, settings, conntrack, questions, verdicts);
        let how = (settings, conntrack);
        let reader = Reader::new(rules, how, checks, following.endpoints());
        let All {
            cuts,
            captures,
            misjoined,
            ..
        } = read(reader, sources, settings.threads, &mut following)?;
        let (counts, story) = following.finish();
        let replay_s = started.elapsed().as_secs_f64();
        let waited = Instant::now();
        let judgement = judge.map(|judge| {
            let judged = judge.join();
            judged.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        let judgement = judgement.unwrap_or_default();
        let check = CheckReport {
            check: settings.check,
            checked: judgement.checked,
            disagreements: judgement.disagreements + misjoined,
            followed: judgement.shown,
            ..CheckReport::default()
        };
        let timing = Timing {
            replay_s,
            check_s: waited.elapsed().as_secs_f64(),
        };
        let mut report = Report::new(rules, settings, captures, counts, check, cuts, timing);
        report.connections = Some(story.report(rules, settings.top));
        Ok(report)
    })
}

/// Reads all captures, and has them followed; on two threads, if so many may be.
fn read(
    reader: Reader<'_, '_>,
    sources: Vec<Source>,
    threads: usize,
    following: &mut Following<'_, '_, '_>,
) -> Result<All, CaptureError> {
    if threads < 2 {
        return reader.all(sources, |block| following.take(block));
    }
    let (full, blocks) = channel::bounded(WAITING);
    let (back, spare) = channel::bounded(WAITING);
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            reader.all(sources, |block| {
                // Whoever follows is gone only if it has panicked, which is met where it is joined.
                drop(full.send(block));
                spare.try_recv().ok()
            })
        });
        for block in blocks {
            if let Some(block) = following.take(block) {
                drop(back.try_send(block));
            }
        }
        let read = reading.join();
        read.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// One family's connections.
struct OfFamily<'r, 'a, A: Width> {
    of: &'r FamilyRules<'a>,
    tracker: Tracker<'r, A>,
    endpoints: Arc<Endpoints<A>>,
    /// What the reference is not told of yet.
    kept: KeptBack,
}

impl<'r, 'a, A: Width> OfFamily<'r, 'a, A> {
    fn new(rules: &'r Rules<'a>, settings: &conntrack::Settings) -> Option<Self> {
        let of = rules.of(A::FAMILY)?;
        let tracker = Tracker::new(&of.program, of.ruleset, settings.clone());
        let endpoints = Endpoints::new(Some(&of.program), tracker.hasher());
        Some(Self {
            of,
            tracker,
            endpoints: Arc::new(endpoints),
            kept: KeptBack::default(),
        })
    }
}

/// The replay's state.
struct Following<'r, 'a, 'l> {
    v4: Option<OfFamily<'r, 'a, u32>>,
    v6: Option<OfFamily<'r, 'a, u128>>,
    /// It is asked about once the next one shows what it does.
    waiting: Option<Box<Block>>,
    rest: Rest<'l>,
}

impl<'r, 'a, 'l> Following<'r, 'a, 'l> {
    fn new(
        rules: &'r Rules<'a>,
        settings: &'r Settings,
        conntrack: &conntrack::Settings,
        questions: Option<Questions>,
        verdicts: Option<VerdictSink<'l>>,
    ) -> Self {
        Self {
            v4: OfFamily::new(rules, conntrack),
            v6: OfFamily::new(rules, conntrack),
            waiting: None,
            rest: Rest {
                counts: Counts::new(rules),
                story: Story::new(rules),
                counts_alone: verdicts.is_none(),
                verdicts,
                questions,
                recorder: None,
                seed: settings.seed,
            },
        }
    }

    fn finish(mut self) -> (Counts, Story) {
        if let Some(of) = &mut self.v4 {
            self.rest.tell_of(of, Whose::Many);
        }
        if let Some(of) = &mut self.v6 {
            self.rest.tell_of(of, Whose::Many);
        }
        if let Some(questions) = &mut self.rest.questions {
            questions.send();
        }
        let full = [
            self.v4.as_ref().map(|of| of.tracker.full()),
            self.v6.as_ref().map(|of| of.tracker.full()),
        ];
        let story = &mut self.rest.story;
        full.into_iter().flatten().for_each(|full| story.full(full));
        (self.rest.counts, self.rest.story)
    }

    /// Where rules send packets, with the hashers of the tables.
    fn endpoints(&self) -> (Arc<Endpoints<u32>>, Arc<Endpoints<u128>>) {
        let v4 = self.v4.as_ref().map(|of| Arc::clone(&of.endpoints));
        let v6 = self.v6.as_ref().map(|of| Arc::clone(&of.endpoints));
        (
            v4.unwrap_or_else(|| Arc::new(Endpoints::new(None, Hasher::new()))),
            v6.unwrap_or_else(|| Arc::new(Endpoints::new(None, Hasher::new()))),
        )
    }

    /// Takes the next block. One that is done with comes back.
    fn take(&mut self, block: Box<Block>) -> Option<Box<Block>> {
        let mut done = self.waiting.take();
        if let Some(present) = &done {
            self.settle(present, Some(&block));
        }
        if block.is_last {
            self.settle(&block, None);
            done = Some(block);
        } else {
            self.waiting = Some(block);
        }
        done
    }

    /// Asks about a block.
    fn settle(&mut self, block: &Block, next: Option<&Block>) {
        let mut guesses = [Guess::NONE; (AHEAD + 1).next_power_of_two()];
        let place = |at: usize| at % (AHEAD + 1).next_power_of_two();
        for (at, arrived) in block.arrived.iter().enumerate() {
            if let Some(far) = block.arrived.get(at + 2 * AHEAD) {
                self.come_nearer(far);
            }
            if let Some(near) = block.arrived.get(at + AHEAD) {
                guesses[place(at + AHEAD)] = self.guess(near);
            }
            if let Some(next) = block.arrived.get(at + AHEAD / 2) {
                self.counter_comes_nearer(next, guesses[place(at + AHEAD / 2)]);
            }
            let one = One {
                block,
                next,
                arrived,
                at,
            };
            self.ask(one, guesses[place(at)]);
        }
        block.fragments.count(&mut self.rest.counts);
    }

    /// Where a packet's connection is found comes nearer.
    #[inline(always)]
    fn come_nearer(&self, arrived: &Arrived) {
        match (family(arrived), &self.v4, &self.v6) {
            (Some(Family::V4), Some(of), _) => of.tracker.come_nearer(arrived.hash),
            (Some(Family::V6), _, Some(of)) => of.tracker.come_nearer(arrived.hash),
            _ => {}
        }
    }

    /// Its connection, probably, which comes nearer.
    #[inline(always)]
    fn guess(&self, arrived: &Arrived) -> Guess {
        match (family(arrived), &self.v4, &self.v6) {
            (Some(Family::V4), Some(of), _) => of.tracker.guess(arrived.hash),
            (Some(Family::V6), _, Some(of)) => of.tracker.guess(arrived.hash),
            _ => Guess::NONE,
        }
    }

    /// Where it will probably be counted comes nearer.
    #[inline(always)]
    fn counter_comes_nearer(&self, arrived: &Arrived, guess: Guess) {
        let Some(family) = family(arrived) else {
            return;
        };
        let note = match (family, &self.v4, &self.v6) {
            (Family::V4, Some(of), _) => of.tracker.note_of(guess),
            (Family::V6, _, Some(of)) => of.tracker.note_of(guess),
            _ => None,
        };
        if let Some(note) = note {
            let counts = self.rest.counts.family(family);
            counts.come_nearer(Account::of(note));
        }
    }

    #[inline(always)]
    fn ask(&mut self, one: One<'_>, guess: Guess) {
        let One { block, arrived, .. } = one;
        let counts = &mut self.rest.counts;
        counts.frames += 1;
        counts.bytes += u64::from(arrived.original_len);
        let packet = |at: u32| &block.packets[at as usize];
        let asked = match (&arrived.what, &mut self.v4, &mut self.v6) {
            (Read::Plain(plain), Some(of), _) => {
                let context = block.context(arrived.came);
                self.rest.ask_plain(of, (one, guess), (plain, context))
            }
            (Read::Packet(Family::V4, at), Some(of), _) => {
                self.rest.ask(of, (one, guess), packet(*at))
            }
            (Read::Packet(Family::V6, at), _, Some(of)) => {
                self.rest.ask(of, (one, guess), packet(*at))
            }
            (Read::Skipped(reason), ..) => Err(*reason),
            (Read::Plain(_), ..) => Err(SkipReason::NoRules(Family::V4)),
            (Read::Packet(family, _), ..) => Err(SkipReason::NoRules(*family)),
        };
        if let Err(reason) = asked {
            self.rest.counts.skipped[reason.index()] += 1;
            let met = one.met();
            if self.rest.recorder.is_some() {
                let packet = match &arrived.what {
                    Read::Plain(plain) => Some(Packet::new(
                        plain.of_connection(),
                        *block.context(arrived.came),
                    )),
                    Read::Packet(_, at) => Some(packet(*at).clone()),
                    Read::Skipped(_) => None,
                };
                self.rest.skip(met, packet.as_ref(), reason);
            }
            self.rest.tell(met, Err(reason));
        }
    }
}

/// The family of a packet.
#[inline(always)]
fn family(arrived: &Arrived) -> Option<Family> {
    match arrived.what {
        Read::Plain(_) => Some(Family::V4),
        Read::Packet(family, _) => Some(family),
        Read::Skipped(_) => None,
    }
}
