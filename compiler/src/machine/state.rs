//! Where a walk stands, and what it knows.

use crate::graph::Graph;
use kpclass_ruleset::value::CtState;
use kpclass_ruleset::{Hook, TableId};
use std::hash::{Hash, Hasher};

/// No rule, chain, or stack.
pub(crate) const NONE: u32 = u32::MAX;

/// [`State::snat`]: no rule, but `KUBE-POSTROUTING`'s body where that is missing.
pub(crate) const IMPLIED: u32 = u32::MAX - 1;

/// The stretch of the way, each with its tables in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Leg {
    /// Arrived, before any table.
    Enter,
    /// Arrived, up to routing.
    Arrive,
    /// To this node.
    Local,
    /// To another.
    Forward,
    /// From this node.
    Send,
    /// From this node to this node, received anew.
    Return,
    /// On its way back in.
    Lo,
    /// Ended: left this node.
    Out,
    /// Ended: dropped outside any chain.
    Dropped,
}

impl Leg {
    /// Its tables.
    pub(crate) fn stages(self) -> &'static [(TableId, Hook)] {
        use Hook::{Forward, Input, Output, Postrouting, Prerouting};
        use TableId::{Filter, Mangle, Nat, Raw, Security};
        match self {
            Self::Enter | Self::Return | Self::Out | Self::Dropped => &[],
            Self::Arrive => &[(Raw, Prerouting), (Mangle, Prerouting), (Nat, Prerouting)],
            Self::Local => &[
                (Mangle, Input),
                (Filter, Input),
                (Security, Input),
                (Nat, Input),
            ],
            Self::Forward => &[
                (Mangle, Forward),
                (Filter, Forward),
                (Security, Forward),
                (Mangle, Postrouting),
                (Nat, Postrouting),
            ],
            Self::Send => &[
                (Raw, Output),
                (Mangle, Output),
                (Nat, Output),
                (Filter, Output),
                (Security, Output),
                (Mangle, Postrouting),
                (Nat, Postrouting),
            ],
            Self::Lo => &[
                (Raw, Prerouting),
                (Mangle, Prerouting),
                (Mangle, Input),
                (Filter, Input),
                (Security, Input),
            ],
        }
    }
}

/// A present address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    /// The packet's own, not known while compiling.
    Original,
    /// This one.
    Known(u128),
    /// One of this node's, not known which.
    SomeLocal,
}

/// How far conntrack has come with a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Progress {
    /// It has not looked at it: the packet is in raw.
    #[default]
    Unseen,
    /// It has.
    Seen,
    /// The packet came to the end of POSTROUTING or INPUT, where a new connection is confirmed.
    Confirmed,
}

/// A mark as a function of the packet's first one: `(first & keep) ^ xor`. Every `MARK` and `CONNMARK` operation
/// keeps that form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Mark {
    /// Bits of the first mark that are still in it.
    pub(crate) keep: u32,
    /// Bits flipped.
    pub(crate) xor: u32,
}

impl Mark {
    /// A known mark.
    pub(crate) const fn known(value: u32) -> Self {
        Self {
            keep: 0,
            xor: value,
        }
    }

    /// The packet's first mark.
    pub(crate) const FIRST: Self = Self {
        keep: u32::MAX,
        xor: 0,
    };

    /// Only the bits of `mask`.
    pub(crate) fn masked(self, mask: u32) -> Self {
        Self {
            keep: self.keep & mask,
            xor: self.xor & mask,
        }
    }

    /// The bitwise sum.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            keep: self.keep ^ other.keep,
            xor: self.xor ^ other.xor,
        }
    }

    /// For a packet whose first mark is `first`.
    pub(crate) fn of(self, first: u32) -> u32 {
        (first & self.keep) ^ self.xor
    }
}

/// What is known of the packet's key beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// This protocol, destination and destination port.
    Exact {
        /// Protocol number.
        protocol: u8,
        /// Destination address.
        destination: u128,
        /// Destination port.
        port: u16,
    },
    /// This protocol and destination port; the destination is none that makes an exact class with them.
    Port {
        /// Protocol number.
        protocol: u8,
        /// Destination port.
        port: u16,
    },
    /// This protocol and destination, and no ports; only while the engine walks, never compiled.
    Portless {
        /// Protocol number.
        protocol: u8,
        /// Destination address.
        destination: u128,
    },
    /// None of the exact and port classes; ports may be absent.
    Other,
}

/// The state of a walk. Two walks in equal states go on alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) leg: Leg,
    /// Position in the leg's stages.
    pub(crate) stage: u8,
    /// The chain, or [`NONE`] before the stage's entry chain is entered.
    pub(crate) chain: u32,
    /// The next rule, by position in [`Graph::rules`].
    pub(crate) rule: u32,
    /// The next of its conditions.
    pub(crate) condition: u16,
    /// Whether one before it was asked of the packet whose answer can be missing.
    pub(crate) asked: bool,
    /// How far a nat target got: which address of a range is being chosen, and what was asked (bits in `ops.rs`).
    pub(crate) choice: u32,
    /// Where to go back to.
    pub(crate) stack: u32,
    /// The rule that jumped into the present `KUBE-MARK-…` chain.
    pub(crate) entered_by: u32,
    /// What is known of the key, and so of the connection's original addresses.
    pub(crate) class: Class,
    pub(crate) protocol: Option<u8>,
    pub(crate) source: Address,
    /// The NETMAP (a rule's position in the graph's) that gives the packet's own source another network part, or [`NONE`].
    pub(crate) netmap: u32,
    pub(crate) destination: Address,
    /// `None`: the packet's own.
    pub(crate) destination_port: Option<u16>,
    pub(crate) mark: Mark,
    pub(crate) connmark: Mark,
    pub(crate) ctstate: CtState,
    /// Whether the destination was rewritten to something else than it was; `None`: not known.
    pub(crate) dnat_changed: Option<bool>,
    /// The rule that rewrote the source, by position; kept where a rule may ask whether it changed anything.
    pub(crate) snat: u32,
    /// Some rule set the mark.
    pub(crate) marked: bool,
    /// Bits: ttl, dscp, sets, tracking.
    pub(crate) rewritten: u8,
    /// How far conntrack has come with it.
    pub(crate) progress: Progress,
    /// The `recent` entries that this walk made.
    pub(crate) recent: u32,
    /// The first of the draw numbers that remain.
    pub(crate) lo: u64,
    /// How many remain.
    pub(crate) width: u128,
}

/// Only what tells most states apart: equality looks at the rest.
impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let destination = match self.destination {
            Address::Original => 0,
            Address::SomeLocal => 1,
            Address::Known(a) => (a ^ a >> 64) as u64,
        };
        hasher.write_u64(u64::from(self.rule) << 32 | u64::from(self.chain));
        hasher.write_u64(u64::from(self.stack) << 32 | u64::from(self.mark.xor));
        let port = u64::from(self.destination_port.unwrap_or_default());
        hasher.write_u64(destination ^ self.lo ^ port << 40);
        hasher.write_u64(u64::from(self.leg as u8) << 8 | u64::from(self.stage));
    }
}

/// [`State::rewritten`]: ttl or hop limit.
pub(crate) const TTL_REWRITTEN: u8 = 1;
/// [`State::rewritten`]: dscp.
pub(crate) const DSCP_REWRITTEN: u8 = 2;
/// [`State::rewritten`]: the members of sets.
pub(crate) const SETS_CHANGED: u8 = 4;
/// [`State::rewritten`]: `NOTRACK` was met.
pub(crate) const NOTRACKED: u8 = 8;

/// All 2^64 numbers.
pub(crate) const FULL_WIDTH: u128 = 1 << 64;

impl State {
    /// The start of a walk of a packet that arrives or is sent.
    pub(crate) fn start(hook: Hook, ctstate: CtState, class: Class, mark: Option<u32>) -> Self {
        let (protocol, destination, destination_port) = match class {
            Class::Exact {
                protocol,
                destination,
                port,
            } => (Some(protocol), Address::Known(destination), Some(port)),
            Class::Port { protocol, port } => (Some(protocol), Address::Original, Some(port)),
            Class::Portless {
                protocol,
                destination,
            } => (Some(protocol), Address::Known(destination), None),
            Class::Other => (None, Address::Original, None),
        };
        Self {
            leg: if hook == Hook::Output {
                Leg::Send
            } else {
                Leg::Enter
            },
            stage: 0,
            chain: NONE,
            rule: 0,
            condition: 0,
            asked: false,
            choice: 0,
            stack: NONE,
            entered_by: NONE,
            class,
            protocol,
            source: Address::Original,
            netmap: NONE,
            destination,
            destination_port,
            mark: mark.map_or(Mark::FIRST, Mark::known),
            connmark: Mark::known(0),
            ctstate,
            dnat_changed: Some(false),
            snat: NONE,
            marked: false,
            rewritten: 0,
            progress: Progress::Unseen,
            recent: NONE,
            lo: 0,
            width: FULL_WIDTH,
        }
    }

    /// The table and hook it stands at.
    pub(crate) fn place(&self) -> Option<(TableId, Hook)> {
        self.leg.stages().get(usize::from(self.stage)).copied()
    }

    /// On to the next rule of the chain.
    pub(crate) fn pass_rule(&mut self) {
        self.rule += 1;
        self.at_its_start();
    }

    /// Before the first condition of a rule.
    pub(crate) fn at_its_start(&mut self) {
        self.condition = 0;
        self.asked = false;
        self.choice = 0;
    }

    /// The state on to the next rule of the chain.
    pub(crate) fn skip_rule(mut self) -> Self {
        self.pass_rule();
        self
    }

    /// On to the next condition of the rule.
    pub(crate) fn next_condition(mut self) -> Self {
        self.condition += 1;
        self
    }

    /// On to the next table.
    pub(crate) fn next_stage(&mut self) {
        self.stage += 1;
        self.chain = NONE;
        self.rule = 0;
        self.at_its_start();
        self.stack = NONE;
        self.entered_by = NONE;
    }

    /// To the start of another leg.
    pub(crate) fn on_leg(mut self, leg: Leg) -> Self {
        self.next_stage();
        self.leg = leg;
        self.stage = 0;
        self
    }

    /// Into a chain, at its first rule.
    pub(crate) fn enter(&mut self, graph: &Graph, chain: u32) {
        self.chain = chain;
        self.rule = graph.chains[chain as usize].rules.start;
        self.at_its_start();
    }
}
