//! Sequences: cases of more than one packet, in `testdata/sequences/*.toml`.
//!
//! ```toml
//! [[sequence]]
//! name = "…"
//! why = "…"
//! node = { addresses = ["eth0 192.168.0.2"] }
//! settings = ["nf_conntrack_udp_timeout=1"]
//! dump = """…"""
//! steps = [
//!   { at = 0.0, spec = "tcp 10.0.0.9:4000 > 10.96.0.1:80", becomes = "NEW 10.0.0.9:4000 > 10.1.0.5:8080 forward" },
//!   { rules = """…""" },
//! ]
//! ```
//!
//! `at` is in seconds behind the first packet. `id` is an ICMP query's, `chunks` an SCTP packet's, `carries` the packet of which an ICMP error tells, as a SPEC. `becomes`
//! is what conntrack makes of the packet, its header where it ends (`?` what is not known), and what happens to it.
//!
//! `piece = [0, 24]` sends the fragment of the packet that holds these bytes behind the IP header, with `ident` as identification; `more`, where it is not what the packet's
//! own length tells, and `ecn`. Of one that completes no datagram, `becomes` is why ([`Unjoined`](kpclass_ruleset::conntrack::Unjoined)), or `as it is`.

use super::entry::Node;
use super::error::Problem;
use super::{CorpusError, dump};
use crate::frame::{Framer, Link, Origin, Piece, Sctp, Tag};
use kpclass_ruleset::Ruleset;
use kpclass_ruleset::conntrack::{Datagram, Settings, Tuple};
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::packet::tcp_flag;
use kpclass_ruleset::spec;
use kpclass_ruleset::value::Family;
use serde::Deserialize;
use std::path::Path;
use std::time::Duration;

/// A case of several packets.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// What breaks where it fails.
    pub name: String,
    /// The fact or sentence behind it.
    pub why: String,
    /// The rules at first.
    pub rules: (String, Ruleset),
    /// The node.
    pub node: NodeFacts,
    /// conntrack's settings.
    pub settings: Settings,
    /// What happens, in order.
    pub steps: Vec<SequenceStep>,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum SequenceStep {
    /// A packet, at a time behind the first, and what it becomes.
    Packet(Duration, Box<Datagram>, String),
    /// A fragment of a packet, at a time behind the first packet, and what it becomes.
    Fragment(Duration, Box<Datagram>, Cut, String),
    /// Other rules from now on.
    Rules(String, Box<Ruleset>),
}

/// How a fragment is cut out of its packet.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    piece: Piece,
    /// What it says of others that follow; `None`: the truth.
    more: Option<bool>,
}

impl Cut {
    /// The frame of the fragment, of Ethernet; the packet's numbers are [`tag`]'s.
    pub fn frame(&self, datagram: &Datagram) -> Vec<u8> {
        const BEHIND_IPV4: usize = 14 + 20;
        const BEHIND_IPV6: usize = 14 + 40;
        let (packet, mut framer) = (&datagram.packet, Framer::whole(Link::Ethernet));
        let whole = framer.tagged(packet, Origin::Outside, &tag(datagram));
        let begins = match packet.source.is_ipv4() {
            true => BEHIND_IPV4,
            false => BEHIND_IPV6,
        };
        let more = self.more.unwrap_or(begins + self.piece.to < whole.len());
        Piece { more, ..self.piece }.cut(Link::Ethernet, whole)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    sequence: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    why: String,
    dump: String,
    #[serde(default)]
    node: Node,
    #[serde(default)]
    settings: Vec<String>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    #[serde(default)]
    at: f64,
    spec: Option<String>,
    becomes: Option<String>,
    rules: Option<String>,
    id: Option<u16>,
    carries: Option<String>,
    chunks: Option<Vec<u8>>,
    piece: Option<[usize; 2]>,
    #[serde(default)]
    ident: u16,
    more: Option<bool>,
    #[serde(default)]
    ecn: u8,
}

/// Reads the sequences of one file.
///
/// # Errors
/// Where it cannot be read, or one of them cannot.
pub fn read_sequences(path: &Path) -> Result<Vec<Sequence>, CorpusError> {
    let name = path.display().to_string();
    let fails = |case: Option<&str>, problem| CorpusError::new(&name, case, problem);
    let text = std::fs::read_to_string(path)
        .map_err(|why| fails(None, Problem::Unreadable(why.to_string())))?;
    let file: File =
        toml::from_str(&text).map_err(|why| fails(None, Problem::Toml(why.to_string())))?;
    if file.sequence.is_empty() {
        return Err(fails(None, Problem::Empty));
    }
    let entries = file.sequence.into_iter();
    entries
        .map(|entry| {
            let case = entry.name.clone();
            entry.sequence().map_err(|why| fails(Some(&case), why))
        })
        .collect()
}

impl Entry {
    fn sequence(self) -> Result<Sequence, Problem> {
        for (key, text) in [("name", &self.name), ("why", &self.why)] {
            if text.trim().is_empty() {
                return Err(Problem::Blank(key));
            }
        }
        let node = self.node.facts().map_err(Problem::Node)?;
        let mut settings = Settings::default();
        for line in &self.settings {
            settings
                .set(line)
                .map_err(|why| Problem::Node(why.to_string()))?;
        }
        let first = self.steps.iter().find_map(|step| step.spec.as_ref());
        let first = first.ok_or(Problem::AsksNothing)?;
        let family = Family::of(parse(first)?.destination);
        let rules = |text: &str| -> Result<(String, Ruleset), Problem> {
            let whole = dump::whole(text).map_err(Problem::Dump)?;
            let ruleset = dump::rules(&whole, family, &self.name).map_err(Problem::Dump)?;
            Ok((whole, ruleset))
        };
        let steps = self
            .steps
            .iter()
            .map(|step| match (&step.rules, &step.spec) {
                (Some(text), _) => {
                    let (text, ruleset) = rules(text)?;
                    Ok(SequenceStep::Rules(text, Box::new(ruleset)))
                }
                (None, Some(text)) => step.packet(text, &node),
                (None, None) => Err(Problem::AsksNothing),
            });
        let steps = steps.collect::<Result<Vec<SequenceStep>, Problem>>()?;
        Ok(Sequence {
            rules: rules(&self.dump)?,
            name: self.name,
            why: self.why,
            node,
            settings,
            steps,
        })
    }
}

fn parse(text: &str) -> Result<spec::Spec, Problem> {
    spec::parse(text).map_err(|why| Problem::Packet {
        spec: text.to_owned(),
        what: why.to_string(),
    })
}

impl Step {
    fn packet(&self, text: &str, node: &NodeFacts) -> Result<SequenceStep, Problem> {
        let mut datagram = Datagram::new(parse(text)?.packet(node));
        datagram.icmp_id = self.id.or(datagram.icmp_id);
        if self.chunks.is_some() {
            datagram.chunks.clone_from(&self.chunks);
        }
        if let Some(carried) = &self.carries {
            let mut carried = Datagram::new(parse(carried)?.packet(node));
            carried.icmp_id = self.id.or(carried.icmp_id);
            datagram.carried = Tuple::of(&carried);
        }
        let becomes = self.becomes.clone().unwrap_or_default();
        let at = Duration::try_from_secs_f64(self.at).unwrap_or_default();
        let Some([from, to]) = self.piece else {
            return Ok(SequenceStep::Packet(at, Box::new(datagram), becomes));
        };
        let piece = Piece {
            id: self.ident,
            from,
            to,
            more: false,
            ecn: self.ecn,
        };
        let cut = Cut {
            piece,
            more: self.more,
        };
        let datagram = Box::new(datagram);
        Ok(SequenceStep::Fragment(at, datagram, cut, becomes))
    }
}

/// Numbers and tags that stand where both sides' do from the first packet on.
pub fn tag(datagram: &Datagram) -> Tag {
    const INIT: u8 = 1;
    let syn = |flags| flags & tcp_flag::SYN != 0;
    let is_syn = datagram.packet.tcp_flags.is_some_and(syn);
    let chunks = datagram.chunks.as_ref().map(|list| {
        let mut chunks = [None; 3];
        for (to, kind) in chunks.iter_mut().zip(list) {
            *to = Some(*kind);
        }
        Sctp {
            tag: if list.contains(&INIT) { 0 } else { 7 },
            initiate: 7,
            chunks,
        }
    });
    let [a, b, c, d] = datagram.packet.mark.to_ne_bytes();
    Tag {
        identification: 1,
        flow_label: 1,
        sequence: if is_syn { 1_000 } else { 1_001 },
        acknowledgment: Some(1_001),
        destination_mac: Some([2, 0, a, b, c, d]),
        icmp_id: datagram.icmp_id,
        carried: datagram.carried,
        sctp: chunks,
        ..Tag::default()
    }
}
