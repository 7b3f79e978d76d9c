//! From a frame to the number that its packet draws: capture, header, draw, one by one. What is read is held against what was written first.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kpclass_bench::keys::{Numbers, packet};
use kpclass_compiler::header::Header;
use kpclass_engine::capture::Capture;
use kpclass_engine::draw;
use kpclass_engine::extract::{extract, ordinary};
use kpclass_engine::link::LinkType;
use kpclass_ruleset::packet::Packet;
use kpclass_workload::frame::{Framer, Link, Origin};
use std::hint::black_box;
use std::io::Cursor;

const FRAMES: usize = 1 << 16;
const SIZE: usize = 60;

/// Packets to 10,000 keys, and their frames one behind the other.
fn made() -> (Vec<Packet>, Vec<u8>) {
    let (mut numbers, mut framer) = (Numbers(1), Framer::new(Link::Ethernet, SIZE));
    let packets: Vec<Packet> = (0..FRAMES)
        .map(|_| packet(10_000, &mut numbers).1)
        .collect();
    let frames = packets
        .iter()
        .flat_map(|p| framer.frame(p, Origin::Pod).to_vec());
    let frames = frames.collect();
    (packets, frames)
}

/// The frames as a pcap.
fn capture(frames: &[u8]) -> Vec<u8> {
    let number = |n: u32| n.to_le_bytes();
    let mut file = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, 1]
        .map(number)
        .concat();
    for frame in frames.chunks(SIZE) {
        file.extend([0, 0, SIZE as u32, SIZE as u32].map(number).concat());
        file.extend(frame);
    }
    file
}

fn stages(c: &mut Criterion) {
    let (packets, frames) = made();
    let read = |frame: &[u8]| extract(LinkType::ETHERNET, frame, SIZE as u32).expect("it is sound");
    let headers: Vec<Header> = frames.chunks(SIZE).map(read).collect();
    for (packet, header) in packets.iter().zip(&headers) {
        let written = Header::from(packet);
        let key = |h: &Header| {
            (
                h.source,
                h.destination,
                h.source_port,
                h.destination_port,
                h.protocol,
            )
        };
        assert_eq!(key(header), key(&written), "a wrong header is not timed");
    }
    let file = capture(&frames);
    assert_eq!(count(file.clone()), FRAMES, "nor a capture read wrongly");

    let mut group = c.benchmark_group("frames, per frame");
    group.throughput(Throughput::Elements(FRAMES as u64));
    group.bench_function("capture", |b| {
        b.iter_batched(|| file.clone(), count, criterion::BatchSize::LargeInput);
    });
    group.bench_function("extract, ordinary frames", |b| {
        b.iter(|| {
            frames
                .chunks(SIZE)
                .filter_map(|f| ordinary::v4(black_box(f)))
                .count()
        });
    });
    group.bench_function("extract, any frames", |b| {
        b.iter(|| {
            frames
                .chunks(SIZE)
                .map(|f| u64::from(read(black_box(f)).source_port))
                .sum::<u64>()
        });
    });
    group.bench_function("draw", |b| {
        b.iter(|| {
            headers
                .iter()
                .fold(0, |sum, h| sum ^ draw::number(black_box(h), 7))
        });
    });
    group.finish();
}

fn count(file: Vec<u8>) -> usize {
    let mut capture = Capture::from_reader("memory", Cursor::new(file)).expect("a capture");
    let chunks = capture.chunks();
    chunks
        .map(|chunk| chunk.expect("whole").frames().count())
        .sum()
}

criterion_group!(benches, stages);
criterion_main!(benches);
