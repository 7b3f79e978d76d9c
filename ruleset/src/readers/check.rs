//! What is asked of a whole ruleset once it is read: no chain may lead back to itself, and what may mislead is named.

use super::{ReadError, Warning, WarningKind};
use crate::ids::ChainId;
use crate::matches::{Match, MatchKind, Ports};
use crate::ordered;
use crate::ruleset::{Rule, Ruleset, TableId};
use crate::save::rule_text;
use crate::target::Target;

/// Rules from which on they are gone through by two threads.
const MANY: usize = 10_000;

/// How many names a warning lists.
const NAMES: usize = 5;

/// Checks a ruleset.
///
/// # Errors
/// A loop of chains.
pub(crate) fn check(ruleset: &Ruleset, warnings: &mut Vec<Warning>) -> Result<(), ReadError> {
    let ((loops, first), second) = ordered::both(
        ruleset.rules().len() >= MANY,
        || {
            let (loops, mut warnings) = (refuse_loops(ruleset), Vec::new());
            missing_chains(ruleset, &mut warnings);
            lost_ports(ruleset, &mut warnings);
            (loops, warnings)
        },
        || {
            let mut warnings = Vec::new();
            services_in_ipsets(ruleset, &mut warnings);
            stale_chains(ruleset, &mut warnings);
            userspace_mode(ruleset, &mut warnings);
            warnings
        },
    );
    loops?;
    warnings.extend(first.into_iter().chain(second));
    Ok(())
}

fn jump(rule: &Rule) -> Option<ChainId> {
    match rule.target {
        Target::Jump(chain) | Target::Goto(chain) => Some(chain),
        _ => None,
    }
}

/// What is known of a chain while loops are looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    Not,
    /// On the path at hand.
    Open,
    Done,
}

/// Depth first, with a stack of its own: chains come from untrusted text.
fn refuse_loops(ruleset: &Ruleset) -> Result<(), ReadError> {
    let mut visits = vec![Visit::Not; ruleset.chains().len()];
    let mut path = Vec::new();
    for (start, _) in ruleset.chains() {
        if visits[start.index()] != Visit::Not {
            continue;
        }
        visits[start.index()] = Visit::Open;
        path.push((start, ruleset.chain_jumps(start).iter()));
        while let Some((chain, jumps)) = path.last_mut() {
            let Some(to) = jumps.next() else {
                visits[chain.index()] = Visit::Done;
                path.pop();
                continue;
            };
            match visits[to.index()] {
                Visit::Not => {
                    visits[to.index()] = Visit::Open;
                    path.push((*to, ruleset.chain_jumps(*to).iter()));
                }
                Visit::Open => {
                    let path: Vec<ChainId> = path.iter().map(|(chain, _)| *chain).collect();
                    return Err(loop_error(ruleset, &path, *to));
                }
                Visit::Done => {}
            }
        }
    }
    Ok(())
}

/// The error of a path whose last chain leads back to `to`.
fn loop_error(ruleset: &Ruleset, path: &[ChainId], to: ChainId) -> ReadError {
    let round = path.iter().skip_while(|chain| **chain != to);
    let mut names: Vec<_> = round.map(|chain| ruleset.chain_name(*chain)).collect();
    let length = names.len();
    if length > NAMES {
        names.truncate(NAMES);
        names.push("…");
    }
    names.push(ruleset.chain_name(to));
    let message = format!(
        "a loop of chains, which the kernel refuses: {}",
        names.join(" -> ")
    );
    let closing = path.last().and_then(|last| {
        ruleset
            .chain_rules(*last)
            .find(|(_, rule)| jump(rule) == Some(to))
    });
    let Some((id, rule)) = closing else {
        return ReadError::new(message);
    };
    ReadError::of_rule(
        rule.source.line,
        rule_text(ruleset, id),
        ruleset.chain_name(to),
        message,
    )
    .in_file(ruleset.file(rule.source.file))
}

/// One warning for each absent chain, at its first use.
fn missing_chains(ruleset: &Ruleset, warnings: &mut Vec<Warning>) {
    // Most dumps lack none.
    if ruleset.chains().all(|(_, chain)| chain.declared) {
        return;
    }
    let mut seen = vec![false; ruleset.chains().len()];
    for (_, rule) in ruleset.rules() {
        let Some(to) = jump(rule).filter(|to| !ruleset.chain(*to).declared) else {
            continue;
        };
        if std::mem::replace(&mut seen[to.index()], true) {
            continue;
        }
        let table = ruleset.chain(to).table.name();
        let message = format!(
            "chain {} of table {table} is jumped to but absent",
            ruleset.chain_name(to)
        );
        warnings.push(Warning::at(WarningKind::MissingChain, rule.source, message));
    }
}

/// The chains of one Service port or endpoint.
const SERVICE_CHAINS: [&str; 6] = [
    "KUBE-SVC-",
    "KUBE-SVL-",
    "KUBE-EXT-",
    "KUBE-FW-",
    "KUBE-XLB-",
    "KUBE-SEP-",
];

fn is_service_chain(name: &str) -> bool {
    SERVICE_CHAINS
        .iter()
        .any(|beginning| name.starts_with(beginning))
}

/// Rules that single out a Service by its address and protocol, but not by its port.
fn lost_ports(ruleset: &Ruleset, warnings: &mut Vec<Warning>) {
    let single_out = ["KUBE-SERVICES", "KUBE-NODEPORTS"].map(|name| ruleset.strings().find(name));
    let chains = ruleset
        .chains()
        .filter(|(_, chain)| single_out.contains(&Some(chain.name)));
    let rules = chains
        .flat_map(|(id, _)| ruleset.chain_rules(id))
        .map(|(_, rule)| rule);
    let lost = rules.filter(|rule| {
        lacks_port(ruleset.matches(rule))
            && jump(rule).is_some_and(|to| is_service_chain(ruleset.chain_name(to)))
    });
    let lost: Vec<_> = lost.collect();
    let Some(first) = lost.first() else { return };
    let chain = ruleset.chain_name(first.chain);
    let message = format!(
        "{} rules of {chain} name a Service but not its port (`--dport`): an older iptables printed the rules of a newer one, \
         and each now takes every port of its address",
        lost.len()
    );
    warnings.push(Warning::at(WarningKind::LostPort, first.source, message));
}

fn lacks_port(matches: &[Match]) -> bool {
    let any = |ports: &Ports| ports.destination.is_any() && !ports.destination_inverted;
    let protocol = matches
        .iter()
        .any(|m| matches!(m.kind, MatchKind::Protocol(_)));
    let port = matches.iter().any(|m| match &m.kind {
        MatchKind::Tcp(tcp) => !any(&tcp.ports),
        MatchKind::Udp(ports) | MatchKind::Sctp(ports) | MatchKind::Dccp(ports) => !any(ports),
        MatchKind::Multiport(_) | MatchKind::Set(_) | MatchKind::Undecided(_) => true,
        _ => false,
    });
    protocol && !port
}

/// kube-proxy's IPVS mode keeps addresses in sets.
fn services_in_ipsets(ruleset: &Ruleset, warnings: &mut Vec<Warning>) {
    let set = |condition: &Match| match &condition.kind {
        MatchKind::Set(set) => {
            Some(ruleset.text(set.name)).filter(|name| name.starts_with("KUBE-"))
        }
        _ => None,
    };
    let found = ruleset.rules().find_map(|(_, rule)| {
        ruleset
            .matches(rule)
            .iter()
            .find_map(set)
            .map(|name| (rule, name))
    });
    let Some((rule, name)) = found else { return };
    let message = format!(
        "Services are in ipsets here (IPVS mode; `{name}` is one): which they are, and their endpoints, is not in the dump"
    );
    warnings.push(Warning::at(
        WarningKind::ServicesInIpsets,
        rule.source,
        message,
    ));
}

/// Chains of Services that no built-in chain leads to. Where not even KUBE-SERVICES is reached, the jumps to it were cut away.
fn stale_chains(ruleset: &Ruleset, warnings: &mut Vec<Warning>) {
    let reached = reached(ruleset);
    let name = ruleset.strings().find("KUBE-SERVICES");
    let services = ruleset.chains().any(|(id, chain)| {
        chain.table == TableId::Nat && reached[id.index()] && Some(chain.name) == name
    });
    if !services {
        return;
    }
    let stale = ruleset.chains().filter(|(id, chain)| {
        chain.declared && !reached[id.index()] && is_service_chain(ruleset.text(chain.name))
    });
    let names: Vec<_> = stale.map(|(_, chain)| ruleset.text(chain.name)).collect();
    if names.is_empty() {
        return;
    }
    let more = if names.len() > NAMES { ", …" } else { "" };
    let message = format!(
        "stale chains, which no built-in chain leads to ({}): {}{more}",
        names.len(),
        names[..names.len().min(NAMES)].join(", ")
    );
    warnings.push(Warning::new(WarningKind::StaleChains, message));
}

/// Which chains the built-in ones lead to.
fn reached(ruleset: &Ruleset) -> Vec<bool> {
    let mut reached = vec![false; ruleset.chains().len()];
    let builtin = ruleset.chains().filter(|(_, chain)| chain.hook.is_some());
    let mut open: Vec<ChainId> = builtin.map(|(id, _)| id).collect();
    while let Some(chain) = open.pop() {
        if !std::mem::replace(&mut reached[chain.index()], true) {
            open.extend(ruleset.chain_jumps(chain));
        }
    }
    reached
}

fn userspace_mode(ruleset: &Ruleset, warnings: &mut Vec<Warning>) {
    let portals = |name: &str| {
        name.starts_with("KUBE-PORTALS-")
            || matches!(name, "KUBE-NODEPORT-HOST" | "KUBE-NODEPORT-CONTAINER")
    };
    let found = ruleset
        .chains()
        .find(|(_, chain)| chain.declared && portals(ruleset.text(chain.name)));
    let Some((_, chain)) = found else { return };
    let message = format!(
        "chain {} is of kube-proxy's userspace mode: its rules lead to a port of kube-proxy, not to an endpoint",
        ruleset.text(chain.name)
    );
    warnings.push(Warning::new(WarningKind::UserspaceMode, message));
}
