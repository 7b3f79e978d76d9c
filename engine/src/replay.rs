//! Replays captures through the compiled rules.
//!
//! ```text
//! classic pcap, mapped ─ ranges ──────────────────► workers (extract, look up, count, remember what to check) ─ merge ─► Report
//! anything else ──────── scan ─► chunks ─ channel ─►
//! ```
//!
//! Workers take ranges by themselves. What has none is scanned by this thread, unless there is one worker: that does both. What workers
//! count is summed, what they remember is a set, so the report is the same for every number of workers, and for both
//! ways. Verdicts are wanted in the order of the frames: then captures are scanned.

use crate::capture::{Capture, CaptureError, Chunk, CutOff, Interfaces, RANGE_LEN, Ranges};
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
use std::thread::ScopedJoinHandle;
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
    /// Where connections are followed: rows of who talks to what.
    pub top: usize,
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
            top: 10,
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

impl Source {
    pub(crate) fn open(self) -> Result<Capture, CaptureError> {
        match self {
            Self::File(path) => Capture::open(&path),
            Self::Open(capture) => Ok(*capture),
        }
    }
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

impl Cut {
    /// Whether a capture that was read did.
    pub(crate) fn of(capture: &Capture) -> Option<Self> {
        let cut = capture.cut_off()?.clone();
        let capture = capture.name().to_owned();
        Some(Self { capture, cut })
    }
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
        let mut capture = source.open()?;
        let file = captures.len() as u32;
        captures.push(capture.name().to_owned());
        let job = Job {
            rules,
            settings,
            file,
            interfaces: Arc::clone(capture.interfaces()),
        };
        let one = replay_one(&mut capture, &job, verdicts.as_deref_mut(), RANGE_LEN)?;
        counts.merge(&one.0);
        pending.merge(one.1);
        cuts.extend(Cut::of(&capture));
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

/// What all workers on one capture know.
struct Job<'r, 'a> {
    rules: &'r Rules<'a>,
    settings: &'r Settings,
    file: u32,
    interfaces: Arc<Interfaces>,
}

/// What they find.
type Found = (Counts, check::Pending);

impl<'a> Job<'_, 'a> {
    fn worker(&self, wants_verdicts: bool) -> Worker<'_, 'a> {
        Worker::new(
            self.rules,
            self.settings,
            self.file,
            &self.interfaces,
            wants_verdicts,
        )
    }

    fn merge(&self, found: impl IntoIterator<Item = Found>) -> Found {
        let nothing = || {
            (
                Counts::new(self.rules),
                check::Pending::new(self.settings.check),
            )
        };
        found
            .into_iter()
            .reduce(|mut total, one| {
                total.0.merge(&one.0);
                total.1.merge(one.1);
                total
            })
            .unwrap_or_else(nothing)
    }
}

/// One capture.
fn replay_one(
    capture: &mut Capture,
    job: &Job<'_, '_>,
    verdicts: Option<Write<'_, '_>>,
    range_len: usize,
) -> Result<Found, CaptureError> {
    if verdicts.is_none()
        && let Some(found) = in_ranges(capture, job, range_len)?
    {
        return Ok(found);
    }
    if verdicts.is_none() && job.settings.threads <= 1 {
        let mut worker = job.worker(false);
        capture.walk(|frames| worker.count_run(frames))?;
        return Ok(worker.finish());
    }
    in_order(capture, job, verdicts)
}

/// The workers take ranges of the capture by themselves. `None` if it cannot be read so, and must be read in order.
fn in_ranges(
    capture: &mut Capture,
    job: &Job<'_, '_>,
    range_len: usize,
) -> Result<Option<Found>, CaptureError> {
    let Some(ranges) = capture.ranges(range_len) else {
        return Ok(None);
    };
    let work = || {
        let mut worker = job.worker(false);
        if ranges.is_swapped() {
            take_ranges::<true>(&ranges, &mut worker);
        } else {
            take_ranges::<false>(&ranges, &mut worker);
        }
        worker.finish()
    };
    let found = if job.settings.threads <= 1 {
        work()
    } else {
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..job.settings.threads)
                .map(|_| scope.spawn(work))
                .collect();
            job.merge(workers.into_iter().map(join))
        })
    };
    let Some(confirmed) = ranges.confirmed() else {
        return Ok(None);
    };
    if !capture.end_behind(&confirmed)? {
        return Ok(None);
    }
    let (counts, mut pending) = found;
    pending.renumber(|provisional| confirmed.number(provisional));
    Ok(Some((counts, pending)))
}

fn take_ranges<const SWAPPED: bool>(ranges: &Ranges<'_>, worker: &mut Worker<'_, '_>) {
    while let Some(mut frames) = ranges.take::<SWAPPED>() {
        worker.count_ranges(&mut frames);
        ranges.give_back(&frames);
    }
}

/// This thread scans, the workers take chunks.
fn in_order(
    capture: &mut Capture,
    job: &Job<'_, '_>,
    verdicts: Option<Write<'_, '_>>,
) -> Result<Found, CaptureError> {
    let threads = job.settings.threads.max(1);
    let wants_verdicts = verdicts.is_some();
    let (chunk_to, chunk_from) = channel::bounded::<Chunk>(2 * threads);
    let (verdict_to, verdict_from) = channel::bounded(2 * threads);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let (chunks, out) = (chunk_from.clone(), verdict_to.clone());
                scope.spawn(move || {
                    let mut worker = job.worker(wants_verdicts);
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
        let total = job.merge(workers.into_iter().map(join));
        if let Some(writer) = writer {
            join(writer);
        }
        scanned.map(|()| total)
    })
}

fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
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

#[cfg(test)]
mod tests;
