//! What was read, but may mislead.

use crate::ids::FileId;
use crate::ruleset::Source;
use std::fmt;

/// Something about a dump that may mislead whoever relies on it. Displays as `file:line: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Which kind it is.
    pub kind: WarningKind,
    /// Where, if at one place.
    pub source: Option<Source>,
    /// The input's name; empty for a warning about all inputs together.
    pub file: String,
    /// What and why, in words.
    pub message: String,
}

/// The kinds of [`Warning`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WarningKind {
    /// `# Warning: iptables-legacy tables present`: more rules are in the other backend.
    OtherBackend,
    /// A KUBE-SERVICES rule that names a Service's protocol but not its port: an older binary printed a newer one's rules.
    LostPort,
    /// Services live in ipsets (IPVS mode): what they are is not in the dump.
    ServicesInIpsets,
    /// Declared KUBE chains that no built-in chain leads to.
    StaleChains,
    /// Chains of kube-proxy's userspace mode.
    UserspaceMode,
    /// A table given twice.
    TableTwice,
    /// A chain that is jumped to but absent.
    MissingChain,
    /// One rule given twice in one chain.
    DuplicateRule,
    /// The form cannot show something (a listing without `-v` hides interfaces).
    HiddenByForm,
    /// The table of some lines was inferred.
    TableInferred,
    /// Lines that are not rules were passed over, or a rule line could not be read.
    SkippedLine,
    /// Text that was repaired or taken in a way that it does not say.
    Repaired,
}

impl Warning {
    /// A warning about one line of one file; the driver adds the file's name.
    pub(crate) fn at(kind: WarningKind, source: Source, message: impl Into<String>) -> Self {
        Self {
            kind,
            source: Some(source),
            file: String::new(),
            message: message.into(),
        }
    }

    /// A warning about all inputs.
    pub(crate) fn new(kind: WarningKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            source: None,
            file: String::new(),
            message: message.into(),
        }
    }

    /// The file it is about, if it is about one.
    pub fn file_id(&self) -> Option<FileId> {
        self.source.map(|source| source.file)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source {
            Some(source) => write!(f, "{}:{}: {}", self.file, source.line, self.message),
            None if self.file.is_empty() => f.write_str(&self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}
