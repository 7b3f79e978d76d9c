//! Frame → header → decision → report: captures are read, each packet's header is looked up in the compiled program, and
//! what was found is counted and checked.

pub mod alone;
pub mod capture;
pub mod check;
pub mod connections;
pub mod counts;
pub mod draw;
pub mod extract;
pub mod following;
pub mod fragments;
mod index;
pub mod judge;
pub mod link;
mod near;
#[cfg(test)]
mod numbers;
pub mod replay;
pub mod report;
pub mod rules;
pub mod skip;
pub mod verdicts;
pub mod wire;
mod worker;

pub use following::follow;
pub use replay::{HookChoice, Listeners, Settings, Source, replay};
pub use report::Report;
pub use rules::{FamilyRules, Rules, RulesError};
