//! Three-valued truth: what a match says of a packet of which not everything is known.

use kpclass_ruleset::decision::Fact;

/// What a match says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Truth {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It does not apply to this packet: false, inverted or not.
    Void,
    /// It depends on a fact that is missing.
    Unknown(Fact),
}

impl Truth {
    /// True or false.
    pub(crate) fn of(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }

    /// With a `!` before it, if `inverted`.
    pub(crate) fn inverted(self, inverted: bool) -> Self {
        match self {
            Self::True if inverted => Self::False,
            Self::False if inverted => Self::True,
            other => other,
        }
    }

    /// Both: false beats unknown, and the first unknown names the fact.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::False | Self::Void, _) => self,
            (_, Self::False | Self::Void) => other,
            (Self::Unknown(_), _) => self,
            _ => other,
        }
    }
}
