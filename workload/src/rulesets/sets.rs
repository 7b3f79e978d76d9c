//! The node's ipsets.

use super::node;
use super::values::Values;
use crate::numbers::Numbers;
use kpclass_ruleset::value::Family;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

/// A part of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Ip,
    Net,
    Port,
    Iface,
    Mac,
}

/// The types that every kernel with ipset has; a bitmap of addresses is IPv4's.
const TYPES: [(&str, &str, &[Part]); 10] = {
    use Part::{Iface, Ip, Mac, Net, Port};
    [
        ("ip", "hash:ip", &[Ip]),
        ("net", "hash:net", &[Net]),
        ("ip-port", "hash:ip,port", &[Ip, Port]),
        ("net-port", "hash:net,port", &[Net, Port]),
        ("ip-port-ip", "hash:ip,port,ip", &[Ip, Port, Ip]),
        ("ip-port-net", "hash:ip,port,net", &[Ip, Port, Net]),
        ("net-iface", "hash:net,iface", &[Net, Iface]),
        ("b-port", "bitmap:port", &[Port]),
        ("b-ip", "bitmap:ip", &[Ip]),
        ("b-mac", "bitmap:ip,mac", &[Ip, Mac]),
    ]
};
/// How many of them are of both families.
const BOTH_FAMILIES: usize = 8;
/// The addresses that a bitmap spans, and one of them.
const BITMAP: &str = "10.0.0.0-10.0.3.255";
const IN_BITMAP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5));

/// A set: its name and how many parts an entry has.
#[derive(Clone, Debug)]
pub(super) struct Set {
    pub name: String,
    pub parts: usize,
    /// Whether its second part is a device or link address, which only `src` can be of an arriving packet.
    pub by_source: bool,
}

/// The sets of one ruleset.
#[derive(Clone, Debug, Default)]
pub(super) struct Sets {
    pub all: Vec<Set>,
    text: String,
}

impl Sets {
    /// One of every type, and a list of some.
    pub(super) fn drawn(values: &Values, numbers: &mut Numbers) -> Self {
        let mut sets = Self::default();
        let types = match values.family {
            Family::V4 => TYPES.as_slice(),
            Family::V6 => &TYPES[..BOTH_FAMILIES],
        };
        for (name, kind, parts) in types {
            sets.add(name, kind, parts, values, numbers);
        }
        let suffix = suffix(values.family);
        let list = format!("list{suffix}");
        let _ = writeln!(sets.text, "create {list} list:set size 8");
        for member in ["net", "ip-port"] {
            let _ = writeln!(sets.text, "add {list} {member}{suffix}");
        }
        sets.all.push(Set {
            name: list,
            parts: 2,
            by_source: false,
        });
        sets
    }

    /// What `ipset restore` reads.
    pub(super) fn text(&self) -> String {
        self.text.clone()
    }

    fn add(
        &mut self,
        name: &str,
        kind: &str,
        parts: &[Part],
        values: &Values,
        numbers: &mut Numbers,
    ) {
        let name = format!("{name}{}", suffix(values.family));
        let options = match (kind, values.family) {
            ("bitmap:port", _) => "range 0-65535",
            ("bitmap:ip" | "bitmap:ip,mac", _) => &format!("range {BITMAP}"),
            (_, Family::V4) => "family inet",
            (_, Family::V6) => "family inet6",
        };
        let _ = writeln!(self.text, "create {name} {kind} {options}");
        let bitmap = kind.starts_with("bitmap");
        let mut entries = Vec::new();
        for _ in 0..3 + numbers.index(4) {
            let entry: Vec<String> = parts
                .iter()
                .map(|part| part_text(*part, bitmap, values, numbers))
                .collect();
            let entry = entry.join(",");
            // An address twice, with another MAC, is refused.
            let key = if parts.contains(&Part::Mac) {
                entry.split(',').next().unwrap_or_default().to_owned()
            } else {
                entry.clone()
            };
            if entries.contains(&key) {
                continue;
            }
            let nomatch = kind.contains("net") && numbers.chance(0.2);
            let ending = if nomatch { " nomatch" } else { "" };
            let _ = writeln!(self.text, "add {name} {entry}{ending}");
            entries.push(key);
        }
        self.all.push(Set {
            name,
            parts: parts.len(),
            by_source: parts.contains(&Part::Mac) || parts.contains(&Part::Iface),
        });
    }
}

/// Sets of both families have one name space.
fn suffix(family: Family) -> &'static str {
    match family {
        Family::V4 => "4",
        Family::V6 => "6",
    }
}

fn part_text(part: Part, bitmap: bool, values: &Values, numbers: &mut Numbers) -> String {
    match part {
        Part::Ip if bitmap => in_bitmap(numbers.choose(values.endpoints())).to_string(),
        Part::Ip => address(values, numbers).to_string(),
        Part::Net => net(values, numbers),
        Part::Port if bitmap => numbers.choose(values.ports).to_string(),
        Part::Port => port(values, numbers),
        Part::Iface => numbers.choose(node::DEVICES).to_owned(),
        Part::Mac => numbers.choose(values.macs).to_owned(),
    }
}

fn address(values: &Values, numbers: &mut Numbers) -> IpAddr {
    if numbers.chance(0.15) {
        numbers.choose(values.locals)
    } else {
        numbers.choose(values.addresses)
    }
}

/// The address if a bitmap spans it, else another.
fn in_bitmap(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) if matches!(v4.octets(), [10, 0, 0..=3, _]) => address,
        _ => IN_BITMAP,
    }
}

fn net(values: &Values, numbers: &mut Numbers) -> String {
    let prefix = numbers.choose(values.prefixes);
    match prefix.len() {
        Some(len) if numbers.chance(0.6) => format!("{}/{len}", prefix.address()),
        _ => address(values, numbers).to_string(),
    }
}

fn port(values: &Values, numbers: &mut Numbers) -> String {
    let port = numbers.choose(values.ports);
    match (numbers.index(8), values.family) {
        (0, Family::V4) => "icmp:8/0".into(),
        (0, Family::V6) => "icmpv6:128/0".into(),
        (1, _) => format!("sctp:{port}"),
        (2 | 3, _) => format!("udp:{port}"),
        (4, _) => "gre:0".into(),
        _ => format!("tcp:{port}"),
    }
}
