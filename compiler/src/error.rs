//! Why a ruleset is not compiled.

use std::fmt;

/// A ruleset that cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    chain: String,
}

impl CompileError {
    pub(crate) fn chain_loop(chain: &str) -> Self {
        Self {
            chain: chain.to_owned(),
        }
    }

    /// The chain that reaches itself.
    pub fn chain(&self) -> &str {
        &self.chain
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "chain {} jumps, by way of others perhaps, to itself",
            self.chain
        )
    }
}

impl std::error::Error for CompileError {}
