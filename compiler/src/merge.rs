//! Parts → one program: what only dropped nodes have named is left behind, equal things are one, ids become the whole program's.

use crate::config::Config;
use crate::interned::Interned;
use crate::machine::Rules;
use crate::machine::state::{Class, NONE};
use crate::parts::Part;
use crate::program::lookup::{Address, Lookup, Lookups, Merged, Renumber};
use crate::program::node::{Act, ActId, Draw, DrawId, End, EndId, Node, NodeId, RouteTo, TestId};
use crate::program::test::Test;
use crate::program::{Acts, ClassId, Keys, Program, SetTest};
use ahash::AHashMap;
use std::sync::Arc;

/// The program of the parts so far.
pub(crate) struct Merge<A> {
    whole: Whole,
    flat: Merged<A>,
    roots: Vec<NodeId>,
    walked: usize,
    recent: Vec<bool>,
}

/// Everything that ids point at.
struct Whole {
    nodes: Interned<Node>,
    tests: Interned<Test>,
    draws: Interned<Draw>,
    thresholds: Vec<Draw>,
    targets: Vec<NodeId>,
    routes: Interned<[NodeId; 3]>,
    addresses: Interned<u128>,
    acts: Acts,
    /// Acts that belong to no class.
    common_acts: AHashMap<Act, ActId>,
    ends: Interned<End>,
    set_tests: Interned<SetTest>,
    classes: u32,
}

impl<A: Address> Merge<A> {
    pub(crate) fn new() -> Self {
        Self {
            whole: Whole {
                nodes: Interned::new(),
                tests: Interned::new(),
                draws: Interned::new(),
                thresholds: Vec::new(),
                targets: Vec::new(),
                routes: Interned::new(),
                addresses: Interned::new(),
                acts: Acts::default(),
                common_acts: AHashMap::new(),
                ends: Interned::new(),
                set_tests: Interned::new(),
                classes: 0,
            },
            flat: Merged::new(),
            roots: Vec::new(),
            walked: 0,
            recent: Vec::new(),
        }
    }

    /// Adds the next part.
    pub(crate) fn add(&mut self, part: Part<A>) {
        let Part {
            program,
            shared,
            flat,
        } = part;
        let mut new = Renumbering::new(&mut self.whole, &program);
        if new.whole.nodes.list.len() + program.nodes.len() > program.config.total_nodes {
            let walk = NodeId(new.whole.nodes.id(Node::Walk { served: false }));
            self.walked += program.roots.len();
            self.recent.extend(program.recent.iter().map(|_| true));
            self.roots.extend(program.roots.iter().map(|_| walk));
        } else {
            for (node, shared) in program.nodes.iter().zip(shared) {
                new.node(*node, shared);
            }
            self.walked += program.walked;
            self.recent.extend(&program.recent);
            self.roots
                .extend(program.roots.iter().map(|root| new.nodes[root.0 as usize]));
        }
        self.flat.add(flat, &mut new);
        self.whole.classes += program.classes.len() as u32;
    }

    /// The program of all classes.
    pub(crate) fn finish(
        self,
        rules: Arc<Rules>,
        classes: Vec<Class>,
        config: &Config,
        lookups: fn(Lookup<A>) -> Lookups,
    ) -> Program {
        let Whole {
            mut nodes,
            mut thresholds,
            mut targets,
            mut acts,
            ..
        } = self.whole;
        nodes.list.shrink_to_fit();
        acts.shrink();
        thresholds.shrink_to_fit();
        targets.shrink_to_fit();
        let tests = &self.whole.tests.list;
        let flat = self.flat.finish(&classes, &rules, tests);
        Program {
            family: rules.graph.family,
            config: config.clone(),
            keys: Keys::new(rules.graph.family, classes.iter().copied()),
            classes,
            roots: self.roots,
            nodes: nodes.list,
            tests: self.whole.tests.list,
            draws: self.whole.draws.list,
            thresholds,
            targets,
            route_children: self.whole.routes.list,
            addresses: self.whole.addresses.list,
            acts,
            ends: self.whole.ends.list,
            set_tests: self.whole.set_tests.list,
            walked: self.walked,
            recent: self.recent,
            lookups: lookups(flat),
            rules,
        }
    }
}

/// What a part's ids become; each is looked up, or added, when it is first met.
struct Renumbering<'m> {
    whole: &'m mut Whole,
    part: &'m Program,
    nodes: Vec<NodeId>,
    tests: Vec<u32>,
    draws: Vec<u32>,
    acts: Vec<u32>,
    ends: Vec<u32>,
}

impl<'m> Renumbering<'m> {
    fn new(whole: &'m mut Whole, part: &'m Program) -> Self {
        Self {
            nodes: Vec::with_capacity(part.nodes.len()),
            tests: vec![NONE; part.tests.len()],
            draws: vec![NONE; part.draws.len()],
            acts: vec![NONE; part.acts.len()],
            ends: vec![NONE; part.ends.len()],
            whole,
            part,
        }
    }

    /// The part's next node; its children come before it.
    fn node(&mut self, node: Node, shared: bool) {
        let of = |nodes: &[NodeId], id: NodeId| nodes[id.0 as usize];
        let node = match node {
            Node::Test {
                test,
                inverted,
                again,
                rule,
                yes,
                no,
            } => Node::Test {
                test: self.test(test),
                inverted,
                again,
                rule,
                yes: of(&self.nodes, yes),
                no: of(&self.nodes, no),
            },
            Node::Draw { draw, yes, no } => Node::Draw {
                draw: self.draw(draw),
                yes: of(&self.nodes, yes),
                no: of(&self.nodes, no),
            },
            Node::Select {
                first,
                count,
                targets,
            } => self.select(first, count, targets),
            Node::Route {
                destination,
                children,
            } => {
                let children = self.part.route_children[children as usize];
                let children = children.map(|child| of(&self.nodes, child));
                Node::Route {
                    destination: self.route_to(destination),
                    children: self.whole.routes.id(children),
                }
            }
            Node::Act { act, kind, next } => Node::Act {
                act: self.act(act),
                kind,
                next: of(&self.nodes, next),
            },
            Node::End(end) => Node::End(self.end(end)),
            walk @ Node::Walk { .. } => walk,
        };
        let nodes = &mut self.whole.nodes;
        self.nodes.push(NodeId(if shared {
            nodes.id(node)
        } else {
            nodes.list.push(node);
            nodes.list.len() as u32 - 1
        }));
    }

    fn select(&mut self, first: u32, count: u32, targets: u32) -> Node {
        let (part, whole) = (self.part, &mut *self.whole);
        let node = Node::Select {
            first: whole.thresholds.len() as u32,
            count,
            targets: whole.targets.len() as u32,
        };
        let thresholds = &part.thresholds[first as usize..][..count as usize];
        whole.thresholds.extend_from_slice(thresholds);
        let old = &part.targets[targets as usize..][..count as usize + 1];
        let new = old.iter().map(|target| self.nodes[target.0 as usize]);
        whole.targets.extend(new);
        node
    }

    fn route_to(&mut self, to: RouteTo) -> RouteTo {
        match to {
            RouteTo::Known(at) => {
                let address = self.part.addresses[at as usize];
                RouteTo::Known(self.whole.addresses.id(address))
            }
            to => to,
        }
    }

    fn draw(&mut self, draw: DrawId) -> DrawId {
        let (part, whole) = (self.part, &mut *self.whole);
        DrawId(known(&mut self.draws, draw.0, || {
            whole.draws.id(part.draws[draw.0 as usize])
        }))
    }
}

impl Renumber for Renumbering<'_> {
    fn test(&mut self, test: TestId) -> TestId {
        let (part, whole) = (self.part, &mut *self.whole);
        TestId(known(&mut self.tests, test.0, || {
            let test = match part.tests[test.0 as usize] {
                Test::Set(at) => Test::Set(whole.set_tests.id(part.set_tests[at as usize])),
                test => test,
            };
            whole.tests.id(test)
        }))
    }

    fn end(&mut self, end: EndId) -> EndId {
        let (part, whole) = (self.part, &mut *self.whole);
        EndId(known(&mut self.ends, end.0, || {
            whole.ends.id(part.ends[end.0 as usize])
        }))
    }

    fn act(&mut self, act: ActId) -> ActId {
        let (part, whole) = (self.part, &mut *self.whole);
        ActId(known(&mut self.acts, act.0, || {
            let (class, act) = (part.act_class(act), part.act(act));
            let acts = &mut whole.acts;
            if class.0 != NONE {
                return acts.push(ClassId(whole.classes + class.0), act).0;
            }
            let common = whole.common_acts.entry(act);
            common.or_insert_with(|| acts.push(class, act)).0
        }))
    }

    fn class(&self, class: ClassId) -> ClassId {
        ClassId(self.whole.classes + class.0)
    }

    fn tests(&self) -> &[Test] {
        &self.whole.tests.list
    }
}

/// The new id of an old one.
fn known(ids: &mut [u32], old: u32, new: impl FnOnce() -> u32) -> u32 {
    let id = &mut ids[old as usize];
    if *id == NONE {
        *id = new();
    }
    *id
}
