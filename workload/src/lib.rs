//! What the matchers are tried with.
//!
//! ```text
//! seed ─► rulesets ─► edges (packets) ─► matchers ─► reduce
//! testdata ─► corpus ───────────────────────┘
//! ```
#![forbid(unsafe_code)]

pub mod cluster;
pub mod corpus;
pub mod edges;
pub mod frame;
pub mod hits;
pub mod numbers;
pub mod reduce;
pub mod rulesets;
pub mod scripts;
pub mod trace;
