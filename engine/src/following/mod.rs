//! A replay that follows connections: packets in the captures' order, one owner for the tables.
//!
//! ```text
//! frames ─► Reader ─► blocks of packets, with what they show of nat ─► quick? sight? Tracker ─► counts, verdicts
//!           (on a thread of its own, if there are two)                                 └─► the reference's tracker, on another thread
//! ```

mod ahead;
pub mod balance;
mod behind;
mod by_service;
mod findings;
pub mod history;
mod judge;
mod reader;
mod story;

use crate::capture::CaptureError;
use crate::check::{Check, CheckReport, packet_of};
use crate::connections::{Glance, Packet, Shows, Sight, Tracked, Tracker, Tuple, Width};
use crate::counts::{Account, Counts};
use crate::draw;
use crate::extract::Plain;
use crate::index::Hasher;
use crate::replay::{Listeners, Settings, Source, VerdictSink};
use crate::report::{Report, Timing};
use crate::rules::{FamilyRules, Rules};
use crate::skip::SkipReason;
use crate::verdicts::{FrameVerdict, PacketVerdict};
use ahead::{Endpoints, Glimpse, Sighted};
pub use by_service::{Balance, EndpointConnections, ServiceConnections, Talk, Unasked};
use crossbeam::channel;
pub use findings::{Finding, Masquerade, Skewed, Stale, Unequal, What};
use history::Recorder;
pub use judge::Said;
use judge::{Question, Questions};
use kpclass_compiler::header::known;
use kpclass_ruleset::Hook;
use kpclass_ruleset::conntrack::{self, Datagram};
use kpclass_ruleset::value::{Family, number_address, protocol};
use reader::{All, Arrived, Block, Reader, What as Read, plain_tuple};
use std::time::{Duration, Instant};
use story::Noted;
pub use story::{ConnectionsReport, Met, Story};

/// Blocks that wait between the two threads.
const WAITING: usize = 4;

/// A packet's memory is asked for so many packets before it is looked up, and twice as many before that the way to it.
const AHEAD: usize = 12;

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
        let checks = questions.is_some();
        let mut following = Following::new(rules, settings, conntrack, questions, verdicts);
        let reader = Reader::new(rules, settings, checks, following.endpoints(rules));
        let All { cuts, captures, .. } = read(reader, sources, settings.threads, &mut following)?;
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
        report.connections = Some(story.report(rules));
        Ok(report)
    })
}

/// Reads all captures, and has them followed; on two threads, if so many may be.
fn read(
    reader: Reader<'_, '_>,
    sources: Vec<Source>,
    threads: usize,
    following: &mut Following<'_, '_, '_>,
) -> Result<All, CaptureError> {
    if threads < 2 {
        return reader.all(sources, |block| following.take(block));
    }
    let (full, blocks) = channel::bounded(WAITING);
    let (back, spare) = channel::bounded(WAITING);
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            reader.all(sources, |block| {
                // Whoever follows is gone only if it has panicked, which is met where it is joined.
                drop(full.send(block));
                spare.try_recv().ok()
            })
        });
        for block in blocks {
            if let Some(block) = following.take(block) {
                drop(back.try_send(block));
            }
        }
        let read = reading.join();
        read.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// One family's connections.
struct OfFamily<'r, 'a, A> {
    of: &'r FamilyRules<'a>,
    tracker: Tracker<'r, A>,
}

impl<'r, 'a, A: Width> OfFamily<'r, 'a, A> {
    fn new(rules: &'r Rules<'a>, settings: &conntrack::Settings) -> Option<Self> {
        let of = rules.of(A::FAMILY)?;
        Some(Self {
            of,
            tracker: Tracker::new(&of.program, of.ruleset, settings.clone()),
        })
    }
}

/// The replay's state.
struct Following<'r, 'a, 'l> {
    v4: Option<OfFamily<'r, 'a, u32>>,
    v6: Option<OfFamily<'r, 'a, u128>>,
    /// It is asked about once the next one shows what it does.
    waiting: Option<Box<Block>>,
    rest: Rest<'l>,
}

/// What is told of packets.
struct Rest<'l> {
    counts: Counts,
    story: Story,
    verdicts: Option<VerdictSink<'l>>,
    questions: Option<Questions>,
    /// Where one frame's connection is asked for.
    recorder: Option<Recorder>,
    seed: u64,
    mark: u32,
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
            v4: OfFamily::new(rules, conntrack),
            v6: OfFamily::new(rules, conntrack),
            waiting: None,
            rest: Rest {
                counts: Counts::new(rules),
                story: Story::new(rules),
                counts_alone: verdicts.is_none() && questions.is_none(),
                verdicts,
                questions,
                recorder: None,
                seed: settings.seed,
                mark: settings.mark,
            },
        }
    }

    fn finish(mut self) -> (Counts, Story) {
        if let Some(questions) = &mut self.rest.questions {
            questions.send();
        }
        (self.rest.counts, self.rest.story)
    }

    /// Where rules send packets, with the hashers of the tables.
    fn endpoints(&self, rules: &Rules<'_>) -> (Endpoints<u32>, Endpoints<u128>) {
        let program = |family| rules.of(family).map(|rules| &rules.program);
        let v4 = self.v4.as_ref().map(|of| of.tracker.hasher());
        let v6 = self.v6.as_ref().map(|of| of.tracker.hasher());
        let hasher = |of: Option<Hasher>| of.unwrap_or_else(Hasher::new);
        (
            Endpoints::new(program(Family::V4), hasher(v4)),
            Endpoints::new(program(Family::V6), hasher(v6)),
        )
    }

    /// Takes the next block. One that is done with comes back.
    fn take(&mut self, block: Box<Block>) -> Option<Box<Block>> {
        let mut done = self.waiting.take();
        if let Some(present) = &done {
            self.settle(present, Some(&block));
        }
        if block.is_last {
            self.settle(&block, None);
            done = Some(block);
        } else {
            self.waiting = Some(block);
        }
        done
    }

    /// Asks about a block.
    fn settle(&mut self, block: &Block, next: Option<&Block>) {
        for (at, arrived) in block.arrived.iter().enumerate() {
            self.come_nearer(block.arrived.get(at + 2 * AHEAD), false);
            self.come_nearer(block.arrived.get(at + AHEAD), true);
            let met = Met {
                capture: block.capture,
                frame: block.first_frame + at as u64,
                timestamp_ns: arrived.timestamp_ns,
            };
            self.ask((arrived, met), block, next);
        }
    }

    /// What will be read of a packet's connection comes nearer.
    #[inline(always)]
    fn come_nearer(&self, arrived: Option<&Arrived>, is_near: bool) {
        let Some(arrived) = arrived else {
            return;
        };
        match (&arrived.what, &self.v4, &self.v6) {
            (Read::Plain(_) | Read::Packet(Family::V4, _), Some(of), _) => {
                of.tracker.come_nearer(arrived.hash, is_near);
            }
            (Read::Packet(Family::V6, _), _, Some(of)) => {
                of.tracker.come_nearer(arrived.hash, is_near);
            }
            _ => {}
        }
    }

    #[inline(always)]
    fn ask(&mut self, (arrived, met): (&Arrived, Met), block: &Block, next: Option<&Block>) {
        let counts = &mut self.rest.counts;
        counts.frames += 1;
        counts.bytes += u64::from(arrived.original_len);
        let v4 = || [Some(&block.v4), next.map(|next| &next.v4)];
        let v6 = || [Some(&block.v6), next.map(|next| &next.v6)];
        let packet = |at: u32| &block.packets[at as usize];
        let asked = match (&arrived.what, &mut self.v4, &mut self.v6) {
            (Read::Plain(plain), Some(of), _) => {
                self.rest.ask_plain(of, (arrived, met), (plain, block), v4)
            }
            (Read::Packet(Family::V4, at), Some(of), _) => {
                self.rest.ask(of, (arrived, met), packet(*at), v4)
            }
            (Read::Packet(Family::V6, at), _, Some(of)) => {
                self.rest.ask(of, (arrived, met), packet(*at), v6)
            }
            (Read::Skipped(reason), ..) => Err(*reason),
            (Read::Plain(_), ..) => Err(SkipReason::NoRules(Family::V4)),
            (Read::Packet(family, _), ..) => Err(SkipReason::NoRules(*family)),
        };
        if let Err(reason) = asked {
            self.rest.counts.skipped[reason.index()] += 1;
            let packet = || match &arrived.what {
                Read::Plain(plain) => Some(Packet::new(
                    plain.of_connection(),
                    block.context(arrived.came, self.rest.mark),
                )),
                Read::Packet(_, at) => Some(packet(*at).clone()),
                Read::Skipped(_) => None,
            };
            if self.rest.recorder.is_some() {
                let packet = packet();
                self.rest.skip(met, packet.as_ref(), reason);
            }
            self.rest.tell(met, Err(reason));
        }
    }
}

impl Rest<'_> {
    /// A plain packet, which mostly goes the way of one before it.
    #[inline(always)]
    fn ask_plain<'b>(
        &mut self,
        of: &mut OfFamily<'_, '_, u32>,
        (arrived, met): (&Arrived, Met),
        (plain, block): (&Plain, &Block),
        blocks: impl FnOnce() -> [Option<&'b Sighted<u32>>; 2],
    ) -> Result<(), SkipReason> {
        let context = block.context(arrived.came, self.mark);
        let is_tcp = plain.protocol == protocol::TCP;
        let glance = || Glance {
            tuple: plain_tuple(plain),
            hash: arrived.hash,
            tcp_flags: is_tcp.then_some(plain.tcp_flags),
            context: &context,
            at: arrived.timestamp_ns.min(LAST_TIME),
        };
        if self.counts_alone && !arrived.came.leaves && self.quick(of, arrived, &glance()) {
            return Ok(());
        }
        let packet = Packet::new(plain.of_connection(), context);
        self.ask_at_length(of, (arrived, met), &packet, blocks())
    }

    /// Any packet.
    fn ask<'b, A: Width>(
        &mut self,
        of: &mut OfFamily<'_, '_, A>,
        (arrived, met): (&Arrived, Met),
        packet: &Packet,
        blocks: impl FnOnce() -> [Option<&'b Sighted<A>>; 2],
    ) -> Result<(), SkipReason> {
        let at = arrived.timestamp_ns.min(LAST_TIME);
        if self.counts_alone
            && !arrived.came.leaves
            && let Some(glance) = Glance::at(packet, arrived.hash, at)
            && self.quick(of, arrived, &glance)
        {
            return Ok(());
        }
        self.ask_at_length(of, (arrived, met), packet, blocks())
    }

    #[inline(never)]
    fn ask_at_length<A: Width>(
        &mut self,
        of: &mut OfFamily<'_, '_, A>,
        (arrived, met): (&Arrived, Met),
        packet: &Packet,
        blocks: [Option<&Sighted<A>>; 2],
    ) -> Result<(), SkipReason> {
        let at = Duration::from_nanos(arrived.timestamp_ns.min(LAST_TIME));
        let program = &of.of.program;
        let is_local = |address| program.is_local(address);
        if self.story.waits() {
            self.story.sees(packet, met);
        }
        if arrived.came.leaves && !is_local(packet.header.source) {
            return Err(SkipReason::BehindNat);
        }
        let rewritten;
        let mut closes = None;
        let packet = match of.tracker.sight(packet, at) {
            None => packet,
            Some(Sight::Behind) => return Err(SkipReason::BehindNat),
            Some(Sight::Reply(reply)) => {
                let (address, part) = reply.client;
                let client = (number_address(A::FAMILY, address), part);
                closes = reply.closes.map(|original| (original, client));
                let is_sent = is_local(reply.server.0);
                rewritten = as_it_came(packet, reply.server, reply.client, is_sent);
                &rewritten
            }
        };
        let drawn = draw::number(&packet.header, self.seed);
        let locals = program.local_addresses();
        let glimpse = Glimpse {
            blocks,
            hasher: of.tracker.hasher(),
            packet,
            locals,
        };
        let (tracked, drawn) = of.tracker.take_seen(packet, at, drawn, Some(&glimpse));
        if let Some(questions) = &mut self.questions {
            questions.ask(Question {
                capture: met.capture,
                frame: met.frame,
                datagram: as_datagram(packet),
                at,
                draw: drawn,
                closes,
                source: tracked.source_shown.map(|(address, port)| {
                    (number_address(A::FAMILY, address.number()), Some(port))
                }),
                said: Said::by_engine(&tracked),
                misread: arrived.came.misread,
            });
        }
        let noted = (&tracked, &glimpse as &dyn Shows<A>);
        self.count(of, (arrived, met), packet, noted);
        Ok(())
    }

    /// Counts a packet that goes the way of one before it; whether it does.
    #[inline(always)]
    fn quick<A: Width>(
        &mut self,
        of: &mut OfFamily<'_, '_, A>,
        arrived: &Arrived,
        glance: &Glance<'_, A>,
    ) -> bool {
        let Some(quick) = of.tracker.quick(glance) else {
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
        (arrived, met): (&Arrived, Met),
        packet: &Packet,
        (tracked, shows): (&Tracked<A>, &dyn Shows<A>),
    ) {
        let rules = of.of;
        let mut decision = tracked.whole_decision(rules.ruleset);
        let key = tracked.original_key(&packet.header);
        let class = rules.program.class(&key);
        let noted = Noted {
            rules,
            met,
            packet,
            tracked,
            decision: &decision,
            key,
            class,
            shows,
        };
        self.story.note(&noted);
        if let Some(recorder) = &mut self.recorder {
            recorder.note(&noted);
        }
        let verdict = PacketVerdict {
            family: A::FAMILY,
            header: packet.header,
            hook: packet.context.hook,
            class,
            decision: &decision,
        };
        self.tell(met, Ok(verdict));
        tracked.credit_reply(&mut decision);
        let counts = self.counts.family_mut(A::FAMILY);
        let account = counts.account(class, &decision);
        counts.add(account, arrived.original_len);
        let watches = self.story.watches(A::FAMILY, &key);
        if let Some(seat) = tracked.seat.filter(|_| !watches) {
            of.tracker.note(seat, account.number());
        }
        for (protocol, from, to) in self.story.newly_watched(A::FAMILY) {
            let end = |(address, port)| (A::of(address), port);
            let original = Tuple::new(protocol, end(from), end(to));
            of.tracker.forget_notes(&original);
        }
    }

    fn tell(&mut self, met: Met, packet: Result<PacketVerdict<'_>, SkipReason>) {
        if let Some(write) = &mut self.verdicts {
            write(FrameVerdict {
                capture: met.capture,
                frame: met.frame,
                timestamp_ns: met.timestamp_ns,
                packet,
            });
        }
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
