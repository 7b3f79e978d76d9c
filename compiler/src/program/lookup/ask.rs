//! What is asked of a packet on the flat way.

use super::super::addresses::{self, Kind, Nature, Route};
use super::super::node::TestId;
use super::super::test::{AddressOf, Limit, Test};
use super::{Address, Context, Port, Program};
use crate::header::{Header, known};
use crate::machine::Rules;
use kpclass_ruleset::value::Family;

/// What of a packet the flat way looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tuple<A: Address> {
    /// Destination address, protocol and destination port.
    pub key: A::Key,
    /// Source address.
    pub source: A,
    /// Source port.
    pub source_port: Port,
}

impl<A: Address> Tuple<A> {
    /// Of a header, if it has ports.
    #[inline]
    pub fn of(header: &Header) -> Option<Self> {
        let without = known::FRAGMENT | known::PORTS;
        (header.known & without == known::PORTS).then(|| Self::of_fields(header))
    }

    /// Of what a header holds, ports or not.
    #[inline]
    pub fn of_fields(header: &Header) -> Self {
        let port = Port::new(header.destination_port);
        Self {
            key: A::new(header.destination).key(header.protocol, port),
            source: A::new(header.source),
            source_port: Port::new(header.source_port),
        }
    }

    /// Destination address.
    #[inline(always)]
    pub fn destination(&self) -> A {
        A::of_key(self.key).0
    }

    /// A header of which no more is known.
    pub(crate) fn header(&self, family: Family) -> Header {
        let v6 = match family {
            Family::V4 => 0,
            Family::V6 => known::V6,
        };
        let (destination, protocol, port) = A::of_key(self.key);
        Header {
            source: self.source.number(),
            destination: destination.number(),
            source_port: self.source_port.number(),
            destination_port: port.number(),
            known: known::PORTS | v6,
            protocol,
            ..Header::default()
        }
    }
}

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask<A> {
    /// Whether the source under a mask is this.
    Source {
        /// The mask.
        mask: A,
        /// The masked address.
        value: A,
    },
    /// Whether the destination under a mask is this.
    Destination {
        /// The mask.
        mask: A,
        /// The masked address.
        value: A,
    },
    /// Whether routing takes the packet's own destination for this node's.
    IsRoutedHere,
    /// Whether the packet comes back, if this node sends it.
    ComesBack(TestId),
    /// Whether IPv6's receive function refuses the packet, which it does not where both addresses are ordinary.
    IsRefused(TestId),
    /// A test of one address's type.
    TypeOf {
        /// The source, or the destination.
        source: bool,
        /// The answer of an ordinary address that is the node's.
        here: bool,
        /// Of one that is not.
        elsewhere: bool,
        /// The test.
        test: TestId,
    },
    /// Any other test that asks nothing but of addresses, ports and devices.
    Test(TestId),
}

impl<A: Address> Ask<A> {
    /// The answer of any packet, ordinary or not; `None`: a fact is missing.
    pub(super) fn answer(
        &self,
        program: &Program,
        tuple: &Tuple<A>,
        context: &Context,
    ) -> Option<bool> {
        match *self {
            Self::Source { mask, value } => Some(tuple.source.is_in(mask, value)),
            Self::Destination { mask, value } => Some(tuple.destination().is_in(mask, value)),
            Self::IsRoutedHere => is_routed_here(program, tuple, context),
            Self::ComesBack(test)
            | Self::IsRefused(test)
            | Self::TypeOf { test, .. }
            | Self::Test(test) => answer(program, test, tuple, context),
        }
    }
}

impl<A> Ask<A> {
    /// The same, where it asks for the type of one address, as what can mostly be answered without the test.
    pub(super) fn of_type(self, rules: &Rules, tests: &[Test]) -> Self {
        let Self::Test(test) = self else { return self };
        let Test::AddressType(of, types, Limit::None) = tests[test.0 as usize] else {
            return self;
        };
        let answer = |is_nodes: bool| {
            let nature = Nature {
                kind: Kind::Unicast,
                local: rules.node.local.as_ref().map(|_| is_nodes),
            };
            addresses::type_of_matches(rules.graph.family, nature, types)
        };
        match (of, answer(true), answer(false)) {
            (AddressOf::Source | AddressOf::Destination, Ok(here), Ok(elsewhere)) => Self::TypeOf {
                source: of == AddressOf::Source,
                here,
                elsewhere,
                test,
            },
            _ => self,
        }
    }
}

fn answer<A: Address>(
    program: &Program,
    test: TestId,
    tuple: &Tuple<A>,
    context: &Context,
) -> Option<bool> {
    let header = tuple.header(program.family);
    let test = &program.tests[test.0 as usize];
    program.asked_of(&header, context).answer(test).ok()
}

fn is_routed_here<A: Address>(
    program: &Program,
    tuple: &Tuple<A>,
    context: &Context,
) -> Option<bool> {
    let header = tuple.header(program.family);
    match program.route(&header, context, header.destination) {
        Route::Local => Some(true),
        Route::Forward => Some(false),
        Route::Dropped | Route::Unknown(_) => None,
    }
}

/// Whether a test asks nothing but of a [`Tuple`] and the device of arrival.
pub(super) fn is_of_tuple(test: &Test) -> bool {
    match test {
        Test::Source(_)
        | Test::SourceRange(..)
        | Test::Destination(_)
        | Test::DestinationRange(..)
        | Test::DestinationIs(..)
        | Test::SidesMeet(..)
        | Test::MappedRange(..)
        | Test::MappedIs(..)
        | Test::Protocol(_)
        | Test::PortProtocol
        | Test::HasPorts
        | Test::Fragment
        | Test::SourcePort(_)
        | Test::DestinationPort(_)
        | Test::TupleSourcePort(_)
        | Test::NewSourcePort(..)
        | Test::NewSourcePortList(..)
        | Test::TupleDestinationPort(_)
        | Test::SourceChanged(..)
        | Test::LeavesLoopback(_)
        | Test::LinkLocalDestination
        | Test::ArrivalKnown
        | Test::PortList(..)
        | Test::HasIcmp
        | Test::Icmp(..)
        | Test::InInterface(_)
        | Test::OutInterface(..)
        | Test::ComesBack
        | Test::DestinationNotLocal
        | Test::RefusedOnEntry
        | Test::ArrivedBy(_)
        | Test::FromDevice => true,
        Test::AddressType(_, _, limit) => *limit == Limit::None,
        Test::Unknown(_)
        | Test::TcpFlags(..)
        | Test::Mark(..)
        | Test::Mac(_)
        | Test::Length(_)
        | Test::Ttl(..)
        | Test::Dscp(_)
        | Test::Set(_) => false,
    }
}
