//! `kpclass explain`: the reference walks, the program is asked the same, and the record or the tree is written.

mod asked;
mod fragment;
mod record;
mod story;

use crate::args::{Explain, Mode};
use crate::output::Output;
use crate::render::explain::{self, Explanation};
use crate::trouble::Trouble;
use crate::{Ending, inputs};
use asked::Asked;
use kpclass_compiler::{Config, Program};
use kpclass_engine::judge::Judge;
use kpclass_reference::Walk;
use kpclass_ruleset::Ruleset;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::readers::Rules;
use kpclass_ruleset::services::Services;
use kpclass_ruleset::value::{CtState, Family};
use record::Names;

/// Explains every packet that was asked about.
pub(crate) fn run(typed: &Explain, output: &mut Output) -> Result<Ending, Trouble> {
    let usual = match typed.asked.frame {
        Some(_) => Mode::Conntrack,
        None => Mode::Packet,
    };
    if typed.taken.mode.unwrap_or(usual) == Mode::Conntrack {
        return story::run(typed, output);
    }
    inputs::stdin_once(&typed.rules, typed.asked.packets.as_slice())?;
    let facts = inputs::node::facts(&typed.node)?;
    let packets = asked::packets(typed, &facts)?;
    let rules = inputs::rules::load(&typed.rules)?;
    let explainers = Explainers::new(&rules, &facts, &packets)?;
    let mut ending = Ending::Fine;
    for (i, asked) in packets.iter().enumerate() {
        let explanation = explainers.of(asked)?.explain(asked);
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

/// One for each family that is asked about.
struct Explainers<'a> {
    v4: Option<Explainer<'a>>,
    v6: Option<Explainer<'a>>,
}

impl<'a> Explainers<'a> {
    fn new(rules: &'a Rules, facts: &'a NodeFacts, asked: &[Asked]) -> Result<Self, Trouble> {
        let explainer = |ruleset: &'a Option<Ruleset>, family| {
            let packets = asked.iter().map(|asked| &asked.packet);
            let packets: Vec<&Packet> = packets.filter(|p| p.family() == family).collect();
            let ruleset = ruleset.as_ref().filter(|_| !packets.is_empty());
            ruleset
                .map(|ruleset| Explainer::new(ruleset, facts, &packets))
                .transpose()
        };
        Ok(Self {
            v4: explainer(&rules.v4, Family::V4)?,
            v6: explainer(&rules.v6, Family::V6)?,
        })
    }

    fn of(&self, asked: &Asked) -> Result<&Explainer<'a>, Trouble> {
        let (explainer, name, program) = match asked.packet.family() {
            Family::V4 => (&self.v4, "IPv4", "iptables-save"),
            Family::V6 => (&self.v6, "IPv6", "ip6tables-save"),
        };
        explainer.as_ref().ok_or_else(|| {
            let message = format!("{}: the rules hold none for {name}", asked.spec);
            Trouble::new(message).note(format!("add --rules with the output of {program}"))
        })
    }
}

struct Explainer<'a> {
    ruleset: &'a Ruleset,
    facts: &'a NodeFacts,
    services: Services,
    walk: Walk<'a>,
    program: Program,
}

impl<'a> Explainer<'a> {
    fn new(
        ruleset: &'a Ruleset,
        facts: &'a NodeFacts,
        packets: &[&Packet],
    ) -> Result<Self, Trouble> {
        let walk = Walk::new(ruleset, facts).map_err(|e| Trouble::new(e.to_string()))?;
        let program = Program::compile(ruleset, facts, &config(packets));
        let program = program.map_err(|e| Trouble::new(e.to_string()))?;
        Ok(Self {
            ruleset,
            facts,
            services: Services::new(ruleset),
            walk,
            program,
        })
    }

    fn explain(&self, asked: &Asked) -> Explanation {
        let names = Names {
            ruleset: self.ruleset,
            services: &self.services,
        };
        let outcomes = self.walk.outcomes(&asked.packet);
        let agrees = self.program_agrees(&asked.packet);
        let asked = (asked.spec.clone(), asked.packet.hook);
        names.explanation(asked, &outcomes, agrees)
    }

    /// Whether the program decides as the reference does for every number drawn, and has its outcomes.
    fn program_agrees(&self, packet: &Packet) -> bool {
        let judge = Judge::new(self.ruleset, self.facts, &self.walk, &self.program);
        judge.decisions(packet).is_ok() && judge.outcomes(packet).is_ok()
    }
}

/// Compiled for what the packets hold, and no more.
fn config(packets: &[&Packet]) -> Config {
    let mark = packets.first().map(|packet| packet.mark);
    let ctstates = CtState::ALL.into_iter();
    Config {
        mark: mark.filter(|mark| packets.iter().all(|packet| packet.mark == *mark)),
        ctstates: ctstates
            .filter(|s| packets.iter().any(|p| p.ctstate == *s))
            .collect(),
        ..Config::default()
    }
}
