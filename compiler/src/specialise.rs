//! For each class and start, follows every way of the walk; what cannot be folded away becomes nodes, equal ones shared.

use crate::alike::{Endpoint, Entry, Side, Ways};
use crate::config::Config;
use crate::interned::Interned;
use crate::machine::state::{Address, NONE, State};
use crate::machine::{Machine, Stop};
use crate::program::node::{
    Act, ActId, ActKind, Draw, DrawId, End, EndId, Node, NodeId, RouteTo, TestId,
};
use crate::program::test::Test;
use crate::program::{ClassId, SetTest};
use ahash::{AHashMap, AHashSet};
use kpclass_ruleset::RuleId;

/// The nodes of all classes, as they are made.
#[derive(Debug)]
pub(crate) struct Specialised {
    pub(crate) nodes: Interned<Node>,
    /// For each node whether equal ones are it.
    pub(crate) shared: Vec<bool>,
    pub(crate) tests: Interned<Test>,
    pub(crate) draws: Interned<Draw>,
    pub(crate) routes: Interned<[NodeId; 3]>,
    pub(crate) addresses: Interned<u128>,
    pub(crate) acts: Interned<(ClassId, Act)>,
    pub(crate) ends: Interned<End>,
    pub(crate) set_tests: Interned<SetTest>,
    pub(crate) walked: usize,
    /// Classes on some of whose ways a `recent` list is met, or may be.
    pub(crate) recent: AHashSet<ClassId>,
}

/// Work on one class: an explicit stack, as the depth is the input's to choose.
enum Task {
    Visit(State),
    Test {
        test: Test,
        inverted: bool,
        again: bool,
        rule: RuleId,
    },
    Draw(Draw),
    Route(Address),
    /// Of the last node, which is an endpoint's test: how its ways go, for others that are alike.
    Learn(Box<(Entry, Endpoint)>),
    /// What was noted between a state and its stop, before the stop's node; the result is the state's.
    Finish {
        state: Option<State>,
        /// The acts from here on.
        from: u32,
    },
}

/// Specialises one class after another.
pub(crate) struct Specialiser<'a> {
    machine: Machine<'a>,
    config: &'a Config,
    local_known: bool,
    made: Specialised,
    /// Nodes of states that no class is known in any more.
    shared: AHashMap<State, NodeId>,
    /// Nodes of the present class's states.
    own: AHashMap<State, NodeId>,
    class: ClassId,
    /// Whether the present task's state is met from many classes.
    sharing: bool,
    /// States that may still be visited.
    visits: u64,
    /// How the ways of endpoints go that were met, by the states in which their chains were entered; `None`: they cannot be copied.
    ways: AHashMap<Entry, Option<Ways>>,
    /// What was noted on the way to the present state, and is not before a node yet.
    acts: Vec<Act>,
    /// Room for what is still to be done for a root, and for what was.
    room: (Vec<(bool, Task)>, Vec<NodeId>),
}

/// States that the classes of one of several parts may visit. No thread knows what another has left, or what comes out would depend on
/// them.
pub(crate) fn visits(config: &Config, rules: usize, parts: usize) -> u64 {
    let all = (rules as u64).saturating_mul(config.visits_per_rule);
    let (parts, extra) = (parts.max(1) as u64, if parts > 1 { SOME_VISITS } else { 0 });
    (all.saturating_add(FIRST_VISITS) / parts).saturating_add(extra)
}

/// The class takes more nodes than allowed, or its way depends on the packet's own address.
struct TooLarge;

impl<'a> Specialiser<'a> {
    pub(crate) fn new(machine: Machine<'a>, config: &'a Config, visits: u64) -> Self {
        let local_known = machine.node.local.is_some();
        let made = Specialised {
            nodes: Interned::new(),
            shared: Vec::new(),
            tests: Interned::new(),
            draws: Interned::new(),
            routes: Interned::new(),
            addresses: Interned::new(),
            acts: Interned::new(),
            ends: Interned::new(),
            set_tests: Interned::new(),
            walked: 0,
            recent: AHashSet::new(),
        };
        let (shared, own) = (AHashMap::new(), AHashMap::new());
        Self {
            machine,
            config,
            local_known,
            made,
            shared,
            own,
            class: ClassId(0),
            sharing: false,
            visits,
            ways: AHashMap::new(),
            acts: Vec::new(),
            room: Default::default(),
        }
    }

    pub(crate) fn finish(mut self) -> Specialised {
        self.made.set_tests = self.machine.set_tests;
        self.made
    }

    /// The root of a class's nodes for one start.
    pub(crate) fn root(&mut self, id: ClassId, start: State) -> NodeId {
        self.class = id;
        self.machine.met_recent = false;
        self.own.clear();
        self.acts.clear();
        let (mut work, mut done) = std::mem::take(&mut self.room);
        work.clear();
        done.clear();
        let built = self.build(start, &mut work, &mut done);
        self.room = (work, done);
        if self.machine.met_recent || built.is_err() {
            self.made.recent.insert(id);
        }
        match built {
            Ok(root) => root,
            Err(TooLarge) => {
                self.made.walked += 1;
                self.node(Node::Walk { served: false })
            }
        }
    }

    fn build(
        &mut self,
        start: State,
        work: &mut Vec<(bool, Task)>,
        done: &mut Vec<NodeId>,
    ) -> Result<NodeId, TooLarge> {
        let limit = self.limit();
        work.push((false, Task::Visit(start)));
        while let Some((shared, task)) = work.pop() {
            self.sharing = shared;
            if self.made.nodes.list.len() > limit || work.len() > self.config.class_nodes {
                return Err(TooLarge);
            }
            match task {
                Task::Visit(state) => self.visit(state, work, done)?,
                Task::Learn(learnt) => self.learn(*learnt, done),
                Task::Finish { state, from } => self.finish_visit(state, from, done),
                Task::Test {
                    test,
                    inverted,
                    again,
                    rule,
                } => {
                    let (yes, no) = two(done)?;
                    let node = self.test(test, inverted, again, rule, yes, no);
                    done.push(node);
                }
                Task::Draw(draw) => {
                    let (yes, no) = two(done)?;
                    let draw = DrawId(self.made.draws.id(draw));
                    let node = self.node(Node::Draw { draw, yes, no });
                    done.push(node);
                }
                Task::Route(destination) => {
                    let node = self.route(destination, done)?;
                    done.push(node);
                }
            }
        }
        done.pop().ok_or(TooLarge)
    }

    /// Each class that was too large halves what the next may try: a ruleset whose classes all explode is found out soon.
    fn limit(&self) -> usize {
        let tries = self.config.class_nodes >> self.made.walked.min(6);
        (self.made.nodes.list.len() + tries).min(self.config.total_nodes)
    }

    /// Visits a state, and what comes next, down to where a way ends or a node is known; the other ways become work.
    fn visit(
        &mut self,
        mut state: State,
        work: &mut Vec<(bool, Task)>,
        done: &mut Vec<NodeId>,
    ) -> Result<(), TooLarge> {
        loop {
            if self.visits == 0 {
                return Err(TooLarge);
            }
            self.visits -= 1;
            self.sharing = is_shared(&state);
            let shared = self.sharing;
            // Between the conditions of a rule no two ways meet.
            let meets = state.condition == 0 && state.choice == 0;
            if let Some(node) = meets.then(|| self.recall(&state)).flatten() {
                done.push(node);
                return Ok(());
            }
            let from = self.acts.len() as u32;
            let stop = self.machine.run(state, &mut self.acts);
            let mut unlearnt = None;
            let known = match &stop {
                Stop::Test {
                    test,
                    inverted: false,
                    yes,
                    ..
                } => match self.machine.endpoint(test, yes) {
                    Some((entry, endpoint)) => match self.ways.get(&entry).copied() {
                        Some(ways) => ways.map(|ways| self.copy(*test, ways, &endpoint)),
                        None => {
                            unlearnt = Some(Box::new((entry, endpoint)));
                            None
                        }
                    },
                    None => None,
                },
                Stop::Settled(settled) => self.recall(settled),
                Stop::End(end) => {
                    let end = EndId(self.made.ends.id(*end));
                    Some(self.node(Node::End(end)))
                }
                _ => None,
            };
            let met = meets.then_some(state);
            if let Some(node) = known {
                done.push(node);
                self.finish_visit(met, from, done);
                return Ok(());
            }
            if meets || self.acts.len() as u32 > from {
                work.push((shared, Task::Finish { state: met, from }));
            }
            work.extend(unlearnt.map(|learnt| (shared, Task::Learn(learnt))));
            let mut later = |task| work.push((shared, task));
            state = match stop {
                Stop::NeedsKey | Stop::End(_) => return Err(TooLarge),
                Stop::Settled(state) => state,
                Stop::Test {
                    test,
                    inverted,
                    again,
                    rule,
                    yes,
                    no,
                } => {
                    later(Task::Test {
                        test,
                        inverted,
                        again,
                        rule,
                    });
                    later(Task::Visit(no));
                    yes
                }
                Stop::Draw { draw, yes, no } => {
                    later(Task::Draw(draw));
                    later(Task::Visit(no));
                    yes
                }
                Stop::Route {
                    destination,
                    local,
                    forward,
                    dropped,
                } => {
                    later(Task::Route(destination));
                    later(Task::Visit(forward));
                    later(Task::Visit(local));
                    dropped
                }
            };
        }
    }

    fn test(
        &mut self,
        test: Test,
        inverted: bool,
        again: bool,
        rule: RuleId,
        yes: NodeId,
        no: NodeId,
    ) -> NodeId {
        // The rule is only named where the answer can be missing; without it more nodes are equal.
        let named = test.may_be_unknown(self.local_known);
        // A missing fact counts as one that was followed both ways (WALK.md 4.3), though both lead to the same.
        if yes == no && !named {
            return yes;
        }
        let rule = if named { rule } else { RuleId(NONE) };
        let test = TestId(self.made.tests.id(test));
        let (yes, no, inverted) = if inverted && !named {
            (no, yes, false)
        } else {
            (yes, no, inverted)
        };
        self.node(Node::Test {
            test,
            inverted,
            again: again && named,
            rule,
            yes,
            no,
        })
    }

    fn route(&mut self, to: Address, done: &mut Vec<NodeId>) -> Result<NodeId, TooLarge> {
        let (forward, local) = (done.pop().ok_or(TooLarge)?, done.pop().ok_or(TooLarge)?);
        let dropped = done.pop().ok_or(TooLarge)?;
        let destination = match to {
            Address::Original => RouteTo::Original,
            Address::Known(a) => RouteTo::Known(self.made.addresses.id(a)),
            Address::SomeLocal => RouteTo::SomeLocal,
        };
        let children = self.made.routes.id([dropped, local, forward]);
        Ok(self.node(Node::Route {
            destination,
            children,
        }))
    }

    /// Remembers the ways of an endpoint whose test was made last.
    fn learn(&mut self, (entry, endpoint): (Entry, Endpoint), done: &[NodeId]) {
        let nodes = &self.made.nodes.list;
        let ways = done.last().and_then(|made| match nodes[made.0 as usize] {
            Node::Test {
                inverted: false,
                yes,
                no,
                ..
            } => Some(Ways {
                own: self.side(&endpoint, yes)?,
                other: self.side(&endpoint, no)?,
            }),
            _ => None,
        });
        self.ways.insert(entry, ways);
    }

    fn side(&self, endpoint: &Endpoint, mut at: NodeId) -> Option<Side> {
        let mut acts = Vec::new();
        while let Node::Act { act, kind, next } = self.made.nodes.list[at.0 as usize] {
            acts.push(self.made.acts.list[act.0 as usize].1);
            at = next;
            if kind == ActKind::Dnat {
                return endpoint.side(&acts, at);
            }
        }
        None
    }

    /// The test of an endpoint, with ways like those of another.
    fn copy(&mut self, test: Test, ways: Ways, endpoint: &Endpoint) -> NodeId {
        let (dnat, kind) = self.act(endpoint.dnat());
        let [yes, no] = [ways.own, ways.other].map(|side| {
            let rewritten = self.node(Node::Act {
                act: dnat,
                kind,
                next: side.then,
            });
            match side.marked {
                Some(by) => self.prepend(endpoint.note(by), rewritten),
                None => rewritten,
            }
        });
        self.test(test, false, false, RuleId(NONE), yes, no)
    }

    /// Puts what was noted before the node that was made last, which then is the state's.
    fn finish_visit(&mut self, state: Option<State>, from: u32, done: &mut [NodeId]) {
        let Some(node) = done.last_mut() else { return };
        while self.acts.len() as u32 > from
            && let Some(act) = self.acts.pop()
        {
            *node = self.prepend(act, *node);
        }
        if let Some(state) = state {
            self.remember(state, *node);
        }
    }

    fn prepend(&mut self, act: Act, next: NodeId) -> NodeId {
        let (act, kind) = self.act(act);
        self.node(Node::Act { act, kind, next })
    }

    fn act(&mut self, act: Act) -> (ActId, ActKind) {
        // Only a rewritten destination is counted by class.
        let class = if matches!(act, Act::Dnat(_)) {
            self.class
        } else {
            ClassId(NONE)
        };
        let kind = act.kind();
        (ActId(self.made.acts.id((class, act))), kind)
    }

    /// Before nat is settled nodes lead to endpoints of the class's own, and are hardly ever equal.
    fn node(&mut self, node: Node) -> NodeId {
        if self.config.passes.share
            && (self.sharing || matches!(node, Node::End(_) | Node::Walk { .. }))
        {
            let id = NodeId(self.made.nodes.id(node));
            self.made.shared.resize(self.made.nodes.list.len(), true);
            return id;
        }
        self.made.nodes.list.push(node);
        self.made.shared.push(false);
        NodeId(self.made.nodes.list.len() as u32 - 1)
    }

    fn recall(&self, state: &State) -> Option<NodeId> {
        let known = if is_shared(state) {
            &self.shared
        } else {
            &self.own
        };
        known.get(state).copied()
    }

    fn remember(&mut self, state: State, node: NodeId) {
        let known = if is_shared(&state) {
            &mut self.shared
        } else {
            &mut self.own
        };
        known.insert(state, node);
    }
}

/// Visits that every ruleset is granted.
const FIRST_VISITS: u64 = 1_000_000;

/// Visits that a part is granted beside its share, as its classes may be larger than others.
const SOME_VISITS: u64 = 1 << 17;

/// States after nat's first turn are met from many classes.
fn is_shared(state: &State) -> bool {
    use crate::machine::state::Leg;
    match state.leg {
        Leg::Enter => false,
        Leg::Arrive | Leg::Send => usize::from(state.stage) > NAT_STAGE,
        _ => true,
    }
}

/// nat's position among the tables of an arriving and of a sent packet.
const NAT_STAGE: usize = 2;

/// The nodes of the two visits of a test or draw: yes was visited first.
fn two(done: &mut Vec<NodeId>) -> Result<(NodeId, NodeId), TooLarge> {
    let no = done.pop().ok_or(TooLarge)?;
    let yes = done.pop().ok_or(TooLarge)?;
    Ok((yes, no))
}
