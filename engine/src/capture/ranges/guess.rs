//! Where a record of a classic pcap may begin.
//!
//! A record header says little that could not be chance, but a chain of them does: each leads to the next one. A chain must be
//! longer than a usual packet, in which a capture may lie that was sent over the network.

use crate::capture::MAX_RECORD;
use crate::capture::pcap::{Layout, Record};
use std::ops::Range;

/// Headers of a chain, at least.
const LINKS: usize = 8;

/// Bytes that it spans, at least.
const SPAN: usize = 16 << 10;

/// Headers that are followed for one guess. Bytes that hold many long chains, none of which is long enough, were made to.
const PATIENCE: usize = 1 << 16;

/// The longest packet that is taken for likely, if the file's snapshot length says nothing.
const LONG: u32 = 256 << 10;

/// How much later or earlier than the first one a packet may be, in seconds: years.
const AGE: u32 = 1 << 28;

/// How much later or earlier than the one before: an hour. A header read a byte too early or too late has a time, and lengths, 256 times
/// too large, and may lead to a later header all the same.
const GAP: u32 = 1 << 12;

/// What a likely header is like.
pub(super) struct Guess<'c> {
    bytes: &'c [u8],
    layout: Layout,
    start: usize,
    first_seconds: u32,
    longest: u32,
}

/// Too many headers are likely ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct TooHard;

impl<'c> Guess<'c> {
    /// Of records in `bytes`, the first of which begins at `start`.
    pub(super) fn new(bytes: &'c [u8], start: usize, layout: Layout) -> Self {
        let rest = bytes.get(start..).unwrap_or_default();
        let first = if layout.is_swapped() {
            layout.record::<true>(rest)
        } else {
            layout.record::<false>(rest)
        };
        let longest = match layout.snaplen() {
            snaplen if snaplen as usize > MAX_RECORD => LONG,
            snaplen => snaplen.max(LONG),
        };
        Self {
            bytes,
            layout,
            start,
            longest,
            first_seconds: first.map_or(0, |record| record.seconds),
        }
    }

    /// Where the first whole record in `range` begins, if one does.
    ///
    /// # Errors
    /// If it would take too long to tell.
    pub(super) fn first<const SWAPPED: bool>(
        &self,
        range: &Range<usize>,
    ) -> Result<Option<usize>, TooHard> {
        if range.contains(&self.start) {
            return Ok(Some(self.start));
        }
        let mut patience = PATIENCE;
        for at in range.clone() {
            if self.begins_chain::<SWAPPED>(at, &mut patience)? {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// Whether a chain begins at `start` that is long enough, or goes as far as the file does. A single header whose record goes
    /// beyond the file is none: that is what chance finds.
    #[inline]
    fn begins_chain<const SWAPPED: bool>(
        &self,
        start: usize,
        patience: &mut usize,
    ) -> Result<bool, TooHard> {
        let (mut at, mut links, mut before) = (start, 0, None);
        while let Some(rest) = self.bytes.get(at..)
            && let Some(record) = self.layout.record::<SWAPPED>(rest)
        {
            if !self.is_likely(&record, before) {
                return Ok(false);
            }
            before = Some(record.seconds);
            at += record.len;
            links += 1;
            *patience = patience.checked_sub(1).ok_or(TooHard)?;
            if links >= LINKS && at - start >= SPAN {
                return Ok(true);
            }
        }
        Ok(links > 1 || at == self.bytes.len())
    }

    #[inline]
    fn is_likely(&self, record: &Record, before: Option<u32>) -> bool {
        // Not empty: else zeros would be likely where the first packet has no time.
        (1..=self.longest).contains(&record.captured_len)
            && record.captured_len <= record.original_len
            && self.layout.is_within_second(record)
            && record.original_len as usize <= MAX_RECORD
            && record.seconds.abs_diff(self.first_seconds) <= AGE
            && before.is_none_or(|seconds| record.seconds.abs_diff(seconds) <= GAP)
    }
}
