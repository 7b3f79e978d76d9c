//! Why a dump could not be read, drawn under the text that is wrong.

use super::Line;
use std::fmt;

/// Why a dump could not be read. Displays as `file:line:col: message`; [`report`](Self::report) draws the line as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
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
    column: u32,
    width: u32,
    text: String,
}

/// Longest piece of an input line that an error keeps, in bytes.
const MAX_LINE: usize = 400;

impl ReadError {
    /// An error about a whole input; the driver adds the input's name.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            file: String::new(),
            place: None,
            message: message.into(),
            label: "",
            notes: Vec::new(),
        }
    }

    /// An error about bytes `start..end` of a line.
    pub(crate) fn at(
        line: &Line<'_>,
        start: usize,
        end: usize,
        message: impl Into<String>,
    ) -> Self {
        let text = line.text.trim_end();
        let start = start.min(text.len());
        let column = text.get(..start).unwrap_or(text).chars().count() as u32 + 1;
        let width = text
            .get(start..end.min(text.len()))
            .map_or(0, |span| span.chars().count());
        let mut shown = text.len().min(MAX_LINE.max(start + 40));
        while !text.is_char_boundary(shown) {
            shown += 1;
        }
        let text = text
            .get(..shown)
            .unwrap_or(text)
            .replace(|c: char| c.is_control(), " ");
        let place = Place {
            line: line.number,
            column,
            width: (width as u32).clamp(1, 200),
            text,
        };
        Self {
            place: Some(place),
            ..Self::new(message)
        }
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
        self.label = label;
        self
    }

    /// Adds a sentence that helps.
    #[must_use]
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Names the input, unless it is named already.
    #[must_use]
    pub(crate) fn in_file(mut self, name: &str) -> Self {
        if self.file.is_empty() {
            self.file = name.into();
        }
        self
    }

    /// The input's name.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Line and column (in characters), from 1, if the error has a place.
    pub fn position(&self) -> Option<(u32, u32)> {
        self.place.as_ref().map(|place| (place.line, place.column))
    }

    /// What is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Sentences that help.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The whole report: place and message, the line with carets under what is wrong, the notes.
    pub fn report(&self) -> String {
        let mut report = format!("{self}\n");
        if let Some(place) = &self.place {
            let number = place.line.to_string();
            let margin = " ".repeat(number.len());
            let indent = " ".repeat(place.column as usize - 1);
            let carets = "^".repeat(place.width as usize);
            let drawn = format!("{indent}{carets} {}", self.label);
            report += &format!(
                "{margin} |\n{number} | {}\n{margin} | {}\n",
                place.text,
                drawn.trim_end()
            );
            for note in &self.notes {
                report += &format!("{margin} = {note}\n");
            }
        } else {
            for note in &self.notes {
                report += &format!("  = {note}\n");
            }
        }
        report
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(
                f,
                "{}:{}:{}: {}",
                self.file, place.line, place.column, self.message
            ),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

impl std::error::Error for ReadError {}
