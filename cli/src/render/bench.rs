//! What `bench` measured, as a record and as text.

pub(crate) mod plot;
pub(crate) mod svg;

use crate::output::Palette;
use crate::render::columns::{Align, Columns};
use crate::render::quantity::{count, counted};
use serde::Serialize;

/// One family's times.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    pub schema: &'static str,
    /// `ipv4` or `ipv6`.
    pub family: &'static str,
    /// Where the packets come from: `services` or `capture`.
    pub packets: &'static str,
    /// Services that rules of `KUBE-SERVICES` name.
    pub services: usize,
    /// Rules, of all chains.
    pub rules: usize,
    /// Rules of `KUBE-SERVICES`.
    pub positions: u32,
    pub methods: Vec<Method>,
    pub skipped: Vec<Skipped>,
}

impl Record {
    pub(crate) const SCHEMA: &'static str = "kpclass.bench/1";
}

/// One way to a verdict.
#[derive(Debug, Serialize)]
pub(crate) struct Method {
    pub method: &'static str,
    /// All packets in turn, so that nothing stays in the cache that does not fit; only of the compiled lookup.
    pub mixed_ns: Option<f64>,
    /// What was subtracted: the kernel's way without rules.
    pub overhead_ns: Option<f64>,
    /// What each rule that a packet passes adds; none: the positions do not tell.
    pub rule_ns: Option<f64>,
    pub points: Vec<Point>,
    pub projected: Vec<Projected>,
}

/// Packets to rules about there.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Point {
    /// The mean of the rules' numbers in `KUBE-SERVICES`.
    pub position: f64,
    pub packets: usize,
    /// Nanoseconds a packet.
    pub ns: f64,
}

/// A packet to the last of so many Services.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Projected {
    pub services: u64,
    pub ns: f64,
}

/// What could not be timed.
#[derive(Debug, Serialize)]
pub(crate) struct Skipped {
    pub method: &'static str,
    pub why: String,
}

/// The tables and the plot.
pub(crate) fn text(record: &Record, palette: Palette) -> String {
    let family = if record.family == "ipv4" {
        "IPv4"
    } else {
        "IPv6"
    };
    let (rules, services) = (
        count(record.rules as u64),
        counted(record.services as u64, "Service"),
    );
    let packets = match record.packets {
        "capture" => "packets of the capture",
        _ => "a packet to each",
    };
    let mut text = format!(
        "{family}: {rules} rules, {} of them in KUBE-SERVICES, {services}; {packets}; answers compared first\n\n{}\n",
        count(record.positions.into()),
        palette.head("ns a packet, by the position in KUBE-SERVICES of the rule that takes it")
    );
    text += &by_position(record).render(palette);
    let compiled = record.methods.iter().find_map(|method| method.mixed_ns);
    if let Some(ns) = compiled {
        text += &format!("  compiled, all packets in turn: {}", figure(ns));
        let against = against(record).unwrap_or_default();
        text += &format!("; at the last position as long: {against}\n");
    }
    for method in &record.methods {
        if let Some(overhead) = method.overhead_ns {
            let (name, overhead) = (method.method, figure(overhead));
            text += &format!("  {name}: {overhead} without rules, subtracted\n");
        }
    }
    for skipped in &record.skipped {
        let line = format!("  not timed: {} ({})", skipped.method, skipped.why.trim());
        text += &format!("{}\n", palette.open(&line));
    }
    let climbs = |method: &Method| method.rule_ns.is_some_and(|ns| ns > 0.0);
    if !record.methods.iter().any(climbs) {
        return text + "  too few rules in KUBE-SERVICES to project from\n";
    }
    text += &format!(
        "\n{}\n",
        palette.head("projected: ns of a packet to the last of so many Services")
    );
    text += &projections(record).render(palette);
    text += &format!("\n{}", plot::draw(record));
    text
}

/// How many times as long the others take, at the last position.
fn against(record: &Record) -> Option<String> {
    let compiled = record.methods.iter().find_map(|method| method.mixed_ns)?;
    let others = record.methods.iter().skip(1);
    let times = others.filter_map(|method| {
        let last = method.points.last()?;
        let times = count((last.ns / compiled).round() as u64);
        Some(format!("{} {times} ×", method.method))
    });
    Some(times.collect::<Vec<_>>().join(", "))
}

fn heads(first: &'static str, record: &Record) -> Columns {
    let methods = record.methods.iter().map(|m| (m.method, Align::Right));
    let heads: Vec<_> = [(first, Align::Right)].into_iter().chain(methods).collect();
    Columns::new(&heads)
}

fn by_position(record: &Record) -> Columns {
    let mut table = heads("position", record);
    let first = record.methods.first().map_or(&[][..], |m| &m.points);
    for (at, point) in first.iter().enumerate() {
        let behind = point.position > f64::from(record.positions);
        let position = match behind {
            true => "no Service".to_owned(),
            false => count(point.position.round() as u64),
        };
        let cells = record.methods.iter().map(|m| m.points.get(at));
        let cells = cells.map(|point| point.map_or(String::new(), |p| figure(p.ns)));
        table.row([position].into_iter().chain(cells));
    }
    table
}

fn projections(record: &Record) -> Columns {
    let mut table = heads("Services", record);
    let first = record.methods.first().map_or(&[][..], |m| &m.projected);
    for (at, projected) in first.iter().enumerate() {
        let cells = record.methods.iter().map(|m| m.projected.get(at));
        let cells = cells.map(|point| point.map_or_else(|| "?".into(), |p| figure(p.ns)));
        table.row([count(projected.services)].into_iter().chain(cells));
    }
    table
}

/// `3.4`, `53`, `52 713`.
fn figure(ns: f64) -> String {
    if ns < 10.0 {
        format!("{ns:.1}")
    } else {
        count(ns.round() as u64)
    }
}

/// A record to draw.
#[cfg(test)]
pub(crate) fn sample() -> Record {
    let projected = |each: f64| {
        let at = |services: u64| Projected {
            services,
            ns: 5.0 + each * services as f64,
        };
        [10, 100, 1_000, 10_000, 100_000].map(at).to_vec()
    };
    let method = |method, each: f64| Method {
        method,
        mixed_ns: (each == 0.0).then_some(5.0),
        overhead_ns: None,
        rule_ns: Some(each),
        points: vec![Point {
            position: 20.0,
            packets: 1,
            ns: 5.0 + each * 20.0,
        }],
        projected: projected(each),
    };
    Record {
        schema: Record::SCHEMA,
        family: "ipv4",
        packets: "services",
        services: 20,
        rules: 100,
        positions: 20,
        methods: vec![method("compiled", 0.0), method("linear walk", 10.0)],
        skipped: vec![Skipped {
            method: "kernel, nft",
            why: "needs root".into(),
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_holds_both_tables_and_what_was_left_out() {
        let text = text(&sample(), Palette::PLAIN);
        for part in [
            "IPv4: 100 rules, 20 of them in KUBE-SERVICES, 20 Services; a packet to each",
            "  position  compiled  linear walk\n        20       5.0          205\n",
            "  not timed: kernel, nft (needs root)\n",
            "   100 000       5.0    1 000 005\n",
        ] {
            assert!(text.contains(part), "{part}\nis not in\n{text}");
        }
    }
}
