//! One worker: takes chunks, gives each frame its verdict, counts it, and remembers what is to be checked.

use crate::capture::{Chunk, Frame, Interfaces};
use crate::check::{Check, Pending};
use crate::counts::Counts;
use crate::draw;
use crate::extract::extract;
use crate::replay::Settings;
use crate::rules::{FamilyRules, Rules};
use crate::skip::SkipReason;
use crate::verdicts::{self, ChunkVerdicts, OwnedVerdict};
use kpclass_compiler::header::{Header, known};
use kpclass_compiler::program::{Cursor, Step};
use kpclass_compiler::{ClassId, Context};
use kpclass_ruleset::Hook;
use kpclass_ruleset::decision::{Decision, Fact, Unknown};
use kpclass_ruleset::value::{CtState, Family, Interface};

/// A worker on one capture.
pub(crate) struct Worker<'r, 'a> {
    rules: &'r Rules<'a>,
    settings: &'r Settings,
    capture: u32,
    interfaces: &'r Interfaces,
    counts: Counts,
    pending: Pending,
    wants_verdicts: bool,
    /// Whether packets step in turn: worth it where the program does not fit into the cache.
    interleaves: bool,
    /// The last interface asked for, with its name.
    device: (u32, Option<Interface>),
}

impl<'r, 'a> Worker<'r, 'a> {
    pub(crate) fn new(
        rules: &'r Rules<'a>,
        settings: &'r Settings,
        capture: u32,
        interfaces: &'r Interfaces,
        wants_verdicts: bool,
    ) -> Self {
        Self {
            rules,
            settings,
            capture,
            interfaces,
            counts: Counts::new(rules),
            pending: Pending::new(settings.check),
            wants_verdicts,
            interleaves: rules.families().any(|(_, of)| of.program.bytes() > CACHE),
            device: (u32::MAX, settings.in_interface),
        }
    }

    pub(crate) fn finish(self) -> (Counts, Pending) {
        (self.counts, self.pending)
    }

    /// All frames of a chunk; their verdicts if they are wanted.
    pub(crate) fn chunk(&mut self, chunk: &Chunk) -> Option<ChunkVerdicts> {
        if !self.wants_verdicts {
            self.count_all(chunk);
            return None;
        }
        let frames = chunk.frames().map(|frame| self.verdict(&frame)).collect();
        Some(ChunkVerdicts {
            index: chunk.index(),
            frames,
        })
    }

    fn verdict(&mut self, frame: &Frame<'_>) -> OwnedVerdict {
        self.count(frame);
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

    /// Batches: what one packet waits for in memory, others of its batch wait for at the same time.
    fn count_all(&mut self, chunk: &Chunk) {
        let mut batch = Vec::with_capacity(BATCH);
        chunk.frames().for_each(|frame| {
            self.take(&frame, &mut batch);
            if batch.len() == BATCH {
                self.settle(&mut batch);
            }
        });
        self.settle(&mut batch);
    }

    fn count(&mut self, frame: &Frame<'_>) {
        let mut batch = Vec::with_capacity(1);
        self.take(frame, &mut batch);
        self.settle(&mut batch);
    }

    /// Counts a frame, and puts its packet into the batch.
    #[inline]
    fn take<'f>(&mut self, frame: &Frame<'f>, batch: &mut Vec<Waiting<'f, 'r, 'a>>) {
        self.counts.frames += 1;
        self.counts.bytes += u64::from(frame.original_len);
        match self.packet(frame) {
            Ok((of, header, context)) => {
                let class = of.program.class(&header);
                batch.push(Waiting {
                    draw: draw::number(&header, self.settings.seed),
                    cursor: None,
                    frame: *frame,
                    of,
                    header,
                    context,
                    class,
                });
            }
            Err(reason) => self.counts.skipped[reason.index()] += 1,
        }
    }

    /// The packet of a frame and what is known beside its header. Inlined: as a call it costs a copy of all of that.
    #[inline(always)]
    fn packet(
        &mut self,
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
        let rules = self.rules;
        let of = rules.of(family).ok_or(SkipReason::NoRules(family))?;
        let context = self.context(frame, of, &header);
        Ok((of, header, context))
    }

    #[inline]
    fn context(&mut self, frame: &Frame<'_>, of: &FamilyRules<'_>, header: &Header) -> Context {
        let hook = verdicts::hook(self.settings.hook, || of.program.is_local(header.source));
        let arrives = hook == Hook::Prerouting;
        Context {
            hook,
            in_interface: if arrives {
                self.device(frame.interface.0)
            } else {
                None
            },
            mark: self.settings.mark,
            ctstate: CtState::New,
        }
    }

    /// The device that an interface of the capture is: `--in-interface` if given, else its name.
    #[inline]
    fn device(&mut self, index: u32) -> Option<Interface> {
        if self.settings.in_interface.is_some() {
            return self.settings.in_interface;
        }
        if self.device.0 != index {
            let name = self.interfaces.name(crate::capture::InterfaceIndex(index));
            self.device = (index, name);
        }
        self.device.1
    }

    /// Gives the packets of a batch their verdicts: all find their class, then all step from node to node in turn.
    fn settle(&mut self, batch: &mut Vec<Waiting<'_, 'r, 'a>>) {
        for waiting in batch.iter_mut() {
            let Context { hook, ctstate, .. } = waiting.context;
            let program = &waiting.of.program;
            let root = program.root_index(hook, ctstate);
            waiting.cursor = root.map(|root| program.cursor(waiting.class, root));
        }
        if self.interleaves {
            self.step_in_turn(batch);
        } else {
            batch
                .iter_mut()
                .for_each(|waiting| while !self.stepped(waiting) {});
        }
        if self.settings.check != Check::Off {
            for Waiting {
                frame,
                of,
                header,
                context,
                ..
            } in batch.iter()
            {
                self.pending
                    .remember(self.capture, frame, &of.program, header, context);
            }
        }
        batch.clear();
    }

    /// One node for each packet, then the next for each that is still on its way.
    fn step_in_turn(&mut self, batch: &mut [Waiting<'_, 'r, 'a>]) {
        let mut on_the_way: Vec<usize> = (0..batch.len()).collect();
        while !on_the_way.is_empty() {
            on_the_way.retain(|at| !self.stepped(&mut batch[*at]));
        }
    }

    /// Takes a packet one node on; whether it arrived, and was counted.
    #[inline]
    fn stepped(&mut self, waiting: &mut Waiting<'_, 'r, 'a>) -> bool {
        match self.step(waiting) {
            Some(Step::On) => return false,
            Some(Step::Done(outcome)) => {
                let counts = self.counts.family_mut(waiting.of.program.family());
                counts.outcome(waiting.class, &outcome, waiting.frame.original_len);
            }
            Some(Step::LongWay) | None => self.decided(waiting),
        }
        true
    }

    #[cold]
    fn decided(&mut self, waiting: &Waiting<'_, 'r, 'a>) {
        let decision = self.decision(waiting.of, &waiting.header, &waiting.context);
        let counts = self.counts.family_mut(waiting.of.program.family());
        counts.decision(waiting.class, &decision, waiting.frame.original_len);
    }

    #[inline]
    fn step(&self, waiting: &mut Waiting<'_, 'r, 'a>) -> Option<Step> {
        let program = &waiting.of.program;
        let cursor = waiting.cursor.as_mut()?;
        Some(program.step(cursor, &waiting.header, &waiting.context, waiting.draw))
    }
}

/// Programs up to this size are in a core's own cache soon, and then nothing is waited for.
const CACHE: usize = 1 << 20;

/// Packets of a batch.
const BATCH: usize = 64;

/// A packet in a batch.
struct Waiting<'f, 'r, 'a> {
    frame: Frame<'f>,
    of: &'r FamilyRules<'a>,
    header: Header,
    context: Context,
    class: ClassId,
    /// The number drawn.
    draw: u64,
    /// Where it stands in the program.
    cursor: Option<Cursor>,
}
