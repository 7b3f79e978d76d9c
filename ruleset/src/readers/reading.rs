//! What is being built while inputs are read.

use super::{Warning, WarningKind};
use crate::ids::FileId;
use crate::ruleset::{RulesetBuilder, Source};
use crate::value::Family;

/// A line of an input, freed of what it was wrapped in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'t> {
    /// The line without its end.
    pub(crate) text: &'t str,
    /// Its number in the input, from 1.
    pub(crate) number: u32,
}

/// The two rulesets being built, and what is said about them. One for all inputs of a call.
#[derive(Debug, Default)]
pub(crate) struct Builders {
    v4: Option<RulesetBuilder>,
    v6: Option<RulesetBuilder>,
    /// What was noticed so far.
    pub(crate) warnings: Vec<Warning>,
    /// The names of the inputs so far; the last is being read.
    pub(crate) files: Vec<String>,
}

impl Builders {
    /// The input being read.
    pub(crate) fn file(&self) -> FileId {
        FileId(self.files.len().saturating_sub(1) as u32)
    }

    /// The source of something on a line of the input being read.
    pub(crate) fn source(&self, line: &Line<'_>) -> Source {
        Source {
            file: self.file(),
            line: line.number,
        }
    }

    /// The builder of a family, which is begun if new.
    pub(crate) fn of(&mut self, family: Family) -> &mut RulesetBuilder {
        let slot = match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        };
        slot.get_or_insert_with(|| RulesetBuilder::new(family))
    }

    /// Notes a warning about a line of the input being read.
    pub(crate) fn warn(&mut self, kind: WarningKind, line: &Line<'_>, message: impl Into<String>) {
        let warning = Warning::at(kind, self.source(line), message);
        self.warnings.push(warning);
    }

    /// Both builders, for the end of the reading.
    pub(crate) fn into_parts(
        self,
    ) -> (
        Option<RulesetBuilder>,
        Option<RulesetBuilder>,
        Vec<Warning>,
        Vec<String>,
    ) {
        (self.v4, self.v6, self.warnings, self.files)
    }
}
