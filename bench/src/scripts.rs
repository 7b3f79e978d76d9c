//! The kernel judges the reference on scripts of connections.

use kpclass_kernel::Backend;
use kpclass_kernel::script::{Played, Player};
use std::time::Instant;

/// How much is tried.
pub(crate) struct Size {
    pub(crate) scripts: u64,
    pub(crate) packets: usize,
    pub(crate) seed: u64,
}

/// Every script in one back end, in turn; an error if the two differ anywhere.
pub(crate) fn run(size: &Size) -> Result<(), String> {
    let start = Instant::now();
    let mut players = Vec::new();
    for backend in Backend::ALL {
        players.push(Player::new(backend).map_err(|e| e.to_string())?);
    }
    let mut sum = Played::default();
    for at in 0..size.scripts {
        let seed = size.seed.wrapping_add(at);
        let played = players[(at % 2) as usize].play_seed(seed, size.packets)?;
        for difference in &played.differences {
            println!("{difference}");
        }
        sum.add(played);
    }
    println!(
        "{} scripts of at least {} packets from seed {}: {sum}; {:.1} s",
        size.scripts,
        size.packets,
        size.seed,
        start.elapsed().as_secs_f64()
    );
    match sum.differences.len() {
        0 => Ok(()),
        count => Err(format!("kernel and reference differ in {count} scripts")),
    }
}
