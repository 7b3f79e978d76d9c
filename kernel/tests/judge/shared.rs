//! One subject, one trace, one answer.

use kpclass_kernel::trial::{self, Trial};
use kpclass_kernel::{Kernel, Subject, finding};
use kpclass_reference::Walk;
use kpclass_ruleset::packet::Packet;
use libtest_mimic::Failed;
use std::path::{Path, PathBuf};

/// Judges a trace; an error tells all that differs.
pub(crate) fn judge(
    kernel: &mut Kernel,
    name: &str,
    subject: &Subject,
    trace: &[Packet],
) -> Result<Trial, Failed> {
    let backend = kernel.backend();
    let subject = subject.for_backend(backend);
    let walk = Walk::new(&subject.ruleset, &subject.node)?;
    let trial = trial::run(kernel, &subject, &walk, trace)
        .map_err(|error| format!("{name}, {backend}: {error}\n{}", subject.rules))?;
    if trial.agrees() {
        return Ok(trial);
    }
    let mut text = finding::describe_trial(kernel, &subject, &walk, trace, &trial)?;
    let first = trial.disagreements.first();
    if let Some(case) = first.and_then(|d| finding::reduced_case(kernel, &subject, &d.packet)) {
        text.push_str(&format!("reduced:\n{case}"));
    }
    Err(format!("{name}, {backend}: kernel and reference differ\n{text}").into())
}

/// The workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
