//! A case as it is written.

use super::error::Problem;
use super::expected::{Chance, Expected};
use super::{Asked, Case, dump};
use kpclass_ruleset::node::{LocalAddresses, MissingChains, NodeFacts, ipset};
use kpclass_ruleset::spec;
use kpclass_ruleset::value::Interface;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) name: String,
    why: String,
    dump: String,
    #[serde(default)]
    node: Node,
    packets: Vec<Question>,
    kernel_cannot: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Node {
    addresses: Option<Vec<String>>,
    route_localnet: Option<bool>,
    ipsets: Option<String>,
    missing_chains: Option<Missing>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Missing {
    Return,
    Unknown,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    spec: String,
    outcomes: Vec<String>,
}

impl Entry {
    pub(super) fn list(text: &str) -> Result<Vec<Self>, Problem> {
        let file: File = toml::from_str(text).map_err(|error| Problem::Toml(error.to_string()))?;
        Ok(file.case)
    }

    pub(super) fn case(self, file: &str) -> Result<Case, Problem> {
        for (key, text) in [("name", &self.name), ("why", &self.why)] {
            if text.trim().is_empty() {
                return Err(Problem::Blank(key));
            }
        }
        if self
            .kernel_cannot
            .as_ref()
            .is_some_and(|why| why.trim().is_empty())
        {
            return Err(Problem::Blank("kernel_cannot"));
        }
        let node = self.node.facts().map_err(Problem::Node)?;
        let packets = self.packets.iter().map(|question| question.asked(&node));
        let packets = packets.collect::<Result<Vec<Asked>, _>>()?;
        let Some(first) = packets.first() else {
            return Err(Problem::AsksNothing);
        };
        let family = first.packet.family();
        if packets.iter().any(|asked| asked.packet.family() != family) {
            return Err(Problem::TwoFamilies);
        }
        let text = dump::whole(&self.dump).map_err(Problem::Dump)?;
        let name = format!("{file}, case {:?}", self.name);
        let ruleset = dump::rules(&text, family, &name).map_err(Problem::Dump)?;
        Ok(Case {
            name: self.name,
            why: self.why,
            family,
            text,
            ruleset,
            node,
            ipsets: self.node.ipsets,
            packets,
            kernel_cannot: self.kernel_cannot,
        })
    }
}

impl Node {
    pub(super) fn facts(&self) -> Result<NodeFacts, String> {
        let sets = self.ipsets.as_deref().map(ipset::parse_ipsets).transpose();
        let sets = sets.map_err(|error| format!("ipsets: {error}"))?;
        if let Some((set, line, what)) = sets.iter().flat_map(|sets| &sets.left_out).next() {
            return Err(format!(
                "ipsets: line {line}: {set}: {what} is not modelled"
            ));
        }
        let local = self.addresses.as_deref().map(local_addresses).transpose()?;
        Ok(NodeFacts {
            local,
            ipsets: sets.map(|sets| sets.sets),
            route_localnet: self.route_localnet,
            missing_chains: match self.missing_chains {
                None | Some(Missing::Return) => MissingChains::Return,
                Some(Missing::Unknown) => MissingChains::Unknown,
            },
        })
    }
}

/// `eth0 192.168.0.2`, or an address alone.
fn local_addresses(lines: &[String]) -> Result<LocalAddresses, String> {
    let mut local = LocalAddresses::default();
    for line in lines {
        let (device, address) = match line.split_once(' ') {
            Some((device, address)) => (Some(device), address),
            None => (None, line.as_str()),
        };
        let wrong = || format!("`{line}`: needs an address, or a device and an address");
        let address = address.trim().parse().map_err(|_| wrong())?;
        local.addresses.insert(address);
        if let Some(device) = device {
            let device = Interface::new(device).ok_or_else(wrong)?;
            local.devices.push((device, address));
        }
    }
    Ok(local)
}

impl Question {
    fn asked(&self, node: &NodeFacts) -> Result<Asked, Problem> {
        let wrong = |what: String| Problem::Packet {
            spec: self.spec.clone(),
            what,
        };
        let packet = spec::parse(&self.spec).map_err(|error| wrong(error.to_string()))?;
        let outcomes = self.outcomes.iter().map(|text| Expected::parse(text));
        let outcomes: Vec<Expected> = outcomes.collect::<Result<_, _>>().map_err(wrong)?;
        if outcomes.is_empty() {
            return Err(wrong("no outcome is expected".to_owned()));
        }
        for (at, outcome) in outcomes.iter().enumerate() {
            if outcomes[..at]
                .iter()
                .any(|other| other.effect == outcome.effect)
            {
                return Err(wrong(format!("`{}` is expected twice", outcome.effect)));
            }
        }
        if !Chance::are_all(outcomes.iter().map(|outcome| outcome.chance)) {
            return Err(wrong(
                "the chances of its outcomes do not sum to 1".to_owned(),
            ));
        }
        Ok(Asked {
            spec: self.spec.clone(),
            packet: packet.packet(node),
            outcomes,
        })
    }
}
