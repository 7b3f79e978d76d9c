//! `edges`: the reference judges the program, for as long as asked.

use kpclass_compiler::{Config, Program};
use kpclass_engine::judge::Judge;
use kpclass_reference::Walk;
use kpclass_ruleset::decision::Decision;
use kpclass_ruleset::node::{LocalAddresses, NodeFacts};
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::{RuleId, Ruleset, readers};
use kpclass_workload::edges::Edges;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

/// What was tried of one ruleset.
#[derive(Default)]
struct Tried {
    packets: u64,
    rewritten: u64,
    unknown: u64,
}

/// Runs over the dumps again and again, each round with other packets, until there were enough.
pub(crate) fn run(files: &[PathBuf], packets: u64, seed: u64) -> Result<(), String> {
    let rulesets = rulesets(files)?;
    let mut left = packets;
    let mut round = 0;
    let mut total = Tried::default();
    while left > 0 {
        for (name, ruleset) in &rulesets {
            for (at, node) in nodes().iter().enumerate() {
                let seed = seed
                    .wrapping_mul(1_000_003)
                    .wrapping_add(round * 2 + at as u64);
                let share = left.div_ceil(2 * rulesets.len() as u64);
                let tried = judge(ruleset, node, share, seed).map_err(|why| {
                    format!("{name}, seed {seed}: program and reference disagree\n{why}")
                })?;
                total.packets += tried.packets;
                total.rewritten += tried.rewritten;
                total.unknown += tried.unknown;
            }
        }
        left = packets.saturating_sub(total.packets);
        round += 1;
        eprintln!("{} packets so far", total.packets);
    }
    println!(
        "{} dumps, {} packets, {} rewritten, {} unknown: 0 disagreements (seed {seed})",
        rulesets.len(),
        total.packets,
        total.rewritten,
        total.unknown
    );
    Ok(())
}

fn rulesets(files: &[PathBuf]) -> Result<Vec<(String, Ruleset)>, String> {
    let mut all = Vec::new();
    for file in files {
        let name = file.display().to_string();
        let bytes = std::fs::read(file).map_err(|why| format!("{name}: {why}"))?;
        let input = readers::Input {
            name: name.clone(),
            family: None,
            table: None,
            bytes,
        };
        let rules = readers::read(&[input]).map_err(|why| why.to_string())?;
        all.extend(
            rules
                .v4
                .into_iter()
                .chain(rules.v6)
                .map(|ruleset| (name.clone(), ruleset)),
        );
    }
    Ok(all)
}

/// A node with addresses, and one of which none are known.
fn nodes() -> [NodeFacts; 2] {
    let addresses = [
        "192.168.0.2",
        "10.10.2.58",
        "172.18.0.2",
        "fd00::2",
        "192.168.99.11",
    ];
    let known = NodeFacts {
        local: Some(LocalAddresses::new(
            addresses.iter().filter_map(|a| a.parse().ok()),
        )),
        route_localnet: Some(true),
        ..NodeFacts::default()
    };
    [known, NodeFacts::default()]
}

/// At least `packets` packets, spread over the rules, on all cores.
fn judge(ruleset: &Ruleset, node: &NodeFacts, packets: u64, seed: u64) -> Result<Tried, String> {
    let program = Program::compile(ruleset, node, &Config::any()).map_err(|why| why.to_string())?;
    program.verify().map_err(|why| why.to_string())?;
    let walk = Walk::new(ruleset, node).map_err(|why| why.to_string())?;
    let referee = Judge::new(ruleset, node, &walk, &program);
    let rules = ruleset.rules().len();
    let extra = (packets as usize / rules.max(1))
        .saturating_sub(8)
        .min(2000);
    let step = (rules as u64 * 12).div_ceil(packets.max(1)).max(1) as usize;
    let next = AtomicUsize::new(seed as usize % step);
    let counts = [const { AtomicU64::new(0) }; 3];
    let work = || -> Result<(), String> {
        loop {
            let at = next.fetch_add(step, Ordering::Relaxed);
            if at >= rules {
                return Ok(());
            }
            let rule = RuleId(at as u32);
            // Its own generator for each rule, so that the packets do not depend on the threads.
            let mut edges = Edges::new(ruleset, &locals(node), seed ^ (at as u64) << 20);
            for packet in edges.of_rule(rule, extra) {
                tally(&referee, &packet, &counts)?;
            }
        }
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| match worker.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
    })?;
    let [packets, rewritten, unknown] = counts.map(AtomicU64::into_inner);
    Ok(Tried {
        packets,
        rewritten,
        unknown,
    })
}

fn locals(node: &NodeFacts) -> Vec<IpAddr> {
    let mut locals: Vec<IpAddr> = node
        .local
        .iter()
        .flat_map(|local| local.addresses.iter().copied())
        .collect();
    locals.sort();
    locals
}

/// Judges one packet, and counts it.
fn tally(judge: &Judge<'_>, packet: &Packet, counts: &[AtomicU64; 3]) -> Result<(), String> {
    let pieces = judge.decisions(packet).map_err(|why| why.to_string())?;
    let first = pieces.first().map(|piece| &piece.decision);
    let rewritten = first.is_some_and(|d| d.dnat.is_some());
    let unknown = first.is_some_and(Decision::is_unknown);
    for (count, more) in counts.iter().zip([true, rewritten, unknown]) {
        count.fetch_add(u64::from(more), Ordering::Relaxed);
    }
    Ok(())
}
