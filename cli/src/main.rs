//! `kpclass`: what was typed ([`args`]) becomes what it means ([`options`]), a command does it ([`commands`]) and its
//! answer is written ([`render`]). Results go to stdout, everything else to stderr; the exit status is 0 (fine), 1
//! (a finding) or 2 (trouble).
#![forbid(unsafe_code)]

mod args;
mod commands;
mod generate;
mod help;
mod inputs;
mod options;
mod output;
mod render;
mod trouble;

use args::Typed;
use clap::Parser;
use output::Output;
use std::io::Write;
use std::process::ExitCode;
use trouble::Trouble;

/// How a command ends that did its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Nothing to report beyond the answer.
    Fine,
    /// The answer holds a finding: a disagreement, or something wrong with connections.
    Finding,
}

fn main() -> ExitCode {
    match run() {
        Ok(Ending::Fine) => ExitCode::SUCCESS,
        Ok(Ending::Finding) => ExitCode::from(1),
        Err(trouble) if trouble.is_broken_pipe() => ExitCode::SUCCESS,
        Err(trouble) => {
            output::complain("", &trouble.to_string());
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<Ending, Trouble> {
    let typed = match Typed::try_parse() {
        Ok(typed) => typed,
        Err(error) => return answer_from_clap(&error),
    };
    let mut output = Output::stdout(typed.color);
    let ending = commands::run(typed.verb, &mut output)?;
    output.flush()?;
    Ok(ending)
}

/// clap stops for help and version, which are answers, and for mistakes, which get our prefix.
fn answer_from_clap(error: &clap::Error) -> Result<Ending, Trouble> {
    if !error.use_stderr() {
        error
            .print()
            .and_then(|()| std::io::stdout().flush())
            .map_err(Trouble::output)?;
        return Ok(Ending::Fine);
    }
    let text = error.to_string();
    let text = text
        .trim_end()
        .strip_prefix("error: ")
        .unwrap_or(text.trim_end());
    Err(Trouble::new(text))
}
