//! One worker: takes frames, gives each its verdict, counts it, and remembers what is to be checked.

mod flat;

use crate::capture::{Chunk, Frame, InterfaceIndex, Interfaces};
use crate::check::{Check, Pending};
use crate::counts::{Counts, FamilyCounts};
use crate::draw;
use crate::extract::{Ordinary, extract, ordinary};
use crate::link::LinkType;
use crate::replay::{HookChoice, Settings};
use crate::rules::{FamilyRules, Rules};
use crate::skip::SkipReason;
use crate::verdicts::{self, ChunkVerdicts, OwnedVerdict};
use flat::{BATCH, Flat, Waiting};
use kpclass_compiler::Context;
use kpclass_compiler::header::{Header, known};
use kpclass_compiler::program::lookup::{Address, Lookups, Tuple};
use kpclass_ruleset::Hook;
use kpclass_ruleset::decision::{Decision, Fact, Unknown};
use kpclass_ruleset::value::{CtState, Family, Interface};

/// A worker on one capture.
pub(crate) struct Worker<'r, 'a> {
    scene: Scene<'r, 'a>,
    counts: Counts,
    pending: Pending,
    wants_verdicts: bool,
    v4: Option<Flat<'r, u32>>,
    v6: Option<Flat<'r, u128>>,
}

/// What a packet meets.
#[derive(Clone, Copy)]
struct Scene<'r, 'a> {
    rules: &'r Rules<'a>,
    settings: &'r Settings,
    capture: u32,
    interfaces: &'r Interfaces,
}

/// The packets that wait for their verdicts.
struct Batches<'f> {
    v4: Vec<Waiting<'f, u32>>,
    v6: Vec<Waiting<'f, u128>>,
}

impl<'r, 'a> Worker<'r, 'a> {
    pub(crate) fn new(
        rules: &'r Rules<'a>,
        settings: &'r Settings,
        capture: u32,
        interfaces: &'r Interfaces,
        wants_verdicts: bool,
    ) -> Self {
        let program = |family| rules.of(family).map(|of| &of.program);
        let v4 = program(Family::V4).and_then(|program| match program.lookups() {
            Lookups::V4(lookup) => Some(Flat::new(program, lookup, settings.seed)),
            _ => None,
        });
        let v6 = program(Family::V6).and_then(|program| match program.lookups() {
            Lookups::V6(lookup) => Some(Flat::new(program, lookup, settings.seed)),
            _ => None,
        });
        Self {
            scene: Scene {
                rules,
                settings,
                capture,
                interfaces,
            },
            counts: Counts::new(rules),
            pending: Pending::new(settings.check),
            wants_verdicts,
            v4,
            v6,
        }
    }

    pub(crate) fn finish(mut self) -> (Counts, Pending) {
        if let Some(flat) = self.v4 {
            flat.finish(self.counts.family_mut(Family::V4));
        }
        if let Some(flat) = self.v6 {
            flat.finish(self.counts.family_mut(Family::V6));
        }
        (self.counts, self.pending)
    }

    /// All frames of a chunk; their verdicts if they are wanted.
    pub(crate) fn chunk(&mut self, chunk: &Chunk) -> Option<ChunkVerdicts> {
        self.count_all(chunk.frames());
        let verdict = |frame| self.scene.verdict(&frame);
        self.wants_verdicts.then(|| ChunkVerdicts {
            index: chunk.index(),
            frames: chunk.frames().map(verdict).collect(),
        })
    }

    /// Counts frames, and remembers what is to be checked.
    pub(crate) fn count_all<'f>(&mut self, frames: impl Iterator<Item = Frame<'f>>) {
        let mut batches = Batches {
            v4: Vec::with_capacity(BATCH),
            v6: Vec::with_capacity(BATCH),
        };
        if self.scene.settings.check == Check::Off {
            frames.for_each(|frame| self.take(frame, &mut batches));
        } else {
            frames.for_each(|frame| self.take_and_remember(frame, &mut batches));
        }
        self.settle_v4(&mut batches.v4);
        self.settle_v6(&mut batches.v6);
    }

    #[inline(always)]
    fn take<'f>(&mut self, frame: Frame<'f>, batches: &mut Batches<'f>) {
        self.counts.frames += 1;
        self.counts.bytes += u64::from(frame.original_len);
        let found = if frame.link == LinkType::ETHERNET {
            ordinary(frame.captured)
        } else {
            None
        };
        match found {
            Some(Ordinary::V4(tuple)) => self.wait_v4(tuple, frame, batches),
            Some(Ordinary::V6(tuple)) => self.wait_v6(tuple, frame, batches),
            None => self.take_any(frame, batches),
        }
    }

    #[inline(never)]
    fn take_any<'f>(&mut self, frame: Frame<'f>, batches: &mut Batches<'f>) {
        match self.scene.packet(&frame) {
            Ok((_, header, _)) => self.wait(&header, frame, batches),
            Err(reason) => self.counts.skipped[reason.index()] += 1,
        }
    }

    fn take_and_remember<'f>(&mut self, frame: Frame<'f>, batches: &mut Batches<'f>) {
        self.counts.frames += 1;
        self.counts.bytes += u64::from(frame.original_len);
        match self.scene.packet(&frame) {
            Ok((of, header, context)) => {
                let capture = self.scene.capture;
                self.pending
                    .remember(capture, &frame, &of.program, &header, &context);
                self.wait(&header, frame, batches);
            }
            Err(reason) => self.counts.skipped[reason.index()] += 1,
        }
    }

    /// Has a packet wait, if it comes the flat way; else counts it.
    fn wait<'f>(&mut self, header: &Header, frame: Frame<'f>, batches: &mut Batches<'f>) {
        if header.known & known::V6 == 0 {
            match Tuple::of(header) {
                Some(tuple) => self.wait_v4(tuple, frame, batches),
                None => self.scene.slow(self.counts.family_mut(Family::V4), &frame),
            }
        } else {
            match Tuple::of(header) {
                Some(tuple) => self.wait_v6(tuple, frame, batches),
                None => self.scene.slow(self.counts.family_mut(Family::V6), &frame),
            }
        }
    }

    #[inline(always)]
    fn wait_v4<'f>(&mut self, tuple: Tuple<u32>, frame: Frame<'f>, batches: &mut Batches<'f>) {
        match self.scene.waiting(self.v4.as_ref(), tuple, frame) {
            Ok(waiting) => {
                batches.v4.push(waiting);
                if batches.v4.len() == BATCH {
                    self.settle_v4(&mut batches.v4);
                }
            }
            Err(reason) => self.set_aside(reason, Family::V4, &frame),
        }
    }

    #[inline(always)]
    fn wait_v6<'f>(&mut self, tuple: Tuple<u128>, frame: Frame<'f>, batches: &mut Batches<'f>) {
        match self.scene.waiting(self.v6.as_ref(), tuple, frame) {
            Ok(waiting) => {
                batches.v6.push(waiting);
                if batches.v6.len() == BATCH {
                    self.settle_v6(&mut batches.v6);
                }
            }
            Err(reason) => self.set_aside(reason, Family::V6, &frame),
        }
    }

    #[cold]
    fn set_aside(&mut self, why: Aside, family: Family, frame: &Frame<'_>) {
        match why {
            Aside::NoRules => {
                self.counts.skipped[SkipReason::NoRules(family).index()] += 1;
            }
            Aside::Slow => self.scene.slow(self.counts.family_mut(family), frame),
        }
    }

    #[inline(never)]
    fn settle_v4<'f>(&mut self, batch: &mut Vec<Waiting<'f, u32>>) {
        let scene = &self.scene;
        if let Some(flat) = &mut self.v4 {
            let counts = self.counts.family_mut(Family::V4);
            flat.settle(
                batch,
                counts,
                |frame, sent| scene.context(frame, sent),
                |counts, frame| scene.slow(counts, frame),
            );
        }
    }

    #[inline(never)]
    fn settle_v6<'f>(&mut self, batch: &mut Vec<Waiting<'f, u128>>) {
        let scene = &self.scene;
        if let Some(flat) = &mut self.v6 {
            let counts = self.counts.family_mut(Family::V6);
            flat.settle(
                batch,
                counts,
                |frame, sent| scene.context(frame, sent),
                |counts, frame| scene.slow(counts, frame),
            );
        }
    }
}

/// Why a packet does not wait.
enum Aside {
    /// The dump has no rules for its family.
    NoRules,
    /// The nodes tell.
    Slow,
}

impl<'r, 'a> Scene<'r, 'a> {
    #[inline(always)]
    fn waiting<'f, A: Address>(
        &self,
        flat: Option<&Flat<'r, A>>,
        tuple: Tuple<A>,
        frame: Frame<'f>,
    ) -> Result<Waiting<'f, A>, Aside> {
        let flat = flat.ok_or(Aside::NoRules)?;
        let is_local = flat.is_local(tuple.source);
        let is_sent = match self.settings.hook {
            HookChoice::Auto => is_local,
            HookChoice::Prerouting => false,
            HookChoice::Output => true,
        };
        // What is not so common that it is worth a way of its own.
        let is_odd = !tuple.source.is_ordinary_source()
            || !is_sent && (is_local || self.device(frame.interface) == Some(Interface::lo()));
        if is_odd {
            return Err(Aside::Slow);
        }
        Ok(flat.waiting(tuple, frame, is_sent))
    }

    fn verdict(&self, frame: &Frame<'_>) -> OwnedVerdict {
        let packet = self.packet(frame).map(|(of, header, context)| {
            let decision = self.decision(of, &header, &context);
            let class = of.program.class(&header);
            (of.program.family(), header, context.hook, class, decision)
        });
        OwnedVerdict {
            capture: self.capture,
            frame: frame.number,
            timestamp_ns: frame.timestamp_ns,
            packet,
        }
    }

    /// The decision in full.
    fn decision(&self, of: &FamilyRules<'_>, header: &Header, context: &Context) -> Decision {
        let drawn = draw::number(header, self.settings.seed);
        let decided = of.program.decide(header, context, drawn);
        // Only a program that was compiled for other packets than a replay's does not decide.
        let missing = Unknown {
            rule: None,
            fact: Fact::Conntrack,
        };
        decided.unwrap_or_else(|| Decision::unknown(missing))
    }

    /// The packet of a frame and what is known beside its header.
    fn packet(
        &self,
        frame: &Frame<'_>,
    ) -> Result<(&'r FamilyRules<'a>, Header, Context), SkipReason> {
        let header =
            extract(frame.link, frame.captured, frame.original_len).map_err(SkipReason::Frame)?;
        if header.known & known::FRAGMENT != 0 {
            return Err(SkipReason::LaterFragment);
        }
        let family = if header.known & known::V6 == 0 {
            Family::V4
        } else {
            Family::V6
        };
        let of = self.rules.of(family).ok_or(SkipReason::NoRules(family))?;
        let hook = verdicts::hook(self.settings.hook, || of.program.is_local(header.source));
        let context = self.context(frame, hook == Hook::Output);
        Ok((of, header, context))
    }

    fn context(&self, frame: &Frame<'_>, is_sent: bool) -> Context {
        let (hook, in_interface) = if is_sent {
            (Hook::Output, None)
        } else {
            (Hook::Prerouting, self.device(frame.interface))
        };
        Context {
            hook,
            in_interface,
            mark: self.settings.mark,
            ctstate: CtState::New,
        }
    }

    /// The device that an interface of the capture is: `--in-interface` if given, else its name.
    #[inline(always)]
    fn device(&self, index: InterfaceIndex) -> Option<Interface> {
        self.settings
            .in_interface
            .or_else(|| self.interfaces.name(index))
    }

    /// Counts a packet that the nodes, or the rules, tell of.
    #[cold]
    fn slow(&self, counts: &mut FamilyCounts, frame: &Frame<'_>) {
        let Ok((of, header, context)) = self.packet(frame) else {
            return;
        };
        let class = of.program.class(&header);
        let drawn = draw::number(&header, self.settings.seed);
        match of.program.outcome_by_nodes(&header, &context, drawn) {
            Some(outcome) => counts.outcome(class, &outcome, frame.original_len),
            None => {
                let decision = self.decision(of, &header, &context);
                counts.decision(class, &decision, frame.original_len);
            }
        }
    }
}
