//! Captures that are cut, damaged, or none.

use super::build::{Built, Bytes, MICROSECONDS, NANOSECONDS, content, sections};
use super::*;

/// Frames and cut of `built`, cut after `len` bytes, must be these.
fn assert_cut(built: &Built, len: usize, opened: Result<Capture, CaptureError>) {
    let whole = built.frame_ends.iter().filter(|end| **end <= len).count();
    let Ok(mut capture) = opened else {
        assert!(len < built.edges[0], "a cut at {len} leaves a capture");
        return;
    };
    assert_eq!(frames(&mut capture).len(), whole, "cut at {len}");
    let Some(cut) = capture.cut_off() else {
        assert!(
            built.edges.contains(&len),
            "the cut at {len} was not noticed"
        );
        return;
    };
    assert!(
        !built.edges.contains(&len),
        "a cut at {len} leaves no rest: {cut}"
    );
    assert_eq!(cut.frame, whole as u64 + 1, "cut at {len}");
    let begin = built.edges.iter().rfind(|edge| **edge <= len).unwrap();
    assert_eq!(cut.byte, *begin as u64, "cut at {len}");
    let CutCause::Short { needed, available } = cut.cause else {
        panic!("{cut}")
    };
    assert_eq!(available, (len - begin) as u64);
    assert!(needed > available, "{cut}");
}

#[test]
fn a_capture_cut_anywhere_gives_its_whole_frames() {
    let pcap = |order, magic| Built::pcap(order, magic, (2, 4), 1).records(4);
    for built in [
        pcap(Bytes::Little, MICROSECONDS),
        pcap(Bytes::Big, NANOSECONDS),
        sections(),
    ] {
        for len in 0..=built.bytes.len() {
            assert_cut(&built, len, stream(&built.bytes[..len]));
            assert_cut(&built, len, mapped(&built.bytes[..len]));
        }
    }
}

#[test]
fn a_packed_capture_cut_anywhere_gives_what_it_holds() {
    for built in [
        sections(),
        Built::pcap(Bytes::Little, MICROSECONDS, (2, 4), 1).records(20),
    ] {
        let (all, _) = read(&built.bytes);
        for packed in [gzip(&built.bytes), zstd(&built.bytes)] {
            for len in 0..packed.len() {
                let Ok(mut capture) = mapped(&packed[..len]) else {
                    continue;
                };
                let seen = frames(&mut capture);
                assert_eq!(seen[..], all[..seen.len()]);
                let cut = capture.cut_off().expect("the cut is noticed");
                assert_eq!(cut.frame, seen.len() as u64 + 1);
                assert!(matches!(cut.cause, CutCause::Packed(_)), "{cut}");
            }
        }
    }
}

#[test]
fn any_byte_may_be_wrong() {
    for built in [
        sections(),
        Built::pcap(Bytes::Big, MICROSECONDS, (2, 4), 1).records(4),
    ] {
        for packed in [built.bytes.clone(), gzip(&built.bytes), zstd(&built.bytes)] {
            for at in 0..packed.len() {
                for value in [0, 1, 0x7f, 0x80, 0xff, packed[at] ^ 1] {
                    let mut bytes = packed.clone();
                    bytes[at] = value;
                    if let Ok(mut capture) = stream(&bytes) {
                        frames(&mut capture);
                    }
                }
            }
        }
    }
}

#[test]
fn a_record_length_beyond_belief_ends_the_capture() {
    let built = Built::pcap(Bytes::Little, MICROSECONDS, (2, 4), 1).records(2);
    let byte = built.bytes.len() as u64;
    for len in [MAX_RECORD as u32 + 1, u32::MAX] {
        let (seen, cut) = read(&built.clone().record((len, len), &[], &[]).bytes);
        let cause = CutCause::TooLong(len.into());
        assert_eq!(
            (seen.len(), cut),
            (
                2,
                Some(CutOff {
                    frame: 3,
                    byte,
                    cause
                })
            )
        );
    }
    let (_, cut) = read(&built.record((1000, 1000), &[], &[1]).bytes);
    let message = cut.unwrap().to_string();
    assert_eq!(
        message,
        format!("cut off in frame 3 at byte {byte}: 1016 bytes needed, 17 available")
    );
}

#[test]
fn a_stream_that_unpacks_to_more_than_memory_stays_bounded() {
    // 300 MB of zeros in 300 kB: empty records of a pcap.
    let zeros = std::io::Read::take(std::io::repeat(0), 300_000_000);
    let header = Built::pcap(Bytes::Little, MICROSECONDS, (2, 4), 1).bytes;
    let bytes = std::io::Read::chain(std::io::Cursor::new(header), zeros);
    let packed = zstd::stream::encode_all(bytes, 1).unwrap();
    let mut capture = stream(&packed).unwrap();
    let longest = capture
        .chunks()
        .map(|c| c.unwrap().bytes.as_slice().len())
        .max()
        .unwrap();
    assert!(longest <= 2 * CHUNK_LEN, "{longest} bytes at once");
    assert_eq!(capture.frames(), 300_000_000 / 16);
}

#[test]
fn damaged_blocks_end_the_capture() {
    let begin = || {
        Built::pcapng(Bytes::Little)
            .interface(1, 0, &[])
            .enhanced(0, 0, &content(1))
    };
    let too_long = [0_u32, 0, 0, 9, 9].map(u32::to_le_bytes).concat();
    let mut trailer = begin().enhanced(0, 0, &content(2));
    let at = trailer.bytes.len() - 4;
    trailer.bytes[at] += 4;
    let mut unaligned = begin();
    unaligned
        .bytes
        .extend([6, 0, 0, 0, 13, 0, 0, 0, 0, 0, 0, 0, 0, 13, 0, 0, 0]);
    let cases = [
        (
            begin().enhanced(1, 0, &content(2)),
            "a packet of an interface that no block described",
        ),
        (
            begin().section(Bytes::Big).simple(1, &[1]),
            "a simple packet, but no interface was described",
        ),
        (
            begin()
                .section(Bytes::Big)
                .interface(1, 0, &[])
                .enhanced(u32::MAX, 0, &[1]),
            "a packet of an interface that no block described",
        ),
        (
            begin().block(6, &[&[0; 16]]),
            "a packet block without its header",
        ),
        (
            begin().block(6, &[&too_long]),
            "a packet block shorter than its packet",
        ),
        (
            begin().block(1, &[&[0; 4]]),
            "an interface description of less than 8 bytes",
        ),
        (
            begin().block(0x0a0d_0d0a, &[&[7; 16]]),
            "a section header with byte-order magic 0x07070707",
        ),
        (trailer, "a block of 36 bytes that ends with length 40"),
        (
            unaligned,
            "a block of 13 bytes; blocks have at least 12, and a multiple of 4",
        ),
    ];
    for (built, reason) in cases {
        let (seen, cut) = read(&built.bytes);
        let cut = cut.expect(reason);
        assert_eq!((seen.len(), cut.frame), (1, 2), "{reason}");
        assert_eq!(cut.cause, CutCause::Block(reason.into()));
    }
}

#[test]
fn what_is_no_capture_says_what_it_is() {
    let old = Built::pcap(Bytes::Little, MICROSECONDS, (1, 2), 1).bytes;
    let version = "stdin: has version 1.2 of pcap; supported is 2.0 to 2.4, and 543.0";
    let mut section = Built::pcapng(Bytes::Little).bytes;
    section[12] = 2;
    let cases: [(&[u8], &str); 11] = [
        (
            b"",
            "stdin: is empty; a capture begins with a file header of 24 bytes or more",
        ),
        (
            b"*nat\n:PREROUTING ACCEPT [0:0]\n",
            "stdin: is no capture: begins with the text \"*nat\\n:PREROUTING\", not as pcap, pcapng, or one of them in gzip or zstd",
        ),
        (
            b"\x7fELF\x02\x01",
            "stdin: is no capture: begins with bytes 7f 45 4c 46 02 01, not as pcap, pcapng, or one of them in gzip or zstd",
        ),
        (
            b"snoop\0\0\0\0\0\0\x02",
            "stdin: is a snoop capture, which is not read; convert it to pcap or pcapng",
        ),
        (
            b"BZh91AY",
            "stdin: is a bzip2 file, which is not read; convert it to pcap or pcapng",
        ),
        (
            &[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0],
            "stdin: is cut off in its file header: needs 24 bytes, has 8",
        ),
        (
            &section[..10],
            "stdin: is cut off in its file header: needs 12 bytes, has 10",
        ),
        (&old, version),
        (
            &section,
            "stdin: begins with a damaged section header: a section of pcapng version 2.0; supported is 1",
        ),
        (
            &gzip(b"hello"),
            "stdin: holds no capture: the gzip data begins with the text \"hello\", not as pcap or pcapng",
        ),
        (
            &zstd(b""),
            "stdin: the zstd data cannot be unpacked: it holds nothing",
        ),
    ];
    for (bytes, message) in cases {
        assert_eq!(stream(bytes).unwrap_err().to_string(), message);
    }
    let folder = Capture::open(&std::env::temp_dir())
        .unwrap_err()
        .to_string();
    assert!(
        folder.ends_with(": is a directory; a capture is a file"),
        "{folder}"
    );
    let missing = Capture::open(Path::new("/nowhere/x.pcap"))
        .unwrap_err()
        .to_string();
    assert!(
        missing.starts_with("/nowhere/x.pcap: cannot be read: No such file"),
        "{missing}"
    );
    assert!(mapped(b"").unwrap_err().to_string().contains("is empty"));
}

#[test]
fn damaged_packing_is_an_error_only_where_nothing_came_out() {
    let error = stream(&[0x1f, 0x8b, 8, 0]).unwrap_err().to_string();
    assert!(
        error.starts_with("stdin: the gzip data cannot be unpacked: "),
        "{error}"
    );
    let mut packed = gzip(
        &Built::pcap(Bytes::Little, MICROSECONDS, (2, 4), 1)
            .records(3)
            .bytes,
    );
    let crc = packed.len() - 8;
    packed[crc] ^= 1;
    let (seen, cut) = read(&packed);
    assert_eq!(seen.len(), 3);
    assert!(matches!(cut.unwrap().cause, CutCause::Packed(_)));
}

/// A reader that gives `bytes` and then fails.
struct Failing(std::io::Cursor<Vec<u8>>);

impl std::io::Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(std::io::Error::other("the cable is gone")),
            read => Ok(read),
        }
    }
}

#[test]
fn a_failing_reader_is_an_error() {
    let bytes = Built::pcap(Bytes::Little, MICROSECONDS, (2, 4), 1)
        .records(3)
        .bytes;
    let error = Capture::from_reader("stdin", Failing(std::io::Cursor::new(bytes))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "stdin: cannot be read: the cable is gone"
    );
}
