//! `compile`: how long reading and compiling take.

use kpclass_compiler::{Config, Program};
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::readers;
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
            println!("{name}: read {read:.3} s, compile {compiled:.3} s; {what}");
        }
    }
    Ok(())
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
        what.push_str(&format!(
            "{} rules, {} classes, {} nodes, {} walked, {} bytes ",
            ruleset.rules().len(),
            program.classes().len(),
            program.len(),
            program.walked_classes(),
            program.bytes()
        ));
    }
    Ok((
        read,
        started.elapsed().as_secs_f64(),
        what.trim_end().to_owned(),
    ))
}
