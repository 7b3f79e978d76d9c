//! Connections, followed packet by packet (CONNTRACK.md).
//!
//! ```text
//! packet ─► look (entry, direction, ctstate) ─► first: the program, nat's choice ─► verdict, table
//!                                            └► later: remembered with its entry, or the rules ─►
//! ```
//!
//! A packet that has an entry costs a lookup and what its protocol says: what the rules do with packets of one connection that go the same way in the same
//! ctstate is remembered, unless they ask for what differs from packet to packet.

mod by_source;
mod deadlines;
mod entry;
mod first;
mod later;
mod leading;
mod look;
mod nat;
mod opens;
mod packet;
mod pressure;
mod protocol;
mod quick;
mod sctp;
mod sight;
mod slot;
mod sources;
mod table;
mod tcp;
#[cfg(test)]
mod tests;
mod tuple;
mod vague;

use kpclass_compiler::header::{Header, known};
use kpclass_compiler::{Context, FollowedFirst, Left, Lists, Program, Progress};
use kpclass_ruleset::conntrack::{self, CtStatus, Direction, Settings};
use kpclass_ruleset::decision::{Decision, Disposition, Nat, Snat, Unknown};
use kpclass_ruleset::target::{RejectWith, Target};
use kpclass_ruleset::value::{CtState, number_address};
use kpclass_ruleset::{RuleId, Ruleset};
use later::Verdicts;
use leading::Leading;
pub use look::Cause;
use look::Look;
pub use packet::Packet;
pub use pressure::Full;
use protocol::Timeouts;
pub(crate) use quick::{Glance, Whose};
pub use quick::{Quick, Seat};
pub use sight::{Reply, Sight};
use std::time::Duration;
use table::Table;
pub(crate) use tuple::End;
pub use tuple::{Line, Tuple, Width};

/// The connections of one family.
#[derive(Debug)]
pub struct Tracker<'r, A: Width> {
    program: &'r Program,
    ruleset: &'r Ruleset,
    timeouts: Timeouts,
    table: Table<A>,
    lists: Lists,
    verdicts: Verdicts,
    leading: Leading<A>,
    now: u64,
    /// For which first packets the rules must be walked.
    walks: FollowedFirst,
}

/// What became of one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracked<A> {
    /// As rules behind conntrack saw it.
    pub ctstate: CtState,
    /// The direction, of a packet that has a connection.
    pub direction: Option<Direction>,
    /// The connection's status behind the packet; none: without a connection.
    pub status: CtStatus,
    /// The connection's original tuple, and the reply tuple as far as all of it is known.
    pub tuples: Option<(Tuple<A>, Option<Tuple<A>>)>,
    /// The connection's mark.
    pub connmark: u32,
    /// The decision of the rules. Of a packet that nat asks no rule about, its `dnat` and `snat` are none: what happens to it is in `header`.
    pub decision: Decision,
    /// The rules that gave the connection another destination, and another source.
    pub rules: (Option<RuleId>, Option<RuleId>),
    /// It is dropped at the very end because another connection has its tuple (CONNTRACK.md 3.7): behind all rules.
    pub clashes: bool,
    /// Whether it began a connection that is followed.
    pub begins: bool,
    /// Whether it is its connection's first reply.
    pub is_first_reply: bool,
    /// Of a first packet whose destination rules rewrite: what the captures show of the kernel's choice.
    pub shown: Shown,
    /// The source that captures show nat to have chosen.
    pub source_shown: Option<(A, u16)>,
    /// Why it is INVALID.
    pub cause: Option<Cause>,
    /// Where something can be noted for packets that go the same way, and is told of by the next of them.
    pub seat: Option<Seat>,
    /// The header where the packet ended; of an unknown decision as it came.
    pub header: Ends,
}

/// What captures show of a first packet behind nat. Ends are addresses and ports.
pub trait Shows<A> {
    /// Gives all endpoints to which it may have been sent.
    fn endpoints(&self, take: &mut dyn FnMut((A, u16)));
    /// From where it was sent to this endpoint; `None`: that is not shown.
    fn source(&self, server: (A, u16)) -> Option<(A, u16)>;
}

/// What captures show of where a connection went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shown {
    /// Nothing.
    #[default]
    Nothing,
    /// Where it went: one of the ways that the rules allow, and the one that was taken here.
    Taken,
    /// It went to an endpoint, but none to which the rules lead.
    Elsewhere,
}

/// Addresses and ports as they have become. What is `None` is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Source address.
    pub source: Option<u128>,
    /// Destination address; `None`: some address of this node.
    pub destination: Option<u128>,
    /// Source and destination port, of a protocol that has them.
    pub ports: Option<(Option<u16>, Option<u16>)>,
}

impl<'r, A: Width> Tracker<'r, A> {
    /// Nothing was seen yet. `ruleset` is what the program was compiled from.
    pub fn new(program: &'r Program, ruleset: &'r Ruleset, settings: Settings) -> Self {
        Self {
            program,
            ruleset,
            timeouts: Timeouts::new(settings),
            table: Table::new(ruleset),
            lists: program.lists(),
            verdicts: Verdicts::default(),
            leading: Leading::default(),
            now: 0,
            walks: program.followed_first(),
        }
    }

    /// Other rules from now on; connections stay, and so do the `recent` lists that both rulesets name (CONNTRACK.md 7).
    pub fn replace(&mut self, program: &'r Program, ruleset: &'r Ruleset) {
        let old = self.ruleset;
        program.take_over(&mut self.lists, |name| {
            let mut names = program.list_names();
            names.find(|new| ruleset.text(*new) == old.text(name))
        });
        self.table.forget_rules();
        self.table.sources.add(ruleset);
        self.verdicts = Verdicts::default();
        self.leading = Leading::default();
        self.walks = program.followed_first();
        (self.program, self.ruleset) = (program, ruleset);
    }

    /// A packet at a time since some beginning (of the captures' clock), for the number that it draws.
    pub fn take(&mut self, packet: &Packet, at: Duration, draw: u64) -> Tracked<A> {
        self.take_seen(packet, at, draw, None).0
    }

    /// The same, where captures may show where a first packet went: if that is a way that the rules allow, it is taken. The number with which it is, too.
    pub fn take_seen(
        &mut self,
        packet: &Packet,
        at: Duration,
        draw: u64,
        shows: Option<&dyn Shows<A>>,
    ) -> (Tracked<A>, u64) {
        self.now = self.now.max(protocol::nanos(at));
        self.release();
        self.lists.begin(Duration::from_nanos(self.now));
        let look = match self.program.conntrack_on() {
            true => self.look(packet),
            // Nothing can ask for it.
            false => Look::none(CtState::Invalid),
        };
        let tracked = match (look.unknown, &look.entry) {
            (Some(unknown), _) => self.unknown(packet, &look, unknown),
            (None, Some(_)) if look.id.is_none() => {
                let (followed, draw, shown) = self.shown(packet, &look, draw, shows);
                let tracked = self.first(packet, &look, followed, draw, shows);
                return (Tracked { shown, ..tracked }, draw);
            }
            (None, Some(_)) => self.later(packet, &look, draw),
            (None, None) => self.nobodys(packet, &look, draw),
        };
        (tracked, draw)
    }

    fn is_local(&self) -> impl Fn(A) -> Option<bool> + use<'r, A> {
        let program = self.program;
        move |address| program.locality(address.number())
    }

    /// A packet that has no connection.
    fn nobodys(&mut self, packet: &Packet, look: &Look<A>, draw: u64) -> Tracked<A> {
        let context = context(packet, look.ctstate);
        let header = &packet.header;
        let lists = &mut self.lists;
        let followed = self.program.follow(header, &context, None, lists, draw);
        if let Disposition::Unknown(unknown) = followed.decision.disposition {
            return self.unknown(packet, look, unknown);
        }
        self.end(look, &followed.left);
        Tracked {
            header: ends(&followed.left),
            connmark: followed.left.connmark,
            ctstate: followed.left.ctstate.unwrap_or(look.ctstate),
            cause: look.cause,
            ..Tracked::alone(look.ctstate, followed.decision)
        }
    }

    /// It cannot be told what becomes of it (CONNTRACK.md 3.8). conntrack has looked at it, whatever the rules then did.
    fn unknown(&mut self, packet: &Packet, look: &Look<A>, unknown: Unknown) -> Tracked<A> {
        self.lists.undo();
        self.table.pressure.count(unknown);
        for address in [packet.header.source, packet.header.destination] {
            self.lists.doubt_address(address, unknown.fact);
        }
        match (look.entry, look.id) {
            (None, _) => {
                if let Some((tuple, inverse)) = look.may_begin {
                    let entry = entry::Entry::new(tuple, inverse, self.now);
                    self.leave_vague(entry, unknown);
                }
            }
            (Some((entry, _)), None) => {
                self.remove_ended(look);
                self.leave_vague(entry, unknown);
            }
            (Some((entry, _)), Some(id)) => {
                self.remove_ended(look);
                self.table.put_back(id, entry);
                if self.program.changes_connmarks() {
                    self.table.doubt(id, unknown);
                }
            }
        }
        let entry = look.entry.as_ref();
        Tracked {
            direction: entry.map(|(_, direction)| *direction),
            tuples: entry.map(|(entry, _)| (entry.original, entry.reply())),
            rules: entry.map_or((None, None), |(entry, _)| entry.rules),
            header: as_it_came(packet),
            ..Tracked::alone(look.ctstate, Decision::unknown(unknown))
        }
    }

    /// As many are kept as there may be entries; of more, only that there are some.
    fn leave_vague(&mut self, mut entry: entry::Entry<A>, unknown: Unknown) {
        let longest = self.timeouts.longest(entry.original.protocol);
        entry.deadline = self.now.saturating_add(longest);
        if self.table.by_tuple(&entry.original, self.now).is_some() {
            return;
        }
        // One that is over holds no tuple against it.
        if let Some(reply) = entry.reply() {
            self.table.by_tuple(&reply, self.now);
        }
        let most = 2 * self.timeouts.settings.max as usize;
        if self.table.len() >= most {
            self.table.expire(self.now);
        }
        if self.table.len() >= most {
            let protocol = entry.original.protocol;
            self.table.pressure.lose(protocol, entry.deadline);
            return;
        }
        let id = self.table.insert(entry);
        self.table.doubt(id, unknown);
    }

    /// The entry that a packet ends is gone, if conntrack came to look at it.
    fn end(&mut self, look: &Look<A>, left: &Left) {
        if has_looked(left) {
            self.remove_ended(look);
        }
    }

    fn remove_ended(&mut self, look: &Look<A>) {
        if let Some(id) = look.ends {
            self.table.remove(id);
        }
    }

    /// A `REJECT --reject-with tcp-reset` of a packet that is no reset itself closes its connection (CONNTRACK.md 4.1, 9).
    fn close_if_reset(&self, entry: &mut entry::Entry<A>, packet: &Packet, decision: &Decision) {
        use kpclass_ruleset::packet::tcp_flag::RST;
        let is_reset = packet.tcp_flags().is_some_and(|flags| flags & RST != 0);
        if decision.disposition == Disposition::Reject(RejectWith::TcpReset)
            && !is_reset
            && let entry::Remembered::Tcp(tcp) = &mut entry.remembered
            && tcp.set_closing()
        {
            let timeout = protocol::nanos(self.timeouts.settings.tcp_close);
            entry.deadline = self.now.saturating_add(timeout);
        }
    }
}

impl<A> Tracked<A> {
    /// Of a packet without a connection.
    fn alone(ctstate: CtState, decision: Decision) -> Self {
        Self {
            ctstate,
            direction: None,
            status: CtStatus::default(),
            tuples: None,
            connmark: 0,
            decision,
            rules: (None, None),
            clashes: false,
            begins: false,
            is_first_reply: false,
            shown: Shown::Nothing,
            source_shown: None,
            cause: None,
            seat: None,
            header: Ends {
                source: None,
                destination: None,
                ports: None,
            },
        }
    }
}

impl<A: Width> Tracked<A> {
    /// The header with the addresses and ports of the connection's original tuple: the key under which it was asked about first.
    pub fn original_key(&self, header: &Header) -> Header {
        let Some((tuple, _)) = self.tuples else {
            return *header;
        };
        let (source, destination) = (tuple.source.number(), tuple.destination.number());
        let mut key = Header {
            source,
            destination,
            ..*header
        };
        if tuple.has_ports() {
            (key.source_port, key.destination_port) = (tuple.source_part, tuple.destination_part);
            key.known |= known::PORTS;
        }
        key.protocol = tuple.protocol;
        key
    }

    /// The decision, with what the connection does to a packet that goes in its direction.
    pub fn whole_decision(&self, ruleset: &Ruleset) -> Decision {
        let mut decision = self.decision.clone();
        if self.direction != Some(Direction::Original) || decision.is_unknown() {
            return decision;
        }
        if let (None, Some(rule)) = (decision.dnat, self.rules.0) {
            let to = self.header.destination;
            let nat = Nat {
                address: to.map(|to| number_address(A::FAMILY, to)),
                port: self.header.ports.and_then(|ports| ports.1),
            };
            decision.dnat = Some((nat, rule));
        }
        if let (None, Some(rule)) = (decision.snat, self.rules.1) {
            let snat = match ruleset.rule(rule).target {
                Target::Snat(range) => Snat::To {
                    addresses: range.addresses,
                    ports: range.ports.map(|ports| (ports.first, ports.last)),
                },
                _ => Snat::Masquerade,
            };
            decision.snat = Some((snat, rule));
        }
        decision
    }

    /// Has a reply count for the endpoint that sent it.
    pub fn credit_reply(&self, decision: &mut Decision) {
        if let (Some(Direction::Reply), Some(rule), Some((tuple, reply))) =
            (self.direction, self.rules.0, self.tuples)
            && !decision.is_unknown()
        {
            let server = reply.map(Tuple::from);
            let nat = Nat {
                address: server.map(|(address, _)| number_address(A::FAMILY, address.number())),
                port: server.map(|(_, port)| port).filter(|_| tuple.has_ports()),
            };
            decision.dnat = Some((nat, rule));
        }
    }

    /// The tuples in the words that all trackers share.
    pub fn shared_tuples(&self) -> Option<(conntrack::Tuple, Option<conntrack::Tuple>)> {
        let (original, reply) = self.tuples?;
        Some((original.shared(), reply.map(Tuple::shared)))
    }
}

/// Whether conntrack looked at a packet, and no rule took it from it.
fn has_looked(left: &Left) -> bool {
    left.progress != Progress::Unseen && left.ctstate != Some(CtState::Untracked)
}

fn context(packet: &Packet, ctstate: CtState) -> Context {
    Context {
        ctstate,
        ..packet.context
    }
}

fn ends(left: &Left) -> Ends {
    Ends {
        source: left.source,
        destination: left.destination,
        ports: left.ports.map(|(from, to)| (Some(from), Some(to))),
    }
}

fn as_it_came(packet: &Packet) -> Ends {
    let h = &packet.header;
    Ends {
        source: Some(h.source),
        destination: Some(h.destination),
        ports: packet.ports().map(|(from, to)| (Some(from), Some(to))),
    }
}
