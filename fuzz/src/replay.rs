//! The kept corpus and the regressions of a target, as an ordinary test replays them.

use std::panic::{catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

/// Holds each kept input of a target to its `check`, and says which one does not pass.
///
/// # Panics
/// With that one, and if there is none at all.
pub fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let mut files = Vec::new();
    for kind in ["corpus", "regressions"] {
        let inside = std::fs::read_dir(folder.join(kind).join(target))
            .into_iter()
            .flatten();
        files.extend(inside.map(|file| file.expect("lists").path()));
    }
    files.sort();
    assert!(!files.is_empty(), "{target} has no corpus");
    files.iter().for_each(|file| one(file, check));
}

fn one(file: &PathBuf, check: fn(&[u8])) {
    let bytes = std::fs::read(file).expect("reads");
    if let Err(panic) = catch_unwind(|| check(&bytes)) {
        eprintln!("on {}", file.display());
        resume_unwind(panic);
    }
}
