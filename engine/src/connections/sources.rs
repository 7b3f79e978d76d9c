//! What rules make of sources.

use super::tuple::Width;
use kpclass_ruleset::Ruleset;
use kpclass_ruleset::target::Target;
use kpclass_ruleset::value::{Prefix, address_number, number_address};

/// The sources that rules rewrite to.
#[derive(Clone, Debug)]
pub(super) struct Sources<A> {
    ranges: Vec<(A, A)>,
    networks: Vec<Prefix>,
}

impl<A: Width> Sources<A> {
    /// Those of these rules.
    pub(super) fn new(ruleset: &Ruleset) -> Self {
        let mut sources = Self {
            ranges: Vec::new(),
            networks: Vec::new(),
        };
        sources.add(ruleset);
        sources
    }

    /// Those of further rules.
    pub(super) fn add(&mut self, ruleset: &Ruleset) {
        let number = |address| A::of(address_number(address));
        for (_, rule) in ruleset.rules() {
            match &rule.target {
                Target::Snat(range) => {
                    let addresses = range.addresses.map(|(a, b)| (number(a), number(b)));
                    self.ranges.extend(addresses);
                }
                Target::Netmap(to) if !self.networks.contains(to) => self.networks.push(*to),
                _ => {}
            }
        }
        self.ranges.sort_unstable();
        self.ranges.dedup();
    }

    pub(super) fn hold(&self, address: A) -> bool {
        let inside = |(first, last): &(A, A)| (first..=last).contains(&&address);
        let as_address = number_address(A::FAMILY, address.number());
        self.ranges.iter().any(inside) || self.networks.iter().any(|n| n.contains(as_address))
    }
}
