//! `rivals`: the lookup alone, beside the hash tables that one would otherwise write. `compare/rivals.c` does the same with DPDK's.

use kpclass_bench::keys::{Compiled, Numbers, destination, packet};
use kpclass_engine::alone::Question;
use kpclass_ruleset::value::protocol;
use std::collections::HashMap;
use std::hint::black_box;
use std::net::IpAddr;
use std::time::Instant;

/// Packets of a round.
const PACKETS: usize = 1 << 20;

/// One line for each number of keys and contestant: keys, name, nanoseconds a packet, with tabs between.
pub(crate) fn run(sizes: &[u32], rounds: u32) -> Result<(), String> {
    for keys in sizes.iter().copied() {
        let compiled = Compiled::new(keys)?;
        let alone = compiled.alone()?;
        let hits = compiled.hits(PACKETS, 1)?;
        let packed_keys: Vec<u64> = hits.iter().map(Question::key).collect();
        let asked: Vec<Key> = asked(keys);
        let (flat, chains) = (flat(keys), Chains::new(keys));
        let all: [(&str, &dyn Fn() -> usize); 4] = [
            ("kpclass, the key's class", &|| alone.find(&packed_keys)),
            ("kpclass, the whole verdict", &|| {
                PACKETS - alone.decide(&hits).slow as usize
            }),
            ("hashbrown + ahash", &|| {
                asked
                    .iter()
                    .filter(|key| flat.contains_key(&packed(**key)))
                    .count()
            }),
            ("a std HashMap per chain", &|| {
                asked
                    .iter()
                    .filter(|key| chains.endpoint(key).is_some())
                    .count()
            }),
        ];
        let mut best = [f64::MAX; 4];
        for _ in 0..rounds.max(1) {
            for ((name, ask), best) in all.iter().zip(&mut best) {
                let started = Instant::now();
                let found = black_box(ask());
                let each = started.elapsed().as_secs_f64() * 1e9 / PACKETS as f64;
                if found != PACKETS {
                    return Err(format!("{name} finds {found} of {PACKETS}"));
                }
                *best = best.min(each);
            }
        }
        for ((name, _), best) in all.iter().zip(best) {
            println!("{keys}\t{name}\t{best:.2}");
        }
    }
    Ok(())
}

/// Address, protocol, port.
type Key = (u32, u8, u16);

/// The keys of the packets that the program is asked about.
fn asked(keys: u32) -> Vec<Key> {
    let mut numbers = Numbers(1);
    let key = |_| {
        let (_, packet) = packet(keys, &mut numbers);
        let IpAddr::V4(address) = packet.destination else {
            return (0, 0, 0);
        };
        let port = packet.ports.map_or(0, |(_, port)| port);
        (address.into(), packet.protocol, port)
    };
    (0..PACKETS).map(key).collect()
}

fn packed((address, protocol, port): Key) -> u64 {
    u64::from(address) << 24 | u64::from(protocol) << 16 | u64::from(port)
}

fn all_keys(keys: u32) -> impl Iterator<Item = (Key, u32)> {
    (0..keys).map(|key| {
        let (address, port) = destination(key);
        ((address, protocol::TCP, port), key)
    })
}

fn flat(keys: u32) -> hashbrown::HashMap<u64, u32, ahash::RandomState> {
    all_keys(keys)
        .map(|(key, value)| (packed(key), value))
        .collect()
}

/// Each chain as a map from what its rules ask for to where they jump.
struct Chains(Vec<HashMap<Key, Next>>);

#[derive(Clone, Copy)]
enum Next {
    Chain(u32),
    Endpoint(u32),
}

impl Chains {
    /// `KUBE-SERVICES` first, then a chain for each Service.
    fn new(keys: u32) -> Self {
        let services = all_keys(keys).map(|(key, n)| (key, Next::Chain(n + 1)));
        let each = all_keys(keys).map(|(key, n)| HashMap::from([(key, Next::Endpoint(n))]));
        let mut chains = vec![services.collect()];
        chains.extend(each);
        Self(chains)
    }

    fn endpoint(&self, key: &Key) -> Option<u32> {
        let mut at = 0;
        loop {
            match self.0[at].get(key)? {
                Next::Chain(next) => at = *next as usize,
                Next::Endpoint(endpoint) => return Some(*endpoint),
            }
        }
    }
}
