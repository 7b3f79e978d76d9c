//! The driver: every pass, in order.

use crate::config::Config;
use crate::error::CompileError;
use crate::lower::{MANY, lower};
use crate::machine::Rules;
use crate::machine::state::Class;
use crate::merge::Merge;
use crate::parts;
use crate::program::Program;
use crate::program::lookup::{Address, Lookup, Lookups};
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::value::Family;
use kpclass_ruleset::{Ruleset, ordered};
use std::sync::Arc;

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
        let long = ruleset.rules().len() >= MANY;
        let (graph, loops) = ordered::both(
            long,
            || lower(ruleset, node),
            || crate::loops::check(ruleset),
        );
        loops?;
        let (rules, classes) = Rules::new(graph, node);
        let rules = Arc::new(rules);
        let program = match rules.graph.family {
            Family::V4 => whole::<u32>(&rules, classes, config, Lookups::V4),
            Family::V6 => whole::<u128>(&rules, classes, config, Lookups::V6),
        };
        debug_assert_eq!(program.verify(), Ok(()));
        Ok(program)
    }
}

/// The classes part by part, each specialised and flattened by whoever is free, then put together in order.
fn whole<A: Address>(
    rules: &Arc<Rules>,
    classes: Vec<Class>,
    config: &Config,
    lookups: fn(Lookup<A>) -> Lookups,
) -> Program {
    let mut merge = Merge::new();
    parts::each(rules, &classes, config, |part| merge.add(part));
    merge.finish(rules.clone(), classes, config, lookups)
}
