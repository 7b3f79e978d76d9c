//! Captures read in ranges, against the same captures read in order.

use super::build::{Built, Bytes, MICROSECONDS, MODIFIED, NANOSECONDS};
use super::*;

/// What a frame was found to be: in ranges, or in order.
type Read = (Vec<Seen>, Option<CutOff>);

/// Reads `bytes` in ranges, the later ones first as far as two workers could; `None` if a guess was wrong.
fn in_ranges(bytes: &[u8], range_len: usize) -> Option<Read> {
    let mut capture = stream(bytes).expect("a capture");
    let ranges = capture.ranges(range_len)?;
    let seen = if ranges.is_swapped() {
        all::<true>(&ranges)
    } else {
        all::<false>(&ranges)
    };
    let confirmed = ranges.confirmed()?;
    assert!(
        capture
            .end_behind(&confirmed)
            .expect("reading does not fail")
    );
    let mut seen: Vec<Seen> = seen
        .into_iter()
        .map(|frame| Seen {
            number: confirmed.number(frame.number),
            ..frame
        })
        .collect();
    seen.sort_by_key(|frame| frame.number);
    assert_eq!(capture.frames(), seen.len() as u64);
    let further = capture.next_chunk().expect("reading does not fail");
    assert!(further.is_none(), "{further:?}");
    Some((seen, capture.cut_off().cloned()))
}

fn all<const SWAPPED: bool>(ranges: &Ranges<'_>) -> Vec<Seen> {
    let mut seen = Vec::new();
    while let Some(first) = ranges.take::<SWAPPED>() {
        let second = ranges.take::<SWAPPED>();
        for mut group in second.into_iter().chain([first]) {
            seen.extend(group.by_ref().map(owned));
            ranges.give_back(&group);
        }
    }
    seen
}

fn read_in_order(bytes: &[u8]) -> Read {
    let mut capture = stream(bytes).expect("a capture");
    let mut seen = Vec::new();
    capture
        .walk(|frames| seen.extend(frames.by_ref().map(owned)))
        .expect("reading does not fail");
    let read = (seen, capture.cut_off().cloned());
    assert_eq!(read, self::read(bytes), "a walk sees what chunks hold");
    read
}

/// The lengths of ranges that are tried.
const LENGTHS: [usize; 8] = [1, 16, 17, 40, 100, 999, 5000, 1 << 20];

/// Each reading in ranges that comes to an end must equal the one in order; how many did.
#[track_caller]
fn agreements(bytes: &[u8]) -> usize {
    let in_order = read_in_order(bytes);
    let read = LENGTHS.map(|range_len| in_ranges(bytes, range_len));
    let read: Vec<Read> = read.into_iter().flatten().collect();
    read.iter().for_each(|one| assert_eq!(*one, in_order));
    read.len()
}

/// Numbers that look like chance, the same each time.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        self.0 >> 33
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// Every layout of records, with no frame so far.
fn layouts() -> Vec<(Built, &'static [u8])> {
    let mut all = Vec::new();
    for order in Bytes::BOTH {
        for (magic, between) in [
            (MICROSECONDS, &[][..]),
            (NANOSECONDS, &[]),
            (MODIFIED, &[0; 8]),
        ] {
            let mut built = Built::pcap(order, magic, (2, 4), 1);
            built.epoch = 1_767_225_600;
            all.push((built, between));
        }
    }
    all
}

/// Frames of chance; some were cut to a snapshot length.
fn ordinary(built: Built, between: &[u8], count: usize) -> Built {
    let mut chance = Chance(7);
    (0..count).fold(built, |built, _| {
        let captured = chance.next() as u32 % 200 + 1;
        let frame = chance.bytes(captured as usize);
        let cut = chance.next() as u32 % 3 * 100;
        built.record((captured, captured + cut), between, &frame)
    })
}

#[test]
fn ordinary_captures_are_read_in_ranges() {
    for (built, between) in layouts() {
        let built = ordinary(built, between, 300);
        assert_eq!(agreements(&built.bytes), LENGTHS.len());
    }
    let counted_from_0 = Built::pcap(Bytes::Little, MICROSECONDS, (2, 4), 1);
    assert!(agreements(&ordinary(counted_from_0, &[], 300).bytes) > 0);
    let empty = Built::pcap(Bytes::Little, MICROSECONDS, (2, 4), 1);
    assert_eq!(agreements(&empty.bytes), LENGTHS.len());
}

#[test]
fn a_frame_longer_than_many_ranges_is_one_frame() {
    for (built, between) in layouts() {
        let built = ordinary(built, between, 5);
        let huge = Chance(3).bytes(70_000);
        let built = built.record((70_000, 70_000), between, &huge);
        let built = ordinary(built, between, 300);
        assert_eq!(agreements(&built.bytes), LENGTHS.len());
    }
}

#[test]
fn a_capture_in_ranges_may_be_cut_anywhere_in_its_last_record() {
    for (built, between) in layouts() {
        let built = ordinary(built, between, 40);
        let [.., last, end] = built.edges[..] else {
            panic!("there are records")
        };
        for len in last..=end {
            assert!(agreements(&built.bytes[..len]) > 0, "cut at {len}");
        }
    }
}

#[test]
fn a_capture_in_ranges_may_be_damaged_anywhere() {
    let (mut wrong, mut right) = (0, 0);
    for (built, between) in layouts() {
        let built = ordinary(built, between, 60);
        for edge in &built.edges[..60] {
            for (at, value) in [(8, 0xff), (9, 0x01), (10, 0x01), (11, 0xff)] {
                let mut bytes = built.bytes.clone();
                bytes[edge + at] ^= value;
                let agree = agreements(&bytes);
                right += agree;
                wrong += LENGTHS.len() - agree;
            }
        }
    }
    assert!(wrong > 0 && right > 0, "{wrong} wrong, {right} right");
}

#[test]
fn empty_frames_are_found() {
    for (built, between) in layouts() {
        let built = ordinary(built, between, 30).record((0, 0), between, &[]);
        let built = ordinary(built.record((0, 60), between, &[]), between, 300);
        assert!(agreements(&built.bytes) > 0);
        let empty = (0..50).fold(built, |built, _| built.record((0, 0), between, &[]));
        assert!(
            agreements(&empty.bytes) > 0,
            "the one range is always right"
        );
    }
}

/// A capture within each packet of a capture, as when one is sent over the network: guesses go wrong.
#[test]
fn what_packets_hold_is_not_taken_for_records() {
    let mut wrong = 0;
    for (built, between) in layouts() {
        let inner = ordinary(built.clone(), between, 30);
        let lying = built.clone().record((u32::MAX, 1), between, &[1; 40]);
        let tail = inner.bytes[built.edges[0]..].to_vec();
        for payload in [&inner.bytes[..], &tail, &tail[5..], &lying.bytes] {
            let len = payload.len() as u32;
            let outer = (0..20).fold(built.clone(), |built, _| {
                built.record((len, len), between, payload)
            });
            wrong += LENGTHS.len() - agreements(&outer.bytes);
            let cut = outer.bytes.len() - payload.len() / 2;
            wrong += LENGTHS.len() - agreements(&outer.bytes[..cut]);
        }
    }
    assert!(wrong > 100, "only {wrong} guesses were wrong");
}

/// A packet that is one chain of records to the end of the file, and ends just where the file does.
#[test]
fn a_chain_that_a_packet_holds_to_the_end_is_found_out() {
    for (built, between) in layouts() {
        let inner = ordinary(built.clone(), between, 300);
        let payload = &inner.bytes[built.edges[0]..];
        let len = payload.len() as u32;
        let bytes = built.record((len, len), between, payload).bytes;
        assert!(agreements(&bytes) < LENGTHS.len(), "some guess is wrong");
    }
}

/// Chains that all break shortly before they are long enough: each guess would follow each of them from each of its headers.
#[test]
fn a_guess_that_would_take_too_long_is_given_up() {
    for (built, between) in layouts() {
        let chain = (0..300).fold(built.clone(), |built, _| {
            built.record((16, 16), between, &[0xff; 16])
        });
        let mut payload = chain.bytes[built.edges[0]..].to_vec();
        payload.extend([0xff; 64]);
        let payload = payload.repeat(20);
        let len = payload.len() as u32;
        let built = built.record((len, len), between, &payload);
        let built = ordinary(built, between, 100);
        assert_eq!(in_ranges(&built.bytes, 100_000), None);
        assert!(in_ranges(&built.bytes, built.bytes.len()).is_some());
    }
}
