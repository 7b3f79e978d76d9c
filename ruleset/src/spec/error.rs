//! What is wrong with a SPEC, pointed at.

use std::fmt;

/// Characters of a line that are shown before and behind the place; a line can be of any length.
const SHOWN: usize = 100;

/// A word of a line, or a part of one.
#[derive(Clone, Copy)]
pub(super) struct Word<'t> {
    /// The whole line.
    pub(super) line: &'t str,
    /// Where in it, in bytes.
    pub(super) start: usize,
    /// The word.
    pub(super) text: &'t str,
}

impl<'t> Word<'t> {
    /// A part of this word that begins `at` bytes into it.
    pub(super) fn part(self, at: usize, text: &'t str) -> Self {
        Self {
            line: self.line,
            start: self.start + at,
            text,
        }
    }

    /// That something else is needed here.
    pub(super) fn error(self, needed: &str) -> SpecError {
        let before = self.line[..self.start].chars().count();
        let skipped = before.saturating_sub(SHOWN);
        let width = self.text.chars().count().clamp(1, SHOWN);
        let shown = self
            .line
            .chars()
            .skip(skipped)
            .take(before - skipped + width + SHOWN);
        SpecError {
            line: None,
            column: before + 1,
            given: printable(self.text.chars().take(SHOWN)),
            needed: needed.to_owned(),
            shown: printable(shown),
            caret: before - skipped,
            width,
        }
    }
}

fn printable(text: impl Iterator<Item = char>) -> String {
    text.map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A SPEC that cannot be read: where, what is there, what is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecError {
    line: Option<u32>,
    column: usize,
    given: String,
    needed: String,
    shown: String,
    caret: usize,
    width: usize,
}

impl SpecError {
    /// The line in its file, from 1; `None` for a single SPEC.
    pub fn line(&self) -> Option<u32> {
        self.line
    }

    /// The column, in characters from 1.
    pub fn column(&self) -> usize {
        self.column
    }

    /// What was needed there.
    pub fn needed(&self) -> &str {
        &self.needed
    }

    pub(super) fn at_line(self, line: u32) -> Self {
        Self {
            line: Some(line),
            ..self
        }
    }
}

/// The place, what is there and what is needed; then the text with carets under the place.
impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}, ")?;
        }
        write!(f, "column {}: needed {}, found ", self.column, self.needed)?;
        match self.given.as_str() {
            "" => writeln!(f, "the end")?,
            given => writeln!(f, "`{given}`")?,
        }
        writeln!(f, "  {}", self.shown.trim_end())?;
        write!(f, "  {}{}", " ".repeat(self.caret), "^".repeat(self.width))
    }
}

impl std::error::Error for SpecError {}
