//! What a replay is held against: the least that reading a capture can cost.

use memmap2::Mmap;
use std::fs::File;
use std::hint::black_box;
use std::io::{self, Read};
use std::path::Path;
use std::time::Instant;

/// Bytes of a pcap file's header, and of a record's.
const FILE: usize = 24;
const RECORD: usize = 16;
/// A pcapng block with a packet, and where its bytes begin.
const ENHANCED_PACKET: u32 = 6;
const PACKET_AT: usize = 28;

/// Maps a capture anew, follows the lengths of its records (pcapng: blocks), touches one byte of each frame, unmaps it; frames, and seconds.
///
/// # Errors
/// If it cannot be mapped.
pub fn walk(path: &Path) -> io::Result<(u64, f64)> {
    let started = Instant::now();
    let map = map(&File::open(path)?)?;
    let is_pcapng = map.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]);
    let (frames, touched) = if is_pcapng {
        blocks(&map)
    } else {
        records(&map)
    };
    drop(map);
    black_box(touched);
    Ok((frames, started.elapsed().as_secs_f64()))
}

#[expect(
    unsafe_code,
    reason = "the walk is to map the file as a replay does, and nothing else"
)]
fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: read-only, as plain bytes, of a file that this program made and nobody shortens.
    unsafe { Mmap::map(file) }
}

fn records(bytes: &[u8]) -> (u64, u64) {
    let (mut at, mut frames, mut touched) = (FILE, 0, 0);
    while let Some(length) = number(bytes, at + 8) {
        let Some(byte) = bytes.get(at + RECORD) else {
            break;
        };
        touched += u64::from(*byte);
        frames += 1;
        at += RECORD + length as usize;
    }
    (frames, touched)
}

fn blocks(bytes: &[u8]) -> (u64, u64) {
    let (mut at, mut frames, mut touched) = (0, 0, 0);
    while let (Some(kind), Some(length)) = (number(bytes, at), number(bytes, at + 4)) {
        if kind == ENHANCED_PACKET {
            touched += u64::from(bytes.get(at + PACKET_AT).copied().unwrap_or(0));
            frames += 1;
        }
        at += (length as usize).max(12);
    }
    (frames, touched)
}

#[inline(always)]
fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

/// Unpacks a file and throws the bytes away; seconds.
///
/// # Errors
/// If it cannot be read, or is not packed.
pub fn unpack(path: &Path) -> io::Result<f64> {
    let started = Instant::now();
    let file = File::open(path)?;
    let mut unpacked: Box<dyn Read> = match path.extension().and_then(|ending| ending.to_str()) {
        Some("gz") => Box::new(flate2::read::MultiGzDecoder::new(io::BufReader::new(file))),
        Some("zst") => Box::new(zstd::Decoder::new(file)?),
        _ => return Err(io::Error::other("not packed")),
    };
    let mut buffer = vec![0; 1 << 18];
    while unpacked.read(&mut buffer)? > 0 {
        black_box(&buffer);
    }
    Ok(started.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_a_pcap_and_a_pcapng_are_counted() {
        let pcap = [&[0; FILE][..], &record(3), &record(0), &record(1)].concat();
        // The byte touched of an empty frame is the next record's.
        assert_eq!(records(&pcap), (3, 9 + 16 + 9));
        let block = |kind: u32, length: u32| {
            let mut block = vec![0; length as usize];
            block[..4].copy_from_slice(&kind.to_le_bytes());
            block[4..8].copy_from_slice(&length.to_le_bytes());
            block
        };
        let pcapng = [block(1, 20), block(6, 36), block(6, 40)].concat();
        assert_eq!(blocks(&pcapng).0, 2);
    }

    fn record(length: u32) -> Vec<u8> {
        let mut record = vec![16; 8];
        record.extend(length.to_le_bytes());
        record.extend([0; 4]);
        record.extend(vec![9; length as usize]);
        record
    }
}
