//! What a packet leaves behind, once it is known which way it took.

use super::entry::{Client, Entry};
use super::nat::{self, Wanted};
use super::protocol::Remembered;
use super::{Asked, Concluded, Look, Tracker};
use crate::state::{Address, Kept};
use crate::walk::Way;
use kpclass_ruleset::conntrack::CtStatus;
use kpclass_ruleset::decision::{Decision, Disposition, Fact, Unknown};
use kpclass_ruleset::packet::{Packet, tcp_flag};
use kpclass_ruleset::target::{NatRange, RejectWith, Target};
use kpclass_ruleset::value::CtState;
use kpclass_ruleset::{Rule, RuleId};
use std::net::IpAddr;
use std::time::Duration;

impl Tracker<'_> {
    /// What a way leaves of a first packet's connection: nat's choice, and whether the kernel can put it into its table (CONNTRACK.md 3.3 to 3.7).
    pub(super) fn conclude(&mut self, look: &Look, mut way: Way<()>) -> Concluded {
        let first = look.entry.as_ref().filter(|_| look.id.is_none());
        let (Some((entry, _)), Some(kept)) = (first, &way.kept) else {
            return Concluded::without_entry(way);
        };
        let is_tracked = !matches!(kept.ctstate, CtState::Untracked);
        if way.decision.is_unknown() || !kept.confirmed || !is_tracked {
            return Concluded::without_entry(way);
        }
        let mut entry = entry.clone();
        entry.mark = kept.connmark;
        self.table.ended = look.ends;
        match self.translated(&mut entry, &way.decision, kept) {
            Ok(()) => {}
            Err(unknown) => entry.vague = Some(unknown),
        }
        let tuples = [Some(entry.original), entry.reply()];
        let mut tuples = tuples.into_iter().flatten();
        let clashes = tuples.any(|tuple| self.table.by_tuple(&tuple, self.now).is_some());
        self.table.ended = None;
        // Which tuple it gets is not known, so neither is whether another has it.
        if let Some(unknown) = entry.vague.filter(|u| u.fact == Fact::NatAddress) {
            way.decision = Decision::unknown(unknown);
            return Concluded::without_entry(way);
        }
        if clashes {
            match way.lost.take() {
                // It does not come back.
                Some(Ok(lost)) => {
                    way.decision = lost.decision;
                    way.kept = Some(lost.kept);
                    way.path.retain(|step| !step.lo_leg);
                }
                Some(Err(unknown)) => {
                    way.decision = Decision::unknown(unknown);
                    return Concluded::without_entry(way);
                }
                None => {
                    way.decision.disposition = Disposition::Drop;
                    way.decision.decided_by = None;
                }
            }
        }
        Concluded {
            way,
            new: Some(entry),
            clashes,
        }
    }

    /// Lets nat choose; an error says what is not known of its choice.
    fn translated(
        &mut self,
        entry: &mut Entry,
        decision: &Decision,
        kept: &Kept,
    ) -> Result<(), Unknown> {
        let ruleset = self.walk.ruleset;
        let rules = (decision.dnat.map(|d| d.1), decision.snat.map(|s| s.1));
        entry.rules = rules;
        let lacks = |rule, fact| Unknown { rule, fact };
        if let Some(rule) = rules.0 {
            let Address::Known(address) = kept.destination else {
                return Err(lacks(Some(rule), Fact::LocalAddresses));
            };
            let part = kept.ports.map_or(entry.server.1, |(_, port)| port);
            if (address, part) != entry.server {
                entry.status = entry.status.with(CtStatus::DNAT);
            }
            entry.server = (address, part);
            // A range of ports would try another one, which the rules behind it have not seen.
            let several = match &ruleset.rule(rule).target {
                Target::Dnat(range) | Target::Redirect(range) => {
                    range.ports.is_some_and(|p| p.first != p.last)
                }
                _ => false,
            };
            let source = entry.original.source;
            if several && nat::is_taken(&mut self.table, entry, source, self.now) {
                return Err(lacks(Some(rule), Fact::NatAddress));
            }
        }
        let range = rules.1.map(|rule| match &ruleset.rule(rule).target {
            Target::Snat(range) | Target::Masquerade(range) => *range,
            _ => NatRange::default(),
        });
        let wanted = Wanted {
            snat: decision.snat.map(|(snat, _)| snat),
            range: range.unwrap_or_default(),
        };
        match nat::choose(&mut self.table, entry, &wanted, self.walk.node, self.now) {
            true => Ok(()),
            false => Err(lacks(None, Fact::NatAddress)),
        }
    }

    /// Takes the `way`th of the possible ways as what happened. `seen`: the packet's source as it left, where that is known: nat's choice then is. The connection's
    /// status behind the packet.
    pub fn settle(
        &mut self,
        asked: &Asked,
        way: usize,
        seen: Option<(IpAddr, Option<u16>)>,
    ) -> CtStatus {
        let Some(concluded) = asked.ways.get(way) else {
            return CtStatus::default();
        };
        let decision = &concluded.way.decision;
        if let Disposition::Unknown(unknown) = decision.disposition {
            self.doubt(asked, unknown);
            return CtStatus::default();
        }
        let Some(kept) = &concluded.way.kept else {
            return CtStatus::default();
        };
        self.memory = kept.memory.clone();
        if kept.ctstate == CtState::Untracked || !kept.looked_at {
            // conntrack has not looked at it.
            return CtStatus::default();
        }
        self.end(asked);
        let is_reset = asked
            .packet
            .tcp_flags
            .is_some_and(|f| f & tcp_flag::RST != 0);
        let closes = decision.disposition == Disposition::Reject(RejectWith::TcpReset) && !is_reset;
        match (&concluded.new, &asked.look.entry) {
            (Some(lost), _) if concluded.clashes => lost.status,
            (Some(new), _) => {
                let mut new = new.clone();
                self.close(&mut new, closes);
                self.confirm(new, &asked.packet, seen)
            }
            (None, Some((entry, _))) if asked.look.id.is_some() => {
                let mut entry = entry.clone();
                entry.mark = kept.connmark;
                self.close(&mut entry, closes);
                self.put_back(asked, entry)
            }
            _ => CtStatus::default(),
        }
    }

    /// CONNTRACK.md 4.1, 9.
    fn close(&self, entry: &mut Entry, closes: bool) {
        if let Remembered::Tcp(tcp) = &mut entry.remembered
            && closes
            && let Some(timeout) = tcp.set_closing(&self.settings)
        {
            entry.deadline = self.now + timeout;
        }
    }

    /// The entry that a packet ends is gone.
    fn end(&mut self, asked: &Asked) {
        if let Some(id) = asked.look.ends {
            self.table.remove(id);
        }
    }

    fn put_back(&mut self, asked: &Asked, entry: Entry) -> CtStatus {
        let status = entry.status;
        if let Some(id) = asked.look.id {
            self.table.put_back(id, entry);
        }
        status
    }

    fn confirm(
        &mut self,
        mut entry: Entry,
        packet: &Packet,
        seen: Option<(IpAddr, Option<u16>)>,
    ) -> CtStatus {
        if let (Client::Open(open), Some((address, port))) = (entry.client, seen) {
            let part = port.or(open.part);
            entry.client = part.map_or(entry.client, |part| Client::Known(address, part));
            if (address, part) == (packet.source, Some(entry.original.source.1)) {
                entry.status = entry.status.without(CtStatus::SNAT);
            }
        }
        // What was seen is another's already: it is dropped at the very end (CONNTRACK.md 3.7).
        let reply = entry.reply().filter(|_| seen.is_some());
        if reply.is_some_and(|reply| self.table.by_tuple(&reply, self.now).is_some()) {
            return entry.status;
        }
        entry.status = entry.status.with(CtStatus::CONFIRMED);
        let status = entry.status;
        self.table.insert(entry);
        status
    }

    /// CONNTRACK.md 3.8. conntrack has looked at the packet, whatever the rules then did.
    fn doubt(&mut self, asked: &Asked, unknown: Unknown) {
        for address in [asked.packet.source, asked.packet.destination] {
            self.memory.doubt_address(address, unknown.fact);
        }
        let Some((entry, _)) = &asked.look.entry else {
            let began = asked.look.may_begin;
            let began = began.and_then(|tuple| Some(Entry::new(tuple, tuple.inverse()?, self.now)));
            began
                .into_iter()
                .for_each(|entry| self.leave_vague(entry, unknown));
            return;
        };
        self.end(asked);
        let mut entry = entry.clone();
        let sets_marks = |(_, rule): (RuleId, &Rule)| matches!(rule.target, Target::Connmark(_));
        if asked.look.id.is_none() {
            self.leave_vague(entry, unknown);
        } else {
            if self.walk.ruleset.rules().any(sets_marks) {
                entry.vague = Some(unknown);
            }
            self.put_back(asked, entry);
        }
    }

    /// As many are kept as there may be entries; of more, only that there are some.
    fn leave_vague(&mut self, mut entry: Entry, unknown: Unknown) {
        let longest = self.settings.longest(entry.original.protocol);
        entry.deadline = self.now + longest;
        entry.vague = Some(unknown);
        if self.table.by_tuple(&entry.original, self.now).is_some() {
            return;
        }
        // One that is over holds no tuple against it.
        if let Some(reply) = entry.reply() {
            self.table.by_tuple(&reply, self.now);
        }
        let most = 2 * self.settings.max as usize;
        if self.table.len() >= most {
            self.table.expire(self.now);
        }
        if self.table.len() >= most {
            let protocol = entry.original.protocol;
            self.table.not_kept.insert(protocol, entry.deadline);
            return;
        }
        self.table.insert(entry);
    }
}

impl Concluded {
    fn without_entry(way: Way<()>) -> Self {
        Self {
            way,
            new: None,
            clashes: false,
        }
    }
}

impl Entry {
    /// Whether the connection would be over if some data had not been acknowledged (CONNTRACK.md 4.1).
    pub(super) fn may_have_been_unacknowledged(
        &self,
        now: Duration,
        settings: &kpclass_ruleset::conntrack::Settings,
    ) -> bool {
        let Remembered::Tcp(tcp) = self.remembered else {
            return false;
        };
        let least = settings.tcp_unacknowledged.min(settings.tcp_max_retrans);
        tcp.state == super::tcp::TcpState::Established && now > self.last + least
    }
}
