//! The corpus, but for the cases that say why a kernel cannot be asked.

use crate::shared::{judge as judge_trace, root};
use kpclass_kernel::{Backend, Kernel, Subject};
use kpclass_ruleset::packet::Packet;
use kpclass_workload::corpus::read_folder;
use libtest_mimic::Failed;

pub(crate) fn judge(backend: Backend) -> Result<(), Failed> {
    let mut kernel = Kernel::new(backend)?;
    let (mut asked, mut packets, mut failures) = (0, 0, Vec::new());
    for case in read_folder(&root().join("testdata/corpus"))? {
        if case.kernel_cannot.is_some() {
            continue;
        }
        let trace: Vec<Packet> = case
            .packets
            .iter()
            .map(|asked| asked.packet.clone())
            .collect();
        match judge_trace(&mut kernel, &case.name, &Subject::from(&case), &trace) {
            Ok(trial) => packets += trial.judged,
            Err(failed) => failures.push(failed.message().unwrap_or("failed").to_string()),
        }
        asked += 1;
    }
    println!("{backend}: {asked} cases, {packets} packets judged");
    if asked < 100 || packets < 300 {
        failures.push(format!("only {asked} cases and {packets} packets"));
    }
    match failures.is_empty() {
        true => Ok(()),
        false => Err(failures.join("\n").into()),
    }
}
