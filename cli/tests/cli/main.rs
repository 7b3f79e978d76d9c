//! The real binary, run as a user runs it.

mod bad_input;
mod bench;
mod connections;
mod findings;
mod flows;
mod fragments;
mod frames;
mod generate;
mod help;
mod live;
mod packets;
mod program;
mod readme;
mod replay;
mod stages;
mod story;
mod tutorial;
