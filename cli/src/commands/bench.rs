//! `kpclass bench`: the compiled lookup, the linear walk and the kernel, timed on the same packets.

mod fit;
mod packets;
mod subject;

use crate::args::Bench;
use crate::output::Output;
use crate::render::bench::{self, Method, Point, Record, Skipped};
use crate::trouble::Trouble;
use crate::{Ending, inputs};
use kpclass_compiler::Config;
use kpclass_engine::rules::{FamilyRules, Rules};
use kpclass_kernel::Backend;
use kpclass_kernel::pace::{Pace, Rival};
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::value::Family;
use packets::{Placed, Rung};
use std::time::Duration;
use subject::Compiled;

/// Times every family that the rules hold.
pub(crate) fn run(typed: &Bench, output: &mut Output) -> Result<Ending, Trouble> {
    inputs::stdin_once(&typed.rules, typed.capture.as_slice())?;
    let node = inputs::node::facts(&typed.node)?;
    let read = inputs::rules::load(&typed.rules)?;
    let config = Config {
        mark: Some(0),
        ..Config::default()
    };
    let rules = Rules::new(read.v4.as_ref(), read.v6.as_ref(), &node, &config);
    let rules = rules.map_err(|error| Trouble::new(error.to_string()))?;
    let mut records = Vec::new();
    for (family, of) in rules.families() {
        let placed = packets::placed(of, typed.capture.as_deref())?;
        if !placed.packets.is_empty() {
            records.push(timed(family, of, &placed, typed)?);
        }
    }
    if records.is_empty() {
        let message = "there is nothing to time: no rule of KUBE-SERVICES takes a packet";
        return Err(Trouble::new(message).note("needs a dump with the nat table of kube-proxy"));
    }
    write(&records, typed, output)?;
    Ok(Ending::Fine)
}

fn write(records: &[Record], typed: &Bench, output: &mut Output) -> Result<(), Trouble> {
    if let Some(path) = &typed.how.svg {
        let drawn = std::fs::write(path, bench::svg::draw(&records[0]));
        drawn.map_err(|error| Trouble::system(path.display(), &error))?;
    }
    for record in records {
        if typed.how.json {
            output.record(record)?;
        } else {
            output.write(&bench::text(record, output.palette()))?;
        }
    }
    Ok(())
}

/// Everything about one family.
fn timed(
    family: Family,
    of: &FamilyRules<'_>,
    placed: &Placed,
    typed: &Bench,
) -> Result<Record, Trouble> {
    let time = Duration::from_millis(typed.how.time);
    let rungs = placed.rungs();
    let compiled = Compiled::new(of);
    compiled.hold_against_the_walk(&placed.packets, time)?;
    let all: Vec<_> = placed.packets.iter().map(|p| p.packet.clone()).collect();
    let mixed_ns = compiled.time(&all, time);
    let points = points(&rungs, |packets| Ok(compiled.time(packets, time)))?;
    let rules_each = placed.rules_each_service();
    let mut methods = vec![Method {
        method: "compiled",
        mixed_ns: Some(mixed_ns),
        overhead_ns: None,
        rule_ns: Some(0.0),
        projected: fit::flat(mixed_ns),
        points,
    }];
    let points = points_of_walk(of, &rungs, time)?;
    methods.push(method("linear walk", points, None, rules_each));
    let mut skipped = Vec::new();
    for rival in Rival::ALL {
        let name = name(rival);
        let timed = match typed.how.without_kernel {
            true => Err("--without-kernel".to_owned()),
            false => kernel(rival, of, &rungs, time).map_err(|error| error.to_string()),
        };
        match timed {
            Ok((points, overhead)) if rival == Rival::VerdictMap => {
                methods.push(level(name, points, overhead));
            }
            Ok((points, overhead)) => {
                methods.push(method(name, points, Some(overhead), rules_each));
            }
            Err(why) => skipped.push(Skipped { method: name, why }),
        }
    }
    Ok(Record {
        schema: Record::SCHEMA,
        family: match family {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        },
        packets: placed.of,
        services: placed.services,
        rules: of.ruleset.rules().len(),
        positions: placed.positions,
        methods,
        skipped,
    })
}

fn name(rival: Rival) -> &'static str {
    match rival {
        Rival::Iptables(Backend::Legacy) => "kernel, legacy",
        Rival::Iptables(Backend::Nft) => "kernel, nft",
        Rival::VerdictMap => "kernel, verdict map",
    }
}

fn method(
    method: &'static str,
    points: Vec<Point>,
    overhead_ns: Option<f64>,
    rules_each: f64,
) -> Method {
    let line = fit::line(&points);
    Method {
        method,
        mixed_ns: None,
        overhead_ns,
        rule_ns: line.map(|line| line.each),
        projected: line.map_or_else(Vec::new, |line| fit::projected(line, rules_each)),
        points,
    }
}

/// A way that asks no rule after rule.
fn level(method: &'static str, points: Vec<Point>, overhead: f64) -> Method {
    let sum: f64 = points.iter().map(|point| point.ns).sum();
    Method {
        method,
        mixed_ns: None,
        overhead_ns: Some(overhead),
        rule_ns: Some(0.0),
        projected: fit::flat(sum / points.len().max(1) as f64),
        points,
    }
}

fn points(
    rungs: &[Rung],
    mut time: impl FnMut(&[Packet]) -> Result<f64, Trouble>,
) -> Result<Vec<Point>, Trouble> {
    let point = |rung: &Rung| {
        Ok(Point {
            position: rung.position,
            packets: rung.packets.len(),
            ns: time(&rung.packets)?,
        })
    };
    rungs.iter().map(point).collect()
}

fn points_of_walk(
    of: &FamilyRules<'_>,
    rungs: &[Rung],
    time: Duration,
) -> Result<Vec<Point>, Trouble> {
    points(rungs, |packets| {
        Ok(subject::best_of_each(packets, time, |packet| {
            std::hint::black_box(of.walk.decide(packet, 0));
        }))
    })
}

/// The kernel, and what it takes without rules, which is not the rules' and subtracted.
fn kernel(
    rival: Rival,
    of: &FamilyRules<'_>,
    rungs: &[Rung],
    time: Duration,
) -> Result<(Vec<Point>, f64), Trouble> {
    let trouble = |error: kpclass_kernel::KernelError| Trouble::new(error.to_string());
    let without = Pace::without_rules(rival, of.ruleset.family()).map_err(trouble)?;
    let overhead = without.time(&rungs[0].packets, time).map_err(trouble)?;
    let loaded = Pace::new(rival, of.ruleset).map_err(trouble)?;
    let points = points(rungs, |packets| {
        let all = loaded.time(packets, time).map_err(trouble)?;
        Ok((all - overhead).max(0.0))
    })?;
    Ok((points, overhead))
}
