//! For each chain, which of its rules a destination key can meet: the walk then steps over the others, and compiling
//! stays close to linear in the rules.

use crate::graph::{Ask, Graph};
use crate::lower::has_effect;
use crate::machine::state::{Address, Class, State};
use ahash::AHashMap;

/// Chains of at most this many rules are walked rule by rule.
const SMALL: u32 = 8;

/// What a rule demands of the destination key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Demand {
    /// Protocol, address, port.
    Exact(u8, u128, u16),
    /// Protocol, port.
    Port(u8, u16),
    /// Address.
    Destination(u128),
    /// None of these.
    Any,
}

/// Which demand the conditions of a rule make, up to one that has an effect: what is drawn or remembered is so for every key that gets there.
pub(crate) fn demand(graph: &Graph, rule: u32) -> Demand {
    let (mut protocol, mut destination, mut port) = (None, None, None);
    for condition in graph.conditions(&graph.rules[rule as usize]) {
        // What is asked of a connection is not asked of a packet without one.
        if has_effect(&condition.ask) {
            break;
        }
        if condition.inverted || condition.of_connection {
            continue;
        }
        match condition.ask {
            Ask::Protocol(p) => protocol = Some(p),
            Ask::Destination(prefix) => {
                destination = prefix.host(graph.family).or(destination);
            }
            Ask::DestinationPort(range) if range.first == range.last => port = Some(range.first),
            _ => {}
        }
    }
    match (protocol, destination, port) {
        (Some(protocol), Some(destination), Some(port)) => {
            Demand::Exact(protocol, destination, port)
        }
        (Some(protocol), None, Some(port)) => Demand::Port(protocol, port),
        (_, Some(destination), _) => Demand::Destination(destination),
        _ => Demand::Any,
    }
}

/// The rules of one large chain by what they demand, each list ascending.
#[derive(Clone, Debug, Default)]
struct ChainIndex {
    exact: AHashMap<ExactKey, Vec<u32>>,
    port: AHashMap<PortKey, Vec<u32>>,
    destination: AHashMap<u128, Vec<u32>>,
    any: Vec<u32>,
    /// All that are in `destination` or `any`.
    unported: Vec<u32>,
    /// All but those in `exact`.
    inexact: Vec<u32>,
}

/// The index of every chain that is worth one.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    chains: Vec<Option<Box<ChainIndex>>>,
}

impl Index {
    pub(crate) fn new(graph: &Graph) -> Self {
        let chains = graph.chains.iter().map(|chain| {
            let rules = chain.rules.clone();
            (rules.end - rules.start > SMALL).then(|| {
                let mut index = Box::<ChainIndex>::default();
                rules.for_each(|rule| index.add(rule, demand(graph, rule)));
                index
            })
        });
        Self {
            chains: chains.collect(),
        }
    }

    /// Whether the key tells which rules of a chain are met.
    pub(crate) fn looks_at_keys(&self, chain: u32) -> bool {
        let index = self.chains[chain as usize].as_ref();
        index.is_some_and(|index| {
            !(index.exact.is_empty() && index.port.is_empty() && index.destination.is_empty())
        })
    }

    /// The first rule of the chain at or after `state.rule` that the state's key can meet.
    pub(crate) fn next(&self, graph: &Graph, state: &State) -> Option<u32> {
        let end = graph.chains[state.chain as usize].rules.end;
        match &self.chains[state.chain as usize] {
            None => (state.rule..end).find(|rule| !is_excluded(graph, *rule, state)),
            Some(index) => index.next(state, end),
        }
    }
}

/// Whether the state's class says that its key makes no exact or port class, as the rule demands one.
fn is_excluded(graph: &Graph, rule: u32, state: &State) -> bool {
    if state.destination != Address::Original {
        return false;
    }
    match (state.class, state.destination_port) {
        (Class::Port { protocol, port }, Some(present)) if present == port => {
            match demand(graph, rule) {
                Demand::Exact(..) => true,
                Demand::Port(p, q) => (p, q) != (protocol, port),
                Demand::Destination(_) | Demand::Any => false,
            }
        }
        (Class::Other, None) => {
            matches!(demand(graph, rule), Demand::Exact(..) | Demand::Port(..))
        }
        _ => false,
    }
}

impl ChainIndex {
    fn add(&mut self, rule: u32, demand: Demand) {
        match demand {
            Demand::Exact(protocol, destination, port) => {
                return self
                    .exact
                    .entry((protocol, destination, port))
                    .or_default()
                    .push(rule);
            }
            Demand::Port(protocol, port) => {
                self.port.entry((protocol, port)).or_default().push(rule);
            }
            Demand::Destination(destination) => {
                self.destination.entry(destination).or_default().push(rule);
                self.unported.push(rule);
            }
            Demand::Any => {
                self.any.push(rule);
                self.unported.push(rule);
            }
        }
        self.inexact.push(rule);
    }

    fn next(&self, state: &State, end: u32) -> Option<u32> {
        let at = state.rule;
        let original = state.destination == Address::Original;
        match (state.protocol, state.destination, state.destination_port) {
            (Some(protocol), Address::Known(destination), Some(port)) => [
                after(self.exact.get(&(protocol, destination, port)), at),
                after(self.port.get(&(protocol, port)), at),
                after(self.destination.get(&destination), at),
                after(Some(&self.any), at),
            ]
            .into_iter()
            .flatten()
            .min(),
            // The class says that the original key makes no exact class.
            (Some(protocol), _, Some(port))
                if original && matches!(state.class, Class::Port { port: p, .. } if p == port) =>
            {
                let by_port = after(self.port.get(&(protocol, port)), at);
                by_port
                    .into_iter()
                    .chain(after(Some(&self.unported), at))
                    .min()
            }
            (Some(_), Address::Known(destination), None)
                if matches!(state.class, Class::Portless { .. }) =>
            {
                let by_destination = after(self.destination.get(&destination), at);
                by_destination
                    .into_iter()
                    .chain(after(Some(&self.any), at))
                    .min()
            }
            (_, _, None) if original && state.class == Class::Other => {
                after(Some(&self.unported), at)
            }
            _ => Some(at).filter(|r| *r < end),
        }
    }
}

fn after(rules: Option<&Vec<u32>>, at: u32) -> Option<u32> {
    let rules = rules?;
    rules.get(rules.partition_point(|r| *r < at)).copied()
}

/// Protocol, destination and destination port.
pub(crate) type ExactKey = (u8, u128, u16);

/// Protocol and destination port.
pub(crate) type PortKey = (u8, u16);

/// The classes of destination keys that the rules single out, then the one for all others.
pub(crate) fn classes(graph: &Graph) -> Vec<Class> {
    let (exact, ports) = keys(graph);
    let exact = exact
        .into_iter()
        .map(|(protocol, destination, port)| Class::Exact {
            protocol,
            destination,
            port,
        });
    let ports = ports
        .into_iter()
        .map(|(protocol, port)| Class::Port { protocol, port });
    exact.chain(ports).chain([Class::Other]).collect()
}

/// The keys that rules single out: exact ones, and protocols with ports.
pub(crate) fn keys(graph: &Graph) -> (Vec<ExactKey>, Vec<PortKey>) {
    let demands = (0..graph.rules.len() as u32).map(|rule| demand(graph, rule));
    let (mut exact, mut ports) = (Vec::new(), Vec::new());
    for demand in demands {
        match demand {
            Demand::Exact(protocol, destination, port) => exact.push((protocol, destination, port)),
            Demand::Port(protocol, port) => ports.push((protocol, port)),
            Demand::Destination(_) | Demand::Any => {}
        }
    }
    exact.sort_unstable();
    exact.dedup();
    ports.sort_unstable();
    ports.dedup();
    (exact, ports)
}
