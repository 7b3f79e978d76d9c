//! placeholder
pub mod header;
