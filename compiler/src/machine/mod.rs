//! The walk as a machine that stops wherever the packet itself must say how to go on.
//!
//! One machine serves both uses: the compiler follows every way from every stop and keeps the residue as nodes; the engine, where
//! a class was too large to compile, answers each stop with the packet at hand.

mod ask;
pub(crate) mod lists;
mod ops;
mod recent;
mod source;
mod tracked;
pub use lists::Lists;
pub(crate) use ops::POSITION;
pub(crate) use tracked::Tracked;
pub use tracked::{Connection, Later, Side};
pub(crate) mod state;

use crate::graph::{Graph, MaskedAddress};
use crate::index::{self, Index};
use crate::interned::Interned;
use crate::lower::MANY;
use crate::program::SetTest;
use crate::program::addresses::Locals;
use crate::program::common::is_common;
use crate::program::node::{Act, Draw, End};
use crate::program::test::Test;
use crate::tail::{Tail, TailTests};
use ask::Answer;
use kpclass_ruleset::decision::{Disposition, Fact};
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::value::{CtState, Family};
use kpclass_ruleset::{Policy, RuleId, TableId, ordered};
use ops::{CHOSEN, UNCHANGED};
use source::Implied;
use state::{Address, Class, Leg, NONE, NOTRACKED, Progress, State};

/// Why the machine stopped.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stop {
    /// The packet must answer a test of a rule: yes if the condition holds, which is where its answer differs from `inverted`.
    /// `again`: whether the rule asked before, on this visit, something whose answer can be missing: if it was, and was taken as holding, so is this.
    Test {
        test: Test,
        inverted: bool,
        again: bool,
        rule: RuleId,
        yes: State,
        no: State,
    },
    /// A number is drawn.
    Draw { draw: Draw, yes: State, no: State },
    /// Routing of an arrived packet.
    Route {
        destination: Address,
        local: State,
        forward: State,
        dropped: State,
    },
    /// nat is done with the destination; from here on ways of many classes go on alike.
    Settled(State),
    /// Only a packet's own address or port tells how to go on: this class is not compiled, its packets are walked.
    NeedsKey,
    /// The end.
    End(End),
}

/// The lowered rules, the index of their chains, and the facts of the node.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) graph: Graph,
    pub(crate) index: Index,
    pub(crate) node: NodeFacts,
    pub(crate) locals: Locals,
    pub(crate) tail: TailTests,
}

impl Rules {
    /// The rules, and the classes of destination keys that they single out.
    pub(crate) fn new(graph: Graph, node: &NodeFacts) -> (Self, Vec<Class>) {
        let (index, (tail, classes)) = ordered::both(
            graph.rules.len() >= MANY,
            || Index::new(&graph),
            || (TailTests::new(&graph), index::classes(&graph)),
        );
        let rules = Self {
            index,
            locals: Locals::new(node, graph.family),
            tail,
            graph,
            node: node.clone(),
        };
        (rules, classes)
    }
}

/// A walker of the rules, with what it has met: places to go back to, `recent` entries, tests of sets.
#[derive(Debug)]
pub(crate) struct Machine<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) node: &'a NodeFacts,
    index: &'a Index,
    pub(crate) locals: &'a Locals,
    pub(crate) tail: Tail<'a>,
    /// nat's first turn has just ended.
    settled: bool,
    frames: Interned<Frame>,
    memories: Interned<recent::Memory>,
    pub(crate) set_tests: Interned<SetTest>,
    /// A `recent` list was asked, or changed.
    pub(crate) met_recent: bool,
    /// Of a packet whose connection is followed.
    pub(crate) tracked: Option<Tracked<'a>>,
}

/// A place to go back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Frame {
    chain: u32,
    rule: u32,
    below: u32,
    /// [`State::entered_by`] in the chain gone back to.
    entered_by: u32,
}

impl<'a> Machine<'a> {
    /// `tail`: [`Tail::new`] to compile, the default to walk one packet.
    pub(crate) fn new(rules: &'a Rules, tail: Tail<'a>) -> Self {
        Self {
            graph: &rules.graph,
            node: &rules.node,
            index: &rules.index,
            locals: &rules.locals,
            tail,
            settled: false,
            met_recent: false,
            frames: Interned::new(),
            memories: Interned::new(),
            set_tests: Interned::new(),
            tracked: None,
        }
    }

    /// Runs to the next stop; what is rewritten on the way is appended to `acts`.
    pub(crate) fn run(&mut self, mut state: State, acts: &mut Vec<Act>) -> Stop {
        loop {
            if std::mem::take(&mut self.settled) {
                return Stop::Settled(state);
            }
            let stop = if state.chain == NONE {
                self.enter_stage(&mut state, acts)
            } else {
                self.step(&mut state, acts)
            };
            if let Some(stop) = stop {
                if let (Stop::End(_), Some(tracked)) = (&stop, &mut self.tracked) {
                    tracked.ended = Some(state);
                }
                return stop;
            }
        }
    }

    /// Enters the chain of the state's stage, or what comes after the last.
    fn enter_stage(&mut self, state: &mut State, acts: &mut Vec<Act>) -> Option<Stop> {
        let Some((table, hook)) = state.place() else {
            return self.after_last_stage(state);
        };
        if state.leg == Leg::Lo && state.stage == 0 && self.is_joined() {
            return ops::unknown(state, None, Fact::Fragments);
        }
        if table == TableId::Nat && self.is_found_already() {
            return self.translate(state);
        }
        if table == TableId::Nat && !self.nat_is_asked(state) {
            self.leave_stage(state);
            return None;
        }
        let implied = self.implied(state);
        if let Implied::Asks(test) = implied {
            return Some(ops::ask(state, RuleId(NONE), test, [CHOSEN, UNCHANGED]));
        }
        state.choice = 0;
        match (implied, self.graph.entry(table, hook)) {
            (Implied::Masquerade, _) => self.masquerade(state, acts),
            (_, Some(chain)) => state.enter(self.graph, chain),
            (_, None) => self.leave_stage(state),
        }
        None
    }

    fn nat_is_asked(&self, state: &State) -> bool {
        self.graph.conntrack_on && matches!(state.ctstate, CtState::New | CtState::Related)
    }

    /// The ctstate at an end.
    pub(crate) fn last_ctstate(&self, state: &State) -> CtState {
        let is_unseen = state.progress == Progress::Unseen;
        match is_unseen && state.rewritten & NOTRACKED == 0 {
            // It was lost before conntrack looked at it.
            true => CtState::Invalid,
            false => ask::seen_ctstate(state),
        }
    }

    /// On to the next table; after nat's first turn the state forgets what no later rule can tell.
    pub(super) fn leave_stage(&mut self, state: &mut State) {
        let table = state.place().map(|(table, _)| table);
        if table == Some(TableId::Raw) && state.progress == Progress::Unseen {
            state.progress = Progress::Seen;
        }
        let after_nat = table == Some(TableId::Nat) && matches!(state.leg, Leg::Arrive | Leg::Send);
        state.next_stage();
        if after_nat && state.source == Address::Original && state.netmap == NONE {
            self.tail.forget(self.graph, self.locals, state);
            self.settled = true;
        }
    }

    fn after_last_stage(&mut self, state: &mut State) -> Option<Stop> {
        if !matches!(state.leg, Leg::Enter | Leg::Arrive | Leg::Dropped) {
            state.progress = Progress::Confirmed;
        }
        let end = |disposition| {
            Some(Stop::End(End {
                disposition,
                decided_by: None,
                mark: state.mark,
            }))
        };
        match state.leg {
            Leg::Enter => self.enter_node(state),
            Leg::Arrive => Some(Stop::Route {
                destination: state.destination,
                local: state.on_leg(Leg::Local),
                forward: state.on_leg(Leg::Forward),
                dropped: state.on_leg(Leg::Dropped),
            }),
            Leg::Send if self.is_lost() => end(Disposition::Drop),
            Leg::Send => self.after_sending(state),
            Leg::Return => self.receive_again(state),
            Leg::Local | Leg::Lo => end(Disposition::Local),
            Leg::Forward => end(Disposition::Forward),
            Leg::Out => end(Disposition::Out),
            Leg::Dropped => end(Disposition::Drop),
        }
    }

    /// IPv6 refuses loopback addresses from a real device before any table (`ip6_input.c`, `ip6_rcv_core`).
    fn enter_node(&self, state: &mut State) -> Option<Stop> {
        let arrive = state.on_leg(Leg::Arrive);
        if self.graph.family == Family::V4 {
            *state = arrive;
            return None;
        }
        let yes = state.on_leg(Leg::Dropped);
        Some(Stop::Test {
            test: Test::RefusedOnEntry,
            inverted: false,
            again: false,
            rule: RuleId(NONE),
            yes,
            no: arrive,
        })
    }

    /// Out, or by lo and in again.
    fn after_sending(&self, state: &mut State) -> Option<Stop> {
        let (lo, out) = (state.on_leg(Leg::Return), state.on_leg(Leg::Out));
        let local = match state.destination {
            Address::Known(a) => self.comes_back(a),
            Address::SomeLocal => true,
            Address::Original => {
                let test = Test::ComesBack;
                let rule = RuleId(NONE);
                let (inverted, again) = (false, false);
                return Some(Stop::Test {
                    test,
                    inverted,
                    again,
                    rule,
                    yes: lo,
                    no: out,
                });
            }
        };
        *state = if local { lo } else { out };
        None
    }

    /// What comes back by lo is received as what arrives is (WALK.md 2): of IPv6 a group's address as a source is refused.
    fn receive_again(&mut self, state: &mut State) -> Option<Stop> {
        let (lo, dropped) = (state.on_leg(Leg::Lo), state.on_leg(Leg::Dropped));
        let groups = MaskedAddress {
            address: 0xff << 120,
            mask: 0xff << 120,
        };
        if self.graph.family == Family::V4 {
            *state = lo;
            return None;
        }
        self.single_out();
        match ask::source(self.graph, state, groups) {
            Answer::Known(true) => *state = dropped,
            // An unknown address of this node is no group's.
            Answer::Known(false) | Answer::Test(Test::Unknown(_)) => *state = lo,
            Answer::Test(test) => {
                return Some(Stop::Test {
                    test,
                    inverted: false,
                    again: false,
                    rule: RuleId(NONE),
                    yes: dropped,
                    no: lo,
                });
            }
            _ => {}
        }
        None
    }

    /// One rule's next condition, or its target, or the chain's end.
    fn step(&mut self, state: &mut State, acts: &mut Vec<Act>) -> Option<Stop> {
        if state.condition == 0 && state.choice == 0 {
            if self.index.looks_at_keys(state.chain) {
                self.single_out();
            }
            match self.index.next(self.graph, state) {
                Some(rule) => state.rule = rule,
                None => return self.end_of_chain(state),
            }
        }
        let graph = self.graph;
        let rule = &graph.rules[state.rule as usize];
        let at = rule.conditions.start + u32::from(state.condition);
        if at == rule.conditions.end {
            return self.execute(state, rule.id, &rule.op, acts);
        }
        let condition = &graph.conditions[at as usize];
        let (id, inverted) = (rule.id, condition.inverted);
        if condition.of_connection && !ask::has_connection(state) {
            state.condition += 1;
            return None;
        }
        if !is_common(&condition.ask) {
            self.single_out();
        }
        // Most answers are known: no state is copied for them.
        let answer = match self.answer_tracked(state, condition) {
            Some(answer) => answer,
            None => self.answer(state, &condition.ask, inverted),
        };
        match answer {
            Answer::Known(answer) if answer != inverted => state.condition += 1,
            Answer::Known(_) => state.pass_rule(),
            Answer::Chance(n, d) => {
                let (yes, no) = (state.next_condition(), state.skip_rule());
                let (yes, no) = if inverted { (no, yes) } else { (yes, no) };
                return draw(state, n, d, yes, no);
            }
            Answer::First { test, yes, no } => {
                let with = |recent| State { recent, ..*state };
                return Some(Stop::Test {
                    test,
                    inverted: false,
                    again: state.asked,
                    rule: id,
                    yes: with(yes),
                    no: with(no),
                });
            }
            Answer::Test(test) => {
                let (mut yes, no) = (state.next_condition(), state.skip_rule());
                if let (Test::Protocol(number), false) = (test, inverted) {
                    yes.protocol = Some(number);
                }
                let local_known = self.node.local.is_some();
                yes.asked |= test.may_be_unknown(local_known);
                return Some(Stop::Test {
                    test,
                    inverted,
                    again: state.asked,
                    rule: id,
                    yes,
                    no,
                });
            }
        }
        None
    }

    /// Back behind the jump, or the policy of a built-in chain.
    fn end_of_chain(&mut self, state: &mut State) -> Option<Stop> {
        if state.stack != NONE {
            let frame = self.frames.list[state.stack as usize];
            state.chain = frame.chain;
            state.rule = frame.rule;
            state.stack = frame.below;
            state.at_its_start();
            state.entered_by = frame.entered_by;
            return None;
        }
        let place = state.place();
        let policy = place
            .and_then(|(table, hook)| self.graph.entry(table, hook))
            .map_or(Policy::Accept, |chain| {
                self.graph.chains[chain as usize].policy
            });
        if policy == Policy::Drop {
            return Some(Stop::End(End {
                disposition: Disposition::Drop,
                decided_by: None,
                mark: state.mark,
            }));
        }
        self.leave_stage(state);
        None
    }

    fn push_frame(&mut self, state: &State) -> u32 {
        self.frames.id(Frame {
            chain: state.chain,
            rule: state.rule + 1,
            below: state.stack,
            entered_by: state.entered_by,
        })
    }
}

/// Splits the numbers that remain (WALK.md 5.1). A side without numbers is not a stop.
fn draw(state: &mut State, n: u32, d: u32, yes: State, no: State) -> Option<Stop> {
    let of_all = state.width * u128::from(n);
    // Nearly all are out of 2^31, and dividing 128 bits is slow.
    let hit = if d.is_power_of_two() {
        of_all >> d.trailing_zeros()
    } else {
        of_all / u128::from(d)
    };
    let (mut yes, mut no) = (yes, no);
    if hit == 0 {
        *state = no;
        return None;
    }
    if hit >= state.width {
        *state = yes;
        return None;
    }
    // hit < width ≤ 2^64 - lo, so this is below 2^64.
    let below = state.lo + hit as u64;
    yes.width = hit;
    no.lo = below;
    no.width = state.width - hit;
    Some(Stop::Draw {
        draw: Draw { below, n, d },
        yes,
        no,
    })
}
