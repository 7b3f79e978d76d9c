//! The verbs: each takes what was typed, does its work and writes its answer.

mod bench;
mod completions;
mod dump;
mod explain;
mod man;
mod replay;
mod services;
mod verify;

use crate::Ending;
use crate::args::Verb;
use crate::generate;
use crate::output::Output;
use crate::trouble::Trouble;

/// Runs a verb.
pub(crate) fn run(verb: Verb, output: &mut Output) -> Result<Ending, Trouble> {
    match verb {
        Verb::Completions(typed) => completions::run(&typed, output),
        Verb::Man => man::run(output),
        Verb::Generate(typed) => generate::run(&typed),
        Verb::Dump(typed) => dump::run(&typed, output),
        Verb::Replay(typed) => replay::run(&typed, output),
        Verb::Services(typed) => services::run(&typed, output),
        Verb::Bench(typed) => bench::run(&typed, output),
        Verb::Verify(typed) => verify::run(&typed, output),
        Verb::Explain(typed) => explain::run(&typed, output),
    }
}
