//! Where and when something was measured.

use crate::inputs::repository;
use std::fs;
use std::process::Command;

/// What stands in front of each row of results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// `2026-11-27`.
    pub date: String,
    /// The sources: a git revision, with a `+` if files differ from it.
    pub revision: String,
    /// The processor, and how many there are.
    pub cpu: String,
    /// The kernel.
    pub kernel: String,
}

impl Machine {
    /// This one, now. What cannot be found out is `?`.
    pub fn here() -> Self {
        let mut revision = said("git", &["rev-parse", "--short=10", "HEAD"]);
        if said("git", &["status", "--porcelain", "--untracked-files=no"]) != "?" {
            revision.push('+');
        }
        Self {
            date: said("date", &["-u", "+%F"]),
            revision,
            cpu: format!("{} × {}", cpus(), cpu()),
            kernel: said("uname", &["-sr"]),
        }
    }
}

fn said(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    let output = command
        .args(arguments)
        .current_dir(repository())
        .output()
        .ok();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.filter(|text| !text.is_empty())
        .unwrap_or_else(|| "?".into())
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn cpu() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':'));
    let name = name.map_or_else(
        || std::env::consts::ARCH.to_owned(),
        |(_, name)| name.trim().to_owned(),
    );
    let has = |flag: &str| {
        text.lines()
            .any(|line| line.starts_with("flags") && line.split(' ').any(|f| f == flag))
    };
    let widest = ["avx512f", "avx2"].into_iter().find(|flag| has(flag));
    match widest {
        Some(flag) => format!("{name} ({flag})"),
        None => name,
    }
}
