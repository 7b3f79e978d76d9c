//! `--rules`: reads every dump into one ruleset a family.

use crate::args::RulesArgs;
use crate::inputs;
use crate::options::rules::{From, RulesChoice};
use crate::output;
use crate::trouble::Trouble;
use kpclass_ruleset::Ruleset;
use kpclass_ruleset::readers::{self, Input, Rules};
use kpclass_ruleset::value::Family;

/// Reads what `--rules` names. Warnings go to standard error.
pub(crate) fn load(typed: &RulesArgs) -> Result<Rules, Trouble> {
    let mut inputs = Vec::new();
    for choice in RulesChoice::parse_all(&typed.rules)? {
        open(&choice, &mut inputs)?;
    }
    let rules = readers::read(&inputs).map_err(|e| Trouble::new(e.report().trim_end()))?;
    output::warn(&rules.warnings);
    Ok(rules)
}

/// The rulesets that were read, IPv4 first.
pub(crate) fn rulesets(rules: &Rules) -> impl Iterator<Item = &Ruleset> {
    rules.v4.iter().chain(&rules.v6)
}

fn open(choice: &RulesChoice, inputs: &mut Vec<Input>) -> Result<(), Trouble> {
    let input = |name: String, bytes: Vec<u8>| Input {
        name,
        family: choice.family,
        table: choice.table,
        bytes,
    };
    match &choice.from {
        From::File(path) => inputs.push(input(path.display().to_string(), inputs::read(path)?)),
        From::Stdin => inputs.push(input("stdin".to_owned(), inputs::read_stdin()?)),
        From::Live => inputs.extend(live(choice)?),
    }
    Ok(())
}

/// The node's own rules. A node without IPv6 has no `ip6tables-save` that works: that is a warning.
fn live(choice: &RulesChoice) -> Result<Vec<Input>, Trouble> {
    let mut inputs = Vec::new();
    for (family, program) in [
        (Family::V4, "iptables-save"),
        (Family::V6, "ip6tables-save"),
    ] {
        if choice.family.is_some_and(|wanted| wanted != family) {
            continue;
        }
        match inputs::ask(program, &[]) {
            Ok(bytes) => inputs.push(Input {
                name: program.to_owned(),
                family: Some(family),
                table: choice.table,
                bytes,
            }),
            Err(trouble) if family == Family::V6 && choice.family.is_none() => {
                output::warn(&[trouble]);
            }
            Err(trouble) => {
                return Err(trouble.note("live rules are read on the node itself, as root"));
            }
        }
    }
    inputs.retain(|input| !input.bytes.is_empty());
    if inputs.is_empty() {
        let message =
            "--rules live: iptables-save printed nothing; needs rules, and root to see them";
        return Err(Trouble::new(message));
    }
    Ok(inputs)
}
