//! Captures.

use super::{bad, check, pcap};

#[test]
fn captures() {
    macro_rules! frame {
        ($name:expr, $($says:expr),+) => {
            bad(&["explain", "--rules", "good.rules", "--frame", $name], &[$($says),+])
        };
    }
    let whole = pcap(1, &[0; 60]);
    let mut arp = [0; 60];
    arp[12..14].copy_from_slice(&[8, 6]);
    let mut old = whole.clone();
    old[4] = 1;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &whole).unwrap();
    let gzip = gzip.finish().unwrap();
    check(
        &[
            frame!(
                "whole.pcap",
                "--frame `whole.pcap`",
                "a frame's number, from 1"
            ),
            frame!("whole.pcap:0", "--frame `whole.pcap:0`", "from 1"),
            frame!("whole.pcap:2", "whole.pcap: needs frame 2, holds 1"),
            frame!("absent.pcap:1", "absent.pcap: ", "o such file"),
            frame!(".:1", ".: is a directory"),
            frame!("empty:1", "empty: is empty", "24 bytes"),
            frame!("text:1", "text: is no capture", "begins with"),
            frame!(
                "head:1",
                "head: is cut off in its file header: needs 24 bytes, has 10"
            ),
            frame!("old:1", "old: has version 1."),
            frame!(
                "cut:1",
                "cut: needs frame 1, holds 0",
                "cut off in frame 1 at byte 24: 76 bytes needed, 70 available"
            ),
            frame!("arp:1", "arp: frame 1 holds no packet to ask about: not IP"),
            frame!(
                "link:1",
                "link: frame 1 holds no packet to ask about: link type 147 is not read"
            ),
            frame!(
                "short:1",
                "short: frame 1 holds no packet to ask about",
                "cut off"
            ),
            frame!("text.gz:1", "text.gz: holds no capture: the gzip data"),
            frame!("broken.gz:1", "broken.gz"),
        ],
        &[
            ("whole.pcap", &whole),
            ("empty", b""),
            ("text", b"no capture at all, but text\n"),
            ("head", &whole[..10]),
            ("old", &old),
            ("cut", &whole[..94]),
            ("arp", &pcap(1, &arp)),
            ("link", &pcap(147, &[0; 60])),
            ("short", &pcap(1, &[0; 6])),
            ("text.gz", &{
                let mut gzip =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                std::io::Write::write_all(&mut gzip, b"no capture at all, but text\n").unwrap();
                gzip.finish().unwrap()
            }),
            ("broken.gz", &gzip[..15]),
        ],
    );
}
