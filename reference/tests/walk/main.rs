//! The walk, sentence by sentence of `ruleset/WALK.md`, and against what the kernel was seen to do.

mod addrtype;
mod chains;
mod draws;
mod dumps;
mod flows;
mod headers;
mod interfaces;
mod kernel;
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
