//! The corpus' sequences.

use crate::shared::root;
use kpclass_kernel::Backend;
use kpclass_kernel::script::{Played, Player};
use kpclass_workload::corpus::read_sequences;
use libtest_mimic::Failed;

pub(crate) fn judge(backend: Backend) -> Result<(), Failed> {
    let mut player = Player::new(backend)?;
    let mut sum = Played::default();
    for sequence in read_sequences(&root().join("testdata/sequences/connections.toml"))? {
        let name = &sequence.name;
        let played = player
            .play_sequence(&sequence)
            .map_err(|error| format!("{name}, {backend}: {error}"))?;
        for difference in &played.differences {
            println!("{name}, {backend}: {difference}");
        }
        sum.add(played);
    }
    println!("{backend}: {} sequences, {sum}", sum.scripts);
    match sum.differences.len() + sum.clocked as usize {
        0 => Ok(()),
        count => Err(format!("{count} sequences differ, or were not played to their end").into()),
    }
}
