//! The heading of a chain in a listing.

use super::columns::count;
use crate::ruleset::Counters;

/// `Chain INPUT (policy ACCEPT 12 packets, 9K bytes)`, `Chain KUBE-SERVICES (2 references)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heading<'t> {
    /// The chain's name.
    pub(super) name: &'t str,
    /// The word for its policy, if it is built-in.
    pub(super) policy: Option<&'t str>,
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
            heading.policy = words.next().map(|word| word.trim_end_matches(')'));
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
