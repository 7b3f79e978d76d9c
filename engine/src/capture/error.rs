//! What keeps a capture from being read, and what makes it end early.

use std::fmt;
use std::io;

/// A capture that cannot be read, or is none.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {kind}")]
pub struct CaptureError {
    name: String,
    #[source]
    kind: Kind,
}

impl CaptureError {
    pub(super) fn new(name: &str, kind: Kind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
        }
    }

    /// The capture's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Kind {
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("is a directory; a capture is a file")]
    Directory,
    #[error("is empty; a capture begins with a file header of 24 bytes or more")]
    Empty,
    #[error("is no capture: begins with {}, not as pcap, pcapng, or one of them in gzip or zstd", Shown(.0))]
    NotACapture(Vec<u8>),
    #[error("holds no capture: the {packed} data begins with {}, not as pcap or pcapng", Shown(.start))]
    PackedOther {
        packed: &'static str,
        start: Vec<u8>,
    },
    #[error("the {packed} data cannot be unpacked: {reason}")]
    Unpack {
        packed: &'static str,
        reason: String,
    },
    #[error("is cut off in its file header: needs {needed} bytes, has {available}")]
    HeaderCut { needed: usize, available: usize },
    #[error("is {0}, which is not read; convert it to pcap or pcapng")]
    OtherFormat(&'static str),
    #[error("has version {major}.{minor} of {format}; supported is {supported}")]
    Version {
        format: &'static str,
        major: u16,
        minor: u16,
        supported: &'static str,
    },
    #[error("begins with a damaged section header: {0}")]
    Section(CutCause),
}

/// The first bytes of something unknown: as text, if they are text.
struct Shown<'a>(&'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(self.0) {
            Ok(text) if !text.chars().any(|c| c.is_control() && !c.is_whitespace()) => {
                write!(f, "the text {text:?}")
            }
            _ => {
                f.write_str("bytes")?;
                self.0.iter().try_for_each(|byte| write!(f, " {byte:02x}"))
            }
        }
    }
}

/// Where a capture ended before its end, and why. All frames before are whole, and were handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutOff {
    /// Number of the frame that is not whole, or cannot be found any more.
    pub frame: u64,
    /// Where its record (pcapng: block) begins: bytes from the beginning of the capture, unpacked.
    pub byte: u64,
    /// Why.
    pub cause: CutCause,
}

/// Why a capture ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CutCause {
    /// The capture ends within a record.
    Short {
        /// Bytes that the record needs, from its beginning, as far as it tells.
        needed: u64,
        /// Bytes that are there.
        available: u64,
    },
    /// A record says that it is longer than [`MAX_RECORD`](super::MAX_RECORD).
    TooLong(u64),
    /// A pcapng block contradicts itself or what came before it.
    Block(String),
    /// The compressed data ends or breaks here.
    Packed(String),
}

/// `cut off in frame 3 at byte 184: 76 bytes needed, 40 available`.
impl fmt::Display for CutOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.cause {
            CutCause::Short { .. } | CutCause::Packed(_) => "cut off",
            CutCause::TooLong(_) | CutCause::Block(_) => "damaged",
        };
        write!(
            f,
            "{how} in frame {} at byte {}: {}",
            self.frame, self.byte, self.cause
        )
    }
}

impl fmt::Display for CutCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { needed, available } => {
                write!(f, "{needed} bytes needed, {available} available")
            }
            Self::TooLong(len) => {
                write!(
                    f,
                    "a record of {len} bytes; the most that is believed is {}",
                    super::MAX_RECORD
                )
            }
            Self::Block(reason) | Self::Packed(reason) => f.write_str(reason),
        }
    }
}
