//! Finding whole frames, one record header after another.

use super::chunk::Format;
use super::error::{CutCause, Kind};
use super::interfaces::Interfaces;
use super::pcap::{self, Layout};
use super::pcapng::{self, Section};
use super::source::Window;
use std::sync::Arc;

/// A capture's format, with what it must remember from one run to the next.
pub(super) enum Scanner {
    Pcap(Layout),
    Pcapng(Section),
}

/// What one scan found.
pub(super) struct Run {
    /// Where it ended, behind the last whole record.
    pub(super) end: usize,
    /// Whole frames before that.
    pub(super) frames: u64,
    /// What ended it.
    pub(super) stop: Stop,
}

/// Why a scan ended.
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

    /// Follows records from `start` up to `target`, or as far as `bytes` goes.
    pub(super) fn scan(&self, bytes: &[u8], start: usize, target: usize) -> Run {
        match self {
            Self::Pcap(layout) if layout.is_swapped() => {
                pcap::scan::<true>(*layout, bytes, start, target)
            }
            Self::Pcap(layout) => pcap::scan::<false>(*layout, bytes, start, target),
            Self::Pcapng(section) => section.scan(bytes, start, target),
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
