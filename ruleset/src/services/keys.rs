//! How each Service is reached, and what its rules say of its policies.

use super::comment::{self, Says};
use super::names::called;
use super::{Key, KeyKind, Refusal, Service, Services, single};
use crate::ids::RuleId;
use crate::matches::{AddressTypes, MatchKind, RecentOperation};
use crate::ruleset::{Rule, Ruleset, TableId};
use crate::target::Target;
use crate::value::{PortRange, Prefix};
use ahash::AHashSet;
use std::net::IpAddr;

/// Reads the keys and policies of every Service from the chains that are walked.
pub(super) fn collect(ruleset: &Ruleset, walked: &[bool], services: &mut Services) {
    for (id, rule) in ruleset.rules() {
        let Some(service) = services.of_rule(id).filter(|_| walked[rule.chain.index()]) else {
            continue;
        };
        let service = &mut services.services[service.0 as usize];
        if let Some(key) = key(ruleset, rule) {
            service.keys.push(key);
        }
        policy(ruleset, id, rule, service);
    }
    for service in &mut services.services {
        merge_keys(&mut service.keys);
        // kube-proxy also lets a load balancer's own address in, where a range holds the node.
        let mut seen: AHashSet<Prefix> = service
            .keys
            .iter()
            .filter_map(|key| key.address.map(Prefix::host))
            .collect();
        service.source_ranges.retain(|range| seen.insert(*range));
    }
}

/// The key that a rule stands for, if its comment and chain tell one.
fn key(ruleset: &Ruleset, rule: &Rule) -> Option<Key> {
    let (_, says) = comment::read(ruleset.comment(rule)?)?;
    let chain = ruleset.chain_name(rule.chain);
    let asked = asked(ruleset, rule);
    let (kind, refusal) = match says {
        Says::ClusterIp => (KeyKind::ClusterIp, None),
        Says::ExternalIp => (KeyKind::ExternalIp, None),
        // In KUBE-FW the same comment stands on rules without a destination.
        Says::LoadBalancerIp => (KeyKind::LoadBalancerIp, None),
        Says::HealthCheck => (KeyKind::HealthCheck, None),
        Says::NoEndpoints | Says::NoLocalEndpoints => {
            let kind = match (chain, asked.local) {
                ("KUBE-SERVICES", _) => KeyKind::ClusterIp,
                (_, true) => KeyKind::NodePort,
                _ => KeyKind::External,
            };
            let refusal = match says {
                Says::NoEndpoints => Refusal::NoEndpoints,
                _ => Refusal::NoLocalEndpoints,
            };
            (kind, Some(refusal))
        }
        Says::Name if chain == "KUBE-NODEPORTS" => (KeyKind::NodePort, None),
        Says::Name => return None,
    };
    let of_the_node = matches!(kind, KeyKind::NodePort | KeyKind::HealthCheck);
    if !of_the_node && asked.destination.is_none() {
        return None;
    }
    let address = asked.destination.filter(|_| !of_the_node);
    Some(Key {
        kind,
        address,
        port: asked.port,
        protocol: asked.protocol?,
        refusal,
    })
}

/// What a rule asks of a packet's destination.
#[derive(Default)]
struct Asked {
    protocol: Option<u8>,
    destination: Option<IpAddr>,
    port: Option<u16>,
    /// `--dst-type LOCAL`.
    local: bool,
}

fn asked(ruleset: &Ruleset, rule: &Rule) -> Asked {
    let mut asked = Asked::default();
    let port = |ports: PortRange, inverted: bool| single(ports).filter(|_| !inverted);
    for condition in ruleset.matches(rule).iter().filter(|m| !m.inverted) {
        match &condition.kind {
            MatchKind::Protocol(number) => asked.protocol = Some(*number),
            MatchKind::Destination(prefix) if prefix.is_host() => {
                asked.destination = Some(prefix.address())
            }
            MatchKind::Tcp(tcp) => {
                asked.port = port(tcp.ports.destination, tcp.ports.destination_inverted)
            }
            MatchKind::Udp(ports) | MatchKind::Sctp(ports) => {
                asked.port = port(ports.destination, ports.destination_inverted);
            }
            MatchKind::Addrtype(types) => {
                asked.local |= types.destination == Some((AddressTypes::LOCAL, false))
            }
            _ => {}
        }
    }
    asked
}

/// Sorts keys and joins those that several rules stand for. A refusal at an external address does not say whose it is; another
/// rule may.
fn merge_keys(keys: &mut Vec<Key>) {
    keys.sort_unstable_by_key(|key| (key.address, key.port, key.protocol, key.kind));
    keys.dedup_by(|key, kept| {
        let same =
            (key.address, key.port, key.protocol) == (kept.address, kept.port, kept.protocol);
        // Sorted by kind, External stands after the kinds it may turn out to be.
        let kinds =
            key.kind == kept.kind || key.kind == KeyKind::External && is_external(kept.kind);
        if same && kinds {
            kept.refusal = kept.refusal.or(key.refusal);
        }
        same && kinds
    });
    keys.sort_unstable();
}

fn is_external(kind: KeyKind) -> bool {
    matches!(kind, KeyKind::ExternalIp | KeyKind::LoadBalancerIp)
}

/// What a rule tells of its Service's policies.
fn policy(ruleset: &Ruleset, id: RuleId, rule: &Rule, service: &mut Service) {
    let chain = ruleset.chain(rule.chain);
    let name = ruleset.text(chain.name);
    let target = called(rule).map_or("", |chain| ruleset.chain_name(chain));
    let says = ruleset
        .comment(rule)
        .and_then(comment::read)
        .map(|(_, says)| says);
    let refused_here = says == Some(Says::NoLocalEndpoints) && chain.table == TableId::Filter;
    match name {
        "KUBE-SERVICES" if chain.table == TableId::Filter => service.internal_local |= refused_here,
        "KUBE-SERVICES" if says == Some(Says::ClusterIp) => {
            service.internal_local |= target.starts_with("KUBE-SVL-")
        }
        "KUBE-EXTERNAL-SERVICES" => service.external_local |= refused_here,
        _ if name.starts_with("KUBE-XLB-") => service.external_local = true,
        _ if name.starts_with("KUBE-EXT-") => {
            service.external_local |= target.starts_with("KUBE-SVL-")
        }
        _ => {}
    }
    if name.starts_with("KUBE-FW-")
        && !matches!(rule.target, Target::None)
        && !target.starts_with("KUBE-MARK-")
    {
        source_ranges(ruleset, rule, service);
    }
    affinity(ruleset, id, service);
}

fn source_ranges(ruleset: &Ruleset, rule: &Rule, service: &mut Service) {
    for condition in ruleset.matches(rule).iter().filter(|m| !m.inverted) {
        if let MatchKind::Source(prefix) = condition.kind {
            service.source_ranges.push(prefix);
        }
    }
}

fn affinity(ruleset: &Ruleset, rule: RuleId, service: &mut Service) {
    let recent = ruleset
        .matches(ruleset.rule(rule))
        .iter()
        .find_map(|m| match &m.kind {
            MatchKind::Recent(recent) if recent.operation == RecentOperation::Check => {
                Some(recent.seconds)
            }
            _ => None,
        });
    service.affinity_seconds = service.affinity_seconds.or(recent);
}
