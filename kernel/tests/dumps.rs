//! The kernel judges the reference on the edges of every rule of the dumps that kube-proxies wrote.

use kpclass_kernel::{Backend, Kernel, Loading, trial};
use kpclass_reference::Walk;
use kpclass_ruleset::node::{LocalAddresses, NodeFacts};
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::value::Interface;
use kpclass_ruleset::{Hook, save};
use kpclass_workload::edges::Edges;
use std::net::IpAddr;

#[test]
fn edges() {
    let path = std::env::var("KPCLASS_RULES").unwrap();
    for backend in Backend::ALL {
        let mut kernel = Kernel::new(backend).unwrap();
        for path in path.split(',') {
            let text = std::fs::read_to_string(path).unwrap();
            let rules = read(&[Input::new("dump", text)]).unwrap();
            for ruleset in rules.v4.into_iter().chain(rules.v6) {
                let addresses = [
                    "192.168.0.2",
                    "10.10.2.58",
                    "172.18.0.2",
                    "fd00::2",
                    "192.168.99.11",
                ];
                let mut local =
                    LocalAddresses::new(addresses.map(|a| a.parse::<IpAddr>().unwrap()));
                local.devices = addresses
                    .iter()
                    .map(|a| (Interface::new("eth0").unwrap(), a.parse().unwrap()))
                    .collect();
                let node = NodeFacts {
                    local: Some(local.clone()),
                    route_localnet: Some(true),
                    ..NodeFacts::default()
                };
                let mut locals: Vec<IpAddr> = local.addresses.iter().copied().collect();
                locals.sort();
                let mut edges = Edges::new(&ruleset, &locals, 1);
                let mut trace: Vec<Packet> = Vec::new();
                for (id, _) in ruleset.rules() {
                    trace.extend(edges.of_rule(id, 1));
                }
                for hook in [Hook::Prerouting, Hook::Output] {
                    trace.extend((0..200).map(|_| edges.anything(hook)));
                }
                let mut devices: Vec<Interface> =
                    trace.iter().filter_map(|p| p.in_interface).collect();
                devices.sort();
                devices.dedup();
                let walk = Walk::new(&ruleset, &node).unwrap();
                let text = save::save(&ruleset);
                let loading = Loading {
                    family: ruleset.family(),
                    rules: &text,
                    ipsets: None,
                    node: &node,
                    devices: &devices,
                };
                kernel.load(&loading).unwrap();
                assert_eq!(kernel.is_conntrack_on(), walk.is_conntrack_on());
                let saved = kernel.saved().unwrap().unwrap();
                assert_eq!(
                    save::save(&saved)
                        .lines()
                        .filter(|l| l.starts_with("-A"))
                        .count(),
                    text.lines().filter(|l| l.starts_with("-A")).count()
                );
                let start = std::time::Instant::now();
                let found = trial::run(&mut kernel, &ruleset, &walk, &trace).unwrap();
                println!(
                    "{backend} {path} judged {} drawn {} counted {} unknown {} left out {} disagreed {} met {}/{} in {:?}",
                    found.judged,
                    found.drawn,
                    found.counted,
                    found.unknown,
                    found.left_out,
                    found.disagreed,
                    found.rules_met,
                    found.rules,
                    start.elapsed()
                );
                for d in found.disagreements.iter().take(5) {
                    println!(
                        "  {}\n    {}\n    {:?}",
                        kpclass_ruleset::spec::of_packet(&d.packet),
                        d.seen,
                        d.decisions
                    );
                }
                if let Some(d) = found.disagreements.first() {
                    kernel.load(&loading).unwrap();
                    for rule in trial::way(&mut kernel, &ruleset, &d.packet).unwrap() {
                        println!("   K {}", save::rule_text(&ruleset, rule));
                    }
                    for step in walk.decide(&d.packet, 0).path {
                        println!(
                            "   R {:?} {}",
                            step.event,
                            step.rule
                                .map_or(String::new(), |r| save::rule_text(&ruleset, r))
                        );
                    }
                }
                if !found.miscounts.is_empty() {
                    let p =
                        trial::miscounted(&mut kernel, &loading, &ruleset, &walk, &trace).unwrap();
                    println!("   {:?}", p.as_ref().map(kpclass_ruleset::spec::of_packet));
                    if let Some(p) = p {
                        for step in walk.decide(&p, 0).path {
                            println!(
                                "   R {:?} {}",
                                step.event,
                                step.rule
                                    .map_or(String::new(), |r| save::rule_text(&ruleset, r))
                            );
                        }
                        kernel.load(&loading).unwrap();
                        for rule in trial::way(&mut kernel, &ruleset, &p).unwrap() {
                            println!("   K {}", save::rule_text(&ruleset, rule));
                        }
                    }
                }
                for m in found.miscounts.iter().take(5) {
                    println!("  {} {:?}", save::rule_text(&ruleset, m.rule), m);
                }
            }
        }
    }
}
