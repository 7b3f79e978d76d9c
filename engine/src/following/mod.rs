//! A replay that follows connections: packets in the captures' order, one owner for the tables.
//!
//! ```text
//! frames ─► read ─► a block ahead (which endpoints are seen behind nat) ─► sight? ─► Tracker ─► counts, verdicts
//!                                                                                      └─► the reference's tracker, on another thread
//! ```

mod ahead;
mod judge;
mod story;

use crate::capture::{CaptureError, Frame, Interfaces};
use crate::check::{Check, CheckReport, differs, packet_of};
use crate::connections::{Packet, Sight, Tracked, Tracker, Width};
use crate::counts::{Account, Counts};
use crate::draw;
use crate::extract::{OfConnection, of_connection};
use crate::link::LinkType;
use crate::replay::{Cut, Listeners, Settings, Source, VerdictSink};
use crate::report::{Report, Timing};
use crate::rules::{FamilyRules, Rules};
use crate::skip::SkipReason;
use crate::verdicts::{self, FrameVerdict, PacketVerdict};
use ahead::{Ahead, Glimpse};
pub use judge::Said;
use judge::{Question, Questions};
use kpclass_compiler::Context;
use kpclass_compiler::header::known;
use kpclass_reference::packet::read_datagram;
use kpclass_ruleset::Hook;
use kpclass_ruleset::conntrack::{self, Datagram};
use kpclass_ruleset::value::{CtState, Family, number_address};
use std::sync::Arc;
use std::time::{Duration, Instant};
pub use story::{ConnectionsReport, Story};

/// Frames that are read before the first of them is asked about.
const BLOCK: usize = 2048;

/// The last time that is told from those before it, in nanoseconds since 1970: in the year 2262. Deadlines behind it can still be counted.
const LAST_TIME: u64 = i64::MAX as u64;

/// Replays the captures one after another, following connections from the first to the last.
///
/// # Errors
/// If a capture cannot be opened or read. A capture that is cut off is replayed up to the cut, and the report says so.
pub fn follow(
    sources: Vec<Source>,
    rules: &Rules<'_>,
    settings: &Settings,
    conntrack: &conntrack::Settings,
    listeners: Listeners<'_>,
) -> Result<Report, CaptureError> {
    let started = Instant::now();
    let Listeners { verdicts, .. } = listeners;
    std::thread::scope(|scope| {
        let (questions, judge) = match settings.check {
            Check::Off => (None, None),
            _ => {
                let (questions, judge) = Questions::begin(scope, rules, conntrack);
                (Some(questions), Some(judge))
            }
        };
        let mut following = Following::new(rules, settings, conntrack, questions, verdicts);
        let (mut cuts, mut captures) = (Vec::new(), Vec::new());
        for source in sources {
            let mut capture = source.open()?;
            captures.push(capture.name().to_owned());
            following.capture = captures.len() as u32 - 1;
            following.interfaces = Arc::clone(capture.interfaces());
            capture.walk(|frames| frames.for_each(|frame| following.read(&frame)))?;
            following.flush();
            cuts.extend(Cut::of(&capture));
        }
        let (counts, story) = following.finish();
        let replay_s = started.elapsed().as_secs_f64();
        let waited = Instant::now();
        let judgement = judge.map(|judge| {
            let judged = judge.join();
            judged.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        let judgement = judgement.unwrap_or_default();
        let check = CheckReport {
            check: settings.check,
            checked: judgement.checked,
            disagreements: judgement.disagreements,
            followed: judgement.shown,
            ..CheckReport::default()
        };
        let timing = Timing {
            replay_s,
            check_s: waited.elapsed().as_secs_f64(),
        };
        let mut report = Report::new(rules, settings, captures, counts, check, cuts, timing);
        report.connections = Some(story.report());
        Ok(report)
    })
}

/// One frame, read.
struct Arrived {
    frame: u64,
    timestamp_ns: u64,
    original_len: u32,
    packet: Result<Read, SkipReason>,
}

/// Its packet.
struct Read {
    packet: Packet,
    /// The capture says that it leaves.
    leaves: bool,
    /// The reference's reader reads the frame otherwise; false where nothing is checked.
    misread: bool,
}

/// One family's connections.
struct OfFamily<'r, 'a, A> {
    of: &'r FamilyRules<'a>,
    tracker: Tracker<'r, A>,
    ahead: Ahead<A>,
}

impl<'r, 'a, A: Width> OfFamily<'r, 'a, A> {
    fn new(rules: &'r Rules<'a>, settings: &conntrack::Settings) -> Option<Self> {
        let of = rules.of(A::FAMILY)?;
        Some(Self {
            of,
            tracker: Tracker::new(&of.program, of.ruleset, settings.clone()),
            ahead: Ahead::new(&of.program),
        })
    }
}

/// The replay's state.
struct Following<'r, 'a, 'l> {
    rules: &'r Rules<'a>,
    settings: &'r Settings,
    v4: Option<OfFamily<'r, 'a, u32>>,
    v6: Option<OfFamily<'r, 'a, u128>>,
    capture: u32,
    interfaces: Arc<Interfaces>,
    /// The block that is asked about next, and the one that is being read.
    blocks: [Vec<Arrived>; 2],
    rest: Rest<'l>,
}

/// What is told of packets.
struct Rest<'l> {
    counts: Counts,
    story: Story,
    verdicts: Option<VerdictSink<'l>>,
    questions: Option<Questions>,
    seed: u64,
    capture: u32,
    /// Packets are counted, and nothing else is asked of each.
    counts_alone: bool,
}

impl<'r, 'a, 'l> Following<'r, 'a, 'l> {
    fn new(
        rules: &'r Rules<'a>,
        settings: &'r Settings,
        conntrack: &conntrack::Settings,
        questions: Option<Questions>,
        verdicts: Option<VerdictSink<'l>>,
    ) -> Self {
        Self {
            rules,
            settings,
            v4: OfFamily::new(rules, conntrack),
            v6: OfFamily::new(rules, conntrack),
            capture: 0,
            interfaces: Arc::default(),
            blocks: [Vec::with_capacity(BLOCK), Vec::with_capacity(BLOCK)],
            rest: Rest {
                counts: Counts::new(rules),
                story: Story::default(),
                counts_alone: verdicts.is_none() && questions.is_none(),
                verdicts,
                questions,
                seed: settings.seed,
                capture: 0,
            },
        }
    }

    fn finish(mut self) -> (Counts, Story) {
        if let Some(questions) = &mut self.rest.questions {
            questions.send();
        }
        (self.rest.counts, self.rest.story)
    }

    /// Reads a frame into the block ahead.
    fn read(&mut self, frame: &Frame<'_>) {
        let packet = self.packet(frame);
        if let Ok(read) = &packet {
            match (read.packet.header.family(), &mut self.v4, &mut self.v6) {
                (Family::V4, Some(of), _) => of.ahead.note(&read.packet),
                (Family::V6, _, Some(of)) => of.ahead.note(&read.packet),
                _ => {}
            }
        }
        self.blocks[1].push(Arrived {
            frame: frame.number,
            timestamp_ns: frame.timestamp_ns,
            original_len: frame.original_len,
            packet,
        });
        if self.blocks[1].len() >= BLOCK {
            self.settle();
        }
    }

    /// Asks about the block that was read before the last one.
    fn settle(&mut self) {
        let ready = std::mem::take(&mut self.blocks[0]);
        self.rest.capture = self.capture;
        for arrived in &ready {
            self.ask(arrived);
        }
        let mut spare = ready;
        spare.clear();
        self.blocks[0] = std::mem::replace(&mut self.blocks[1], spare);
        self.v4.iter_mut().for_each(|of| of.ahead.turn());
        self.v6.iter_mut().for_each(|of| of.ahead.turn());
    }

    /// Asks about all that was read.
    fn flush(&mut self) {
        self.settle();
        self.settle();
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
            misread: self.rest.questions.is_some() && is_misread(frame, &packet),
            packet,
        })
    }

    fn ask(&mut self, arrived: &Arrived) {
        let counts = &mut self.rest.counts;
        counts.frames += 1;
        counts.bytes += u64::from(arrived.original_len);
        let asked = match &arrived.packet {
            Err(reason) => Err(*reason),
            Ok(read) => match (read.packet.header.family(), &mut self.v4, &mut self.v6) {
                (Family::V4, Some(of), _) => self.rest.ask(of, arrived, read),
                (Family::V6, _, Some(of)) => self.rest.ask(of, arrived, read),
                (family, ..) => Err(SkipReason::NoRules(family)),
            },
        };
        if let Err(reason) = asked {
            self.rest.counts.skipped[reason.index()] += 1;
            self.rest.tell(arrived, Err(reason));
        }
    }
}

impl Rest<'_> {
    fn ask<A: Width>(
        &mut self,
        of: &mut OfFamily<'_, '_, A>,
        arrived: &Arrived,
        read: &Read,
    ) -> Result<(), SkipReason> {
        let at = Duration::from_nanos(arrived.timestamp_ns.min(LAST_TIME));
        let program = &of.of.program;
        let is_local = |address| program.is_local(address);
        if read.leaves && !is_local(read.packet.header.source) {
            return Err(SkipReason::BehindNat);
        }
        if self.counts_alone && self.quick(of, arrived, &read.packet, at) {
            return Ok(());
        }
        let rewritten;
        let mut closes = None;
        let packet = match of.tracker.sight(&read.packet, at) {
            None => &read.packet,
            Some(Sight::Behind) => return Err(SkipReason::BehindNat),
            Some(Sight::Reply(reply)) => {
                let (address, part) = reply.client;
                let client = (number_address(A::FAMILY, address), part);
                closes = reply.closes.map(|original| (original, client));
                let is_sent = is_local(reply.server.0);
                rewritten = as_it_came(&read.packet, reply.server, reply.client, is_sent);
                &rewritten
            }
        };
        let drawn = draw::number(&packet.header, self.seed);
        let locals = program.local_addresses();
        let glimpse = Glimpse {
            ahead: &of.ahead,
            packet,
            locals,
        };
        let (tracked, drawn) = of.tracker.take_seen(packet, at, drawn, Some(&glimpse));
        if let Some(questions) = &mut self.questions {
            questions.ask(Question {
                capture: self.capture,
                frame: arrived.frame,
                datagram: as_datagram(packet),
                at,
                draw: drawn,
                closes,
                source: tracked.source_shown.map(|(address, port)| {
                    (number_address(A::FAMILY, address.number()), Some(port))
                }),
                said: Said::by_engine(&tracked),
                misread: read.misread,
            });
        }
        self.count(of, arrived, packet, &tracked);
        Ok(())
    }

    /// Counts a packet that goes the way of one before it; whether it does.
    fn quick<A: Width>(
        &mut self,
        of: &mut OfFamily<'_, '_, A>,
        arrived: &Arrived,
        packet: &Packet,
        at: Duration,
    ) -> bool {
        let Some(quick) = of.tracker.quick(packet, at) else {
            return false;
        };
        let counts = self.counts.family_mut(A::FAMILY);
        counts.add(Account::of(quick.note), arrived.original_len);
        self.story.state(quick.ctstate);
        true
    }

    /// Counts a packet for the Service whose connection it belongs to.
    fn count<A: Width>(
        &mut self,
        of: &mut OfFamily<'_, '_, A>,
        arrived: &Arrived,
        packet: &Packet,
        tracked: &Tracked<A>,
    ) {
        let program = &of.of.program;
        let mut decision = tracked.whole_decision(of.of.ruleset);
        let class = program.class(&tracked.original_key(&packet.header));
        self.story.note(tracked);
        let verdict = PacketVerdict {
            family: A::FAMILY,
            header: packet.header,
            hook: packet.context.hook,
            class,
            decision: &decision,
        };
        self.tell(arrived, Ok(verdict));
        tracked.credit_reply(&mut decision);
        let counts = self.counts.family_mut(A::FAMILY);
        let account = counts.account(class, &decision);
        counts.add(account, arrived.original_len);
        if let Some(seat) = tracked.seat {
            of.tracker.note(seat, account.number());
        }
    }

    fn tell(&mut self, arrived: &Arrived, packet: Result<PacketVerdict<'_>, SkipReason>) {
        if let Some(write) = &mut self.verdicts {
            write(FrameVerdict {
                capture: self.capture,
                frame: arrived.frame,
                timestamp_ns: arrived.timestamp_ns,
                packet,
            });
        }
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

/// A reply that was met behind nat, as it came: from where is not known.
fn as_it_came(packet: &Packet, from: (u128, u16), to: (u128, u16), is_sent: bool) -> Packet {
    let mut packet = packet.clone();
    let h = &mut packet.header;
    (h.source, h.destination) = (from.0, to.0);
    if h.known & known::PORTS != 0 {
        (h.source_port, h.destination_port) = (from.1, to.1);
    }
    packet.context.hook = if is_sent {
        Hook::Output
    } else {
        Hook::Prerouting
    };
    packet.context.in_interface = None;
    packet.is_rewritten = true;
    packet
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

/// The packet in the reference's words; both readers say the same of it.
fn as_datagram(packet: &Packet) -> Datagram {
    Datagram {
        packet: packet_of(packet.header.family(), &packet.header, &packet.context),
        icmp_id: packet.icmp_id,
        carried: packet.carried,
        chunks: packet.chunks.clone(),
        is_broken: packet.is_broken,
    }
}
