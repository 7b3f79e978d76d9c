//! Why a frame gets no verdict.

use crate::extract::Skip;
use kpclass_ruleset::value::Family;

/// A reason; together with the verdicts they account for every frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SkipReason {
    /// It has no header that is read.
    Frame(Skip),
    /// A fragment other than the first: the kernel joins it with the others before any rule.
    LaterFragment,
    /// No rules of its family were given.
    NoRules(Family),
    /// It shows a packet that was asked about before, translated by now.
    BehindNat,
}

impl SkipReason {
    /// How many there are.
    pub const COUNT: usize = Skip::COUNT + 4;

    /// Its position among all.
    pub fn index(self) -> usize {
        match self {
            Self::Frame(skip) => skip as usize,
            Self::LaterFragment => Skip::COUNT,
            Self::NoRules(Family::V4) => Skip::COUNT + 1,
            Self::NoRules(Family::V6) => Skip::COUNT + 2,
            Self::BehindNat => Skip::COUNT + 3,
        }
    }

    /// The name of the reason at a position.
    pub fn name_at(index: usize) -> &'static str {
        match Skip::NAMES.get(index) {
            Some(name) => name,
            None if index == Skip::COUNT => "later-fragment",
            None if index == Skip::COUNT + 1 => "no-ipv4-rules",
            None if index == Skip::COUNT + 2 => "no-ipv6-rules",
            None => "behind-nat",
        }
    }

    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        Self::name_at(self.index())
    }
}
