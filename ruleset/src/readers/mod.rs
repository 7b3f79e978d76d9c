//! Readers of every form of rule text: what people paste, what `iptables-save` prints, what kube-proxy restores.
//!
//! ```text
//! bytes ─ open ─► text ─ unwrap ─► lines ─┬─ list (`-L`) ─────────────────┬─► Builders ─ check ─► Rules
//!                                         └─ lines (save, -S, commands) ──┘
//! ```
//!
//! What can be done line by line is done on all cores ([`crate::ordered`]): looking at lines, and reading `-A` rules but for the ids of chains
//! and strings. One thread takes what comes of it in order, and reads every other line, and every line with an error, itself; so messages and ids do
//! not depend on the number of threads.
//!
//! The form is recognised from content, section by section. Nothing here panics on any input: what is not a dump, or is malformed,
//! is a [`ReadError`] that names file, line and column; what may mislead is a [`Warning`].

mod check;
mod document;
mod echo;
mod error;
mod list;
mod modules;
mod names;
mod open;
mod options;
mod reading;
mod rule;
mod sections;
mod shape;
mod spelling;
mod targets;
mod text;
mod unwrap;
pub(crate) mod values;
mod warning;
mod words;

pub use error::ReadError;
pub use warning::{Warning, WarningKind};

pub(crate) use modules::FLAGS as TCP_FLAGS;
pub(crate) use reading::{Builders, Line};

use crate::ruleset::{Ruleset, RulesetBuilder, TableId};
use crate::value::Family;

/// One input: a file's content and what the user said about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// What to call it in messages.
    pub name: String,
    /// The family, where the user says it; else it is recognised.
    pub family: Option<Family>,
    /// The table of lines that do not name one (`--rules nat:FILE`).
    pub table: Option<TableId>,
    /// The content; gzip and zstd are recognised.
    pub bytes: Vec<u8>,
}

impl Input {
    /// An input without hints.
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            bytes: bytes.into(),
            ..Self::default()
        }
    }
}

/// What the inputs say.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The rules for IPv4, if any input holds some.
    pub v4: Option<Ruleset>,
    /// The rules for IPv6.
    pub v6: Option<Ruleset>,
    /// What may mislead, in the order of the inputs, then about all of them.
    pub warnings: Vec<Warning>,
}

/// Reads the inputs into one ruleset per family.
///
/// # Errors
/// An input that holds no rules at all, or malformed ones; a chain loop; a jump to a built-in chain; a table that cannot be told.
pub fn read(inputs: &[Input]) -> Result<Rules, ReadError> {
    let mut builders = Builders::default();
    for input in inputs {
        builders.files.push(input.name.clone());
        document::read(input, &mut builders).map_err(|error| error.in_file(&input.name))?;
    }
    let (v4, v6, mut warnings, files) = builders.into_parts();
    let mut finish = |builder: Option<RulesetBuilder>| match builder {
        Some(builder) if !builder.is_empty() => {
            let ruleset = builder.finish(files.clone());
            check::check(&ruleset, &mut warnings).map(|()| Some(ruleset))
        }
        _ => Ok(None),
    };
    let (v4, v6) = (finish(v4)?, finish(v6)?);
    if v4.is_none() && v6.is_none() && !inputs.is_empty() {
        return Err(ReadError::new(
            "no iptables rule, chain or table is left: all commands were refused, or took nothing but away",
        ));
    }
    for warning in &mut warnings {
        if let Some(file) = warning.file_id() {
            warning.file = files.get(file.index()).cloned().unwrap_or_default();
        }
    }
    Ok(Rules { v4, v6, warnings })
}
