//! The reading side: frames become packets, block by block, with what each block shows of nat.
//!
//! It knows of no connection, and so can run on a thread of its own, ahead of whoever follows them.

use super::ahead::{Endpoints, Sighted};
use crate::capture::{Capture, CaptureError, Frame, Interfaces};
use crate::check::differs;
use crate::connections::Packet;
use crate::extract::{OfConnection, of_connection};
use crate::index::Hash;
use crate::link::LinkType;
use crate::replay::{Cut, Settings, Source};
use crate::rules::Rules;
use crate::skip::SkipReason;
use crate::verdicts;
use kpclass_compiler::Context;
use kpclass_compiler::header::known;
use kpclass_reference::packet::read_datagram;
use kpclass_ruleset::Hook;
use kpclass_ruleset::value::{CtState, Family};
use std::sync::Arc;

/// Frames of a block.
const BLOCK: usize = 2048;

/// Packets whose ends are looked for among the endpoints at a time.
const BATCH: usize = 32;

/// Frames of one capture that follow one another.
#[derive(Default)]
pub(super) struct Block {
    pub(super) capture: u32,
    /// The capture ends behind it.
    pub(super) is_last: bool,
    /// The first frame's number.
    pub(super) first_frame: u64,
    pub(super) arrived: Vec<Arrived>,
    pub(super) v4: Sighted<u32>,
    pub(super) v6: Sighted<u128>,
}

impl Block {
    fn begin(&mut self, capture: u32, first_frame: u64) {
        (self.capture, self.first_frame, self.is_last) = (capture, first_frame, false);
        self.arrived.clear();
        self.v4.clear();
        self.v6.clear();
    }
}

/// One frame, read.
pub(super) struct Arrived {
    pub(super) timestamp_ns: u64,
    pub(super) original_len: u32,
    /// Of its tuple, if it has ports.
    pub(super) hash: Hash,
    pub(super) packet: Result<Read, SkipReason>,
}

/// Its packet.
pub(super) struct Read {
    pub(super) packet: Packet,
    /// The capture says that it leaves.
    pub(super) leaves: bool,
    /// The reference's reader reads the frame otherwise; false where nothing is checked.
    pub(super) misread: bool,
}

/// What was read of all captures.
pub(super) struct All {
    pub(super) cuts: Vec<Cut>,
    pub(super) captures: Vec<String>,
}

/// Reads captures, one after another.
pub(super) struct Reader<'r, 'a> {
    rules: &'r Rules<'a>,
    settings: &'r Settings,
    /// Frames are read by the reference's reader, too.
    checks: bool,
    v4: Endpoints<u32>,
    v6: Endpoints<u128>,
    interfaces: Arc<Interfaces>,
    block: Box<Block>,
    /// So many of the block's frames were looked at for what they show.
    noted: usize,
}

impl<'r, 'a> Reader<'r, 'a> {
    pub(super) fn new(
        rules: &'r Rules<'a>,
        settings: &'r Settings,
        checks: bool,
        (v4, v6): (Endpoints<u32>, Endpoints<u128>),
    ) -> Self {
        Self {
            rules,
            settings,
            checks,
            v4,
            v6,
            interfaces: Arc::default(),
            block: Box::default(),
            noted: 0,
        }
    }

    /// Gives all blocks, in order; whoever takes one may give one back.
    pub(super) fn all(
        mut self,
        sources: Vec<Source>,
        mut give: impl FnMut(Box<Block>) -> Option<Box<Block>>,
    ) -> Result<All, CaptureError> {
        let mut all = All {
            cuts: Vec::new(),
            captures: Vec::new(),
        };
        for source in sources {
            let mut capture = source.open()?;
            let index = all.captures.len() as u32;
            all.captures.push(capture.name().to_owned());
            self.capture(&mut capture, index, &mut give)?;
            all.cuts.extend(Cut::of(&capture));
        }
        Ok(all)
    }

    fn capture(
        &mut self,
        capture: &mut Capture,
        index: u32,
        give: &mut dyn FnMut(Box<Block>) -> Option<Box<Block>>,
    ) -> Result<(), CaptureError> {
        self.interfaces = Arc::clone(capture.interfaces());
        self.block.begin(index, 1);
        capture.walk(|frames| {
            for frame in frames {
                if self.block.arrived.len() == BLOCK {
                    self.hand_over(index, frame.number, give);
                }
                self.read(&frame);
            }
        })?;
        self.block.is_last = true;
        self.hand_over(index, 1, give);
        Ok(())
    }

    fn hand_over(
        &mut self,
        capture: u32,
        next_frame: u64,
        give: &mut dyn FnMut(Box<Block>) -> Option<Box<Block>>,
    ) {
        self.note();
        let spare = give(std::mem::take(&mut self.block));
        self.block = spare.unwrap_or_default();
        self.block.begin(capture, next_frame);
        self.noted = 0;
    }

    /// Reads a frame into the block.
    fn read(&mut self, frame: &Frame<'_>) {
        let packet = self.packet(frame);
        let mut hash = Hash::default();
        if let Ok(Read { packet, .. }) = &packet {
            let header = &packet.header;
            if header.known & known::PORTS != 0 {
                hash = match header.family() {
                    Family::V4 => self.v4.meet(header),
                    Family::V6 => self.v6.meet(header),
                };
            }
        }
        self.block.arrived.push(Arrived {
            timestamp_ns: frame.timestamp_ns,
            original_len: frame.original_len,
            hash,
            packet,
        });
        if self.block.arrived.len() - self.noted >= BATCH {
            self.note();
        }
    }

    /// Notes what the last frames show.
    fn note(&mut self) {
        let Block {
            arrived, v4, v6, ..
        } = &mut *self.block;
        for arrived in &arrived[self.noted..] {
            let Ok(Read { packet, .. }) = &arrived.packet else {
                continue;
            };
            match packet.header.family() {
                Family::V4 => self.v4.note(packet, v4),
                Family::V6 => self.v6.note(packet, v6),
            }
        }
        self.noted = arrived.len();
    }

    fn packet(&self, frame: &Frame<'_>) -> Result<Read, SkipReason> {
        let (link, captured, len) = (frame.link, frame.captured, frame.original_len);
        let read = of_connection(link, captured, len).map_err(SkipReason::Frame)?;
        let header = read.header;
        if header.known & known::FRAGMENT != 0 {
            return Err(SkipReason::LaterFragment);
        }
        let family = header.family();
        let of = self.rules.of(family).ok_or(SkipReason::NoRules(family))?;
        let hook = verdicts::hook(self.settings.hook, || of.program.is_local(header.source));
        let is_sent = hook == Hook::Output;
        let device = || {
            let named = self.settings.in_interface;
            named.or_else(|| self.interfaces.name(frame.interface))
        };
        let OfConnection {
            icmp_id,
            carried,
            chunks,
            is_broken,
            sign,
            syn,
            ..
        } = read;
        let packet = Packet {
            header,
            context: Context {
                hook,
                in_interface: if is_sent { None } else { device() },
                mark: self.settings.mark,
                ctstate: CtState::New,
            },
            icmp_id,
            carried,
            chunks,
            is_broken,
            sign,
            syn,
            is_rewritten: false,
        };
        Ok(Read {
            leaves: leaves(link, captured),
            misread: self.checks && is_misread(frame, &packet),
            packet,
        })
    }
}

/// Whether a Linux cooked header says that the packet leaves (`PACKET_OUTGOING`).
fn leaves(link: LinkType, captured: &[u8]) -> bool {
    const OUTGOING: u8 = 4;
    match link {
        LinkType::LINUX_SLL => captured.get(..2) == Some(&[0, OUTGOING]),
        LinkType::LINUX_SLL2 => captured.get(10) == Some(&OUTGOING),
        _ => false,
    }
}

/// Whether the reference's reader reads a frame otherwise.
fn is_misread(frame: &Frame<'_>, packet: &Packet) -> bool {
    let read = read_datagram(frame.link.0, frame.captured, frame.original_len);
    let Ok(read) = read else {
        return true;
    };
    (read.icmp_id, read.carried) != (packet.icmp_id, packet.carried)
        || read.chunks != packet.chunks
        || read.is_broken != packet.is_broken
        || differs(read.packet, &packet.header)
}
