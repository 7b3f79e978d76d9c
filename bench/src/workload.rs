//! `workloads.toml`: what is replayed, what must come of it, and which figures are to be reached.

use crate::inputs::Files;
use kpclass_compiler::Config;
use kpclass_engine::check::Check;
use kpclass_engine::{Listeners, Report, Rules as Compiled, Settings, Source};
use kpclass_ruleset::conntrack;
use kpclass_ruleset::node::{NodeFacts, parse_addresses};
use kpclass_ruleset::readers::{self, Input};
use serde::Deserialize;

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workloads {
    /// The workloads, in the order in which they run.
    pub workload: Vec<Workload>,
    /// The figures to reach.
    pub bar: Vec<Bar>,
}

impl Workloads {
    /// The file beside this crate.
    ///
    /// # Errors
    /// If it is not as it should be.
    pub fn read() -> Result<Self, String> {
        const TEXT: &str = include_str!("../workloads.toml");
        toml::from_str(TEXT).map_err(|why| format!("workloads.toml: {why}"))
    }
}

/// Something to replay.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Its name.
    pub name: String,
    /// The rules.
    pub rules: Rules,
    /// The capture.
    pub capture: Capture,
    /// The node's addresses.
    pub local_addrs: String,
    /// By how many threads it is replayed, one after the other.
    pub threads: Vec<usize>,
    /// Whether it is checked.
    pub check: Checked,
    /// Connections are followed; else each packet is taken as the first of one.
    #[serde(default)]
    pub follow: bool,
    /// How often it is replayed, in turn with what it is held against.
    pub rounds: usize,
    /// What must come of it.
    pub expect: Counts,
}

/// Where rules come from.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Rules {
    /// A file of the repository.
    File(String),
    /// `kpclass generate cluster` with these arguments.
    Generate(String),
}

/// Where a capture comes from.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Capture {
    /// `kpclass generate capture` with these arguments.
    Generate {
        /// Arguments.
        #[serde(rename = "generate")]
        arguments: String,
        /// `pcap` or `pcapng`.
        #[serde(default = "pcap")]
        format: String,
        /// How it is packed.
        packing: Option<Packing>,
    },
    /// A file of the repository.
    File(String),
}

fn pcap() -> String {
    "pcap".into()
}

/// How a capture is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Packing {
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

/// How much is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Checked {
    /// Nothing.
    Off,
    /// Each distinct packet.
    Full,
}

/// What a replay counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Frames.
    pub frames: u64,
    /// Frames with a verdict.
    pub classified: u64,
    /// Packets that got an endpoint.
    pub rewritten: u64,
    /// Packets whose source is masqueraded.
    pub masqueraded: u64,
    /// Packets dropped or rejected.
    pub refused: u64,
    /// Packets without a verdict, for want of a fact.
    pub unknown: u64,
}

impl From<&Report> for Counts {
    fn from(report: &Report) -> Self {
        let ends = &report.dispositions;
        let endpoints = report
            .services
            .iter()
            .flat_map(|service| &service.endpoints);
        Self {
            frames: report.frames,
            classified: report.classified,
            rewritten: endpoints.map(|endpoint| endpoint.packets).sum(),
            masqueraded: report.masqueraded,
            refused: ends.drop + ends.reject,
            unknown: ends.unknown,
        }
    }
}

/// A figure to reach: one time per frame over another.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bar {
    /// In words.
    pub says: String,
    /// The time of a row: `NAME, THREADS`.
    pub of: String,
    /// Over that of this one; `bare`: of what the same file was held against; none: in nanoseconds.
    pub over: Option<String>,
    /// At most so much.
    pub most: Option<f64>,
    /// At least so much.
    pub least: Option<f64>,
}

/// A workload's rules, read.
#[derive(Debug)]
pub struct Loaded {
    rules: readers::Rules,
    node: NodeFacts,
}

impl Loaded {
    /// Reads the rules.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn new(workload: &Workload, files: &Files) -> Result<Self, String> {
        let bytes = std::fs::read(&files.rules);
        let name = files.rules.display().to_string();
        let bytes = bytes.map_err(|why| format!("{name}: {why}"))?;
        let rules = readers::read(&[Input::new(name, bytes)]).map_err(|why| why.report())?;
        let local = parse_addresses(&workload.local_addrs).map_err(|why| why.to_string())?;
        let node = NodeFacts {
            local: Some(local),
            ..NodeFacts::default()
        };
        Ok(Self { rules, node })
    }

    /// Compiles them.
    ///
    /// # Errors
    /// If they cannot be compiled.
    pub fn compile(&self) -> Result<Compiled<'_>, String> {
        let config = Config {
            mark: Some(0),
            ..Config::default()
        };
        let (v4, v6) = (self.rules.v4.as_ref(), self.rules.v6.as_ref());
        Compiled::new(v4, v6, &self.node, &config).map_err(|why| why.to_string())
    }
}

/// Replays a capture; the report, if it holds what it must.
///
/// # Errors
/// If it cannot be replayed, other packets are counted than must be, or the check finds a disagreement.
pub fn replay(
    workload: &Workload,
    rules: &Compiled<'_>,
    files: &Files,
    threads: usize,
) -> Result<Report, String> {
    let settings = Settings {
        threads,
        check: match workload.check {
            Checked::Off => Check::Off,
            Checked::Full => Check::Full,
        },
        ..Settings::default()
    };
    let listeners = Listeners {
        progress: &|_| {},
        verdicts: None,
    };
    let sources = vec![Source::File(files.capture.clone())];
    let report = match workload.follow {
        true => kpclass_engine::follow(sources, rules, &settings, &every_connection(), listeners),
        false => kpclass_engine::replay(sources, rules, &settings, listeners),
    };
    let report = report.map_err(|why| format!("{}: {why}", workload.name))?;
    let (counts, expected) = (Counts::from(&report), workload.expect);
    if counts != expected {
        let name = &workload.name;
        return Err(format!("{name}: {expected:?} was to come, {counts:?} came"));
    }
    match report.check.disagreements {
        0 => Ok(report),
        some => Err(format!("{}: {some} disagreements", workload.name)),
    }
}

/// The kernel's own settings, but for a table in which all connections of a workload have a place.
fn every_connection() -> conntrack::Settings {
    conntrack::Settings {
        max: 1 << 22,
        ..conntrack::Settings::default()
    }
}
