//! Finding whole frames, one record header after another.

use super::chunk::{Format, Frames};
use super::error::{CutCause, Kind};
use super::interfaces::Interfaces;
use super::pcap::Layout;
use super::pcapng::{self, PcapngFrames, Section};
use super::source::Window;
use std::ops::Range;
use std::sync::Arc;

/// A capture's format, with what it must remember from one run to the next.
pub(super) enum Scanner {
    Pcap(Layout),
    Pcapng(Section),
}

/// Why a walk ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It went as far as it was asked to.
    Full,
    /// A block follows that changes how later ones are read, and is there as a whole.
    State,
    /// Fewer bytes remain than this many, which the next record needs as far as it tells.
    Short(usize),
    /// What follows cannot be a record.
    Corrupt(CutCause),
}

impl Scanner {
    /// The format of what `window` begins with; leaves the window behind the file header.
    pub(super) fn recognise(
        window: &mut Window,
        interfaces: &Arc<Interfaces>,
    ) -> Result<Self, Kind> {
        if pcapng::is_pcapng(window.bytes()) {
            return Section::first(window, interfaces).map(Self::Pcapng);
        }
        Layout::read(window, interfaces).map(Self::Pcap)
    }

    /// The frames of the records in `bytes` that begin in `range`.
    pub(super) fn frames<'a>(
        &'a self,
        bytes: &'a [u8],
        range: Range<usize>,
        first_frame: u64,
    ) -> Frames<'a> {
        match self {
            Self::Pcap(layout) => Frames::pcap(bytes, range, *layout, first_frame),
            Self::Pcapng(section) => {
                Frames::Pcapng(PcapngFrames::new(bytes, range, section, first_frame))
            }
        }
    }

    /// How the frames of the last run are walked.
    pub(super) fn format(&self) -> Format {
        match self {
            Self::Pcap(layout) => Format::Pcap(*layout),
            Self::Pcapng(section) => Format::Pcapng(section.clone()),
        }
    }

    /// Reads the block of a [`Stop::State`].
    pub(super) fn read_state(&mut self, window: &mut Window) -> Result<(), CutCause> {
        match self {
            Self::Pcap(_) => Ok(()),
            Self::Pcapng(section) => section.read_state(window),
        }
    }
}
