//! The reading side: frames become packets, block by block, with what each block shows of nat.
//!
//! It knows of no connection, and so can run on a thread of its own, ahead of whoever follows them.

use super::ahead::Showing;
use super::endpoints::{Endpoints, Ends as OfTuple};
use super::fragments::{Ends, Fragments, Watched};
use super::shown::{Shown, is_in_the_middle, is_middle};
use super::story::Met;
use crate::capture::{Capture, CaptureError, Frame, InterfaceIndex, Interfaces};
use crate::check::differs;
use crate::connections::{Packet, Tuple};
use crate::extract::{self, OfConnection, Plain};
use crate::index::Hash;
use crate::link::LinkType;
use crate::replay::{Cut, Settings, Source};
use crate::rules::{FamilyRules, Rules};
use crate::skip::SkipReason;
use crate::verdicts;
use kpclass_compiler::Context;
use kpclass_compiler::header::known;
use kpclass_reference::packet::{FrameDatagram, read_datagram, read_fragment};
use kpclass_ruleset::value::{CtState, Family};
use kpclass_ruleset::{Hook, conntrack};
use std::sync::Arc;

/// Frames of a block.
const BLOCK: usize = 2048;

/// Packets whose ends are looked for among the endpoints at a time.
const BATCH: usize = 32;

/// Frames of one capture that follow one another.
#[derive(Default)]
pub(super) struct Block {
    capture: u32,
    /// The capture ends behind it.
    pub(super) is_last: bool,
    /// The first frame's number.
    first_frame: u64,
    pub(super) arrived: Vec<Arrived>,
    /// The packets that are not plain.
    pub(super) packets: Vec<Packet>,
    /// By device by which packets of this block came: of those that arrive, and of those that the node sends.
    contexts: Vec<[Context; 2]>,
    pub(super) v4: Shown<u32>,
    pub(super) v6: Shown<u128>,
    /// What became of fragments by now.
    pub(super) fragments: Ends,
}

impl Block {
    fn begin(&mut self, capture: u32, first_frame: u64) {
        (self.capture, self.first_frame, self.is_last) = (capture, first_frame, false);
        self.arrived.clear();
        self.packets.clear();
        self.contexts.clear();
        self.v4.clear();
        self.v6.clear();
        self.fragments = Ends::default();
    }
}

/// One frame, read.
pub(super) struct Arrived {
    pub(super) timestamp_ns: u64,
    /// Bytes on the wire; of a datagram that it completes those of all its frames.
    pub(super) original_len: u32,
    /// Of its tuple, if it has ports.
    pub(super) hash: Hash,
    /// How it came; of a frame without a packet nothing.
    pub(super) came: Came,
    pub(super) what: What,
}

// A block of them is written by one thread and read by another.
const _: () = assert!(size_of::<Arrived>() <= 64);

/// What a frame holds.
pub(super) enum What {
    /// A packet of which all that matters fits here.
    Plain(Plain),
    /// Another, by position in the block, of this family.
    Packet(Family, u32),
    /// None, or one that is not asked about.
    Skipped(SkipReason),
}

/// One frame of a block, with the block behind it.
#[derive(Clone, Copy)]
pub(super) struct One<'b> {
    pub(super) block: &'b Block,
    pub(super) next: Option<&'b Block>,
    pub(super) arrived: &'b Arrived,
    /// Its position in the block.
    pub(super) at: usize,
}

impl One<'_> {
    /// Which frame it is.
    pub(super) fn met(&self) -> Met {
        Met {
            capture: self.block.capture,
            frame: self.block.first_frame + self.at as u64,
            timestamp_ns: self.arrived.timestamp_ns,
        }
    }
}

/// How a packet came.
#[derive(Clone, Copy, Default)]
pub(super) struct Came {
    /// The device, by position in the block.
    device: u16,
    is_sent: bool,
    /// The capture says that it leaves.
    pub(super) leaves: bool,
    /// The reference's reader reads the frame otherwise; false where nothing is checked.
    pub(super) misread: bool,
}

impl Came {
    /// It is a packet to ask about as it stands.
    #[inline(always)]
    pub(super) fn is_whole(self) -> bool {
        !self.leaves && !self.misread
    }
}

impl Block {
    /// Where a packet of this block starts, and by which device.
    #[inline(always)]
    pub(super) fn context(&self, came: Came) -> &Context {
        let both = &self.contexts[usize::from(came.device)];
        &both[usize::from(came.is_sent)]
    }
}

/// What was read of all captures.
pub(super) struct All {
    pub(super) cuts: Vec<Cut>,
    pub(super) captures: Vec<String>,
    /// Whole frames.
    pub(super) frames: u64,
    /// Fragments of which the reference's joiner makes something else.
    pub(super) misjoined: u64,
    pub(super) watched: Watched,
}

/// Reads captures, one after another.
pub(super) struct Reader<'r, 'a> {
    rules: &'r Rules<'a>,
    settings: &'r Settings,
    /// Frames are read by the reference's reader, too.
    checks: bool,
    v4: Arc<Endpoints<u32>>,
    v6: Arc<Endpoints<u128>>,
    interfaces: Arc<Interfaces>,
    block: Box<Block>,
    /// The frames of the block, by position, that are to be looked at for what they show.
    showing: Vec<u16>,
    fragments: Fragments,
    /// Bytes of the frames that waited for the last one.
    waited: u32,
    /// Frames of each capture behind this one are not read.
    last_frame: u64,
    /// The last packet's interface, with its device's position in the block.
    last: Option<(InterfaceIndex, u16)>,
}

impl<'r, 'a> Reader<'r, 'a> {
    pub(super) fn new(
        rules: &'r Rules<'a>,
        (settings, conntrack): (&'r Settings, &conntrack::Settings),
        checks: bool,
        (v4, v6): (Arc<Endpoints<u32>>, Arc<Endpoints<u128>>),
    ) -> Self {
        Self {
            rules,
            settings,
            checks,
            v4,
            v6,
            interfaces: Arc::default(),
            block: Box::default(),
            showing: Vec::with_capacity(BATCH),
            fragments: Fragments::new(conntrack, checks),
            waited: 0,
            last_frame: u64::MAX,
            last: None,
        }
    }

    /// Reads no further than what shows something of this frame.
    pub(super) fn up_to(mut self, frame: u64) -> Self {
        self.fragments.watch(frame);
        Self {
            last_frame: frame.saturating_add(2 * BLOCK as u64),
            ..self
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
            frames: 0,
            misjoined: 0,
            watched: Watched::default(),
        };
        for source in sources {
            let mut capture = source.open()?;
            let index = all.captures.len() as u32;
            all.captures.push(capture.name().to_owned());
            self.capture(&mut capture, index, &mut give)?;
            all.frames += capture.frames();
            all.cuts.extend(Cut::of(&capture));
        }
        (all.misjoined, all.watched) = self.fragments.told();
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
        let last_frame = self.last_frame;
        capture.walk_while(|frames| {
            for frame in frames {
                if frame.number > last_frame && !self.fragments.holds_watched() {
                    return false;
                }
                if self.block.arrived.len() == BLOCK {
                    self.hand_over(index, frame.number, give);
                }
                self.read(&frame);
            }
            true
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
        let last = self.block.arrived.last();
        self.block.fragments = self.fragments.pass(last.map(|last| last.timestamp_ns));
        let spare = give(std::mem::take(&mut self.block));
        self.block = spare.unwrap_or_default();
        self.block.begin(capture, next_frame);
        self.last = None;
    }

    /// Reads a frame into the block.
    #[inline(always)]
    fn read(&mut self, frame: &Frame<'_>) {
        match extract::plain(frame.link, frame.captured) {
            Some(plain) => self.read_plain(frame, plain),
            None => self.read_any(frame),
        }
        if self.showing.len() >= BATCH {
            self.note();
        }
    }

    /// No reference is made to what was read: its fields go from registers to where they stay, and are not waited for in between.
    #[inline(always)]
    fn read_plain(&mut self, frame: &Frame<'_>, plain: Plain) {
        let source = plain.source.into();
        let came = self.came(frame, Family::V4, source, || is_plain_misread(frame));
        if !is_middle(plain.protocol, plain.tcp_flags) {
            self.showing.push(self.block.arrived.len() as u16);
        }
        match came {
            Ok(came) => self.block.arrived.push(Arrived {
                timestamp_ns: frame.timestamp_ns,
                original_len: frame.original_len,
                hash: self.v4.hash_of(&plain_tuple(&plain)),
                came,
                what: What::Plain(plain),
            }),
            Err(reason) => self.skip(frame, reason),
        }
    }

    #[cold]
    fn skip(&mut self, frame: &Frame<'_>, reason: SkipReason) {
        self.block.arrived.push(Arrived {
            timestamp_ns: frame.timestamp_ns,
            original_len: frame.original_len,
            hash: Hash::default(),
            came: Came::default(),
            what: What::Skipped(reason),
        });
    }

    #[inline(never)]
    fn read_any(&mut self, frame: &Frame<'_>) {
        let read = self.read_into_packets(frame);
        let waited = std::mem::take(&mut self.waited);
        let (came, hash, what) = read.unwrap_or_else(|reason| {
            let what = What::Skipped(reason);
            (Came::default(), Hash::default(), what)
        });
        self.block.arrived.push(Arrived {
            timestamp_ns: frame.timestamp_ns,
            original_len: frame.original_len + waited,
            hash,
            came,
            what,
        });
    }

    #[inline(always)]
    fn read_into_packets(&mut self, frame: &Frame<'_>) -> Result<(Came, Hash, What), SkipReason> {
        let (read, misread) = self.read_packet(frame)?;
        let header = read.header;
        if header.known & known::FRAGMENT != 0 {
            return Err(SkipReason::LaterFragment);
        }
        let family = header.family();
        let came = self.came(frame, family, header.source, || misread)?;
        let hash = match family {
            _ if header.known & known::PORTS == 0 => Hash::default(),
            Family::V4 => self.v4.hash_of(&Tuple::of_ports(&header)),
            Family::V6 => self.v6.hash_of(&Tuple::of_ports(&header)),
        };
        let packet = Packet::new(read, *self.block.context(came));
        if !is_in_the_middle(&packet) {
            self.showing.push(self.block.arrived.len() as u16);
        }
        self.block.packets.push(packet);
        let position = self.block.packets.len() as u32 - 1;
        Ok((came, hash, What::Packet(family, position)))
    }

    /// A frame's packet, or the datagram that it completes, and whether the reference reads something else, if it is asked.
    #[inline(always)]
    fn read_packet(&mut self, frame: &Frame<'_>) -> Result<(OfConnection, bool), SkipReason> {
        let (link, captured, len) = (frame.link, frame.captured, frame.original_len);
        let network = extract::network(link, captured, len).map_err(SkipReason::Frame)?;
        let of = self.rules.of(network.family());
        let joins = of.filter(|of| of.program.conntrack_on());
        let fragment = joins.and_then(|of| Some((of, network.fragment()?)));
        if let Some((of, fragment)) = &fragment {
            let is_sent = self.is_sent(of, fragment.header.source);
            if let Some(joined) = self.fragments.put(frame, fragment, is_sent)? {
                self.waited = joined.waited;
                return Ok((joined.packet, joined.misread));
            }
        }
        let read = network.of_connection().map_err(SkipReason::Frame)?;
        let misses = || joins.is_some() && fragment.is_none() && is_fragment(frame);
        let misread = self.checks && (misses() || is_misread(frame, &read));
        Ok((read, misread))
    }

    /// Whether this node sends what comes from a source.
    #[inline(always)]
    fn is_sent(&self, of: &FamilyRules<'_>, source: u128) -> bool {
        let hook = verdicts::hook(self.settings.hook, || of.program.is_local(source));
        hook == Hook::Output
    }

    #[inline(always)]
    fn came(
        &mut self,
        frame: &Frame<'_>,
        family: Family,
        source: u128,
        misread: impl FnOnce() -> bool,
    ) -> Result<Came, SkipReason> {
        let of = self.rules.of(family).ok_or(SkipReason::NoRules(family))?;
        let is_sent = self.is_sent(of, source);
        Ok(Came {
            device: self.device(frame.interface),
            is_sent,
            leaves: leaves(frame.link, frame.captured),
            misread: self.checks && misread(),
        })
    }

    /// The position of a packet's device.
    #[inline(always)]
    fn device(&mut self, interface: InterfaceIndex) -> u16 {
        match self.last {
            Some((last, position)) if last == interface => position,
            _ => self.add_device(interface),
        }
    }

    /// A block has as many at most as it has frames.
    fn add_device(&mut self, interface: InterfaceIndex) -> u16 {
        let named = self.settings.in_interface;
        let device = named.or_else(|| self.interfaces.name(interface));
        let position = self.block.contexts.len() as u16;
        let arriving = Context {
            hook: Hook::Prerouting,
            in_interface: device,
            mark: self.settings.mark,
            ctstate: CtState::New,
            is_joined: false,
        };
        let sent = Context {
            hook: Hook::Output,
            in_interface: None,
            ..arriving
        };
        self.block.contexts.push([arriving, sent]);
        self.last = Some((interface, position));
        position
    }

    /// Notes what the last frames show: those of them that have an endpoint's address and port, or look so.
    fn note(&mut self) {
        let Block {
            arrived,
            packets,
            v4,
            v6,
            ..
        } = &mut *self.block;
        let (mut some, mut count) = ([(0_u16, OfTuple::default()); BATCH], 0);
        for at in self.showing.drain(..) {
            let (ends, may_show) = match &arrived[usize::from(at)].what {
                What::Plain(plain) => {
                    let ends = self.v4.ends(&plain_tuple(plain));
                    (ends, self.v4.may_show(ends))
                }
                What::Packet(..) => (OfTuple::default(), true),
                What::Skipped(_) => (OfTuple::default(), false),
            };
            // Whether one does is chance, and a branch would be mispredicted.
            some[count] = (at, ends);
            count += usize::from(may_show);
        }
        let some = &some[..count];
        for (_, ends) in some {
            self.v4.come_nearer(*ends);
        }
        for (at, ends) in some {
            match &arrived[usize::from(*at)].what {
                What::Plain(plain) => {
                    let showing = Showing::of_plain(plain);
                    self.v4.note(&showing, *ends, &mut v4.at_once);
                }
                What::Packet(family, position) => {
                    let packet = &packets[*position as usize];
                    match family {
                        Family::V4 => self.v4.note_any(packet, &mut v4.at_once),
                        Family::V6 => self.v6.note_any(packet, &mut v6.at_once),
                    }
                }
                What::Skipped(_) => {}
            }
        }
    }
}

/// The tuple of a plain packet.
#[inline(always)]
pub(super) fn plain_tuple(plain: &Plain) -> Tuple<u32> {
    let from = (plain.source, plain.source_port);
    let to = (plain.destination, plain.destination_port);
    Tuple::new(plain.protocol, from, to)
}

/// Whether a Linux cooked header says that the packet leaves (`PACKET_OUTGOING`).
#[inline(always)]
pub(super) fn leaves(link: LinkType, captured: &[u8]) -> bool {
    const OUTGOING: u8 = 4;
    match link {
        LinkType::LINUX_SLL => captured.get(..2) == Some(&[0, OUTGOING]),
        LinkType::LINUX_SLL2 => captured.get(10) == Some(&OUTGOING),
        _ => false,
    }
}

/// Whether the reference's reader reads a frame otherwise.
fn is_misread(frame: &Frame<'_>, ours: &OfConnection) -> bool {
    let read = read_datagram(frame.link.0, frame.captured, frame.original_len);
    read.map_or(true, |read| is_other(read, ours))
}

/// The same of a plain frame.
#[inline(never)]
fn is_plain_misread(frame: &Frame<'_>) -> bool {
    let plain = extract::plain(frame.link, frame.captured);
    plain.is_none_or(|plain| is_misread(frame, &plain.of_connection()))
}

/// Whether the reference's reader takes a frame's packet for a fragment.
fn is_fragment(frame: &Frame<'_>) -> bool {
    let read = read_fragment(frame.link.0, frame.captured, frame.original_len);
    matches!(read, Ok(Some(_)))
}

/// Whether the reference has read something else.
pub(super) fn is_other(read: FrameDatagram, ours: &OfConnection) -> bool {
    (read.icmp_id, read.carried) != (ours.icmp_id, ours.carried)
        || read.chunks != ours.chunks
        || (read.is_broken, read.is_joined) != (ours.is_broken, ours.is_joined)
        || differs(read.packet, &ours.header)
}
