//! What is judged: rules as they are loaded, the same as we read them, and the node.

use crate::backend::Backend;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::readers::{Input, ReadError, read};
use kpclass_ruleset::value::{Family, Interface};
use kpclass_ruleset::{Hook, Ruleset, TableId};
use kpclass_workload::corpus::Case;
use kpclass_workload::rulesets::Generated;
use std::borrow::Cow;

/// Rules on a node.
#[derive(Clone, Debug)]
pub struct Subject {
    /// `iptables-save` text of one family, for `iptables-restore`.
    pub rules: String,
    /// The same as our readers read it.
    pub ruleset: Ruleset,
    /// `ipset save` text.
    pub ipsets: Option<String>,
    /// The node: its addresses, `route_localnet`, the same sets.
    pub node: NodeFacts,
    /// The devices that packets will arrive on.
    pub devices: Vec<Interface>,
}

impl Subject {
    /// The rules' family.
    pub fn family(&self) -> Family {
        self.ruleset.family()
    }

    /// With other rules.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub fn with_rules(&self, rules: String) -> Result<Self, ReadError> {
        let input = Input {
            family: Some(self.family()),
            ..Input::new("rules", rules.clone())
        };
        let read = read(&[input])?;
        Ok(Self {
            rules,
            ruleset: read.v4.or(read.v6).unwrap_or_else(|| self.ruleset.clone()),
            ..self.clone()
        })
    }

    /// As a back end can be asked about it. iptables-nft 1.8.9 asks security INPUT behind nat INPUT (priority 150 for 50), where the kernel's own tables
    /// ask it before: with rules in both, security is left away for it.
    pub fn for_backend(&self, backend: Backend) -> Cow<'_, Self> {
        let has = |table| {
            let chain = self.ruleset.entry(table, Hook::Input);
            chain.is_some_and(|chain| self.ruleset.chain_rules(chain).len() > 0)
        };
        if backend == Backend::Legacy || !has(TableId::Nat) || !has(TableId::Security) {
            return Cow::Borrowed(self);
        }
        match self.with_rules(without_security(&self.rules)) {
            Ok(other) => Cow::Owned(other),
            Err(_) => Cow::Borrowed(self),
        }
    }
}

fn without_security(rules: &str) -> String {
    let mut kept = String::new();
    let mut inside = false;
    for line in rules.lines() {
        inside |= line == "*security";
        if !inside {
            kept.push_str(line);
            kept.push('\n');
        }
        inside &= line != "COMMIT";
    }
    kept
}

impl From<&Generated> for Subject {
    fn from(generated: &Generated) -> Self {
        Self {
            rules: generated.text.clone(),
            ruleset: generated.ruleset.clone(),
            ipsets: generated.ipsets.clone(),
            node: generated.node.clone(),
            devices: generated.devices.clone(),
        }
    }
}

impl From<&Case> for Subject {
    fn from(case: &Case) -> Self {
        let mut devices: Vec<Interface> = case
            .packets
            .iter()
            .filter_map(|asked| asked.packet.in_interface)
            .collect();
        devices.sort();
        devices.dedup();
        Self {
            rules: case.text.clone(),
            ruleset: case.ruleset.clone(),
            ipsets: case.ipsets.clone(),
            node: case.node.clone(),
            devices,
        }
    }
}
