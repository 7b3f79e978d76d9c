//! What frames behind nat show that rules do not say: connections to endpoints that no rule names any more (stale conntrack entries), and sources that were
//! masqueraded, or not, though rules say otherwise.

use super::by_service::chances;
use super::findings::{Finding, Masquerade, Stale, What};
use super::shown;
use super::story::{Met, Noted};
use crate::connections::{Packet, Shown, Width};
use crate::rules::FamilyRules;
use ahash::AHashMap;
use kpclass_compiler::header::{Header, known};
use kpclass_compiler::{ClassId, Program};
use kpclass_ruleset::decision::{Decision, Nat, Snat};
use kpclass_ruleset::packet::tcp_flag::{ACK, SYN};
use kpclass_ruleset::value::{Family, address_number, number_address, protocol};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Address and port.
type End = (u128, u16);

/// Protocol and both sides.
pub(super) type Key = (u8, End, End);

/// First packets whose sight behind nat is waited for, in each of two generations.
const MOST_RECENT: usize = 4096;

/// A packet behind nat that nothing but addresses and ports tells apart is not looked for any longer than this.
const SOON_NS: u64 = 1_000_000_000;

/// Stale endpoints that are told apart, at most.
const MOST_STALE: usize = 4096;

/// Connections whose packets are counted one by one, at most.
const MOST_WATCHED: usize = 1 << 16;

/// Findings of masquerade that wait for the frame behind nat, and how many frames.
const MOST_WAITING: usize = 64;
const WAIT_FRAMES: u64 = 4096;

/// Connections of one finding that are named.
pub(super) const MOST_NAMED: usize = 5;

#[derive(Debug, Default)]
pub(super) struct Behind {
    present: Recent,
    before: Recent,
    stale: BTreeMap<(ClassId, End), Stale>,
    watched: AHashMap<Key, (ClassId, End)>,
    /// Those of them that are new.
    newly: Vec<Key>,
    masquerade: BTreeMap<(ClassId, IsLost), Masquerade>,
    waiting: Vec<Waiting>,
}

/// Whether rules masquerade what was not, or the other way round.
type IsLost = bool;

/// First packets of connections to Services of which nothing shows yet where they went.
#[derive(Debug, Default)]
struct Recent {
    firsts: Vec<First>,
    by_sign: AHashMap<u64, usize>,
    by_syn: AHashMap<u32, usize>,
    by_client: AHashMap<(u8, End), usize>,
}

#[derive(Clone, Copy, Debug)]
struct First {
    key: Key,
    class: ClassId,
    met: Met,
    length: u16,
    /// `None`: not known.
    ttl: Option<u8>,
    /// Of TCP, a segment in the middle.
    is_picked_up: bool,
    is_found: bool,
}

/// A connection that was masqueraded otherwise than rules say: the frame behind nat is yet to come.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    sign: u64,
    server: End,
    since: u64,
    of: (ClassId, IsLost),
    connection: usize,
}

impl Recent {
    fn add(&mut self, first: First, packet: &Packet) {
        let at = self.firsts.len();
        self.firsts.push(first);
        self.by_client.insert((first.key.0, first.key.1), at);
        packet.sign.map(|sign| self.by_sign.insert(sign, at));
        packet.syn.map(|syn| self.by_syn.insert(syn, at));
    }

    fn find(&mut self, mut at: impl FnMut(&Self) -> Option<usize>) -> Option<&mut First> {
        let at = at(self)?;
        self.firsts.get_mut(at).filter(|first| !first.is_found)
    }
}

impl First {
    /// It is not looked for any longer.
    fn found(&mut self) -> Self {
        self.is_found = true;
        *self
    }
}

impl Behind {
    /// A packet that begins a connection.
    pub(super) fn begin<A: Width>(&mut self, noted: &Noted<'_, A>) {
        if noted.decision.dnat.is_none() {
            self.second_sight(noted);
            self.answer(noted);
            return;
        }
        // What was picked up is translated by rules of its time.
        if !is_middle(&noted.packet.header) {
            self.hold_source(noted);
        }
        if noted.tracked.shown == Shown::Taken {
            return;
        }
        if self.present.firsts.len() >= MOST_RECENT {
            self.before = std::mem::take(&mut self.present);
        }
        let packet = noted.packet;
        let first = First {
            key: key(&noted.key),
            class: noted.class,
            met: noted.met,
            length: packet.header.length,
            ttl: ttl(&packet.header),
            is_picked_up: is_middle(&packet.header),
            is_found: false,
        };
        self.present.add(first, packet);
    }

    /// A packet of no connection: it may be the answer of an endpoint.
    pub(super) fn stray<A: Width>(&mut self, noted: &Noted<'_, A>) {
        self.answer(noted);
    }

    /// A packet of a connection that is watched, or of another.
    pub(super) fn watch<A>(&mut self, noted: &Noted<'_, A>) {
        if self.watched.is_empty() {
            return;
        }
        let key = key(&noted.key);
        if noted.tracked.begins {
            // Another connection of the same client's port.
            self.watched.remove(&key);
            return;
        }
        if let Some(of) = self.watched.get(&key)
            && let Some(stale) = self.stale.get_mut(of)
        {
            stale.packets += 1;
            stale.last = noted.met;
        }
    }

    /// Whether packets of the connection with this original tuple are counted one by one.
    pub(super) fn watches(&self, header: &Header) -> bool {
        !self.watched.is_empty() && self.watched.contains_key(&key(header))
    }

    /// The connections, by original tuple, that are counted so from now on.
    pub(super) fn newly_watched(&mut self) -> impl Iterator<Item = Key> {
        self.newly.drain(..)
    }

    /// The first packet that `at` finds in either generation and that `is_it`.
    fn find(
        &mut self,
        at: impl Fn(&Recent) -> Option<usize>,
        is_it: impl Fn(&First) -> bool,
    ) -> Option<&mut First> {
        let Self {
            present, before, ..
        } = self;
        let both = [present, before].into_iter();
        both.filter_map(|recent| recent.find(&at))
            .find(|first| is_it(first))
    }

    /// A first packet may be one that was met before nat, on its way to an endpoint.
    fn second_sight<A: Width>(&mut self, noted: &Noted<'_, A>) {
        let (packet, h) = (noted.packet, &noted.packet.header);
        let (from, server) = ends(h);
        let (ports, met) = (ports(noted), noted.met);
        let is_own = may_be_of(noted, from);
        let is_elsewhere = |first: &First| first.key.2 != server && is_own(first);
        let has_gone_on = |first: &First| first.ttl.zip(ttl(h)).is_none_or(|(was, is)| is < was);
        let first = match packet.sign {
            Some(sign) => self.find(
                |recent| recent.by_sign.get(&sign).copied(),
                |first| is_elsewhere(first) && has_gone_on(first),
            ),
            // Nothing but addresses, ports, length and a hop less tells it apart from another packet of this client.
            None => self.find(
                |recent| recent.by_client.get(&(h.protocol, from)).copied(),
                |first| {
                    let has_hopped = first.ttl.map(|ttl| ttl.wrapping_sub(1)) == ttl(h);
                    let is_soon = met.timestamp_ns.saturating_sub(first.met.timestamp_ns) < SOON_NS;
                    let is_same = first.length == h.length && has_hopped && is_soon;
                    is_elsewhere(first) && is_same && ports(first.class, server.1)
                },
            ),
        };
        if let Some(first) = first.map(First::found) {
            self.went(noted, &first, server, false);
        }
    }

    /// A packet may be the answer of an endpoint to a packet that was met before nat.
    fn answer<A: Width>(&mut self, noted: &Noted<'_, A>) {
        let h = &noted.packet.header;
        let (server, client) = ends(h);
        let (ports, met) = (ports(noted), noted.met);
        let is_answer = h.tcp_flags & (SYN | ACK) == SYN | ACK;
        let syn = noted.packet.syn.filter(|_| is_answer);
        let is_tcp = h.protocol == protocol::TCP;
        let is_own = may_be_of(noted, client);
        let first = match syn {
            Some(syn) => self.find(
                |recent| recent.by_syn.get(&syn).copied(),
                |first| first.key.2 != server && is_own(first),
            ),
            None => self.find(
                |recent| recent.by_client.get(&(h.protocol, client)).copied(),
                |first| {
                    let is_soon = met.timestamp_ns.saturating_sub(first.met.timestamp_ns) < SOON_NS;
                    let is_middle = !is_tcp || first.is_picked_up && is_middle(h);
                    first.key.2 != server && is_soon && is_middle && ports(first.class, server.1)
                },
            ),
        };
        if let Some(first) = first.map(First::found) {
            self.went(noted, &first, server, true);
        }
    }

    /// A connection went to an endpoint. If it is one of the Service's, only the frames ahead did not reach that far.
    fn went<A: Width>(&mut self, noted: &Noted<'_, A>, first: &First, server: End, answers: bool) {
        let program = &noted.rules.program;
        let (address, port) = (number_address(A::FAMILY, server.0), server.1);
        let is_named =
            |nat: &Nat| nat.address == Some(address) && nat.port.is_none_or(|p| p == port);
        if chances(program, first.class).keys().any(is_named) {
            return;
        }
        let of = (first.class, server);
        if self.stale.len() >= MOST_STALE && !self.stale.contains_key(&of) {
            return;
        }
        let stale = self.stale.entry(of).or_insert_with(|| Stale {
            endpoint: SocketAddr::new(address, port),
            connections: 0,
            packets: 0,
            first: first.met,
            last: first.met,
            frames: Vec::new(),
        });
        stale.connections += 1;
        stale.packets += 1 + u64::from(answers);
        stale.first = stale.first.min(first.met);
        stale.last = stale.last.max(noted.met);
        if stale.frames.len() < MOST_NAMED {
            stale.frames.push((first.met, noted.met));
        }
        if self.watched.len() < MOST_WATCHED {
            self.watched.insert(first.key, of);
            self.newly.push(first.key);
            // Behind nat its packets are met a second time only, but answers are met there alone.
            if answers {
                self.watched.insert(key(&noted.key), of);
            }
        }
    }

    /// Holds the source that a first packet is shown to have behind nat against what rules say.
    fn hold_source<A: Width>(&mut self, noted: &Noted<'_, A>) {
        let Some((server, source)) = shown_source(noted) else {
            return;
        };
        let (own, program) = (ends(&noted.packet.header).0, &noted.rules.program);
        let Some(is_lost) = contradicts(noted.decision, own.0, source.0, program) else {
            return;
        };
        let end = |(address, port): End| SocketAddr::new(number_address(A::FAMILY, address), port);
        let of = (noted.class, is_lost);
        let found = self.masquerade.entry(of).or_insert_with(|| Masquerade {
            is_lost,
            rule: noted.decision.snat.map(|(_, rule)| rule),
            marked_by: noted.decision.marked_by,
            connections: 0,
            client: end(own),
            source: end(source),
            endpoint: end(server),
            frames: Vec::new(),
        });
        found.connections += 1;
        if found.frames.len() >= MOST_NAMED {
            return;
        }
        found.frames.push((noted.met, None));
        let connection = found.frames.len() - 1;
        if let Some(sign) = noted
            .packet
            .sign
            .filter(|_| self.waiting.len() < MOST_WAITING)
        {
            self.waiting.push(Waiting {
                sign,
                server,
                since: noted.met.frame,
                of,
                connection,
            });
        }
    }

    /// Whether it waits for a frame behind nat.
    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// A frame, before anything else is made of it.
    pub(super) fn sees(&mut self, packet: &Packet, met: Met) {
        let Self {
            waiting,
            masquerade,
            ..
        } = self;
        let (_, to) = ends(&packet.header);
        waiting.retain(|waiting| {
            let is_it = Some(waiting.sign) == packet.sign && waiting.server == to;
            if is_it && let Some(found) = masquerade.get_mut(&waiting.of) {
                found.frames[waiting.connection].1 = Some(met);
            }
            !is_it && met.frame.wrapping_sub(waiting.since) < WAIT_FRAMES
        });
    }

    pub(super) fn findings(&self, of: &FamilyRules<'_>, family: Family) -> Vec<Finding> {
        let finding = |class: ClassId, what| {
            let rule = of.program.dnat_chances(class).first()?.0.rule;
            Some(Finding {
                family,
                service: of.services.name_of_rule(rule)?.to_owned(),
                key: Some(of.program.class_name(class)),
                what,
            })
        };
        let stale = self.stale.iter();
        let stale = stale.map(|((class, _), stale)| (*class, What::Stale(stale.clone())));
        let others = self.masquerade.iter();
        let others = others.map(|((class, _), found)| (*class, What::Masquerade(found.clone())));
        let all = stale.chain(others);
        all.filter_map(|(class, what)| finding(class, what))
            .collect()
    }
}

/// To which endpoint a first packet was sent, and from which source: as frames behind nat show it.
fn shown_source<A: Width>(noted: &Noted<'_, A>) -> Option<(End, End)> {
    let (nat, _) = noted.decision.dnat?;
    let server = (address_number(nat.address?), nat.port?);
    let (source, port) = noted.shows.source((A::of(server.0), server.1))?;
    Some((server, (source.number(), port)))
}

/// Whether rules masquerade (or translate otherwise) what was not (`true`), or the other way round. `None`: it is as they say, or that cannot be told.
fn contradicts(decision: &Decision, own: u128, source: u128, program: &Program) -> Option<IsLost> {
    let is_kept = own == source;
    let Some((snat, _)) = decision.snat else {
        return (!is_kept && !decision.is_unknown()).then_some(false);
    };
    let may_stay = match snat {
        // Of the node's own packets the address may be the one that it would get.
        Snat::Masquerade => program.locality(own) != Some(false),
        Snat::To { addresses, .. } => addresses.is_none_or(|(first, last)| {
            (address_number(first)..=address_number(last)).contains(&own)
        }),
        Snat::Netmap(_) => true,
    };
    (is_kept && !may_stay).then_some(true)
}

/// Whether a class's endpoints have a port.
fn ports<'n, A>(noted: &Noted<'n, A>) -> impl Fn(ClassId, u16) -> bool + use<'n, A> {
    let program = &noted.rules.program;
    move |class, port| {
        chances(program, class)
            .keys()
            .any(|nat| nat.port == Some(port))
    }
}

/// Whether a client behind nat may be a first packet's: it kept its source, or got one of this node's addresses.
fn may_be_of<'n, A>(noted: &Noted<'n, A>, client: End) -> impl Fn(&First) -> bool + use<'n, A> {
    let may_be_local = noted.rules.program.locality(client.0) != Some(false);
    move |first| may_be_local || first.key.1 == client
}

fn ends(header: &Header) -> (End, End) {
    let from = (header.source, header.source_port);
    (from, (header.destination, header.destination_port))
}

pub(super) fn key(header: &Header) -> Key {
    let (from, to) = ends(header);
    (header.protocol, from, to)
}

fn ttl(header: &Header) -> Option<u8> {
    (header.known & known::TTL != 0).then_some(header.ttl)
}

/// A segment that begins nothing.
fn is_middle(header: &Header) -> bool {
    shown::is_middle(header.protocol, header.tcp_flags)
}
