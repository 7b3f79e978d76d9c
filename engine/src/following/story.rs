//! What is told of connections beside what is counted of packets.

use crate::connections::{Cause, Shown, Tracked};
use kpclass_ruleset::value::CtState;
use std::collections::BTreeMap;

/// Sums, as packets are followed.
#[derive(Clone, Debug, Default)]
pub struct Story {
    report: ConnectionsReport,
}

/// Connections of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
}

impl Story {
    /// Notes a packet.
    pub(super) fn note<A>(&mut self, tracked: &Tracked<A>) {
        self.state(tracked.ctstate);
        let report = &mut self.report;
        if let Some(cause) = tracked.cause {
            *report.causes.entry(cause).or_default() += 1;
        }
        report.replied += u64::from(tracked.is_first_reply);
        report.shown += u64::from(tracked.shown == Shown::Taken);
        report.elsewhere += u64::from(tracked.shown == Shown::Elsewhere);
        if tracked.begins {
            report.begun += 1;
        }
    }

    /// Notes a packet of which nothing more is to be told.
    pub(super) fn state(&mut self, ctstate: CtState) {
        let mut states = CtState::ALL.iter().zip(&mut self.report.states);
        if let Some((_, packets)) = states.find(|(state, _)| **state == ctstate) {
            *packets += 1;
        }
    }

    /// All of it.
    pub(super) fn report(self) -> ConnectionsReport {
        self.report
    }
}
