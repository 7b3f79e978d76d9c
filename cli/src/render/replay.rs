//! The report of `replay`.

use crate::output::Palette;
use crate::render::columns::{Align, Columns};
use crate::render::connections::{self, Connections};
use crate::render::quantity::{self, count, counted, percent};
use serde::Serialize;
use std::collections::BTreeMap;

/// The record of `replay --json`. The order of the fields is the order of the keys, here and below.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ReplayReport {
    /// `kpclass.replay/1`.
    pub schema: &'static str,
    /// Frames read; the sum of the next two.
    pub frames: u64,
    /// Frames that got a verdict.
    pub classified: u64,
    /// Frames that did not, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// Bytes of all frames on the wire.
    pub bytes: u64,
    /// Classified frames by where they end.
    pub dispositions: Dispositions,
    /// Frames whose source is masqueraded.
    pub masqueraded: u64,
    /// What each Service got.
    pub services: Vec<ServiceTraffic>,
    /// Classified frames that no Service took.
    pub unmatched: u64,
    /// Of connections, where they are followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<Connections>,
    /// How much was checked, and what came of it.
    pub check: CheckResult,
    /// What may mislead.
    pub warnings: Vec<String>,
    /// How long it took.
    pub timing: Timing,
    /// What the rules hold, a line a family.
    #[serde(skip)]
    pub rules: Vec<String>,
    /// What was replayed, by name.
    #[serde(skip)]
    pub captures: Vec<String>,
    /// Why frames were dropped or rejected.
    #[serde(skip)]
    pub refusals: Vec<Refusal>,
    /// What was missing where a verdict is unknown.
    #[serde(skip)]
    pub unknowns: Vec<MissingFact>,
    /// The disagreements that are shown; `check` counts them all.
    #[serde(skip)]
    pub disagreements: Vec<Disagreement>,
}

impl ReplayReport {
    /// The name and version of the record.
    pub(crate) const SCHEMA: &'static str = "kpclass.replay/1";

    /// Whether something is wrong: the exit status says so.
    pub(crate) fn holds_a_finding(&self) -> bool {
        let connections = self.connections.as_ref();
        self.check.disagreements > 0 || connections.is_some_and(|of| !of.findings.is_empty())
    }
}

/// Frames by where they end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Dispositions {
    pub forward: u64,
    pub local: u64,
    pub out: u64,
    pub drop: u64,
    pub reject: u64,
    pub unknown: u64,
}

/// The frames of one way to reach a Service.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ServiceTraffic {
    /// `namespace/name:port`.
    pub service: String,
    /// How it was reached: `tcp 10.152.183.1:443`.
    pub key: String,
    /// Frames.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those masqueraded.
    pub masqueraded: u64,
    /// Where they went.
    pub endpoints: Vec<EndpointTraffic>,
}

/// The frames of one endpoint.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct EndpointTraffic {
    /// `10.10.2.58:16443`.
    pub endpoint: String,
    /// Frames.
    pub packets: u64,
    /// The share that the rules give it; `None`: it depends on more than the key.
    pub probability: Option<f64>,
}

/// How much was checked against the reference walk.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CheckResult {
    /// `full`, `sample:N` or `off`.
    pub mode: String,
    /// Distinct packets checked.
    pub checked: u64,
    /// Those on which program and reference differ.
    pub disagreements: u64,
}

/// Seconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Timing {
    /// From opening the rules to the program.
    pub compile_s: f64,
    /// From opening the captures to the merged report.
    pub replay_s: f64,
    /// The check.
    pub check_s: f64,
}

/// Frames dropped or rejected for one reason.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Refusal {
    /// `drop` or `reject`.
    pub disposition: &'static str,
    /// Why, in Service words, or which rule.
    pub reason: String,
    /// The rules that did it: some of them.
    pub rules: Vec<String>,
    /// The Service, if it is one's.
    pub service: Option<String>,
    /// Frames.
    pub packets: u64,
}

/// Frames whose verdict depends on one missing fact.
#[derive(Clone, Debug)]
pub(crate) struct MissingFact {
    /// What is missing.
    pub fact: String,
    /// The option that would supply it.
    pub option: Option<&'static str>,
    /// The rule that asked: `nat KUBE-SERVICES rule 4`.
    pub asked_by: String,
    /// How many other rules asked for it.
    pub more_rules: u64,
    /// Frames.
    pub packets: u64,
}

/// A packet on which reference and program differ, with all that is needed to see it again.
#[derive(Clone, Debug)]
pub(crate) struct Disagreement {
    /// Frame number, from 1.
    pub frame: u64,
    /// Its capture.
    pub capture: String,
    /// The packet as a spec.
    pub packet: String,
    /// What the reference says, and its way.
    pub reference: String,
    /// What the program says, and its way.
    pub program: String,
    /// The command that shows it again.
    pub reproduce: String,
}

/// The report as text.
pub(crate) fn text(report: &ReplayReport, palette: Palette) -> String {
    let mut text = summary(report, palette);
    text.extend(report.rules.iter().map(|line| format!("{line}\n")));
    text += &section("Services", &services(&report.services), palette);
    if let Some(of) = &report.connections {
        text += &connections::text(of, report.classified, palette);
    }
    text += &section("Verdicts", &dispositions(report), palette);
    text += &section("Dropped and rejected", &refusals(&report.refusals), palette);
    text += &section("Unknown", &unknowns(&report.unknowns), palette);
    text += &section("Skipped", &skipped(report), palette);
    if let Some(of) = &report.connections {
        text += &connections::findings(of, palette);
    }
    text += &format!("\n{}\n", check_line(report, palette));
    for disagreement in &report.disagreements {
        text += &format!("\n{}", disagreement_text(disagreement, palette));
    }
    text
}

fn summary(report: &ReplayReport, palette: Palette) -> String {
    let skipped: u64 = report.skipped.values().sum();
    let names = palette.head(&report.captures.join(", "));
    let frames = counted(report.frames, "frame");
    let time = quantity::seconds(report.timing.replay_s);
    format!(
        "{names}: {frames} ({}) in {time}; {} classified, {} skipped\n",
        quantity::bytes(report.bytes),
        count(report.classified),
        count(skipped),
    )
}

pub(super) fn section(title: &str, table: &Columns, palette: Palette) -> String {
    if table.is_empty() {
        return String::new();
    }
    format!("\n{}\n{}", palette.head(title), table.render(palette))
}

fn services(services: &[ServiceTraffic]) -> Columns {
    let mut table = Columns::new(&[
        ("SERVICE", Align::Left),
        ("REACHED AS", Align::Left),
        ("PACKETS", Align::Right),
        ("MASQUERADED", Align::Right),
        ("ENDPOINT", Align::Left),
        ("PACKETS", Align::Right),
        ("SHARE", Align::Right),
        ("BY RULES", Align::Right),
    ]);
    for service in services {
        let mut head = vec![
            service.service.clone(),
            service.key.clone(),
            count(service.packets),
            count(service.masqueraded),
        ];
        for mut tail in endpoint_cells(service) {
            head.resize(4, String::new());
            head.append(&mut tail);
            table.row(std::mem::take(&mut head));
        }
        if service.endpoints.is_empty() {
            table.row(head);
        }
    }
    table
}

/// Up to this many endpoints without packets are listed.
pub(super) const MOST_IDLE: usize = 5;

/// A row an endpoint; where many got nothing, one row for them all.
fn endpoint_cells(service: &ServiceTraffic) -> Vec<Vec<String>> {
    let idle = service.endpoints.iter().filter(|e| e.packets == 0).count();
    let shown = service
        .endpoints
        .iter()
        .filter(|e| e.packets > 0 || idle <= MOST_IDLE);
    let row = |endpoint: &EndpointTraffic| {
        let share = endpoint.packets as f64 / service.packets.max(1) as f64;
        let by_rules = endpoint.probability.map(percent).unwrap_or_default();
        vec![
            endpoint.endpoint.clone(),
            count(endpoint.packets),
            percent(share),
            by_rules,
        ]
    };
    let mut rows: Vec<Vec<String>> = shown.map(row).collect();
    if idle > MOST_IDLE {
        rows.push(vec![format!("{idle} others"), count(0)]);
    }
    rows
}

fn dispositions(report: &ReplayReport) -> Columns {
    let mut table = Columns::new(&[("", Align::Left), ("", Align::Right), ("", Align::Right)]);
    let d = &report.dispositions;
    let rows = [
        ("forwarded", d.forward),
        ("delivered to this node", d.local),
        ("sent", d.out),
        ("dropped", d.drop),
        ("rejected", d.reject),
        ("unknown", d.unknown),
        ("(masqueraded", report.masqueraded),
        ("(touched by no Service", report.unmatched),
    ];
    for (name, packets) in rows.into_iter().filter(|(_, packets)| *packets > 0) {
        let close = if name.starts_with('(') { ")" } else { "" };
        let share = packets as f64 / report.classified.max(1) as f64;
        table.row([format!("{name}{close}"), count(packets), percent(share)]);
    }
    table
}

fn refusals(refusals: &[Refusal]) -> Columns {
    let mut table = Columns::new(&[
        ("PACKETS", Align::Right),
        ("", Align::Left),
        ("REASON", Align::Left),
        ("SERVICE", Align::Left),
    ]);
    for refusal in refusals {
        let end = if refusal.disposition == "drop" {
            "dropped"
        } else {
            "rejected"
        };
        table.row([
            count(refusal.packets),
            end.to_owned(),
            refusal.reason.clone(),
            refusal.service.clone().unwrap_or_default(),
        ]);
    }
    table
}

fn unknowns(unknowns: &[MissingFact]) -> Columns {
    let mut table = Columns::new(&[
        ("PACKETS", Align::Right),
        ("NOT KNOWN", Align::Left),
        ("ASKED BY", Align::Left),
        ("WOULD TELL", Align::Left),
    ]);
    for missing in unknowns {
        table.row([
            count(missing.packets),
            missing.fact.clone(),
            asked_by(missing),
            missing.option.unwrap_or("nothing").to_owned(),
        ]);
    }
    table
}

fn asked_by(missing: &MissingFact) -> String {
    match missing.more_rules {
        0 => missing.asked_by.clone(),
        more => format!("{} and {} more", missing.asked_by, count(more)),
    }
}

fn skipped(report: &ReplayReport) -> Columns {
    let mut table = Columns::new(&[("FRAMES", Align::Right), ("REASON", Align::Left)]);
    let mut rows: Vec<_> = report
        .skipped
        .iter()
        .filter(|(_, frames)| **frames > 0)
        .collect();
    rows.sort_by_key(|(_, frames)| std::cmp::Reverse(**frames));
    for (reason, frames) in rows {
        table.row([count(*frames), reason.clone()]);
    }
    table
}

fn check_line(report: &ReplayReport, palette: Palette) -> String {
    let check = &report.check;
    if check.mode == "off" {
        return palette.open("not checked against the reference (--check off)");
    }
    // Where connections are followed, each packet is.
    let what = match report.connections {
        None => "distinct packet",
        Some(_) => "packet",
    };
    let checked = counted(check.checked, what);
    let result = counted(check.disagreements, "disagreement");
    let line = format!("checked {checked} against the reference: {result}");
    if check.disagreements == 0 {
        palette.good(&line)
    } else {
        palette.bad(&line)
    }
}

fn disagreement_text(disagreement: &Disagreement, palette: Palette) -> String {
    let Disagreement {
        frame,
        capture,
        packet,
        reference,
        program,
        reproduce,
    } = disagreement;
    let head = format!("disagreement at frame {} of {capture}", count(*frame));
    format!(
        "{}\n  packet     {packet}\n  reference  {reference}\n  program    {program}\n  reproduce  {reproduce}\n",
        palette.bad(&head)
    )
}

#[cfg(test)]
mod tests;
