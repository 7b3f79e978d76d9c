//! The program's nodes.

use crate::graph::MaskedAddress;
use crate::machine::state::Mark;
use kpclass_ruleset::RuleId;
use kpclass_ruleset::decision::{Disposition, Snat};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

/// A node, by position.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// A test, by position in the program's tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TestId(pub u32);

/// One step of the program. Children come before their parents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Node {
    /// To `yes` if the test's answer differs from `inverted`; if there is no answer, both ways.
    Test {
        /// The test.
        test: TestId,
        /// Whether the condition holds where the test is false.
        inverted: bool,
        /// Whether it holds where an earlier condition of the rule was unknown and taken as holding, and this one is unknown too.
        again: bool,
        /// The rule whose condition it is, to name it where the answer is missing.
        rule: RuleId,
        /// The condition holds.
        yes: NodeId,
        /// It does not.
        no: NodeId,
    },
    /// To `yes` if the number drawn is below the threshold.
    Draw {
        /// The draw.
        draw: DrawId,
        /// Below.
        yes: NodeId,
        /// Not below.
        no: NodeId,
    },
    /// Among many: to the first target whose threshold the number drawn is below, or the last.
    Select {
        /// First threshold, in the program's selections.
        first: u32,
        /// Number of thresholds; targets are one more.
        count: u32,
        /// First target.
        targets: u32,
    },
    /// Routing of an arrived packet.
    Route {
        /// By this destination; `None`: the packet's own.
        destination: RouteTo,
        /// To the children: dropped, local, forward; three in the program's route children.
        children: u32,
    },
    /// Notes a rewrite, and goes on.
    Act {
        /// What is noted.
        act: ActId,
        /// Which kind of act that is: all that counting needs.
        kind: ActKind,
        /// What follows.
        next: NodeId,
    },
    /// The end, by position in the program's ends.
    End(EndId),
    /// The rules are walked.
    Walk {
        /// Whether only for packets that do not come the flat way; else the class is too large to compile.
        served: bool,
    },
}

/// A destination for routing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RouteTo {
    /// The packet's own.
    Original,
    /// An address, by position in the program's addresses.
    Known(u32),
    /// Some address of this node.
    SomeLocal,
}

/// A draw, by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DrawId(pub u32);

/// A draw: the number is below `below`, with chance n/d.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Draw {
    /// The threshold.
    pub below: u64,
    /// Numerator.
    pub n: u32,
    /// Denominator.
    pub d: u32,
}

/// An act, by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ActId(pub u32);

/// Something to note on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The destination is rewritten.
    Dnat(DnatAct),
    /// The source is rewritten.
    Snat(Snat, RuleId),
    /// The source's network part is rewritten.
    NetmapSource(MaskedAddress, RuleId),
    /// Masquerade on the account of the rule that set the mark.
    MasqueradeByMarker,
    /// This rule set the mark.
    MarkedBy(RuleId),
}

/// Only the rule, which tells most apart: equality looks at the rest.
impl Hash for Act {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let rule = match self {
            Self::Dnat(dnat) => dnat.rule,
            Self::Snat(_, rule) | Self::NetmapSource(_, rule) | Self::MarkedBy(rule) => *rule,
            Self::MasqueradeByMarker => RuleId(u32::MAX),
        };
        hasher.write_u32(rule.0);
    }
}

impl Act {
    /// Its kind.
    pub fn kind(&self) -> ActKind {
        match self {
            Self::Dnat(_) => ActKind::Dnat,
            Self::Snat(Snat::Masquerade, _) | Self::MasqueradeByMarker => ActKind::Masquerade,
            Self::Snat(..) | Self::NetmapSource(..) => ActKind::Snat,
            Self::MarkedBy(_) => ActKind::Mark,
        }
    }
}

/// The kinds of acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActKind {
    /// The destination is rewritten.
    Dnat,
    /// The source is masqueraded.
    Masquerade,
    /// The source is rewritten otherwise.
    Snat,
    /// The mark is credited to a rule.
    Mark,
}

/// A rewrite of the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DnatAct {
    /// The new address; `None`: see `own_address`.
    pub address: Option<IpAddr>,
    /// Whether `None` means the packet's own address, and not some address of this node.
    pub own_address: bool,
    /// The new port; `None`: the packet's own, if it has one.
    pub port: Option<u16>,
    /// The rule.
    pub rule: RuleId,
}

/// An end, by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndId(pub u32);

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct End {
    /// Where.
    pub disposition: Disposition,
    /// The rule that dropped or rejected it.
    pub decided_by: Option<RuleId>,
    /// The final mark.
    pub(crate) mark: Mark,
}
