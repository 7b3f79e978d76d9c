use super::capture::{Capture, Format};
use super::frame::{Framer, Link, Origin};
use super::plan::{Feature, Plan, node_address};
use super::proxy;
use super::traffic::Traffic;
use kpclass_reference::packet::read_frame;
use kpclass_ruleset::Ruleset;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::services::{KeyKind, Services};
use kpclass_ruleset::spec;
use kpclass_ruleset::value::Family;
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

fn text(plan: &Plan) -> (String, proxy::Written) {
    let mut text = Vec::new();
    let written = proxy::write(&plan.cluster().unwrap(), &mut text).unwrap();
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
    let rules = ruleset(&text(&first).0);
    assert_eq!(
        capture(&rules, 50, Link::Raw, Format::Pcapng),
        capture(&rules, 50, Link::Raw, Format::Pcapng)
    );
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

fn capture(rules: &Ruleset, frames: usize, link: Link, format: Format) -> Vec<u8> {
    let nodes = vec![node_address(rules.family())];
    let mut traffic = Traffic::new([rules], nodes, 0.9, 1);
    let mut bytes = Vec::new();
    let mut framer = Framer::new(link, 60);
    let mut capture = Capture::new(&mut bytes, format, link).unwrap();
    for _ in 0..frames {
        let (packet, origin) = traffic.packet();
        capture
            .write(framer.frame(&packet, origin), origin)
            .unwrap();
    }
    capture.finish().unwrap();
    bytes
}

#[test]
fn a_frame_reads_back_as_its_packet() {
    let specs = [
        "tcp 10.1.5.5:40000 > 10.152.183.1:443 flags=SA ttl=3 dscp=46",
        "udp [fd01::5]:40000 > [fd98::1]:53 dscp=10",
        "sctp 10.1.5.5:40000 > 10.152.183.1:3868",
        "icmp 10.1.5.5 > 10.152.183.1 type=13",
        "icmp6 fd01::5 > fd98::1 type=129 code=1",
        "udp 10.1.5.5 > 10.152.183.1 fragment-offset=1",
        "gre 10.1.5.5 > 10.152.183.1",
        "udplite 10.1.5.5:1 > 10.152.183.1:2",
        "dccp [fd01::5]:1 > [fd01::6]:2",
    ];
    for (link, number) in [(Link::Ethernet, 1), (Link::Sll2, 276), (Link::Raw, 101)] {
        for text in specs {
            let packet = spec::parse(text).unwrap().packet(&NodeFacts::default());
            let mut framer = Framer::new(link, 0);
            let read = read_frame(number, framer.frame(&packet, Origin::Pod))
                .expect(text)
                .at(packet.hook, None);
            assert_eq!(
                (read.source, read.destination, read.ports),
                (packet.source, packet.destination, packet.ports)
            );
            assert_eq!(
                (read.protocol, read.tcp_flags, read.icmp),
                (packet.protocol, packet.tcp_flags, packet.icmp)
            );
            assert_eq!(read.fragment, packet.fragment, "{text}");
            assert_eq!(
                (read.ttl, read.dscp),
                (packet.ttl.or(Some(64)), packet.dscp.or(Some(0))),
                "{text}"
            );
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
