//! One connection (CONNTRACK.md 1.3).

use super::protocol::Remembered;
use crate::state::{Address, Later};
use kpclass_ruleset::RuleId;
use kpclass_ruleset::conntrack::{CtStatus, Direction, Tuple};
use kpclass_ruleset::decision::Unknown;
use kpclass_ruleset::node::NodeFacts;
use std::net::IpAddr;
use std::time::Duration;

/// An entry of conntrack's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) original: Tuple,
    /// The reply tuple's source and its protocol's part.
    pub(super) server: (IpAddr, u16),
    /// The reply tuple's destination.
    pub(super) client: Client,
    pub(super) status: CtStatus,
    pub(super) mark: u32,
    pub(super) remembered: Remembered,
    /// When its first packet came.
    pub(super) first: Duration,
    /// When the last packet of it came.
    pub(super) last: Duration,
    pub(super) deadline: Duration,
    /// The rules that gave it another destination, and another source, unless rules have been replaced since.
    pub(super) rules: (Option<RuleId>, Option<RuleId>),
    /// What its first packet's decision depended on.
    pub(super) vague: Option<Unknown>,
}

/// The side of the reply tuple that nat's source rewriting makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// It is known.
    Known(IpAddr, u16),
    /// nat's choice was not seen yet.
    Open(Open),
}

/// What is known of a source that nat chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Open {
    /// The addresses; `None`: one of the node's (MASQUERADE).
    pub(super) addresses: Option<(IpAddr, IpAddr)>,
    /// The port, if it was kept.
    pub(super) part: Option<u16>,
}

impl Open {
    /// Whether it may be this one.
    pub(super) fn fits(&self, (address, part): (IpAddr, u16), node: &NodeFacts) -> bool {
        let fits_address = match self.addresses {
            Some((first, last)) => (first..=last).contains(&address),
            None => node.is_local(address) != Some(false),
        };
        fits_address && self.part.is_none_or(|p| p == part)
    }
}

impl Entry {
    /// For its first packet, before any rule.
    pub(super) fn new(original: Tuple, inverse: Tuple, now: Duration) -> Self {
        Self {
            original,
            server: inverse.source,
            client: Client::Known(inverse.destination.0, inverse.destination.1),
            status: CtStatus::default(),
            mark: 0,
            remembered: Remembered::new(original.protocol),
            first: now,
            last: now,
            deadline: now,
            rules: (None, None),
            vague: None,
        }
    }

    /// Whether the kernel may evict it where its table is full: it is not ASSURED, or its connection is on its way out.
    pub(super) fn is_evictable(&self) -> bool {
        !self.status.intersects(CtStatus::ASSURED) || self.remembered.is_closing()
    }

    /// Whether it has got another port than its own, or may have.
    pub(super) fn has_moved(&self) -> bool {
        let own = self.original.source.1;
        match self.client {
            Client::Known(_, part) => !self.original.is_icmp() && part != own,
            Client::Open(open) => open.part != Some(own),
        }
    }

    /// The reply tuple, if all of it is known.
    pub(super) fn reply(&self) -> Option<Tuple> {
        match self.client {
            Client::Known(address, part) => Some(Tuple {
                protocol: self.original.protocol,
                source: self.server,
                destination: (address, part),
            }),
            Client::Open(_) => None,
        }
    }

    /// What it does to a packet of a direction (CONNTRACK.md 5.2).
    pub(super) fn later(&self, direction: Direction) -> Later {
        let client = match self.client {
            Client::Known(address, part) => (Address::Known(address), Some(part)),
            Client::Open(open) => (open.address(), open.part),
        };
        let known = |(address, part)| (Address::Known(address), Some(part));
        let (to, from) = match direction {
            Direction::Original => (known(self.server), client),
            Direction::Reply => (
                known(self.original.source),
                known(self.original.destination),
            ),
        };
        let (destination, source) = match direction {
            Direction::Original => (CtStatus::DNAT, CtStatus::SNAT),
            Direction::Reply => (CtStatus::SNAT, CtStatus::DNAT),
        };
        Later {
            server: self.server,
            client,
            destination: self.status.intersects(destination).then_some(to),
            source: self.status.intersects(source).then_some(from),
        }
    }
}

impl Open {
    fn address(&self) -> Address {
        match self.addresses {
            Some((first, last)) if first == last => Address::Known(first),
            _ => Address::ThisNode,
        }
    }
}
