//! kube-proxy's comments, from 1.20 to today: `ns/svc:port cluster IP`, `masquerade traffic for ns/svc:port external destinations`, …

/// What a comment says of its rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// `N cluster IP`.
    ClusterIp,
    /// `N external IP`.
    ExternalIp,
    /// `N loadbalancer IP`, `N traffic not accepted by KUBE-FW-…`.
    LoadBalancerIp,
    /// `N has no endpoints`.
    NoEndpoints,
    /// `N has no local endpoints`.
    NoLocalEndpoints,
    /// `N health check node port`.
    HealthCheck,
    /// The Service alone, or what tells nothing more.
    Name,
}

/// What follows the name.
const AFTER: [(&str, Says); 7] = [
    ("", Says::Name),
    (" cluster IP", Says::ClusterIp),
    (" external IP", Says::ExternalIp),
    (" loadbalancer IP", Says::LoadBalancerIp),
    (" has no endpoints", Says::NoEndpoints),
    (" has no local endpoints", Says::NoLocalEndpoints),
    (" health check node port", Says::HealthCheck),
];

/// What follows the name, to be followed by more: a chain, an endpoint.
const BEFORE_MORE: [(&str, Says); 2] = [
    (" traffic not accepted by KUBE-FW-", Says::LoadBalancerIp),
    (" -> ", Says::Name),
];

/// What stands round the name.
const AROUND: [(&str, &str); 7] = [
    ("masquerade traffic for ", " external destinations"),
    ("pod traffic for ", " external destinations"),
    ("masquerade LOCAL traffic for ", " external destinations"),
    ("route LOCAL traffic for ", " external destinations"),
    (
        "other traffic to ",
        " will be dropped by KUBE-PROXY-FIREWALL",
    ),
    ("masquerade LOCAL traffic for ", " LB IP"),
    ("route LOCAL traffic for ", " LB IP to service chain"),
];

/// The `namespace/name[:port]` that a comment of kube-proxy's names, and what it says; `None` for any other comment.
pub(super) fn read(comment: &str) -> Option<(&str, Says)> {
    let comment = comment.trim();
    let (first, rest) = comment.split_at(comment.find(' ').unwrap_or(comment.len()));
    if is_name(first) {
        let after = AFTER.iter().find(|(text, _)| *text == rest);
        let more = || BEFORE_MORE.iter().find(|(text, _)| rest.starts_with(text));
        return after.or_else(more).map(|(_, says)| (first, *says));
    }
    let around = AROUND
        .iter()
        .find_map(|(before, after)| comment.strip_prefix(before)?.strip_suffix(after));
    let name = around.or_else(|| balancing_rule(comment))?;
    is_name(name).then_some((name, Says::Name))
}

/// `Balancing rule 0 for N`, before 1.23.
fn balancing_rule(comment: &str) -> Option<&str> {
    let (number, name) = comment
        .strip_prefix("Balancing rule ")?
        .split_once(" for ")?;
    number.bytes().all(|b| b.is_ascii_digit()).then_some(name)
}

/// `namespace/name` or `namespace/name:port`, each a DNS label.
fn is_name(text: &str) -> bool {
    let Some((namespace, service)) = text.split_once('/') else {
        return false;
    };
    let (service, port) = service
        .split_once(':')
        .map_or((service, None), |(s, p)| (s, Some(p)));
    is_label(namespace) && is_label(service) && port.is_none_or(is_label)
}

fn is_label(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    let inside = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    bytes.len() <= 63 && edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(inside)
}

#[cfg(test)]
mod tests {
    use super::{Says, read};

    #[test]
    fn the_spellings_of_every_version() {
        for (comment, name, says) in [
            ("ns1/svc1:p80 cluster IP", "ns1/svc1:p80", Says::ClusterIp),
            ("ns2/svc2 external IP", "ns2/svc2", Says::ExternalIp),
            (
                "ns5/svc5:p80 loadbalancer IP",
                "ns5/svc5:p80",
                Says::LoadBalancerIp,
            ),
            (
                "a/b:c traffic not accepted by KUBE-FW-NUKIZ6OKUXPJNT4C",
                "a/b:c",
                Says::LoadBalancerIp,
            ),
            ("a/b:c has no endpoints", "a/b:c", Says::NoEndpoints),
            (
                "a/b:c has no local endpoints",
                "a/b:c",
                Says::NoLocalEndpoints,
            ),
            ("a/b:c health check node port", "a/b:c", Says::HealthCheck),
            ("a/b:c -> 10.180.0.1:80", "a/b:c", Says::Name),
            ("a/b:c", "a/b:c", Says::Name),
            (
                "masquerade traffic for a/b:c external destinations",
                "a/b:c",
                Says::Name,
            ),
            (
                "other traffic to a/b will be dropped by KUBE-PROXY-FIREWALL",
                "a/b",
                Says::Name,
            ),
            (
                "route LOCAL traffic for a/b LB IP to service chain",
                "a/b",
                Says::Name,
            ),
            ("Balancing rule 12 for a/b:c", "a/b:c", Says::Name),
        ] {
            assert_eq!(read(comment), Some((name, says)), "{comment}");
        }
    }

    #[test]
    fn other_programs_comments_name_nothing() {
        for comment in [
            "",
            "/",
            "cali:6gwbT8clXdHdC1b1",
            "kubernetes service portals",
            "Policy default/knp.default.web ingress",
            "default/web ingress",
            "a/b/c",
            "a/b:c:d",
            "-a/b",
            "a/b-",
            "A/b",
            "a/b: cluster IP",
            "Balancing rule x for a/b",
            "masquerade traffic for something external destinations",
            "Redirect pods trying to reach external loadbalancer VIP to clusterIP",
            "10.0.0.0/8",
        ] {
            assert_eq!(read(comment), None, "{comment}");
        }
    }
}
