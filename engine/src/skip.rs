//! Why a frame gets no verdict.

use crate::extract::Skip;
use kpclass_ruleset::conntrack::Unjoined;
use kpclass_ruleset::value::Family;

/// A reason; together with the verdicts they account for every frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SkipReason {
    /// It has no header that is read.
    Frame(Skip),
    /// A fragment other than the first, of packets that are taken one by one.
    LaterFragment,
    /// No rules of its family were given.
    NoRules(Family),
    /// It shows a packet that was asked about before, translated by now.
    BehindNat,
    /// A fragment that did not complete its datagram, where connections are followed: that one alone meets rules. As its frame is told, it waits
    /// ([`Unjoined::Held`]); the report has what became of it.
    Fragment(Unjoined),
}

impl SkipReason {
    /// How many there are.
    pub const COUNT: usize = Skip::COUNT + 4 + Unjoined::ALL.len();

    /// Its position among all.
    pub fn index(self) -> usize {
        match self {
            Self::Frame(skip) => skip as usize,
            Self::LaterFragment => Skip::COUNT,
            Self::NoRules(Family::V4) => Skip::COUNT + 1,
            Self::NoRules(Family::V6) => Skip::COUNT + 2,
            Self::BehindNat => Skip::COUNT + 3,
            Self::Fragment(why) => Skip::COUNT + 4 + why as usize,
        }
    }

    /// The name of the reason at a position.
    pub fn name_at(index: usize) -> &'static str {
        match Skip::NAMES.get(index) {
            Some(name) => name,
            None if index == Skip::COUNT => "later-fragment",
            None if index == Skip::COUNT + 1 => "no-ipv4-rules",
            None if index == Skip::COUNT + 2 => "no-ipv6-rules",
            None if index == Skip::COUNT + 3 => "behind-nat",
            None => Unjoined::ALL[(index - Skip::COUNT - 4) % Unjoined::ALL.len()].name(),
        }
    }

    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        Self::name_at(self.index())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_place_and_a_name_of_its_own() {
        let skips = [Skip::Arp, Skip::NotIp, Skip::LinkType, Skip::Truncated];
        let skips = skips.into_iter().chain([Skip::Malformed, Skip::TooDeep]);
        let families = [Family::V4, Family::V6].map(SkipReason::NoRules);
        let mut all: Vec<SkipReason> = skips.map(SkipReason::Frame).collect();
        all.push(SkipReason::LaterFragment);
        all.extend(families);
        all.push(SkipReason::BehindNat);
        all.extend(Unjoined::ALL.map(SkipReason::Fragment));
        let places: Vec<usize> = all.iter().map(|reason| reason.index()).collect();
        assert_eq!(places, (0..SkipReason::COUNT).collect::<Vec<_>>());
        let mut names: Vec<&str> = all.iter().map(|reason| reason.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SkipReason::COUNT);
    }
}
