use super::{KeyKind, Refusal, Service, Services};
use crate::readers::{Input, read};
use crate::value::Prefix;
use crate::{Ruleset, TableId};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

fn ruleset(text: impl Into<Vec<u8>>) -> Ruleset {
    let rules = read(&[Input::new("test", text)]).unwrap();
    rules.v4.or(rules.v6).unwrap()
}

fn prefix(text: &str) -> Prefix {
    let (address, len) = text.split_once('/').unwrap();
    Prefix::with_len(address.parse().unwrap(), len.parse().unwrap()).unwrap()
}

fn shared(path: &str) -> Option<Vec<u8>> {
    let own = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared"));
    let root = std::env::var_os("KPCLASS_SHARED").map_or(own, PathBuf::from);
    let bytes = std::fs::read(root.join(path)).ok();
    if bytes.is_none() {
        std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("SKIPPED: shared/{path} is absent\n"),
        )
        .ok();
    }
    bytes
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
    let rules = ruleset(excerpt.collect::<Vec<_>>().join("\n"));
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
        let rules = ruleset(text);
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
        let rules = ruleset(text);
        let services = Services::new(&rules);
        let version = &dump.split_once('/').unwrap().1[..5];
        let asked = asked_keys(&serde_json::from_slice(&api).unwrap(), version);
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

/// The ready endpoints of each Service's port.
fn ready(slices: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut services: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for slice in list(&slices["items"])
        .iter()
        .filter(|s| s["addressType"] == "IPv4")
    {
        let meta = &slice["metadata"];
        let service = meta["labels"]["kubernetes.io/service-name"]
            .as_str()
            .unwrap();
        for port in list(&slice["ports"]) {
            let suffix = port["name"].as_str().filter(|n| !n.is_empty());
            let suffix = suffix.map_or(String::new(), |name| format!(":{name}"));
            let name = format!("{}/{service}{suffix}", meta["namespace"].as_str().unwrap());
            for endpoint in list(&slice["endpoints"])
                .iter()
                .filter(|e| e["conditions"]["ready"] != false)
            {
                for address in list(&endpoint["addresses"]) {
                    let text = format!("{}:{}", address.as_str().unwrap(), port["port"]);
                    services.entry(name.clone()).or_default().insert(text);
                }
            }
        }
    }
    services
}

#[test]
fn endpoints_are_the_ready_ones_each_with_the_same_chance() {
    for dump in [
        "b-zoo/v1.20-legacy/iptables-save.txt",
        "b-zoo/v1.30-legacy/iptables-save.txt",
    ] {
        let folder = dump.rsplit_once('/').unwrap().0;
        let slices = shared(&format!("dumps/kube-proxy/{folder}/endpointslices.json"));
        let (Some(text), Some(slices)) = (shared(&format!("dumps/kube-proxy/{dump}")), slices)
        else {
            continue;
        };
        let ready = ready(&serde_json::from_slice(&slices).unwrap());
        let rules = ruleset(text);
        let services = Services::new(&rules);
        let mut compared = 0;
        for service in services.all() {
            let Some(all) = service.balancings.iter().find(|b| !b.local) else {
                continue;
            };
            let got: BTreeSet<String> = all
                .endpoints
                .iter()
                .map(|c| c.endpoint.unwrap().to_string())
                .collect();
            // Where none is ready, those that still serve take over.
            let Some(want) = ready.get(&service.name) else {
                continue;
            };
            assert_eq!(&got, want, "{dump} {}", service.name);
            let even = 1.0 / all.endpoints.len() as f64;
            assert!(
                all.probabilities().iter().all(|p| (p - even).abs() < 1e-8),
                "{}",
                service.name
            );
            compared += 1;
        }
        assert!(compared > 40, "{dump}: {compared}");
    }
}

/// The Services of the flow cases are found in the rules that kube-proxy would write for them.
#[test]
fn the_flow_cases_cluster_ips() {
    let Some(json) = shared("flows/ClusterIPGeneral.json") else {
        return;
    };
    let case: Value = serde_json::from_slice(&json).unwrap();
    for spelling in ["rules", "nft.save", "legacy.save"] {
        let Some(text) = shared(&format!("flows/ClusterIPGeneral.{spelling}")) else {
            return;
        };
        let rules = ruleset(text);
        let services = Services::new(&rules);
        for service_asked in case["services"].as_array().unwrap() {
            for port in service_asked["ports"].as_array().unwrap() {
                let name = format!(
                    "{}:{}",
                    service_asked["name"].as_str().unwrap(),
                    port["name"].as_str().unwrap()
                );
                let found = service(&services, &name);
                let ip = service_asked["clusterIP"].as_str().unwrap();
                let protocol = port["proto"].as_str().unwrap().to_lowercase();
                assert_eq!(
                    keys(found),
                    [format!("cluster IP {protocol} {ip}:{}", port["port"])],
                    "{spelling}"
                );
            }
        }
    }
}
