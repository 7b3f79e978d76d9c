//! Compiles the rules of a node's netfilter into one flat lookup program.
//!
//! ```text
//! Ruleset ─ lower ─► Graph ─ index ─► classes ─ specialise (walk each class) ─► nodes ─ flatten ─► Program (nodes, and `program::lookup`, their flat form)
//! ```
//!
//! It is a partial evaluator: [`machine`](Program) walks the rules with the destination key known and everything else left open;
//! what is known folds away, what remains becomes nodes, and equal nodes are one. `DESIGN.md` beside this crate says why.
#![forbid(unsafe_code)]

mod alike;
mod config;
mod error;
mod flatten;
pub mod graph;
pub mod header;
mod index;
mod interned;
mod loops;
mod lower;
mod machine;
mod merge;
mod parts;
mod pipeline;
pub mod program;
mod specialise;
mod tail;

pub use config::{Config, Passes};
pub use error::CompileError;
pub use machine::state::{Class, Progress};
pub use machine::{Connection, Later, Lists, Side};
pub use program::{ClassId, Common, Context, Followed, FollowedFirst, Left, Piece, Program};
