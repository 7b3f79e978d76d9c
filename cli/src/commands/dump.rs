//! `kpclass dump STAGE`.

use crate::args::{Dump, Stage};
use crate::output::Output;
use crate::trouble::Trouble;
use crate::{Ending, inputs};
use kpclass_ruleset::save;

/// Prints a stage of the compilation, IPv4's first.
pub(crate) fn run(typed: &Dump, output: &mut Output) -> Result<Ending, Trouble> {
    let _facts = inputs::node::facts(&typed.node)?;
    let rules = inputs::rules::load(&typed.rules)?;
    for ruleset in inputs::rules::rulesets(&rules) {
        match typed.stage {
            Stage::Ruleset => output.write(&save::save(ruleset))?,
            Stage::Graph | Stage::Classes | Stage::Program => {
                return Err(Trouble::new("this stage is not connected"));
            }
        }
    }
    Ok(Ending::Fine)
}
