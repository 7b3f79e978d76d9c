//! Rulesets that single out so many destinations, one rule each, and packets to them. `compare/rivals.c` makes the same keys.

use kpclass_compiler::header::Header;
use kpclass_compiler::program::lookup::{Lookup, Lookups};
use kpclass_compiler::{Config, Context, Program};
use kpclass_engine::alone::{Alone, Question};
use kpclass_reference::Walk;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::value::protocol;
use kpclass_ruleset::{Hook, Ruleset};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

/// The first destination; the others count up.
const FIRST: u32 = 0x0a80_0000;
/// The first endpoint.
const FIRST_ENDPOINT: u32 = 0x0a00_0000;
const ENDPOINT_PORT: u16 = 8080;

/// The destination of a key.
pub fn destination(key: u32) -> (u32, u16) {
    (FIRST + key, 80 + (key % 7) as u16)
}

/// `iptables-save` text: every key has a rule that rewrites it to an endpoint of its own; sources that are no pods are masqueraded.
pub fn rules(keys: u32) -> String {
    let mut text = String::from(
        "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n\
         -A PREROUTING -j KUBE-SERVICES\n\
         -A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE\n\
         -A KUBE-SERVICES ! -s 10.0.0.0/9 -p tcp -j MARK --set-xmark 0x4000/0x4000\n",
    );
    for key in 0..keys {
        let (address, port) = destination(key);
        let (to, from) = (
            Ipv4Addr::from(FIRST_ENDPOINT + key),
            Ipv4Addr::from(address),
        );
        writeln!(
            text,
            "-A KUBE-SERVICES -d {from}/32 -p tcp -m tcp --dport {port} -j DNAT --to-destination {to}:{ENDPOINT_PORT}"
        )
        .ok();
    }
    text.push_str("COMMIT\n");
    text
}

/// Numbers without a pattern (splitmix64).
#[derive(Clone, Debug)]
pub struct Numbers(pub u64);

impl Numbers {
    /// The next one, below `limit`.
    pub fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((((z ^ (z >> 31)) >> 32) * u64::from(limit)) >> 32) as u32
    }
}

/// A packet to a key, and the key; every other one comes from outside the cluster.
pub fn packet(keys: u32, numbers: &mut Numbers) -> (u32, Packet) {
    let key = numbers.below(keys);
    let (address, port) = destination(key);
    (key, to(address, port, numbers))
}

/// A packet to no key: a port that no rule names.
pub fn miss(keys: u32, numbers: &mut Numbers) -> Packet {
    let (address, port) = destination(numbers.below(keys));
    to(address, port + 7, numbers)
}

fn to(address: u32, port: u16, numbers: &mut Numbers) -> Packet {
    let nets = [0x0a01_0000, 0xc633_6400];
    let source = nets[numbers.below(2) as usize] + numbers.below(250) + 1;
    let from = 1024 + numbers.below(60_000) as u16;
    Packet::new(
        Hook::Prerouting,
        protocol::TCP,
        IpAddr::V4(source.into()),
        IpAddr::V4(address.into()),
        Some((from, port)),
    )
}

/// A compiled ruleset of [`rules`].
#[derive(Debug)]
pub struct Compiled {
    keys: u32,
    ruleset: Ruleset,
    node: NodeFacts,
    program: Program,
}

impl Compiled {
    /// Reads and compiles the rules of so many keys.
    ///
    /// # Errors
    /// Never, unless reader or compiler are wrong.
    pub fn new(keys: u32) -> Result<Self, String> {
        let input = Input::new("keys", rules(keys));
        let read = read(&[input]).map_err(|why| why.report())?;
        let ruleset = read.v4.ok_or("the rules are IPv4's")?;
        let node = NodeFacts::default();
        let program = Program::compile(&ruleset, &node, &Config::default());
        let program = program.map_err(|why| why.to_string())?;
        Ok(Self {
            keys,
            ruleset,
            node,
            program,
        })
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Its lookup.
    ///
    /// # Errors
    /// If there is none.
    pub fn alone(&self) -> Result<Alone<'_, u32>, String> {
        let lookup: &Lookup<u32> = match self.program.lookups() {
            Lookups::V4(lookup) => lookup,
            _ => return Err("the program has no lookup of IPv4".into()),
        };
        Ok(Alone::new(&self.program, lookup, 0))
    }

    /// So many packets at random, each as a question, after their answers were held against what the rules say.
    ///
    /// # Errors
    /// If an answer is wrong.
    pub fn hits(&self, count: usize, seed: u64) -> Result<Vec<Question<u32>>, String> {
        let (mut numbers, alone) = (Numbers(seed), self.alone()?);
        let walk = Walk::new(&self.ruleset, &self.node).map_err(|why| why.to_string())?;
        let mut questions = Vec::with_capacity(count);
        for at in 0..count {
            let (key, packet) = packet(self.keys, &mut numbers);
            let question = self.question(&packet)?;
            let answer = alone.answer(&question).ok_or("the nodes are asked")?;
            let to = Some(IpAddr::V4((FIRST_ENDPOINT + key).into()));
            let is_pod = matches!(packet.source, IpAddr::V4(source) if source.octets()[0] == 10);
            let dnat = answer.dnat.map(|dnat| (dnat.address, dnat.port));
            if dnat != Some((to, Some(ENDPOINT_PORT))) || answer.is_masqueraded == is_pod {
                return Err(format!("{packet:?}: {answer:?}"));
            }
            // The walk is slow: it has a say in some of them.
            if at < 16 {
                let walked = walk.decide(&packet, 0).decision;
                let same = walked.dnat.map(|(nat, _)| (nat.address, nat.port)) == dnat
                    && walked.snat.is_some() == answer.is_masqueraded;
                if !same {
                    return Err(format!("{packet:?}: {answer:?}, the walk says {walked:?}"));
                }
            }
            questions.push(question);
        }
        Ok(questions)
    }

    /// So many packets that no key takes.
    ///
    /// # Errors
    /// If one is rewritten.
    pub fn misses(&self, count: usize, seed: u64) -> Result<Vec<Question<u32>>, String> {
        let (mut numbers, alone) = (Numbers(seed), self.alone()?);
        let mut questions = Vec::with_capacity(count);
        for _ in 0..count {
            let packet = miss(self.keys, &mut numbers);
            let question = self.question(&packet)?;
            if alone.answer(&question).is_none_or(|a| a.dnat.is_some()) {
                return Err(format!("{packet:?} is rewritten"));
            }
            questions.push(question);
        }
        Ok(questions)
    }

    fn question(&self, packet: &Packet) -> Result<Question<u32>, String> {
        let (header, context) = (Header::from(packet), Context::from(packet));
        let question = Question::new(&self.program, &header, &context, 0);
        question.ok_or_else(|| format!("{packet:?} is not ordinary"))
    }
}
