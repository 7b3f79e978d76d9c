//! Ranges of a mapped classic pcap, which workers take and walk by themselves.
//!
//! ```text
//! range 0          range 1          range 2          range 3
//! ├─rec─┬─rec──┬─rec─┼───┬─rec─┬──────rec──────┼──────────┬─rec─┬─
//! known             └──┤ guessed             none         └ guessed
//!                      └ where range 0 ended: confirmed
//! ```
//!
//! A range holds the records that *begin* in it. Where the first of them begins is only known when the range before has been walked,
//! so it is guessed: from a chain of headers that could be ones. It is confirmed when the range before ends just there. Once
//! a guess is wrong, nothing that was found in ranges counts, and the capture is read in order. So what a capture's
//! bytes pretend costs time, and changes nothing.
//!
//! A worker takes [`ABREAST`] ranges at once and walks them in turn, a frame of each: what one walk waits for in memory, the others wait
//! for at the same time.

mod guess;

use super::chunk::Frame;
use super::interfaces::InterfaceIndex;
use super::pcap::{Layout, PcapFrames, step_all};
use crate::link::LinkType;
use guess::Guess;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Bytes of a range.
pub(crate) const RANGE_LEN: usize = 1 << 20;

/// Ranges that a worker walks at the same time.
pub(crate) const ABREAST: usize = 4;

/// Bits of a provisional frame number that count within the range; those above are the range's number.
const COUNT_BITS: u32 = 32;

/// What is left of a capture, in ranges.
pub(crate) struct Ranges<'c> {
    bytes: &'c [u8],
    layout: Layout,
    /// Where range 0 begins, with a record.
    start: usize,
    range_len: usize,
    first_frame: u64,
    guess: Guess<'c>,
    /// The next range that nobody has taken.
    next: AtomicUsize,
    is_wrong: AtomicBool,
    chain: Mutex<Chain>,
}

/// Ranges that were walked, as far as they connect.
struct Chain {
    /// Where a record begins, as all ranges before `next` say.
    at: usize,
    next: usize,
    /// How many frames all ranges before have, for each range.
    bases: Vec<u64>,
    frames: u64,
    /// Walked, but not yet connected.
    waiting: BTreeMap<usize, Walked>,
}

/// What was found in a range.
#[derive(Clone, Copy)]
struct Walked {
    /// Where its first whole record begins, if one does.
    first: Option<usize>,
    /// Where its last record ends, or what is none begins.
    end: usize,
    frames: u64,
}

/// Ranges that were confirmed.
pub(crate) struct Confirmed {
    at: usize,
    frames: u64,
    first_frame: u64,
    bases: Vec<u64>,
}

impl<'c> Ranges<'c> {
    /// Of all records in `bytes` from `start` on, where one begins.
    pub(super) fn new(
        bytes: &'c [u8],
        start: usize,
        layout: Layout,
        first_frame: u64,
        range_len: usize,
    ) -> Self {
        Self {
            first_frame,
            bytes,
            layout,
            start,
            range_len,
            guess: Guess::new(bytes, start, layout),
            next: AtomicUsize::new(0),
            is_wrong: AtomicBool::new(false),
            chain: Mutex::new(Chain {
                at: start,
                next: 0,
                bases: Vec::new(),
                frames: 0,
                waiting: BTreeMap::new(),
            }),
        }
    }

    /// Whether the records' numbers are in the other byte order: [`Self::take`]'s parameter.
    pub(crate) fn is_swapped(&self) -> bool {
        self.layout.is_swapped()
    }

    fn range(&self, index: usize) -> Range<usize> {
        let start = index.saturating_mul(self.range_len);
        let start = start.saturating_add(self.start).min(self.bytes.len());
        start..start.saturating_add(self.range_len).min(self.bytes.len())
    }

    /// The next ranges that nobody has taken; `None` if there are none, or a guess was wrong.
    ///
    /// Give them back to [`Self::give_back`] when all frames were taken.
    pub(crate) fn take<const SWAPPED: bool>(&self) -> Option<Abreast<'c, SWAPPED>> {
        if self.is_wrong.load(Ordering::Relaxed) {
            return None;
        }
        let index = self.next.fetch_add(ABREAST, Ordering::Relaxed);
        if self.range(index).is_empty() {
            return None;
        }
        let mut firsts = [None; ABREAST];
        for (offset, first) in firsts.iter_mut().enumerate() {
            let range = self.range(index + offset);
            match self.guess.first::<SWAPPED>(&range) {
                Ok(found) => *first = found,
                Err(guess::TooHard) => {
                    self.is_wrong.store(true, Ordering::Relaxed);
                    return None;
                }
            }
        }
        let walks = std::array::from_fn(|offset| {
            let index = index + offset;
            let end = self.range(index).end;
            let range = firsts[offset].unwrap_or(end)..end;
            let number = (index as u64) << COUNT_BITS;
            PcapFrames::new(self.bytes, range, self.layout, number)
        });
        Some(Abreast {
            walks,
            live: ABREAST,
            turn: 0,
            index,
            firsts,
        })
    }

    /// Notes what was found in ranges whose frames have all been taken.
    pub(crate) fn give_back<const SWAPPED: bool>(&self, walked: &Abreast<'_, SWAPPED>) {
        let mut chain = self
            .chain
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        for walk in &walked.walks {
            let index = (walk.number() >> COUNT_BITS) as usize;
            let found = Walked {
                first: walked.firsts[index - walked.index],
                end: walk.at(),
                frames: walk.number() & ((1 << COUNT_BITS) - 1),
            };
            chain.waiting.insert(index, found);
        }
        if !self.connect::<SWAPPED>(&mut chain) {
            self.is_wrong.store(true, Ordering::Relaxed);
        }
    }

    /// Connects what can be; `false` if something does not fit.
    fn connect<const SWAPPED: bool>(&self, chain: &mut Chain) -> bool {
        while let Some(walked) = chain.waiting.remove(&chain.next) {
            let rest = chain.at..self.range(chain.next).end;
            // Where the capture is cut or damaged, no record begins, as far as guesses and walks go.
            let begins = || PcapFrames::<SWAPPED>::new(self.bytes, rest, self.layout, 0).next();
            let fits = match walked.first {
                Some(first) => first == chain.at,
                None => begins().is_none(),
            };
            if !fits {
                return false;
            }
            chain.bases.push(chain.frames);
            chain.frames += walked.frames;
            chain.next += 1;
            if walked.first.is_some() {
                chain.at = walked.end;
            }
        }
        true
    }

    /// What all of the ranges came to; `None` if a guess was wrong.
    pub(crate) fn confirmed(self) -> Option<Confirmed> {
        let chain = self.chain.into_inner().ok()?;
        let is_whole = !self.is_wrong.into_inner() && chain.waiting.is_empty();
        is_whole.then_some(Confirmed {
            at: chain.at,
            frames: chain.frames,
            first_frame: self.first_frame,
            bases: chain.bases,
        })
    }
}

impl Confirmed {
    /// Where the last record ends.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// How many frames there are.
    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    /// The number of a frame whose provisional number is `provisional`.
    pub(crate) fn number(&self, provisional: u64) -> u64 {
        let range = (provisional >> COUNT_BITS) as usize;
        let base = self.bases.get(range).copied().unwrap_or_default();
        self.first_frame + base + (provisional & ((1 << COUNT_BITS) - 1))
    }
}

/// The frames of some ranges, in turn. Their numbers are provisional, but in the order of the frames: see [`Confirmed::number`].
pub(crate) struct Abreast<'c, const SWAPPED: bool> {
    /// Those that have ended are the last.
    walks: [PcapFrames<'c, SWAPPED>; ABREAST],
    live: usize,
    turn: usize,
    /// The first range.
    index: usize,
    /// Where the first record of each begins.
    firsts: [Option<usize>; ABREAST],
}

impl<'c, const SWAPPED: bool> Iterator for Abreast<'c, SWAPPED> {
    type Item = Frame<'c>;

    #[inline(always)]
    fn next(&mut self) -> Option<Frame<'c>> {
        loop {
            let turn = self.turn % ABREAST;
            if let Some(frame) = self.walks[turn].next() {
                let next = turn + 1;
                self.turn = if next >= self.live { 0 } else { next };
                return Some(frame);
            }
            self.drop_out()?;
        }
    }
}

impl<'c, const SWAPPED: bool> Abreast<'c, SWAPPED> {
    /// What all frames begin with.
    pub(crate) fn link(&self) -> LinkType {
        self.walks[0].layout().link()
    }

    /// Where all frames were captured.
    pub(crate) fn interface(&self) -> InterfaceIndex {
        PcapFrames::<SWAPPED>::INTERFACE
    }

    /// Takes what was captured of the next frames of all walks and how long they were, so many from each, if it has as many.
    #[inline(always)]
    pub(crate) fn rounds(&mut self, rounds: usize, take: impl FnMut(&'c [u8], u32)) {
        let layout = self.walks[0].layout();
        match layout.as_usual() {
            Some(usual) => step_all(&mut self.walks, usual, rounds, take),
            None => step_all(&mut self.walks, layout, rounds, take),
        }
    }

    /// The walk whose turn it is has ended; `None`: and was the last.
    #[cold]
    fn drop_out(&mut self) -> Option<()> {
        self.live = self.live.saturating_sub(1);
        self.walks.swap(self.turn, self.live);
        if self.turn >= self.live {
            self.turn = 0;
        }
        (self.live > 0).then_some(())
    }
}
