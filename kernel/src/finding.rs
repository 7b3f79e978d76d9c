//! A disagreement as it is reported: both sides with their ways, and the smallest rules and packet that still show it.

use crate::error::KernelError;
use crate::kernel::Kernel;
use crate::subject::Subject;
use crate::trial::{self, Disagreement, Trial};
use kpclass_reference::{LoadError, Walk};
use kpclass_ruleset::line::describe;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::{RuleId, Ruleset, save, spec};
use kpclass_workload::reduce::reduce_within;
use std::fmt::Write as _;

/// Each try loads the rules anew, which takes about a tenth of a second.
const MOST_TRIES: usize = 300;

/// What differs, in lines for a person, indented by two blanks; empty if nothing does.
///
/// # Errors
/// Where the system fails.
pub fn describe_trial(
    kernel: &mut Kernel,
    subject: &Subject,
    walk: &Walk<'_>,
    trace: &[Packet],
    trial: &Trial,
) -> Result<String, KernelError> {
    let mut text = String::new();
    if let Some((kernel, reference)) = trial.conntrack {
        let word = |on: bool| if on { "on" } else { "off" };
        let (kernel, reference) = (word(kernel), word(reference));
        writeln!(text, "  conntrack: kernel {kernel}, reference {reference}").ok();
    }
    for (ours, theirs) in trial.misread.iter().take(3) {
        let theirs = theirs.as_deref().unwrap_or("(nothing)");
        writeln!(text, "  read as      {ours}\n  kernel has   {theirs}").ok();
    }
    for disagreement in trial.disagreements.iter().take(3) {
        text.push_str(&describe_packet(kernel, subject, walk, disagreement)?);
    }
    for miscount in trial.miscounts.iter().take(3) {
        let rule = save::rule_text(&subject.ruleset, miscount.rule);
        let (kernel, reference) = (miscount.kernel, miscount.reference);
        writeln!(
            text,
            "  counted      kernel {kernel}, reference {reference}: {rule}"
        )
        .ok();
    }
    if trial.disagreements.is_empty()
        && !trial.miscounts.is_empty()
        && let Some(packet) = trial::miscounted(kernel, subject, walk, trace)?
    {
        writeln!(text, "  packet       {}", spec::of_packet(&packet)).ok();
        text.push_str(&describe_ways(kernel, subject, walk, &packet)?);
    }
    Ok(text)
}

fn describe_packet(
    kernel: &mut Kernel,
    subject: &Subject,
    walk: &Walk<'_>,
    disagreement: &Disagreement,
) -> Result<String, KernelError> {
    let mut text = String::new();
    let packet = &disagreement.packet;
    writeln!(text, "  packet       {}", spec::of_packet(packet)).ok();
    writeln!(text, "  kernel       {}", disagreement.seen).ok();
    for decision in &disagreement.decisions {
        let line = describe(&subject.ruleset, decision);
        writeln!(text, "  reference    {line}").ok();
    }
    text.push_str(&describe_ways(kernel, subject, walk, packet)?);
    Ok(text)
}

fn describe_ways(
    kernel: &mut Kernel,
    subject: &Subject,
    walk: &Walk<'_>,
    packet: &Packet,
) -> Result<String, KernelError> {
    let mut text = String::new();
    let ruleset = &subject.ruleset;
    let path = walk.decide(packet, 0).path;
    let by_reference: Vec<RuleId> = path.iter().filter_map(|step| step.rule).collect();
    let by_kernel = trial::way(kernel, subject, packet)?;
    for rule in &by_reference {
        let both = by_kernel.contains(rule);
        let who = if both { "both  " } else { "only reference" };
        writeln!(text, "    {who} {}", place_and_text(ruleset, *rule)).ok();
    }
    for rule in by_kernel.iter().filter(|r| !by_reference.contains(r)) {
        writeln!(text, "    only kernel {}", place_and_text(ruleset, *rule)).ok();
    }
    Ok(text)
}

fn place_and_text(ruleset: &Ruleset, rule: RuleId) -> String {
    let table = ruleset.chain(ruleset.rule(rule).chain).table.name();
    format!("{table} {}", save::rule_text(ruleset, rule))
}

/// The smallest rules and packet on which the two still differ, as a case for `testdata/corpus` whose outcome is for a person to fill in.
/// `None` if the disagreement does not come again.
pub fn reduced_case(kernel: &mut Kernel, subject: &Subject, packet: &Packet) -> Option<String> {
    let mut differs = |ruleset: &Ruleset, text: &str, packet: &Packet| {
        let smaller = Subject {
            rules: text.to_string(),
            ruleset: ruleset.clone(),
            ..subject.clone()
        };
        disagrees(kernel, &smaller, packet).unwrap_or(false)
    };
    if !differs(&subject.ruleset, &subject.rules, packet) {
        return None;
    }
    let reduced = reduce_within(MOST_TRIES, &subject.rules, packet, &mut differs);
    Some(case_text(subject, &reduced.text, &reduced.packet))
}

/// Whether the two differ on one packet.
fn disagrees(
    kernel: &mut Kernel,
    subject: &Subject,
    packet: &Packet,
) -> Result<bool, Box<dyn std::error::Error>> {
    let walk = Walk::new(&subject.ruleset, &subject.node).map_err(|e: LoadError| e)?;
    let trial = trial::run(kernel, subject, &walk, std::slice::from_ref(packet))?;
    Ok(!trial.agrees())
}

fn case_text(subject: &Subject, rules: &str, packet: &Packet) -> String {
    let addresses: Vec<String> = subject
        .node
        .local
        .iter()
        .flat_map(|local| &local.devices)
        .map(|(device, address)| format!("\"{} {address}\"", device.name()))
        .collect();
    let mut node = vec![format!("addresses = [{}]", addresses.join(", "))];
    if let Some(localnet) = subject.node.route_localnet {
        node.push(format!("route_localnet = {localnet}"));
    }
    let mut text = format!(
        "[[case]]\nname = \"\"\nwhy = \"\"\nnode = {{ {} }}\ndump = '''\n{rules}'''\npackets = [\n  {{ spec = \"{}\", outcomes = [\"\"] }},\n]\n",
        node.join(", "),
        spec::of_packet(packet)
    );
    if let Some(sets) = &subject.ipsets
        && rules.contains("--match-set")
    {
        write!(
            text,
            "# node.ipsets:\n# {}\n",
            sets.trim_end().replace('\n', "\n# ")
        )
        .ok();
    }
    text
}
