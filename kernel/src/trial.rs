//! A trace of packets put to the kernel and to the reference, which must agree on each.
//!
//! A packet with one possible decision must meet just that; one with several (`statistic`, ranges) one of them. Of packets whose every
//! rule is known, the kernel's counters of each rule must be what the reference's ways add up to: so not only the end is judged, but the
//! way. The rules that the kernel prints back must be the rules that we read.

use crate::error::KernelError;
use crate::judge::fits;
use crate::kernel::Kernel;
use crate::reach::left_out;
use crate::seen::Seen;
use crate::subject::Subject;
use crate::ways::{Counters, Miscount, Ways};
use kpclass_reference::Walk;
use kpclass_ruleset::RuleId;
use kpclass_ruleset::decision::Decision;
use kpclass_ruleset::packet::Packet;

/// So many disagreements are kept; the others are counted.
pub const MAX_KEPT: usize = 20;

/// A packet on which kernel and reference differ.
#[derive(Clone, Debug)]
pub struct Disagreement {
    /// The packet.
    pub packet: Packet,
    /// What became of it.
    pub seen: Seen,
    /// What the reference says can become of it.
    pub decisions: Vec<Decision>,
}

/// How a trace fared.
#[derive(Clone, Debug, Default)]
pub struct Trial {
    /// Packets on which both were asked and the reference knew an answer.
    pub judged: u64,
    /// Of them, those with more than one possible decision.
    pub drawn: u64,
    /// Of them, those whose rules' counters were compared.
    pub counted: u64,
    /// Packets for which the reference's answer is unknown.
    pub unknown: u64,
    /// Packets that the judge cannot put to the kernel.
    pub left_out: u64,
    /// Those that differed.
    pub disagreed: u64,
    /// The first of them.
    pub disagreements: Vec<Disagreement>,
    /// Rules whose counters differed.
    pub miscounts: Vec<Miscount>,
    /// Rules that the kernel prints otherwise than we read them: as we do, and as it does.
    pub misread: Vec<(String, Option<String>)>,
    /// Whether conntrack is on, by the kernel and by the reference, where they differ.
    pub conntrack: Option<(bool, bool)>,
    /// Rules that some counted packet matched.
    pub rules_met: u64,
    /// Rules in all.
    pub rules: u64,
}

impl Trial {
    /// Whether everything agreed.
    pub fn agrees(&self) -> bool {
        self.disagreed == 0
            && self.miscounts.is_empty()
            && self.misread.is_empty()
            && self.conntrack.is_none()
    }

    /// Adds another's figures; what differed is kept up to [`MAX_KEPT`].
    pub fn add(&mut self, other: Self) {
        self.judged += other.judged;
        self.drawn += other.drawn;
        self.counted += other.counted;
        self.unknown += other.unknown;
        self.left_out += other.left_out;
        self.disagreed += other.disagreed;
        self.rules_met += other.rules_met;
        self.rules += other.rules;
        self.conntrack = self.conntrack.or(other.conntrack);
        self.disagreements.extend(other.disagreements);
        self.miscounts.extend(other.miscounts);
        self.misread.extend(other.misread);
        self.disagreements.truncate(MAX_KEPT);
    }
}

/// Loads the subject, and puts a trace to the kernel and the reference.
///
/// # Errors
/// Where the rules are refused ([`KernelError::refusal`]), or the system fails.
pub fn run(
    kernel: &mut Kernel,
    subject: &Subject,
    walk: &Walk<'_>,
    trace: &[Packet],
) -> Result<Trial, KernelError> {
    kernel.load(subject)?;
    let ruleset = &subject.ruleset;
    let (by_kernel, by_reference) = (kernel.is_conntrack_on(), walk.is_conntrack_on());
    let mut trial = Trial {
        rules: ruleset.rules().len() as u64,
        conntrack: (by_kernel != by_reference).then_some((by_kernel, by_reference)),
        ..Trial::default()
    };
    let mut ways = Ways::default();
    let (mut countable, mut others) = (Vec::new(), Vec::new());
    for packet in trace {
        if left_out(kernel, packet).is_some() {
            trial.left_out += 1;
            continue;
        }
        let pieces = walk.partition(packet).into_iter();
        let decisions: Vec<Decision> = pieces.map(|piece| piece.decision).collect();
        if decisions.iter().any(Decision::is_unknown) {
            trial.unknown += 1;
        } else if decisions.len() == 1 && ways.add(walk, packet) {
            countable.push((packet.clone(), decisions));
        } else {
            others.push((packet.clone(), decisions));
        }
    }
    trial.counted = countable.len() as u64;
    ask(kernel, &countable, &mut trial)?;
    let counters = Counters::read(kernel)?;
    trial.miscounts = ways.miscounts(ruleset, &counters);
    trial.misread = counters.misread(ruleset);
    ask(kernel, &others, &mut trial)?;
    trial.rules_met = ways.rules();
    Ok(trial)
}

fn ask(
    kernel: &mut Kernel,
    asked: &[(Packet, Vec<Decision>)],
    trial: &mut Trial,
) -> Result<(), KernelError> {
    let packets: Vec<Packet> = asked.iter().map(|(packet, _)| packet.clone()).collect();
    let seen = kernel.ask(&packets)?;
    for ((packet, decisions), seen) in asked.iter().zip(seen) {
        trial.judged += 1;
        trial.drawn += u64::from(decisions.len() > 1);
        let is_local = |address| kernel.is_local(address);
        if decisions
            .iter()
            .any(|decision| fits(packet, decision, &seen, &is_local))
        {
            continue;
        }
        trial.disagreed += 1;
        if trial.disagreements.len() < MAX_KEPT {
            trial.disagreements.push(Disagreement {
                packet: packet.clone(),
                seen,
                decisions: decisions.clone(),
            });
        }
    }
    Ok(())
}

/// The packet by which some rule's counters differ, found by halving the trace; `None` if neither half of some part differs, as where it takes
/// two packets.
///
/// # Errors
/// Where the system fails.
pub fn miscounted(
    kernel: &mut Kernel,
    subject: &Subject,
    walk: &Walk<'_>,
    trace: &[Packet],
) -> Result<Option<Packet>, KernelError> {
    let mut within = trace;
    while within.len() > 1 {
        let (first, second) = within.split_at(within.len() / 2);
        let mut differs = |half: &[Packet]| -> Result<bool, KernelError> {
            Ok(!run(kernel, subject, walk, half)?.miscounts.is_empty())
        };
        within = if differs(first)? {
            first
        } else if differs(second)? {
            second
        } else {
            return Ok(None);
        };
    }
    Ok(within.first().cloned())
}

/// The rules that the kernel counts for one packet.
///
/// # Errors
/// Where the system fails.
pub fn way(
    kernel: &mut Kernel,
    subject: &Subject,
    packet: &Packet,
) -> Result<Vec<RuleId>, KernelError> {
    kernel.load(subject)?;
    kernel.ask(std::slice::from_ref(packet))?;
    Ok(Counters::read(kernel)?.way(&subject.ruleset))
}
