//! The kernel judges the reference on generated rulesets.

use kpclass_kernel::trial::{self, Trial};
use kpclass_kernel::{Backend, Kernel, Subject, finding};
use kpclass_reference::Walk;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::value::Family;
use kpclass_workload::rulesets::{Recipe, Shape, generate};
use kpclass_workload::trace::trace;
use std::time::Instant;

/// How much is tried.
pub(crate) struct Size {
    pub(crate) rulesets: u64,
    pub(crate) packets: usize,
    pub(crate) seed: u64,
}

/// Every ruleset in each back end; an error if the two differ anywhere.
pub(crate) fn run(size: &Size) -> Result<(), String> {
    let start = Instant::now();
    let mut kernels = Vec::new();
    for backend in Backend::ALL {
        kernels.push(Kernel::new(backend).map_err(|error| error.to_string())?);
    }
    let (mut sum, mut differing) = (Trial::default(), 0);
    for at in 0..size.rulesets {
        let recipe = recipe(size.seed.wrapping_add(at));
        let generated = generate(&recipe);
        let subject = Subject::from(&generated);
        let trace = trace(&generated, size.packets, recipe.seed);
        for kernel in &mut kernels {
            let subject = subject.for_backend(kernel.backend());
            let walk = Walk::new(&subject.ruleset, &subject.node).map_err(|e| e.to_string())?;
            let tried = trial::run(kernel, &subject, &walk, &trace);
            let trial = tried.map_err(|e| format!("{recipe:?}: {e}\n{}", subject.rules))?;
            if !trial.agrees() {
                differing += 1;
                println!(
                    "{recipe:?}, {}: {} disagree",
                    kernel.backend(),
                    trial.disagreed
                );
                tell(kernel, &subject, &trace, &trial).map_err(|error| error.to_string())?;
            }
            sum.add(trial);
        }
    }
    println!(
        "{}",
        line(size, &sum, differing, start.elapsed().as_secs_f64())
    );
    if differing == 0 {
        Ok(())
    } else {
        Err(format!("kernel and reference differ in {differing} trials"))
    }
}

fn tell(
    kernel: &mut Kernel,
    subject: &Subject,
    trace: &[Packet],
    trial: &Trial,
) -> Result<(), Box<dyn std::error::Error>> {
    let walk = Walk::new(&subject.ruleset, &subject.node)?;
    let text = finding::describe_trial(kernel, subject, &walk, trace, trial)?;
    print!("{text}");
    let first = trial.disagreements.first().map(|d| &d.packet);
    if let Some(packet) = first
        && let Some(case) = finding::reduced_case(kernel, subject, packet)
    {
        println!("reduced:\n{case}");
    }
    Ok(())
}

fn line(size: &Size, sum: &Trial, differing: u64, seconds: f64) -> String {
    format!(
        "{} rulesets from seed {} in both back ends: {} packets judged ({} of them drawn, {} with the rules' counters compared), {} unknown, {} left out; \
         {} of {} rules met; {} disagreements, {} rules miscounted, {} misread, in {differing} trials; {seconds:.1} s",
        size.rulesets,
        size.seed,
        sum.judged,
        sum.drawn,
        sum.counted,
        sum.unknown,
        sum.left_out,
        sum.rules_met,
        sum.rules,
        sum.disagreed,
        sum.miscounts.len(),
        sum.misread.len(),
    )
}

/// Shapes and families in turn, by the seed alone: so one ruleset can be had again.
fn recipe(seed: u64) -> Recipe {
    let shape = [Shape::Free, Shape::KubeProxy][(seed / 2 % 2) as usize];
    let family = [Family::V4, Family::V6][(seed % 2) as usize];
    Recipe::new(shape, family, seed)
}
