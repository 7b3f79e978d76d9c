//! The fragments that the reader meets: joined, and the reference's joiner asked beside.

use super::reader::{is_other, leaves};
use crate::capture::Frame;
use crate::counts::Counts;
use crate::extract::{Fragment, OfConnection};
use crate::fragments::{Ended, Joiner, Met, Place, Put};
use crate::link::LinkType;
use crate::skip::SkipReason;
use kpclass_reference::fragments as reference;
use kpclass_reference::packet::read_fragment;
use kpclass_ruleset::conntrack::{Settings, Unjoined};
use std::time::Duration;

/// What became of fragments that had waited, of frames up to some block's end.
#[derive(Default)]
pub(super) struct Ends {
    /// How many, by what.
    pub(super) ended: [u64; Unjoined::ALL.len()],
    /// Bytes of frames that had waited and are the completing ones', too.
    pub(super) twice: u64,
}

/// What is told of the fragment that is asked for.
#[derive(Default)]
pub(super) struct Watched {
    /// What became of it, if it waited.
    pub(super) ended: Option<Ended>,
    /// The frames that had waited for it, if it completed a datagram.
    pub(super) waited: Vec<u64>,
}

/// A datagram that a frame completes.
pub(super) struct Joined {
    pub(super) packet: OfConnection,
    /// The reference joins something else.
    pub(super) misread: bool,
    /// Bytes of the frames that had waited.
    pub(super) waited: u32,
}

/// What waits.
pub(super) struct Fragments {
    joiner: Joiner,
    /// Where packets are checked.
    reference: Option<Box<reference::Joiner>>,
    misjoined: u64,
    twice: u64,
}

impl Ends {
    /// What waited is no longer counted as waiting.
    pub(super) fn count(&self, counts: &mut Counts) {
        let reasons = Unjoined::ALL.map(SkipReason::Fragment);
        for (reason, ended) in reasons.into_iter().zip(self.ended) {
            counts.skipped[SkipReason::Fragment(Unjoined::Held).index()] -= ended;
            counts.skipped[reason.index()] += ended;
        }
        counts.bytes -= self.twice;
    }
}

impl Fragments {
    pub(super) fn new(settings: &Settings, checks: bool) -> Self {
        Self {
            joiner: Joiner::new(settings),
            reference: checks.then(|| Box::new(reference::Joiner::new(settings.clone()))),
            misjoined: 0,
            twice: 0,
        }
    }

    /// What becomes of this frame's fragment will be asked for.
    pub(super) fn watch(&mut self, frame: u64) {
        self.joiner.watch(frame);
    }

    pub(super) fn holds_watched(&self) -> bool {
        self.joiner.holds_watched()
    }

    /// How many fragments the reference joins otherwise, and what became of the one that is asked for.
    pub(super) fn told(&self) -> (u64, Watched) {
        let watched = Watched {
            ended: self.joiner.watched(),
            waited: self.joiner.waited_for_watched().to_vec(),
        };
        (self.misjoined, watched)
    }

    /// Time has passed up to the last frame of a block; what became of fragments by then.
    pub(super) fn pass(&mut self, timestamp_ns: Option<u64>) -> Ends {
        if let Some(timestamp_ns) = timestamp_ns.filter(|_| !self.joiner.is_empty()) {
            let at = Duration::from_nanos(timestamp_ns);
            self.joiner.pass(at);
            if let Some(reference) = &mut self.reference {
                reference.pass(at);
            }
        }
        Ends {
            ended: self.joiner.take_ended(),
            twice: std::mem::take(&mut self.twice),
        }
    }

    /// Takes a frame's fragment; `None`: it goes on as it is.
    #[inline(never)]
    pub(super) fn put(
        &mut self,
        frame: &Frame<'_>,
        fragment: &Fragment<'_>,
        is_sent: bool,
    ) -> Result<Option<Joined>, SkipReason> {
        let met = Met {
            place: place(frame),
            is_sent,
            frame: frame.number,
            len: frame.original_len,
            at: Duration::from_nanos(frame.timestamp_ns),
        };
        let put = self.joiner.put(fragment, &met);
        let misread = self.is_misjoined(frame, &met, &put);
        let is_packet = matches!(put, Put::Whole { packet: Ok(_), .. });
        self.misjoined += u64::from(misread && !is_packet);
        match put {
            Put::Unjoined(why) => Err(SkipReason::Fragment(why)),
            Put::AsItIs => Ok(None),
            Put::Whole { packet, waited } => {
                let packet = packet.map_err(SkipReason::Frame)?;
                let waited = waited.min(u32::MAX - frame.original_len);
                self.twice += u64::from(waited);
                Ok(Some(Joined {
                    packet,
                    misread,
                    waited,
                }))
            }
        }
    }

    /// Whether the reference, if it is asked, joins something else.
    fn is_misjoined(&mut self, frame: &Frame<'_>, met: &Met, ours: &Put) -> bool {
        let Some(joiner) = &mut self.reference else {
            return false;
        };
        let read = read_fragment(frame.link.0, frame.captured, frame.original_len);
        let Ok(Some(fragment)) = read else {
            return true;
        };
        let theirs = joiner.put(&fragment, met.place, met.is_sent, met.at);
        match (ours, theirs) {
            (Put::Unjoined(ours), reference::Put::Unjoined(theirs)) => *ours != theirs,
            (Put::AsItIs, reference::Put::AsItIs) => false,
            // Why a whole packet cannot be read, each reader says in its own words.
            (Put::Whole { packet, .. }, reference::Put::Whole(theirs)) => match (packet, theirs) {
                (Ok(ours), Ok(theirs)) => is_other(theirs, ours),
                (Ok(_), Err(_)) => true,
                (Err(_), _) => false,
            },
            _ => true,
        }
    }
}

/// Where a frame was captured: the capture's interface, in Linux cooked v2 the device's index, and whether the packet leaves.
fn place(frame: &Frame<'_>) -> Place {
    let device = match frame.link {
        LinkType::LINUX_SLL2 => frame.captured.get(4..8),
        _ => None,
    };
    let device = device.and_then(|bytes| bytes.try_into().ok());
    let device = device.map_or(0, u32::from_be_bytes);
    let leaves = leaves(frame.link, frame.captured);
    (frame.interface.0, device, leaves)
}
