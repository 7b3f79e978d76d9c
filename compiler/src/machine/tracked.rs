//! What a walk answers otherwise where the packet's connection is followed (CONNTRACK.md 5).

use super::ask::{Answer, has_connection};
use super::lists::Lists;
use super::ops;
use super::state::{Address, Leg, NONE, State};
use super::{Machine, Stop};
use crate::graph::{Ask, Condition, Graph, RecentAsk};
use crate::header::{Header, known};
use crate::program::test::Test;
use kpclass_ruleset::Hook;
use kpclass_ruleset::conntrack::{CtStatus, Direction, LaterOption, LaterTest};
use kpclass_ruleset::decision::Fact;
use kpclass_ruleset::matches::RecentOperation;
use kpclass_ruleset::value::{CtStates, PortRange, Prefix, protocol};
use std::time::Duration;

/// What conntrack knows of a packet that has a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The packet's direction.
    pub direction: Direction,
    /// As rules see it at first.
    pub status: CtStatus,
    /// The entry's protocol: of an ICMP error not the packet's.
    pub protocol: u8,
    /// The original tuple's source.
    pub source: (u128, u16),
    /// And its destination.
    pub destination: (u128, u16),
    /// The parts of the original tuple's inverse, source and destination.
    pub inverse: (u16, u16),
    /// Of a connection that was there before the packet; without it nat's rules are asked.
    pub later: Option<Later>,
    /// Its mark.
    pub mark: u32,
    /// How long it lives from now on.
    pub left: Duration,
    /// The packet is lost where this node has sent it, as its connection is confirmed.
    pub is_lost: bool,
}

/// A side of a tuple, as far as known: address (`None`: some address of this node) and part.
pub type Side = (Option<u128>, Option<u16>);

/// How a connection that was there before translates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Later {
    /// The reply tuple's source.
    pub server: (u128, u16),
    /// Its destination.
    pub client: Side,
    /// The packet's new destination.
    pub to: Option<Side>,
    /// Its new source.
    pub from: Option<Side>,
}

/// The packet of a walk, with what packets before it left.
#[derive(Debug)]
pub(crate) struct Tracked<'a> {
    pub(crate) header: &'a Header,
    pub(crate) connection: Option<&'a Connection>,
    pub(crate) lists: &'a mut Lists,
    /// Something was asked that the connection's next packet may be answered otherwise: a list, its status, how long it lives.
    pub(crate) varies: bool,
    /// Something was asked in which packets of other connections differ, though they have all of [`crate::Common`] in common.
    pub(crate) singles_out: bool,
    /// It was joined of several fragments.
    pub(crate) is_joined: bool,
    /// Where the last way ended.
    pub(crate) ended: Option<State>,
}

impl Machine<'_> {
    /// Something is asked that [`crate::Common`] does not tell.
    pub(super) fn single_out(&mut self) {
        if let Some(tracked) = &mut self.tracked {
            tracked.singles_out = true;
        }
    }

    fn later(&self) -> Option<Later> {
        self.tracked.as_ref()?.connection?.later
    }

    /// Whether the packet is lost as its connection is confirmed.
    pub(super) fn is_lost(&self) -> bool {
        let connection = self.tracked.as_ref().and_then(|t| t.connection);
        connection.is_some_and(|c| c.is_lost)
    }

    pub(super) fn is_joined(&self) -> bool {
        self.tracked.as_ref().is_some_and(|t| t.is_joined)
    }

    pub(super) fn is_found_already(&self) -> bool {
        self.later().is_some()
    }

    /// A packet of a connection that is found already, in nat's place (CONNTRACK.md 5.2).
    pub(super) fn translate(&mut self, state: &mut State) -> Option<Stop> {
        let later = self.later().filter(|_| has_connection(state));
        if later.is_none() {
            // It goes where its own addresses lead.
            self.single_out();
        }
        if later.is_some() && self.is_redirect_of_changed() {
            return ops::dropped(state, None);
        }
        let hook = state.place().map(|(_, hook)| hook);
        match (later, hook) {
            (Some(Later { to: Some(to), .. }), Some(Hook::Prerouting | Hook::Output)) => {
                let address = to.0.map_or(Address::SomeLocal, Address::Known);
                let stranded = self.is_stranded(state, address);
                state.destination = address;
                let has_ports = self.header(known::PORTS).is_some();
                let port = to.1.filter(|_| has_ports);
                state.destination_port = port.or(state.destination_port);
                if stranded {
                    return ops::dropped(state, None);
                }
            }
            (
                Some(Later {
                    from: Some(from), ..
                }),
                Some(Hook::Input | Hook::Postrouting),
            ) => {
                state.source = from.0.map_or(Address::SomeLocal, Address::Known);
            }
            _ => {}
        }
        self.leave_stage(state);
        None
    }

    /// Whether it is an ICMP redirect about a connection that nat has changed, which nat drops (CONNTRACK.md 6.2).
    fn is_redirect_of_changed(&self) -> bool {
        const REDIRECT: u8 = 5;
        let changed = CtStatus::DNAT.with(CtStatus::SNAT);
        let connection = self.tracked.as_ref().and_then(|tracked| tracked.connection);
        let header = self.header(known::ICMP);
        connection.is_some_and(|of| of.status.intersects(changed))
            && header.is_some_and(|h| h.protocol == protocol::ICMP && h.icmp_type == REDIRECT)
    }

    /// Whether a sent packet gets no route to where it is translated (WALK.md 1.5).
    fn is_stranded(&mut self, state: &State, to: Address) -> bool {
        let header = self.tracked.as_ref().map(|tracked| tracked.header);
        match (self.needs_route(state, to), header) {
            (Some(Test::LeavesLoopback(to)), Some(header)) => {
                self.single_out();
                header.leaves_loopback(to)
            }
            _ => false,
        }
    }

    fn header(&self, bit: u16) -> Option<&Header> {
        let header = self.tracked.as_ref()?.header;
        (header.known & bit != 0).then_some(header)
    }

    /// What only who follows connections can say.
    pub(super) fn answer_tracked(
        &mut self,
        state: &mut State,
        condition: &Condition,
    ) -> Option<Answer> {
        let tracked = self.tracked.as_ref()?;
        let connection = tracked.connection.filter(|_| has_connection(state));
        let known = |answer| Some(Answer::Known(answer));
        match (condition.ask, connection) {
            (Ask::Recent(id), _) => {
                let ask = self.graph.recents[id as usize];
                return Some(self.recent_of_all(state, ask, condition.inverted));
            }
            (_, None) => return None,
            (
                Ask::CtState(states),
                Some(Connection {
                    later: Some(_),
                    status,
                    ..
                }),
            ) => {
                if states.contains(super::ask::seen_ctstate(state)) {
                    return known(true);
                }
                let bit = |flag, bit| states.intersects(flag) && status.intersects(bit);
                return known(
                    bit(CtStates::SNAT, CtStatus::SNAT) || bit(CtStates::DNAT, CtStatus::DNAT),
                );
            }
            _ if !condition.of_connection => return None,
            _ => {}
        }
        let connection = connection?;
        match condition.ask {
            Ask::Protocol(number) => known(connection.protocol == number),
            Ask::Direction(original) => {
                known(original == (connection.direction == Direction::Original))
            }
            Ask::OriginalSource(prefix) => known(prefix.contains(connection.source.0)),
            Ask::OriginalDestination(prefix) => known(prefix.contains(connection.destination.0)),
            Ask::OriginalSourcePort(range) => known(range.contains(connection.source.1)),
            Ask::OriginalDestinationPort(range) => known(range.contains(connection.destination.1)),
            Ask::Later(id) => {
                self.tracked.iter_mut().for_each(|t| t.varies = true);
                Some(self.later_options(state, connection, id))
            }
            _ => None,
        }
    }

    /// The source port that nat has given to a later packet of its connection, or any if that is not known, where a rule can still ask: on the lo leg.
    pub(super) fn translated_source_port(&self, state: &State) -> Option<PortRange> {
        let (_, port) = self.later()?.from?;
        let asks = state.leg == Leg::Lo && has_connection(state);
        asks.then(|| port.map_or(PortRange::ANY, PortRange::single))
    }

    /// Options that need more than one packet (CONNTRACK.md 5.4): the first that is false, else the first that is unknown.
    fn later_options(&self, state: &State, connection: &Connection, id: u32) -> Answer {
        let Some(options) = &self.graph.later_options[id as usize] else {
            return Answer::Test(Test::Unknown(Fact::Conntrack));
        };
        let reply = self.reply(state, connection);
        let mut missing = None;
        for option in options {
            match later_option(state, connection, reply, option) {
                Ok(true) => {}
                Ok(false) => return Answer::Known(false),
                Err(fact) => missing = missing.or(Some(fact)),
            }
        }
        match missing {
            None => Answer::Known(true),
            Some(fact) => Answer::Test(Test::Unknown(fact)),
        }
    }

    /// The reply tuple, as translated so far: source and destination.
    fn reply(&self, state: &State, connection: &Connection) -> (Side, Side) {
        if let Some(later) = connection.later {
            let server = later.server;
            return ((Some(server.0), Some(server.1)), later.client);
        }
        let (from, to) = self.addresses(state);
        match self.header(known::PORTS) {
            None => (
                (to, Some(connection.inverse.0)),
                (from, Some(connection.inverse.1)),
            ),
            Some(header) => {
                let port = state.destination_port.unwrap_or(header.destination_port);
                let rewrite = self.source_rewrite(state);
                let own = Some(header.source_port).filter(|_| rewrite.is_none());
                ((to, Some(port)), (from, own))
            }
        }
    }

    /// The present source and destination; `None`: some address of this node.
    pub(crate) fn addresses(&self, state: &State) -> (Option<u128>, Option<u128>) {
        let header = self.tracked.as_ref().map(|tracked| tracked.header);
        header.map_or((None, None), |header| {
            (
                source(self.graph, state, header),
                destination(state, header),
            )
        })
    }

    /// The present ports of a packet that has some.
    pub(crate) fn ports(&self, state: &State) -> Option<(u16, u16)> {
        let header = self.header(known::PORTS)?;
        let translated = state.source != Address::Original && has_connection(state);
        let from = self
            .later()
            .and_then(|later| later.from?.1)
            .filter(|_| translated);
        Some((
            from.unwrap_or(header.source_port),
            state.destination_port.unwrap_or(header.destination_port),
        ))
    }

    /// Asks and changes a list that packets before this one filled.
    fn recent_of_all(&mut self, state: &State, ask: RecentAsk, inverted: bool) -> Answer {
        use RecentOperation::{Remove, Set, Update};
        let Some(tracked) = &mut self.tracked else {
            return Answer::Known(false);
        };
        tracked.varies = true;
        let (lists, header) = (&mut *tracked.lists, tracked.header);
        let Some(address) = (match ask.by_destination {
            true => destination(state, header),
            false => source(self.graph, state, header),
        }) else {
            return by_unknown(lists, ask);
        };
        let address = address & ask.mask;
        let ttl = (header.known & known::TTL != 0).then_some(header.ttl);
        if ask.operation == Set {
            lists.enter(ask.list, address, ttl);
            return Answer::Known(true);
        }
        if let Some(fact) = lists.doubt(ask.list, address, ask.mask) {
            return Answer::Test(Test::Unknown(fact));
        }
        let Some(entry) = lists.find(ask.list, address) else {
            return Answer::Known(false);
        };
        match (ask.same_ttl, entry.ttl, ttl) {
            (false, ..) | (true, Some(0), _) | (true, _, Some(0)) | (true, None, None) => {}
            (true, Some(a), Some(b)) if a == b => {}
            (true, Some(_), Some(_)) => return Answer::Known(false),
            _ => return Answer::Test(Test::Unknown(Fact::Ttl)),
        }
        if ask.operation == Remove {
            lists.remove(ask.list, address);
            return Answer::Known(true);
        }
        let hit = entry.hits(lists.now, ask.seconds) >= ask.hitcount.max(1) as usize;
        let enters = ask.operation == Update && hit != inverted;
        if ask.reap {
            lists.reap(ask, enters.then_some(address));
        }
        if enters {
            lists.enter(ask.list, address, ttl);
        }
        Answer::Known(hit)
    }
}

fn source(graph: &Graph, state: &State, header: &Header) -> Option<u128> {
    match state.source {
        Address::Known(a) => Some(a),
        Address::Original if state.netmap == NONE => Some(header.source),
        Address::Original => Some(graph.mapped(state.netmap, header.source)),
        Address::SomeLocal => None,
    }
}

fn destination(state: &State, header: &Header) -> Option<u128> {
    match state.destination {
        Address::Known(a) => Some(a),
        Address::Original => Some(header.destination),
        Address::SomeLocal => None,
    }
}

/// By an address of this node that is not known: what it enters or changes may be met by any address from then on.
fn by_unknown(lists: &mut Lists, ask: RecentAsk) -> Answer {
    let may_be_met = !lists.is_empty(ask.list);
    let unknown = super::ask::UNKNOWN_LOCAL;
    match ask.operation {
        RecentOperation::Set => {
            lists.forget_what(ask.list);
            Answer::Known(true)
        }
        _ if !may_be_met => Answer::Known(false),
        RecentOperation::Check => unknown,
        RecentOperation::Update | RecentOperation::Remove => {
            lists.forget_what(ask.list);
            unknown
        }
    }
}

fn later_option(
    state: &State,
    connection: &Connection,
    (source, destination): (Side, Side),
    option: &LaterOption,
) -> Result<bool, Fact> {
    let inside = |address: Option<u128>, prefix: Prefix| {
        let prefix = crate::graph::MaskedAddress::new(prefix);
        address
            .map(|a| prefix.contains(a))
            .ok_or(Fact::LocalAddresses)
    };
    let part = |part: Option<u16>, range: PortRange| {
        part.map(|p| range.contains(p)).ok_or(Fact::NatAddress)
    };
    let on_lo = state.leg == Leg::Lo;
    let answer = match option.test {
        LaterTest::ReplySource(prefix) => inside(source.0, prefix)?,
        LaterTest::ReplyDestination(prefix) => inside(destination.0, prefix)?,
        LaterTest::ReplySourcePort(range) => part(source.1, range)?,
        LaterTest::ReplyDestinationPort(range) => part(destination.1, range)?,
        LaterTest::Status(asked) => {
            let confirmed = if on_lo {
                CtStatus::CONFIRMED
            } else {
                CtStatus::default()
            };
            connection.status.with(confirmed).intersects(asked)
        }
        LaterTest::Expires(..) if connection.later.is_none() && !on_lo => {
            return Err(Fact::Conntrack);
        }
        LaterTest::Expires(first, last) => {
            (u64::from(first)..=u64::from(last)).contains(&connection.left.as_secs())
        }
    };
    Ok(answer != option.inverted)
}
