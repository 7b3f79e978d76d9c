//! Why the kernel could not be asked.

use std::io;

/// Why the kernel could not be asked.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct KernelError(#[from] Kind);

#[derive(Debug, thiserror::Error)]
pub(crate) enum Kind {
    #[error("{what} needs root, or a user namespace of one's own: {source}")]
    Privilege {
        what: &'static str,
        source: io::Error,
    },
    #[error("{command} cannot be run (is it installed?): {source}")]
    NoTool { command: String, source: io::Error },
    #[error("{command} refused: {stderr}")]
    Refused { command: String, stderr: String },
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("the kernel's log of packets: {0}")]
    Log(String),
}

impl KernelError {
    pub(crate) fn io(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Kind::Io {
            what: what.into(),
            source: source.into(),
        }
        .into()
    }

    pub(crate) fn log(why: impl Into<String>) -> Self {
        Kind::Log(why.into()).into()
    }

    /// Whether what lacks is the right to have a namespace of one's own.
    pub fn is_privilege(&self) -> bool {
        match &self.0 {
            Kind::Privilege { .. } => true,
            // Root in a user namespace of its own may still lack the right to /dev/net/tun.
            Kind::Io { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
            _ => false,
        }
    }

    /// Whether a program is not installed.
    pub fn is_missing_tool(&self) -> bool {
        matches!(self.0, Kind::NoTool { .. })
    }

    /// What `iptables-restore` (or another command) said when it refused what it was given.
    pub fn refusal(&self) -> Option<&str> {
        match &self.0 {
            Kind::Refused { stderr, .. } => Some(stderr),
            _ => None,
        }
    }
}
