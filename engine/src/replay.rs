//! Replays captures through the compiled rules.
//!
//! ```text
//! captures ─ scan ─► chunks ─ channel ─► workers (extract, look up, count, remember what to check) ─ merge ─► Report
//! ```
//!
//! This thread scans, as many workers as asked for do the rest. What they count is summed, what they remember is a set, so the
//! report is the same for every number of workers.

use crate::capture::{Capture, CaptureError, Chunk, CutOff};
use crate::check::{self, Check, Progress};
use crate::counts::Counts;
use crate::report::{Report, Timing};
use crate::rules::Rules;
use crate::verdicts::{FrameVerdict, Ordered};
use crate::worker::Worker;
use crossbeam::channel::{self, Receiver, Sender};
use kpclass_ruleset::value::Interface;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Where packets start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HookChoice {
    /// OUTPUT if the source is one of the node's addresses, else PREROUTING.
    #[default]
    Auto,
    /// They arrive.
    Prerouting,
    /// The node sends them.
    Output,
}

/// How to replay.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Where packets start.
    pub hook: HookChoice,
    /// The device that arriving packets came by, where the capture does not name one.
    pub in_interface: Option<Interface>,
    /// The mark that packets start with; the program must be compiled for it.
    pub mark: u32,
    /// What the numbers drawn depend on beside the packets.
    pub seed: u64,
    /// Workers, at least one.
    pub threads: usize,
    /// What is checked against the reference.
    pub check: Check,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hook: HookChoice::Auto,
            in_interface: None,
            mark: 0,
            seed: 0,
            threads: 1,
            check: Check::Full,
        }
    }
}

/// What to replay: a file, or a capture that is open already.
pub enum Source {
    /// A file.
    File(PathBuf),
    /// An open capture, as from stdin.
    Open(Box<Capture>),
}

/// Takes verdicts.
pub type VerdictSink<'l> = Box<dyn FnMut(FrameVerdict<'_>) + Send + 'l>;

/// What a replay tells while it runs.
pub struct Listeners<'l> {
    /// How far the check is.
    pub progress: &'l (dyn Fn(Progress) + Sync),
    /// Each frame's verdict, in the order of the frames.
    pub verdicts: Option<VerdictSink<'l>>,
}

/// A capture that ended early.
#[derive(Clone, Debug)]
pub struct Cut {
    /// Which.
    pub capture: String,
    /// Where and why.
    pub cut: CutOff,
}

/// Replays the captures one after another.
///
/// # Errors
/// If a capture cannot be opened or read. A capture that is cut off is replayed up to the cut, and the report says so.
pub fn replay(
    sources: Vec<Source>,
    rules: &Rules<'_>,
    settings: &Settings,
    listeners: Listeners<'_>,
) -> Result<Report, CaptureError> {
    let started = Instant::now();
    let Listeners {
        progress,
        mut verdicts,
    } = listeners;
    let mut counts = Counts::new(rules);
    let mut pending = check::Pending::new(settings.check);
    let mut cuts = Vec::new();
    let mut captures = Vec::new();
    for source in sources {
        let mut capture = match source {
            Source::File(path) => Capture::open(&path)?,
            Source::Open(capture) => *capture,
        };
        let file = captures.len() as u32;
        captures.push(capture.name().to_owned());
        let one = replay_one(&mut capture, file, rules, settings, verdicts.as_deref_mut())?;
        counts.merge(&one.0);
        pending.merge(one.1);
        if let Some(cut) = capture.cut_off() {
            cuts.push(Cut {
                capture: capture.name().to_owned(),
                cut: cut.clone(),
            });
        }
    }
    let replay_s = started.elapsed().as_secs_f64();
    let checked = Instant::now();
    let check = check::run(pending, rules, settings, progress);
    let timing = Timing {
        replay_s,
        check_s: checked.elapsed().as_secs_f64(),
    };
    Ok(Report::new(
        rules, settings, captures, counts, check, cuts, timing,
    ))
}

type Write<'w, 'l> = &'w mut (dyn FnMut(FrameVerdict<'_>) + Send + 'l);

/// One capture: this thread scans, the workers take chunks.
fn replay_one(
    capture: &mut Capture,
    file: u32,
    rules: &Rules<'_>,
    settings: &Settings,
    verdicts: Option<Write<'_, '_>>,
) -> Result<(Counts, check::Pending), CaptureError> {
    let threads = settings.threads.max(1);
    let interfaces = Arc::clone(capture.interfaces());
    if threads == 1 && verdicts.is_none() {
        let mut worker = Worker::new(rules, settings, file, &interfaces, false);
        capture.walk(|frames| worker.count_run(frames))?;
        return Ok(worker.finish());
    }
    let wants_verdicts = verdicts.is_some();
    let (chunk_to, chunk_from) = channel::bounded::<Chunk>(2 * threads);
    let (verdict_to, verdict_from) = channel::bounded(2 * threads);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let (chunks, out) = (chunk_from.clone(), verdict_to.clone());
                let mut worker = Worker::new(rules, settings, file, &interfaces, wants_verdicts);
                scope.spawn(move || {
                    work(&mut worker, &chunks, &out);
                    worker.finish()
                })
            })
            .collect();
        drop((chunk_from, verdict_to));
        let writer =
            verdicts.map(|write| scope.spawn(move || Ordered::new(write).drain(&verdict_from)));
        let scanned = scan(capture, &chunk_to);
        drop(chunk_to);
        let mut total = (Counts::new(rules), check::Pending::new(settings.check));
        for worker in workers {
            let (counts, pending) = worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            total.0.merge(&counts);
            total.1.merge(pending);
        }
        if let Some(writer) = writer {
            writer
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        scanned.map(|()| total)
    })
}

/// Hands out the chunks; stops early if nobody takes them any more.
fn scan(capture: &mut Capture, chunks: &Sender<Chunk>) -> Result<(), CaptureError> {
    for chunk in capture.chunks() {
        if chunks.send(chunk?).is_err() {
            break;
        }
    }
    Ok(())
}

fn work(
    worker: &mut Worker<'_, '_>,
    chunks: &Receiver<Chunk>,
    verdicts: &Sender<crate::verdicts::ChunkVerdicts>,
) {
    for chunk in chunks {
        if let Some(found) = worker.chunk(&chunk)
            && verdicts.send(found).is_err()
        {
            return;
        }
    }
}
