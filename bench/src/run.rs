//! `run`: the workloads of `workloads.toml`, from the file to the report.

use kpclass_bench::inputs::{Maker, repository};
use kpclass_bench::machine::Machine;
use kpclass_bench::measure::measure;
use kpclass_bench::table;
use kpclass_bench::workload::Workloads;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Measures the workloads named (all, if none is), appends to the CSV file, prints Markdown.
pub(crate) fn run(names: &[String], csv: Option<&Path>) -> Result<(), String> {
    let all = Workloads::read()?;
    let known = |name: &String| all.workload.iter().any(|workload| workload.name == *name);
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        let known: Vec<&str> = all.workload.iter().map(|w| w.name.as_str()).collect();
        return Err(format!(
            "no workload is named {unknown}; there are: {}",
            known.join("; ")
        ));
    }
    let (maker, machine) = (Maker::build()?, Machine::here());
    let mut rows = Vec::new();
    for workload in &all.workload {
        if names.is_empty() || names.contains(&workload.name) {
            eprintln!("{} …", workload.name);
            let files = maker.files(workload)?;
            rows.extend(measure(workload, &files)?);
        }
    }
    let file = csv.map_or_else(|| record(&machine), Path::to_owned);
    append(&file, &table::csv(&machine, &rows))
        .map_err(|why| format!("{}: {why}", file.display()))?;
    println!("{}", table::markdown(&machine, &rows));
    println!("{}", table::bars(&all.bar, &rows));
    eprintln!("kept in {}", file.display());
    Ok(())
}

/// One file a day.
fn record(machine: &Machine) -> PathBuf {
    let folder = repository().join("bench").join("record");
    folder.join(format!("{}.csv", machine.date))
}

fn append(file: &Path, lines: &str) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let is_new = !file.exists();
    let mut to = OpenOptions::new().create(true).append(true).open(file)?;
    if is_new {
        to.write_all(table::HEAD.as_bytes())?;
    }
    to.write_all(lines.as_bytes())
}
