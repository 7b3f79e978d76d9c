//! Who writes the rules: the numbers, the values, and where a rule will stand.

use super::Ingredients;
use super::sets::Sets;
use super::skeleton::Hooks;
use super::values::Values;
use crate::numbers::Numbers;
use kpclass_ruleset::value::Family;
use kpclass_ruleset::{Hook, TableId};

/// Where a rule will stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub table: TableId,
    /// The built-in chain, if it stands in one.
    pub builtin: Option<Hook>,
    /// The hooks at which it can be asked.
    pub hooks: Hooks,
}

/// Writes conditions and targets.
pub(super) struct Author<'a> {
    pub numbers: &'a mut Numbers,
    pub values: &'a Values,
    pub sets: &'a Sets,
    pub with: Ingredients,
}

/// Conditions of one rule, in the order in which they are written.
#[derive(Clone, Debug, Default)]
pub(super) struct Conditions {
    /// `-s … -d … -i … -o …`, each with a blank behind it.
    pub header: [String; 4],
    /// The protocol that `-p` asks for, without a `!`.
    pub protocol: Option<&'static str>,
    /// `-p` (with its `!`) and `-f`.
    pub transport: String,
    /// The modules, each with a blank behind it.
    pub modules: String,
    /// How many there are.
    pub count: usize,
}

impl Conditions {
    /// As text, with a blank at the end where there are some.
    pub(super) fn text(&self) -> String {
        let [s, d, i, o] = &self.header;
        format!("{s}{d}{i}{o}{}{}", self.transport, self.modules)
    }

    /// Whether `-p` asks for a protocol with ports that DNAT can set.
    pub(super) fn has_ports(&self) -> bool {
        matches!(self.protocol, Some("tcp" | "udp" | "sctp" | "dccp"))
    }
}

impl Author<'_> {
    /// The family.
    pub(super) fn family(&self) -> Family {
        self.values.family
    }

    /// `! ` now and then.
    pub(super) fn not(&mut self) -> &'static str {
        if self.numbers.chance(0.15) { "! " } else { "" }
    }
}
