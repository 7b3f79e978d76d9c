//! `kpclass dump STAGE`.

use crate::args::{Dump, Stage};
use crate::output::Output;
use crate::render::graph;
use crate::trouble::Trouble;
use crate::{Ending, inputs};
use kpclass_compiler::{Config, Passes, Program};
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::{Ruleset, save};

/// Prints a stage of the compilation, IPv4's first.
pub(crate) fn run(typed: &Dump, output: &mut Output) -> Result<Ending, Trouble> {
    let facts = inputs::node::facts(&typed.node)?;
    let rules = inputs::rules::load(&typed.rules)?;
    for ruleset in inputs::rules::rulesets(&rules) {
        let text = match typed.stage {
            Stage::Ruleset => save::save(ruleset),
            Stage::Graph => graph::text(ruleset),
            Stage::Classes => compile(ruleset, &facts)?.display_classes().to_string(),
            Stage::Program => compile(ruleset, &facts)?.to_string(),
        };
        output.write(&text)?;
    }
    Ok(Ending::Fine)
}

fn compile(ruleset: &Ruleset, facts: &NodeFacts) -> Result<Program, Trouble> {
    let config = Config {
        passes: Passes::with_all_nodes(),
        ..Config::default()
    };
    Program::compile(ruleset, facts, &config).map_err(|e| Trouble::new(e.to_string()))
}
