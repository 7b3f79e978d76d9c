//! What a walk may forget once nat is done with the destination: two destinations between which no later rule
//! distinguishes go on as one, so that the rest of the way is compiled once and not once an endpoint.

use crate::graph::{AddressRange, Ask, Graph, MaskedAddress};
use crate::machine::state::{Address, Class, FULL_WIDTH, NONE, State};
use crate::program::addresses;
use ahash::{AHashMap, AHashSet};
use kpclass_ruleset::TableId;
use kpclass_ruleset::value::PortRange;
use std::hash::{Hash, Hasher};

/// The tests of the destination that rules outside nat PREROUTING and OUTPUT make.
#[derive(Clone, Debug, Default)]
pub(crate) struct TailTests {
    hosts: AHashSet<u128>,
    prefixes: Vec<MaskedAddress>,
    ranges: Vec<(u128, u128)>,
    ports: AHashSet<u16>,
    port_ranges: Vec<PortRange>,
    /// Whether destinations may be merged at all.
    merges: bool,
}

/// The destinations that a walker has met, by what later rules can tell of them.
#[derive(Debug, Default)]
pub(crate) struct Tail<'a> {
    /// `None`: nothing is merged.
    tests: Option<&'a TailTests>,
    signatures: AHashMap<Signature, Destination>,
    /// The last one met, and what it was replaced by.
    last: Option<(Destination, Destination)>,
}

/// Address and port.
pub(crate) type Destination = (u128, Option<u16>);

/// What later rules can tell of a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Signature {
    host: Option<u128>,
    /// A bit for each prefix and range.
    prefixes: u64,
    nature: addresses::Nature,
    port: Option<u16>,
    /// A bit for each range of ports.
    port_ranges: u64,
    has_port: bool,
}

/// Only what tells most apart: equality looks at the rest.
impl Hash for Signature {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let port = u64::from(self.port.unwrap_or_default());
        hasher.write_u128(self.host.unwrap_or_default());
        hasher.write_u64(self.prefixes);
        hasher.write_u64(self.port_ranges ^ port << 48);
    }
}

/// More distinct prefixes or ranges than this and destinations are not merged: comparing them all would cost more than it saves.
const MAX_TESTS: usize = 64;

impl TailTests {
    pub(crate) fn new(graph: &Graph) -> Self {
        let mut tail = Self::default();
        let mut prefixes = AHashSet::new();
        let mut ranges = AHashSet::new();
        let mut port_ranges = AHashSet::new();
        for chain in graph
            .chains
            .iter()
            .filter(|chain| chain.is_late || chain.table != TableId::Nat)
        {
            for rule in &graph.rules[chain.rules.start as usize..chain.rules.end as usize] {
                for condition in graph.conditions(rule) {
                    match condition.ask {
                        Ask::Destination(prefix) => match prefix.host(graph.family) {
                            Some(host) => drop(tail.hosts.insert(host)),
                            None => drop(prefixes.insert(prefix)),
                        },
                        Ask::DestinationRange(AddressRange { first, last }) => {
                            ranges.insert((first, last));
                        }
                        Ask::DestinationPort(r) if r.first == r.last => {
                            tail.ports.insert(r.first);
                        }
                        Ask::DestinationPort(range) => drop(port_ranges.insert(range)),
                        Ask::PortList(_, list) => {
                            port_ranges.extend(&graph.port_lists[list.0 as usize]);
                        }
                        _ => {}
                    }
                }
            }
        }
        tail.prefixes = prefixes.into_iter().collect();
        tail.ranges = ranges.into_iter().collect();
        tail.port_ranges = port_ranges.into_iter().collect();
        let asked = graph.asked;
        tail.merges = !asked.original
            && !asked.late_sets
            && tail.prefixes.len() + tail.ranges.len() <= MAX_TESTS
            && tail.port_ranges.len() <= MAX_TESTS;
        tail
    }

    fn signature(
        &self,
        graph: &Graph,
        locals: &addresses::Locals,
        (destination, port): Destination,
    ) -> Signature {
        let in_range = |(first, last): &(u128, u128)| *first <= destination && destination <= *last;
        Signature {
            host: self.hosts.get(&destination).copied(),
            prefixes: bits(
                self.prefixes
                    .iter()
                    .map(|p| p.contains(destination))
                    .chain(self.ranges.iter().map(in_range)),
            ),
            nature: addresses::nature(locals, graph.family, destination),
            port: port.and_then(|p| self.ports.get(&p).copied()),
            port_ranges: bits(
                self.port_ranges
                    .iter()
                    .map(|r| port.is_some_and(|p| r.contains(p))),
            ),
            has_port: port.is_some(),
        }
    }
}

impl<'a> Tail<'a> {
    pub(crate) fn new(tests: &'a TailTests) -> Self {
        Self {
            tests: tests.merges.then_some(tests),
            signatures: AHashMap::new(),
            last: None,
        }
    }

    /// Replaces the destination by the first one met that later rules cannot tell from it, and drops what nothing asks
    /// any more.
    pub(crate) fn forget(&mut self, graph: &Graph, locals: &addresses::Locals, state: &mut State) {
        if !graph.asked.late_draw {
            state.lo = 0;
            state.width = FULL_WIDTH;
        }
        if !graph.asked.late_recent {
            state.recent = NONE;
        }
        let Address::Known(destination) = state.destination else {
            return;
        };
        if matches!(state.class, Class::Portless { .. }) {
            return;
        }
        let met = (destination, state.destination_port);
        let Some(first) = self.goes_on_as(graph, locals, met) else {
            return;
        };
        state.destination = Address::Known(first.0);
        state.destination_port = first.1;
        // The class only said what the original key was.
        if let (Some(protocol), Some(port)) = (state.protocol, first.1) {
            state.class = Class::Port { protocol, port };
        }
    }

    /// The first destination met that later rules cannot tell from this one; `None`: none are merged.
    pub(crate) fn goes_on_as(
        &mut self,
        graph: &Graph,
        locals: &addresses::Locals,
        met: Destination,
    ) -> Option<Destination> {
        let tests = self.tests?;
        let first = match self.last {
            Some((last, first)) if last == met => first,
            _ => {
                let signature = tests.signature(graph, locals, met);
                *self.signatures.entry(signature).or_insert(met)
            }
        };
        self.last = Some((met, first));
        Some(first)
    }
}

/// At most [`MAX_TESTS`] answers as bits, the first in the lowest.
fn bits(answers: impl Iterator<Item = bool>) -> u64 {
    answers
        .enumerate()
        .fold(0, |bits, (at, answer)| bits | u64::from(answer) << at)
}
