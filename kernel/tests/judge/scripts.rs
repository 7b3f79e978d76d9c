//! Scripts of connections: fixed seeds. `KPCLASS_KERNEL_SCRIPTS` is how many, `KPCLASS_KERNEL_SEED` the first. (`kpclass-bench scripts` plays thousands.)

use kpclass_kernel::Backend;
use kpclass_kernel::script::{Played, Player};
use libtest_mimic::Failed;

const SCRIPTS: u64 = 20;
const PACKETS: usize = 24;

pub(crate) fn judge(backend: Backend) -> Result<(), Failed> {
    let number = |name: &str, otherwise: u64| match std::env::var(name) {
        Ok(text) => text
            .parse()
            .map_err(|why| Failed::from(format!("{name}: {why}"))),
        Err(_) => Ok(otherwise),
    };
    let scripts = number("KPCLASS_KERNEL_SCRIPTS", SCRIPTS)?;
    let first = number("KPCLASS_KERNEL_SEED", 1)?;
    let mut player = Player::new(backend)?;
    let mut sum = Played::default();
    for seed in first..first + scripts {
        let played = player.play_seed(seed, PACKETS)?;
        for difference in &played.differences {
            println!("{difference}");
        }
        sum.add(played);
    }
    println!("{backend}: {scripts} scripts, {sum}");
    match sum.differences.is_empty() {
        true => Ok(()),
        false => Err(format!("{} scripts differ", sum.differences.len()).into()),
    }
}
