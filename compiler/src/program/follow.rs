//! One packet followed to its end for one number drawn: what becomes of it, and, where its connection is followed, what it leaves to the next.

use super::evaluate::{Context, Halt, Place, Registers, Run, either, unknown};
use super::{ClassId, Program, test::Test};
use crate::graph::{Ask, LoweredRule};
use crate::header::Header;
use crate::machine::lists::Changes;
use crate::machine::state::{Progress, State};
use crate::machine::{Connection, Lists, Machine, Tracked};
use crate::tail::Tail;
use kpclass_ruleset::StrId;
use kpclass_ruleset::decision::{Decision, Fact, MAX_FORKS};
use kpclass_ruleset::value::CtState;

/// What a walk leaves of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// The decision; its `dnat` and `snat` are those of rules, not of a connection that was there before.
    pub decision: Decision,
    /// The rest, which says nothing where the decision is unknown.
    pub left: Left,
    /// Whether another packet of the connection that goes in the same direction and ctstate may be decided otherwise.
    pub varies: bool,
    /// Whether those of other connections that have all of [`super::Common`] in common with it are decided alike, and leave the same but for addresses and ports.
    pub is_common: bool,
}

/// Where a packet ended, apart from the decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// As rules saw it at last.
    pub ctstate: Option<CtState>,
    /// How far conntrack came with it.
    pub progress: Progress,
    /// The connection's mark.
    pub connmark: u32,
    /// The present source; `None`: some address of this node.
    pub source: Option<u128>,
    /// And destination.
    pub destination: Option<u128>,
    /// The present ports, of a packet that has some.
    pub ports: Option<(u16, u16)>,
}

/// Which first packets must be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowedFirst {
    /// None: [`Program::decide`] tells of all.
    None,
    /// Those of some classes ([`Program::meets_recent`]).
    SomeClasses,
    /// All.
    All,
}

impl Program {
    /// Which first packets must be followed, because rules ask for what only who follows connections knows, or leave something to later packets.
    pub fn followed_first(&self) -> FollowedFirst {
        let graph = &self.rules.graph;
        let asked = graph.asked;
        let asks_recent = |rule: &LoweredRule| {
            let mut conditions = graph.conditions(rule).iter();
            conditions.any(|condition| matches!(condition.ask, Ask::Recent(_)))
        };
        let late = graph.chains.iter().filter(|chain| chain.is_late);
        let mut late_rules = late.flat_map(|chain| {
            let rules = chain.rules.start as usize..chain.rules.end as usize;
            &graph.rules[rules]
        });
        match graph.recents.is_empty() {
            _ if asked.connection || asked.sets_connmarks || asked.notracks => FollowedFirst::All,
            true => FollowedFirst::None,
            false if late_rules.any(asks_recent) => FollowedFirst::All,
            false => FollowedFirst::SomeClasses,
        }
    }

    /// Whether some way of a class's first packets meets a `recent` list, where that makes a difference.
    pub fn meets_recent(&self, class: ClassId) -> bool {
        self.recent[class.0 as usize]
    }

    /// The lists that the rules name, empty.
    pub fn lists(&self) -> Lists {
        Lists::new(&self.rules.graph)
    }

    /// Lists that another program's rules filled, from now on filled by this one's; `rename` says what their names are in its ruleset.
    pub fn take_over(&self, lists: &mut Lists, rename: impl Fn(StrId) -> Option<StrId>) {
        lists.replace(&self.rules.graph, rename);
    }

    /// The lists that its rules name.
    pub fn list_names(&self) -> impl Iterator<Item = StrId> {
        self.rules.graph.recents.iter().map(|recent| recent.list)
    }

    /// Walks the rules for one number drawn. The `connection` is the packet's, if it has one; the packet has begun in the lists.
    pub fn follow(
        &self,
        header: &Header,
        context: &Context,
        connection: Option<&Connection>,
        lists: &mut Lists,
        draw: u64,
    ) -> Followed {
        let mut machine = Machine::new(&self.rules, Tail::default());
        machine.tracked = Some(Tracked {
            header,
            connection,
            lists,
            varies: false,
            singles_out: false,
            is_joined: context.is_joined,
            ended: None,
        });
        let mut run = self.walking(header, context, machine);
        let mut start = run.start();
        start.connmark = crate::machine::state::Mark::known(connection.map_or(0, |c| c.mark));
        run.follow(Place::Rules(start), Registers::default(), draw, 0)
    }
}

impl Run<'_> {
    /// Goes on to the end. Of a packet whose connection is not followed only the decision is of use.
    pub(super) fn follow(
        &mut self,
        at: Place,
        registers: Registers,
        draw: u64,
        forks: u32,
    ) -> Followed {
        let (mut at, mut registers) = (at, registers);
        loop {
            match self.advance(at, &mut registers) {
                Halt::End(decision) => return self.left(decision),
                Halt::Draw { draw: of, yes, no } => at = if draw < of.below { yes } else { no },
                Halt::Select {
                    first,
                    count,
                    targets,
                } => {
                    at = self.place(self.program.selected(first, count, targets, draw));
                }
                Halt::Unknown { rule, .. } if forks == MAX_FORKS => {
                    return self.left(unknown(rule, Fact::TooMany));
                }
                Halt::Unknown {
                    rule,
                    fact,
                    yes,
                    no,
                } => {
                    let position = self.position();
                    let held = self.follow(yes, registers.assuming(rule), draw, forks + 1);
                    let changes = self.take_back(position);
                    let failed = self.follow(no, registers.assuming_nothing(), draw, forks + 1);
                    return self.both(held, failed, (position, changes), || unknown(rule, fact));
                }
            }
        }
    }

    /// What comes of a missing fact: what both ways come to, if that is the same, what they leave included.
    fn both(
        &mut self,
        held: Followed,
        failed: Followed,
        (position, changes): (usize, Changes),
        unknown: impl FnOnce() -> Decision,
    ) -> Followed {
        let varies = held.varies || failed.varies;
        let is_common = held.is_common && failed.is_common;
        let same_lists = self
            .tracked()
            .is_none_or(|t| t.lists.changes(position) == changes);
        let same = held.left == failed.left && same_lists;
        // Where nothing is known, nothing is left.
        let same = same || held.decision.is_unknown() || failed.decision.is_unknown();
        let decision = match same {
            true => either(&held.decision, &failed.decision, unknown),
            false => unknown(),
        };
        Followed {
            decision,
            varies,
            is_common,
            ..failed
        }
    }

    fn left(&mut self, decision: Decision) -> Followed {
        let varies = self.varies || self.tracked().is_some_and(|t| t.varies);
        let is_common = self.tracked().is_some_and(|t| !t.singles_out);
        let first_mark = self.context.mark;
        let ended = self.tracked().and_then(|tracked| tracked.ended.take());
        let left = match (ended, &self.machine) {
            (Some(state), Some(machine)) if !decision.is_unknown() => {
                of_state(machine, &state, first_mark)
            }
            _ => Left::default(),
        };
        Followed {
            decision,
            left,
            varies,
            is_common,
        }
    }

    fn position(&mut self) -> usize {
        self.tracked().map_or(0, |tracked| tracked.lists.position())
    }

    fn take_back(&mut self, position: usize) -> Changes {
        let tracked = self.tracked();
        tracked.map_or_else(Vec::new, |tracked| tracked.lists.take_back(position))
    }
}

fn of_state(machine: &Machine<'_>, state: &State, first_mark: u32) -> Left {
    let (source, destination) = machine.addresses(state);
    Left {
        ctstate: Some(machine.last_ctstate(state)),
        progress: state.progress,
        connmark: state.connmark.of(first_mark),
        source,
        destination,
        ports: machine.ports(state),
    }
}

/// Whether packets of one connection, direction and ctstate can answer it otherwise.
pub(super) fn varies(test: &Test) -> bool {
    matches!(
        test,
        Test::TcpFlags(..)
            | Test::Icmp(..)
            | Test::Length(_)
            | Test::Ttl(..)
            | Test::Dscp(_)
            | Test::Mac(_)
            | Test::Fragment
            | Test::Set(_)
            | Test::Unknown(Fact::Conntrack)
    )
}
