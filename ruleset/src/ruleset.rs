//! The typed rules of one family: tables, chains, rules, each with the file and line it was read from.

mod builder;

pub use builder::RulesetBuilder;

use crate::ids::{ChainId, FileId, RuleId, StrId, Strings};
use crate::matches::Match;
use crate::target::Target;
use crate::value::Family;
use std::ops::Range;

/// A table of netfilter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TableId {
    /// Before connection tracking.
    Raw,
    /// Header changes.
    Mangle,
    /// Address translation; asked about a connection's first packet only.
    Nat,
    /// Accept, drop, reject.
    Filter,
    /// Mandatory access control.
    Security,
}

impl TableId {
    /// Every table.
    pub const ALL: [Self; 5] = [
        Self::Raw,
        Self::Mangle,
        Self::Nat,
        Self::Filter,
        Self::Security,
    ];

    /// The name in a dump.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Mangle => "mangle",
            Self::Nat => "nat",
            Self::Filter => "filter",
            Self::Security => "security",
        }
    }

    /// By name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.name() == name)
    }

    /// The hooks at which the table has a built-in chain.
    pub fn hooks(self) -> &'static [Hook] {
        use Hook::{Forward, Input, Output, Postrouting, Prerouting};
        match self {
            Self::Raw => &[Prerouting, Output],
            Self::Mangle => &[Prerouting, Input, Forward, Output, Postrouting],
            Self::Nat => &[Prerouting, Input, Output, Postrouting],
            Self::Filter | Self::Security => &[Input, Forward, Output],
        }
    }
}

/// A point on a packet's way at which netfilter asks its tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// It arrived.
    Prerouting,
    /// It is for this node.
    Input,
    /// It is for another.
    Forward,
    /// This node made it.
    Output,
    /// It is about to leave.
    Postrouting,
}

impl Hook {
    /// Every hook.
    pub const ALL: [Self; 5] = [
        Self::Prerouting,
        Self::Input,
        Self::Forward,
        Self::Output,
        Self::Postrouting,
    ];

    /// The name of its built-in chains.
    pub fn chain(self) -> &'static str {
        match self {
            Self::Prerouting => "PREROUTING",
            Self::Input => "INPUT",
            Self::Forward => "FORWARD",
            Self::Output => "OUTPUT",
            Self::Postrouting => "POSTROUTING",
        }
    }

    /// By the name of its built-in chains.
    pub fn from_chain(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|h| h.chain() == name)
    }
}

/// What happens at the end of a built-in chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Go on.
    Accept,
    /// End here.
    Drop,
}

/// Packet and byte counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Where something was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    /// The file.
    pub file: FileId,
    /// Its line, from 1.
    pub line: u32,
}

/// A chain of a table.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Its table.
    pub table: TableId,
    /// Its name.
    pub name: StrId,
    /// The hook it is called from, if built-in.
    pub hook: Option<Hook>,
    /// The policy, if built-in ([`Policy::Accept`] where the dump does not say).
    pub policy: Policy,
    /// Whether the dump holds the chain. A chain that is only jumped to (cut away by `grep`, say) is missing.
    pub declared: bool,
    /// The counters beside the policy.
    pub counters: Option<Counters>,
    /// Its rules; rule number n is the n-th, from 1.
    pub rules: Range<u32>,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its chain.
    pub chain: ChainId,
    first_match: u32,
    match_count: u32,
    /// What happens if all matches hold.
    pub target: Target,
    /// Where it was read.
    pub source: Source,
    /// Its counters, where the dump shows them.
    pub counters: Option<Counters>,
}

/// The rules of one family.
#[derive(Clone, Debug)]
pub struct Ruleset {
    family: Family,
    strings: Strings,
    files: Vec<String>,
    present: [bool; 5],
    builtin: [[Option<ChainId>; 5]; 5],
    chains: Vec<Chain>,
    rules: Vec<Rule>,
    matches: Vec<Match>,
    /// Where the rules of each chain lead, apart: whoever goes from chain to chain need not read all rules.
    jumps: Vec<ChainId>,
    /// For each chain where those of the next begin, apart too: there are few enough to stay in the cache.
    jump_ends: Vec<u32>,
}

impl Ruleset {
    /// The family.
    pub fn family(&self) -> Family {
        self.family
    }

    /// The interned strings.
    pub fn strings(&self) -> &Strings {
        &self.strings
    }

    /// The text of an interned string.
    pub fn text(&self, id: StrId) -> &str {
        &self.strings[id]
    }

    /// The name of an input file.
    pub fn file(&self, id: FileId) -> &str {
        self.files.get(id.index()).map_or("", String::as_str)
    }

    /// Whether any input named the table.
    pub fn has_table(&self, table: TableId) -> bool {
        self.present[table as usize]
    }

    /// The built-in chain of a table at a hook, if the dump has it.
    pub fn entry(&self, table: TableId, hook: Hook) -> Option<ChainId> {
        self.builtin[table as usize][hook as usize]
    }

    /// Every chain.
    pub fn chains(&self) -> impl ExactSizeIterator<Item = (ChainId, &Chain)> {
        self.chains
            .iter()
            .enumerate()
            .map(|(i, c)| (ChainId(i as u32), c))
    }

    /// A chain.
    pub fn chain(&self, id: ChainId) -> &Chain {
        &self.chains[id.index()]
    }

    /// A chain's name.
    pub fn chain_name(&self, id: ChainId) -> &str {
        self.text(self.chain(id).name)
    }

    /// The chain of that name in a table.
    pub fn chain_named(&self, table: TableId, name: &str) -> Option<ChainId> {
        let name = self.strings.find(name)?;
        self.chains()
            .find(|(_, c)| c.table == table && c.name == name)
            .map(|(id, _)| id)
    }

    /// Every rule, table by table, chain by chain.
    pub fn rules(&self) -> impl ExactSizeIterator<Item = (RuleId, &Rule)> {
        self.rules
            .iter()
            .enumerate()
            .map(|(i, r)| (RuleId(i as u32), r))
    }

    /// The rules of a chain, in order.
    pub fn chain_rules(&self, id: ChainId) -> impl ExactSizeIterator<Item = (RuleId, &Rule)> {
        let range = self.chain(id).rules.clone();
        range.map(|i| (RuleId(i), &self.rules[i as usize]))
    }

    /// The chains to which the rules of a chain lead, by `-j` or `-g`, one for each rule that does, in order.
    pub fn chain_jumps(&self, id: ChainId) -> &[ChainId] {
        let before = id.index().checked_sub(1);
        let start = before.map_or(0, |before| self.jump_ends[before]);
        &self.jumps[start as usize..self.jump_ends[id.index()] as usize]
    }

    /// A rule.
    #[inline]
    pub fn rule(&self, id: RuleId) -> &Rule {
        &self.rules[id.index()]
    }

    /// A rule's number in its chain, from 1, as `--line-numbers` prints it.
    pub fn rulenum(&self, id: RuleId) -> u32 {
        id.0 - self.chain(self.rule(id).chain).rules.start + 1
    }

    /// A rule's matches, in order.
    #[inline]
    pub fn matches(&self, rule: &Rule) -> &[Match] {
        let first = rule.first_match as usize;
        &self.matches[first..first + rule.match_count as usize]
    }

    /// The comment of a rule (the first, where there are several).
    pub fn comment(&self, rule: &Rule) -> Option<&str> {
        self.matches(rule).iter().find_map(|m| match m.kind {
            crate::matches::MatchKind::Comment(text) => Some(self.text(text)),
            _ => None,
        })
    }
}
