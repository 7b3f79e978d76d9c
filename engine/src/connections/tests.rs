//! What connections take.

use super::*;
use crate::extract::OfConnection;
use kpclass_compiler::Config;
use kpclass_ruleset::Hook;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::readers;

/// A Service of one endpoint.
const RULES: &str = "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n-A PREROUTING -d 10.96.0.1/32 -p udp -m udp --dport 53 -j DNAT --to-destination 10.0.0.9:5353\nCOMMIT\n";

/// From so many connections on.
const MANY: u32 = 20_000;

/// Bytes that a live connection of IPv4 takes, at most.
const MOST_BYTES: usize = 128;

fn compiled() -> (Ruleset, Program) {
    let read = readers::read(&[readers::Input::new("rules", RULES)]).expect("reads");
    let ruleset = read.v4.expect("of IPv4");
    let program = Program::compile(&ruleset, &NodeFacts::default(), &Config::default());
    (ruleset, program.expect("no loops"))
}

fn packet(from: (u32, u16), to: (u32, u16)) -> Packet {
    Packet::new(
        OfConnection::of_header(Header {
            protocol: 17,
            source: from.0.into(),
            destination: to.0.into(),
            source_port: from.1,
            destination_port: to.1,
            known: known::PORTS,
            ..Header::default()
        }),
        Context {
            hook: Hook::Prerouting,
            in_interface: None,
            mark: 0,
            ctstate: CtState::New,
            is_joined: false,
        },
    )
}

#[test]
fn a_live_connection_takes_few_bytes() {
    let (ruleset, program) = compiled();
    let mut tracker = Tracker::<u32>::new(&program, &ruleset, Settings::default());
    let (service, endpoint) = ((0x0a60_0001, 53), (0x0a00_0009, 5353));
    for count in 1..=5 * MANY {
        let client = (0x0b00_0000 + count, 4000);
        tracker.take(&packet(client, service), Duration::ZERO, 0);
        tracker.take(&packet(endpoint, client), Duration::ZERO, 0);
        if count >= MANY {
            let bytes = tracker.table.allocated() / count as usize;
            assert!(bytes <= MOST_BYTES, "{bytes} bytes each of {count}");
        }
    }
    assert_eq!(tracker.table.len(), 5 * MANY as usize);
}

#[test]
fn no_more_are_kept_than_twice_as_many_as_there_may_be() {
    let (ruleset, program) = compiled();
    let settings = Settings {
        max: 100,
        ..Settings::default()
    };
    let mut tracker = Tracker::<u32>::new(&program, &ruleset, settings);
    for client in 0..1000 {
        let asks = packet((0x0b00_0000 + client, 4000), (0x0c00_0001, 53));
        tracker.take(&asks, Duration::ZERO, 0);
        assert!(tracker.table.len() <= 200, "{client}");
    }
    let full = Full {
        packets: 900,
        evictable: 100,
        not_kept: 800,
    };
    assert_eq!(tracker.full(), full);
}

/// Entries of one source, put in and taken out in many orders, stand beside a plain list; some are marked, of some the source is open.
#[test]
fn the_entries_of_a_source_are_found_newest_first_until_they_are_gone() {
    let mut table = Table::<u32>::new(&compiled().0);
    let mut there = Vec::new();
    let mut state = 1_u64;
    for count in 0..3000_u32 {
        let original = Tuple::new(17, (1, 4000), (count, 53));
        let mut entry = entry::Entry::new(original, original.inverse().expect("one"), 0);
        (entry.deadline, entry.mark) = (10, count % 3);
        let part = 4000 + (count % 5 / 4) as u16;
        entry.client = match count % 2 {
            0 => entry::Client::Open(entry::Open {
                addresses: None,
                part: Some(part),
            }),
            _ => entry::Client::Known(2, part),
        };
        if count % 7 == 0 {
            // Nobody asks for its source.
            entry.client = entry::Client::Known(1, 4000);
            table.insert(entry);
            continue;
        }
        there.push((table.insert(entry), entry));
        while there.len() > 20 || state.is_multiple_of(3) && !there.is_empty() {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1)
                >> 1;
            let (id, _) = there.remove(state as usize % there.len());
            table.remove(id);
        }
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1)
            >> 1;
        let of_one = (17, (1, 4000));
        let found: Vec<_> = table.with_source(&of_one, 1).collect();
        let newest_first: Vec<_> = there.iter().rev().map(|(_, entry)| *entry).collect();
        assert_eq!(found, newest_first, "after {count}");
        let has_moved = there.iter().any(|(_, entry)| by_source::is_moved(entry));
        assert_eq!(table.has_moved(&of_one, 1), has_moved, "after {count}");
    }
    there.iter().for_each(|(id, _)| table.remove(*id));
    table.expire(10);
    assert_eq!(table.len(), 0);
    assert_eq!(table.elsewhere(), 0, "what is gone leaves nothing");
}
