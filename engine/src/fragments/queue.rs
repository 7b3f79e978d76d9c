//! One datagram's fragments (`ip_frag_queue`, `nf_ct_frag6_queue`, `inet_frag_queue_insert`).

use super::Met;
use crate::extract::{Fragment, OfConnection, Skip, joined};
use kpclass_compiler::header::Header;
use kpclass_ruleset::conntrack::Unjoined;
use kpclass_ruleset::value::Family;
use std::time::Duration;

/// The longest IPv4 packet, and payload of an IPv6 packet.
const LONGEST: u32 = 65_535;
const IPV6_LEN: u32 = 40;

/// What a fragment weighs beside its bytes (CONNTRACK.md 9.5).
const PIECE_WEIGHT: usize = 768;

/// Why a fragment is not taken.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It alone is dropped.
    Alone(Unjoined),
    /// All of its datagram is dropped.
    All(Unjoined),
    /// What waits is dropped, and it goes on as it is.
    AsItIs,
}

/// A datagram that is not complete.
#[derive(Debug)]
pub(super) struct Queue {
    /// By it the queues of a family are in the order of their deadlines.
    number: u64,
    deadline: Duration,
    /// Fragments of its source that had come with its last one.
    came: u64,
    /// By where they begin; no two overlap.
    pieces: Vec<Piece>,
    /// Bytes that are there, and bytes that are known to be there once all is.
    there: u32,
    len: u32,
    has_last: bool,
    first: Option<(Header, u32)>,
    /// A bit for each codepoint of ECN that was met.
    ecn: u8,
}

#[derive(Debug)]
struct Piece {
    from: u32,
    to: u32,
    /// It came as the end of the datagram, right behind the piece before it: both are one run.
    goes_on: bool,
    frame: u64,
    frame_len: u32,
    captured: Box<[u8]>,
}

impl Queue {
    pub(super) fn new(number: u64, deadline: Duration) -> Self {
        Self {
            number,
            deadline,
            came: 0,
            pieces: Vec::new(),
            there: 0,
            len: 0,
            has_last: false,
            first: None,
            ecn: 0,
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The frames that brought what waits.
    pub(super) fn frames(&self) -> impl Iterator<Item = u64> {
        self.pieces.iter().map(|piece| piece.frame)
    }

    /// Bytes of those frames.
    pub(super) fn frame_bytes(&self) -> u32 {
        let lens = self.pieces.iter().map(|piece| piece.frame_len);
        lens.fold(0, u32::saturating_add)
    }

    pub(super) fn weight(&self) -> usize {
        self.pieces.len() * PIECE_WEIGHT + self.there as usize
    }

    /// How many fragments of the source had come with the last one, now that so many have.
    pub(super) fn came_before(&mut self, came: u64) -> u64 {
        std::mem::replace(&mut self.came, came)
    }

    pub(super) fn take(&mut self, fragment: &Fragment<'_>, met: &Met) -> Result<(), Refusal> {
        let family = fragment.header.family();
        let (from, to) = (fragment.from, self.end(fragment, family)?);
        if from == to {
            return Err(malformed(family));
        }
        let goes_on = self.place(from, to)?;
        let at = self.pieces.partition_point(|piece| piece.from < from);
        let kept = fragment.captured.len().min((to - from) as usize);
        let piece = Piece {
            from,
            to,
            goes_on,
            frame: met.frame,
            frame_len: met.len,
            captured: fragment.captured[..kept].into(),
        };
        self.pieces.insert(at, piece);
        self.there += to - from;
        self.ecn |= 1 << fragment.ecn;
        if from == 0 {
            self.first = Some((fragment.header, fragment.headers));
        }
        Ok(())
    }

    /// Where a fragment ends, if it may end there.
    fn end(&mut self, fragment: &Fragment<'_>, family: Family) -> Result<u32, Refusal> {
        let mut to = fragment.to;
        if family == Family::V6 && to > LONGEST {
            return Err(malformed(family));
        }
        if !fragment.more {
            if to < self.len || self.has_last && to > self.len {
                return Err(malformed(family));
            }
            (self.len, self.has_last) = (to, true);
            return Ok(to);
        }
        if !to.is_multiple_of(8) {
            match family {
                Family::V4 => to &= !7,
                Family::V6 => return Err(Refusal::AsItIs),
            }
        }
        if to > self.len {
            if self.has_last {
                return Err(malformed(family));
            }
            self.len = to;
        }
        Ok(to)
    }

    /// Whether a piece would go on the last one; an error, where it touches what is there.
    fn place(&self, from: u32, to: u32) -> Result<bool, Refusal> {
        let Some(last) = self.pieces.last() else {
            return Ok(false);
        };
        if from >= last.to {
            return Ok(from == last.to);
        }
        let behind = self.pieces.partition_point(|piece| piece.from < to);
        match behind.checked_sub(1) {
            Some(at) if self.pieces[at].to > from => Err(match self.is_in_run(at, from, to) {
                true => Refusal::Alone(Unjoined::Repeated),
                false => Refusal::All(Unjoined::Overlap),
            }),
            _ => Ok(false),
        }
    }

    /// Whether the run of the piece at a position holds these bytes.
    fn is_in_run(&self, at: usize, from: u32, to: u32) -> bool {
        let (before, behind) = (&self.pieces[..=at], &self.pieces[at + 1..]);
        let begin = before.iter().rev().find(|piece| !piece.goes_on);
        let more = behind.iter().take_while(|piece| piece.goes_on).last();
        let end = more.unwrap_or(&self.pieces[at]).to;
        begin.is_some_and(|begin| begin.from <= from) && to <= end
    }

    pub(super) fn is_complete(&self) -> bool {
        self.has_last && self.first.is_some() && self.there == self.len
    }

    /// The datagram, once it is complete (`ip_frag_reasm`, `nf_ct_frag6_reasm`); `None`: its fragments cannot be joined.
    pub(super) fn join(&self) -> Option<Result<OfConnection, Skip>> {
        const NOT_ECT: u8 = 1;
        let (first, headers) = self.first.as_ref()?;
        let longest = match first.family() {
            Family::V4 => LONGEST,
            Family::V6 => LONGEST + IPV6_LEN,
        };
        let is_mixed = self.ecn & NOT_ECT != 0 && self.ecn != NOT_ECT;
        if is_mixed || headers + self.len > longest {
            return None;
        }
        let mut captured = Vec::new();
        for piece in &self.pieces {
            captured.extend_from_slice(&piece.captured);
            if piece.captured.len() < (piece.to - piece.from) as usize {
                break;
            }
        }
        let joined = joined(first, *headers, (&captured, self.len));
        let is_joined = self.pieces.len() > 1;
        Some(joined.map(|whole| OfConnection { is_joined, ..whole }))
    }
}

/// A fragment that cannot be one of the datagram's: IPv4 drops all of it.
fn malformed(family: Family) -> Refusal {
    match family {
        Family::V4 => Refusal::All(Unjoined::Malformed),
        Family::V6 => Refusal::Alone(Unjoined::Malformed),
    }
}
