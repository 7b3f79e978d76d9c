use super::capture::{Capture, Format};
use kpclass_ruleset::Ruleset;
use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::value::Family;
use kpclass_workload::cluster::plan::{Feature, Plan, node_address};
use kpclass_workload::cluster::traffic::Traffic;
use kpclass_workload::cluster::write;
use kpclass_workload::frame::{Framer, Link};

fn ruleset() -> Ruleset {
    let plan = Plan {
        services: 40,
        endpoints: 3,
        family: Family::V4,
        features: vec![Feature::All],
        seed: 7,
    };
    let mut text = Vec::new();
    write(&plan.cluster().unwrap(), &mut text).unwrap();
    read(&[Input::new("generated", text)]).unwrap().v4.unwrap()
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
fn a_seed_decides_everything() {
    let rules = ruleset();
    assert_eq!(
        capture(&rules, 50, Link::Raw, Format::Pcapng),
        capture(&rules, 50, Link::Raw, Format::Pcapng)
    );
}
