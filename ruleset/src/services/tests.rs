use super::{KeyKind, Refusal, Service, Services};
use crate::matches::{
    AddressTypes, Addrtype, Match, MatchKind, Ports, Recent, RecentOperation, Statistic, TcpMatch,
};
use crate::target::{NatRange, Target};
use crate::value::{Family, PortRange, Prefix, protocol};
use crate::{FileId, Ruleset, RulesetBuilder, Source, TableId};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// A small reader of kube-proxy's own words, so that these tests do not rest on the readers.
fn ruleset(text: &str) -> Ruleset {
    let mut builder = RulesetBuilder::new(if text.contains("::") {
        Family::V6
    } else {
        Family::V4
    });
    let mut table = TableId::Nat;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = TableId::from_name(name).unwrap();
        } else if let Some(chain) = line.strip_prefix(':') {
            let chain = builder.chain(table, chain.split(' ').next().unwrap());
            builder.declare(chain);
        } else if let Some(rule) = line.strip_prefix("-A ") {
            add_rule(&mut builder, table, rule);
        }
    }
    builder.finish(vec!["test".into()])
}

fn words(rule: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (i, part) in rule.split('"').enumerate() {
        match i % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

fn prefix(text: &str) -> Prefix {
    let (address, len) = text.split_once('/').unwrap();
    Prefix::with_len(address.parse().unwrap(), len.parse().unwrap()).unwrap()
}

fn add_rule(builder: &mut RulesetBuilder, table: TableId, rule: &str) {
    let words = words(rule);
    let mut words = words.iter().map(String::as_str);
    let chain = builder.chain(table, words.next().unwrap());
    let (mut matches, mut target) = (Vec::new(), Target::None);
    let mut next_inverted = false;
    while let Some(word) = words.next() {
        let inverted = std::mem::replace(&mut next_inverted, false);
        let mut kind = None;
        match word {
            "!" => next_inverted = true,
            "-s" => kind = Some(MatchKind::Source(prefix(words.next().unwrap()))),
            "-d" => kind = Some(MatchKind::Destination(prefix(words.next().unwrap()))),
            "-p" => {
                let name = words.next().unwrap();
                let number = protocol::NAMES.iter().find(|(_, n)| *n == name).unwrap().0;
                kind = Some(MatchKind::Protocol(number));
            }
            "--comment" => {
                kind = Some(MatchKind::Comment(
                    builder.strings.intern(words.next().unwrap()),
                ))
            }
            "--dport" => {
                let destination = PortRange::single(words.next().unwrap().parse().unwrap());
                let ports = Ports {
                    destination,
                    ..Ports::ANY
                };
                kind = Some(MatchKind::Tcp(TcpMatch {
                    ports,
                    ..TcpMatch::ANY
                }));
            }
            "--dst-type" => {
                let destination = Some((AddressTypes::LOCAL, inverted));
                let addrtype = Addrtype {
                    source: None,
                    destination,
                    limit_in: false,
                    limit_out: false,
                };
                words.next();
                kind = Some(MatchKind::Addrtype(addrtype));
            }
            "--probability" => {
                let p: f64 = words.next().unwrap().parse().unwrap();
                let threshold = (p * f64::from(1u32 << 31)).round() as u32;
                kind = Some(MatchKind::Statistic(Statistic::Random { threshold }));
            }
            "--rcheck" => {
                let recent = Recent {
                    name: builder.strings.intern("x"),
                    operation: RecentOperation::Check,
                    by_destination: false,
                    mask: "255.255.255.255".parse().unwrap(),
                    seconds: words.nth(1).unwrap().parse().unwrap(),
                    reap: true,
                    hitcount: 0,
                    rttl: false,
                };
                kind = Some(MatchKind::Recent(Box::new(recent)));
            }
            "--to-destination" => {
                let to: std::net::SocketAddr = words.next().unwrap().parse().unwrap();
                let addresses = Some((to.ip(), to.ip()));
                let ports = Some(PortRange::single(to.port()));
                target = Target::Dnat(NatRange {
                    addresses,
                    ports,
                    ..NatRange::default()
                });
            }
            "-j" => {
                let name = words.next().unwrap();
                let builtin = ["DNAT", "MARK", "MASQUERADE", "REJECT", "RETURN", "ACCEPT"];
                target = match name {
                    "DROP" => Target::Drop,
                    _ if builtin.contains(&name) => Target::Accept,
                    _ => Target::Jump(builder.chain(table, name)),
                };
            }
            _ => {}
        }
        matches.extend(kind.map(|kind| Match { inverted, kind }));
    }
    let source = Source {
        file: FileId(0),
        line: 1,
    };
    builder.push(chain, matches, target, source, None);
}

fn shared(path: &str) -> Option<String> {
    let own = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared"));
    let root = std::env::var_os("KPCLASS_SHARED").map_or(own, PathBuf::from);
    let text = std::fs::read_to_string(root.join(path)).ok();
    if text.is_none() {
        eprintln!("SKIPPED: shared/{path} is absent");
    }
    text
}

fn service<'s>(services: &'s Services, name: &str) -> &'s Service {
    services.all().iter().find(|s| s.name == name).unwrap()
}

fn keys(service: &Service) -> Vec<String> {
    let one = |k: &super::Key| {
        let refusal = k.refusal.map_or("", Refusal::describe);
        format!("{} {k} {refusal}", k.kind.describe())
            .trim_end()
            .to_owned()
    };
    service.keys.iter().map(one).collect()
}

const LARGE: &str = "\
*nat
:PREROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.0.0.1/32 -p tcp -m comment --comment \"a/b:c cluster IP\" -m tcp --dport 80 -j KUBE-SVC-X
-A KUBE-SVC-X -m statistic --mode random --probability 0.5 -j KUBE-SEP-1
-A KUBE-SVC-X -j KUBE-SEP-2
-A KUBE-SEP-1 -s 10.1.0.1/32 -j KUBE-MARK-MASQ
-A KUBE-SEP-1 -p tcp -m tcp -j DNAT --to-destination 10.1.0.1:8080
-A KUBE-SEP-2 -p tcp -m tcp -j DNAT --to-destination 10.1.0.2:8080
-A KUBE-SVC-STALE -m comment --comment \"a/old -> 10.1.0.9:80\" -j KUBE-SEP-9
-A KUBE-SEP-9 -p tcp -m tcp -j DNAT --to-destination 10.1.0.9:80
-A cali-x -m comment --comment \"not/mine\" -j KUBE-MARK-MASQ
COMMIT
";

#[test]
fn chains_without_comments_are_named_by_the_jumps_to_them() {
    let rules = ruleset(LARGE);
    let services = Services::new(&rules);
    for (id, rule) in rules.rules() {
        let want = match rules.chain_name(rule.chain) {
            "PREROUTING" | "cali-x" => None,
            "KUBE-SVC-STALE" | "KUBE-SEP-9" => Some("a/old"),
            _ => Some("a/b:c"),
        };
        assert_eq!(
            services.name_of_rule(id),
            want,
            "{}",
            rules.chain_name(rule.chain)
        );
    }
    let sep = rules.chain_named(TableId::Nat, "KUBE-SEP-2").unwrap();
    assert_eq!(services[services.of_chain(sep).unwrap()].name, "a/b:c");
}

#[test]
fn choices_have_thresholds_and_endpoints() {
    let rules = ruleset(LARGE);
    let services = Services::new(&rules);
    let balancing = &service(&services, "a/b:c").balancings[0];
    assert_eq!(balancing.probabilities(), [0.5, 0.5]);
    assert_eq!(balancing.endpoints[0].threshold, Some(1 << 30));
    let to: Vec<String> = balancing
        .endpoints
        .iter()
        .map(|c| c.endpoint.unwrap().to_string())
        .collect();
    assert_eq!(to, ["10.1.0.1:8080", "10.1.0.2:8080"]);
}

#[test]
fn a_stale_service_has_no_keys_and_no_choices() {
    let rules = ruleset(LARGE);
    let services = Services::new(&rules);
    let stale = service(&services, "a/old");
    assert!(stale.keys.is_empty() && stale.balancings.is_empty());
    let excerpt = LARGE
        .lines()
        .filter(|l| l.contains("STALE") || l.contains("SEP-9"));
    let rules = ruleset(&excerpt.collect::<Vec<_>>().join("\n"));
    let services = Services::new(&rules);
    assert_eq!(service(&services, "a/old").balancings[0].endpoints.len(), 1);
}

#[test]
fn the_zoo_in_every_version() {
    for version in ["v1.20-legacy", "v1.27-legacy", "v1.30-legacy", "v1.30-nft"] {
        let Some(text) = shared(&format!(
            "dumps/kube-proxy/b-zoo/{version}/iptables-save.txt"
        )) else {
            return;
        };
        let rules = ruleset(&text);
        let services = Services::new(&rules);
        let everything = service(&services, "zoo/everything:http");
        let want = [
            "cluster IP tcp 10.152.183.24:80",
            "external IP tcp 198.51.100.11:80",
            "load-balancer IP tcp 203.0.113.22:80",
            "node port tcp *:30120",
        ];
        assert_eq!(keys(everything), want, "{version}");
        assert_eq!(everything.affinity_seconds, Some(600));
        assert_eq!(everything.source_ranges, [prefix("198.51.100.0/24")]);
        let remote = service(&services, "zoo/lb-local-remoteonly:http");
        assert!(remote.external_local && !remote.internal_local);
        assert!(
            remote.has_no_local_endpoints() && !remote.has_no_endpoints(),
            "{version}"
        );
        assert!(service(&services, "zoo/lb-noeps:http").has_no_endpoints());
        for (id, rule) in rules.rules() {
            let ours = rules.comment(rule).is_some_and(|c| c.contains("zoo/"));
            assert!(!ours || services.of_rule(id).is_some());
        }
    }
}

/// The keys that the API's Services ask for, as text without refusals.
fn asked_keys(api: &Value, version: &str) -> BTreeMap<String, BTreeSet<String>> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut services = BTreeMap::new();
    for item in list(&api["items"]) {
        let (meta, spec) = (&item["metadata"], &item["spec"]);
        let v4 = |text: &&str| text.parse::<std::net::Ipv4Addr>().is_ok();
        let all: Vec<Value> = [vec![spec["clusterIP"].clone()], list(&spec["clusterIPs"])].concat();
        let Some(cluster_ip) = all.iter().filter_map(Value::as_str).find(v4) else {
            continue;
        };
        for port in list(&spec["ports"]) {
            let name = port["name"]
                .as_str()
                .map_or(String::new(), |n| format!(":{n}"));
            let protocol = port["protocol"].as_str().unwrap().to_lowercase();
            let number = &port["port"];
            let mut keys = BTreeSet::from([format!("cluster IP {protocol} {cluster_ip}:{number}")]);
            for ip in list(&spec["externalIPs"])
                .iter()
                .filter_map(Value::as_str)
                .filter(v4)
            {
                keys.insert(format!("external IP {protocol} {ip}:{number}"));
            }
            for ingress in list(&item["status"]["loadBalancer"]["ingress"]) {
                // Versions before 1.29 do not know the field.
                let vip = ingress["ipMode"] != "Proxy" || version != "v1.30";
                if let Some(ip) = ingress["ip"].as_str().filter(v4).filter(|_| vip) {
                    keys.insert(format!("load-balancer IP {protocol} {ip}:{number}"));
                }
            }
            if let Some(node_port) = port["nodePort"].as_u64() {
                keys.insert(format!("node port {protocol} *:{node_port}"));
            }
            if let Some(check) = spec["healthCheckNodePort"]
                .as_u64()
                .filter(|_| version != "v1.20")
            {
                keys.insert(format!("health check node port tcp *:{check}"));
            }
            let (namespace, service) = (
                meta["namespace"].as_str().unwrap(),
                meta["name"].as_str().unwrap(),
            );
            services.insert(format!("{namespace}/{service}{name}"), keys);
        }
    }
    services
}

#[test]
fn keys_are_those_of_the_services_that_the_dump_was_made_from() {
    for dump in [
        "a-microk8s/v1.20-legacy",
        "a-microk8s/v1.30-legacy",
        "b-zoo/v1.20-legacy",
        "b-zoo/v1.27-legacy",
        "b-zoo/v1.30-nft",
        "b-dualstack/v1.30-legacy",
    ] {
        let read = |file: &str| shared(&format!("dumps/kube-proxy/{dump}/{file}"));
        let (Some(text), Some(api)) = (read("iptables-save.txt"), read("services.json")) else {
            return;
        };
        let rules = ruleset(&text);
        let services = Services::new(&rules);
        let version = &dump.split_once('/').unwrap().1[..5];
        let asked = asked_keys(&serde_json::from_str(&api).unwrap(), version);
        for service in services.all() {
            // A refusal that names an address does not say whether it is an external or a load balancer's.
            let got: Vec<&super::Key> = service.keys.iter().collect();
            let asked = &asked[&service.name];
            assert_eq!(
                got.len(),
                asked.len(),
                "{dump} {}: {:?} {asked:?}",
                service.name,
                keys(service)
            );
            for key in got {
                let kinds = match key.kind {
                    KeyKind::External => vec![KeyKind::ExternalIp, KeyKind::LoadBalancerIp],
                    kind => vec![kind],
                };
                let found = kinds
                    .iter()
                    .any(|kind| asked.contains(&format!("{} {key}", kind.describe())));
                assert!(found, "{dump} {}: {key} of {asked:?}", service.name);
            }
        }
        let names: BTreeSet<&String> = services.all().iter().map(|s| &s.name).collect();
        let missing: Vec<_> = asked.keys().filter(|name| !names.contains(name)).collect();
        assert!(missing.is_empty(), "{dump}: {missing:?}");
    }
}
