//! Generated rulesets: fixed seeds, and a fresh one that is printed. `KPCLASS_SEEDS` is how many fixed ones. (`kpclass-bench kernel` tries
//! thousands.)

use crate::shared::judge as judge_trace;
use kpclass_kernel::{Backend, Kernel, Subject};
use kpclass_ruleset::value::Family;
use kpclass_workload::rulesets::{Recipe, Shape, generate};
use kpclass_workload::trace::trace;
use libtest_mimic::Failed;
use std::time::{SystemTime, UNIX_EPOCH};

const SEEDS: u64 = 12;
const PACKETS: usize = 200;

pub(crate) fn judge(backend: Backend) -> Result<(), Failed> {
    let mut kernel = Kernel::new(backend)?;
    let asked = std::env::var("KPCLASS_SEEDS").ok();
    let seeds = asked.map_or(Ok(SEEDS), |text| text.parse())?;
    let fresh = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
    let mut sum = kpclass_kernel::trial::Trial::default();
    for seed in (1..=seeds).chain([fresh]) {
        for (shape, family) in [
            (Shape::Free, Family::V4),
            (Shape::Free, Family::V6),
            (Shape::KubeProxy, Family::V4),
            (Shape::KubeProxy, Family::V6),
        ] {
            let generated = generate(&Recipe::new(shape, family, seed));
            let trace = trace(&generated, PACKETS, seed);
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
        "{backend}: fresh seed {fresh}; {} packets judged, {} with the rules' counters compared, {} of {} rules met",
        sum.judged, sum.counted, sum.rules_met, sum.rules
    );
    if sum.judged < 60 * seeds || sum.rules_met * 3 < sum.rules {
        return Err("too few packets meet rules".into());
    }
    Ok(())
}
