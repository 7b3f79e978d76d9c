//! The program applied to one packet.

use super::Program;
use super::addresses::{self, Route};
use super::answer::Asked;
use super::follow::varies;
use super::node::{Act, DnatAct, Draw, End, EndId, Node, NodeId, RouteTo};
use super::partition::MAX_DRAWS;
use crate::header::{Header, known};
use crate::machine::state::{Class, Mark, NONE, State};
use crate::machine::{Machine, Stop, Tracked};
use crate::tail::Tail;
use kpclass_ruleset::decision::{Decision, Disposition, Fact, Nat, Snat, Unknown};
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::value::{Interface, number_address};
use kpclass_ruleset::{Hook, RuleId};
use std::ops::ControlFlow;

/// What is known of a packet beside its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Context {
    /// Where it starts.
    pub hook: Hook,
    /// The device it arrived on.
    pub in_interface: Option<Interface>,
    /// The mark it starts with; must be the configuration's, if that has one.
    pub mark: u32,
    /// How conntrack sees it; must be one of the configuration's.
    pub ctstate: kpclass_ruleset::value::CtState,
    /// It was joined of several fragments, which is asked only where its connection is followed.
    pub is_joined: bool,
}

impl Context {
    /// Whether another one is the same, but perhaps for the ctstate.
    #[inline(always)]
    pub fn is_alike(&self, other: &Self) -> bool {
        (self.hook, self.in_interface, self.mark) == (other.hook, other.in_interface, other.mark)
            && self.is_joined == other.is_joined
    }
}

impl From<&Packet> for Context {
    fn from(packet: &Packet) -> Self {
        Self {
            hook: packet.hook,
            in_interface: packet
                .in_interface
                .filter(|_| packet.hook == Hook::Prerouting),
            mark: packet.mark,
            ctstate: packet.ctstate,
            is_joined: false,
        }
    }
}

/// Where an evaluation stands: in the program, or, in a class that is walked, in the rules.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Node(NodeId),
    Rules(State),
}

/// What was rewritten, and assumed, on the way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Registers {
    dnat: Option<DnatAct>,
    snat: Option<(Snat, RuleId)>,
    marked_by: Option<RuleId>,
    /// The rule whose missing facts are taken as fulfilling it, on the way on which they are.
    assumed: Option<RuleId>,
}

impl Registers {
    /// On the way on which the missing facts of this rule are taken as fulfilling it.
    pub(super) fn assuming(self, rule: RuleId) -> Self {
        Self {
            assumed: Some(rule),
            ..self
        }
    }

    /// On the way on which they are not.
    pub(super) fn assuming_nothing(self) -> Self {
        Self {
            assumed: None,
            ..self
        }
    }

    /// Whether a missing answer of the rule is taken as fulfilling it. A visit's first question (not `again`) ends what an earlier visit assumed.
    fn takes_as_held(&mut self, rule: RuleId, again: bool) -> bool {
        if !again && self.assumed == Some(rule) {
            self.assumed = None;
        }
        again && self.assumed == Some(rule)
    }
}

/// Why an evaluation halted.
pub(super) enum Halt {
    /// A number decides.
    Draw { draw: Draw, yes: Place, no: Place },
    /// A number decides among many.
    Select {
        first: u32,
        count: u32,
        targets: u32,
    },
    /// A fact is missing.
    Unknown {
        rule: RuleId,
        fact: Fact,
        yes: Place,
        no: Place,
    },
    /// The end.
    End(Decision),
}

/// One packet in a program.
pub(super) struct Run<'p> {
    pub(super) program: &'p Program,
    header: &'p Header,
    pub(super) context: &'p Context,
    pub(super) machine: Option<Machine<'p>>,
    /// Draws that may still be followed both ways.
    pub(super) draws_left: u32,
    /// Something was asked that another packet of the connection may answer otherwise.
    pub(super) varies: bool,
    /// Room for what a walk of the rules rewrites.
    acts: Vec<Act>,
}

impl Program {
    /// What netfilter does with a packet of the program's family, for one number drawn; `None`: not compiled for the context's
    /// ctstate or mark.
    pub fn decide(&self, header: &Header, context: &Context, draw: u64) -> Option<Decision> {
        let mut run = self.run(header, context)?;
        let mut registers = Registers::default();
        if let Some((end, dnat)) = self.plain_outcome(header, context, draw) {
            if let Some(act) = dnat {
                run.note(self.act(act), &mut registers);
            }
            return Some(run.end_at(end, &registers));
        }
        let note = |act, _| run.note(self.act(act), &mut registers);
        if let Some(end) = self.end_by_nodes(header, context, draw, note) {
            return Some(run.end_at(end, &registers));
        }
        let root = run.root()?;
        Some(run.follow(root, Registers::default(), draw, 0).decision)
    }

    #[inline]
    pub(super) fn asked_of<'p>(&'p self, header: &'p Header, context: &'p Context) -> Asked<'p> {
        Asked {
            program: self,
            header,
            context,
            set_tests: &self.set_tests,
        }
    }

    /// The target of a selection for a number drawn.
    #[inline]
    pub(super) fn selected(&self, first: u32, count: u32, targets: u32, draw: u64) -> NodeId {
        let thresholds = &self.thresholds[first as usize..(first + count) as usize];
        let at = thresholds.partition_point(|t| t.below <= draw);
        self.targets[targets as usize + at]
    }

    /// Routing of an arrived packet with this present destination.
    #[inline]
    pub(super) fn route(&self, header: &Header, context: &Context, destination: u128) -> Route {
        let by_lo = context.in_interface == Some(Interface::lo());
        let Header {
            protocol, source, ..
        } = *header;
        addresses::route(
            &self.rules.locals,
            &self.rules.node,
            self.family,
            protocol,
            source,
            destination,
            by_lo,
        )
    }

    pub(super) fn run<'p>(&'p self, header: &'p Header, context: &'p Context) -> Option<Run<'p>> {
        let mark_fits = self.config.mark.is_none_or(|mark| mark == context.mark);
        mark_fits.then_some(Run {
            program: self,
            header,
            context,
            machine: None,
            draws_left: MAX_DRAWS,
            varies: false,
            acts: Vec::new(),
        })
    }

    /// A run that walks the rules.
    pub(super) fn walking<'p>(
        &'p self,
        header: &'p Header,
        context: &'p Context,
        machine: Machine<'p>,
    ) -> Run<'p> {
        Run {
            program: self,
            header,
            context,
            machine: Some(machine),
            draws_left: MAX_DRAWS,
            varies: false,
            acts: Vec::new(),
        }
    }
}

impl<'p> Run<'p> {
    pub(super) fn root(&mut self) -> Option<Place> {
        let at = self
            .program
            .root_index(self.context.hook, self.context.ctstate)?;
        let class = self.program.keys.class(self.header);
        let root = self.program.root(class, at);
        Some(self.place(root))
    }

    /// A node; a class that is walked starts over in the rules, with all of its key known.
    pub(super) fn place(&self, node: NodeId) -> Place {
        match self.program.nodes[node.0 as usize] {
            Node::Walk { .. } => Place::Rules(self.start()),
            _ => Place::Node(node),
        }
    }

    /// Where a walk with all of the key known begins.
    pub(super) fn start(&self) -> State {
        let Header {
            protocol,
            destination,
            destination_port: port,
            ..
        } = *self.header;
        let class = if self.header.known & known::PORTS != 0 {
            Class::Exact {
                protocol,
                destination,
                port,
            }
        } else {
            Class::Portless {
                protocol,
                destination,
            }
        };
        let Context {
            hook,
            ctstate,
            mark,
            ..
        } = *self.context;
        State::start(hook, ctstate, class, Some(mark))
    }

    /// What a walk of a packet whose connection is followed has met.
    pub(super) fn tracked(&mut self) -> Option<&mut Tracked<'p>> {
        self.machine.as_mut()?.tracked.as_mut()
    }

    /// Goes on to where a number or a missing fact decides, or to the end.
    pub(super) fn advance(&mut self, at: Place, registers: &mut Registers) -> Halt {
        let mut at = at;
        loop {
            let next = match at {
                Place::Node(id) => self.node(id, registers),
                Place::Rules(state) => self.rules(state, registers),
            };
            match next {
                ControlFlow::Continue(next) => at = next,
                ControlFlow::Break(halt) => return halt,
            }
        }
    }

    /// One node: the next place, or a halt.
    fn node(&mut self, id: NodeId, registers: &mut Registers) -> ControlFlow<Halt, Place> {
        let program = self.program;
        match program.nodes[id.0 as usize] {
            Node::Test {
                test,
                inverted,
                again,
                rule,
                yes,
                no,
            } => {
                let (yes, no) = (Place::Node(yes), Place::Node(no));
                let asked = program.asked_of(self.header, self.context);
                let answer = asked.answer(&program.tests[test.0 as usize]);
                let held = registers.takes_as_held(rule, again);
                branch(answer, inverted, held, rule, yes, no)
            }
            Node::Draw { draw, yes, no } => {
                let draw = program.draws[draw.0 as usize];
                ControlFlow::Break(Halt::Draw {
                    draw,
                    yes: Place::Node(yes),
                    no: Place::Node(no),
                })
            }
            Node::Select {
                first,
                count,
                targets,
            } => ControlFlow::Break(Halt::Select {
                first,
                count,
                targets,
            }),
            Node::Route {
                destination,
                children,
            } => {
                let [dropped, local, forward] = program.route_children[children as usize];
                let to = match destination {
                    RouteTo::SomeLocal => return ControlFlow::Continue(Place::Node(local)),
                    RouteTo::Original => self.header.destination,
                    RouteTo::Known(at) => program.addresses[at as usize],
                };
                match self.route(to) {
                    Route::Dropped => ControlFlow::Continue(Place::Node(dropped)),
                    Route::Local => ControlFlow::Continue(Place::Node(local)),
                    Route::Forward => ControlFlow::Continue(Place::Node(forward)),
                    Route::Unknown(fact) => {
                        ControlFlow::Break(Halt::End(Decision::unknown(Unknown {
                            rule: None,
                            fact,
                        })))
                    }
                }
            }
            Node::Act { act, next, .. } => {
                self.note(program.act(act), registers);
                ControlFlow::Continue(Place::Node(next))
            }
            Node::End(end) => ControlFlow::Break(Halt::End(self.end_at(end, registers))),
            Node::Walk { .. } => ControlFlow::Continue(self.place(id)),
        }
    }

    /// The same in a class that is walked.
    fn rules(&mut self, state: State, registers: &mut Registers) -> ControlFlow<Halt, Place> {
        let program = self.program;
        let machine = self
            .machine
            .get_or_insert_with(|| Machine::new(&program.rules, Tail::default()));
        let mut acts = std::mem::take(&mut self.acts);
        let stop = machine.run(state, &mut acts);
        acts.drain(..).for_each(|act| self.note(act, registers));
        self.acts = acts;
        match stop {
            Stop::Test {
                test,
                inverted,
                again,
                rule,
                yes,
                no,
            } => {
                let met = self
                    .machine
                    .as_ref()
                    .map(|machine| &*machine.set_tests.list);
                let asked = Asked {
                    set_tests: met.unwrap_or_default(),
                    ..program.asked_of(self.header, self.context)
                };
                let answer = asked.answer(&test);
                self.varies |= varies(&test);
                let (yes, no) = (Place::Rules(yes), Place::Rules(no));
                let held = registers.takes_as_held(rule, again);
                branch(answer, inverted, held, rule, yes, no)
            }
            Stop::Draw { draw, yes, no } => ControlFlow::Break(Halt::Draw {
                draw,
                yes: Place::Rules(yes),
                no: Place::Rules(no),
            }),
            Stop::Route {
                destination,
                local,
                forward,
                dropped,
            } => {
                use crate::machine::state::Address;
                let to = match destination {
                    Address::SomeLocal => return ControlFlow::Continue(Place::Rules(local)),
                    Address::Original => self.header.destination,
                    Address::Known(a) => a,
                };
                match self.route(to) {
                    Route::Dropped => ControlFlow::Continue(Place::Rules(dropped)),
                    Route::Local => ControlFlow::Continue(Place::Rules(local)),
                    Route::Forward => ControlFlow::Continue(Place::Rules(forward)),
                    Route::Unknown(fact) => {
                        ControlFlow::Break(Halt::End(Decision::unknown(Unknown {
                            rule: None,
                            fact,
                        })))
                    }
                }
            }
            Stop::End(end) => ControlFlow::Break(Halt::End(self.end(
                registers,
                end.disposition,
                end.decided_by,
                end.mark,
            ))),
            Stop::Settled(state) => ControlFlow::Continue(Place::Rules(state)),
            // A walk knows all of the key.
            Stop::NeedsKey => {
                ControlFlow::Break(Halt::End(unknown(RuleId(NONE), Fact::NatAddress)))
            }
        }
    }

    fn route(&self, destination: u128) -> Route {
        self.program.route(self.header, self.context, destination)
    }

    fn end_at(&self, end: EndId, registers: &Registers) -> Decision {
        let End {
            disposition,
            decided_by,
            mark,
        } = self.program.ends[end.0 as usize];
        self.end(registers, disposition, decided_by, mark)
    }

    fn end(
        &self,
        registers: &Registers,
        disposition: Disposition,
        decided_by: Option<RuleId>,
        mark: Mark,
    ) -> Decision {
        if let Disposition::Unknown(missing) = disposition {
            return Decision::unknown(missing);
        }
        Decision {
            disposition,
            decided_by,
            dnat: registers.dnat.map(|act| (self.rewritten(act), act.rule)),
            snat: registers.snat,
            marked_by: registers.marked_by,
            mark: mark.of(self.context.mark),
        }
    }

    /// The packet's destination after an act.
    fn rewritten(&self, act: DnatAct) -> Nat {
        let header = self.header;
        let own_port = (header.known & known::PORTS != 0).then_some(header.destination_port);
        let own = act
            .own_address
            .then(|| number_address(self.program.family, header.destination));
        Nat {
            address: act.address.or(own),
            port: act.port.or(own_port),
        }
    }

    fn note(&self, act: Act, registers: &mut Registers) {
        match act {
            Act::Dnat(dnat) => registers.dnat = Some(dnat),
            Act::Snat(snat, rule) => registers.snat = Some((snat, rule)),
            Act::NetmapSource(to, rule) => {
                let mapped = to.address | self.header.source & !to.mask;
                let address = number_address(self.program.family, mapped);
                registers.snat = Some((Snat::Netmap(address), rule));
            }
            Act::MasqueradeByMarker => {
                registers.snat = registers.marked_by.map(|rule| (Snat::Masquerade, rule));
            }
            Act::MarkedBy(rule) => registers.marked_by = Some(rule),
        }
    }
}

/// What comes of a missing fact: the decision of both ways, if they agree; a way that gave up says that nothing can be said.
pub(super) fn either(
    held: &Decision,
    failed: &Decision,
    unknown: impl FnOnce() -> Decision,
) -> Decision {
    if held.gave_up() || held == failed {
        held.clone()
    } else if failed.gave_up() {
        failed.clone()
    } else {
        unknown()
    }
}

pub(super) fn unknown(rule: RuleId, fact: Fact) -> Decision {
    let rule = (rule.0 != NONE).then_some(rule);
    Decision::unknown(Unknown { rule, fact })
}

/// Follows an answer; a missing one halts, unless its rule's missing facts are taken as fulfilled.
fn branch(
    answer: Result<bool, Fact>,
    inverted: bool,
    assumed: bool,
    rule: RuleId,
    yes: Place,
    no: Place,
) -> ControlFlow<Halt, Place> {
    match answer {
        Ok(answer) => ControlFlow::Continue(if answer != inverted { yes } else { no }),
        Err(_) if assumed => ControlFlow::Continue(yes),
        Err(fact) => ControlFlow::Break(Halt::Unknown {
            rule,
            fact,
            yes,
            no,
        }),
    }
}
