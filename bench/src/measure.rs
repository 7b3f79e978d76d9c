//! Replays a workload again and again, in turn with the least that reading its file can cost.

use crate::bare;
use crate::inputs::Files;
use crate::workload::{Capture, Checked, Loaded, Workload, replay};
use std::path::Path;

/// Nanoseconds for each frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Of all rounds.
    pub median: f64,
    /// Of the best.
    pub min: f64,
}

impl Spread {
    /// Of the rounds' times; there must be one.
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        Self {
            median: times[times.len() / 2],
            min: times[0],
        }
    }
}

/// A workload, replayed by so many threads.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The workload.
    pub workload: String,
    /// Threads.
    pub threads: usize,
    /// Whether it was checked.
    pub checked: bool,
    /// Frames.
    pub frames: u64,
    /// The replay.
    pub replay: Spread,
    /// The bare walk of the same file; of a packed one, unpacking it.
    pub bare: Spread,
}

impl Row {
    /// The best replay over the best walk.
    pub fn ratio(&self) -> f64 {
        self.replay.min / self.bare.min
    }

    /// What a bar calls it.
    pub fn name(&self) -> String {
        format!("{}, {}", self.workload, self.threads)
    }
}

/// Measures a workload, after its counts were found right.
///
/// # Errors
/// If they are not, or something cannot be read.
pub fn measure(workload: &Workload, files: &Files) -> Result<Vec<Row>, String> {
    let loaded = Loaded::new(workload, files)?;
    let rules = loaded.compile()?;
    let mut rows = Vec::new();
    for threads in workload.threads.iter().copied() {
        let frames = replay(workload, &rules, files, threads)?.frames;
        let each = |seconds: f64| seconds * 1e9 / frames as f64;
        let (mut replays, mut walks) = (Vec::new(), Vec::new());
        for _ in 0..workload.rounds.max(1) {
            walks.push(each(walk(workload, &files.capture, frames)?));
            let timing = replay(workload, &rules, files, threads)?.timing;
            replays.push(each(timing.replay_s + timing.check_s));
        }
        rows.push(Row {
            workload: workload.name.clone(),
            threads,
            checked: workload.check == Checked::Full,
            frames,
            replay: Spread::of(replays),
            bare: Spread::of(walks),
        });
    }
    Ok(rows)
}

/// Seconds of what the workload is held against.
fn walk(workload: &Workload, capture: &Path, frames: u64) -> Result<f64, String> {
    let trouble = |why| format!("{}: {why}", capture.display());
    if let Capture::Generate {
        packing: Some(_), ..
    } = workload.capture
    {
        return bare::unpack(capture).map_err(trouble);
    }
    let (walked, seconds) = bare::walk(capture).map_err(trouble)?;
    if walked != frames {
        let name = &workload.name;
        return Err(format!(
            "{name}: {frames} frames, the bare walk meets {walked}"
        ));
    }
    Ok(seconds)
}
