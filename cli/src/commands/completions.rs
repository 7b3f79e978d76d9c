//! `kpclass completions SHELL`.

use crate::Ending;
use crate::args::{Completions, Typed};
use crate::output::Output;
use crate::trouble::Trouble;
use clap::CommandFactory;

/// Prints the shell's completions.
pub(crate) fn run(typed: &Completions, output: &mut Output) -> Result<Ending, Trouble> {
    let mut text = Vec::new();
    clap_complete::generate(typed.shell, &mut Typed::command(), "kpclass", &mut text);
    output.write(&String::from_utf8_lossy(&text))?;
    Ok(Ending::Fine)
}
