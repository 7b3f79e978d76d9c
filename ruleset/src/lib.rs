//! What a Kubernetes node's netfilter is told to do, read from any form of iptables dump into one typed model.
//!
//! ```text
//! dump text ─ readers ─► RulesetBuilder ─► Ruleset ─ save ─► canonical iptables-save text
//! ```
//!
//! The model documents what each match and target means; the reference walk and the compiler are both written from it.
//! Beside the rules stand the other words that both share: a [`packet::Packet`] to ask about, the [`node::NodeFacts`] a dump does not
//! hold, and the [`decision::Decision`] they answer with. Nothing here evaluates a rule.
#![forbid(unsafe_code)]

pub mod conntrack;
pub mod decision;
pub mod ids;
pub mod line;
pub mod matches;
pub mod node;
pub mod ordered;
pub mod packet;
pub mod readers;
mod ruleset;
pub mod save;
pub mod services;
pub mod spec;
pub mod target;
pub mod value;

pub use ids::{ChainId, FileId, RuleId, StrId};
pub use ruleset::{Chain, Counters, Hook, Policy, Rule, Ruleset, RulesetBuilder, Source, TableId};
