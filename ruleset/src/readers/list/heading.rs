//! The heading of a chain in a listing.

use super::columns::count;
use crate::ruleset::{Counters, Policy};

/// `Chain INPUT (policy ACCEPT 12 packets, 9K bytes)`, `Chain KUBE-SERVICES (2 references)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heading<'t> {
    /// The chain's name.
    pub(super) name: &'t str,
    /// Its policy, if built-in.
    pub(super) policy: Option<Policy>,
    /// The counters beside the policy, of `-v`.
    pub(super) counters: Option<Counters>,
}

impl<'t> Heading<'t> {
    /// Reads a heading; `None` for another line. What stands in the brackets may be cut away.
    pub(super) fn read(text: &'t str) -> Option<Self> {
        let mut words = text
            .trim_ascii()
            .strip_prefix("Chain ")?
            .split_ascii_whitespace();
        let name = words.next()?;
        let said = words.clone().next();
        if said.is_some_and(|word| !word.starts_with('(')) {
            return None;
        }
        let mut heading = Self {
            name,
            policy: None,
            counters: None,
        };
        if said == Some("(policy") {
            words.next();
            heading.policy = match words.next()?.trim_end_matches(')') {
                "ACCEPT" => Some(Policy::Accept),
                "DROP" => Some(Policy::Drop),
                _ => None,
            };
            heading.counters = counters(words);
        }
        Some(heading)
    }
}

/// `12 packets, 9K bytes)`.
fn counters<'t>(mut words: impl Iterator<Item = &'t str>) -> Option<Counters> {
    let packets = count(words.next()?)?;
    if words.next()? != "packets," {
        return None;
    }
    Some(Counters {
        packets,
        bytes: count(words.next()?)?,
    })
}
