//! The options of `replay`.

use crate::args::{Mode, MostArgs, ReplayHow};
use crate::options::is_of_conntrack;
use crate::trouble::Trouble;
use kpclass_ruleset::conntrack;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::thread;

/// How a replay runs and what it writes.
#[derive(Clone, Debug)]
pub(crate) struct ReplayOptions {
    /// How connections are tracked; `None`: each packet is the first of its own.
    pub tracking: Option<conntrack::Settings>,
    /// What the choices of endpoints derive from.
    pub seed: u64,
    /// Workers, at least 1.
    pub threads: usize,
    /// How much is checked against the reference.
    pub check: Check,
    /// Where the verdicts go, if anywhere.
    pub verdicts: Option<Verdicts>,
    /// Rows of who talks to what, at most.
    pub top: usize,
    /// Whether the report is one JSON record.
    pub json: bool,
}

/// How much is checked against the reference walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Every distinct packet.
    Full,
    /// About one distinct packet in so many.
    Sample(NonZeroU64),
    /// None.
    Off,
}

/// One record a frame, and in which format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdicts {
    /// The file.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
}

/// A format of verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated, with a header line.
    Csv,
    /// Parquet.
    Parquet,
}

/// More workers than this are a mistake rather than a wish.
const MOST_THREADS: usize = 1024;

impl ReplayOptions {
    /// What the arguments mean.
    pub(crate) fn new(how: &ReplayHow, sysctl: &[String]) -> Result<Self, Trouble> {
        Ok(Self {
            tracking: match how.mode {
                Mode::Packet => None,
                Mode::Conntrack => Some(tracking(sysctl, &how.most)?),
            },
            seed: how.seed,
            threads: threads(how.threads.as_deref())?,
            check: check(&how.check)?,
            verdicts: how.verdicts.as_deref().map(verdicts).transpose()?,
            top: how.top as usize,
            json: how.json,
        })
    }
}

/// The settings of connection tracking.
pub(crate) fn tracking(sysctl: &[String], most: &MostArgs) -> Result<conntrack::Settings, Trouble> {
    let mut settings = conntrack::Settings::default();
    for text in sysctl.iter().filter(|text| is_of_conntrack(text)) {
        settings
            .set(text)
            .map_err(|why| Trouble::new(format!("--sysctl {why}")))?;
    }
    settings.max = most.max_connections.unwrap_or(settings.max);
    Ok(settings)
}

fn threads(typed: Option<&str>) -> Result<usize, Trouble> {
    let Some(text) = typed else {
        return Ok(thread::available_parallelism().map_or(1, usize::from));
    };
    let number = text.parse().ok().filter(|n| (1..=MOST_THREADS).contains(n));
    number.ok_or_else(|| {
        Trouble::option(
            "--threads",
            text,
            &format!("a number from 1 to {MOST_THREADS}"),
        )
    })
}

fn check(text: &str) -> Result<Check, Trouble> {
    let sample = |n: &str| n.parse().ok().map(Check::Sample);
    let check = match text {
        "full" => Some(Check::Full),
        "off" => Some(Check::Off),
        _ => text.strip_prefix("sample:").and_then(sample),
    };
    check.ok_or_else(|| Trouble::option("--check", text, "full, off or sample:N with N from 1"))
}

fn verdicts(path: &Path) -> Result<Verdicts, Trouble> {
    let ending = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    let format = match ending {
        "ndjson" => Format::Ndjson,
        "csv" => Format::Csv,
        "parquet" => Format::Parquet,
        _ => {
            let given = path.to_string_lossy();
            return Err(Trouble::option(
                "--verdicts",
                &given,
                "a name that ends in .ndjson, .csv or .parquet",
            ));
        }
    };
    Ok(Verdicts {
        path: path.to_owned(),
        format,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_full_off_or_a_sample() {
        assert_eq!(check("full").unwrap(), Check::Full);
        assert_eq!(check("off").unwrap(), Check::Off);
        assert_eq!(
            check("sample:7").unwrap(),
            Check::Sample(NonZeroU64::new(7).unwrap())
        );
        for bad in [
            "",
            "sample",
            "sample:",
            "sample:0",
            "sample:-1",
            "sample:x",
            "Full",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn threads_are_a_sane_number() {
        assert!(threads(None).unwrap() >= 1);
        assert_eq!(threads(Some("3")).unwrap(), 3);
        for bad in ["0", "-1", "x", "", "1025", "99999999999999999999"] {
            assert!(threads(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_ending_says_the_format_of_verdicts() {
        assert_eq!(verdicts(Path::new("a.csv")).unwrap().format, Format::Csv);
        assert_eq!(
            verdicts(Path::new("a.ndjson")).unwrap().format,
            Format::Ndjson
        );
        for bad in ["a.json", "a", "csv", ".csv", "a.CSV.x"] {
            assert!(verdicts(Path::new(bad)).is_err(), "{bad}");
        }
    }
}
