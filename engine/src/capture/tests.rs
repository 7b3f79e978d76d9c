mod build;
mod damage;
mod formats;
mod ranges;

use super::*;
use crate::link::LinkType;

/// A frame, with its bytes owned.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    number: u64,
    link: LinkType,
    interface: u32,
    timestamp_ns: u64,
    captured: Vec<u8>,
    original_len: u32,
}

fn owned(frame: Frame<'_>) -> Seen {
    Seen {
        number: frame.number,
        link: frame.link,
        interface: frame.interface.0,
        timestamp_ns: frame.timestamp_ns,
        captured: frame.captured.to_vec(),
        original_len: frame.original_len,
    }
}

/// Reads on to the end; both ways to walk a chunk must agree.
fn frames(capture: &mut Capture) -> Vec<Seen> {
    let mut all = Vec::new();
    for (index, chunk) in capture.chunks().enumerate() {
        let chunk = chunk.expect("reading does not fail");
        assert_eq!(chunk.index(), index as u64);
        assert_eq!(chunk.first_frame(), all.len() as u64 + 1);
        assert!(chunk.frame_count() > 0);
        let one_by_one: Vec<_> = chunk.frames().collect();
        let mut folded = Vec::new();
        chunk.frames().for_each(|frame| folded.push(frame));
        assert_eq!(one_by_one, folded);
        assert_eq!(one_by_one.len() as u64, chunk.frame_count());
        all.extend(one_by_one.into_iter().map(owned));
    }
    assert_eq!(capture.frames(), all.len() as u64);
    all
}

fn stream(bytes: &[u8]) -> Result<Capture, CaptureError> {
    Capture::from_reader("stdin", std::io::Cursor::new(bytes.to_vec()))
}

/// The same as a file.
fn mapped(bytes: &[u8]) -> Result<Capture, CaptureError> {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), bytes).expect("room for it");
    Capture::open(file.path())
}

fn read(bytes: &[u8]) -> (Vec<Seen>, Option<CutOff>) {
    let mut capture = stream(bytes).expect("a capture");
    let seen = frames(&mut capture);
    (seen, capture.cut_off().cloned())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 3).unwrap()
}
