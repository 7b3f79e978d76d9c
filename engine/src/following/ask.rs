//! What is asked of one packet, and told of it.

use super::OfFamily;
use super::again::{Again, Small};
use super::ahead::Glimpse;
use super::history::Recorder;
use super::judge::{Question, Questions, Said};
use super::reader::{Arrived, One, plain_tuple};
use super::shown::InBlock;
use super::story::{Met, Noted, Story};
use crate::check::packet_of;
use crate::connections::{Glance, Packet, Quick, Shows, Sight, Tracked, Tuple, Whose, Width};
use crate::counts::{Account, Counts};
use crate::draw;
use crate::extract::Plain;
use crate::index::Guess;
use crate::replay::VerdictSink;
use crate::skip::SkipReason;
use crate::verdicts::{FrameVerdict, PacketVerdict};
use kpclass_compiler::Context;
use kpclass_compiler::header::known;
use kpclass_ruleset::Hook;
use kpclass_ruleset::conntrack::Datagram;
use kpclass_ruleset::value::{number_address, protocol};
use std::sync::Arc;
use std::time::Duration;

/// The last time that is told from those before it, in nanoseconds since 1970: in the year 2262. Deadlines behind it can still be counted.
const LAST_TIME: u64 = i64::MAX as u64;

/// What is told of packets.
pub(super) struct Rest<'l> {
    pub(super) counts: Counts,
    pub(super) story: Story,
    pub(super) verdicts: Option<VerdictSink<'l>>,
    pub(super) questions: Option<Questions>,
    /// Where one frame's connection is asked for.
    pub(super) recorder: Option<Recorder>,
    pub(super) seed: u64,
    /// Packets are counted, and nothing else is asked of each.
    pub(super) counts_alone: bool,
}

impl Rest<'_> {
    /// A plain packet, which mostly goes the way of one before it.
    #[inline(always)]
    pub(super) fn ask_plain(
        &mut self,
        of: &mut OfFamily<'_, '_, u32>,
        (one, guess): (One<'_>, Guess),
        (plain, context): (&Plain, &Context),
    ) -> Result<(), SkipReason> {
        let arrived = one.arrived;
        let is_tcp = plain.protocol == protocol::TCP;
        let glance = || Glance {
            tuple: plain_tuple(plain),
            hash: arrived.hash,
            guess,
            tcp_flags: is_tcp.then_some(plain.tcp_flags),
            context,
            at: arrived.timestamp_ns.min(LAST_TIME),
        };
        let small = || Small::Plain(*plain, *context);
        if self.counts_alone
            && arrived.came.is_whole()
            && self.goes_again(of, one, &glance(), small)
        {
            return Ok(());
        }
        let packet = Packet::new(plain.of_connection(), *context);
        self.ask_at_length(of, one, &packet)
    }

    /// Any packet.
    pub(super) fn ask<A: InBlock>(
        &mut self,
        of: &mut OfFamily<'_, '_, A>,
        (one, guess): (One<'_>, Guess),
        packet: &Packet,
    ) -> Result<(), SkipReason> {
        let arrived = one.arrived;
        let at = arrived.timestamp_ns.min(LAST_TIME);
        if self.counts_alone
            && arrived.came.is_whole()
            && let Some(glance) = Glance::at(packet, (arrived.hash, guess), at)
            && self.goes_again(of, one, &glance, || Small::Any(Box::new(packet.clone())))
        {
            return Ok(());
        }
        self.ask_at_length(of, one, packet)
    }

    #[inline(never)]
    fn ask_at_length<A: InBlock>(
        &mut self,
        of: &mut OfFamily<'_, '_, A>,
        one: One<'_>,
        packet: &Packet,
    ) -> Result<(), SkipReason> {
        let (arrived, met) = (one.arrived, one.met());
        let at = Duration::from_nanos(arrived.timestamp_ns.min(LAST_TIME));
        let program = &of.of.program;
        let is_local = |address| program.is_local(address);
        if self.story.waits() {
            self.story.sees(packet, met);
        }
        if arrived.came.leaves && !is_local(packet.header.source) {
            return Err(SkipReason::BehindNat);
        }
        if self.questions.is_some() {
            let now = arrived.timestamp_ns.min(LAST_TIME);
            let whose = match of.kept.is_due(now) {
                true => Whose::Many,
                false => of.tracker.whose(packet, now),
            };
            self.tell_of(of, whose);
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
        let endpoints = Arc::clone(&of.endpoints);
        let glimpse = Glimpse {
            blocks: [Some(one.block), one.next],
            endpoints: &endpoints,
            packet,
            locals,
        };
        let (tracked, drawn) = of.tracker.take_seen(packet, at, drawn, Some(&glimpse));
        if self.questions.is_some() && tracked.decision.is_unknown() {
            // Others may not be known, either, from now on.
            self.tell_of(of, Whose::Many);
        }
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
                is_late: false,
            });
        }
        let noted = (&tracked, &glimpse as &dyn Shows<A>);
        self.count(of, (arrived, met), packet, noted);
        Ok(())
    }

    /// Counts a packet that goes the way of one before it; whether it does.
    #[inline(always)]
    fn goes_again<A: Width>(
        &mut self,
        of: &mut OfFamily<'_, '_, A>,
        one: One<'_>,
        glance: &Glance<'_, A>,
        packet: impl FnOnce() -> Small,
    ) -> bool {
        match self.questions {
            None => self.quick(of, one.arrived, glance).is_some(),
            Some(_) => self.goes_again_checked(of, one, glance, packet),
        }
    }

    /// The same, where the reference is to know of it. Apart: what that takes is not made where nothing is checked.
    #[inline(never)]
    fn goes_again_checked<A: Width>(
        &mut self,
        of: &mut OfFamily<'_, '_, A>,
        one: One<'_>,
        glance: &Glance<'_, A>,
        packet: impl FnOnce() -> Small,
    ) -> bool {
        let quick = self.quick(of, one.arrived, glance);
        if let Some(quick) = quick {
            self.keep(of, one.met(), quick, packet());
        }
        quick.is_some()
    }

    /// Has the reference know of a packet that was counted as one that goes the way of one before it.
    fn keep<A: Width>(
        &mut self,
        of: &mut OfFamily<'_, '_, A>,
        met: Met,
        quick: Quick,
        packet: Small,
    ) {
        if of.kept.is_due(quick.at) {
            self.tell_of(of, Whose::Many);
        }
        let again = Again {
            capture: met.capture,
            frame: met.frame,
            packet,
            quick,
        };
        if let Some(again) = of.kept.keep(again) {
            self.tell_of(of, Whose::One(again.quick.seat.position().0));
            self.tell_again(of, again, false);
        }
    }

    /// Tells the reference of what was kept.
    pub(super) fn tell_of<A: Width>(&mut self, of: &mut OfFamily<'_, '_, A>, whose: Whose) {
        for again in of.kept.take(whose) {
            self.tell_again(of, again, true);
        }
    }

    fn tell_again<A: Width>(&mut self, of: &OfFamily<'_, '_, A>, again: Again, is_late: bool) {
        let Some(questions) = &mut self.questions else {
            return;
        };
        let packet = again.packet.packet();
        let tracked = of.tracker.again(&packet, &again.quick);
        questions.ask(Question {
            capture: again.capture,
            frame: again.frame,
            datagram: as_datagram(&packet),
            at: Duration::from_nanos(again.quick.at),
            draw: draw::number(&packet.header, self.seed),
            closes: None,
            source: None,
            said: Said::by_engine(&tracked),
            misread: false,
            is_late,
        });
    }

    /// Counts a packet that goes the way of one before it, if it does.
    #[inline(always)]
    fn quick<A: Width>(
        &mut self,
        of: &mut OfFamily<'_, '_, A>,
        arrived: &Arrived,
        glance: &Glance<'_, A>,
    ) -> Option<Quick> {
        let quick = of.tracker.quick(glance)?;
        let counts = self.counts.family_mut(A::FAMILY);
        counts.add(Account::of(quick.note), arrived.original_len);
        self.story.state(quick.ctstate);
        Some(quick)
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

    pub(super) fn tell(&mut self, met: Met, packet: Result<PacketVerdict<'_>, SkipReason>) {
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
        is_joined: packet.context.is_joined,
    }
}
