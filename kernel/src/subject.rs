//! What is judged: rules as they are loaded, the same as we read them, and the node.

use crate::backend::Backend;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::readers::{Input, ReadError, read};
use kpclass_ruleset::value::{Family, Interface};
use kpclass_ruleset::{Hook, Policy, Ruleset, TableId};
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

    /// As a back end can be asked about it, without what iptables-nft 1.8.9 does otherwise than the kernel's own tables: it asks security INPUT behind nat INPUT
    /// (priority 150 for 50), so that with both the security table is left away; and it loads `! --sport A ! --dport B` as "not both", so that such rules are.
    pub fn for_backend(&self, backend: Backend) -> Cow<'_, Self> {
        let acts = |table| {
            let chain = self.ruleset.entry(table, Hook::Input);
            chain.is_some_and(|chain| {
                let drops = self.ruleset.chain(chain).policy == Policy::Drop;
                drops || self.ruleset.chain_rules(chain).len() > 0
            })
        };
        let security = acts(TableId::Nat) && acts(TableId::Security);
        let neither = self.rules.lines().any(asks_for_neither_port);
        if backend == Backend::Legacy || !(security || neither) {
            return Cow::Borrowed(self);
        }
        match self.with_rules(without(&self.rules, security)) {
            Ok(other) => Cow::Owned(other),
            Err(_) => Cow::Borrowed(self),
        }
    }
}

fn asks_for_neither_port(rule: &str) -> bool {
    rule.contains("! --sport") && rule.contains("! --dport")
}

/// The rules without those that ask for neither port, and without the security table.
fn without(rules: &str, security: bool) -> String {
    let mut kept = String::new();
    let mut inside = false;
    for line in rules.lines() {
        inside |= security && line == "*security";
        if !inside && !asks_for_neither_port(line) {
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
