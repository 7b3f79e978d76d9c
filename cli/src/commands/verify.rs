//! `kpclass verify --kernel`: the kernel judges the reference, the reference the program, packet by packet.

use crate::args::{BackendChoice, NodeArgs, Verify};
use crate::output::Output;
use crate::render::verify::{self, Differing, Record};
use crate::trouble::Trouble;
use crate::{Ending, inputs};
use kpclass_compiler::{Config, Program};
use kpclass_engine::judge::Judge;
use kpclass_kernel::trial::{self, Trial};
use kpclass_kernel::{Backend, Kernel, KernelError, Subject, finding};
use kpclass_reference::Walk;
use kpclass_ruleset::line::describe;
use kpclass_ruleset::matches::MatchKind;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::value::{Family, Interface};
use kpclass_ruleset::{Ruleset, save, spec};
use kpclass_workload::trace::Setting;
use std::path::Path;

/// Differing packets that a record shows.
const SHOWN: usize = 20;

/// Judges every family that the rules hold, in each back end.
pub(crate) fn run(typed: &Verify, output: &mut Output) -> Result<Ending, Trouble> {
    inputs::stdin_once(&typed.rules, typed.how.packets.as_slice())?;
    let node = inputs::node::facts(&typed.node)?;
    let given = typed.how.packets.as_deref();
    let given = given.map(|path| packets(path, &node)).transpose()?;
    let ipsets = ipset_text(&typed.node)?;
    let rules = inputs::rules::load(&typed.rules)?;
    let mut ending = Ending::Fine;
    for backend in backends(typed.how.backend) {
        let mut kernel = Kernel::new(backend).map_err(|error| kernel_trouble(&error))?;
        for ruleset in inputs::rules::rulesets(&rules) {
            let family = ruleset.family();
            let judged = Judged::new(ruleset, &node, given.as_deref(), typed, ipsets.clone());
            if judged.trace.is_empty() {
                continue;
            }
            let (record, details) = judged.by(&mut kernel)?;
            if !record.agrees {
                ending = Ending::Finding;
            }
            if typed.how.json {
                output.record(&record)?;
            } else {
                output.write(&verify::text(&record, family, &details, output.palette()))?;
            }
        }
    }
    Ok(ending)
}

fn backends(choice: BackendChoice) -> Vec<Backend> {
    match choice {
        BackendChoice::Legacy => vec![Backend::Legacy],
        BackendChoice::Nft => vec![Backend::Nft],
        BackendChoice::Both => Backend::ALL.to_vec(),
    }
}

fn kernel_trouble(error: &KernelError) -> Trouble {
    let trouble = Trouble::new(format!("--kernel: {error}"));
    match error {
        _ if error.is_privilege() => {
            trouble.note("run it as root (nothing outside a namespace of its own is touched)")
        }
        _ if error.is_missing_tool() => {
            trouble.note("it needs iptables, iproute2, nftables, ipset, conntrack and nfacct")
        }
        _ if error.refusal().is_some() => trouble.note(
            "a whole dump is needed, and a kernel with the matches and targets that it names",
        ),
        _ => trouble,
    }
}

/// The packets of `--packets`.
fn packets(path: &Path, node: &NodeFacts) -> Result<Vec<Packet>, Trouble> {
    let specs = spec::parse_file(&inputs::read_text(path)?)
        .map_err(|error| Trouble::new(format!("{}: {error}", path.display())))?;
    if specs.is_empty() {
        let message = format!("{}: needs one packet a line, holds none", path.display());
        return Err(Trouble::new(message));
    }
    Ok(specs
        .into_iter()
        .map(|(_, spec)| spec.packet(node))
        .collect())
}

/// The text of every `--ipset`, which the kernel is given as it is.
fn ipset_text(typed: &NodeArgs) -> Result<Option<String>, Trouble> {
    let mut text = String::new();
    for path in &typed.ipset {
        text.push_str(&inputs::read_text(path)?);
        text.push('\n');
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// What is judged: rules on a node, and packets.
struct Judged {
    subject: Subject,
    trace: Vec<Packet>,
}

impl Judged {
    fn new(
        ruleset: &Ruleset,
        node: &NodeFacts,
        given: Option<&[Packet]>,
        typed: &Verify,
        ipsets: Option<String>,
    ) -> Self {
        let family = ruleset.family();
        let mut devices = devices(ruleset, node);
        let trace = match given {
            Some(packets) => {
                let of_family = packets.iter().filter(|p| p.family() == family);
                of_family.cloned().collect()
            }
            None => {
                let setting = Setting {
                    ruleset,
                    node,
                    devices: &devices,
                };
                setting.trace(typed.how.random as usize, typed.how.seed)
            }
        };
        devices.extend(trace.iter().filter_map(|packet| packet.in_interface));
        devices.sort();
        devices.dedup();
        Self {
            subject: Subject {
                rules: save::save(ruleset),
                ruleset: ruleset.clone(),
                ipsets,
                node: node.clone(),
                devices,
            },
            trace,
        }
    }

    /// The record, and where something differs the lines that show it.
    fn by(&self, kernel: &mut Kernel) -> Result<(Record, String), Trouble> {
        let subject = self.subject.for_backend(kernel.backend());
        let walk = Walk::new(&subject.ruleset, &subject.node)
            .map_err(|error| Trouble::new(error.to_string()))?;
        let trial = trial::run(kernel, &subject, &walk, &self.trace)
            .map_err(|error| kernel_trouble(&error))?;
        let mut details = String::new();
        if !trial.agrees() {
            details = finding::describe_trial(kernel, &subject, &walk, &self.trace, &trial)
                .map_err(|error| kernel_trouble(&error))?;
            let first = trial.disagreements.first().map(|d| &d.packet);
            if let Some(case) = first.and_then(|p| finding::reduced_case(kernel, &subject, p)) {
                details.push_str(&format!("  reduced\n{case}"));
            }
        }
        let by_program = self.by_program(&subject, &walk)?;
        for differing in &by_program {
            details.push_str(&verify::program_lines(differing));
        }
        Ok((
            record(kernel.backend(), &subject, trial, by_program),
            details,
        ))
    }

    /// Packets on which the program differs from the reference.
    fn by_program(&self, subject: &Subject, walk: &Walk<'_>) -> Result<Vec<Differing>, Trouble> {
        let program = Program::compile(&subject.ruleset, &subject.node, &Config::any())
            .map_err(|error| Trouble::new(error.to_string()))?;
        let judge = Judge::new(&subject.ruleset, &subject.node, walk, &program);
        let differing = self.trace.iter().filter_map(|packet| {
            let difference = judge.decisions(packet).err()?;
            Some(Differing {
                packet: spec::of_packet(packet),
                by: "program",
                seen: difference.to_string(),
                reference: Vec::new(),
            })
        });
        Ok(differing.take(SHOWN).collect())
    }
}

/// The devices that packets arrive on: those with addresses, those that rules name, or one that nobody names.
fn devices(ruleset: &Ruleset, node: &NodeFacts) -> Vec<Interface> {
    let mut devices: Vec<Interface> = node
        .local
        .iter()
        .flat_map(|local| local.devices.iter().map(|(device, _)| *device))
        .chain(named(ruleset))
        .filter(|device| *device != Interface::lo() && *device != Interface::none())
        .collect();
    devices.sort();
    devices.dedup();
    if devices.is_empty() {
        devices.extend(Interface::new("eth0"));
    }
    devices
}

/// The devices that rules name, a prefix as if it were a whole name.
fn named(ruleset: &Ruleset) -> impl Iterator<Item = Interface> {
    let matches = ruleset.rules().flat_map(|(_, rule)| ruleset.matches(rule));
    matches.filter_map(|m| match &m.kind {
        MatchKind::InInterface(pattern) => Some(pattern.name),
        _ => None,
    })
}

fn record(backend: Backend, subject: &Subject, trial: Trial, by_program: Vec<Differing>) -> Record {
    let ruleset = &subject.ruleset;
    let agrees = trial.agrees() && by_program.is_empty();
    let by_kernel = trial.disagreements.iter().take(SHOWN).map(|d| Differing {
        packet: spec::of_packet(&d.packet),
        by: "kernel",
        seen: d.seen.to_string(),
        reference: d.decisions.iter().map(|of| describe(ruleset, of)).collect(),
    });
    let differing: Vec<Differing> = by_kernel.chain(by_program).collect();
    Record {
        schema: Record::SCHEMA,
        backend: backend.to_string(),
        family: match subject.family() {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        },
        judged: trial.judged,
        drawn: trial.drawn,
        counted: trial.counted,
        unknown: trial.unknown,
        left_out: trial.left_out,
        rules: trial.rules,
        rules_met: trial.rules_met,
        disagreements: trial.disagreed,
        miscounted: trial
            .miscounts
            .iter()
            .map(|miscount| save::rule_text(ruleset, miscount.rule))
            .collect(),
        misread: trial.misread.into_iter().map(|(ours, _)| ours).collect(),
        agrees,
        differing,
    }
}
