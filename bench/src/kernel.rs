//! The kernel judges the reference on generated rulesets.

use kpclass_kernel::trial::{self, Trial};
use kpclass_kernel::{Backend, Kernel, Loading};
use kpclass_reference::Walk;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::value::Family;
use kpclass_ruleset::{save, spec};
use kpclass_workload::rulesets::{Generated, Recipe, Shape, generate};
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
        let generated = generate(&recipe(size.seed.wrapping_add(at), at));
        let trace = trace(&generated, size.packets, size.seed ^ at);
        for kernel in &mut kernels {
            let generated = match trial::ruleset_left_out(kernel.backend(), &generated.ruleset) {
                Some(_) => &without_security(&generated),
                None => &generated,
            };
            let trial = one(kernel, generated, &trace)?;
            if !trial.agrees() {
                differing += 1;
                tell(kernel, generated, &trace, &trial)?;
            }
            add(&mut sum, &trial);
        }
    }
    println!(
        "{} rulesets in {} back ends: {} packets judged ({} drawn, {} with counters compared), {} unknown, {} left out; {} of {} rules met; {} disagreements, {} rules miscounted, in {differing} trials; {:.1} s",
        size.rulesets,
        kernels.len(),
        sum.judged,
        sum.drawn,
        sum.counted,
        sum.unknown,
        sum.left_out,
        sum.rules_met,
        sum.rules,
        sum.disagreed,
        sum.miscounts.len(),
        start.elapsed().as_secs_f64()
    );
    if differing == 0 {
        Ok(())
    } else {
        Err(format!("kernel and reference differ in {differing} trials"))
    }
}

/// The ruleset without its security table.
fn without_security(generated: &Generated) -> Generated {
    let mut text = String::new();
    let mut inside = false;
    for line in generated.text.lines() {
        inside = match line {
            "*security" => true,
            "COMMIT" if inside => {
                inside = false;
                continue;
            }
            _ => inside,
        };
        if !inside {
            text.push_str(line);
            text.push('\n');
        }
    }
    let input = Input {
        family: Some(generated.recipe.family),
        ..Input::new("generated", text.clone())
    };
    let ruleset = read(&[input])
        .ok()
        .and_then(|rules| rules.v4.or(rules.v6))
        .unwrap_or_else(|| generated.ruleset.clone());
    Generated {
        text,
        ruleset,
        ..generated.clone()
    }
}

/// Shapes and families in turn.
fn recipe(seed: u64, at: u64) -> Recipe {
    let shape = [Shape::Free, Shape::KubeProxy][(at / 2 % 2) as usize];
    let family = [Family::V4, Family::V6][(at % 2) as usize];
    Recipe::new(shape, family, seed)
}

fn loading(generated: &Generated) -> Loading<'_> {
    Loading {
        family: generated.recipe.family,
        rules: &generated.text,
        ipsets: generated.ipsets.as_deref(),
        node: &generated.node,
        devices: &generated.devices,
    }
}

fn one(kernel: &mut Kernel, generated: &Generated, trace: &[Packet]) -> Result<Trial, String> {
    let recipe = &generated.recipe;
    let backend = kernel.backend();
    let failed = |what: &str, why: String| format!("{recipe:?}, {backend}: {what}: {why}");
    let walk = Walk::new(&generated.ruleset, &generated.node)
        .map_err(|error| failed("walk", error.to_string()))?;
    if let Err(error) = kernel.load(&loading(generated)) {
        return Err(failed("load", format!("{error}\n{}", generated.text)));
    }
    if kernel.is_conntrack_on() != walk.is_conntrack_on() {
        return Err(failed(
            "conntrack",
            format!(
                "on by the kernel: {}\n{}",
                kernel.is_conntrack_on(),
                generated.text
            ),
        ));
    }
    trial::run(kernel, &generated.ruleset, &walk, trace)
        .map_err(|error| format!("{recipe:?}: {error}"))
}

fn tell(
    kernel: &mut Kernel,
    generated: &Generated,
    trace: &[Packet],
    trial: &Trial,
) -> Result<(), String> {
    let ruleset = &generated.ruleset;
    let walk = Walk::new(ruleset, &generated.node).map_err(|error| error.to_string())?;
    println!(
        "{:?}, {}: {} disagree",
        generated.recipe,
        kernel.backend(),
        trial.disagreed
    );
    for d in trial.disagreements.iter().take(3) {
        println!("  {}\n    kernel {}", spec::of_packet(&d.packet), d.seen);
        for decision in &d.decisions {
            println!("    reference {decision:?}");
        }
    }
    let mut of = trial.disagreements.first().map(|d| d.packet.clone());
    for miscount in trial.miscounts.iter().take(3) {
        println!("  {miscount:?} {}", save::rule_text(ruleset, miscount.rule));
    }
    if of.is_none() {
        of = trial::miscounted(kernel, &loading(generated), ruleset, &walk, trace)
            .map_err(|error| error.to_string())?;
    }
    let Some(packet) = of else { return Ok(()) };
    println!("  way of {}", spec::of_packet(&packet));
    for step in walk.decide(&packet, 0).path {
        if let Some(rule) = step.rule {
            println!(
                "    R {} {:?} {}",
                step.hook.chain(),
                step.event,
                save::rule_text(ruleset, rule)
            );
        }
    }
    kernel
        .load(&loading(generated))
        .map_err(|error| error.to_string())?;
    for rule in trial::way(kernel, ruleset, &packet).map_err(|error| error.to_string())? {
        println!("    K {}", save::rule_text(ruleset, rule));
    }
    Ok(())
}

fn add(sum: &mut Trial, trial: &Trial) {
    sum.judged += trial.judged;
    sum.drawn += trial.drawn;
    sum.counted += trial.counted;
    sum.unknown += trial.unknown;
    sum.left_out += trial.left_out;
    sum.disagreed += trial.disagreed;
    sum.rules_met += trial.rules_met;
    sum.rules += trial.rules;
    sum.miscounts.extend(trial.miscounts.iter().copied());
}
