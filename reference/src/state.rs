//! One packet on its way: what rules have made of it so far, and where the walk stands.

use crate::assumption::Assumption;
use crate::memory::Memory;
use crate::traversal::Leg;
use crate::truth::Truth;
use kpclass_ruleset::conntrack::{CtStatus, Direction, Tuple};
use kpclass_ruleset::decision::{Decision, Disposition, Fact, Nat, Snat, Unknown};
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::value::{CtState, Interface, PortRange};
use kpclass_ruleset::{ChainId, Hook, RuleId, TableId};
use std::net::IpAddr;
use std::time::Duration;

/// A present address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// This one.
    Known(IpAddr),
    /// Some address of this node.
    ThisNode,
}

/// The device that a packet came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    /// This one; [`Interface::none`] where there is none.
    Known(Interface),
    /// Not known, but not `lo`.
    NotLo,
}

/// A place in a chain: the next rule to ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) chain: ChainId,
    pub(crate) next: u32,
    pub(crate) end: u32,
    /// The rule that jumped or went here.
    pub(crate) entered_by: Option<RuleId>,
}

/// How far the matches of the present rule have been asked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asking {
    /// The match to ask next.
    pub(crate) at: usize,
    /// What the first unknown match lacked.
    pub(crate) unknown: Option<Fact>,
    /// Whether this is the way on which the rule's unknown matches are taken as true.
    pub(crate) assumed: bool,
}

/// What a choice that stopped the walk was about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pending {
    /// A `statistic` was drawn.
    Statistic {
        /// Whether a `!` precedes it.
        inverted: bool,
    },
    /// An unknown rule is followed both ways.
    Rule,
    /// An address of a nat range is drawn: the candidate, and the last one.
    NatAddress {
        /// The rule.
        rule: RuleId,
        /// The candidate, as a number.
        candidate: u128,
        /// The last of the range.
        last: u128,
        /// Whether the candidate was chosen.
        chosen: bool,
    },
}

/// What the tracker found of the packet's connection (CONNTRACK.md 2), where one follows connections.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) direction: Direction,
    /// As rules see it at first.
    pub(crate) status: CtStatus,
    pub(crate) original: Tuple,
    /// Of a connection that is found already: its reply tuple. Without it the packet is the first, and nat's rules are asked.
    pub(crate) later: Option<Later>,
    /// How long it lives from now on.
    pub(crate) left: Duration,
}

/// A connection that is found already: it translates by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Later {
    /// The reply tuple's source.
    pub(crate) server: (IpAddr, u16),
    /// Its destination, as far as known.
    pub(crate) client: (Address, Option<u16>),
    /// The new destination of this packet.
    pub(crate) destination: Option<(Address, Option<u16>)>,
    /// Its new source.
    pub(crate) source: Option<(Address, Option<u16>)>,
}

/// What is left of a packet whose connection is followed, where its way ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) source: Address,
    pub(crate) destination: Address,
    pub(crate) ports: Option<(u16, u16)>,
    pub(crate) ctstate: CtState,
    pub(crate) connmark: u32,
    pub(crate) memory: Memory,
    /// conntrack looked at it: it was not lost in raw.
    pub(crate) looked_at: bool,
    /// It came to the end of POSTROUTING or INPUT, where a new connection is confirmed.
    pub(crate) confirmed: bool,
}

/// What becomes of a packet that this node sends to itself if it is lost where its connection is confirmed, before it comes back by lo (CONNTRACK.md 3.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) decision: Decision,
    pub(crate) kept: Kept,
}

/// A step of the path: a rule that matched, or the end of a built-in chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The rule; `None` for a policy.
    pub rule: Option<RuleId>,
    /// What happened there.
    pub event: Event,
    /// The hook at which its table was asked.
    pub hook: Hook,
    /// The table.
    pub table: TableId,
    /// Whether the packet had come back on `lo`.
    pub lo_leg: bool,
    /// How many jumps deep: 0 in a built-in chain. A goto does not deepen.
    pub depth: usize,
}

/// What happened at a [`Step`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It jumped (`-j CHAIN`).
    Jump(ChainId),
    /// It went (`-g CHAIN`).
    Goto(ChainId),
    /// `RETURN`.
    Return,
    /// Its target (or none) did what it does, and the walk went on behind it.
    Pass,
    /// Its target ended the table at this hook, or the packet.
    End,
    /// Its table ended by the policy of this built-in chain.
    Policy(ChainId),
    /// Whether it matches is not known, and makes no difference.
    Immaterial(Fact),
    /// What is not known here decides.
    Unknown(Fact),
}

/// The packet and the walk's place.
#[derive(Clone, Debug)]
pub(crate) struct State<'a> {
    /// As it was at first.
    pub(crate) packet: &'a Packet,
    pub(crate) source: Address,
    pub(crate) destination: Address,
    pub(crate) ports: Option<(u16, u16)>,
    /// nat gave it another source port: one of these, first to last.
    pub(crate) drawn_source_port: Option<(u16, u16)>,
    pub(crate) mark: u32,
    pub(crate) connmark: u32,
    pub(crate) ctstate: CtState,
    /// `NOTRACK` has been met.
    pub(crate) is_untracked_by_rule: bool,
    pub(crate) arrival: Device,
    pub(crate) dnat: Option<(Nat, RuleId)>,
    pub(crate) snat: Option<(Snat, RuleId)>,
    pub(crate) marked_by: Option<RuleId>,
    pub(crate) memory: Memory,
    pub(crate) connection: Option<Connection>,
    /// It was joined of several fragments.
    pub(crate) is_joined: bool,
    /// Connections are followed: what is left of the packet is asked for.
    pub(crate) is_followed: bool,
    /// It has come to the end of POSTROUTING or INPUT.
    pub(crate) confirmed: bool,
    /// It has come back by lo: what would have become of it otherwise.
    pub(crate) lost: Option<Box<Lost>>,
    pub(crate) ttl_rewritten: bool,
    pub(crate) dscp_rewritten: bool,
    pub(crate) sets_changed: bool,

    pub(crate) legs: &'static [Leg],
    pub(crate) hook: Hook,
    pub(crate) table: TableId,
    pub(crate) lo_leg: bool,
    pub(crate) base: Option<ChainId>,
    pub(crate) frame: Option<Frame>,
    pub(crate) stack: Vec<Frame>,
    pub(crate) asking: Asking,
    pub(crate) pending: Option<Pending>,
    pub(crate) forks: u32,
    pub(crate) rules_asked: u32,

    pub(crate) path: Vec<Step>,
    pub(crate) assumptions: Vec<Assumption>,
}

impl<'a> State<'a> {
    /// At its first hook.
    pub(crate) fn new(packet: &'a Packet) -> Self {
        let arrives = packet.hook != Hook::Output;
        let arrival = match (arrives, packet.in_interface) {
            (false, _) => Device::Known(Interface::none()),
            (true, Some(interface)) => Device::Known(interface),
            (true, None) => Device::NotLo,
        };
        Self {
            packet,
            source: Address::Known(packet.source),
            destination: Address::Known(packet.destination),
            ports: packet.ports,
            drawn_source_port: None,
            mark: packet.mark,
            connmark: 0,
            ctstate: packet.ctstate,
            is_untracked_by_rule: false,
            arrival,
            dnat: None,
            snat: None,
            marked_by: None,
            memory: Memory::default(),
            connection: None,
            is_joined: false,
            is_followed: false,
            confirmed: false,
            lost: None,
            ttl_rewritten: false,
            dscp_rewritten: false,
            sets_changed: false,
            legs: if arrives { Leg::ARRIVES } else { Leg::SENT },
            hook: if arrives {
                Hook::Prerouting
            } else {
                Hook::Output
            },
            table: TableId::Raw,
            lo_leg: false,
            base: None,
            frame: None,
            stack: Vec::new(),
            asking: Asking::default(),
            pending: None,
            forks: 0,
            rules_asked: 0,
            path: Vec::new(),
            assumptions: Vec::new(),
        }
    }

    /// Whether this node sent it.
    pub(crate) fn is_sent(&self) -> bool {
        self.packet.hook == Hook::Output
    }

    /// What `--ctstate` sees: in raw conntrack has not looked at the packet yet, which is as if it were INVALID.
    pub(crate) fn ctstate(&self) -> CtState {
        let before_conntrack = self.table == TableId::Raw && !self.lo_leg;
        if before_conntrack && !self.is_untracked_by_rule {
            CtState::Invalid
        } else {
            self.ctstate
        }
    }

    /// Whether conntrack has an entry for it.
    pub(crate) fn has_connection(&self) -> bool {
        !matches!(self.ctstate(), CtState::Invalid | CtState::Untracked)
    }

    /// The connection, unless this packet has none at this place.
    pub(crate) fn connection(&self) -> Option<&Connection> {
        self.connection.as_ref().filter(|_| self.has_connection())
    }

    /// Whether the present source port lies in one of the ranges. Between their ends all ports of a drawn one's range are alike.
    pub(crate) fn source_port_is_in(&self, ranges: &[PortRange]) -> Truth {
        let Some((own, _)) = self.ports else {
            return Truth::Void;
        };
        let (first, last) = self.drawn_source_port.unwrap_or((own, own));
        let listed = |port: u16| ranges.iter().any(|range| range.contains(port));
        let ends = ranges
            .iter()
            .flat_map(|range| [range.first, range.last.saturating_add(1)]);
        let differs = ends
            .filter(|end| (first..=last).contains(end))
            .any(|end| listed(end) != listed(first));
        if differs {
            Truth::Unknown(Fact::NatPort)
        } else {
            Truth::of(listed(first))
        }
    }

    /// Whether its connection was there before it, so that nat asks no rule.
    pub(crate) fn is_found_already(&self) -> bool {
        self.connection.as_ref().is_some_and(|c| c.later.is_some())
    }

    /// What is left of it, where connections are followed.
    pub(crate) fn kept(&self) -> Option<Kept> {
        self.is_followed.then(|| Kept {
            source: self.source,
            destination: self.destination,
            ports: self.ports,
            ctstate: self.ctstate(),
            looked_at: self.table != TableId::Raw || self.lo_leg,
            connmark: self.connmark,
            memory: self.memory.clone(),
            confirmed: self.confirmed,
        })
    }

    /// The rule whose matches or whose target's choice are being asked.
    pub(crate) fn present_rule(&self) -> Option<RuleId> {
        match (self.pending, self.frame) {
            (Some(Pending::NatAddress { rule, .. }), _) => Some(rule),
            (_, frame) => frame.map(|frame| RuleId(frame.next)),
        }
    }

    /// Notes what the answer rests on, once.
    pub(crate) fn assume(&mut self, assumption: Assumption) {
        if !self.assumptions.contains(&assumption) {
            self.assumptions.push(assumption);
        }
    }

    /// Adds a step to the path.
    pub(crate) fn record(&mut self, rule: Option<RuleId>, event: Event) {
        self.path.push(Step {
            rule,
            event,
            hook: self.hook,
            table: self.table,
            lo_leg: self.lo_leg,
            depth: self.stack.len(),
        });
    }

    /// Goes behind the present rule.
    pub(crate) fn skip_rule(&mut self) {
        self.asking = Asking::default();
        if let Some(frame) = &mut self.frame {
            frame.next += 1;
        }
    }

    /// This table is done at this hook; the packet goes on.
    pub(crate) fn leave_table(&mut self) {
        self.frame = None;
        self.stack.clear();
    }

    /// Goes on from a draw that hit or missed, or from an unknown rule taken as matching or not.
    pub(crate) fn resume(&mut self, choice: bool) {
        match &mut self.pending {
            None => {}
            Some(Pending::Statistic { inverted }) => {
                let holds = choice != *inverted;
                self.pending = None;
                if holds {
                    self.asking.at += 1;
                } else {
                    self.skip_rule();
                }
            }
            Some(Pending::Rule) => {
                self.pending = None;
                if choice {
                    self.asking.assumed = true;
                } else {
                    self.skip_rule();
                }
            }
            Some(Pending::NatAddress {
                candidate, chosen, ..
            }) => {
                *chosen = choice;
                *candidate += u128::from(!choice);
            }
        }
    }

    /// The decision if it ends here (WALK.md 1.7).
    pub(crate) fn decision(
        &self,
        disposition: Disposition,
        decided_by: Option<RuleId>,
    ) -> Decision {
        Decision {
            disposition,
            decided_by,
            dnat: self.dnat,
            snat: self.snat,
            marked_by: self.marked_by,
            mark: self.mark,
        }
    }

    /// The unknown decision, with its step.
    pub(crate) fn unknown(&mut self, rule: Option<RuleId>, fact: Fact) -> Decision {
        self.record(rule, Event::Unknown(fact));
        Decision::unknown(Unknown { rule, fact })
    }
}
