//! Whole captures of every format.

use super::build::{Built, Bytes, MICROSECONDS, MODIFIED, NANOSECONDS, content, sections};
use super::*;

#[test]
fn all_four_magics_are_read() {
    for order in Bytes::BOTH {
        for (magic, each_ns) in [(MICROSECONDS, 1000), (NANOSECONDS, 1)] {
            let (seen, cut) = read(&Built::pcap(order, magic, (2, 4), 113).records(3).bytes);
            assert_eq!(cut, None);
            assert_eq!(seen.len(), 3);
            for (number, frame) in (1..).zip(seen) {
                let expected = Seen {
                    number,
                    link: LinkType::LINUX_SLL,
                    interface: 0,
                    timestamp_ns: number * 1_000_000_000 + number * 10 * each_ns,
                    captured: content(number),
                    original_len: number as u32 + 100,
                };
                assert_eq!(frame, expected, "{order:?} {magic:#x}");
            }
        }
    }
}

#[test]
fn a_modified_record_header_is_longer() {
    let built = Built::pcap(Bytes::Little, MODIFIED, (2, 4), 1)
        .record((1, 1), &[9; 8], &content(1))
        .record((2, 2), &[9; 8], &content(2));
    let (seen, cut) = read(&built.bytes);
    assert_eq!(
        (seen[1].captured.clone(), seen.len(), cut),
        (content(2), 2, None)
    );
}

#[test]
fn lengths_stand_in_the_order_of_the_version() {
    for (version, lens) in [
        ((2, 4), (2, 9)),
        ((2, 3), (9, 2)),
        ((2, 3), (2, 9)),
        ((2, 2), (9, 2)),
    ] {
        let built = Built::pcap(Bytes::Big, MICROSECONDS, version, 1);
        let (seen, _) = read(&built.record(lens, &[], &content(2)).bytes);
        assert_eq!(
            (seen[0].captured.len(), seen[0].original_len),
            (2, 9),
            "{version:?}"
        );
    }
}

#[test]
fn bits_above_the_link_type_are_no_part_of_it() {
    let (seen, _) = read(
        &Built::pcap(Bytes::Little, NANOSECONDS, (2, 4), 0x4400_0001)
            .records(1)
            .bytes,
    );
    assert_eq!(seen[0].link, LinkType::ETHERNET);
}

#[test]
fn a_pcapng_has_sections_with_interfaces_of_their_own() {
    let built = sections();
    let mut capture = stream(&built.bytes).unwrap();
    let seen = frames(&mut capture);
    assert_eq!(capture.cut_off(), None);
    let told: Vec<_> = seen
        .iter()
        .map(|f| (f.interface, f.link.0, f.timestamp_ns))
        .collect();
    let expected = [
        (0, 1, 7_000_000_000_000_000_001),
        (1, 276, 10_000_005_000),
        (0, 1, 9),
        (2, 101, 0),
        (2, 101, (1 << 30) * 1_000_000_000),
    ];
    assert_eq!(told, expected);
    let lens: Vec<_> = seen
        .iter()
        .map(|f| (f.captured.len(), f.original_len))
        .collect();
    assert_eq!(lens, [(1, 1500), (2, 1500), (3, 1500), (4, 5), (5, 1500)]);
    let name = |index| {
        capture
            .interfaces()
            .name(InterfaceIndex(index))
            .map(|n| n.name().to_owned())
    };
    assert_eq!(name(0).as_deref(), Some("eth0"));
    assert_eq!(name(1).as_deref(), Some("any"));
    assert_eq!((name(2), name(3)), (None, None));
}

#[test]
fn a_simple_packet_is_as_long_as_the_snapshot() {
    for (snaplen, captured) in [(0, 3), (2, 2), (3, 3), (9, 3)] {
        let built = Built::pcapng(Bytes::Big)
            .interface(1, snaplen, &[])
            .simple(3, &[1, 2, 3]);
        let (seen, _) = read(&built.bytes);
        assert_eq!(
            (seen[0].captured.len(), seen[0].original_len),
            (captured, 3),
            "{snaplen}"
        );
    }
}

#[test]
fn every_way_in_gives_the_same_frames() {
    for built in [
        sections(),
        Built::pcap(Bytes::Big, MICROSECONDS, (2, 4), 1).records(5),
    ] {
        let (expected, _) = read(&built.bytes);
        assert_eq!(expected.len(), 5);
        let packed = [built.bytes.clone(), gzip(&built.bytes), zstd(&built.bytes)];
        for bytes in packed {
            let mut capture = mapped(&bytes).unwrap();
            assert_eq!(frames(&mut capture), expected);
            assert_eq!(capture.cut_off(), None);
            assert_eq!(read(&bytes), (expected.clone(), None));
        }
    }
}

#[test]
fn members_of_a_compressed_file_are_one_capture() {
    let bytes = Built::pcap(Bytes::Little, MICROSECONDS, (2, 4), 1)
        .records(4)
        .bytes;
    let (one, two) = bytes.split_at(50);
    for packed in [
        [gzip(one), gzip(two)].concat(),
        [zstd(one), zstd(two)].concat(),
    ] {
        let (seen, cut) = read(&packed);
        assert_eq!((seen.len(), cut), (4, None));
    }
}

#[test]
fn a_large_capture_comes_in_several_chunks() {
    let frame = vec![7; 1000];
    let mut built = Built::pcap(Bytes::Little, MICROSECONDS, (2, 4), 1);
    for _ in 0..5000 {
        built = built.record((1000, 1000), &[], &frame);
    }
    for mut capture in [mapped(&built.bytes).unwrap(), stream(&built.bytes).unwrap()] {
        let mut chunks = 0;
        let counts = capture.chunks().map(|chunk| chunk.unwrap().frame_count());
        let total: u64 = counts.inspect(|_| chunks += 1).sum();
        assert_eq!(total, 5000);
        assert!((4..=7).contains(&chunks), "{chunks} chunks");
    }
    let cut = &built.bytes[..built.bytes.len() - 1];
    let (seen, end) = read(cut);
    let mut capture = mapped(cut).unwrap();
    assert_eq!(seen, frames(&mut capture));
    assert_eq!(end.as_ref(), capture.cut_off());
    assert_eq!(
        end.map(|end| (end.frame, end.byte)),
        Some((5000, 24 + 4999 * 1016))
    );
}

#[test]
fn chunks_can_be_walked_on_other_threads() {
    let bytes = sections().bytes;
    let chunks: Vec<Chunk> = stream(&bytes)
        .unwrap()
        .chunks()
        .map(Result::unwrap)
        .collect();
    let count: usize = std::thread::scope(|scope| {
        let walks: Vec<_> = chunks
            .iter()
            .map(|chunk| scope.spawn(|| chunk.frames().count()))
            .collect();
        walks.into_iter().map(|walk| walk.join().unwrap()).sum()
    });
    assert_eq!(count, 5);
}

#[test]
fn a_frame_longer_than_a_chunk_is_whole() {
    let frame = vec![7; 5 * CHUNK_LEN];
    let len = frame.len() as u32;
    let built = Built::pcap(Bytes::Little, MICROSECONDS, (2, 4), 1)
        .record((len, len), &[], &frame)
        .record((1, 1), &[], &content(1));
    for bytes in [built.bytes.clone(), gzip(&built.bytes)] {
        let (seen, cut) = read(&bytes);
        assert_eq!(
            (seen.len(), seen[0].captured.len(), cut),
            (2, frame.len(), None)
        );
    }
}

#[test]
fn interfaces_are_found_by_index_however_many() {
    let mut built = Built::pcapng(Bytes::Little);
    for number in 0..1000_u32 {
        let name = format!("veth{number}");
        built = built
            .interface(1, 0, &[(2, name.as_bytes())])
            .enhanced(number, 0, &content(1));
    }
    let mut capture = stream(&built.bytes).unwrap();
    let seen = frames(&mut capture);
    assert_eq!(seen.len(), 1000);
    for frame in seen {
        let name = capture
            .interfaces()
            .name(InterfaceIndex(frame.interface))
            .unwrap();
        assert_eq!(name.name(), format!("veth{}", frame.number - 1));
    }
}
