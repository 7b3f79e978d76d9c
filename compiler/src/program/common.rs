//! Later packets of different connections with which rules do the same, because they ask for nothing in which these differ.

use super::Program;
use super::addresses::{self, Route};
use super::evaluate::Context;
use crate::graph::Ask;
use crate::header::{Header, known};
use crate::machine::{Connection, Side};
use kpclass_ruleset::Hook;
use kpclass_ruleset::conntrack::Direction;
use kpclass_ruleset::value::{Family, Interface};

/// What such packets have in common: as [`super::Followed::is_common`] says of one, so it is with all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Common {
    context: Context,
    direction: Direction,
    protocol: u8,
    mark: u32,
    to: Translated,
    from: Translated,
    way: Way,
}

/// What a connection does to an address; its status says no more, as far as `--ctstate` asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Translated {
    Not,
    /// To one that is known.
    Known,
    /// To one of this node's.
    SomeLocal,
}

impl Translated {
    fn of(side: Option<Side>) -> Self {
        match side {
            None => Self::Not,
            Some((None, _)) => Self::SomeLocal,
            Some((Some(_), _)) => Self::Known,
        }
    }
}

/// Where routing sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Way {
    Dropped,
    Local,
    Forward,
    Out,
}

impl Program {
    /// Of a packet with ports whose connection was there before; `None`: it has nothing in common with others.
    pub fn common(
        &self,
        header: &Header,
        context: &Context,
        connection: &Connection,
    ) -> Option<Common> {
        const WHOLE: u16 = known::PORTS | known::FRAGMENT | known::ICMP;
        let later = connection.later?;
        if header.known & WHOLE != known::PORTS || self.changes_connmarks() {
            return None;
        }
        Some(Common {
            context: *context,
            direction: connection.direction,
            protocol: header.protocol,
            mark: connection.mark,
            to: Translated::of(later.to),
            from: Translated::of(later.from),
            way: self.way(header, context, later.to)?,
        })
    }

    /// The way of a packet with this new destination, if it has one.
    fn way(&self, header: &Header, context: &Context, to: Option<Side>) -> Option<Way> {
        let (family, sends) = (self.family(), context.hook == Hook::Output);
        let by_lo = context.in_interface == Some(Interface::lo());
        let refuses = family == Family::V6 && !sends;
        if refuses && addresses::refused_on_entry(header.source, header.destination, by_lo) {
            return None;
        }
        let Some(to) = to.map_or(Some(header.destination), |side| side.0) else {
            return Some(Way::Local);
        };
        if sends {
            let comes_back = addresses::comes_back(&self.rules.locals, family, to);
            return Some(if comes_back { Way::Local } else { Way::Out });
        }
        match self.route(header, context, to) {
            Route::Dropped => Some(Way::Dropped),
            Route::Local => Some(Way::Local),
            Route::Forward => Some(Way::Forward),
            Route::Unknown(_) => None,
        }
    }
}

/// Whether what [`Common`] holds answers a condition.
pub(crate) fn is_common(ask: &Ask) -> bool {
    matches!(
        ask,
        Ask::True
            | Ask::False
            | Ask::InInterface(_)
            | Ask::FromDevice
            | Ask::Protocol(_)
            | Ask::PortProtocol
            | Ask::HasPorts
            | Ask::Fragment
            | Ask::HasIcmp
            | Ask::Mark(..)
            | Ask::Connmark(..)
            | Ask::CtState(_)
            | Ask::HasConnection
            | Ask::Direction(_)
    )
}
