//! Generated rulesets: fixed seeds, and as many fresh ones, the first of which is printed. `KPCLASS_KERNEL_SEEDS` is how many of each (of a seed four
//! rulesets are made), `KPCLASS_KERNEL_PACKETS` how many packets each is given. (`kpclass-bench kernel` tries thousands.)

use crate::shared::judge as judge_trace;
use kpclass_kernel::{Backend, Kernel, Subject};
use kpclass_ruleset::value::Family;
use kpclass_workload::rulesets::{Recipe, Shape, generate};
use kpclass_workload::trace::trace;
use libtest_mimic::Failed;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

const SEEDS: u64 = 6;
const PACKETS: usize = 200;

pub(crate) fn judge(backend: Backend) -> Result<(), Failed> {
    let mut kernel = Kernel::new(backend)?;
    let seeds: u64 = asked("KPCLASS_KERNEL_SEEDS", SEEDS)?;
    let packets: usize = asked("KPCLASS_KERNEL_PACKETS", PACKETS)?;
    let fresh = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() << 16;
    println!("{backend}: fresh seeds from {fresh}");
    let mut sum = kpclass_kernel::trial::Trial::default();
    for seed in (1..=seeds).chain(fresh..fresh + seeds) {
        for (shape, family) in [
            (Shape::Free, Family::V4),
            (Shape::Free, Family::V6),
            (Shape::KubeProxy, Family::V4),
            (Shape::KubeProxy, Family::V6),
        ] {
            let generated = generate(&Recipe::new(shape, family, seed));
            let trace = trace(&generated, packets, seed);
            let name = format!("{:?}", generated.recipe);
            sum.add(judge_trace(
                &mut kernel,
                &name,
                &Subject::from(&generated),
                &trace,
            )?);
        }
    }
    println!(
        "{backend}: {} rulesets, {} packets judged, {} with the rules' counters compared, {} of {} rules met",
        8 * seeds,
        sum.judged,
        sum.counted,
        sum.rules_met,
        sum.rules
    );
    if sum.judged < 4 * seeds * packets as u64 || sum.rules_met * 3 < sum.rules {
        return Err("too few packets meet rules".into());
    }
    Ok(())
}

fn asked<T: FromStr>(name: &str, otherwise: T) -> Result<T, Failed>
where
    T::Err: std::fmt::Display,
{
    match std::env::var(name) {
        Ok(text) => text.parse().map_err(|why| format!("{name}: {why}").into()),
        Err(_) => Ok(otherwise),
    }
}
