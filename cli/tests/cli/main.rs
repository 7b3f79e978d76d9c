//! The real binary, run as a user runs it.

mod bad_input;
mod flows;
mod help;
mod packets;
mod program;
mod tutorial;
