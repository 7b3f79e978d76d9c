//! What is told of connections beside what is counted of packets.
//!
//! ```text
//! packets ─► Story ─┬─► by service: connections by endpoint, who talks to what ─► balance ─► findings
//!                   └─► behind nat: stale endpoints, masquerade ───────────────────────────►
//! ```
//!
//! It needs only some packets: those that begin a connection, first replies, those that belong to none, and all of the connections that it watches.

use super::behind::{Behind, Key};
use super::by_service::{ByService, ServiceConnections, Talk, Unasked};
use super::findings::{self, Finding};
use crate::connections::{Cause, Full, Packet, Shown, Shows, Tracked, Width};
use crate::rules::{FamilyRules, Rules};
use kpclass_compiler::ClassId;
use kpclass_compiler::header::Header;
use kpclass_ruleset::decision::Decision;
use kpclass_ruleset::value::{CtState, Family};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// A frame, and when it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Met {
    /// Which capture, in the order given.
    pub capture: u32,
    /// Its number, from 1.
    pub frame: u64,
    /// Nanoseconds since 1970.
    pub timestamp_ns: u64,
}

/// A packet that was tracked.
pub(super) struct Noted<'n, A> {
    pub(super) rules: &'n FamilyRules<'n>,
    pub(super) met: Met,
    pub(super) packet: &'n Packet,
    pub(super) tracked: &'n Tracked<A>,
    /// With what its connection does to it.
    pub(super) decision: &'n Decision,
    /// The packet's header with its connection's original tuple, and the class of that.
    pub(super) key: Header,
    pub(super) class: ClassId,
    /// What the frames ahead show, of a first packet.
    pub(super) shows: &'n dyn Shows<A>,
}

/// Sums, as packets are followed.
#[derive(Debug)]
pub struct Story {
    report: ConnectionsReport,
    /// Packets by ctstate.
    states: [u64; CtState::ALL.len()],
    v4: OfFamily,
    v6: OfFamily,
}

/// One family's.
#[derive(Debug)]
struct OfFamily {
    services: ByService,
    behind: Behind,
}

/// Connections of a replay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConnectionsReport {
    /// Those that began.
    pub begun: u64,
    /// Of them, those that a reply was met of.
    pub replied: u64,
    /// Of those that rules sent to an endpoint, those of which the captures show to which: that was taken.
    pub shown: u64,
    /// Those of which they show an endpoint to which no rule leads.
    pub elsewhere: u64,
    /// Packets by ctstate, in the order of [`CtState::ALL`].
    pub states: [u64; CtState::ALL.len()],
    /// INVALID packets by cause.
    pub causes: BTreeMap<Cause, u64>,
    /// Connections by Service and key.
    pub services: Vec<ServiceConnections>,
    /// Packets that a Service's side sent though nobody was seen to ask.
    pub unasked: Vec<Unasked>,
    /// Who talks to what: those with the most connections.
    pub talks: Vec<Talk>,
    /// Who else does; and connections of whom it is not told any more, as there would be too many.
    pub more_talks: u64,
    /// What a full table did.
    pub full: Full,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

impl Story {
    /// Nothing was seen yet.
    pub(super) fn new(rules: &Rules<'_>) -> Self {
        let of = |family| OfFamily {
            services: ByService::new(rules.of(family).map(|of| &of.program)),
            behind: Behind::default(),
        };
        Self {
            report: ConnectionsReport::default(),
            states: [0; CtState::ALL.len()],
            v4: of(Family::V4),
            v6: of(Family::V6),
        }
    }

    /// Whether it would know of frames that are seen behind nat.
    pub(super) fn waits(&self) -> bool {
        self.v4.behind.waits() || self.v6.behind.waits()
    }

    /// A frame, before anything else is made of it.
    pub(super) fn sees(&mut self, packet: &Packet, met: Met) {
        self.v4.behind.sees(packet, met);
        self.v6.behind.sees(packet, met);
    }

    /// Notes a packet.
    pub(super) fn note<A: Width>(&mut self, noted: &Noted<'_, A>) {
        self.state(noted.tracked.ctstate);
        let (report, tracked) = (&mut self.report, noted.tracked);
        if let Some(cause) = tracked.cause {
            *report.causes.entry(cause).or_default() += 1;
        }
        report.replied += u64::from(tracked.is_first_reply);
        report.shown += u64::from(tracked.shown == Shown::Taken);
        report.elsewhere += u64::from(tracked.shown == Shown::Elsewhere);
        report.begun += u64::from(tracked.begins);
        let OfFamily { services, behind } = self.of_family(A::FAMILY);
        behind.watch(noted);
        if tracked.begins {
            services.begin(noted);
            behind.begin(noted);
        } else if tracked.is_first_reply {
            services.reply(noted);
        } else if tracked.cause == Some(Cause::NoConnection) {
            services.stray(noted);
            behind.stray(noted);
        }
    }

    fn of_family(&mut self, family: Family) -> &mut OfFamily {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    /// Whether it must know of each packet of a connection; of these it is told by their original header.
    pub(super) fn watches(&mut self, family: Family, original: &Header) -> bool {
        self.of_family(family).behind.watches(original)
    }

    /// The connections of which it must know each packet from now on.
    pub(super) fn newly_watched(&mut self, family: Family) -> impl Iterator<Item = Key> {
        self.of_family(family).behind.newly_watched()
    }

    /// Notes a packet of which nothing more is to be told.
    pub(super) fn state(&mut self, ctstate: CtState) {
        self.states[ctstate as usize] += 1;
    }

    /// What a family's full table did.
    pub(super) fn full(&mut self, of: Full) {
        self.report.full.add(of);
    }

    /// All of it, with so many rows of who talks to what.
    pub(super) fn report(self, rules: &Rules<'_>, top: usize) -> ConnectionsReport {
        let mut report = self.report;
        report.states = CtState::ALL.map(|state| self.states[state as usize]);
        for (family, of) in rules.families() {
            let OfFamily { services, behind } = match family {
                Family::V4 => &self.v4,
                Family::V6 => &self.v6,
            };
            report.services.extend(services.connections(of, family));
            report.unasked.extend(services.unasked(of, family));
            let (talks, all) = services.talks(of, family, top);
            report.talks.extend(talks);
            report.more_talks += all + services.talks_left_out();
            report.findings.extend(behind.findings(of, family));
        }
        findings::of_balance(&mut report, rules);
        report.findings.sort_by(|a, b| a.order().cmp(&b.order()));
        report
            .services
            .sort_by(|a, b| (&a.service, a.class).cmp(&(&b.service, b.class)));
        // Of each family they are in order.
        report
            .talks
            .sort_by_key(|talk| (Reverse(talk.connections), talk.client));
        report.talks.truncate(top);
        report.more_talks -= report.talks.len() as u64;
        report
    }
}
