//! Why a corpus cannot be read.

use std::fmt;

/// Why a corpus cannot be read: the file, the case where it is one's, and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorpusError {
    file: String,
    case: Option<String>,
    problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// Not TOML, or not of this form.
    Toml(String),
    /// The folder or file cannot be read.
    Unreadable(String),
    /// The folder holds no case.
    Empty,
    /// Another case has this name.
    Duplicate,
    /// No name, or no reason.
    Blank(&'static str),
    /// The dump.
    Dump(String),
    /// The node's facts.
    Node(String),
    /// No packet.
    AsksNothing,
    /// The packets are of two families.
    TwoFamilies,
    /// About one packet.
    Packet { spec: String, what: String },
}

impl CorpusError {
    pub(super) fn new(file: &str, case: Option<&str>, problem: Problem) -> Self {
        Self {
            file: file.to_owned(),
            case: case.map(str::to_owned),
            problem,
        }
    }

    /// The file or folder.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The case, where it is one's.
    pub fn case(&self) -> Option<&str> {
        self.case.as_deref()
    }
}

impl fmt::Display for CorpusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        if let Some(case) = &self.case {
            write!(f, "case {case:?}: ")?;
        }
        match &self.problem {
            Problem::Toml(why) => write!(f, "{}", why.trim_end()),
            Problem::Unreadable(why) => write!(f, "cannot be read: {why}"),
            Problem::Empty => f.write_str("holds no case"),
            Problem::Duplicate => f.write_str("another case has this name"),
            Problem::Blank(key) => write!(f, "`{key}` is empty"),
            Problem::Dump(why) => write!(f, "dump: {}", why.trim_end()),
            Problem::Node(why) => write!(f, "node: {why}"),
            Problem::AsksNothing => f.write_str("no packet is asked about"),
            Problem::TwoFamilies => f.write_str("its packets are of two families"),
            Problem::Packet { spec, what } => write!(f, "packet `{spec}`: {what}"),
        }
    }
}

impl std::error::Error for CorpusError {}
