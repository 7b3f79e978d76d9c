//! The corpus' sequences: each packet becomes what they say.

use kpclass_reference::Walk;
use kpclass_reference::connections::{Tracked, Tracker};
use kpclass_reference::fragments::{Joiner, Place, Put};
use kpclass_reference::packet::{link_type, read_fragment};
use kpclass_ruleset::conntrack::Datagram;
use kpclass_ruleset::line::effect;
use kpclass_ruleset::{Hook, Ruleset};
use kpclass_workload::corpus::{Sequence, SequenceStep, read_sequences};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

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
    let mut joiner = Joiner::new(sequence.settings.clone());
    let mut says = Vec::new();
    for (number, step) in (1..).zip(&sequence.steps) {
        match step {
            SequenceStep::Rules(_, rules) => {
                ruleset = rules;
                tracker.replace(walk(ruleset));
            }
            SequenceStep::Packet(at, datagram, becomes) => {
                says.push((number, becomes, ask(ruleset, &mut tracker, datagram, *at)));
            }
            SequenceStep::Fragment(at, datagram, cut, becomes) => {
                let frame = cut.frame(datagram);
                let said = match put(&mut joiner, &frame, datagram, *at) {
                    Put::Unjoined(why) => why.name().to_owned(),
                    Put::AsItIs => "as it is".to_owned(),
                    Put::Whole(Err(why)) => why.to_string(),
                    Put::Whole(Ok(whole)) => {
                        let whole = whole.at(&datagram.packet);
                        ask(ruleset, &mut tracker, &whole, *at)
                    }
                };
                says.push((number, becomes, said));
            }
        }
    }
    let (name, why) = (&sequence.name, &sequence.why);
    let differ = says.into_iter().filter(|(_, says, said)| *says != said);
    let told = differ.map(|(number, says, said)| {
        format!("{name} ({why})\n  step {number} says {says}\n  the tracker {said}\n")
    });
    told.collect()
}

fn ask(ruleset: &Ruleset, tracker: &mut Tracker<'_>, datagram: &Datagram, at: Duration) -> String {
    line(ruleset, &tracker.decide(datagram, at, 0))
}

fn put(joiner: &mut Joiner, frame: &[u8], datagram: &Datagram, at: Duration) -> Put {
    let read = read_fragment(link_type::ETHERNET, frame, frame.len() as u32);
    let fragment = read.expect("a packet").expect("a fragment");
    joiner.put(
        &fragment,
        Place::default(),
        datagram.packet.hook == Hook::Output,
        at,
    )
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
