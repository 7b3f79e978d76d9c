//! The listing of the tutorial that this project began with: what it teaches must come out.

use crate::support::{ask, assumptions, nobody, node, read_rules};
use kpclass_ruleset::Ruleset;
use std::path::{Path, PathBuf};

/// The listing among the samples, or in the material that the project was handed; `None`, loudly, where neither is there.
fn listing() -> Option<Ruleset> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let shared =
        std::env::var_os("KPCLASS_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from);
    let places = [
        root.join("pcaps/tutorial-listing.txt"),
        shared.join("dumps/tutorial/listing.txt"),
    ];
    let text = places
        .iter()
        .find_map(|place| std::fs::read_to_string(place).ok());
    if text.is_none() {
        std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("SKIPPED: no tutorial listing at {places:?}\n"),
        )
        .ok();
    }
    text.map(|text| read_rules(&text))
}

const POD: &str = "tcp 10.1.5.5:40000 > 10.152.183.1:443";
const OUTSIDE: &str = "tcp 192.168.7.9:40000 > 10.152.183.1:443";
const NODE_ITSELF: &str = "tcp 10.10.2.58:40000 > 10.152.183.1:443 hook=output";

#[test]
fn a_pod_is_rewritten_and_not_masqueraded() {
    let Some(rules) = listing() else { return };
    assert_eq!(ask(&rules, &nobody(), POD), "forward dnat=10.10.2.58:16443");
    let said = assumptions(&rules, &nobody(), POD);
    assert!(
        said.contains(&"chain cali-PREROUTING is not in the dump; taken to return".to_string()),
        "{said:?}"
    );
}

#[test]
fn outside_the_cluster_is_marked_and_masqueraded() {
    let Some(rules) = listing() else { return };
    assert_eq!(
        ask(&rules, &nobody(), OUTSIDE),
        "forward dnat=10.10.2.58:16443 masquerade marked-by KUBE-SVC-NPX46M4PTMTKRN6Y 1"
    );
}

#[test]
fn an_endpoint_on_this_node_is_delivered_still_marked() {
    let Some(rules) = listing() else { return };
    assert_eq!(
        ask(&rules, &node(&["10.10.2.58"]), OUTSIDE),
        "local dnat=10.10.2.58:16443 mark=0x4000 marked-by KUBE-SVC-NPX46M4PTMTKRN6Y 1"
    );
}

#[test]
fn the_node_that_is_its_own_endpoint_goes_by_lo_masqueraded() {
    let Some(rules) = listing() else { return };
    assert_eq!(
        ask(&rules, &node(&["10.10.2.58"]), NODE_ITSELF),
        "local dnat=10.10.2.58:16443 masquerade marked-by KUBE-SEP-SZEZPYI4DJWRAXYB 1"
    );
}

#[test]
fn a_service_whose_chain_was_cut_away_is_unknown() {
    let Some(rules) = listing() else { return };
    assert_eq!(
        ask(
            &rules,
            &nobody(),
            "tcp 10.1.5.5:40000 > 10.152.183.229:14250"
        ),
        "unknown at KUBE-SERVICES 1: chain KUBE-SVC-EX4PWVDXGVVZMQ46 is not in the dump"
    );
}

#[test]
fn another_port_is_untouched() {
    let Some(rules) = listing() else { return };
    assert_eq!(
        ask(&rules, &nobody(), "tcp 10.1.5.5:40000 > 10.152.183.1:80"),
        "forward"
    );
}
