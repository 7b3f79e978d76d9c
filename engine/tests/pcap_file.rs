//! Captures as crate pcap-file reads them: the same frames, byte for byte, with the same times, as far as it goes.

use kpclass_engine::capture::Capture;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::{Block, PcapNgReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A frame; the time of a simple packet is not known to either reader.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    timestamp_ns: u64,
    original_len: u32,
    bytes: Vec<u8>,
}

impl Seen {
    fn new(timestamp: Duration, original_len: u32, bytes: &[u8]) -> Self {
        let timestamp_ns = u64::try_from(timestamp.as_nanos()).unwrap_or(u64::MAX);
        Self {
            timestamp_ns,
            original_len,
            bytes: bytes.to_vec(),
        }
    }
}

fn ours(path: &Path) -> Vec<Seen> {
    let Ok(mut capture) = Capture::open(path) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for chunk in capture.chunks() {
        all.extend(chunk.unwrap().frames().map(|frame| Seen {
            timestamp_ns: frame.timestamp_ns,
            original_len: frame.original_len,
            bytes: frame.captured.to_vec(),
        }));
    }
    all
}

/// Up to the first error; `None` if it refuses the file at once.
fn theirs(bytes: &[u8]) -> Option<Vec<Seen>> {
    let mut all = Vec::new();
    if let Ok(mut reader) = PcapNgReader::new(bytes) {
        while let Some(Ok((block, _))) = reader.next_block() {
            all.extend(match block {
                Block::EnhancedPacket(b) => Some(Seen::new(b.timestamp, b.original_len, &b.data)),
                Block::Packet(b) => Some(Seen::new(b.timestamp, b.original_len, &b.data)),
                Block::SimplePacket(b) => Some(Seen::new(Duration::ZERO, b.original_len, &b.data)),
                _ => None,
            });
        }
        return Some(all);
    }
    let mut reader = PcapReader::new(bytes).ok()?;
    while let Some(Ok(packet)) = reader.next_packet() {
        all.push(Seen::new(
            packet.timestamp(),
            packet.orig_len(),
            packet.data(),
        ));
    }
    Some(all)
}

#[test]
fn frames_are_those_of_another_reader() {
    let shared = std::env::var_os("KPCLASS_SHARED").map(PathBuf::from);
    let shared = shared.unwrap_or_else(|| {
        [env!("CARGO_MANIFEST_DIR"), "..", "..", "shared"]
            .iter()
            .collect()
    });
    let captures = shared.join("captures");
    let Ok(index) = std::fs::read_to_string(captures.join("INDEX.tsv")) else {
        std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!(
                "SKIPPED: no shared captures; KPCLASS_SHARED names the folder that holds them\n"
            ),
        )
        .ok();
        return;
    };
    let (mut whole, mut part, mut refused, mut frames) = (0, Vec::new(), Vec::new(), 0);
    let mut wrong = Vec::new();
    for file in index
        .lines()
        .skip(1)
        .filter_map(|line| line.split('\t').next())
    {
        let path = captures.join(file);
        let ours = ours(&path);
        let Some(theirs) = theirs(&std::fs::read(&path).unwrap()) else {
            refused.push(file);
            continue;
        };
        frames += theirs.len();
        if let Some(at) = (0..theirs.len()).find(|at| ours.get(*at) != Some(&theirs[*at])) {
            wrong.push(format!(
                "{file}: frame {}\n ours {:?}\n theirs {:?}",
                at + 1,
                ours.get(at),
                theirs[at]
            ));
        }
        if theirs.len() == ours.len() {
            whole += 1
        } else {
            part.push((file, theirs.len(), ours.len()))
        }
    }
    eprintln!("{frames} frames, {whole} captures; {part:?} in part; {refused:?} refused");
    assert!(wrong.is_empty(), "{} {}", wrong.len(), wrong.join("\n"));
    assert!(whole > 900, "{whole} captures were compared as a whole");
}
