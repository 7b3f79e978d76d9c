//! Nanoseconds a frame, printed: `cargo test --release -p kpclass-engine speed -- --ignored --nocapture`.

use super::*;
use crate::extract::{extract, extract_into};
use kpclass_compiler::header::Header;
use std::hint::black_box;
use std::io::Write;

const FRAMES: usize = 10_000_000;

/// A TCP frame of 60 bytes; `number` spreads its addresses and ports.
fn frame(number: usize) -> [u8; 60] {
    let mut frame = [0; 60];
    frame[12..16].copy_from_slice(&[0x08, 0x00, 0x45, 0x00]);
    frame[16..18].copy_from_slice(&46_u16.to_be_bytes());
    frame[22..24].copy_from_slice(&[64, 6]);
    frame[26..30].copy_from_slice(&(0x0a01_0000 + number as u32 % 4096).to_be_bytes());
    frame[30..34].copy_from_slice(&(0x0a98_0000 + number as u32 % 5000).to_be_bytes());
    frame[34..38].copy_from_slice(&[0x9c, 0x40, 0x01, 0xbb]);
    frame[46] = 0x50;
    frame[47] = 2;
    frame
}

fn write(path: &Path, is_pcapng: bool) {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    if is_pcapng {
        let words = [
            0x0a0d_0d0a,
            28,
            0x1a2b_3c4d,
            1,
            u32::MAX,
            u32::MAX,
            28,
            1,
            20,
            1,
            0,
            20,
        ];
        file.write_all(&words.map(u32::to_le_bytes).concat())
            .unwrap();
    } else {
        file.write_all(
            &[0xa1b2_c3d4, 0x0004_0002, 0, 0, 65535, 1]
                .map(u32::to_le_bytes)
                .concat(),
        )
        .unwrap();
    }
    for number in 0..FRAMES {
        let tick = number as u32;
        let (before, behind): (&[u32], &[u32]) = if is_pcapng {
            (&[6, 92, 0, 0, tick, 60, 60], &[92])
        } else {
            (&[tick / 1_000_000, tick % 1_000_000, 60, 60], &[])
        };
        before
            .iter()
            .for_each(|word| file.write_all(&word.to_le_bytes()).unwrap());
        file.write_all(&frame(number)).unwrap();
        behind
            .iter()
            .for_each(|word| file.write_all(&word.to_le_bytes()).unwrap());
    }
    file.flush().unwrap();
}

/// Time that this thread had a processor: other work on the machine does not count.
fn cpu_ns() -> u64 {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    times.split(' ').next().unwrap().parse().unwrap()
}

fn timed(name: &str, mut walk: impl FnMut() -> u64) {
    let best = (0..7)
        .map(|_| {
            let start = cpu_ns();
            assert_eq!(walk(), FRAMES as u64);
            cpu_ns() - start
        })
        .min()
        .unwrap();
    println!("  {name:32} {:6.2} ns/frame", best as f64 / FRAMES as f64);
}

/// Headers as a replay would keep them: a batch at a time.
fn extract_all<'a>(frames: impl Iterator<Item = Frame<'a>>) -> u64 {
    let (mut count, mut batch) = (0, [Header::default(); 64]);
    frames.for_each(|frame| {
        let place = &mut batch[count as usize % 64];
        extract_into(frame.link, frame.captured, frame.original_len, place).unwrap();
        count += 1;
        if count % 64 == 0 {
            black_box(&batch);
        }
    });
    count
}

/// Headers read, used at once, and forgotten.
fn sum_all<'a>(frames: impl Iterator<Item = Frame<'a>>) -> u64 {
    let (mut count, mut sum) = (0, 0_u64);
    frames.for_each(|frame| {
        let header = extract(frame.link, frame.captured, frame.original_len).unwrap();
        let ports = u64::from(header.destination_port) << 16 | u64::from(header.source_port);
        sum = sum.wrapping_add(header.source as u64 ^ header.destination as u64 ^ ports);
        count += 1;
    });
    black_box(sum);
    count
}

fn walk_all<'a>(frames: impl Iterator<Item = Frame<'a>>) -> u64 {
    let mut count = 0;
    frames.for_each(|frame| {
        black_box(frame.captured.len());
        count += 1;
    });
    count
}

#[test]
#[ignore = "a measurement, of release builds on an idle machine"]
fn nanoseconds_a_frame() {
    for is_pcapng in [false, true] {
        let file = tempfile::NamedTempFile::new().unwrap();
        write(file.path(), is_pcapng);
        println!("{}", if is_pcapng { "pcapng" } else { "pcap" });
        let open = || Capture::open(file.path()).unwrap();
        timed("mapped anew, scan", || {
            open()
                .chunks()
                .map(|chunk| chunk.unwrap().frame_count())
                .sum()
        });
        timed("mapped anew, scan, walk, extract", || {
            open()
                .chunks()
                .map(|chunk| extract_all(chunk.unwrap().frames()))
                .sum()
        });
        let mut capture = open();
        let (first, window) = (capture.window.at(), capture.window.share());
        if !is_pcapng {
            let bytes = window.as_slice();
            timed("warm, scan", || {
                capture.scanner.scan(bytes, first, bytes.len()).frames
            });
        }
        let chunks: Vec<Chunk> = capture.chunks().map(Result::unwrap).collect();
        timed("warm, walk", || {
            chunks.iter().map(|chunk| walk_all(chunk.frames())).sum()
        });
        timed("warm, walk, extract", || {
            chunks.iter().map(|chunk| extract_all(chunk.frames())).sum()
        });
        let near = &chunks[1];
        let times = FRAMES as u64 / near.frame_count();
        let rest = FRAMES as u64 % near.frame_count();
        timed("in cache, walk", || {
            (0..times)
                .map(|_| walk_all(black_box(near).frames()))
                .sum::<u64>()
                + rest
        });
        timed("in cache, walk, extract, use", || {
            (0..times)
                .map(|_| sum_all(black_box(near).frames()))
                .sum::<u64>()
                + rest
        });
        timed("in cache, walk, extract, keep", || {
            (0..times)
                .map(|_| extract_all(black_box(near).frames()))
                .sum::<u64>()
                + rest
        });
    }
}
