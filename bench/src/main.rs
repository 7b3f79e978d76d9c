//! Long runs that are too slow for a test, and timings of the stages. Results go to stdout, one line each.

mod edges;
mod kernel;
mod rivals;
mod run;
mod scripts;
mod stages;

use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Parser)]
#[command(about, version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Hold the program against the reference on packets at the edges of every rule.
    Edges {
        /// At least so many packets in all.
        #[arg(long, default_value_t = 10_000_000)]
        packets: u64,
        /// Seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Dumps, or folders that hold them (`*save.txt`, `*.save`, `*.rules`).
        #[arg(required = true)]
        rules: Vec<PathBuf>,
    },
    /// Hold the reference against the real kernel on generated rulesets; needs root.
    Kernel {
        /// Rulesets; each is tried in both back ends.
        #[arg(long, default_value_t = 1_000)]
        rulesets: u64,
        /// Packets for each.
        #[arg(long, default_value_t = 1_000)]
        packets: usize,
        /// Seed of the first; those after it count up.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Hold the reference's tracker against the real kernel on generated scripts of connections; needs root.
    Scripts {
        /// Scripts; each is played in one of the back ends.
        #[arg(long, default_value_t = 2_000)]
        scripts: u64,
        /// At least so many packets in each.
        #[arg(long, default_value_t = 24)]
        packets: usize,
        /// Seed of the first; those after it count up.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Time reading and compiling dumps.
    Compile {
        /// Runs of each; the fastest counts.
        #[arg(long, default_value_t = 5)]
        runs: u32,
        /// Dumps.
        #[arg(required = true)]
        rules: Vec<PathBuf>,
    },
    /// Replay the workloads of `workloads.toml`, each in turn with a bare walk of its capture; prints Markdown.
    Run {
        /// Workloads, by name; none: all.
        workloads: Vec<String>,
        /// Where rows are added [default: one file a day in bench/record/]
        #[arg(long)]
        csv: Option<PathBuf>,
    },
    /// Time the lookup alone beside hash tables of the same keys; one line each, as `compare/run` reads them.
    Rivals {
        /// How many keys; repeats.
        #[arg(long, default_values_t = [10_000, 1_000_000])]
        keys: Vec<u32>,
        /// Runs of each, in turn; the fastest counts.
        #[arg(long, default_value_t = 9)]
        rounds: u32,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Edges {
            packets,
            seed,
            rules,
        } => edges::run(&files(&rules), packets, seed),
        Verb::Kernel {
            rulesets,
            packets,
            seed,
        } => kernel::run(&kernel::Size {
            rulesets,
            packets,
            seed,
        }),
        Verb::Scripts {
            scripts,
            packets,
            seed,
        } => scripts::run(&scripts::Size {
            scripts,
            packets,
            seed,
        }),
        Verb::Compile { runs, rules } => stages::compile(&files(&rules), runs),
        Verb::Run { workloads, csv } => run::run(&workloads, csv.as_deref()),
        Verb::Rivals { keys, rounds } => rivals::run(&keys, rounds),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("kpclass-bench: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The files named, and those that the folders named hold, in order.
fn files(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut work: Vec<PathBuf> = paths.iter().rev().cloned().collect();
    while let Some(path) = work.pop() {
        match std::fs::read_dir(&path) {
            Ok(entries) => {
                let mut inside: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
                inside.retain(|path| path.is_dir() || is_dump(path));
                inside.sort();
                work.extend(inside.into_iter().rev());
            }
            Err(_) => files.push(path),
        }
    }
    files
}

fn is_dump(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    ["save.txt", ".save", ".rules", "save.txt.gz"]
        .iter()
        .any(|ending| name.ends_with(ending))
}
