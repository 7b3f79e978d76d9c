//! `kpclass services`.

use crate::args;
use crate::output::Output;
use crate::render::services::{self, BalancingRecord, ChoiceRecord, KeyRecord, ServiceRecord};
use crate::trouble::Trouble;
use crate::{Ending, inputs};
use kpclass_ruleset::Ruleset;
use kpclass_ruleset::services::{Balancing, Key, Refusal, Service, Services};
use kpclass_ruleset::value::Family;

/// Lists the Services of every family that the rules hold.
pub(crate) fn run(typed: &args::Services, output: &mut Output) -> Result<Ending, Trouble> {
    let rules = inputs::rules::load(&typed.rules)?;
    let rulesets: Vec<&Ruleset> = inputs::rules::rulesets(&rules).collect();
    for (i, ruleset) in rulesets.iter().enumerate() {
        let records = records(ruleset);
        if typed.json {
            for record in &records {
                output.record(record)?;
            }
            continue;
        }
        let palette = output.palette();
        if rulesets.len() > 1 {
            let gap = if i == 0 { "" } else { "\n" };
            let head = palette.head(if i == 0 { "IPv4" } else { "IPv6" });
            output.write(&format!("{gap}{head}\n"))?;
        }
        match records.is_empty() {
            true => output.write("  no Services\n")?,
            false => output.write(&services::text(&records, palette))?,
        }
    }
    Ok(Ending::Fine)
}

fn records(ruleset: &Ruleset) -> Vec<ServiceRecord> {
    let services = Services::new(ruleset);
    services
        .all()
        .iter()
        .map(|service| record(ruleset, service))
        .collect()
}

fn record(ruleset: &Ruleset, service: &Service) -> ServiceRecord {
    let policy = |local| if local { "Local" } else { "Cluster" };
    ServiceRecord {
        schema: ServiceRecord::SCHEMA,
        service: service.name.clone(),
        family: match ruleset.family() {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        },
        keys: service.keys.iter().map(key_record).collect(),
        affinity_seconds: service.affinity_seconds,
        source_ranges: service
            .source_ranges
            .iter()
            .map(ToString::to_string)
            .collect(),
        internal_traffic_policy: policy(service.internal_local),
        external_traffic_policy: policy(service.external_local),
        balancings: service
            .balancings
            .iter()
            .map(|b| balancing_record(ruleset, b))
            .collect(),
    }
}

fn key_record(key: &Key) -> KeyRecord {
    KeyRecord {
        key: key.to_string(),
        kind: key.kind.describe(),
        refusal: key.refusal.map(Refusal::describe),
    }
}

fn balancing_record(ruleset: &Ruleset, balancing: &Balancing) -> BalancingRecord {
    let choices = balancing.endpoints.iter().zip(balancing.probabilities());
    let endpoints = choices.map(|(choice, probability)| ChoiceRecord {
        endpoint: choice.endpoint.map(|endpoint| endpoint.to_string()),
        probability,
        threshold: choice.threshold,
    });
    BalancingRecord {
        chain: ruleset.chain_name(balancing.chain).to_owned(),
        local: balancing.local,
        endpoints: endpoints.collect(),
    }
}
