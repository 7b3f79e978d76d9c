use super::*;
use kpclass_ruleset::TableId;
use kpclass_ruleset::readers::{Input, read};

/// Rules as kube-proxy and the kubelet write them, each with what it means.
const RULES: [(&str, &str, Option<&str>); 24] = [
    (
        "nat",
        r#"KUBE-SEP-A -s 10.0.0.1/32 -m comment --comment "ns/web:http" -j KUBE-MARK-MASQ"#,
        Some("hairpin: the endpoint reaches itself"),
    ),
    (
        "nat",
        r#"KUBE-SEP-A -p tcp -m comment --comment "ns/web:http" -m tcp -j DNAT --to-destination 10.0.0.1:80"#,
        None,
    ),
    (
        "nat",
        r#"KUBE-SVC-A ! -s 10.1.0.0/16 -d 10.2.0.1/32 -p tcp -m comment --comment "ns/web:http cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ"#,
        Some("source outside the cluster"),
    ),
    (
        "nat",
        r#"KUBE-SVC-A -d 10.2.0.1/32 ! -i cni0 -p tcp -m comment --comment "ns/web:http cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ"#,
        Some("source outside the cluster"),
    ),
    (
        "nat",
        r#"KUBE-SVC-A -d 10.2.0.1/32 -p tcp -m comment --comment "ns/web:http cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ"#,
        Some("every packet to a cluster IP is masqueraded (--masquerade-all)"),
    ),
    (
        "nat",
        r#"KUBE-SVC-A -m comment --comment "ns/web:http -> 10.0.0.1:80" -m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-A --mask 255.255.255.255 --rsource -j KUBE-SEP-A"#,
        Some("session affinity: this client's last endpoint"),
    ),
    (
        "nat",
        r#"KUBE-SVC-A -m comment --comment "ns/web:http -> 10.0.0.1:80" -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-A"#,
        Some("chosen at random"),
    ),
    (
        "nat",
        r#"KUBE-SVC-A -m comment --comment "ns/web:http -> 10.0.0.1:80" -j KUBE-SEP-A"#,
        None,
    ),
    (
        "nat",
        r#"KUBE-SERVICES ! -s 10.1.0.0/16 -d 10.2.0.1/32 -p tcp -m comment --comment "ns/web:http cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ"#,
        Some("source outside the cluster"),
    ),
    (
        "nat",
        r#"KUBE-SERVICES -d 192.0.2.9/32 -p tcp -m comment --comment "ns/web:http external IP" -m tcp --dport 80 -j KUBE-MARK-MASQ"#,
        Some("to an external address: the reply must come back this way"),
    ),
    (
        "nat",
        r#"KUBE-SERVICES -d 10.2.0.1/32 -p tcp -m comment --comment "ns/web:http cluster IP" -m tcp --dport 80 -j KUBE-SVC-A"#,
        None,
    ),
    (
        "nat",
        r#"KUBE-EXT-A -m comment --comment "masquerade traffic for ns/web:http external destinations" -j KUBE-MARK-MASQ"#,
        Some("to an external address: the reply must come back this way"),
    ),
    (
        "nat",
        r#"KUBE-EXT-A -m comment --comment "masquerade LOCAL traffic for ns/web:http external destinations" -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ"#,
        Some("this node itself, to an external address of the Service"),
    ),
    (
        "nat",
        r#"KUBE-NODEPORTS -p tcp -m comment --comment "ns/web:http" -m tcp --dport 30080 -j KUBE-MARK-MASQ"#,
        Some("to a node port: the reply must come back this way"),
    ),
    (
        "nat",
        r#"KUBE-XLB-A -m comment --comment "ns/web:http has no local endpoints" -j KUBE-MARK-DROP"#,
        Some("no local endpoints"),
    ),
    (
        "nat",
        r#"KUBE-FW-A -m comment --comment "ns/web:http loadbalancer IP" -j KUBE-MARK-DROP"#,
        Some("source not in loadBalancerSourceRanges"),
    ),
    (
        "nat",
        r#"KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully"#,
        Some("masqueraded, because it was marked above"),
    ),
    ("nat", r#"POSTROUTING -s 10.1.0.0/16 -j MASQUERADE"#, None),
    (
        "filter",
        r#"KUBE-SERVICES -d 10.2.0.2/32 -p tcp -m comment --comment "ns/empty has no endpoints" -m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable"#,
        Some("no endpoints"),
    ),
    (
        "filter",
        r#"KUBE-EXTERNAL-SERVICES -p tcp -m comment --comment "ns/web:http has no local endpoints" -m addrtype --dst-type LOCAL -m tcp --dport 30080 -j DROP"#,
        Some("no local endpoints"),
    ),
    (
        "filter",
        r#"KUBE-PROXY-FIREWALL -d 192.0.2.1/32 -p tcp -m comment --comment "ns/web:http traffic not accepted by KUBE-FW-A" -m tcp --dport 80 -j DROP"#,
        Some("source not in loadBalancerSourceRanges"),
    ),
    (
        "filter",
        r#"KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP"#,
        Some("to loopback from outside this node"),
    ),
    (
        "filter",
        r#"KUBE-FIREWALL -m comment --comment "kubernetes firewall for dropping marked packets" -m mark --mark 0x8000/0x8000 -j DROP"#,
        Some("marked to be dropped"),
    ),
    (
        "filter",
        r#"KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP"#,
        Some("connection tracking finds it invalid"),
    ),
];

#[test]
fn every_rule_of_kube_proxy_says_why() {
    for (table, rule, expected) in RULES {
        let text = format!("*{table}\n-A {rule}\nCOMMIT\n");
        let rules = read(&[Input::new("n.rules", text.as_str())]).expect("the rule reads");
        let ruleset = rules.v4.expect("an IPv4 rule");
        let (id, rule) = ruleset.rules().next().expect("one rule");
        assert_eq!(
            ruleset.chain(rule.chain).table,
            TableId::from_name(table).unwrap()
        );
        assert_eq!(reason(&ruleset, id), expected, "{text}");
    }
}
