//! Why a dump could not be read, drawn under the text that is wrong.

use super::Line;
use std::fmt;

/// Why a dump could not be read. Displays as `file:line:col: message`; [`report`](Self::report) draws the line as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError(Box<Problem>);

/// What a [`ReadError`] says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Problem {
    file: String,
    place: Option<Place>,
    message: String,
    label: &'static str,
    notes: Vec<String>,
}

/// A span of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    line: u32,
    /// In characters, from 1.
    column: u32,
    /// The line, or the part of a long one round the span.
    text: String,
    /// Where the span begins in `text`, and how long it is, in characters.
    start: usize,
    width: usize,
}

/// How much of a long line is shown before and behind the beginning of the span, in bytes.
const SHOWN: usize = 300;

impl Place {
    fn new(line: &Line<'_>, start: usize, end: usize) -> Self {
        let text = line.text.trim_end();
        let start = floor_boundary(text, start);
        let (from, to) = (
            floor_boundary(text, start.saturating_sub(SHOWN)),
            floor_boundary(text, start + SHOWN),
        );
        let end = floor_boundary(text, end).clamp(start, to);
        let characters =
            |from: usize, to: usize| text.get(from..to).map_or(0, |part| part.chars().count());
        let cut = |cut: bool| if cut { "…" } else { "" };
        let shown = text
            .get(from..to)
            .unwrap_or("")
            .replace(char::is_control, " ");
        Self {
            line: line.number,
            column: characters(0, start) as u32 + 1,
            text: format!("{}{shown}{}", cut(from > 0), cut(to < text.len())),
            start: characters(from, start) + usize::from(from > 0),
            width: characters(start, end).max(1),
        }
    }
}

/// The nearest boundary of a character at or before `at`.
fn floor_boundary(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

impl ReadError {
    /// An error about a whole input; the driver adds the input's name.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(Box::new(Problem {
            message: message.into(),
            ..Problem::default()
        }))
    }

    /// An error about bytes `start..end` of a line.
    pub(crate) fn at(
        line: &Line<'_>,
        start: usize,
        end: usize,
        message: impl Into<String>,
    ) -> Self {
        let place = Some(Place::new(line, start, end));
        Self(Box::new(Problem {
            place,
            message: message.into(),
            ..Problem::default()
        }))
    }

    /// An error about a whole line.
    pub(crate) fn line(line: &Line<'_>, message: impl Into<String>) -> Self {
        let start = line.text.len() - line.text.trim_start().len();
        Self::at(line, start, line.text.trim_end().len(), message)
    }

    /// An error about what a rule that was read names; `text` is the rule as `iptables-save` prints it.
    pub(crate) fn of_rule(line: u32, text: String, name: &str, message: String) -> Self {
        let start = text.rfind(name).unwrap_or(0);
        let line = Line {
            text: &text,
            number: line,
        };
        Self::at(&line, start, start + name.len(), message)
    }

    /// Says something beside the carets.
    #[must_use]
    pub(crate) fn label(mut self, label: &'static str) -> Self {
        self.0.label = label;
        self
    }

    /// Adds a sentence that helps.
    #[must_use]
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.0.notes.push(note.into());
        self
    }

    /// Names the input, unless it is named already.
    #[must_use]
    pub(crate) fn in_file(mut self, name: &str) -> Self {
        if self.0.file.is_empty() {
            self.0.file = name.into();
        }
        self
    }

    /// The input's name.
    pub fn file(&self) -> &str {
        &self.0.file
    }

    /// Line and column (in characters), from 1, if the error has a place.
    pub fn position(&self) -> Option<(u32, u32)> {
        self.0
            .place
            .as_ref()
            .map(|place| (place.line, place.column))
    }

    /// What is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Sentences that help.
    pub fn notes(&self) -> &[String] {
        &self.0.notes
    }

    /// The whole report: place and message, the line with carets under what is wrong, the notes.
    pub fn report(&self) -> String {
        let mut report = format!("{self}\n");
        if let Some(place) = &self.0.place {
            let number = place.line.to_string();
            let margin = " ".repeat(number.len());
            let indent = " ".repeat(place.start);
            let carets = "^".repeat(place.width);
            let drawn = format!("{indent}{carets} {}", self.0.label);
            report += &format!(
                "{margin} |\n{number} | {}\n{margin} | {}\n",
                place.text,
                drawn.trim_end()
            );
            for note in &self.0.notes {
                report += &format!("{margin} = {note}\n");
            }
        } else {
            for note in &self.0.notes {
                report += &format!("  = {note}\n");
            }
        }
        report
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.place {
            Some(place) => write!(
                f,
                "{}:{}:{}: {}",
                self.0.file, place.line, place.column, self.0.message
            ),
            None => write!(f, "{}: {}", self.0.file, self.0.message),
        }
    }
}

impl std::error::Error for ReadError {}
