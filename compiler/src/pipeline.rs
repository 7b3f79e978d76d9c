//! The driver: every pass, in order.

use crate::config::Config;
use crate::error::CompileError;
use crate::flatten::{self, Flat};
use crate::index;
use crate::lower::lower;
use crate::machine::state::{Class, State};
use crate::machine::{Machine, Rules};
use crate::program::lookup::Lookups;
use crate::program::node::NodeId;
use crate::program::{ClassId, Keys, Program};
use crate::specialise::Specialiser;
use crate::tail::Tail;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::{Hook, Ruleset};

impl Program {
    /// Compiles the rules of one family.
    ///
    /// # Errors
    /// If the ruleset's chains loop.
    pub fn compile(
        ruleset: &Ruleset,
        node: &NodeFacts,
        config: &Config,
    ) -> Result<Self, CompileError> {
        crate::loops::check(ruleset)?;
        let rules = Rules::new(lower(ruleset, node), node);
        let classes = classes(&rules);
        let mut program = specialise_and_flatten(rules, &classes, config);
        program.lookups = Lookups::new(&program);
        debug_assert_eq!(program.verify(), Ok(()));
        Ok(program)
    }
}

/// The classes of destination keys that the rules single out, then the one for all others.
fn classes(rules: &Rules) -> Vec<Class> {
    let (exact, ports) = index::keys(&rules.graph);
    let exact = exact
        .into_iter()
        .map(|(protocol, destination, port)| Class::Exact {
            protocol,
            destination,
            port,
        });
    let ports = ports
        .into_iter()
        .map(|(protocol, port)| Class::Port { protocol, port });
    exact.chain(ports).chain([Class::Other]).collect()
}

fn specialise_and_flatten(rules: Rules, classes: &[Class], config: &Config) -> Program {
    let tail = if config.passes.merge_tails {
        Tail::new(&rules.graph)
    } else {
        Tail::default()
    };
    let local_known = rules.node.local.is_some();
    let mut specialiser = Specialiser::new(Machine::new(&rules, tail), config, local_known);
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
    let flat = flatten::compact(nodes, flat, &mut roots);
    let (act_class, acts) = made.acts.list.into_iter().unzip();
    Program {
        family: rules.graph.family,
        config: config.clone(),
        keys: Keys::new(rules.graph.family, classes.iter().copied()),
        classes: classes.to_vec(),
        roots,
        nodes: flat.nodes,
        tests: made.tests.list,
        draws: made.draws.list,
        thresholds: flat.thresholds,
        targets: flat.targets,
        route_children: flat.route_children,
        addresses: made.addresses.list,
        acts,
        act_class,
        ends: made.ends.list,
        set_tests: made.set_tests,
        walked: made.walked,
        lookups: Lookups::None,
        rules,
    }
}
