//! The tracker: what the kernel makes of packets that follow one another (CONNTRACK.md), as obvious as it can be written: packets in order, a table of
//! entries, no threads.
//!
//! ```text
//! datagram ─► look (entry, direction, ctstate) ─► walk ─► ways ─► settle (the one that happened) ─► table
//! ```

mod entry;
mod eviction;
mod nat;
mod orders;
mod protocol;
mod sctp;
mod settle;
mod table;
mod tcp;

use crate::draw::{Numbers, Point, Share};
use crate::memory::Memory;
use crate::state::{Address, Connection, Kept, State};
use crate::walk::Way;
use crate::{Assumption, Traced, Walk};
use entry::{Client, Entry};
use kpclass_ruleset::conntrack::{CtStatus, Datagram, Direction, Settings, Tuple};
use kpclass_ruleset::decision::{Decision, Disposition, Fact, Unknown};
use kpclass_ruleset::matches::MatchKind;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::target::RejectWith;
use kpclass_ruleset::value::CtState;
use kpclass_ruleset::{Hook, RuleId, StrId};
use protocol::Said;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;
use table::{Found, Id, Sources, Table};

/// Connections, followed packet by packet.
#[derive(Clone, Debug)]
pub struct Tracker<'a> {
    walk: Walk<'a>,
    settings: Settings,
    table: Table,
    /// What rules make of sources, now and before.
    sources: Sources,
    memory: Memory,
    now: Duration,
}

/// What became of one packet.
#[derive(Clone, Debug)]
pub struct Tracked {
    /// As rules behind conntrack saw it.
    pub ctstate: CtState,
    /// The direction, of a packet that has a connection.
    pub direction: Option<Direction>,
    /// The connection's status behind the packet; none: without a connection.
    pub status: CtStatus,
    /// The connection's original tuple, and the reply tuple as far as all of it is known.
    pub tuples: Option<(Tuple, Option<Tuple>)>,
    /// The connection's mark.
    pub connmark: u32,
    /// The decision of the rules, its way and what it rests on. Of a packet that nat asks no rule about, its `dnat` and `snat` are none: what happens to it is
    /// in `header`.
    pub traced: Traced,
    /// The rules that gave the connection another destination, and another source, unless rules were replaced since.
    pub rules: (Option<RuleId>, Option<RuleId>),
    /// It is dropped at the very end because another connection has its tuple (CONNTRACK.md 3.7): behind all rules.
    pub clashes: bool,
    /// It is a segment of TCP that conntrack ignores (CONNTRACK.md 4.1): it lets it pass as one of the connection, and learns nothing from it.
    pub unread: bool,
    /// The header where the packet ended; of an unknown decision as it came.
    pub header: Header,
}

/// Addresses and ports as they have become. What is `None` is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source address.
    pub source: Option<IpAddr>,
    /// Destination address; `None`: some address of this node.
    pub destination: Option<IpAddr>,
    /// Source and destination port, of a protocol that has them.
    pub ports: Option<(Option<u16>, Option<u16>)>,
}

/// A packet that was asked about, before it is settled which of the possible ways it took.
#[derive(Clone, Debug)]
pub struct Asked {
    packet: Packet,
    look: Look,
    ways: Vec<Concluded>,
    tracked: Vec<Tracked>,
}

/// A way with the entry that it leaves.
#[derive(Clone, Debug)]
struct Concluded {
    way: Way<()>,
    /// Of a first packet that came to its end: the entry, its source chosen as far as that is determined. If it clashes, it is lost with the packet.
    new: Option<Entry>,
    /// Another connection has its tuple.
    clashes: bool,
}

impl Asked {
    /// What can have become of it, in the order of the numbers drawn; never empty.
    pub fn ways(&self) -> &[Tracked] {
        &self.tracked
    }

    /// Whether two of the ways leave the same connection and the same lists behind, so that it does not matter which one it took.
    pub fn leave_the_same(&self, one: usize, other: usize) -> bool {
        let left = |at: usize| {
            let concluded = self.ways.get(at)?;
            let kept = concluded.way.kept.as_ref()?;
            let seen = (kept.ctstate, kept.looked_at, kept.confirmed);
            let rest = (seen, kept.connmark, &kept.memory);
            let reset = Disposition::Reject(RejectWith::TcpReset);
            let closes = concluded.way.decision.disposition == reset;
            Some((&concluded.new, concluded.clashes, closes, rest))
        };
        left(one) == left(other)
    }
}

/// What conntrack finds before any table.
#[derive(Clone, Debug)]
struct Look {
    ctstate: CtState,
    /// The entry as it is behind conntrack, with the direction.
    entry: Option<(Entry, Direction)>,
    /// Where it stands in the table, if it does.
    id: Option<Id>,
    /// The entry that this packet ends.
    ends: Option<Id>,
    /// It cannot be told whose it is.
    unknown: Option<Unknown>,
    /// If it is nobody's, it begins a connection of this tuple.
    may_begin: Option<Tuple>,
    assumptions: Vec<Assumption>,
}

impl Look {
    fn none(ctstate: CtState) -> Self {
        Self {
            ctstate,
            entry: None,
            id: None,
            ends: None,
            unknown: None,
            may_begin: None,
            assumptions: Vec::new(),
        }
    }

    fn unknown(fact: Fact) -> Self {
        Self::by(Unknown { rule: None, fact })
    }

    fn by(unknown: Unknown) -> Self {
        Self {
            unknown: Some(unknown),
            ..Self::none(CtState::Invalid)
        }
    }
}

impl<'a> Tracker<'a> {
    /// Nothing was seen yet.
    pub fn new(walk: Walk<'a>, settings: Settings) -> Self {
        let mut memory = Memory::default();
        memory.grow(&hitcounts(&walk));
        let mut sources = Sources::default();
        sources.add(walk.ruleset);
        Self {
            walk,
            settings,
            table: Table::default(),
            sources,
            memory,
            now: Duration::ZERO,
        }
    }

    /// Other rules from now on; connections stay, and so do the `recent` lists that both rulesets name (CONNTRACK.md 7).
    pub fn replace(&mut self, walk: Walk<'a>) {
        let (old, counts) = (self.walk, hitcounts(&walk));
        let named = |name: StrId| {
            let text = old.ruleset.text(name);
            let mut names = counts.keys().copied();
            names.find(|name| walk.ruleset.text(*name) == text)
        };
        self.memory = std::mem::take(&mut self.memory).renamed(&named);
        self.memory.grow(&counts);
        self.table.forget_rules();
        self.sources.add(walk.ruleset);
        self.walk = walk;
    }

    /// The settings, which can be changed: they count from the next packet on.
    pub fn settings(&mut self) -> &mut Settings {
        &mut self.settings
    }

    /// How many connections there are, those that are over but were not asked for since included.
    pub fn connections(&self) -> usize {
        self.table.len()
    }

    /// A packet at a time since some beginning, for one number drawn.
    pub fn decide(&mut self, datagram: &Datagram, at: Duration, draw: u64) -> Tracked {
        self.decide_seen(datagram, at, draw, None)
    }

    /// The same, where the source is known with which it left (as for [`Self::settle`]).
    pub fn decide_seen(
        &mut self,
        datagram: &Datagram,
        at: Duration,
        draw: u64,
        seen: Option<(IpAddr, Option<u16>)>,
    ) -> Tracked {
        let asked = self.ask_for(datagram, at, Point::new(draw));
        let tracked = asked.tracked[0].clone();
        let status = self.settle(&asked, 0, seen);
        Tracked { status, ..tracked }
    }

    /// A packet of a connection that is known, of which nothing was told since the packet came: as it was at that time. Time goes on from where it was.
    pub fn decide_late(&mut self, datagram: &Datagram, at: Duration, draw: u64) -> Tracked {
        let now = std::mem::replace(&mut self.now, at);
        let tracked = self.decide(datagram, at, draw);
        self.now = now.max(at);
        tracked
    }

    /// A reply shows whose it is, but not which source nat has chosen: that of the connection with this original tuple is taken to be this one, if it is open.
    pub fn pin(&mut self, original: &Tuple, source: (IpAddr, u16)) {
        if let Some((id, Direction::Original)) = self.table.by_tuple(original, self.now)
            && let Some(entry) = self.table.get(id)
            && matches!(entry.client, Client::Open(_))
        {
            self.table.close(id, source, self.now);
        }
    }

    /// Everything that can become of a packet. What did has to be settled before the next is asked about.
    pub fn ask(&mut self, datagram: &Datagram, at: Duration) -> Asked {
        self.ask_for(datagram, at, Numbers::ALL)
    }

    fn ask_for<S: Share>(&mut self, datagram: &Datagram, at: Duration, share: S) -> Asked {
        self.now = self.now.max(at);
        self.memory.now = self.now;
        self.end_eviction();
        let mut look = match self.walk.is_conntrack_on() {
            true => self.look(datagram),
            // Nothing can ask for it.
            false => Look::none(CtState::Invalid),
        };
        let mut packet = datagram.packet.clone();
        packet.ctstate = look.ctstate;
        let mut ways: Vec<Way<()>> = Vec::new();
        match look.unknown {
            Some(unknown) => ways.push(Way {
                share: (),
                decision: Decision::unknown(unknown),
                path: Vec::new(),
                assumptions: look.assumptions.clone(),
                kept: None,
                lost: None,
            }),
            None => {
                let mut state = self.state(&packet, &mut look);
                state.is_joined = datagram.is_joined;
                ways.extend(self.walk.ways(state, share).into_iter().map(without_share));
            }
        }
        let ways: Vec<Concluded> = ways
            .into_iter()
            .map(|way| self.conclude(&look, way))
            .collect();
        let tracked = ways.iter().map(|way| tracked(&packet, &look, way));
        Asked {
            tracked: tracked.collect(),
            packet,
            look,
            ways,
        }
    }

    fn state<'p>(&self, packet: &'p Packet, look: &mut Look) -> State<'p> {
        let mut state = State::new(packet);
        state.is_followed = true;
        state.memory = self.memory.clone();
        state.assumptions = std::mem::take(&mut look.assumptions);
        if let Some((entry, direction)) = &look.entry {
            state.connmark = entry.mark;
            state.connection = Some(Connection {
                direction: *direction,
                status: entry.status,
                original: entry.original,
                later: look.id.map(|_| entry.later(*direction)),
                left: entry.deadline.saturating_sub(self.now),
            });
        }
        state
    }

    /// CONNTRACK.md 2.
    fn look(&mut self, datagram: &Datagram) -> Look {
        let packet = &datagram.packet;
        let arrives = packet.hook != Hook::Output;
        if datagram.is_broken && arrives || is_unknown_icmp(packet) {
            return Look::none(CtState::Invalid);
        }
        if protocol::is_left_alone(packet) {
            return Look::none(CtState::Untracked);
        }
        if protocol::is_error(packet) {
            return self.look_at_error(datagram);
        }
        let Some(tuple) = Tuple::of(datagram) else {
            return Look::unknown(Fact::Conntrack);
        };
        let found = self.find(&tuple, arrives);
        match found {
            Found::Several => Look {
                may_begin: Some(tuple),
                ..Look::unknown(Fact::NatAddress)
            },
            Found::Vague(id) => {
                let vague = self.table.get(id).and_then(|entry| entry.vague);
                let fact = Fact::Conntrack;
                Look {
                    may_begin: Some(tuple),
                    ..Look::by(vague.unwrap_or(Unknown { rule: None, fact }))
                }
            }
            Found::Lost => Look {
                may_begin: Some(tuple),
                ..Look::unknown(Fact::ConntrackFull)
            },
            Found::Nothing => self.first(datagram, tuple, None),
            Found::One(id, direction) => self.next(datagram, tuple, id, direction),
            Found::Fits(id) => {
                self.table.close(id, tuple.destination, self.now);
                let mut look = self.next(datagram, tuple, id, Direction::Reply);
                look.assumptions.push(Assumption::NatSource);
                look
            }
        }
    }

    fn find(&mut self, tuple: &Tuple, arrives: bool) -> Found {
        let (node, now) = (self.walk.node, self.now);
        let found = self.table.find(tuple, arrives, node, &self.sources, now);
        match found {
            Found::One(id, _) | Found::Fits(id)
                if self.table.evicts_until.is_some() && self.is_evictable(id) =>
            {
                self.evict(id);
                Found::Vague(id)
            }
            found => found,
        }
    }

    /// CONNTRACK.md 3.1 and 3.2. `ends`: the entry whose place it takes.
    fn first(&mut self, datagram: &Datagram, tuple: Tuple, ends: Option<Id>) -> Look {
        let Some(inverse) = tuple.inverse() else {
            return Look::none(CtState::Invalid);
        };
        let max = self.settings.max as usize;
        if self.table.len() >= max {
            self.table.expire(self.now);
            if self.table.len() >= max {
                self.begin_eviction();
                return Look {
                    may_begin: Some(tuple),
                    ..Look::unknown(Fact::ConntrackFull)
                };
            }
        }
        let mut entry = Entry::new(tuple, inverse, self.now);
        let (direction, now) = (Direction::Original, self.now);
        let said = protocol::ask(&mut entry, datagram, direction, true, now, &self.settings);
        match said {
            Said::Valid(timeout) => {
                entry.deadline = now + timeout.unwrap_or_default();
                if is_out_of_the_blue(datagram) {
                    entry.vague = Some(Unknown {
                        rule: None,
                        fact: Fact::Conntrack,
                    });
                    entry.deadline = now + self.settings.longest(tuple.protocol);
                }
                Look {
                    entry: Some((entry, direction)),
                    ends,
                    ..Look::none(CtState::New)
                }
            }
            Said::Unknown => Look::unknown(Fact::Conntrack),
            _ => Look {
                ends,
                ..Look::none(CtState::Invalid)
            },
        }
    }

    /// A packet of an entry (CONNTRACK.md 2.5).
    fn next(&mut self, datagram: &Datagram, tuple: Tuple, id: Id, direction: Direction) -> Look {
        let Some(mut entry) = self.table.get(id).cloned() else {
            return Look::unknown(Fact::Conntrack);
        };
        let has_reply = entry.status.intersects(CtStatus::SEEN_REPLY);
        let ctstate = match direction {
            Direction::Original if !has_reply => CtState::New,
            _ => CtState::Established,
        };
        let now = self.now;
        let mut assumptions = Vec::new();
        if entry.may_have_been_unacknowledged(now, &self.settings) {
            assumptions.push(Assumption::Acknowledged);
        }
        let said = protocol::ask(&mut entry, datagram, direction, false, now, &self.settings);
        let mut look = Look {
            id: Some(id),
            assumptions,
            ..Look::none(ctstate)
        };
        match said {
            Said::Unknown => return Look::unknown(Fact::Conntrack),
            Said::BeginsAnew => return self.first(datagram, tuple, Some(id)),
            // What it changed stays, though the packet has no connection.
            Said::Invalid => {
                self.table.put_back(id, entry);
                return Look::none(CtState::Invalid);
            }
            Said::Gone => look.ends = Some(id),
            Said::Valid(None) => {}
            Said::Valid(Some(timeout)) => entry.deadline = now + timeout,
        }
        entry.last = now;
        if direction == Direction::Reply {
            entry.status = entry.status.with(CtStatus::SEEN_REPLY);
        }
        look.entry = Some((entry, direction));
        look
    }

    /// CONNTRACK.md 6.1.
    fn look_at_error(&mut self, datagram: &Datagram) -> Look {
        let invalid = Look::none(CtState::Invalid);
        let Some(inverse) = datagram.carried.and_then(|tuple| tuple.inverse()) else {
            return invalid;
        };
        let arrives = datagram.packet.hook != Hook::Output;
        let found = self.find(&inverse, arrives);
        let (id, direction, assumptions) = match found {
            Found::One(id, direction) => (id, direction, Vec::new()),
            Found::Fits(id) => {
                self.table.close(id, inverse.destination, self.now);
                (id, Direction::Reply, vec![Assumption::NatSource])
            }
            Found::Several => return Look::unknown(Fact::NatAddress),
            Found::Vague(id) => match self.table.get(id).and_then(|entry| entry.vague) {
                Some(unknown) => return Look::by(unknown),
                None => return invalid,
            },
            Found::Lost => return Look::unknown(Fact::ConntrackFull),
            Found::Nothing => return invalid,
        };
        let Some(entry) = self.table.get(id).cloned() else {
            return invalid;
        };
        if inverse.destination.0 != datagram.packet.destination {
            return invalid;
        }
        Look {
            entry: Some((entry, direction)),
            id: Some(id),
            assumptions,
            ..Look::none(CtState::Related)
        }
    }
}

/// The greatest hitcount that rules ask each `recent` list for.
fn hitcounts(walk: &Walk<'_>) -> BTreeMap<StrId, u32> {
    let mut counts = BTreeMap::new();
    for (_, rule) in walk.ruleset.rules() {
        for m in walk.ruleset.matches(rule) {
            if let MatchKind::Recent(recent) = &m.kind {
                let count: &mut u32 = counts.entry(recent.name).or_default();
                *count = recent.hitcount.max(*count);
            }
        }
    }
    counts
}

/// Whether it begins an SCTP connection without an INIT or HEARTBEAT: which tags are right from then on depends on tags (CONNTRACK.md 4.3).
fn is_out_of_the_blue(datagram: &Datagram) -> bool {
    const INIT: u8 = 1;
    const HEARTBEAT: u8 = 4;
    let chunks = datagram.chunks.as_ref();
    chunks.is_some_and(|list| !list.iter().any(|c| matches!(*c, INIT | HEARTBEAT)))
}

/// ICMP of a type that nobody knows (`NR_ICMP_TYPES`).
fn is_unknown_icmp(packet: &Packet) -> bool {
    use kpclass_ruleset::value::protocol::ICMP;
    packet.protocol == ICMP && packet.icmp.is_some_and(|(kind, _)| kind > 18)
}

fn without_share<S>(way: Way<S>) -> Way<()> {
    Way {
        share: (),
        decision: way.decision,
        path: way.path,
        assumptions: way.assumptions,
        kept: way.kept,
        lost: way.lost,
    }
}

fn tracked(packet: &Packet, look: &Look, concluded: &Concluded) -> Tracked {
    let way = &concluded.way;
    let kept = way.kept.as_ref().filter(|_| !way.decision.is_unknown());
    let has_connection =
        kept.is_none_or(|kept| !matches!(kept.ctstate, CtState::Invalid | CtState::Untracked));
    let entry = look.entry.as_ref().filter(|_| has_connection);
    let direction = entry.map(|(_, direction)| *direction);
    let entry = concluded.new.as_ref().or(entry.map(|(entry, _)| entry));
    Tracked {
        ctstate: kept.map_or(look.ctstate, |kept| kept.ctstate),
        direction,
        status: entry.map_or(CtStatus::default(), |entry| entry.status),
        tuples: entry.map(|entry| (entry.original, entry.reply())),
        connmark: kept.map_or(0, |kept| kept.connmark),
        traced: Traced {
            decision: way.decision.clone(),
            path: way.path.clone(),
            assumptions: way.assumptions.clone(),
        },
        rules: entry.map_or((None, None), |entry| entry.rules),
        clashes: concluded.clashes,
        unread: entry.is_some_and(|entry| entry.remembered.has_ignored()),
        header: header(packet, kept, concluded.new.as_ref()),
    }
}

fn header(packet: &Packet, kept: Option<&Kept>, new: Option<&Entry>) -> Header {
    let known = |address: Address| match address {
        Address::Known(a) => Some(a),
        Address::ThisNode => None,
    };
    let Some(kept) = kept else {
        return Header {
            source: Some(packet.source),
            destination: Some(packet.destination),
            ports: packet.ports.map(|(a, b)| (Some(a), Some(b))),
        };
    };
    // Of a first packet nat's last word on the source is the entry's.
    let (source, from) = match new.map(|entry| entry.client) {
        Some(Client::Known(address, part)) => (Some(address), Some(part)),
        Some(Client::Open(open)) => (None, open.part),
        None => (known(kept.source), kept.ports.map(|(from, _)| from)),
    };
    Header {
        source,
        destination: known(kept.destination),
        ports: kept.ports.map(|(_, to)| (from, Some(to))),
    }
}
