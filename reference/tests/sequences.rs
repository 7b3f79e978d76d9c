//! The corpus' sequences: each packet becomes what they say.

use kpclass_reference::Walk;
use kpclass_reference::connections::{Tracked, Tracker};
use kpclass_ruleset::Ruleset;
use kpclass_ruleset::line::effect;
use kpclass_workload::corpus::{Sequence, SequenceStep, read_sequences};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// Sequences that must at least be there.
const AT_LEAST: usize = 40;

#[test]
fn every_packet_becomes_what_its_sequence_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/sequences");
    let files = ["connections.toml", "unknowns.toml"].map(|name| folder.join(name));
    let sequences: Vec<Sequence> = files
        .iter()
        .flat_map(|path| read_sequences(path).unwrap_or_else(|error| panic!("{error}")))
        .collect();
    let failures: Vec<String> = sequences.iter().flat_map(differences).collect();
    let count = failures.len();
    assert!(failures.is_empty(), "{count} differ\n{}", failures.join(""));
    assert!(sequences.len() >= AT_LEAST, "{} sequences", sequences.len());
}

fn differences(sequence: &Sequence) -> Vec<String> {
    let mut ruleset = &sequence.rules.1;
    let walk = |ruleset| Walk::new(ruleset, &sequence.node).expect("no loops");
    let mut tracker = Tracker::new(walk(ruleset), sequence.settings.clone());
    let mut differ = Vec::new();
    for (number, step) in (1..).zip(&sequence.steps) {
        match step {
            SequenceStep::Rules(_, rules) => {
                ruleset = rules;
                tracker.replace(walk(ruleset));
            }
            SequenceStep::Packet(at, datagram, becomes) => {
                let said = line(ruleset, &tracker.decide(datagram, *at, 0));
                if said != *becomes {
                    let (name, why) = (&sequence.name, &sequence.why);
                    differ.push(format!(
                        "{name} ({why})\n  step {number} says {becomes}\n  the tracker {said}\n"
                    ));
                }
            }
        }
    }
    differ
}

/// What conntrack makes of it, its header where it ends, what happens to it.
fn line(ruleset: &Ruleset, tracked: &Tracked) -> String {
    let side = |address: Option<IpAddr>, port: Option<Option<u16>>| match (address, port) {
        (Some(address), None) => address.to_string(),
        (None, None) => "?".to_owned(),
        (Some(address), Some(Some(port))) => SocketAddr::new(address, port).to_string(),
        (address, Some(port)) => {
            let address = address.map_or("?".to_owned(), |a| a.to_string());
            format!(
                "{address}:{}",
                port.map_or("?".to_owned(), |p| p.to_string())
            )
        }
    };
    let (from, to) = tracked.header.ports.unzip();
    format!(
        "{} {} > {} {}",
        tracked.ctstate.name(),
        side(tracked.header.source, from),
        side(tracked.header.destination, to),
        effect(ruleset, &tracked.traced.decision)
    )
}
