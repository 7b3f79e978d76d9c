//! The program applied to one packet.

use super::addresses::{self, Route};
use super::node::{Act, DnatAct, Draw, Node, NodeId, RouteTo};
use super::test::{AddressOf, Test};
use super::{Program, SetTest, sets};
use crate::header::{Header, known};
use crate::machine::state::{Class, Mark, NONE, State};
use crate::machine::{Machine, Stop};
use crate::tail::Tail;
use kpclass_ruleset::decision::{Decision, Disposition, Fact, MAX_FORKS, Nat, Snat, Unknown};
use kpclass_ruleset::matches::PortSide;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::value::{Interface, InterfacePattern, number_address};
use kpclass_ruleset::{Hook, RuleId};

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
        }
    }
}

/// No rule's facts are taken as fulfilled.
pub(super) const NO_RULE: RuleId = RuleId(NONE);

/// Where an evaluation stands: in the program, or, in a class that is walked, in the rules.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Node(NodeId),
    Rules(State),
}

/// What was rewritten on the way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Registers {
    dnat: Option<DnatAct>,
    snat: Option<(Snat, RuleId)>,
    marked_by: Option<RuleId>,
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
    context: &'p Context,
    machine: Option<Machine<'p>>,
}

impl Program {
    /// What netfilter does with a packet of the program's family, for one number drawn; `None`: not compiled for the context's
    /// ctstate or mark.
    pub fn decide(&self, header: &Header, context: &Context, draw: u64) -> Option<Decision> {
        let mut run = self.run(header, context)?;
        let root = run.root()?;
        Some(run.decide(root, Registers::default(), draw, 0, NO_RULE))
    }

    /// The target of a selection for a number drawn.
    #[inline]
    pub(super) fn selected(&self, first: u32, count: u32, targets: u32, draw: u64) -> NodeId {
        let thresholds = &self.thresholds[first as usize..(first + count) as usize];
        let at = thresholds.partition_point(|t| t.below <= draw);
        self.targets[targets as usize + at]
    }

    /// Routing of an arrived packet with this present destination.
    pub(super) fn route(&self, header: &Header, context: &Context, destination: u128) -> Route {
        let by_lo = context.in_interface == Some(Interface::lo());
        let Header {
            protocol, source, ..
        } = *header;
        addresses::route(
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
        })
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
        if self.program.nodes[node.0 as usize] != Node::Walk {
            return Place::Node(node);
        }
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
        Place::Rules(State::start(hook, ctstate, class, Some(mark)))
    }

    /// `assumed` is the rule whose missing facts are taken as fulfilling it, on the way on which they are.
    fn decide(
        &mut self,
        at: Place,
        registers: Registers,
        draw: u64,
        forks: u32,
        assumed: RuleId,
    ) -> Decision {
        let (mut at, mut registers) = (at, registers);
        loop {
            match self.advance(at, &mut registers, assumed) {
                Halt::End(decision) => return decision,
                Halt::Draw {
                    draw: Draw { below, .. },
                    yes,
                    no,
                } => {
                    at = if draw < below { yes } else { no };
                }
                Halt::Select {
                    first,
                    count,
                    targets,
                } => {
                    at = self.place(self.program.selected(first, count, targets, draw));
                }
                Halt::Unknown { rule, .. } if forks == MAX_FORKS => {
                    return unknown(rule, Fact::TooMany);
                }
                Halt::Unknown {
                    rule,
                    fact,
                    yes,
                    no,
                } => {
                    let held = self.decide(yes, registers, draw, forks + 1, rule);
                    let failed = self.decide(no, registers, draw, forks + 1, NO_RULE);
                    return if held == failed {
                        held
                    } else {
                        unknown(rule, fact)
                    };
                }
            }
        }
    }

    /// Goes on to where a number or a missing fact decides, or to the end. Missing facts of the rule `assumed` count as fulfilling it.
    pub(super) fn advance(
        &mut self,
        at: Place,
        registers: &mut Registers,
        assumed: RuleId,
    ) -> Halt {
        let mut at = at;
        loop {
            let next = match at {
                Place::Node(id) => self.node(id, registers, assumed),
                Place::Rules(state) => self.rules(state, registers, assumed),
            };
            match next {
                Ok(next) => at = next,
                Err(halt) => return halt,
            }
        }
    }

    /// One node: the next place, or a halt.
    fn node(
        &mut self,
        id: NodeId,
        registers: &mut Registers,
        assumed: RuleId,
    ) -> Result<Place, Halt> {
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
                let answer = self.answer(&program.tests[test.0 as usize]);
                branch(answer, inverted, again && rule == assumed, rule, yes, no)
            }
            Node::Draw { draw, yes, no } => {
                let draw = program.draws[draw.0 as usize];
                Err(Halt::Draw {
                    draw,
                    yes: Place::Node(yes),
                    no: Place::Node(no),
                })
            }
            Node::Select {
                first,
                count,
                targets,
            } => Err(Halt::Select {
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
                    RouteTo::SomeLocal => return Ok(Place::Node(local)),
                    RouteTo::Original => self.header.destination,
                    RouteTo::Known(at) => program.addresses[at as usize],
                };
                match self.route(to) {
                    Route::Dropped => Ok(Place::Node(dropped)),
                    Route::Local => Ok(Place::Node(local)),
                    Route::Forward => Ok(Place::Node(forward)),
                    Route::Unknown(fact) => {
                        Err(Halt::End(Decision::unknown(Unknown { rule: None, fact })))
                    }
                }
            }
            Node::Act { act, next } => {
                self.note(program.acts[act.0 as usize], registers);
                Ok(Place::Node(next))
            }
            Node::End(end) => {
                let end = program.ends[end.0 as usize];
                Err(Halt::End(self.end(
                    registers,
                    end.disposition,
                    end.decided_by,
                    end.mark,
                )))
            }
            Node::Walk => Ok(self.place(id)),
        }
    }

    /// The same in a class that is walked.
    fn rules(
        &mut self,
        state: State,
        registers: &mut Registers,
        assumed: RuleId,
    ) -> Result<Place, Halt> {
        let program = self.program;
        let machine = self
            .machine
            .get_or_insert_with(|| Machine::new(&program.rules, Tail::default()));
        let mut acts = Vec::new();
        let stop = machine.run(state, &mut acts);
        acts.into_iter().for_each(|act| self.note(act, registers));
        match stop {
            Stop::Test {
                test,
                inverted,
                again,
                rule,
                yes,
                no,
            } => {
                let answer = self.answer(&test);
                let (yes, no) = (Place::Rules(yes), Place::Rules(no));
                branch(answer, inverted, again && rule == assumed, rule, yes, no)
            }
            Stop::Draw { draw, yes, no } => Err(Halt::Draw {
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
                    Address::SomeLocal => return Ok(Place::Rules(local)),
                    Address::Original => self.header.destination,
                    Address::Known(a) => a,
                };
                match self.route(to) {
                    Route::Dropped => Ok(Place::Rules(dropped)),
                    Route::Local => Ok(Place::Rules(local)),
                    Route::Forward => Ok(Place::Rules(forward)),
                    Route::Unknown(fact) => {
                        Err(Halt::End(Decision::unknown(Unknown { rule: None, fact })))
                    }
                }
            }
            Stop::End(end) => Err(Halt::End(self.end(
                registers,
                end.disposition,
                end.decided_by,
                end.mark,
            ))),
            Stop::Settled(state) => Ok(Place::Rules(state)),
            // A walk knows all of the key.
            Stop::NeedsKey => Err(Halt::End(unknown(RuleId(NONE), Fact::NatAddress))),
        }
    }

    fn route(&self, destination: u128) -> Route {
        self.program.route(self.header, self.context, destination)
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

    /// The packet's answer to a test.
    #[inline]
    pub(super) fn answer(&self, test: &Test) -> Result<bool, Fact> {
        let h = self.header;
        let has = |bit: u16| h.known & bit != 0;
        let known_field = |bit: u16, fact: Fact, answer: bool| {
            if has(bit) { Ok(answer) } else { Err(fact) }
        };
        Ok(match *test {
            Test::Unknown(fact) => return Err(fact),
            Test::Source(prefix) => prefix.contains(h.source),
            Test::SourceRange(first, last) => first <= h.source && h.source <= last,
            Test::Destination(prefix) => prefix.contains(h.destination),
            Test::DestinationRange(first, last) => first <= h.destination && h.destination <= last,
            Test::DestinationIs(address, port) => {
                h.destination == address && has(known::PORTS) && h.destination_port == port
            }
            Test::Protocol(p) => h.protocol == p,
            Test::PortProtocol => addresses::has_port_field(h.protocol),
            Test::HasPorts => has(known::PORTS),
            Test::Fragment => has(known::FRAGMENT),
            Test::SourcePort(range) => has(known::PORTS) && range.contains(h.source_port),
            Test::DestinationPort(range) => has(known::PORTS) && range.contains(h.destination_port),
            Test::PortList(side, list) => {
                let ports = &self.program.rules.graph.port_lists[list.0 as usize];
                has(known::PORTS)
                    && ports.iter().any(|r| match side {
                        PortSide::Source => r.contains(h.source_port),
                        PortSide::Destination => r.contains(h.destination_port),
                        PortSide::Either => {
                            r.contains(h.source_port) || r.contains(h.destination_port)
                        }
                    })
            }
            Test::TcpFlags(mask, value) => has(known::TCP_FLAGS) && h.tcp_flags & mask == value,
            Test::HasIcmp => has(known::ICMP),
            Test::Icmp(kind, first, last) => {
                has(known::ICMP)
                    && h.icmp_type == kind
                    && first <= h.icmp_code
                    && h.icmp_code <= last
            }
            Test::Mark(mask, value) => self.context.mark & mask == value,
            Test::InInterface(pattern) => return self.in_interface(pattern),
            Test::OutInterface(pattern, sent) => return self.out_interface(pattern, sent),
            Test::AddressType(of, types, limit_in, limit_out) => {
                return self.address_type(of, types, limit_in, limit_out);
            }
            Test::DestinationLocal => self.destination_local() == Some(true),
            Test::DestinationNotLocal => self.destination_local() == Some(false),
            Test::RefusedOnEntry => {
                let by_lo = self.context.in_interface == Some(Interface::lo());
                addresses::refused_on_entry(h.source, h.destination, by_lo)
            }
            Test::FromDevice => self.context.in_interface != Some(Interface::lo()),
            Test::Mac(mac) => return known_field(known::MAC, Fact::Mac, h.source_mac == mac),
            Test::Length(range) => {
                return known_field(known::LENGTH, Fact::Length, range.contains(h.length));
            }
            Test::Ttl(first, last, forwarded) => {
                let ttl = if forwarded {
                    h.ttl.saturating_sub(1)
                } else {
                    h.ttl
                };
                return known_field(known::TTL, Fact::Ttl, first <= ttl && ttl <= last);
            }
            Test::Dscp(value) => return known_field(known::DSCP, Fact::Dscp, h.dscp == value),
            Test::Set(at) => return self.in_set(at),
        })
    }

    fn destination_local(&self) -> Option<bool> {
        let address = number_address(self.program.family, self.header.destination);
        self.program.rules.node.is_local(address)
    }

    fn in_interface(&self, pattern: InterfacePattern) -> Result<bool, Fact> {
        match self.context.in_interface {
            Some(interface) => Ok(pattern.matches(interface)),
            // Without a known device it is at least not lo.
            None if !pattern.prefix && pattern.name == Interface::lo() => Ok(false),
            None => Err(Fact::InInterface),
        }
    }

    fn out_interface(&self, pattern: InterfacePattern, sent: bool) -> Result<bool, Fact> {
        if sent && self.destination_local() == Some(true) {
            return Ok(pattern.matches(Interface::lo()));
        }
        if !pattern.prefix && pattern.name == Interface::lo() {
            return Ok(false);
        }
        Err(Fact::OutInterface)
    }

    fn address_type(
        &self,
        of: AddressOf,
        types: kpclass_ruleset::matches::AddressTypes,
        limit_in: bool,
        limit_out: bool,
    ) -> Result<bool, Fact> {
        let address = match of {
            AddressOf::Source => self.header.source,
            AddressOf::Destination => self.header.destination,
            AddressOf::Known(a) => a,
        };
        let (node, family) = (&self.program.rules.node, self.program.family);
        if limit_in {
            let device = self.context.in_interface;
            let fact = Fact::LocalAddresses;
            return addresses::limited_type_matches(node, family, address, types, device, fact);
        }
        if limit_out {
            let fact = Fact::OutInterface;
            return addresses::limited_type_matches(node, family, address, types, None, fact);
        }
        addresses::type_matches(node, family, address, types)
    }

    fn in_set(&self, at: u32) -> Result<bool, Fact> {
        let test: SetTest = match &self.machine {
            Some(machine) => machine.set_tests[at as usize],
            None => self.program.set_tests[at as usize],
        };
        sets::contains(self.program, &test, self.header, self.context)
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
) -> Result<Place, Halt> {
    match answer {
        Ok(answer) => Ok(if answer != inverted { yes } else { no }),
        Err(_) if assumed => Ok(yes),
        Err(fact) => Err(Halt::Unknown {
            rule,
            fact,
            yes,
            no,
        }),
    }
}
