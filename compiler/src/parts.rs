//! Parts of the classes, each compiled by itself: by as many threads as there are, and what comes of it does not depend on how many.

use crate::config::Config;
use crate::flatten::{self, Flat};
use crate::machine::state::{Class, State};
use crate::machine::{Machine, Rules};
use crate::program::lookup::{Address, Built, Lookups};
use crate::program::node::{Node, NodeId};
use crate::program::{Acts, ClassId, Keys, Program};
use crate::specialise::{Specialiser, visits};
use crate::tail::Tail;
use kpclass_ruleset::Hook;
use kpclass_ruleset::ordered;
use kpclass_ruleset::value::CtState;
use std::sync::Arc;

/// Classes of a part. Each part finds the ways behind nat anew, so that it should have many; and few, so that its nodes stay in the cache.
const CLASSES: usize = 256;

/// Some classes, compiled: ids of classes count from the part's first.
pub(crate) struct Part<A> {
    /// Without keys and flat form.
    pub(crate) program: Program,
    /// For each node whether equal ones are to be one.
    pub(crate) shared: Vec<bool>,
    pub(crate) flat: Built<A>,
}

/// Compiles the classes, and gives each part to `take`, in order.
pub(crate) fn each<A: Address>(
    rules: &Arc<Rules>,
    classes: &[Class],
    config: &Config,
    take: impl FnMut(Part<A>),
) {
    let parts: Vec<&[Class]> = classes.chunks(CLASSES).collect();
    let visits = visits(config, rules.graph.rules.len(), parts.len());
    let make = |(): &mut (), at: usize| part::<A>(rules, parts[at], config, visits);
    ordered::each(parts.len(), || (), make, take);
}

fn part<A: Address>(
    rules: &Arc<Rules>,
    classes: &[Class],
    config: &Config,
    visits: u64,
) -> Part<A> {
    let (mut program, mut shared) = nodes(rules, classes, config, visits);
    let flat = Built::new(&program);
    if config.passes.lean {
        drop_served(&mut program, &mut shared, &flat);
    }
    compact(&mut program, &mut shared);
    Part {
        program,
        shared,
        flat,
    }
}

/// The nodes of one class, and of no other.
pub(crate) fn of_class(program: &Program, class: ClassId) -> Program {
    let (rules, config) = (&program.rules, &program.config);
    let classes = &program.classes[class.0 as usize..][..1];
    let visits = visits(config, rules.graph.rules.len(), 1);
    let (mut program, mut shared) = nodes(rules, classes, config, visits);
    compact(&mut program, &mut shared);
    program
}

/// The classes' nodes, and which of them are shared.
fn nodes(
    rules: &Arc<Rules>,
    classes: &[Class],
    config: &Config,
    visits: u64,
) -> (Program, Vec<bool>) {
    let tail = if config.passes.merge_tails {
        Tail::new(&rules.tail)
    } else {
        Tail::default()
    };
    let mut specialiser = Specialiser::new(Machine::new(rules, tail), config, visits);
    let each = 2 * config.ctstates.len();
    let mut roots = vec![NodeId(0); each * classes.len()];
    // The last, of all other keys, comes first: whatever is left to walk, it is not that one.
    for at in (0..classes.len()).rev() {
        for (i, hook) in [Hook::Prerouting, Hook::Output].into_iter().enumerate() {
            for (j, ctstate) in config.ctstates.iter().enumerate() {
                let start = State::start(hook, *ctstate, classes[at], config.mark);
                let root = specialiser.root(ClassId(at as u32), start);
                roots[at * each + i * config.ctstates.len() + j] = root;
            }
        }
    }
    let made = specialiser.finish();
    let mut nodes = made.nodes.list;
    let mut flat = Flat {
        route_children: made.routes.list,
        ..Flat::default()
    };
    if config.passes.select {
        flatten::select(&mut nodes, &made.draws.list, &roots, &mut flat);
    }
    let mut acts = Acts::default();
    for (class, act) in made.acts.list {
        acts.push(class, act);
    }
    let program = Program {
        family: rules.graph.family,
        config: config.clone(),
        keys: Keys::new(rules.graph.family, [Class::Other].into_iter()),
        classes: classes.to_vec(),
        roots,
        nodes,
        tests: made.tests.list,
        draws: made.draws.list,
        thresholds: flat.thresholds,
        targets: flat.targets,
        route_children: flat.route_children,
        addresses: made.addresses.list,
        acts,
        ends: made.ends.list,
        set_tests: made.set_tests.list,
        walked: made.walked,
        recent: (0..classes.len() as u32)
            .map(|at| made.recent.contains(&ClassId(at)))
            .collect(),
        lookups: Lookups::None,
        rules: rules.clone(),
    };
    (program, made.shared)
}

/// Takes away the nodes of what the flat form serves: a class's packets in ctstate NEW.
fn drop_served<A: Address>(program: &mut Program, shared: &mut Vec<bool>, flat: &Built<A>) {
    let starts =
        [Hook::Prerouting, Hook::Output].map(|hook| program.root_index(hook, CtState::New));
    let each = program.roots_each();
    let walk = NodeId(program.nodes.len() as u32);
    program.nodes.push(Node::Walk { served: true });
    shared.push(true);
    for (class, _) in flat
        .served()
        .iter()
        .enumerate()
        .filter(|(_, served)| **served)
    {
        for start in starts.into_iter().flatten() {
            program.roots[class * each + start] = walk;
        }
    }
}

fn compact(program: &mut Program, shared: &mut Vec<bool>) {
    let flat = Flat {
        nodes: std::mem::take(&mut program.nodes),
        thresholds: std::mem::take(&mut program.thresholds),
        targets: std::mem::take(&mut program.targets),
        route_children: std::mem::take(&mut program.route_children),
    };
    let flat = flatten::compact(flat, shared, &mut program.roots);
    program.nodes = flat.nodes;
    program.thresholds = flat.thresholds;
    program.targets = flat.targets;
    program.route_children = flat.route_children;
}
