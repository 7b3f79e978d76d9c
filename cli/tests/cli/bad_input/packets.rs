//! Packets as they are typed.

use super::{Bad, bad, check};

#[test]
fn packet_specs() {
    const fn ask(arguments: &'static [&'static str; 5], says: &'static [&'static str]) -> Bad {
        bad(arguments, says)
    }
    macro_rules! spec {
        ($text:expr, $($says:expr),+) => {
            ask(&["explain", "--rules", "good.rules", "--packet", $text], &["--packet: column", $($says),+])
        };
    }
    check(
        &[
            spec!("", "a protocol", "found the end"),
            spec!("foo 10.0.0.1 > 10.0.0.2", "column 1", "`foo`"),
            spec!("tcp", "the source address", "found the end"),
            spec!("tcp 10.0.0.1:1", "`>`", "found the end"),
            spec!(
                "tcp 10.0.0.1:1 >",
                "the destination address",
                "found the end"
            ),
            spec!("tcp 10.0.0.1:1 10.0.0.2:2", "`>`", "`10.0.0.2:2`"),
            spec!("tcp 10.0.0.1 > 10.0.0.2:80", "port", "^"),
            spec!("tcp 10.0.0.1:1 > 10.0.0.2:65536", "65536"),
            spec!("tcp 10.0.0.256:1 > 10.0.0.2:80", "10.0.0.256"),
            spec!("tcp 10.0.0.1:1 > [fd00::1]:80", "fd00::1"),
            spec!("icmp 10.0.0.1:1 > 10.0.0.2", "10.0.0.1:1"),
            spec!("tcp 10.0.0.1:1 > 10.0.0.2:80 flags=Q", "flag"),
            spec!("tcp 10.0.0.1:1 > 10.0.0.2:80 ctstate=maybe", "maybe"),
            spec!("tcp 10.0.0.1:1 > 10.0.0.2:80 hook=input", "input"),
            spec!(
                "tcp 10.0.0.1:1 > 10.0.0.2:80 mark=0x1ffffffff",
                "0x1ffffffff"
            ),
            spec!(
                "tcp 10.0.0.1:1 > 10.0.0.2:80 in=a-name-that-is-too-long",
                "in="
            ),
            spec!("tcp 10.0.0.1:1 > 10.0.0.2:80 colour=red", "colour"),
            spec!("udp 10.0.0.1:1 > 10.0.0.2:80 flags=S", "flags"),
            spec!("tcp 10.0.0.1:1 > 10.0.0.2:80 type=8", "type"),
        ],
        &[],
    );
}

#[test]
fn files_of_packets() {
    macro_rules! file {
        ($name:expr, $($says:expr),+) => {
            bad(&["explain", "--rules", "good.rules", "--packets", $name], &[$($says),+])
        };
    }
    check(
        &[
            file!("absent", "absent: no such file or directory"),
            file!("empty", "empty: needs one packet a line, holds none"),
            file!("comments", "comments: needs one packet a line, holds none"),
            file!("second", "second: line 3, column 1", "`nonsense`"),
            file!("binary", "binary: line 1, column 1"),
        ],
        &[
            ("empty", b""),
            ("comments", b"# nothing\n\n"),
            ("second", b"tcp 10.0.0.1:1 > 10.0.0.2:80\n\nnonsense\n"),
            ("binary", b"\xff\x00\xfe"),
        ],
    );
}
