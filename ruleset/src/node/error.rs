//! What is wrong with the text of a node's facts.

use std::fmt;

/// Characters of what was found that a message repeats.
const SHOWN: usize = 60;

/// A line of a node's facts that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactsError {
    line: u32,
    given: String,
    needed: String,
}

impl FactsError {
    pub(super) fn new(line: u32, needed: impl Into<String>, given: &str) -> Self {
        let shown = given
            .chars()
            .take(SHOWN)
            .map(|c| if c.is_control() { ' ' } else { c });
        Self {
            line,
            needed: needed.into(),
            given: shown.collect(),
        }
    }

    /// The line, from 1.
    pub fn line(&self) -> u32 {
        self.line
    }
}

impl fmt::Display for FactsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: needed {}, found ", self.line, self.needed)?;
        match self.given.as_str() {
            "" => f.write_str("the end"),
            given => write!(f, "`{given}`"),
        }
    }
}

impl std::error::Error for FactsError {}
