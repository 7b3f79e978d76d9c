//! Which classes have a flat form: what kube-proxy writes must have one, or replays are slow without anyone noticing.

use kpclass_compiler::{Class, Config, Program};
use kpclass_ruleset::node::{LocalAddresses, NodeFacts};
use kpclass_ruleset::readers::{Input, read};
use std::net::IpAddr;
use std::path::Path;

/// Classes of a dump, and how many of them have a flat form.
fn classes(text: &str, local: &[&str]) -> (usize, usize) {
    let ruleset = read(&[Input::new("rules", text)]).unwrap().v4.unwrap();
    let local = local.iter().map(|a| a.parse::<IpAddr>().unwrap());
    let node = NodeFacts {
        local: Some(LocalAddresses::new(local)),
        ..NodeFacts::default()
    };
    let program = Program::compile(&ruleset, &node, &Config::default()).unwrap();
    let exact = |class: &&Class| !matches!(class, Class::Portless { .. });
    let all = program.classes().iter().filter(exact).count();
    (all, program.lookups().classes())
}

#[test]
fn every_class_of_kube_proxys_rules_is_flat() {
    let dumps = [
        "testdata/dumps/kube-proxy/a-microk8s/v1.30-nft/iptables-save.txt",
        "pcaps/zoo.rules",
    ];
    for dump in dumps {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(dump);
        let text = std::fs::read_to_string(path).unwrap();
        let (all, flat) = classes(&text, &["172.18.0.2"]);
        assert!(all > 5, "{dump}");
        assert_eq!(flat, all, "{dump}");
    }
}

#[test]
fn what_asks_for_more_than_the_tuple_is_left_to_the_nodes() {
    let rules = |ask: &str| {
        format!(
            "*nat\n-A PREROUTING -d 10.0.0.9 -p tcp -m tcp --dport 80 {ask} -j DNAT --to-destination 10.1.0.1:8080\nCOMMIT\n"
        )
    };
    assert_eq!(classes(&rules(""), &[]), (2, 2));
    assert_eq!(classes(&rules("-m length --length 40:60"), &[]), (2, 1));
    assert_eq!(classes(&rules("-m ttl --ttl-lt 5"), &[]), (2, 1));
}
