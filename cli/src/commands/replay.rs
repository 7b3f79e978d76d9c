//! `kpclass replay`.

use crate::args::Replay;
use crate::options::replay::ReplayOptions;
use crate::output::Output;
use crate::trouble::Trouble;
use crate::{Ending, inputs, options};

/// Replays the captures and writes the report.
pub(crate) fn run(typed: &Replay, _output: &mut Output) -> Result<Ending, Trouble> {
    let _options = ReplayOptions::new(&typed.how)?;
    let _mark = typed.start.mark.as_deref().map(options::mark).transpose()?;
    let _interface = typed
        .start
        .in_interface
        .as_deref()
        .map(options::interface)
        .transpose()?;
    let _facts = inputs::node::facts(&typed.node)?;
    Err(Trouble::new("replay is not connected yet"))
}
