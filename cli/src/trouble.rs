//! Why a command could not do its work.

use std::fmt;
use std::io;

/// What stopped a command; `main` turns it into exit status 2 (0 for a broken pipe).
#[derive(Debug)]
pub(crate) struct Trouble {
    kind: Kind,
    notes: Vec<String>,
}

#[derive(Debug)]
enum Kind {
    /// Something is wrong with what was given.
    Wrong(String),
    /// Standard output does not take any more.
    Output(io::Error),
}

impl Trouble {
    /// `message` says what is wrong and where: lower case, without a full stop.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Wrong(message.into()),
            notes: Vec::new(),
        }
    }

    /// An option's value that cannot be used.
    pub(crate) fn option(option: &str, given: &str, needed: &str) -> Self {
        Self::new(format!("{option} {}: needs {needed}", Quoted(given)))
    }

    /// A file (or whatever `what` names) that the system refused.
    pub(crate) fn system(what: impl fmt::Display, error: &io::Error) -> Self {
        Self::new(format!("{what}: {}", SystemWords(error)))
    }

    /// Writing to standard output failed.
    pub(crate) fn output(error: io::Error) -> Self {
        Self {
            kind: Kind::Output(error),
            notes: Vec::new(),
        }
    }

    /// Adds a line that helps.
    #[must_use]
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Whether whoever read standard output has gone: no trouble at all.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(&self.kind, Kind::Output(e) if e.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Wrong(message) => f.write_str(message)?,
            Kind::Output(error) => write!(f, "standard output: {}", SystemWords(error))?,
        }
        for note in &self.notes {
            write!(f, "\n   = {note}")?;
        }
        Ok(())
    }
}

/// What the user typed, in backquotes, without control characters and never too long.
pub(crate) struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 80;
        f.write_str("`")?;
        for c in self.0.chars().take(LONGEST) {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        f.write_str(if self.0.chars().nth(LONGEST).is_some() {
            "…`"
        } else {
            "`"
        })
    }
}

/// The system's words in our voice: `no such file or directory`, without the number.
struct SystemWords<'a>(&'a io::Error);

impl fmt::Display for SystemWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        let mut chars = text.chars();
        let first = chars.next().map(|c| c.to_ascii_lowercase());
        write!(f, "{}{}", first.unwrap_or_default(), chars.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_text_is_bounded_and_has_no_control_characters() {
        assert_eq!(Quoted("a\nb").to_string(), "`a\\nb`");
        assert_eq!(
            Quoted(&"é".repeat(100)).to_string(),
            format!("`{}…`", "é".repeat(80))
        );
    }

    #[test]
    fn system_words_lose_their_number() {
        let error = io::Error::from_raw_os_error(2);
        assert_eq!(
            Trouble::system("a.rules", &error).to_string(),
            "a.rules: no such file or directory"
        );
    }

    #[test]
    fn only_a_broken_output_pipe_is_quiet() {
        assert!(Trouble::output(io::ErrorKind::BrokenPipe.into()).is_broken_pipe());
        assert!(!Trouble::output(io::ErrorKind::StorageFull.into()).is_broken_pipe());
        assert!(!Trouble::new("broken pipe").is_broken_pipe());
    }
}
