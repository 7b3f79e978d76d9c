//! What a rule of kube-proxy's means to a packet that it matches, in Service words. The rules are those of
//! `pkg/proxy/iptables` (1.20 to now) and of the kubelet; they are told apart by chain, target and comment.

use kpclass_ruleset::matches::MatchKind;
use kpclass_ruleset::target::Target;
use kpclass_ruleset::value::CtState;
use kpclass_ruleset::{Rule, RuleId, Ruleset};

/// Why the rule does what it does, if it is one that a Service packet meets.
pub(crate) fn reason(ruleset: &Ruleset, id: RuleId) -> Option<&'static str> {
    let rule = ruleset.rule(id);
    let chain = ruleset.chain_name(rule.chain);
    match rule.target {
        Target::Jump(to) | Target::Goto(to) => match ruleset.chain_name(to) {
            "KUBE-MARK-MASQ" => Some(masquerade_reason(ruleset, rule, chain)),
            "KUBE-MARK-DROP" => {
                Some(refusal_reason(ruleset, rule, chain).unwrap_or("marked to be dropped"))
            }
            _ => choice_reason(ruleset, rule, chain),
        },
        Target::Drop | Target::Reject(_) => refusal_reason(ruleset, rule, chain),
        Target::Masquerade(_) if chain == "KUBE-POSTROUTING" => {
            Some("masqueraded, because it was marked above")
        }
        _ => None,
    }
}

/// Why KUBE-MARK-MASQ is called.
fn masquerade_reason(ruleset: &Ruleset, rule: &Rule, chain: &str) -> &'static str {
    let comment = ruleset.comment(rule).unwrap_or_default();
    let from_outside = ruleset
        .matches(rule)
        .iter()
        .any(|m| m.inverted && matches!(m.kind, MatchKind::Source(_) | MatchKind::InInterface(_)));
    let from_node = ruleset
        .matches(rule)
        .iter()
        .any(|m| matches!(&m.kind, MatchKind::Addrtype(a) if a.source.is_some()));
    match () {
        () if chain.starts_with("KUBE-SEP-") => "hairpin: the endpoint reaches itself",
        () if from_outside => "source outside the cluster",
        () if from_node => "this node itself, to an external address of the Service",
        () if chain == "KUBE-NODEPORTS" => "to a node port: the reply must come back this way",
        () if comment.ends_with("cluster IP") => {
            "every packet to a cluster IP is masqueraded (--masquerade-all)"
        }
        () => "to an external address: the reply must come back this way",
    }
}

/// Why a packet is dropped, rejected or marked to be dropped.
fn refusal_reason(ruleset: &Ruleset, rule: &Rule, chain: &str) -> Option<&'static str> {
    let comment = ruleset.comment(rule).unwrap_or_default();
    let invalid = ruleset.matches(rule).iter().any(|m| match &m.kind {
        MatchKind::Conntrack(c) => c
            .state
            .is_some_and(|(s, inverted)| !inverted && s.contains(CtState::Invalid)),
        MatchKind::State(states) => !m.inverted && states.contains(CtState::Invalid),
        _ => false,
    });
    match () {
        () if comment.ends_with("has no endpoints") => Some("no endpoints"),
        () if comment.ends_with("has no local endpoints") => Some("no local endpoints"),
        () if chain == "KUBE-PROXY-FIREWALL" || chain.starts_with("KUBE-FW-") => {
            Some("source not in loadBalancerSourceRanges")
        }
        () if comment == "block incoming localnet connections" => {
            Some("to loopback from outside this node")
        }
        () if comment == "kubernetes firewall for dropping marked packets" => {
            Some("marked to be dropped")
        }
        () if invalid => Some("connection tracking finds it invalid"),
        () => None,
    }
}

/// Why this endpoint's chain.
fn choice_reason(ruleset: &Ruleset, rule: &Rule, chain: &str) -> Option<&'static str> {
    let has =
        |wanted: fn(&MatchKind) -> bool| ruleset.matches(rule).iter().any(|m| wanted(&m.kind));
    if !["KUBE-SVC-", "KUBE-SVL-", "KUBE-XLB-"]
        .iter()
        .any(|p| chain.starts_with(p))
    {
        return None;
    }
    if has(|kind| matches!(kind, MatchKind::Recent(_))) {
        return Some("session affinity: this client's last endpoint");
    }
    has(|kind| matches!(kind, MatchKind::Statistic(_))).then_some("chosen at random")
}

#[cfg(test)]
mod tests;
