//! The corpus: named cases in `testdata/corpus/*.toml`, each a dump, what is known of the node, packets, and what happens to
//! them. Every matcher is held against it: the reference, the program, the kernel.
//!
//! ```toml
//! [[case]]
//! name = "goto-from-a-base-chain-ends-at-the-policy"   # what breaks where it fails
//! why = "fact 15: …"                                    # the kernel's fact, the sentence or the bug behind it
//! dump = """
//! *filter
//! :FORWARD DROP
//! :gone -
//! -A FORWARD -g gone
//! -A FORWARD -j ACCEPT
//! """
//! node = { addresses = ["eth0 192.168.0.2", "10.0.0.9"], route_localnet = false }
//! packets = [
//!   { spec = "udp 10.0.0.1:4000 > 10.0.0.2:53", outcomes = ["drop"] },
//! ]
//! ```
//!
//! The dump is `iptables-save` text in which built-in chains (policy ACCEPT), counters and `COMMIT` may be left out; one that holds a
//! `COMMIT` stands as it is written, for the cases of what a dump lacks. `node` may be left out (nothing is known), and so may any of its
//! keys: `addresses` (each with the device that holds it before it, where that is known), `route_localnet`, `ipsets` (`ipset save` text),
//! `missing_chains = "unknown"`. `kernel_cannot` says why a kernel cannot be asked, and stands only where it cannot.
//!
//! An outcome is [`describe`]'s line, before it its chance where it is not certain: `"1/2 forward dnat=10.1.1.1:80"`. All
//! outcomes are there, in any order, and their chances sum to 1.

mod dump;
mod entry;
mod error;
mod expected;
mod folder;
mod sequence;
#[cfg(test)]
mod tests;

pub use error::CorpusError;
pub use expected::{Chance, Expected};
pub use folder::read_folder;
pub use kpclass_ruleset::line::{describe, effect, nat};
pub use sequence::{Cut, Sequence, SequenceStep, read_sequences, tag};

use entry::Entry;
use error::Problem;
use kpclass_ruleset::Ruleset;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::value::Family;
use std::collections::HashSet;

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// What breaks where it fails; no other case has it.
    pub name: String,
    /// The fact, sentence or bug behind it.
    pub why: String,
    /// The packets' family, and so the dump's.
    pub family: Family,
    /// The dump as `iptables-restore` (or `ip6tables-restore`) takes it.
    pub text: String,
    /// The rules of that text.
    pub ruleset: Ruleset,
    /// What is known of the node.
    pub node: NodeFacts,
    /// The node's ipsets, as `ipset restore` takes them.
    pub ipsets: Option<String>,
    /// What is asked, at least one packet.
    pub packets: Vec<Asked>,
    /// Why a kernel cannot be asked; `None`: it can.
    pub kernel_cannot: Option<String>,
}

/// A packet, and what happens to it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// As it is written.
    pub spec: String,
    /// On the case's node.
    pub packet: Packet,
    /// Every outcome, at least one, no two with one line.
    pub outcomes: Vec<Expected>,
}

impl Asked {
    /// Whether something that is not known decides about it. (A kernel knows everything, so it is not asked.)
    pub fn is_unknown(&self) -> bool {
        self.outcomes.iter().any(Expected::is_unknown)
    }
}

/// Reads the cases of one file.
///
/// # Errors
/// Where the text is not TOML or holds a key that no case has; where a case's dump, node or packets cannot be read, it asks nothing or expects
/// nothing, the chances of a packet's outcomes do not sum to 1, or another case has its name.
pub fn cases(text: &str, file: &str) -> Result<Vec<Case>, CorpusError> {
    let entries = Entry::list(text).map_err(|problem| CorpusError::new(file, None, problem))?;
    let mut names = HashSet::new();
    let mut cases = Vec::new();
    for entry in entries {
        let name = entry.name.clone();
        let fails = |problem| CorpusError::new(file, Some(&name), problem);
        if !names.insert(name.clone()) {
            return Err(fails(Problem::Duplicate));
        }
        cases.push(entry.case(file).map_err(fails)?);
    }
    Ok(cases)
}
