//! `kpclass replay`: rules are compiled, captures replayed, and the report written.

mod connections;
mod parquet_rows;
mod record;
mod reproduce;
mod verdicts;

use crate::args::{HookChoice, Replay, StartArgs};
use crate::options::replay::{Check, ReplayOptions};
use crate::output::{self, Output};
use crate::render::replay;
use crate::trouble::Trouble;
use crate::{Ending, inputs, options};
use indicatif::{ProgressBar, ProgressStyle};
use kpclass_compiler::{Config, Passes};
use kpclass_engine::check::{self, Progress};
use kpclass_engine::rules::Rules;
use kpclass_engine::{Listeners, Report, Settings, Source};
use kpclass_reference::Assumption;
use kpclass_ruleset::readers;
use std::path::{Path, PathBuf};
use std::time::Instant;
use verdicts::VerdictFile;

/// Replays the captures and writes the report.
pub(crate) fn run(typed: &Replay, output: &mut Output) -> Result<Ending, Trouble> {
    let options = ReplayOptions::new(&typed.how, &typed.node.sysctl)?;
    let settings = settings(&options, &typed.start)?;
    inputs::stdin_once(&typed.rules, &typed.captures)?;
    let facts = match options.tracking {
        None => inputs::node::facts(&typed.node)?,
        Some(_) => inputs::node::facts_beside_conntrack(&typed.node)?,
    };
    let sources = sources(&typed.captures)?;
    let started = Instant::now();
    let read = inputs::rules::load(&typed.rules)?;
    let config = Config {
        mark: Some(settings.mark),
        // What begins a connection is decided by the nodes.
        passes: match options.tracking {
            None => Passes::default(),
            Some(_) => Passes::with_all_nodes(),
        },
        ..Config::default()
    };
    let rules = Rules::new(read.v4.as_ref(), read.v6.as_ref(), &facts, &config);
    let rules = rules.map_err(|e| Trouble::new(e.to_string()))?;
    let compile_s = started.elapsed().as_secs_f64();
    let report = replay(sources, &rules, &settings, &options, &typed.captures)?;
    let warnings = warnings(&read, &rules, &report);
    output::warn(&warnings[read.warnings.len()..]);
    let names = record::Names {
        rules: &rules,
        typed,
        options: &options,
    };
    let report = names.report(report, warnings, compile_s);
    if options.json {
        output.record(&report)?;
    } else {
        output.write(&replay::text(&report, output.palette()))?;
    }
    Ok(match report.holds_a_finding() {
        false => Ending::Fine,
        true => Ending::Finding,
    })
}

fn settings(options: &ReplayOptions, start: &StartArgs) -> Result<Settings, Trouble> {
    Ok(Settings {
        hook: match start.hook {
            HookChoice::Auto => kpclass_engine::HookChoice::Auto,
            HookChoice::Prerouting => kpclass_engine::HookChoice::Prerouting,
            HookChoice::Output => kpclass_engine::HookChoice::Output,
        },
        in_interface: start
            .in_interface
            .as_deref()
            .map(options::interface)
            .transpose()?,
        mark: start
            .mark
            .as_deref()
            .map(options::mark)
            .transpose()?
            .unwrap_or(0),
        seed: options.seed,
        threads: options.threads,
        check: match options.check {
            Check::Full => check::Check::Full,
            Check::Sample(n) => check::Check::Sample(n.get()),
            Check::Off => check::Check::Off,
        },
        top: options.top,
    })
}

/// Files are opened when their turn comes, but one that is not there is found at once.
fn sources(captures: &[PathBuf]) -> Result<Vec<Source>, Trouble> {
    let source = |path: &PathBuf| {
        if path == Path::new("-") {
            return inputs::frame::open("-").map(|capture| Source::Open(Box::new(capture)));
        }
        match std::fs::metadata(path) {
            Ok(_) => Ok(Source::File(path.clone())),
            Err(error) => Err(Trouble::system(path.display(), &error)),
        }
    };
    captures.iter().map(source).collect()
}

fn replay(
    sources: Vec<Source>,
    rules: &Rules<'_>,
    settings: &Settings,
    options: &ReplayOptions,
    captures: &[PathBuf],
) -> Result<Report, Trouble> {
    let bar = progress_bar();
    let progress = |at: Progress| {
        bar.set_length(at.total);
        bar.set_position(at.done);
    };
    let names = captures
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let file = options
        .verdicts
        .as_ref()
        .map(|wanted| VerdictFile::create(wanted, rules, names));
    let mut file = file.transpose()?;
    let listeners = Listeners {
        progress: &progress,
        verdicts: file.as_mut().map(|file| {
            Box::new(|verdict: kpclass_engine::verdicts::FrameVerdict<'_>| file.write(&verdict))
                as _
        }),
    };
    let report = match &options.tracking {
        None => kpclass_engine::replay(sources, rules, settings, listeners),
        Some(tracking) => kpclass_engine::follow(sources, rules, settings, tracking, listeners),
    };
    bar.finish_and_clear();
    let report = report.map_err(|e| Trouble::new(e.to_string()))?;
    file.map_or(Ok(()), VerdictFile::finish)?;
    Ok(report)
}

/// On standard error, and only if that is a terminal.
fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::no_length();
    match ProgressStyle::with_template("checking {wide_bar} {human_pos}/{human_len}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The dump's warnings, then those of the replay.
fn warnings(read: &readers::Rules, rules: &Rules<'_>, report: &Report) -> Vec<String> {
    let mut warnings: Vec<String> = read.warnings.iter().map(ToString::to_string).collect();
    if rules.node.local.is_none() {
        warnings.push(Assumption::NoLocalAddresses.to_string());
    }
    for (_, of) in rules.families() {
        let (walked, classes) = (of.program.walked_classes(), of.program.classes().len());
        if walked > 0 {
            warnings.push(format!(
                "{walked} starts of {classes} classes of destinations take more nodes than a class may have; \
                 their packets are walked rule by rule: slower, not otherwise"
            ));
        }
    }
    warnings.extend(
        report
            .cuts
            .iter()
            .map(|cut| format!("{}: {}", cut.capture, cut.cut)),
    );
    if report.check.limited {
        let most = check::MAX_PENDING;
        warnings.push(format!(
            "more than {most} distinct packets: a sample of them was checked"
        ));
    }
    warnings
}
