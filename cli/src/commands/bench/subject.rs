//! The compiled lookup, to be timed.

use crate::trouble::Trouble;
use kpclass_compiler::header::Header;
use kpclass_compiler::program::lookup::{Address, Lookup, Lookups};
use kpclass_compiler::{Context, Program};
use kpclass_engine::alone::{Alone, Question};
use kpclass_engine::draw;
use kpclass_engine::rules::FamilyRules;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::spec;
use std::hint::black_box;
use std::time::{Duration, Instant};

use super::packets::At;

/// Few packets are asked about again and again, so that a round is long enough to be timed.
const LEAST: usize = 4096;

/// Whatever else the machine does meanwhile must not be in all rounds of a packet.
const LEAST_ROUNDS: u32 = 4;

/// A family's program.
#[derive(Clone, Copy)]
pub(super) struct Compiled<'r> {
    of: &'r FamilyRules<'r>,
}

impl<'r> Compiled<'r> {
    pub(super) fn new(of: &'r FamilyRules<'r>) -> Self {
        Self { of }
    }

    /// What program and walk answer must be the same. The walk is slow: as many packets are asked about as `time` allows, spread over all.
    pub(super) fn hold_against_the_walk(
        &self,
        packets: &[At],
        time: Duration,
    ) -> Result<(), Trouble> {
        let started = Instant::now();
        let step = (packets.len() / 3).max(1);
        for first in 0..step {
            for At { packet, .. } in packets.iter().skip(first).step_by(step) {
                let (header, context) = (Header::from(packet), Context::from(packet));
                let number = draw::number(&header, 0);
                let decided = self.of.program.decide(&header, &context, number);
                if decided.as_ref() != Some(&self.of.walk.decide(packet, number).decision) {
                    let message = format!("{}: program and walk differ", spec::of_packet(packet));
                    return Err(Trouble::new(message)
                        .note("a wrong answer is not timed; `kpclass explain` shows both"));
                }
            }
            if started.elapsed() > 10 * time {
                break;
            }
        }
        Ok(())
    }

    /// Nanoseconds a packet.
    pub(super) fn time(&self, packets: &[Packet], time: Duration) -> f64 {
        let program = &self.of.program;
        match program.lookups() {
            Lookups::V4(lookup) => as_replayed(program, lookup, packets, time),
            Lookups::V6(lookup) => as_replayed(program, lookup, packets, time),
            Lookups::None => {
                let slow = headers(packets.iter());
                best(slow.len(), time, || by_nodes(program, &slow))
            }
        }
    }
}

/// By the flat form, in batches, as a replay does it; those that do not come that way by the nodes.
fn as_replayed<A: Address>(
    program: &Program,
    lookup: &Lookup<A>,
    packets: &[Packet],
    time: Duration,
) -> f64 {
    let alone = Alone::new(program, lookup, 0);
    let (mut flat, mut slow) = (Vec::new(), Vec::new());
    for packet in packets {
        let (header, context) = (Header::from(packet), Context::from(packet));
        let question = Question::<A>::new(program, &header, &context, 0);
        match question.filter(|question| alone.answer(question).is_some()) {
            Some(question) => flat.push(question),
            None => slow.push(packet),
        }
    }
    let repeats = LEAST.div_ceil(packets.len().max(1));
    let (flat, slow) = (
        flat.repeat(repeats),
        headers(slow.into_iter()).repeat(repeats),
    );
    best(flat.len() + slow.len(), time, || {
        black_box(alone.decide(black_box(&flat)));
        by_nodes(program, &slow);
    })
}

fn headers<'p>(packets: impl Iterator<Item = &'p Packet>) -> Vec<(Header, Context)> {
    packets
        .map(|packet| (Header::from(packet), Context::from(packet)))
        .collect()
}

fn by_nodes(program: &Program, packets: &[(Header, Context)]) {
    for (header, context) in packets {
        black_box(program.decide(header, context, draw::number(header, 0)));
    }
}

/// Nanoseconds for each of `count`, in the best of the rounds that `time` allows; one at least.
pub(super) fn best(count: usize, time: Duration, mut round: impl FnMut()) -> f64 {
    let (started, mut best) = (Instant::now(), f64::MAX);
    while best == f64::MAX || started.elapsed() < time {
        let began = Instant::now();
        round();
        best = best.min(began.elapsed().as_secs_f64() * 1e9 / count.max(1) as f64);
    }
    best
}

/// Nanoseconds a packet where each takes so long that it can be timed alone: the mean of each one's best round.
pub(super) fn best_of_each(packets: &[Packet], time: Duration, ask: impl Fn(&Packet)) -> f64 {
    let (started, mut rounds) = (Instant::now(), 0);
    let mut best = vec![Duration::MAX; packets.len()];
    while rounds < LEAST_ROUNDS || started.elapsed() < time {
        for (packet, best) in packets.iter().zip(&mut best) {
            let began = Instant::now();
            ask(packet);
            *best = began.elapsed().min(*best);
        }
        rounds += 1;
    }
    let sum: f64 = best.iter().map(Duration::as_secs_f64).sum();
    sum * 1e9 / packets.len().max(1) as f64
}
