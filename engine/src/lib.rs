//! Frame → header → decision → report: captures are read, each packet's header is looked up in the compiled program, and
//! what was found is counted and checked.

pub mod capture;
pub mod extract;
pub mod link;
pub mod wire;
