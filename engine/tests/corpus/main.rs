//! The corpus: in each case the program says what the reference and the case say, however it was compiled, and a replay of
//! its packets gives each the same verdict.

mod batches;
mod counted;
mod program;
mod replayed;

use kpclass_workload::corpus::{Case, read_folder};
use std::path::Path;

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/corpus");
    let cases = read_folder(&folder).unwrap_or_else(|error| panic!("{error}"));
    assert!(cases.len() >= 120, "only {} cases", cases.len());
    cases
}
