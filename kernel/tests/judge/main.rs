//! The kernel judges the reference: the corpus, kube-proxy's own flows, the dumps that kube-proxies wrote, generated rulesets.
//!
//! Needs root (or a user namespace of one's own), `iptables`, `iproute2`, `ipset`, `conntrack`, `nftables`, `nfacct`. Where it cannot run its tests are
//! ignored, and say why; with `KPCLASS_KERNEL=required`, as in CI, they fail instead.

mod corpus;
mod dumps;
mod flows;
mod generated;
mod repeated;
mod scripts;
mod sequences;
mod shared;

use kpclass_kernel::{Backend, Kernel, KernelError};
use libtest_mimic::{Arguments, Failed, Trial};
use std::process::ExitCode;

type Judged = fn(Backend) -> Result<(), Failed>;

const TESTS: [(&str, Judged); 7] = [
    ("corpus", corpus::judge),
    ("dumps", dumps::judge),
    ("flows", flows::judge),
    ("generated", generated::judge),
    ("repeated", repeated::judge),
    ("scripts", scripts::judge),
    ("sequences", sequences::judge),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    // In a thread of its own: the namespace goes with it.
    let probe = std::thread::spawn(|| {
        Kernel::new(Backend::Legacy)
            .and(Kernel::new(Backend::Nft))
            .err()
    });
    let missing: Option<KernelError> = probe.join().unwrap_or_default();
    let required = std::env::var("KPCLASS_KERNEL").is_ok_and(|word| word == "required");
    if let Some(why) = &missing {
        eprintln!("SKIPPED: the kernel judge cannot run: {why}");
    }
    let ignored = missing.is_some() && !required;
    let mut trials = Vec::new();
    for backend in Backend::ALL {
        for (name, judge) in TESTS {
            let run = move || judge(backend);
            trials.push(Trial::test(format!("{name}::{backend}"), run).with_ignored_flag(ignored));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
