//! One verdict a frame, in the order of the frames, whatever the order in which workers find them.

use crate::replay::HookChoice;
use crate::skip::SkipReason;
use crossbeam::channel::Receiver;
use kpclass_compiler::ClassId;
use kpclass_compiler::header::Header;
use kpclass_ruleset::Hook;
use kpclass_ruleset::decision::Decision;
use kpclass_ruleset::value::Family;
use std::collections::BTreeMap;

/// What became of a frame.
#[derive(Clone, Debug)]
pub struct FrameVerdict<'d> {
    /// Which capture, in the order given.
    pub capture: u32,
    /// The frame's number, from 1.
    pub frame: u64,
    /// Nanoseconds since 1970.
    pub timestamp_ns: u64,
    /// Its packet and what netfilter does with it, or why it has no verdict.
    pub packet: Result<PacketVerdict<'d>, SkipReason>,
}

/// A packet's verdict.
#[derive(Clone, Debug)]
pub struct PacketVerdict<'d> {
    /// Its family.
    pub family: Family,
    /// Its fields.
    pub header: Header,
    /// Where it started.
    pub hook: Hook,
    /// The class of its key.
    pub class: ClassId,
    /// What netfilter does with it.
    pub decision: &'d Decision,
}

/// The verdicts of one chunk.
pub(crate) struct ChunkVerdicts {
    pub(crate) index: u64,
    pub(crate) frames: Vec<OwnedVerdict>,
}

pub(crate) struct OwnedVerdict {
    pub(crate) capture: u32,
    pub(crate) frame: u64,
    pub(crate) timestamp_ns: u64,
    pub(crate) packet: Result<(Family, Header, Hook, ClassId, Decision), SkipReason>,
}

/// Puts chunks back in order and writes them.
pub(crate) struct Ordered<'w, 'l> {
    write: &'w mut (dyn FnMut(FrameVerdict<'_>) + Send + 'l),
    waiting: BTreeMap<u64, ChunkVerdicts>,
    next: u64,
}

impl<'w, 'l> Ordered<'w, 'l> {
    pub(crate) fn new(write: &'w mut (dyn FnMut(FrameVerdict<'_>) + Send + 'l)) -> Self {
        Self {
            write,
            waiting: BTreeMap::new(),
            next: 0,
        }
    }

    /// Takes chunks until there are no more. Few wait: workers take chunks in order, so none is more than a queue ahead.
    pub(crate) fn drain(mut self, chunks: &Receiver<ChunkVerdicts>) {
        for chunk in chunks {
            self.waiting.insert(chunk.index, chunk);
            while let Some(chunk) = self.waiting.remove(&self.next) {
                self.next += 1;
                chunk
                    .frames
                    .iter()
                    .for_each(|frame| (self.write)(frame.borrow()));
            }
        }
        let rest = std::mem::take(&mut self.waiting);
        rest.values()
            .flat_map(|c| &c.frames)
            .for_each(|frame| (self.write)(frame.borrow()));
    }
}

impl OwnedVerdict {
    fn borrow(&self) -> FrameVerdict<'_> {
        FrameVerdict {
            capture: self.capture,
            frame: self.frame,
            timestamp_ns: self.timestamp_ns,
            packet: match &self.packet {
                Ok((family, header, hook, class, decision)) => Ok(PacketVerdict {
                    family: *family,
                    header: *header,
                    hook: *hook,
                    class: *class,
                    decision,
                }),
                Err(reason) => Err(*reason),
            },
        }
    }
}

/// The hook of a packet from `source_is_local`.
pub(crate) fn hook(choice: HookChoice, source_is_local: impl FnOnce() -> bool) -> Hook {
    match choice {
        HookChoice::Prerouting => Hook::Prerouting,
        HookChoice::Output => Hook::Output,
        HookChoice::Auto if source_is_local() => Hook::Output,
        HookChoice::Auto => Hook::Prerouting,
    }
}
