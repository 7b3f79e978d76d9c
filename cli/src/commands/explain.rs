//! `kpclass explain`: the reference walks, the program is asked the same, and the record or the tree is written.

mod asked;
mod record;

use crate::args::Explain;
use crate::output::Output;
use crate::render::explain::{self, AskedPacket, Explanation};
use crate::trouble::Trouble;
use crate::{Ending, inputs};
use asked::Asked;
use kpclass_reference::Walk;
use kpclass_ruleset::Ruleset;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::readers::Rules;
use kpclass_ruleset::services::Services;
use kpclass_ruleset::value::Family;
use record::Names;

/// Explains every packet that was asked about.
pub(crate) fn run(typed: &Explain, output: &mut Output) -> Result<Ending, Trouble> {
    let facts = inputs::node::facts(&typed.node)?;
    let packets = asked::packets(typed, &facts)?;
    let rules = inputs::rules::load(&typed.rules)?;
    let explainers = Explainers::new(&rules, &facts)?;
    let mut ending = Ending::Fine;
    for (i, asked) in packets.iter().enumerate() {
        let explanation = explainers.explain(asked)?;
        if !explanation.program_agrees {
            ending = Ending::Finding;
        }
        if typed.json {
            output.record(&explanation)?;
        } else {
            let gap = if i == 0 { "" } else { "\n" };
            let text = explain::text(&explanation, output.palette());
            output.write(&format!("{gap}{text}"))?;
        }
    }
    Ok(ending)
}

/// One for each family that the rules hold.
struct Explainers<'a> {
    v4: Option<Explainer<'a>>,
    v6: Option<Explainer<'a>>,
}

impl<'a> Explainers<'a> {
    fn new(rules: &'a Rules, facts: &'a NodeFacts) -> Result<Self, Trouble> {
        let explainer = |ruleset: &'a Option<Ruleset>| {
            ruleset
                .as_ref()
                .map(|ruleset| Explainer::new(ruleset, facts))
                .transpose()
        };
        Ok(Self {
            v4: explainer(&rules.v4)?,
            v6: explainer(&rules.v6)?,
        })
    }

    fn explain(&self, asked: &Asked) -> Result<Explanation, Trouble> {
        let (explainer, name, save) = match asked.packet.family() {
            Family::V4 => (&self.v4, "IPv4", "iptables-save"),
            Family::V6 => (&self.v6, "IPv6", "ip6tables-save"),
        };
        let explainer = explainer.as_ref().ok_or_else(|| {
            let message = format!("{}: the rules hold none for {name}", asked.spec);
            Trouble::new(message).note(format!("add --rules with the output of {save}"))
        })?;
        Ok(explainer.explain(asked))
    }
}

struct Explainer<'a> {
    ruleset: &'a Ruleset,
    services: Services,
    walk: Walk<'a>,
}

impl<'a> Explainer<'a> {
    fn new(ruleset: &'a Ruleset, facts: &'a NodeFacts) -> Result<Self, Trouble> {
        let walk = Walk::new(ruleset, facts).map_err(|e| Trouble::new(e.to_string()))?;
        Ok(Self {
            ruleset,
            services: Services::new(ruleset),
            walk,
        })
    }

    fn explain(&self, asked: &Asked) -> Explanation {
        let names = Names {
            ruleset: self.ruleset,
            services: &self.services,
        };
        let agrees = true; // PLACEHOLDER until the compiler is there
        Explanation {
            schema: Explanation::SCHEMA,
            packet: AskedPacket {
                spec: asked.spec.clone(),
                hook: match asked.packet.hook {
                    kpclass_ruleset::Hook::Output => "output",
                    _ => "prerouting",
                },
            },
            outcomes: self
                .walk
                .outcomes(&asked.packet)
                .iter()
                .map(|o| names.outcome(o))
                .collect(),
            program_agrees: agrees,
        }
    }
}
