//! What `verify` found, as a record and as text.

use crate::output::Palette;
use kpclass_ruleset::value::Family;
use serde::Serialize;
use std::fmt::Write as _;

/// One family in one back end.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    pub schema: &'static str,
    /// `legacy` or `nft`.
    pub backend: String,
    /// `ipv4` or `ipv6`.
    pub family: &'static str,
    /// Whether kernel, reference and program agree on everything.
    pub agrees: bool,
    /// Packets on which kernel and reference were compared.
    pub judged: u64,
    /// Of them, those with more than one possible end.
    pub drawn: u64,
    /// Of them, those whose rules' counters were compared.
    pub counted: u64,
    /// Packets whose verdict is unknown.
    pub unknown: u64,
    /// Packets that cannot be put to the kernel.
    pub left_out: u64,
    /// Rules, and those that some counted packet matched.
    pub rules: u64,
    pub rules_met: u64,
    /// Packets on which kernel and reference differ.
    pub disagreements: u64,
    /// Rules that the kernel counted otherwise.
    pub miscounted: Vec<String>,
    /// Rules that the kernel was told otherwise than they were read.
    pub misread: Vec<String>,
    /// The first packets that differ.
    pub differing: Vec<Differing>,
}

/// A packet that differs.
#[derive(Debug, Serialize)]
pub(crate) struct Differing {
    pub packet: String,
    /// Who differs from the reference: `kernel` or `program`.
    pub by: &'static str,
    pub seen: String,
    pub reference: Vec<String>,
}

impl Record {
    pub(crate) const SCHEMA: &'static str = "kpclass.verify/1";
}

/// The record in a few lines, with the details of what differs.
pub(crate) fn text(record: &Record, family: Family, details: &str, palette: Palette) -> String {
    let family = match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    };
    let answer = match record.agrees {
        true => palette.good("kernel, reference and program agree"),
        false => palette.bad("they differ"),
    };
    let mut text = format!(
        "{family}, iptables-{}: {} packets judged: {answer}\n  {} of {} rules met; counters compared for {} packets; {} with more than one possible end\n",
        record.backend, record.judged, record.rules_met, record.rules, record.counted, record.drawn
    );
    if record.unknown + record.left_out > 0 {
        writeln!(
            text,
            "  not judged: {} unknown, {} that cannot be put to a kernel",
            record.unknown, record.left_out
        )
        .ok();
    }
    if !record.agrees {
        writeln!(
            text,
            "  {} packets differ, {} rules were counted otherwise, {} are told otherwise than they were read",
            record.disagreements,
            record.miscounted.len(),
            record.misread.len()
        )
        .ok();
    }
    text.push_str(details);
    text
}

/// A packet on which the program differs: the difference's own lines tell all.
pub(crate) fn program_lines(differing: &Differing) -> String {
    let lines = differing.seen.lines();
    lines
        .map(|line| format!("  {}\n", line.trim_start()))
        .collect()
}
