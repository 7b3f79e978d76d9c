//! One connection (CONNTRACK.md 1.3).

use super::sctp::Sctp;
use super::tcp::Tcp;
use super::tuple::{End, Tuple, Width};
use kpclass_compiler::{Connection, Later, Side};
use kpclass_ruleset::RuleId;
use kpclass_ruleset::conntrack::{CtStatus, Direction};
use kpclass_ruleset::value::protocol;
use std::time::Duration;

/// An entry of conntrack's table, as it is read and changed; how it lies there is a slot's (`slot.rs`). Times are nanoseconds of the captures' clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry<A> {
    pub(super) original: Tuple<A>,
    /// The reply tuple's source.
    pub(super) server: End<A>,
    /// The reply tuple's destination.
    pub(super) client: Client<A>,
    pub(super) status: CtStatus,
    pub(super) mark: u32,
    pub(super) remembered: Remembered,
    pub(super) deadline: u64,
    /// The rules that gave it another destination, and another source.
    pub(super) rules: (Option<RuleId>, Option<RuleId>),
    /// Replies are met as they come, not only behind nat.
    pub(super) meets_replies: bool,
    /// What became of the last packet of each direction, for those that go the same way in the same ctstate.
    pub(super) places: [Place; 2],
}

/// What an entry remembers of packets of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The verdict, by position.
    pub(super) verdict: u16,
    /// What whoever follows the connection has noted of it.
    pub(super) note: u32,
}

impl Place {
    /// Nothing yet.
    pub(super) const NONE: Self = Self {
        verdict: u16::MAX,
        note: u32::MAX,
    };
}

/// What an entry remembers of its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remembered {
    Tcp(Tcp),
    Sctp(Sctp),
    /// When its first packet came.
    Since(u64),
}

impl Remembered {
    /// Whether its connection is on its way out (`can_early_drop`).
    pub(super) fn is_closing(self) -> bool {
        match self {
            Self::Tcp(tcp) => tcp.is_closing(),
            Self::Sctp(sctp) => sctp.is_closing(),
            Self::Since(_) => false,
        }
    }

    /// In one word, which says the same again with the protocol.
    #[inline(always)]
    pub(super) fn word(self) -> u64 {
        match self {
            Self::Tcp(tcp) => tcp.word().into(),
            Self::Sctp(sctp) => sctp.word().into(),
            Self::Since(first) => first,
        }
    }

    #[inline(always)]
    pub(super) fn of_word(protocol: u8, word: u64) -> Self {
        match protocol {
            protocol::TCP => Self::Tcp(Tcp::of_word(word as u32)),
            protocol::SCTP => Self::Sctp(Sctp::of_word(word as u16)),
            _ => Self::Since(word),
        }
    }
}

/// The side of the reply tuple that nat's source rewriting makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client<A> {
    /// It is known.
    Known(A, u16),
    /// nat's choice was not seen yet.
    Open(Open<A>),
}

/// What is known of a source that nat chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Open<A> {
    /// The addresses; `None`: one of the node's (MASQUERADE).
    pub(super) addresses: Option<(A, A)>,
    /// The port, if it was kept.
    pub(super) part: Option<u16>,
}

impl<A: Width> Open<A> {
    /// Whether it may be this one.
    pub(super) fn fits(
        &self,
        (address, part): End<A>,
        is_local: impl Fn(A) -> Option<bool>,
    ) -> bool {
        let fits_address = match self.addresses {
            Some((first, last)) => (first..=last).contains(&address),
            None => is_local(address) != Some(false),
        };
        fits_address && self.part.is_none_or(|p| p == part)
    }

    fn side(&self) -> Side {
        let single = self.addresses.filter(|(first, last)| first == last);
        (single.map(|(first, _)| first.number()), self.part)
    }
}

impl<A: Width> Entry<A> {
    /// For its first packet, before any rule.
    pub(super) fn new(original: Tuple<A>, inverse: Tuple<A>, now: u64) -> Self {
        let client = inverse.to();
        Self {
            original,
            server: inverse.from(),
            client: Client::Known(client.0, client.1),
            status: CtStatus::default(),
            mark: 0,
            remembered: match original.protocol {
                protocol::TCP => Remembered::Tcp(Tcp::default()),
                protocol::SCTP => Remembered::Sctp(Sctp::default()),
                _ => Remembered::Since(now),
            },
            deadline: now,
            rules: (None, None),
            meets_replies: false,
            places: [Place::NONE; 2],
        }
    }

    /// The reply tuple, if all of it is known.
    pub(super) fn reply(&self) -> Option<Tuple<A>> {
        match self.client {
            Client::Known(address, part) => {
                let protocol = self.original.protocol;
                Some(Tuple::new(protocol, self.server, (address, part)))
            }
            Client::Open(_) => None,
        }
    }

    /// As rules ask about it. `is_later`: it was there before the packet.
    pub(super) fn asked(&self, direction: Direction, is_later: bool, now: u64) -> Connection {
        let number = |(address, part): End<A>| (address.number(), part);
        let inverse = self.original.inverse();
        Connection {
            direction,
            status: self.status,
            protocol: self.original.protocol,
            source: number(self.original.from()),
            destination: number(self.original.to()),
            inverse: inverse.map_or((0, 0), |t| (t.source_part, t.destination_part)),
            later: is_later.then(|| self.later(direction)),
            mark: self.mark,
            left: Duration::from_nanos(self.deadline.saturating_sub(now)),
            is_lost: false,
        }
    }

    /// What it does to a packet of a direction (CONNTRACK.md 5.2).
    pub(super) fn later(&self, direction: Direction) -> Later {
        let known = |(address, part): End<A>| (Some(address.number()), Some(part));
        let client = match self.client {
            Client::Known(address, part) => known((address, part)),
            Client::Open(open) => open.side(),
        };
        let has = |bit| self.status.intersects(bit);
        let (to, from) = match direction {
            Direction::Original => (
                has(CtStatus::DNAT).then(|| known(self.server)),
                has(CtStatus::SNAT).then_some(client),
            ),
            Direction::Reply => (
                has(CtStatus::SNAT).then(|| known(self.original.from())),
                has(CtStatus::DNAT).then(|| known(self.original.to())),
            ),
        };
        Later {
            server: (self.server.0.number(), self.server.1),
            client,
            to,
            from,
        }
    }
}
