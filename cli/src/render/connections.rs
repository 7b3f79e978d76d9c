//! What `replay` says of connections.

use crate::output::Palette;
use crate::render::columns::{Align, Columns};
use crate::render::quantity::{self, count, counted, percent};
use crate::render::replay::Refusal;
use serde::Serialize;
use std::collections::BTreeMap;

/// Connections that were followed.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Connections {
    /// Those that began.
    pub begun: u64,
    /// Of them, those that were replied to.
    pub replied: u64,
    /// Those of which the captures show the endpoint: that was taken.
    pub shown: u64,
    /// Those of which they show an endpoint to which no rule leads.
    pub elsewhere: u64,
    /// Frames by what connection tracking made of them.
    pub packets: BTreeMap<String, u64>,
    /// Those that are INVALID, by cause.
    pub invalid: BTreeMap<&'static str, u64>,
    /// Connections to each way to reach a Service.
    pub services: Vec<ServiceConnections>,
    /// Packets of Services that nobody was seen to ask for.
    pub unasked: Vec<Unasked>,
    /// Who talks to what: those with the most connections.
    pub talks: Vec<Talk>,
    /// How many other pairs of who and what there are.
    pub more_talks: u64,
    /// What a full table did, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table_full: Option<TableFull>,
    /// Packets dropped or rejected, by why.
    pub refusals: Vec<Refusal>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// What a full table did.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct TableFull {
    /// Packets that are unknown because it was full.
    pub packets: u64,
    /// Connections that the kernel may have evicted: what becomes of them is unknown from then on.
    pub may_be_evicted: u64,
    /// Connections that there was no room for: packets of their protocol that have no connection are unknown.
    pub not_kept: u64,
}

/// Connections to one way to reach a Service.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ServiceConnections {
    /// `namespace/name:port`.
    pub service: String,
    /// How it was reached.
    pub key: String,
    /// Those that began.
    pub begun: u64,
    /// Those that were replied to.
    pub replied: u64,
    /// Those that never were.
    pub one_way: u64,
    /// Where those went of which the captures show it.
    pub endpoints: Vec<EndpointConnections>,
    /// Whether they fit the rules' probabilities.
    pub balance: Balance,
}

/// Connections to one endpoint.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct EndpointConnections {
    /// `10.10.2.58:16443`.
    pub endpoint: String,
    /// Those that the captures show to have gone there.
    pub shown: u64,
    /// Their share of all that are shown; `None`: none are.
    pub share: Option<f64>,
    /// The share that the rules give it; `None`: it depends on more than the key.
    pub probability: Option<f64>,
}

/// How connections fit the rules' probabilities.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Balance {
    /// `fits`, `skewed`, or why it was not tested: `one-endpoint`, `affinity`, `too-few`.
    pub result: &'static str,
    /// Pearson's statistic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chi_square: Option<f64>,
    /// Its degrees of freedom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub degrees: Option<u32>,
    /// How likely counts as far off are, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p: Option<f64>,
}

/// Packets of a Service that nobody was seen to ask for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Unasked {
    /// The Service.
    pub service: String,
    /// The endpoint or key that they come from.
    pub from: String,
    /// Those that began a connection, or belonged to none.
    pub packets: u64,
    /// The first.
    #[serde(flatten)]
    pub first: FrameOf,
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FrameOf {
    /// Its capture.
    pub capture: String,
    /// Its number, from 1.
    pub frame: u64,
    /// The frame that shows what became of its packet: the packet behind nat, or its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shown_by: Option<u64>,
}

/// A client's connections to one endpoint of a Service.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Talk {
    /// Who.
    pub client: String,
    /// To which Service.
    pub service: String,
    /// How it was reached.
    pub key: String,
    /// Where it went.
    pub endpoint: String,
    /// How many began.
    pub connections: u64,
    /// Of them, those that the captures show to have gone there; of the others the endpoint was drawn.
    pub shown: u64,
}

/// Something that is wrong.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    /// `stale`, `not-masqueraded`, `masqueraded`, `skewed`, `unequal`.
    pub kind: &'static str,
    /// The Service.
    pub service: String,
    /// How it is reached; `None`: however it is.
    pub key: Option<String>,
    /// In words.
    pub text: String,
    /// Connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// Where they went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Packets of connections to a stale endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
    /// From the first of them to the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// The rule that says otherwise, or is odd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Connections by endpoint, or what the rules give each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointConnections>,
    /// Frames that show it: some of them.
    pub frames: Vec<FrameOf>,
}

/// Sums, then tables.
pub(crate) fn text(connections: &Connections, classified: u64, palette: Palette) -> String {
    let section = |title, table: &Columns| super::replay::section(title, table, palette);
    let mut text = section("Connections", &sums(connections, classified));
    let services = section("Connections by Service", &services(&connections.services));
    if !services.is_empty() {
        text += &services;
        text += &format!("  {}\n", palette.faint(&tested(&connections.services)));
    }
    text += &section("Who talks to what", &talks(connections));
    text += &section("Answers without a question", &unasked(&connections.unasked));
    text
}

/// What is wrong, one after another.
pub(crate) fn findings(connections: &Connections, palette: Palette) -> String {
    if connections.findings.is_empty() {
        return String::new();
    }
    let mut text = format!("\n{}\n", palette.head("Findings"));
    for finding in &connections.findings {
        let head = match finding.kind {
            "stale" => "stale endpoint",
            "not-masqueraded" => "lost masquerade",
            "masqueraded" => "unexpected masquerade",
            "skewed" => "skewed balance",
            _ => "unequal probabilities",
        };
        let key = finding.key.iter().map(|key| format!(" ({key})"));
        let service = format!("{}{}", finding.service, key.collect::<String>());
        text += &format!("  {}  {service}\n    {}\n", palette.bad(head), finding.text);
        if !finding.frames.is_empty() {
            text += &format!("    {}\n", frames(finding));
        }
    }
    text
}

fn frames(finding: &Finding) -> String {
    let frame = |of: &FrameOf| {
        let shown = of.shown_by.map(|by| format!(" (shown by {})", count(by)));
        format!("{}{}", count(of.frame), shown.unwrap_or_default())
    };
    let mut text = String::from("frames");
    let mut capture = "";
    for of in &finding.frames {
        if of.capture != capture {
            capture = &of.capture;
            text += &format!(" of {capture}:");
        }
        text += &format!(" {},", frame(of));
    }
    text.truncate(text.len() - 1);
    let named = finding.frames.len() as u64;
    match finding.connections {
        Some(all) if all > named => format!("{text}, …"),
        _ => text,
    }
}

fn sums(connections: &Connections, classified: u64) -> Columns {
    let mut table = Columns::new(&[("", Align::Left), ("", Align::Right), ("", Align::Right)]);
    let share = |part: u64, of: u64| percent(part as f64 / of.max(1) as f64);
    let begun = connections.begun;
    table.row(["begun".to_owned(), count(begun), String::new()]);
    let parts = [
        ("replied to", connections.replied),
        ("(endpoint shown by the capture)", connections.shown),
        ("(sent to an endpoint of no rule)", connections.elsewhere),
    ];
    for (name, number) in parts.into_iter().filter(|(_, n)| *n > 0) {
        table.row([name.to_owned(), count(number), share(number, begun)]);
    }
    for (name, packets) in &connections.packets {
        let name = format!("frames {}", name.to_uppercase());
        table.row([name, count(*packets), share(*packets, classified)]);
    }
    for (cause, packets) in &connections.invalid {
        table.row([format!("INVALID: {cause}"), count(*packets), String::new()]);
    }
    if let Some(full) = connections.table_full {
        let rows = [
            ("unknown: the table was full", full.packets),
            (
                "connections that may have been evicted",
                full.may_be_evicted,
            ),
            ("connections that there was no room for", full.not_kept),
        ];
        for (name, number) in rows.into_iter().filter(|(_, n)| *n > 0) {
            table.row([name.to_owned(), count(number), String::new()]);
        }
    }
    table
}

fn services(services: &[ServiceConnections]) -> Columns {
    let mut table = Columns::new(&[
        ("SERVICE", Align::Left),
        ("REACHED AS", Align::Left),
        ("BEGUN", Align::Right),
        ("ONE-WAY", Align::Right),
        ("FIT", Align::Left),
        ("ENDPOINT", Align::Left),
        ("SHOWN", Align::Right),
        ("SHARE", Align::Right),
        ("BY RULES", Align::Right),
    ]);
    for service in services {
        let mut head = vec![
            service.service.clone(),
            service.key.clone(),
            count(service.begun),
            count(service.one_way),
            fit(&service.balance),
        ];
        for mut tail in endpoint_cells(&service.endpoints) {
            head.resize(5, String::new());
            head.append(&mut tail);
            table.row(std::mem::take(&mut head));
        }
    }
    table
}

fn fit(balance: &Balance) -> String {
    match balance.p {
        None => String::new(),
        Some(p) => format!("{} ({})", balance.result, p_text(p)),
    }
}

/// `p 0.42`, `p < 0.0001`.
pub(crate) fn p_text(p: f64) -> String {
    match p {
        p if p < 0.0001 => "p < 0.0001".to_owned(),
        p if p < 0.1 => format!("p {p:.4}"),
        p => format!("p {p:.2}"),
    }
}

/// A row an endpoint; where many were not seen, one row for them all.
fn endpoint_cells(endpoints: &[EndpointConnections]) -> Vec<Vec<String>> {
    let idle = endpoints.iter().filter(|e| e.shown == 0).count();
    let is_shown = |e: &&EndpointConnections| e.shown > 0 || idle <= super::replay::MOST_IDLE;
    let row = |endpoint: &EndpointConnections| {
        vec![
            endpoint.endpoint.clone(),
            count(endpoint.shown),
            endpoint.share.map(percent).unwrap_or_default(),
            endpoint.probability.map(percent).unwrap_or_default(),
        ]
    };
    let mut rows: Vec<Vec<String>> = endpoints.iter().filter(is_shown).map(row).collect();
    if idle > super::replay::MOST_IDLE {
        rows.push(vec![format!("{idle} others"), count(0)]);
    }
    rows
}

/// What was tested, and what was not.
fn tested(services: &[ServiceConnections]) -> String {
    let of = |result| {
        services
            .iter()
            .filter(|s| s.balance.result == result)
            .count() as u64
    };
    let tested = counted(of("fits") + of("skewed"), "row");
    let mut text =
        format!("shares of {tested} held against the rules, at one false alarm in 1 000 reports");
    let left_out = [
        ("affinity", "session affinity"),
        ("too-few", "too few shown"),
    ];
    let left_out = left_out.map(|(result, why)| (of(result), why));
    let mut left_out = left_out
        .into_iter()
        .filter(|(rows, _)| *rows > 0)
        .peekable();
    if left_out.peek().is_some() {
        let each = left_out.map(|(rows, why)| format!("{} ({why})", count(rows)));
        text += &format!("; left out: {}", each.collect::<Vec<_>>().join(", "));
    }
    text
}

fn talks(connections: &Connections) -> Columns {
    let mut table = Columns::new(&[
        ("CLIENT", Align::Left),
        ("SERVICE", Align::Left),
        ("REACHED AS", Align::Left),
        ("ENDPOINT", Align::Left),
        ("CONNECTIONS", Align::Right),
        ("SHOWN", Align::Right),
    ]);
    for talk in &connections.talks {
        table.row([
            talk.client.clone(),
            talk.service.clone(),
            talk.key.clone(),
            talk.endpoint.clone(),
            count(talk.connections),
            count(talk.shown),
        ]);
    }
    if connections.more_talks > 0 && !connections.talks.is_empty() {
        table.row([format!("{} others", count(connections.more_talks))]);
    }
    table
}

fn unasked(unasked: &[Unasked]) -> Columns {
    let mut table = Columns::new(&[
        ("SERVICE", Align::Left),
        ("FROM", Align::Left),
        ("PACKETS", Align::Right),
        ("FIRST FRAME", Align::Right),
    ]);
    for row in unasked {
        table.row([
            row.service.clone(),
            row.from.clone(),
            count(row.packets),
            count(row.first.frame),
        ]);
    }
    table
}

/// `1 234 packets in 12.30 s, 100.3 a second`.
pub(crate) fn rate(packets: u64, seconds: f64) -> String {
    let text = format!(
        "{} in {}",
        counted(packets, "packet"),
        quantity::seconds(seconds)
    );
    match seconds > 0.0 {
        true => format!("{text}, {:.1} a second", packets as f64 / seconds),
        false => text,
    }
}

#[cfg(test)]
mod tests;
