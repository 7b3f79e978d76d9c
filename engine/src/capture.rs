//! Captures: a file or a stream of frames, handed out as runs of whole frames.
//!
//! ```text
//! file ─ mapping ─┬──────────────────────────────► window ─ scan ─► Chunk ─ frames ─► Frame
//!                 └ gzip, zstd ─► stream (stdin) ─► window
//! ```
//!
//! A capture is walked in order by one thread, which decides where it ends. What it found whole can become [`Chunk`]s, which are cheap to
//! send elsewhere and walk there again. A mapped classic pcap can be taken in ranges by many threads instead (`ranges.rs`).
//! Nothing is copied from a mapped file. A stream is read into one buffer per chunk that is alive. What else was tried: `engine/READING.md`.
//!
//! Whatever a file says, memory stays bounded: by a chunk for each chunk that is alive, and by [`MAX_RECORD`] for a
//! stream's single record. A file that another process shortens while it is mapped ends this process with a message and
//! status 2 (`mapping.rs`); a capture that is still being written only grows, and is safe.

mod bytes;
mod chunk;
mod error;
mod interfaces;
mod mapping;
mod pcap;
mod pcapng;
mod ranges;
mod scan;
mod source;

pub use chunk::{Chunk, Frame, Frames};
pub use error::{CaptureError, CutCause, CutOff};
pub use interfaces::{InterfaceIndex, Interfaces};
pub(crate) use ranges::{ABREAST, Abreast, Confirmed, RANGE_LEN, Ranges};

use error::Kind;
use scan::{Scanner, Stop};
use source::{Input, Window};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// Bytes of whole frames after which a chunk ends. A chunk may end earlier, and is one frame longer than this at most.
pub const CHUNK_LEN: usize = 1 << 20;

/// The longest record or block that is believed. Longer ones end the capture.
pub const MAX_RECORD: usize = 256 << 20;

/// An open capture, read from its beginning to its end, once.
pub struct Capture {
    name: String,
    window: Window,
    scanner: Scanner,
    interfaces: Arc<Interfaces>,
    next_frame: u64,
    next_chunk: u64,
    end: End,
}

/// Whether and how the capture has ended.
enum End {
    NotYet,
    Whole,
    Cut(CutOff),
}

impl Capture {
    /// Opens the file at `path`. A regular file is mapped; anything else is read as a stream.
    ///
    /// # Errors
    /// If it cannot be read, or is not a capture.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let name = path.display().to_string();
        let input = Input::open(path).map_err(|kind| CaptureError::new(&name, kind))?;
        Self::begin(name, input)
    }

    /// Reads a capture from `reader`; messages call it `name`.
    ///
    /// # Errors
    /// If its beginning cannot be read, or is not that of a capture.
    pub fn from_reader(
        name: &str,
        reader: impl Read + Send + 'static,
    ) -> Result<Self, CaptureError> {
        Self::begin(name.to_owned(), Input::stream(Box::new(reader)))
    }

    fn begin(name: String, input: Input) -> Result<Self, CaptureError> {
        let interfaces = Arc::new(Interfaces::default());
        let opened = Window::open(input)
            .and_then(|mut window| Ok((Scanner::recognise(&mut window, &interfaces)?, window)));
        match opened {
            Ok((scanner, window)) => Ok(Self {
                name,
                window,
                scanner,
                interfaces,
                next_frame: 1,
                next_chunk: 0,
                end: End::NotYet,
            }),
            Err(kind) => Err(CaptureError::new(&name, kind)),
        }
    }

    /// What messages call it: its path, or the name given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The interfaces described so far. It grows while the capture is read; what a chunk's frames name is in it.
    pub fn interfaces(&self) -> &Arc<Interfaces> {
        &self.interfaces
    }

    /// Whole frames found so far.
    pub fn frames(&self) -> u64 {
        self.next_frame - 1
    }

    /// Where and why the capture ended early; `None` while it has not, or if it ended where it should.
    pub fn cut_off(&self) -> Option<&CutOff> {
        match &self.end {
            End::Cut(cut) => Some(cut),
            _ => None,
        }
    }

    /// The chunks from where reading stands, in order. After the last, [`Self::cut_off`] says whether it was the last
    /// that the capture should have.
    pub fn chunks(&mut self) -> impl Iterator<Item = Result<Chunk, CaptureError>> {
        std::iter::from_fn(|| self.next_chunk().transpose())
    }

    /// The next chunk; `None` at the end.
    ///
    /// # Errors
    /// If reading fails. (That a capture is cut or damaged is no error, see [`Self::cut_off`].)
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>, CaptureError> {
        while matches!(self.end, End::NotYet) {
            let (start, first_frame) = (self.window.at(), self.next_frame);
            let (bytes, format) = (self.window.share(), self.scanner.format());
            let end = self.step(|frames| frames.skip_all())?;
            let frame_count = self.next_frame - first_frame;
            if frame_count > 0 {
                let index = self.next_chunk;
                self.next_chunk += 1;
                return Ok(Some(Chunk {
                    bytes,
                    range: start..end,
                    format,
                    index,
                    first_frame,
                    frame_count,
                }));
            }
        }
        Ok(None)
    }

    /// Has `take` take all frames from where reading stands, in order, in runs of about a chunk. Each header is read once, where
    /// [`Self::chunks`] reads it to find the chunk, and whoever takes the chunk reads it again.
    ///
    /// # Errors
    /// If reading fails.
    pub fn walk(&mut self, mut take: impl FnMut(&mut Frames<'_>)) -> Result<(), CaptureError> {
        self.walk_while(|frames| {
            take(frames);
            true
        })
    }

    /// The same until `take` says that it wants no more.
    ///
    /// # Errors
    /// If reading fails.
    pub fn walk_while(
        &mut self,
        mut take: impl FnMut(&mut Frames<'_>) -> bool,
    ) -> Result<(), CaptureError> {
        let mut goes_on = true;
        while goes_on && matches!(self.end, End::NotYet) {
            self.step(|frames| goes_on = take(frames))?;
        }
        Ok(())
    }

    /// What is left of a classic pcap that is there as a whole, in ranges of so many bytes.
    pub(crate) fn ranges(&self, range_len: usize) -> Option<Ranges<'_>> {
        match (&self.scanner, &self.end) {
            (Scanner::Pcap(layout), End::NotYet) if self.window.is_last() => {
                let (bytes, start) = (self.window.bytes(), self.window.at());
                let first_frame = self.next_frame;
                Some(Ranges::new(bytes, start, *layout, first_frame, range_len))
            }
            _ => None,
        }
    }

    /// Goes behind the frames that were found in ranges, and sees how the capture ends there; `false` if it does not.
    pub(crate) fn end_behind(&mut self, ranges: &Confirmed) -> Result<bool, CaptureError> {
        let (at, next_frame) = (self.window.at(), self.next_frame);
        self.window.advance(ranges.at());
        self.next_frame += ranges.frames();
        self.step(|_| ())?;
        if matches!(self.end, End::NotYet) {
            self.window.advance(at);
            self.next_frame = next_frame;
            return Ok(false);
        }
        Ok(true)
    }

    /// Walks the next run with `walk`, as far as that takes frames, and does what must be done before reading goes on.
    /// Where the run ended in the window as it was.
    fn step(&mut self, walk: impl FnOnce(&mut Frames<'_>)) -> Result<usize, CaptureError> {
        let start = self.window.at();
        let bytes = self.window.bytes();
        let range = start..start + CHUNK_LEN;
        let mut frames = self.scanner.frames(bytes, range, self.next_frame);
        walk(&mut frames);
        let (end, stop) = (frames.at(), frames.stop());
        self.next_frame = frames.number();
        self.window.advance(end);
        self.go_on(stop)
            .map_err(|kind| CaptureError::new(&self.name, kind))?;
        Ok(end)
    }

    /// Does what must be done before scanning goes on behind `stop`.
    fn go_on(&mut self, stop: Stop) -> Result<(), Kind> {
        let cause = match stop {
            Stop::Full => return Ok(()),
            Stop::State => match self.scanner.read_state(&mut self.window) {
                Ok(()) => return Ok(()),
                Err(cause) => cause,
            },
            Stop::Short(needed) if self.window.refill(needed)? => return Ok(()),
            Stop::Short(needed) => match self.window.end_cause(needed) {
                Some(cause) => cause,
                None => {
                    self.end = End::Whole;
                    return Ok(());
                }
            },
            Stop::Corrupt(cause) => cause,
        };
        self.end = End::Cut(CutOff {
            frame: self.next_frame,
            byte: self.window.offset(),
            cause,
        });
        Ok(())
    }
}

impl std::fmt::Debug for Capture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Capture")
            .field("name", &self.name)
            .field("frames", &self.frames())
            .finish()
    }
}

#[cfg(test)]
mod tests;
