//! The walk, sentence by sentence of `ruleset/WALK.md`, beyond what the corpus says: paths, assumptions, numbers drawn, bounds.

mod assumptions;
mod chains;
mod draws;
mod dumps;
mod flows;
mod load;
mod matches;
mod support;
mod traversal;
mod tutorial;
