//! Bytes as a capture file: every frame is classified or skipped, however many workers replay it, in whatever pieces it arrives, and wherever it
//! is cut. Which pieces and which cut, a sum of the bytes chooses. Connections are followed as the reference follows them.

use kpclass_compiler::Config;
use kpclass_engine::capture::{Capture, CaptureError};
use kpclass_engine::check::Check;
use kpclass_engine::replay::VerdictSink;
use kpclass_engine::verdicts::FrameVerdict;
use kpclass_engine::{Listeners, Report, Rules, Settings, Source, follow, replay};
use kpclass_ruleset::conntrack;
use kpclass_ruleset::node::{LocalAddresses, NodeFacts};
use kpclass_ruleset::readers::{self, Input};
use std::io::{Cursor, Read};
use std::sync::LazyLock;

/// More frames than this take too long to replay again and again.
const MOST_FRAMES: u64 = 2000;

/// Rules for IPv6 that ask for most of what a frame can say.
const V6: &str = "*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-SVC-A - [0:0]
-A PREROUTING -d fd00::a/128 -p tcp -m tcp --dport 80 -j KUBE-SVC-A
-A OUTPUT -p icmpv6 -m icmp6 --icmpv6-type 128 -j RETURN
-A OUTPUT -d fd00::a/128 -p tcp -m tcp --tcp-flags SYN,ACK SYN -j KUBE-SVC-A
-A KUBE-SVC-A -m statistic --mode random --probability 0.5 -j DNAT --to-destination [fd00::1]:8080
-A KUBE-SVC-A -j DNAT --to-destination [fd00::2]:8080
COMMIT
*filter
:FORWARD ACCEPT [0:0]
-A FORWARD -m hl --hl-lt 2 -j DROP
-A FORWARD -m length --length 1281:65535 -p udp -j REJECT --reject-with icmp6-port-unreachable
-A FORWARD -m mac --mac-source 02:00:00:00:00:01 -m dscp --dscp 0x2e -j DROP
COMMIT
";

/// What the captures are replayed through.
static RULES: LazyLock<Rules<'static>> = LazyLock::new(rules);

fn rules() -> Rules<'static> {
    let dump = |name: &str, text: &str| Input::new(name, text);
    let inputs = [
        dump("tutorial.rules", include_str!("../../pcaps/tutorial.rules")),
        dump("v6.rules", V6),
    ];
    // They live as long as the process.
    let read: &'static readers::Rules = Box::leak(Box::new(readers::read(&inputs).expect("reads")));
    let local = ["10.10.2.9", "fd00::9"].map(|address| address.parse().expect("an address"));
    let node = NodeFacts {
        local: Some(LocalAddresses::new(local)),
        ..NodeFacts::default()
    };
    let node: &'static NodeFacts = Box::leak(Box::new(node));
    Rules::new(read.v4.as_ref(), read.v6.as_ref(), node, &Config::default()).expect("compiles")
}

/// Holds the bytes to what the module says.
///
/// # Panics
/// Where it does not hold.
pub fn check(bytes: &[u8]) {
    let Ok(Some(frames)) = frames(open(bytes, usize::MAX)) else {
        // Refused as a whole: so it is in small pieces.
        assert!(
            !matches!(frames(open(bytes, 7)), Ok(Some(_))),
            "read only in small pieces"
        );
        return;
    };
    let sum = sum(bytes);
    let piece = if sum.is_multiple_of(2) { usize::MAX } else { 7 };
    let (one, verdicts) = report(bytes, usize::MAX, 1, true);
    // Without verdicts, packets are looked up in batches.
    let (three, same) = report(bytes, piece, 3, sum.is_multiple_of(3));
    assert_eq!(
        one, three,
        "one worker, then three; pieces of {piece} bytes"
    );
    assert!(
        same.is_empty() || same == verdicts,
        "one worker, then three; pieces of {piece} bytes"
    );
    assert_eq!(verdicts.len(), frames.len());
    followed(bytes, frames.len());
    cut(&bytes[..sum / 2 % bytes.len().max(1)], &frames);
}

/// A number that depends on every byte.
fn sum(bytes: &[u8]) -> usize {
    let add = |sum: usize, byte: &u8| sum.wrapping_mul(31).wrapping_add((*byte).into());
    bytes.iter().fold(7, add)
}

/// The capture, handed out in pieces of at most so many bytes.
fn open(bytes: &[u8], piece: usize) -> Result<Capture, CaptureError> {
    let reader = Pieces(Cursor::new(bytes.to_vec()), piece);
    Capture::from_reader("fuzz", reader)
}

struct Pieces(Cursor<Vec<u8>>, usize);

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = buffer.len().min(self.1);
        self.0.read(&mut buffer[..len])
    }
}

/// Number, link type, length on the wire and bytes of each frame; `None`: there are too many.
type Frames = Vec<(u64, u32, u32, Vec<u8>)>;

fn frames(opened: Result<Capture, CaptureError>) -> Result<Option<Frames>, CaptureError> {
    let mut capture = opened?;
    let mut frames = Frames::new();
    while let Some(chunk) = capture.next_chunk()? {
        if chunk.frame_count() > MOST_FRAMES - frames.len() as u64 {
            return Ok(None);
        }
        assert_eq!(chunk.frames().count() as u64, chunk.frame_count());
        let of = |f: kpclass_engine::capture::Frame<'_>| {
            (f.number, f.link.0, f.original_len, f.captured.to_vec())
        };
        frames.extend(chunk.frames().map(of));
    }
    assert_eq!(frames.len() as u64, capture.frames());
    assert!(
        frames
            .iter()
            .zip(1..)
            .all(|(frame, number)| frame.0 == number)
    );
    Ok(Some(frames))
}

/// The replay's report without its timing, and each verdict if they are asked for.
fn report(bytes: &[u8], piece: usize, threads: usize, wanted: bool) -> (String, Vec<String>) {
    let capture = open(bytes, piece).expect("it was opened before");
    let settings = Settings {
        threads,
        ..Settings::default()
    };
    let mut verdicts = Vec::new();
    let push = |verdict: FrameVerdict<'_>| verdicts.push(format!("{verdict:?}"));
    let listeners = Listeners {
        progress: &|_| {},
        verdicts: if wanted { Some(Box::new(push)) } else { None },
    };
    let source = Source::Open(Box::new(capture));
    let mut report =
        replay(vec![source], &RULES, &settings, listeners).expect("it was read before");
    report.timing = Default::default();
    account(&report);
    (format!("{report:#?}"), verdicts)
}

/// Where connections are followed, the reference's tracker says the same of each packet; and where nobody asks of each, the same is counted.
fn followed(bytes: &[u8], frames: usize) {
    let mut verdicts = 0;
    let count = Box::new(|_: FrameVerdict<'_>| verdicts += 1);
    let Some(mut report) = follow_all((bytes, usize::MAX), 1, Check::Full, Some(count)) else {
        return;
    };
    let shown = &report.check.followed;
    assert_eq!(report.check.disagreements, 0, "{shown:#?}");
    assert_eq!(report.check.checked, report.classified);
    assert_eq!(verdicts, frames);
    account(&report);
    report.check = Default::default();
    let ways = [
        (usize::MAX, 1, Check::Off),
        (7, 3, Check::Off),
        (usize::MAX, 2, Check::Full),
    ];
    for (piece, threads, check) in ways {
        let counted = follow_all((bytes, piece), threads, check, None);
        let mut counted = counted.expect("it was followed before");
        let shown = &counted.check.followed;
        assert_eq!(counted.check.disagreements, 0, "{shown:#?}");
        counted.check = Default::default();
        assert_eq!(
            format!("{report:#?}"),
            format!("{counted:#?}"),
            "{threads} threads"
        );
    }
}

fn follow_all(
    (bytes, piece): (&[u8], usize),
    threads: usize,
    check: Check,
    verdicts: Option<VerdictSink<'_>>,
) -> Option<Report> {
    let capture = open(bytes, piece).ok()?;
    let listeners = Listeners {
        progress: &|_| {},
        verdicts,
    };
    let settings = Settings {
        threads,
        check,
        ..Settings::default()
    };
    let sources = vec![Source::Open(Box::new(capture))];
    let conntrack = conntrack::Settings::default();
    let mut report = follow(sources, &RULES, &settings, &conntrack, listeners).ok()?;
    report.timing = Default::default();
    Some(report)
}

fn account(report: &Report) {
    let skipped: u64 = report.skipped.iter().map(|(_, frames)| frames).sum();
    assert_eq!(report.frames, report.classified + skipped, "{report:#?}");
    assert_eq!(report.check.disagreements, 0, "{:#?}", report.check.shown);
}

/// What is read of a capture that was cut is what was read there of the whole.
fn cut(bytes: &[u8], whole: &Frames) {
    let Ok(Some(frames)) = frames(open(bytes, usize::MAX)) else {
        return;
    };
    assert!(whole.starts_with(&frames), "cut at byte {}", bytes.len());
    let (_, verdicts) = report(bytes, usize::MAX, 1, true);
    assert_eq!(verdicts.len(), frames.len());
}
