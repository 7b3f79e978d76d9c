//! A difference, and how it is shown.

use kpclass_compiler::Piece;
use kpclass_ruleset::decision::Decision;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::spec;
use std::fmt;

/// A packet on which program and reference differ. Displays all that is needed to see it again.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The packet.
    pub packet: Packet,
    /// The number drawn for which they differ; `None`: not one number's.
    pub number: Option<u64>,
    /// What was asked.
    pub asked: Question,
    reference: String,
    program: String,
    reproduce: String,
}

/// What both were asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// All numbers at once.
    Partition,
    /// One number.
    Decide,
    /// One number, as a replay counts.
    Count,
    /// The outcomes with their probabilities.
    Outcomes,
}

impl Difference {
    pub(super) fn new(
        packet: &Packet,
        node: &NodeFacts,
        number: Option<u64>,
        asked: Question,
        (reference, program): (String, String),
    ) -> Box<Self> {
        Box::new(Self {
            packet: packet.clone(),
            number,
            asked,
            reference,
            program,
            reproduce: reproduce(node, packet),
        })
    }
}

/// The command that asks both again.
fn reproduce(node: &NodeFacts, packet: &Packet) -> String {
    let mut command = "kpclass explain --rules FILE".to_owned();
    if let Some(local) = &node.local {
        let mut addresses: Vec<_> = local.addresses.iter().copied().collect();
        addresses.sort();
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        command += &format!(" --local-addrs '{}'", addresses.join(","));
    }
    if let Some(on) = node.route_localnet {
        command += &format!(" --sysctl route_localnet={}", u8::from(on));
    }
    if node.ipsets.is_some() {
        command += " --ipset FILE";
    }
    command + &format!(" --packet '{}'", spec::of_packet(packet))
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = match self.asked {
            Question::Partition => "for all numbers at once",
            Question::Decide => "for one number",
            Question::Count => "as a replay counts",
            Question::Outcomes => "for the outcomes",
        };
        writeln!(f, "program and reference differ, asked {asked}")?;
        writeln!(f, "  packet     {}", spec::of_packet(&self.packet))?;
        if let Some(number) = self.number {
            writeln!(f, "  number     {number}")?;
        }
        writeln!(f, "  reference  {}", self.reference)?;
        writeln!(f, "  program    {}", self.program)?;
        write!(f, "  reproduce  {}", self.reproduce)
    }
}

impl std::error::Error for Difference {}

/// The lowest number drawn (the end of its piece) for which the reference and the program decide otherwise, with what each says; `None`
/// if there is none. Both cover all numbers. Where either gave up it claims nothing (WALK.md 4.3), and so there is nothing to differ.
pub fn first_difference<'p>(
    reference: &'p [kpclass_reference::Piece],
    program: &'p [Piece],
) -> Option<(u64, &'p Decision, &'p Decision)> {
    let (mut a, mut b) = (reference.iter(), program.iter());
    let (mut x, mut y) = (a.next()?, b.next()?);
    loop {
        let draw = x.last.min(y.last);
        let gave_up = x.decision.gave_up() || y.decision.gave_up();
        if x.decision != y.decision && !gave_up {
            return Some((draw, &x.decision, &y.decision));
        }
        if draw == u64::MAX {
            return None;
        }
        let (x_ends, y_ends) = (x.last == draw, y.last == draw);
        if x_ends {
            x = a.next()?;
        }
        if y_ends {
            y = b.next()?;
        }
    }
}
