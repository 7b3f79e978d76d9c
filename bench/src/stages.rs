//! `compile`: how long reading and compiling take.

use kpclass_compiler::{Config, Program};
use kpclass_ruleset::readers;
use kpclass_ruleset::target::Target;
use kpclass_ruleset::{Rule, node::NodeFacts};
use std::path::PathBuf;
use std::time::Instant;

pub(crate) fn compile(files: &[PathBuf], runs: u32) -> Result<(), String> {
    for file in files {
        let name = file.display().to_string();
        let bytes = std::fs::read(file).map_err(|why| format!("{name}: {why}"))?;
        let mut best: Option<(f64, f64, String)> = None;
        for _ in 0..runs.max(1) {
            let run = once(&name, bytes.clone())?;
            if best
                .as_ref()
                .is_none_or(|best| run.0 + run.1 < best.0 + best.1)
            {
                best = Some(run);
            }
        }
        if let Some((read, compiled, what)) = best {
            let peak = peak_memory().unwrap_or_else(|| "?".into());
            println!(
                "{name}: read {read:.3} s, compile {compiled:.3} s; {what}; {peak} at most so far"
            );
        }
    }
    Ok(())
}

/// The most memory that this process has taken, as the system says it.
fn peak_memory() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().to_owned())
}

/// Seconds of reading and of compiling, and what came of it.
fn once(name: &str, bytes: Vec<u8>) -> Result<(f64, f64, String), String> {
    let input = readers::Input {
        name: name.to_owned(),
        family: None,
        table: None,
        bytes,
    };
    let started = Instant::now();
    let rules = readers::read(&[input]).map_err(|why| why.to_string())?;
    let read = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let (mut what, node) = (String::new(), NodeFacts::default());
    for ruleset in rules.v4.iter().chain(&rules.v6) {
        let program =
            Program::compile(ruleset, &node, &Config::default()).map_err(|why| why.to_string())?;
        let rewrites = |(_, rule): &(_, &Rule)| matches!(rule.target, Target::Dnat(_));
        let endpoints = ruleset.rules().filter(rewrites).count();
        what.push_str(&format!(
            "{} rules, {} classes, {} nodes, {} walked, {} bytes, {:.1} an endpoint ",
            ruleset.rules().len(),
            program.classes().len(),
            program.len(),
            program.walked_classes(),
            program.bytes(),
            program.bytes() as f64 / endpoints.max(1) as f64,
        ));
    }
    Ok((
        read,
        started.elapsed().as_secs_f64(),
        what.trim_end().to_owned(),
    ))
}
