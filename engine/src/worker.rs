//! One worker: takes frames, gives each its verdict, counts it, and remembers what is to be checked.

mod batch;
mod block;
mod flat;

use crate::capture::{ABREAST, Abreast, Chunk, Frame, Frames, InterfaceIndex, Interfaces};
use crate::check::{Check, Pending};
use crate::counts::{Counts, FamilyCounts};
use crate::draw;
use crate::extract::{extract, ordinary};
use crate::link::LinkType;
use crate::replay::{HookChoice, Settings};
use crate::rules::{FamilyRules, Rules};
use crate::skip::SkipReason;
use crate::verdicts::{self, ChunkVerdicts, OwnedVerdict};
use block::{BLOCK, Block, Origin, Positions};
use flat::Flat;
use kpclass_compiler::Context;
use kpclass_compiler::header::{Header, known};
use kpclass_compiler::program::lookup::{Address, Lookups, Tuple};
use kpclass_ruleset::Hook;
use kpclass_ruleset::decision::{Decision, Fact, Unknown};
use kpclass_ruleset::value::{CtState, Family, Interface};
use std::cell::Cell;

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
struct Scene<'r, 'a> {
    rules: &'r Rules<'a>,
    settings: &'r Settings,
    capture: u32,
    interfaces: &'r Interfaces,
    senders: Senders,
    /// The last interface asked for, and whether it is `lo`.
    is_lo: Cell<(InterfaceIndex, bool)>,
}

/// Which packets this node sends.
#[derive(Clone, Copy, Debug)]
struct Senders {
    /// By whether the source is this node's.
    is_sent: [bool; 2],
    /// Whether a packet is so odd that it is not worth a way of its own; by whether it came by `lo`, then as above.
    is_odd: [[bool; 2]; 2],
}

impl Senders {
    fn new(hook: HookChoice) -> Self {
        let is_sent = match hook {
            HookChoice::Auto => [false, true],
            HookChoice::Prerouting => [false; 2],
            HookChoice::Output => [true; 2],
        };
        let [elsewhere, here] = is_sent;
        Self {
            is_sent,
            is_odd: [[false, !here], [!elsewhere, !here]],
        }
    }

    /// Whether this node sends a packet; `None`: it is an odd one.
    #[inline(always)]
    fn is_sent<A: Address>(&self, source: A, is_local: bool, is_lo: bool) -> Option<bool> {
        let is_odd = self.is_odd[usize::from(is_lo)][usize::from(is_local)];
        let is_sent = self.is_sent[usize::from(is_local)];
        (!is_odd & source.is_ordinary()).then_some(is_sent)
    }
}

/// What of a frame its verdict depends on.
#[derive(Clone, Copy, Debug)]
struct Seen<'f> {
    captured: &'f [u8],
    original_len: u32,
    origin: Origin,
}

impl<'f> From<Frame<'f>> for Seen<'f> {
    #[inline(always)]
    fn from(frame: Frame<'f>) -> Self {
        Self {
            captured: frame.captured,
            original_len: frame.original_len,
            origin: Origin {
                link: frame.link,
                interface: frame.interface,
            },
        }
    }
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
                senders: Senders::new(settings.hook),
                is_lo: Cell::new((InterfaceIndex(u32::MAX), false)),
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
        self.count_run(&mut chunk.frames());
        let verdict = |frame| self.scene.verdict(&frame);
        self.wants_verdicts.then(|| ChunkVerdicts {
            index: chunk.index(),
            frames: chunk.frames().map(verdict).collect(),
        })
    }

    /// Counts frames by the loop of their format.
    pub(crate) fn count_run(&mut self, frames: &mut Frames<'_>) {
        match frames {
            Frames::Pcap(frames) => self.count_all::<true>(frames),
            Frames::Swapped(frames) => self.count_all::<true>(frames),
            Frames::Pcapng(frames) => self.count_all::<false>(frames),
        }
    }

    /// Counts the frames of ranges, and remembers what is to be checked.
    pub(crate) fn count_ranges<const SWAPPED: bool>(&mut self, frames: &mut Abreast<'_, SWAPPED>) {
        if self.scene.settings.check != Check::Off {
            return self.count_all::<true>(frames);
        }
        let mut block = Block::<true>::new();
        block.set_origin(Origin {
            link: frames.link(),
            interface: frames.interface(),
        });
        loop {
            let take = |captured, original_len| block.put(captured, original_len);
            frames.rounds(BLOCK / ABREAST, take);
            if block.len() == 0 {
                return;
            }
            self.settle(&mut block);
        }
    }

    /// Counts frames, and remembers what is to be checked. `ONE`: all are of one origin.
    fn count_all<'f, const ONE: bool>(&mut self, frames: impl Iterator<Item = Frame<'f>>) {
        let mut block = Block::<ONE>::new();
        if self.scene.settings.check == Check::Off {
            frames.for_each(|frame| self.take(frame, &mut block));
        } else {
            frames.for_each(|frame| {
                self.remember(&frame);
                self.take(frame, &mut block);
            });
        }
        self.settle(&mut block);
    }

    #[inline(always)]
    fn take<'f, const ONE: bool>(&mut self, frame: Frame<'f>, block: &mut Block<'f, ONE>) {
        if !block.push(frame.into()) {
            self.settle(block);
        }
    }

    fn remember(&mut self, frame: &Frame<'_>) {
        if let Ok((of, header, context)) = self.scene.packet(&Seen::from(*frame)) {
            let capture = self.scene.capture;
            self.pending
                .remember(capture, frame, &of.program, &header, &context);
        }
    }

    /// Counts the frames of a block.
    #[inline(never)]
    fn settle<const ONE: bool>(&mut self, block: &mut Block<'_, ONE>) {
        let Self {
            scene,
            counts,
            v4,
            v6,
            ..
        } = self;
        let all = 0..block.len();
        let mut left = match v4 {
            Some(flat) => flat.take(scene, (block, all), ordinary::v4, counts),
            None => Positions::of(all),
        };
        if let Some(flat) = v6
            && !left.is_empty()
        {
            left = flat.take(scene, (block, left.iter()), ordinary::v6, counts);
        }
        for at in left.iter() {
            scene.start_any(v4, v6, &block.frame(at), at, counts);
        }
        counts.frames += block.len() as u64;
        counts.bytes += block.bytes();
        if let Some(flat) = v4 {
            flat.settle(scene, block, counts.family_mut(Family::V4));
        }
        if let Some(flat) = v6 {
            flat.settle(scene, block, counts.family_mut(Family::V6));
        }
        block.set_len(0);
    }
}

impl<'r, 'a> Scene<'r, 'a> {
    /// Has the packet of a frame that is no ordinary one wait for the others, or counts it if it does not come the flat way.
    #[inline(never)]
    fn start_any(
        &self,
        v4: &mut Option<Flat<'r, u32>>,
        v6: &mut Option<Flat<'r, u128>>,
        frame: &Seen<'_>,
        at: usize,
        counts: &mut Counts,
    ) {
        match self.packet(frame) {
            Ok((_, header, _)) if header.family() == Family::V4 => {
                self.start(v4, &header, frame, at, counts);
            }
            Ok((_, header, _)) => self.start(v6, &header, frame, at, counts),
            Err(reason) => counts.skipped[reason.index()] += 1,
        }
    }

    fn start<A: Address>(
        &self,
        flat: &mut Option<Flat<'r, A>>,
        header: &Header,
        frame: &Seen<'_>,
        at: usize,
        counts: &mut Counts,
    ) {
        let is_lo = self.is_lo(frame.origin.interface);
        if let Some(flat) = flat
            && let Some(tuple) = Tuple::of(header)
            && let Some(is_sent) = {
                let is_local = flat.is_local(tuple.source);
                self.senders.is_sent(tuple.source, is_local, is_lo)
            }
        {
            return flat.push(tuple, (at, frame.original_len), is_sent);
        }
        self.slow(counts.family_mut(A::FAMILY), frame);
    }

    /// Whether frames begin with Ethernet, and whether they are known to have come by `lo`.
    #[inline(always)]
    fn arrival(&self, origin: Origin) -> (bool, bool) {
        let is_ethernet = origin.link == LinkType::ETHERNET;
        (is_ethernet, self.is_lo(origin.interface))
    }

    /// Whether what comes by an interface is known to come by `lo`.
    #[inline(always)]
    fn is_lo(&self, interface: InterfaceIndex) -> bool {
        let (asked, is_lo) = self.is_lo.get();
        if asked == interface {
            return is_lo;
        }
        let is_lo = self.device(interface) == Some(Interface::lo());
        self.is_lo.set((interface, is_lo));
        is_lo
    }

    fn verdict(&self, frame: &Frame<'_>) -> OwnedVerdict {
        let packet = self
            .packet(&Seen::from(*frame))
            .map(|(of, header, context)| {
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
        frame: &Seen<'_>,
    ) -> Result<(&'r FamilyRules<'a>, Header, Context), SkipReason> {
        let header = extract(frame.origin.link, frame.captured, frame.original_len)
            .map_err(SkipReason::Frame)?;
        if header.known & known::FRAGMENT != 0 {
            return Err(SkipReason::LaterFragment);
        }
        let family = header.family();
        let of = self.rules.of(family).ok_or(SkipReason::NoRules(family))?;
        let hook = verdicts::hook(self.settings.hook, || of.program.is_local(header.source));
        let context = self.context(frame, hook == Hook::Output);
        Ok((of, header, context))
    }

    fn context(&self, frame: &Seen<'_>, is_sent: bool) -> Context {
        let (hook, in_interface) = if is_sent {
            (Hook::Output, None)
        } else {
            (Hook::Prerouting, self.device(frame.origin.interface))
        };
        Context {
            hook,
            in_interface,
            mark: self.settings.mark,
            ctstate: CtState::New,
            is_joined: false,
        }
    }

    /// The device that an interface of the capture is: `--in-interface` if given, else its name.
    #[inline(always)]
    fn device(&self, index: InterfaceIndex) -> Option<Interface> {
        self.settings
            .in_interface
            .or_else(|| self.interfaces.name(index))
    }

    #[cold]
    fn slow_at<const ONE: bool>(
        &self,
        at: usize,
        block: &Block<'_, ONE>,
        counts: &mut FamilyCounts,
    ) {
        self.slow(counts, &block.frame(at));
    }

    /// Counts a packet that the nodes, or the rules, tell of.
    #[cold]
    fn slow(&self, counts: &mut FamilyCounts, frame: &Seen<'_>) {
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
