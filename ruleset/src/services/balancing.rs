//! Which endpoints each Service's chains choose from.

use super::names::called;
use super::{Balancing, Choice, Endpoint, Services};
use crate::ids::RuleId;
use crate::matches::{MatchKind, Statistic};
use crate::ruleset::{Rule, Ruleset};
use crate::target::Target;

/// Where each `KUBE-SEP` chain leads.
pub(super) fn chain_endpoints(ruleset: &Ruleset) -> Vec<Option<Endpoint>> {
    let endpoint = |(id, chain): (_, &crate::ruleset::Chain)| {
        let sep = ruleset.text(chain.name).starts_with("KUBE-SEP-");
        sep.then(|| {
            ruleset
                .chain_rules(id)
                .find_map(|(_, rule)| translation(rule))
        })
        .flatten()
    };
    ruleset.chains().map(endpoint).collect()
}

/// The one address of a rule's DNAT.
fn translation(rule: &Rule) -> Option<Endpoint> {
    let Target::Dnat(range) = rule.target else {
        return None;
    };
    let (address, last) = range.addresses?;
    let port = range.ports.map(super::single);
    match port {
        Some(None) => None,
        _ => (address == last).then(|| Endpoint {
            address,
            port: port.flatten(),
        }),
    }
}

/// The endpoint that a rule leads to.
pub(super) fn endpoint(
    ruleset: &Ruleset,
    chains: &[Option<Endpoint>],
    id: RuleId,
) -> Option<Endpoint> {
    let rule = ruleset.rule(id);
    let of_chain = |chain: crate::ids::ChainId| chains.get(chain.index()).copied().flatten();
    translation(rule)
        .or_else(|| called(rule).and_then(of_chain))
        .or_else(|| of_chain(rule.chain))
}

/// Reads the choices of every chain that is walked.
pub(super) fn collect(ruleset: &Ruleset, walked: &[bool], services: &mut Services) {
    for (id, chain) in ruleset.chains().filter(|(id, _)| walked[id.index()]) {
        let name = ruleset.text(chain.name);
        let local = name.starts_with("KUBE-SVL-") || name.starts_with("KUBE-XLB-");
        let Some(service) = services.of_chain(id) else {
            continue;
        };
        if !chain.declared || !(local || name.starts_with("KUBE-SVC-")) {
            continue;
        }
        let choices = ruleset
            .chain_rules(id)
            .filter_map(|(id, rule)| choice(ruleset, services, id, rule));
        let endpoints = choices.collect();
        services.services[service.0 as usize]
            .balancings
            .push(Balancing {
                chain: id,
                local,
                endpoints,
            });
    }
}

/// The choice that a rule is; not one by session affinity, which repeats an endpoint.
fn choice(ruleset: &Ruleset, services: &Services, id: RuleId, rule: &Rule) -> Option<Choice> {
    called(rule).filter(|chain| ruleset.chain_name(*chain).starts_with("KUBE-SEP-"))?;
    let matches = ruleset.matches(rule);
    if matches
        .iter()
        .any(|m| matches!(m.kind, MatchKind::Recent(_)))
    {
        return None;
    }
    let threshold = matches.iter().find_map(|m| match m.kind {
        MatchKind::Statistic(Statistic::Random { threshold }) => Some(threshold),
        _ => None,
    });
    Some(Choice {
        rule: id,
        threshold,
        endpoint: services.endpoint(ruleset, id),
    })
}
