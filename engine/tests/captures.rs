//! Third-party captures: each is read without panic, and holds as many frames as two independent readers found.

use kpclass_engine::capture::{Capture, CaptureError};
use kpclass_engine::extract::{Skip, extract};
use std::io::Cursor;
use std::path::PathBuf;

/// Files on which the two readers of `INDEX.tsv` disagree, and who is right. All but one are pcapng with several link types
/// or snapshot lengths (or no interface), which tcpdump refuses: the index's own reader is right. In the pcap, of version 2.0,
/// a record's lengths are the other way round, which only tcpdump knows.
const DISPUTED: [(&str, u64); 15] = [
    (
        "hadrielk+pcapng-test-generator/output_be__advanced__test102.pcapng",
        5,
    ),
    (
        "hadrielk+pcapng-test-generator/output_be__basic__test002.pcapng",
        0,
    ),
    (
        "hadrielk+pcapng-test-generator/output_be__basic__test006.pcapng",
        5,
    ),
    (
        "hadrielk+pcapng-test-generator/output_be__basic__test008.pcapng",
        4,
    ),
    (
        "hadrielk+pcapng-test-generator/output_be__difficult__test201.pcapng",
        4,
    ),
    (
        "hadrielk+pcapng-test-generator/output_be__difficult__test202.pcapng",
        8,
    ),
    (
        "hadrielk+pcapng-test-generator/output_le__basic__test005.pcapng",
        4,
    ),
    (
        "hadrielk+pcapng-test-generator/output_le__basic__test008.pcapng",
        4,
    ),
    (
        "hadrielk+pcapng-test-generator/output_le__difficult__test201.pcapng",
        4,
    ),
    (
        "hadrielk+pcapng-test-generator/output_le__difficult__test202.pcapng",
        8,
    ),
    (
        "ntop+nDPI/tests__cfgs__default__pcap__fuzz-2021-10-13.pcap",
        1,
    ),
    (
        "seladb+PcapPlusPlus/Tests__Packet++Test__PacketExamples__GrePackets.pcap",
        7,
    ),
    (
        "seladb+PcapPlusPlus/Tests__Packet++Test__PacketExamples__ipsec.pcapng",
        3,
    ),
    (
        "seladb+PcapPlusPlus/Tests__Packet++Test__PacketExamples__ldap.pcapng",
        25,
    ),
    (
        "seladb+PcapPlusPlus/Tests__Pcap++Test__PcapExamples__too_many_interfaces.pcapng",
        1,
    ),
];

fn captures() -> Option<PathBuf> {
    let shared = std::env::var_os("KPCLASS_SHARED").map(PathBuf::from);
    let shared = shared.unwrap_or_else(|| {
        [env!("CARGO_MANIFEST_DIR"), "..", "..", "shared"]
            .iter()
            .collect()
    });
    let captures = shared.join("captures");
    captures.join("INDEX.tsv").exists().then_some(captures)
}

struct Outcome {
    frames: u64,
    extracted: u64,
    skipped: [u64; Skip::COUNT],
    end: String,
}

fn read(opened: Result<Capture, CaptureError>) -> Outcome {
    let mut outcome = Outcome {
        frames: 0,
        extracted: 0,
        skipped: [0; Skip::COUNT],
        end: String::new(),
    };
    let mut capture = match opened {
        Ok(capture) => capture,
        Err(error) => {
            return Outcome {
                end: error.to_string(),
                ..outcome
            };
        }
    };
    while let Some(chunk) = capture.next_chunk().expect("reading does not fail") {
        assert_eq!(chunk.frames().count() as u64, chunk.frame_count());
        for frame in chunk.frames() {
            outcome.frames += 1;
            assert_eq!(frame.number, outcome.frames);
            match extract(frame.link, frame.captured, frame.original_len) {
                Ok(_) => outcome.extracted += 1,
                Err(skip) => outcome.skipped[skip as usize] += 1,
            }
        }
    }
    assert_eq!(outcome.frames, capture.frames());
    outcome.end = capture
        .cut_off()
        .map(ToString::to_string)
        .unwrap_or_default();
    outcome
}

#[test]
fn every_capture_is_read_and_counted() {
    let Some(captures) = captures() else {
        std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!(
                "SKIPPED: no shared captures; KPCLASS_SHARED names the folder that holds them\n"
            ),
        )
        .ok();
        return;
    };
    let index = std::fs::read_to_string(captures.join("INDEX.tsv")).unwrap();
    let (mut files, mut wrong) = (0, Vec::new());
    for line in index.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let (file, packets, tcpdump) = (columns[0], columns[4], columns[8]);
        let outcome = read(Capture::open(&captures.join(file)));
        files += 1;
        let skipped: u64 = outcome.skipped.iter().sum();
        assert_eq!(outcome.frames, outcome.extracted + skipped, "{file}");
        let found = outcome.frames.to_string();
        let disputed = DISPUTED.iter().find(|(name, _)| *name == file);
        if packets != tcpdump {
            eprintln!("{file}: {found} frames; the index has {packets}, tcpdump {tcpdump}");
        }
        let is_wrong = match disputed {
            Some((_, right)) => outcome.frames != *right || packets == tcpdump,
            None => packets != found || tcpdump != found,
        };
        if is_wrong {
            wrong.push(format!(
                "{file}: {found} frames, the index {packets}, tcpdump {tcpdump}; {} ({})",
                outcome.end, columns[6]
            ));
        }
    }
    assert!(files > 1000, "{files} files in the index");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Changes up to four bytes of `bytes`, or cuts it; the same ones for the same `seed`.
fn damage(bytes: &mut Vec<u8>, seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = |limit: usize| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit.max(1)
    };
    if below(4) == 0 {
        bytes.truncate(below(bytes.len()));
        return;
    }
    for _ in 0..=below(4) {
        let at = below(bytes.len());
        if let Some(byte) = bytes.get_mut(at) {
            *byte = [0, 1, 0x7f, 0x80, 0xff, below(256) as u8][below(6)];
        }
    }
}

#[test]
fn every_damaged_capture_is_accounted_for() {
    let Some(captures) = captures() else {
        std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!(
                "SKIPPED: no shared captures; KPCLASS_SHARED names the folder that holds them\n"
            ),
        )
        .ok();
        return;
    };
    let index = std::fs::read_to_string(captures.join("INDEX.tsv")).unwrap();
    let (mut seed, mut cut_off) = (0, 0);
    for file in index
        .lines()
        .skip(1)
        .filter_map(|line| line.split('\t').next())
    {
        let whole = std::fs::read(captures.join(file)).unwrap();
        for _ in 0..20 {
            seed += 1;
            let mut bytes = whole.clone();
            damage(&mut bytes, seed);
            let outcome = read(Capture::from_reader("damaged", Cursor::new(bytes)));
            let skipped: u64 = outcome.skipped.iter().sum();
            assert_eq!(
                outcome.frames,
                outcome.extracted + skipped,
                "{file}, seed {seed}"
            );
            cut_off += u64::from(!outcome.end.is_empty());
        }
    }
    assert!(
        cut_off > 500,
        "only {cut_off} captures were refused or cut off: is there any damage?"
    );
}
