//! `kpclass dump STAGE`.

use crate::args::{Dump, Stage};
use crate::output::Output;
use crate::trouble::Trouble;
use crate::{Ending, inputs};
use kpclass_compiler::{Config, Program};
use kpclass_ruleset::save;

/// Prints a stage of the compilation, IPv4's first.
pub(crate) fn run(typed: &Dump, output: &mut Output) -> Result<Ending, Trouble> {
    let facts = inputs::node::facts(&typed.node)?;
    let rules = inputs::rules::load(&typed.rules)?;
    for ruleset in inputs::rules::rulesets(&rules) {
        if typed.stage == Stage::Ruleset {
            output.write(&save::save(ruleset))?;
            continue;
        }
        let program = Program::compile(ruleset, &facts, &Config::default());
        let program = program.map_err(|e| Trouble::new(e.to_string()))?;
        let text = match typed.stage {
            Stage::Classes => program.display_classes().to_string(),
            _ => program.to_string(),
        };
        output.write(&text)?;
    }
    Ok(Ending::Fine)
}
