//! The names of a cluster that is too large for comments: they follow the jumps, in time linear in the rules.

use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::services::Services;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[test]
fn every_chain_of_a_service_is_named() {
    let own = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared"));
    let root = std::env::var_os("KPCLASS_SHARED").map_or(own, PathBuf::from);
    let path = root.join("dumps/kube-proxy/c-scale-5000x10/v1.30-legacy/iptables-save.txt.gz");
    let Ok(bytes) = std::fs::read(&path) else {
        std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("SKIPPED: {} is absent\n", path.display()),
        )
        .ok();
        return;
    };
    let rules = read(&[Input::new("large", bytes)]).unwrap().v4.unwrap();
    let start = Instant::now();
    let services = Services::new(&rules);
    let taken = start.elapsed();
    // About 50 ms unoptimised; a quadratic walk over 160,000 rules would take minutes.
    assert!(taken < Duration::from_secs(10), "{taken:?}");
    // The API server itself beside the 5,000.
    assert_eq!(services.all().len(), 5001);
    let mut named = 0;
    for (id, chain) in rules.chains() {
        let name = rules.text(chain.name);
        if name.starts_with("KUBE-SEP-") || name.starts_with("KUBE-SVC-") {
            assert!(services.of_chain(id).is_some(), "{name}");
            named += 1;
        }
    }
    assert!(named > 50_000, "{named}");
    for service in services.all() {
        let endpoints: usize = service.balancings.iter().map(|b| b.endpoints.len()).sum();
        assert!(
            endpoints > 0 || service.has_no_endpoints(),
            "{}",
            service.name
        );
    }
}
