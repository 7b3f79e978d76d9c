//! Where a capture's bytes come from: mapped, read, unpacked.

use super::bytes::{Bytes, BytesReader};
use super::error::{CutCause, Kind};
use super::mapping::Mapping;
use super::{CHUNK_LEN, MAX_RECORD};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

type Reader = Box<dyn Read + Send>;

/// Bytes as they are, not yet looked at.
pub(super) enum Input {
    Mapped(Bytes),
    Stream(Reader),
}

impl Input {
    pub(super) fn open(path: &Path) -> Result<Self, Kind> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(Kind::Directory);
        }
        if !metadata.is_file() {
            return Ok(Self::Stream(Box::new(file)));
        }
        if metadata.len() == 0 {
            return Err(Kind::Empty);
        }
        let mapping = Mapping::of(&file, &path.display().to_string())?;
        Ok(Self::Mapped(Bytes::Mapped(Arc::new(mapping))))
    }

    pub(super) fn stream(reader: Reader) -> Self {
        Self::Stream(reader)
    }
}

/// Part of a capture's bytes, from somewhere up to where they were read: all of a mapped capture, some of a stream.
pub(super) struct Window {
    bytes: Bytes,
    /// What was scanned already.
    at: usize,
    /// Where `bytes` begins in the capture.
    base: u64,
    /// How the capture is packed, in words.
    packed: Option<&'static str>,
    rest: Rest,
}

/// What comes behind a window.
enum Rest {
    Stream(Reader),
    Nothing,
    /// Unpacking failed there.
    Broken(String),
}

impl Window {
    /// The beginning of `input`, unpacked.
    pub(super) fn open(input: Input) -> Result<Self, Kind> {
        let plain = match input {
            Input::Mapped(bytes) => Self {
                bytes,
                at: 0,
                base: 0,
                packed: None,
                rest: Rest::Nothing,
            },
            Input::Stream(reader) => Self::read(reader, None)?,
        };
        if plain.bytes().is_empty() {
            return Err(Kind::Empty);
        }
        let Some(packed) = packing(plain.bytes()) else {
            return Ok(plain);
        };
        let window = Self::unpack(plain, packed)?;
        match window.rest {
            _ if !window.bytes().is_empty() => Ok(window),
            Rest::Broken(reason) => Err(Kind::Unpack { packed, reason }),
            _ => Err(Kind::Unpack {
                packed,
                reason: "it holds nothing".into(),
            }),
        }
    }

    fn read(reader: Reader, packed: Option<&'static str>) -> Result<Self, Kind> {
        let bytes = Bytes::Buffer(Arc::default());
        let mut window = Self {
            bytes,
            at: 0,
            base: 0,
            packed,
            rest: Rest::Stream(reader),
        };
        window.refill(CHUNK_LEN)?;
        Ok(window)
    }

    fn unpack(plain: Self, packed: &'static str) -> Result<Self, Kind> {
        let begun = BytesReader::new(plain.bytes);
        let all: Reader = match plain.rest {
            Rest::Stream(reader) => Box::new(begun.chain(reader)),
            _ => Box::new(begun),
        };
        let unpacked: Reader = match packed {
            GZIP => {
                let buffered = BufReader::with_capacity(1 << 16, all);
                Box::new(flate2::bufread::MultiGzDecoder::new(buffered))
            }
            _ => Box::new(zstd::stream::read::Decoder::new(all)?),
        };
        Self::read(unpacked, Some(packed))
    }

    /// All bytes of the window, scanned or not.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// The same, to own.
    pub(super) fn share(&self) -> Bytes {
        self.bytes.clone()
    }

    /// Whether nothing comes behind [`Self::bytes`].
    pub(super) fn is_last(&self) -> bool {
        matches!(self.rest, Rest::Nothing)
    }

    /// Where scanning stands in [`Self::bytes`].
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Where scanning stands in the capture.
    pub(super) fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// How the capture is packed, if it is.
    pub(super) fn packed(&self) -> Option<&'static str> {
        self.packed
    }

    /// Scanning has come as far as `at`.
    pub(super) fn advance(&mut self, at: usize) {
        self.at = at;
    }

    /// Reads on, so that a window of `needed` bytes or more, if the stream has them, begins where scanning stands.
    /// `false`: nothing came.
    ///
    /// The buffer grows by what really comes, never by what a header promises.
    pub(super) fn refill(&mut self, needed: usize) -> Result<bool, Kind> {
        let Rest::Stream(reader) = &mut self.rest else {
            return Ok(false);
        };
        let had = self.bytes.as_slice().len() - self.at;
        let wanted = needed.clamp(CHUNK_LEN, LONGEST).saturating_sub(had);
        let mut buffer = self.bytes.take_from(self.at, CHUNK_LEN.max(had));
        self.base += self.at as u64;
        self.at = 0;
        let read = reader.take(wanted as u64).read_to_end(&mut buffer);
        let came = buffer.len() > had;
        self.bytes = Bytes::Buffer(Arc::new(buffer));
        match read {
            Ok(read) if read < wanted => self.rest = Rest::Nothing,
            Ok(_) => {}
            Err(error) if self.packed.is_some() => self.rest = Rest::Broken(error.to_string()),
            Err(error) => return Err(error.into()),
        }
        Ok(came)
    }

    /// Why the capture ends here, if it should not: a record needs `needed` bytes more.
    pub(super) fn end_cause(&self, needed: usize) -> Option<CutCause> {
        let available = self.bytes().len() - self.at;
        match &self.rest {
            Rest::Broken(reason) => Some(CutCause::Packed(reason.clone())),
            _ if available == 0 => None,
            _ => Some(CutCause::Short {
                needed: needed as u64,
                available: available as u64,
            }),
        }
    }
}

/// More than any record with its header.
const LONGEST: usize = MAX_RECORD + 64;

const GZIP: &str = "gzip";
const ZSTD: &str = "zstd";

/// How `bytes` are packed, by their first bytes. A zstd file may begin with a skippable frame.
fn packing(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x1f, 0x8b, ..] => Some(GZIP),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(ZSTD),
        _ => None,
    }
}
