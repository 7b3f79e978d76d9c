//! A capture in ranges, by any number of workers, against the same capture in order.

use super::*;
use kpclass_compiler::Config;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::readers::{Input, read};
use std::path::Path;

/// All that a report is made of: counts, the check, the first frame of each distinct packet, the cut.
type Told = (String, Vec<u64>, Option<CutOff>);

/// The tutorial's records many times over, and its rules.
fn tutorial() -> (Vec<u8>, String) {
    let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps");
    let mut bytes = std::fs::read(captures.join("tutorial.pcap")).expect("a capture");
    let records = bytes.split_off(24);
    bytes.extend(records.repeat(120));
    let rules = std::fs::read_to_string(captures.join("tutorial.rules")).expect("rules");
    (bytes, rules)
}

fn open(bytes: &[u8]) -> Capture {
    Capture::from_reader("made", std::io::Cursor::new(bytes.to_vec())).expect("a capture")
}

fn told(
    capture: &mut Capture,
    job: &Job<'_, '_>,
    replay: impl FnOnce(&mut Capture, &Job<'_, '_>) -> Found,
) -> Told {
    let (counts, pending) = replay(capture, job);
    let met = pending.frames_met();
    let check = check::run(pending, job.rules, job.settings, &|_| ());
    let timing = Timing::default();
    let report = Report::new(
        job.rules,
        job.settings,
        Vec::new(),
        counts,
        check,
        Vec::new(),
        timing,
    );
    (format!("{report:?}"), met, capture.cut_off().cloned())
}

fn with_job<T>(
    rules: &Rules<'_>,
    bytes: &[u8],
    threads: usize,
    then: impl FnOnce(&mut Capture, &Job<'_, '_>) -> T,
) -> T {
    let settings = Settings {
        threads,
        ..Settings::default()
    };
    let mut capture = open(bytes);
    let interfaces = Arc::clone(capture.interfaces());
    let job = Job {
        rules,
        settings: &settings,
        file: 0,
        interfaces,
    };
    then(&mut capture, &job)
}

#[test]
fn any_number_of_workers_reports_the_same_of_ranges() {
    let (whole, text) = tutorial();
    let read = read(&[Input::new("tutorial", text)]).expect("rules");
    let node = NodeFacts::default();
    let rules = Rules::new(read.v4.as_ref(), None, &node, &Config::default()).expect("no loops");
    let record = whole.len() / 2;
    let mut damaged = whole.clone();
    damaged[record..record + 4000].fill(0xff);
    for bytes in [&whole[..], &whole[..whole.len() - 7], &damaged] {
        let in_order = with_job(&rules, bytes, 3, |capture, job| {
            told(capture, job, |capture, job| {
                in_order(capture, job, None).expect("reads")
            })
        });
        let met = &in_order.1;
        assert!(met.len() > 5 && met.windows(2).all(|two| two[0] < two[1]));
        for threads in [1, 2, 3, 16] {
            for range_len in [50, 700, 5000, RANGE_LEN] {
                let read = with_job(&rules, bytes, threads, |capture, job| {
                    told(capture, job, |capture, job| {
                        replay_one(capture, job, None, range_len).expect("reads")
                    })
                });
                assert_eq!(read, in_order, "{threads} workers, ranges of {range_len}");
            }
        }
        let in_ranges = with_job(&rules, bytes, 2, |capture, job| {
            in_ranges(capture, job, 700).expect("reads").is_some()
        });
        assert_eq!(in_ranges, bytes.len() != damaged.len() || *bytes == whole);
    }
}
