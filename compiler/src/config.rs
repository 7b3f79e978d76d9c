//! What a program is compiled for, and how large it may grow.

use kpclass_ruleset::value::CtState;

/// The compiler's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The mark that every packet starts with; `None`: the packet says.
    pub mark: Option<u32>,
    /// The ctstates that packets can have.
    pub ctstates: Vec<CtState>,
    /// Nodes that one class may take before its packets are walked.
    pub class_nodes: usize,
    /// Nodes that all classes may take; those after it are walked.
    pub total_nodes: usize,
    /// States that all classes may visit, for each rule, beside a first million: what bounds the time.
    pub visits_per_rule: u64,
    /// Optional passes.
    pub passes: Passes,
}

/// Passes that change speed and size, and never an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passes {
    /// Equal nodes are one.
    pub share: bool,
    /// After nat, destinations that no rule tells apart go on as one.
    pub merge_tails: bool,
    /// Rows of draws become one selection.
    pub select: bool,
    /// Nodes are kept only for classes that their flat form serves in part: of the others an odd packet is walked.
    pub lean: bool,
}

impl Default for Passes {
    fn default() -> Self {
        Self {
            share: true,
            merge_tails: true,
            select: true,
            lean: true,
        }
    }
}

impl Passes {
    /// All passes, and the nodes of every class.
    pub fn with_all_nodes() -> Self {
        Self {
            lean: false,
            ..Self::default()
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mark: Some(0),
            ctstates: vec![CtState::New],
            class_nodes: 1 << 17,
            total_nodes: 1 << 24,
            visits_per_rule: 64,
            passes: Passes::default(),
        }
    }
}

impl Config {
    /// For packets of any mark and ctstate.
    pub fn any() -> Self {
        Self {
            mark: None,
            ctstates: CtState::ALL.to_vec(),
            ..Self::default()
        }
    }
}
