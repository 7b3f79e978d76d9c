//! What is generated of a cluster is what was planned, and what the tools of the kernel read.

use kpclass_ruleset::Ruleset;
use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::services::{KeyKind, Services};
use kpclass_ruleset::value::Family;
use kpclass_workload::cluster::plan::{Feature, Plan, node_address};
use kpclass_workload::cluster::traffic::Traffic;
use kpclass_workload::cluster::{Written, write};
use std::io::Write;
use std::process::{Command, Stdio};

fn plan(services: u32, endpoints: u32, family: Family) -> Plan {
    Plan {
        services,
        endpoints,
        family,
        features: vec![Feature::All],
        seed: 7,
    }
}

fn text(plan: &Plan) -> (String, Written) {
    let mut text = Vec::new();
    let written = write(&plan.cluster().unwrap(), &mut text).unwrap();
    (String::from_utf8(text).unwrap(), written)
}

fn ruleset(text: &str) -> Ruleset {
    let rules = read(&[Input::new("generated", text)]).unwrap();
    rules.v4.or(rules.v6).unwrap()
}

#[test]
fn the_readers_read_as_many_rules_and_services_as_were_written() {
    for family in [Family::V4, Family::V6] {
        for (services, endpoints) in [(1, 1), (48, 5), (300, 7)] {
            let (text, written) = text(&plan(services, endpoints, family));
            let rules = ruleset(&text);
            assert_eq!(rules.family(), family);
            assert_eq!(rules.rules().len(), written.rules);
            assert_eq!(
                text.lines().filter(|l| l.starts_with("-A ")).count(),
                written.rules
            );
            let names = Services::new(&rules);
            // One round of 16 has one Service of two ports.
            let two = (0..services).filter(|i| i % 16 == 4).count();
            assert_eq!(names.all().len(), services as usize + two);
        }
    }
}

#[test]
fn every_feature_occurs() {
    let rules = ruleset(&text(&plan(64, 4, Family::V4)).0);
    let services = Services::new(&rules);
    let all = services.all();
    for kind in [
        KeyKind::ClusterIp,
        KeyKind::ExternalIp,
        KeyKind::LoadBalancerIp,
        KeyKind::NodePort,
        KeyKind::HealthCheck,
    ] {
        assert!(
            all.iter().any(|s| s.keys.iter().any(|k| k.kind == kind)),
            "{kind:?}"
        );
    }
    assert!(all.iter().any(|s| s.affinity_seconds == Some(10_800)));
    assert!(all.iter().any(|s| !s.source_ranges.is_empty()));
    assert!(all.iter().any(|s| s.internal_local) && all.iter().any(|s| s.external_local));
    assert!(all.iter().any(|s| s.has_no_endpoints()));
}

#[test]
fn only_the_features_asked_for_occur() {
    let features = vec![Feature::NodePort];
    let rules = ruleset(
        &text(&Plan {
            features,
            ..plan(8, 2, Family::V4)
        })
        .0,
    );
    for service in Services::new(&rules).all() {
        let kinds: Vec<KeyKind> = service.keys.iter().map(|key| key.kind).collect();
        assert_eq!(kinds, [KeyKind::ClusterIp, KeyKind::NodePort]);
    }
}

#[test]
fn a_seed_decides_everything() {
    let (first, other) = (
        plan(40, 3, Family::V4),
        Plan {
            seed: 8,
            ..plan(40, 3, Family::V4)
        },
    );
    assert_eq!(text(&first).0, text(&first).0);
    assert_ne!(text(&first).0, text(&other).0);
}

#[test]
fn too_many_pods_are_refused() {
    let error = plan(1 << 20, 100, Family::V4).cluster().unwrap_err();
    assert!(error.to_string().contains("at most"), "{error}");
}

/// `iptables-restore --test` takes it, in both backends; needs root.
#[test]
fn the_kernels_tools_take_a_generated_cluster() {
    for (family, tools) in [
        (
            Family::V4,
            ["iptables-legacy-restore", "iptables-nft-restore"],
        ),
        (
            Family::V6,
            ["ip6tables-legacy-restore", "ip6tables-nft-restore"],
        ),
    ] {
        let text = text(&plan(64, 4, family)).0;
        for tool in tools {
            let child = Command::new("unshare")
                .args(["-n", tool, "--test"])
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn();
            let Ok(mut child) = child else {
                std::io::Write::write_fmt(
                    &mut std::io::stderr(),
                    format_args!("SKIPPED: unshare is absent\n"),
                )
                .ok();
                return;
            };
            // A tool that is absent, or may not run, does not read.
            let _ = child
                .stdin
                .take()
                .map(|mut stdin| stdin.write_all(text.as_bytes()));
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if said.contains("unshare:")
                || said.contains("ermission")
                || said.contains("not permitted")
            {
                std::io::Write::write_fmt(
                    &mut std::io::stderr(),
                    format_args!("SKIPPED: {tool}: {said}\n"),
                )
                .ok();
                continue;
            }
            assert!(output.status.success(), "{tool}: {said}");
        }
    }
}

#[test]
fn nearly_all_packets_hit_a_service() {
    let rules = ruleset(&text(&plan(32, 3, Family::V6)).0);
    let services = Services::new(&rules);
    let keys: Vec<_> = services.all().iter().flat_map(|s| &s.keys).collect();
    let mut traffic = Traffic::new([&rules], vec![node_address(Family::V6)], 0.9, 3);
    let hits = (0..2000).filter(|_| {
        let (packet, _) = traffic.packet();
        let port = packet.ports.map(|ports| ports.1);
        keys.iter().any(|key| {
            (key.protocol, key.port) == (packet.protocol, port)
                && key
                    .address
                    .is_none_or(|address| address == packet.destination)
        })
    });
    assert!((1750..1850).contains(&hits.count()));
}
