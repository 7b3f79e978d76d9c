//! Third-party captures: each is read without panic, and holds as many frames as two independent readers found.

use kpclass_engine::capture::Capture;
use kpclass_engine::extract::{Skip, extract};
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

fn read(path: &std::path::Path) -> Outcome {
    let mut outcome = Outcome {
        frames: 0,
        extracted: 0,
        skipped: [0; Skip::COUNT],
        end: String::new(),
    };
    let mut capture = match Capture::open(path) {
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
        eprintln!("SKIPPED: no shared captures; KPCLASS_SHARED names the folder that holds them");
        return;
    };
    let index = std::fs::read_to_string(captures.join("INDEX.tsv")).unwrap();
    let (mut files, mut wrong) = (0, Vec::new());
    for line in index.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let (file, packets, tcpdump) = (columns[0], columns[4], columns[8]);
        let outcome = read(&captures.join(file));
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
