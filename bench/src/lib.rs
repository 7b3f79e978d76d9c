//! What the timings share: rulesets with so many keys, workloads, the bare walk of a capture, tables of results.

pub mod bare;
pub mod inputs;
pub mod keys;
pub mod machine;
pub mod measure;
pub mod table;
pub mod workload;
