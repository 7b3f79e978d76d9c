//! Results, as CSV to keep and as Markdown to read.

use crate::machine::Machine;
use crate::measure::Row;
use crate::workload::Bar;
use std::fmt::Write;

/// The first line of the CSV.
pub const HEAD: &str = "date,revision,cpu,kernel,workload,threads,check,frames,ns_median,ns_min,bare_ns_median,bare_ns_min,ratio\n";

/// A line for each row.
pub fn csv(machine: &Machine, rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let Machine {
            date,
            revision,
            cpu,
            kernel,
        } = machine;
        let (name, threads, frames) = (&row.workload, row.threads, row.frames);
        let check = if row.checked { "full" } else { "off" };
        writeln!(
            text,
            "{date},{revision},\"{cpu}\",{kernel},\"{name}\",{threads},{check},{frames},{:.3},{:.3},{:.3},{:.3},{:.3}",
            row.replay.median,
            row.replay.min,
            row.bare.median,
            row.bare.min,
            row.ratio(),
        )
        .ok();
    }
    text
}

/// A table of the rows.
pub fn markdown(machine: &Machine, rows: &[Row]) -> String {
    let mut text = format!(
        "{}, revision {}, {}, {}; ns a frame, best of all rounds (median)\n\n\
         | workload | threads | check | frames | replay | bare walk, or unpacking | ratio |\n\
         |---|--:|---|--:|--:|--:|--:|\n",
        machine.date, machine.revision, machine.cpu, machine.kernel
    );
    for row in rows {
        writeln!(
            text,
            "| {} | {} | {} | {} | {:.2} ({:.2}) | {:.2} ({:.2}) | {:.2} |",
            row.workload,
            row.threads,
            if row.checked { "full" } else { "off" },
            row.frames,
            row.replay.min,
            row.replay.median,
            row.bare.min,
            row.bare.median,
            row.ratio(),
        )
        .ok();
    }
    text
}

/// A table of the bars whose rows were measured.
pub fn bars(bars: &[Bar], rows: &[Row]) -> String {
    let mut text = String::new();
    for bar in bars {
        let Some(figure) = figure(bar, rows) else {
            continue;
        };
        if text.is_empty() {
            text.push_str("| bar | to reach | measured | |\n|---|--:|--:|---|\n");
        }
        let (wanted, is_met) = match (bar.most, bar.least) {
            (Some(most), _) => (format!("≤ {most}"), figure <= most),
            (None, Some(least)) => (format!("≥ {least}"), figure >= least),
            (None, None) => (String::new(), true),
        };
        let verdict = if is_met { "met" } else { "**missed**" };
        writeln!(
            text,
            "| {} | {wanted} | {figure:.2} | {verdict} |",
            bar.says
        )
        .ok();
    }
    text
}

/// What was measured of a bar; `None`: not all of it was.
fn figure(bar: &Bar, rows: &[Row]) -> Option<f64> {
    let row = |name: &str| rows.iter().find(|row| row.name() == name);
    let of = row(&bar.of)?;
    Some(match bar.over.as_deref() {
        None => of.replay.min,
        Some("bare") => of.ratio(),
        Some(other) => of.replay.min / row(other)?.replay.min,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Spread;
    use crate::workload::Workloads;

    fn row(workload: &str, min: f64) -> Row {
        let spread = |min: f64| Spread {
            median: min + 1.0,
            min,
        };
        Row {
            workload: workload.into(),
            threads: 1,
            checked: false,
            frames: 10,
            replay: spread(min),
            bare: spread(4.0),
        }
    }

    #[test]
    fn bars_are_met_or_missed_or_left_out() {
        let bar = |over: Option<&str>, most| Bar {
            says: "a".into(),
            of: "x, 1".into(),
            over: over.map(str::to_owned),
            most: Some(most),
            least: None,
        };
        let rows = [row("x", 8.0), row("y", 2.0)];
        for (bar, end) in [
            (bar(None, 9.0), "| ≤ 9 | 8.00 | met |\n"),
            (bar(Some("bare"), 1.5), "| ≤ 1.5 | 2.00 | **missed** |\n"),
            (bar(Some("y, 1"), 4.0), "| ≤ 4 | 4.00 | met |\n"),
            (bar(Some("z, 1"), 4.0), ""),
        ] {
            let text = bars(&[bar], &rows);
            assert!(
                text.ends_with(end) && text.is_empty() == end.is_empty(),
                "{text}"
            );
        }
    }

    #[test]
    fn every_bar_names_rows_that_there_are() {
        let all = Workloads::read().unwrap();
        let has = |name: &str| {
            all.workload
                .iter()
                .any(|w| w.threads.iter().any(|t| format!("{}, {t}", w.name) == name))
        };
        for bar in &all.bar {
            assert!(has(&bar.of), "{}", bar.says);
            let over = bar.over.as_deref();
            assert!(
                over.is_none_or(|over| over == "bare" || has(over)),
                "{}",
                bar.says
            );
        }
    }

    #[test]
    fn a_line_has_as_many_fields_as_the_head() {
        let machine = Machine {
            date: "2026-01-01".into(),
            revision: "0".into(),
            cpu: "c".into(),
            kernel: "k".into(),
        };
        let line = csv(&machine, &[row("x", 8.0)]);
        assert_eq!(line.split(',').count(), HEAD.split(',').count());
    }
}
