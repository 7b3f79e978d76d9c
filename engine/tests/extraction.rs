//! The engine's header reader against the reference's, which is built on etherparse: every field, and whether a frame is read
//! at all, on third-party captures and on a million frames made up or damaged. Where the engine may skip what the reference reads is
//! a list of names; there is nothing that it reads and the reference does not, or otherwise.

#[path = "../../fuzz/src/packet_bytes.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "a fuzz target's file, of which this test uses a part"
)]
mod packet_bytes;

use kpclass_engine::capture::Capture;
use kpclass_engine::extract::extract;
use kpclass_engine::link::LinkType;
use packet_bytes::{Difference, compare};
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Default)]
struct Tally {
    frames: u64,
    read: u64,
    differences: BTreeMap<Difference, u64>,
}

impl Tally {
    fn compare(&mut self, link: LinkType, captured: &[u8], original_len: u32) {
        self.frames += 1;
        self.read += u64::from(extract(link, captured, original_len).is_ok());
        match compare(link, captured, original_len) {
            Ok(None) => {}
            Ok(Some(difference)) => *self.differences.entry(difference).or_default() += 1,
            Err(difference) => panic!("{difference}"),
        }
    }
}

/// A small generator of numbers (xorshift64*), seeded, so that a failure can be had again.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit
    }

    fn one_of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn chance(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}

const LINKS: [u32; 12] = [0, 1, 1, 1, 12, 14, 101, 108, 113, 228, 229, 276];
const ETHERTYPES: [u16; 8] = [
    0x0800, 0x0800, 0x86dd, 0x86dd, 0x8100, 0x88a8, 0x9100, 0x0806,
];
const PROTOCOLS: [u8; 16] = [6, 6, 17, 17, 1, 58, 132, 33, 136, 0, 43, 44, 51, 60, 59, 50];

/// A frame that is mostly right: a link header, tags, an IP header, extension headers, a transport header.
fn made_up(numbers: &mut Numbers) -> (LinkType, Vec<u8>) {
    let link = numbers.one_of(&LINKS);
    let mut frame = Vec::new();
    let mut ethertype = numbers.one_of(&ETHERTYPES);
    match link {
        0 | 108 => {
            let family = numbers.one_of(&[2_u32, 2, 10, 23, 24, 28, 30, 7]);
            let order = numbers.chance(2);
            frame.extend(if order {
                family.to_le_bytes()
            } else {
                family.to_be_bytes()
            });
            ethertype = if family == 2 { 0x0800 } else { 0x86dd };
        }
        1 => frame.extend((0..12).map(|_| numbers.next() as u8)),
        113 => {
            let device = numbers
                .one_of(&[1_u16, 1, 772, 770, 803, 824])
                .to_be_bytes();
            frame.extend([0, 0, device[0], device[1], 0, 6, 2, 0, 0, 0, 0, 1, 0, 0]);
        }
        276 => {
            let device = numbers
                .one_of(&[1_u16, 1, 772, 770, 803, 824])
                .to_be_bytes();
            let [high, low] = ethertype.to_be_bytes();
            frame.extend([high, low, 0, 0, 0, 0, 0, 3, device[0], device[1], 0, 6]);
            frame.extend([2, 0, 0, 0, 0, 1, 0, 0]);
        }
        228 => ethertype = 0x0800,
        229 => ethertype = 0x86dd,
        _ => ethertype = numbers.one_of(&[0x0800, 0x86dd]),
    }
    if matches!(link, 1 | 113) {
        frame.extend(ethertype.to_be_bytes());
    }
    while matches!(ethertype, 0x8100 | 0x88a8 | 0x9100) {
        ethertype = numbers.one_of(&ETHERTYPES);
        if numbers.chance(64) {
            frame.extend([0, 1, 0x81, 0].repeat(9));
        }
        frame.extend([0, 1]);
        frame.extend(ethertype.to_be_bytes());
    }
    if ethertype == 0x0800 {
        ipv4(numbers, &mut frame)
    } else {
        ipv6(numbers, &mut frame)
    }
    (LinkType(link), frame)
}

/// A payload's length, mostly enough for a transport header.
fn payload_len(numbers: &mut Numbers) -> usize {
    numbers.one_of(&[0, 2, 4, 7, 8, 9, 11, 12, 13, 14, 19, 20, 20, 21, 40, 60])
}

/// `len` as a length field says it: mostly so.
fn stated(numbers: &mut Numbers, len: usize) -> [u8; 2] {
    let len = len as u16;
    let stated = match numbers.below(16) {
        0 => 0,
        1 => len.wrapping_sub(1),
        2 => len + 1,
        3 => numbers.next() as u16,
        _ => len,
    };
    stated.to_be_bytes()
}

fn ipv4(numbers: &mut Numbers, frame: &mut Vec<u8>) {
    let options = if numbers.chance(4) {
        numbers.below(11) * 4
    } else {
        0
    };
    let payload = payload_len(numbers);
    let ihl = if numbers.chance(32) {
        numbers.next() as u8 & 15
    } else {
        5 + options as u8 / 4
    };
    let version = if numbers.chance(32) {
        numbers.next() as u8 & 15
    } else {
        4
    };
    let [high, low] = stated(numbers, 20 + options + payload);
    let fragment = numbers
        .one_of(&[0_u16, 0, 0, 0x4000, 0x2000, 0x2001, 185])
        .to_be_bytes();
    let dscp = numbers.next() as u8;
    frame.extend([
        version << 4 | ihl,
        dscp,
        high,
        low,
        0,
        1,
        fragment[0],
        fragment[1],
    ]);
    frame.extend([numbers.next() as u8, numbers.one_of(&PROTOCOLS), 0, 0]);
    frame.extend((0..8 + options + payload).map(|_| numbers.next() as u8));
}

fn ipv6(numbers: &mut Numbers, frame: &mut Vec<u8>) {
    let version = if numbers.chance(32) {
        numbers.next() as u8 & 15
    } else {
        6
    };
    let begin = frame.len();
    let mut next = numbers.one_of(&PROTOCOLS);
    frame.extend([
        version << 4 | 0xb,
        0x80,
        0,
        0,
        0,
        0,
        next,
        numbers.next() as u8,
    ]);
    frame.extend((0..32).map(|_| numbers.next() as u8));
    let many = numbers.chance(64);
    while matches!(next, 0 | 43 | 44 | 51 | 60) && frame.len() < 1000 {
        let this = next;
        next = if many { 60 } else { numbers.one_of(&PROTOCOLS) };
        let units = if numbers.chance(16) {
            numbers.next() as u8
        } else {
            numbers.below(3) as u8
        };
        let len = match this {
            44 => 8,
            51 => (usize::from(units) + 2) * 4,
            _ => (usize::from(units) + 1) * 8,
        };
        let offset = numbers.one_of(&[0, 0, 0, 1, 8]);
        let header = [next, units, 0, offset, 0, 0, 0, 1];
        frame.extend(header.into_iter().chain(std::iter::repeat(0)).take(len));
    }
    let payload = payload_len(numbers);
    frame.extend((0..payload).map(|_| numbers.next() as u8));
    let stated = stated(numbers, frame.len() - begin - 40);
    frame[begin + 4..begin + 6].copy_from_slice(&stated);
}

/// Changes a few bytes, cuts, or pads.
fn damage(numbers: &mut Numbers, frame: &mut Vec<u8>) {
    match numbers.below(8) {
        0 => frame.truncate(numbers.below(frame.len() + 1)),
        1 => frame.extend(std::iter::repeat_n(0, numbers.below(30))),
        2 | 3 if !frame.is_empty() => {
            for _ in 0..=numbers.below(3) {
                let at = numbers.below(frame.len());
                frame[at] = numbers.next() as u8;
            }
        }
        _ => {}
    }
}

#[test]
fn both_readers_agree_on_frames_made_up_and_damaged() {
    let mut numbers = Numbers(0x6b70_636c_6173_7301);
    let mut tally = Tally::default();
    for _ in 0..1_000_000 {
        let (link, mut frame) = made_up(&mut numbers);
        damage(&mut numbers, &mut frame);
        let more = if numbers.chance(8) {
            numbers.below(2000)
        } else {
            0
        };
        tally.compare(link, &frame, (frame.len() + more) as u32);
    }
    eprintln!(
        "{} frames, {} read; {:?}",
        tally.frames, tally.read, tally.differences
    );
    assert!(
        tally.read > tally.frames / 4,
        "too few frames were read to prove anything"
    );
    assert_eq!(
        tally.differences.len(),
        3,
        "each difference is met: {:?}",
        tally.differences
    );
}

#[test]
fn both_readers_agree_on_arbitrary_bytes() {
    let mut numbers = Numbers(0x6b70_636c_6173_7302);
    let mut tally = Tally::default();
    for _ in 0..200_000 {
        let len = numbers.below(120);
        let frame: Vec<u8> = (0..len).map(|_| numbers.next() as u8).collect();
        tally.compare(LinkType(numbers.one_of(&LINKS)), &frame, len as u32);
    }
}

#[test]
fn both_readers_agree_on_captures() {
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
    let (mut tally, mut numbers) = (Tally::default(), Numbers(0x6b70_636c_6173_7303));
    for file in index
        .lines()
        .skip(1)
        .filter_map(|line| line.split('\t').next())
    {
        let Ok(mut capture) = Capture::open(&captures.join(file)) else {
            continue;
        };
        for chunk in capture.chunks() {
            for frame in chunk.unwrap().frames() {
                tally.compare(frame.link, frame.captured, frame.original_len);
                let mut damaged = frame.captured.to_vec();
                damage(&mut numbers, &mut damaged);
                tally.compare(frame.link, &damaged, damaged.len() as u32);
            }
        }
    }
    eprintln!(
        "{} frames, {} read; {:?}",
        tally.frames, tally.read, tally.differences
    );
    assert!(tally.read > 20_000, "{} frames were read", tally.read);
}
