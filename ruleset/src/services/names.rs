//! Which Service each chain and rule belongs to.

use super::{ServiceId, comment};
use crate::ids::{ChainId, RuleId, StrId};
use crate::matches::MatchKind;
use crate::ruleset::{Rule, Ruleset};
use crate::target::Target;
use ahash::AHashMap;

/// The beginnings of the names of chains that belong to one Service port.
const OF_ONE_SERVICE: [&str; 6] = [
    "KUBE-SVC-",
    "KUBE-SVL-",
    "KUBE-EXT-",
    "KUBE-FW-",
    "KUBE-XLB-",
    "KUBE-SEP-",
];

/// Whether a chain of that name belongs to one Service port.
fn is_of_one_service(name: &str) -> bool {
    OF_ONE_SERVICE
        .iter()
        .any(|beginning| name.starts_with(beginning))
}

/// The chain that a rule jumps or goes to.
pub(super) fn called(rule: &Rule) -> Option<ChainId> {
    match rule.target {
        Target::Jump(chain) | Target::Goto(chain) => Some(chain),
        _ => None,
    }
}

/// The names, sorted, and for each chain and rule whose it is.
pub(super) fn assign(
    ruleset: &Ruleset,
) -> (Vec<String>, Vec<Option<ServiceId>>, Vec<Option<ServiceId>>) {
    let (names, mut rules) = by_comment(ruleset);
    let chains = by_jump(ruleset, &rules);
    for (id, rule) in ruleset.rules() {
        if rules[id.index()].is_none() {
            let own = chains[rule.chain.index()];
            rules[id.index()] =
                own.or_else(|| called(rule).and_then(|chain| chains[chain.index()]));
        }
    }
    (names, chains, rules)
}

/// The names in comments, sorted, and which rule's comment holds which.
fn by_comment(ruleset: &Ruleset) -> (Vec<String>, Vec<Option<ServiceId>>) {
    let mut ids: AHashMap<&str, ServiceId> = AHashMap::new();
    let mut named: Vec<(RuleId, &str)> = Vec::new();
    // Many rules share a comment, and strings are interned.
    let mut read: AHashMap<StrId, Option<&str>> = AHashMap::new();
    for (id, chain) in ruleset.chains() {
        if !ruleset.text(chain.name).starts_with("KUBE-") {
            continue;
        }
        for (rule_id, rule) in ruleset.chain_rules(id) {
            let Some(text) = comment_id(ruleset, rule) else {
                continue;
            };
            let name = *read
                .entry(text)
                .or_insert_with(|| comment::read(ruleset.text(text)).map(|(name, _)| name));
            if let Some(name) = name {
                ids.insert(name, ServiceId(0));
                named.push((rule_id, name));
            }
        }
    }
    let mut names: Vec<&str> = ids.keys().copied().collect();
    names.sort_unstable();
    for (name, number) in names.iter().zip(0..) {
        ids.insert(name, ServiceId(number));
    }
    let mut rules = vec![None; ruleset.rules().len()];
    for (rule, name) in named {
        rules[rule.index()] = ids.get(name).copied();
    }
    (names.into_iter().map(str::to_owned).collect(), rules)
}

fn comment_id(ruleset: &Ruleset, rule: &Rule) -> Option<StrId> {
    ruleset.matches(rule).iter().find_map(|m| match m.kind {
        MatchKind::Comment(text) => Some(text),
        _ => None,
    })
}

/// A chain's Service: by the first comment in it, else by the rules that jump to it, from chain to chain.
fn by_jump(ruleset: &Ruleset, rules: &[Option<ServiceId>]) -> Vec<Option<ServiceId>> {
    let of_one: Vec<bool> = ruleset
        .chains()
        .map(|(_, chain)| is_of_one_service(ruleset.text(chain.name)))
        .collect();
    let mut chains = vec![None; of_one.len()];
    for (id, _) in ruleset.chains().filter(|(id, _)| of_one[id.index()]) {
        chains[id.index()] = ruleset
            .chain_rules(id)
            .find_map(|(rule, _)| rules[rule.index()]);
    }
    let mut due: Vec<(ChainId, ServiceId)> = Vec::new();
    for (id, rule) in ruleset.rules() {
        let service = rules[id.index()].or(chains[rule.chain.index()]);
        due.extend(called(rule).zip(service));
    }
    while let Some((id, service)) = due.pop() {
        if !of_one[id.index()] || chains[id.index()].is_some() {
            continue;
        }
        chains[id.index()] = Some(service);
        let calls = ruleset.chain_rules(id).filter_map(|(_, rule)| called(rule));
        due.extend(calls.map(|to| (to, service)));
    }
    chains
}

/// Which chains count: those of no one Service, and what they lead to. A Service's chain to which none of them leads is stale, unless the
/// dump holds no chain that could (an excerpt): then every chain counts.
pub(super) fn walked(ruleset: &Ruleset, services: &[Option<ServiceId>]) -> Vec<bool> {
    let mut walked = vec![false; services.len()];
    let mut reached: Vec<ChainId> = Vec::new();
    let mut leads = false;
    for (id, chain) in ruleset.chains() {
        if !is_of_one_service(ruleset.text(chain.name)) {
            walked[id.index()] = true;
            reached.push(id);
            leads |= ruleset
                .chain_rules(id)
                .any(|(_, rule)| called(rule).is_some_and(|to| services[to.index()].is_some()));
        }
    }
    if !leads {
        return vec![true; services.len()];
    }
    while let Some(from) = reached.pop() {
        for (_, rule) in ruleset.chain_rules(from) {
            if let Some(to) = called(rule).filter(|to| !walked[to.index()]) {
                walked[to.index()] = true;
                reached.push(to);
            }
        }
    }
    walked
}
