//! The walk, sentence by sentence of `ruleset/WALK.md`, beyond what the corpus says: paths, assumptions, numbers drawn, bounds.

mod addrtype;
mod chains;
mod draws;
mod dumps;
mod flows;
mod headers;
mod interfaces;
mod load;
mod missing_chains;
mod nat;
mod recent;
mod routing;
mod sets;
mod support;
mod traversal;
mod tutorial;
mod unknowns;
