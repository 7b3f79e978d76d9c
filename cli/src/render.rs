//! Answers as text and as JSON records: pure functions over plain structs.

pub(crate) mod bench;
pub(crate) mod columns;
pub(crate) mod connections;
pub(crate) mod explain;
pub(crate) mod graph;
pub(crate) mod quantity;
pub(crate) mod reason;
pub(crate) mod replay;
pub(crate) mod services;
pub(crate) mod verdicts;
pub(crate) mod verify;
