//! Reads what `ipset save` wrote.

use super::{Dimension, Entry, IpSet, IpSets, Value};
use crate::node::{FactsError, parse_mac};
use crate::value::{Family, Prefix, address_number, number_address, protocol};
use ahash::AHashMap;
use std::net::IpAddr;

/// What an `ipset save` holds.
#[derive(Clone, Debug, Default)]
pub struct SavedSets {
    /// The sets that can be asked. No member of a `list:set` is a `list:set`.
    pub sets: IpSets,
    /// Sets that are not among them, as something of them is not modelled: name, line, and what. A rule that asks one is unknown.
    pub left_out: Vec<(String, u32, &'static str)>,
}

/// Every type with its dimensions; `list:set` has none.
const TYPES: [(&str, &[Dimension]); 16] = {
    use Dimension::{Iface, Ip, Mac, Mark, Net, Port};
    [
        ("hash:ip", &[Ip]),
        ("hash:ip,mac", &[Ip, Mac]),
        ("hash:ip,mark", &[Ip, Mark]),
        ("hash:ip,port", &[Ip, Port]),
        ("hash:ip,port,ip", &[Ip, Port, Ip]),
        ("hash:ip,port,net", &[Ip, Port, Net]),
        ("hash:mac", &[Mac]),
        ("hash:net", &[Net]),
        ("hash:net,net", &[Net, Net]),
        ("hash:net,port", &[Net, Port]),
        ("hash:net,port,net", &[Net, Port, Net]),
        ("hash:net,iface", &[Net, Iface]),
        ("bitmap:ip", &[Ip]),
        ("bitmap:ip,mac", &[Ip, Mac]),
        ("bitmap:port", &[Port]),
        ("list:set", &[]),
    ]
};

/// Reads `create` and `add` lines, as `ipset save` writes them.
///
/// - An address, network or range `A-B` is what it spans; with the set's `netmask N` each of its addresses stands for its whole /N.
/// - `tcp:80`, `80-90` (TCP), `icmp:8/0` (the port is then type·256 + code), `gre:0`. A `bitmap:port` holds no protocol.
/// - `timeout`: the entry is taken as present, as it was when the set was saved. `comment` and counters are ignored.
/// - An entry of `bitmap:ip,mac` without MAC, `wildcard` and `physdev:` devices, `markmask` and `bitmask` are not modelled: their set is
///   left out, and said to be.
///
/// Memory is bounded by a small multiple of the text's length.
///
/// # Errors
/// The first line that `ipset restore` would not take either: its number, what is there, what is needed.
pub fn parse_ipsets(text: &str) -> Result<SavedSets, FactsError> {
    let mut reader = Reader::default();
    for (line, number) in text.lines().zip(1..) {
        let words = words(line, number)?;
        match words.split_first() {
            None => {}
            Some((&"create" | &"-N", rest)) => reader.create(rest, number)?,
            Some((&"add" | &"-A", rest)) => reader.add(rest, number)?,
            Some((&"Name:", _)) => {
                return Err(FactsError::new(
                    number,
                    "the output of `ipset save` (not of `ipset list`)",
                    line,
                ));
            }
            Some((word, _)) => {
                return Err(FactsError::new(
                    number,
                    "`create` or `add`, as `ipset save` writes",
                    word,
                ));
            }
        }
    }
    reader.finish()
}

/// The words of a line; a quoted one (a comment) is kept without its quotes, and nothing after a word that begins with `#` counts.
fn words(line: &str, number: u32) -> Result<Vec<&str>, FactsError> {
    let mut words = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() && !rest.starts_with('#') {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted
                .split_once('"')
                .ok_or_else(|| FactsError::new(number, "a closing quote", rest))?,
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word);
        rest = after.trim_start();
    }
    Ok(words)
}

/// A set while it is read.
struct Pending {
    set: IpSet,
    kind: &'static str,
    family: Family,
    netmask: Option<u32>,
    line: u32,
    not_modelled: Option<&'static str>,
}

#[derive(Default)]
struct Reader {
    sets: AHashMap<String, Pending>,
    order: Vec<String>,
}

impl Reader {
    fn create(&mut self, words: &[&str], line: u32) -> Result<(), FactsError> {
        let (name, rest) = words
            .split_first()
            .ok_or_else(|| FactsError::new(line, "a set's name", ""))?;
        let (kind, options) = rest
            .split_first()
            .ok_or_else(|| FactsError::new(line, "a set's type", ""))?;
        let known = TYPES.into_iter().find(|(known, _)| known == kind);
        let (kind, dimensions) = known
            .ok_or_else(|| FactsError::new(line, "a type such as hash:ip or list:set", kind))?;
        let mut pending = Pending {
            set: IpSet {
                dimensions: dimensions.to_vec(),
                entries: Vec::new(),
                members: Vec::new(),
            },
            kind,
            family: Family::V4,
            netmask: None,
            line,
            not_modelled: None,
        };
        create_options(&mut pending, options)?;
        if self.sets.insert((*name).to_owned(), pending).is_some() {
            return Err(FactsError::new(
                line,
                "a set that was not created before",
                name,
            ));
        }
        self.order.push((*name).to_owned());
        Ok(())
    }

    fn add(&mut self, words: &[&str], line: u32) -> Result<(), FactsError> {
        let (name, rest) = words
            .split_first()
            .ok_or_else(|| FactsError::new(line, "a set's name", ""))?;
        let (entry, options) = rest
            .split_first()
            .ok_or_else(|| FactsError::new(line, "an entry", ""))?;
        let needed = "the name of a set that a line above creates";
        let pending = self
            .sets
            .get_mut(*name)
            .ok_or_else(|| FactsError::new(line, needed, name))?;
        let nomatch = add_options(pending, options, line)?;
        if pending.kind == "list:set" {
            pending.set.members.push((*entry).to_owned());
            return Ok(());
        }
        let parts = entry.split(',').count();
        if pending.kind == "bitmap:ip,mac" && parts == 1 {
            pending.leave_out("an entry of bitmap:ip,mac without MAC");
            return Ok(());
        }
        if parts != pending.set.dimensions.len() {
            let needed = format!("an entry of {}", pending.kind);
            return Err(FactsError::new(line, needed, entry));
        }
        let dimensions = pending.set.dimensions.iter();
        let values = dimensions.zip(entry.split(','));
        let values: Result<Vec<Value>, FactsError> = values
            .map(|(d, text)| value(pending, *d, text, line))
            .collect();
        let values = values?;
        if values
            .iter()
            .any(|v| matches!(v, Value::Iface(name) if name.starts_with("physdev:")))
        {
            pending.leave_out("a physdev: device");
        }
        pending.set.entries.push(Entry { values, nomatch });
        Ok(())
    }

    fn finish(mut self) -> Result<SavedSets, FactsError> {
        let mut saved = SavedSets::default();
        for name in &self.order {
            let Some(pending) = self.sets.get(name) else {
                continue;
            };
            let list = |member: &&String| {
                self.sets
                    .get(*member)
                    .is_some_and(|set| set.kind == "list:set")
            };
            if let Some(member) = pending.set.members.iter().find(list) {
                return Err(FactsError::new(
                    pending.line,
                    "members of a list:set that are no list:set",
                    member,
                ));
            }
        }
        for name in self.order {
            let Some(pending) = self.sets.remove(&name) else {
                continue;
            };
            match pending.not_modelled {
                Some(what) => saved.left_out.push((name, pending.line, what)),
                None => {
                    saved.sets.insert(name, pending.set);
                }
            }
        }
        Ok(saved)
    }
}

impl Pending {
    fn leave_out(&mut self, what: &'static str) {
        self.not_modelled = self.not_modelled.or(Some(what));
    }
}

fn create_options(pending: &mut Pending, options: &[&str]) -> Result<(), FactsError> {
    let line = pending.line;
    let mut options = options.iter();
    while let Some(&option) = options.next() {
        if matches!(
            option,
            "counters" | "comment" | "skbinfo" | "forceadd" | "-exist" | "-!"
        ) {
            continue;
        }
        let argument = *options.next().unwrap_or(&"");
        match option {
            "family" => pending.family = family(argument, line)?,
            "netmask" => {
                let bits = argument
                    .parse()
                    .ok()
                    .filter(|bits| *bits <= pending.family.bits());
                let needed = "a prefix length of the set's family";
                pending.netmask =
                    Some(bits.ok_or_else(|| FactsError::new(line, needed, argument))?);
            }
            "markmask" if argument != "0xffffffff" => pending.leave_out("markmask"),
            "bitmask" => pending.leave_out("bitmask"),
            "range" | "hashsize" | "maxelem" | "bucketsize" | "initval" | "probes" | "resize"
            | "timeout" | "size" | "markmask"
                if !argument.is_empty() => {}
            _ => {
                return Err(FactsError::new(
                    line,
                    "an option of `create` (family, netmask, range, …)",
                    option,
                ));
            }
        }
    }
    Ok(())
}

fn family(word: &str, line: u32) -> Result<Family, FactsError> {
    match word {
        "inet" | "ipv4" => Ok(Family::V4),
        "inet6" | "ipv6" => Ok(Family::V6),
        _ => Err(FactsError::new(line, "inet or inet6", word)),
    }
}

/// Whether the entry is a `nomatch`.
fn add_options(pending: &mut Pending, options: &[&str], line: u32) -> Result<bool, FactsError> {
    let mut nomatch = false;
    let mut options = options.iter();
    while let Some(&option) = options.next() {
        match option {
            "nomatch" => nomatch = true,
            "wildcard" => pending.leave_out("a wildcard device"),
            "-exist" | "-!" => {}
            "timeout" | "comment" | "packets" | "bytes" | "skbmark" | "skbprio" | "skbqueue"
            | "before" | "after" => {
                options
                    .next()
                    .ok_or_else(|| FactsError::new(line, format!("a value after {option}"), ""))?;
            }
            _ => {
                return Err(FactsError::new(
                    line,
                    "an option of `add` (timeout, nomatch, comment, …)",
                    option,
                ));
            }
        }
    }
    Ok(nomatch)
}

fn value(
    pending: &Pending,
    dimension: Dimension,
    text: &str,
    line: u32,
) -> Result<Value, FactsError> {
    let error = |needed: &str| FactsError::new(line, needed, text);
    match dimension {
        Dimension::Ip | Dimension::Net => {
            let (first, last) =
                addresses(text).ok_or_else(|| error("an address, a network or a range"))?;
            if Family::of(first) != pending.family {
                return Err(error("an address of the set's family"));
            }
            let (first, last) = match pending.netmask {
                Some(bits) => (span(first, bits).0, span(last, bits).1),
                None => (first, last),
            };
            Ok(Value::Addresses(first, last))
        }
        Dimension::Port => {
            let bitmap = pending.kind == "bitmap:port";
            let (protocol, first, last) =
                ports(text).ok_or_else(|| error("a port such as tcp:80, tcp:80-90 or icmp:8/0"))?;
            Ok(Value::Port((!bitmap).then_some(protocol), first, last))
        }
        Dimension::Mac => parse_mac(text)
            .map(Value::Mac)
            .ok_or_else(|| error("a MAC address")),
        Dimension::Iface if text.is_empty() => Err(error("a device's name")),
        Dimension::Iface => Ok(Value::Iface(text.to_owned())),
        Dimension::Mark => mark(text).map(Value::Mark).ok_or_else(|| error("a mark")),
    }
}

fn mark(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// `A`, `A/len`, `A-B`; brackets may stand around an address.
fn addresses(text: &str) -> Option<(IpAddr, IpAddr)> {
    if let Some((first, last)) = text.split_once('-') {
        let (first, last) = (address(first)?, address(last)?);
        let ordered =
            Family::of(first) == Family::of(last) && address_number(first) <= address_number(last);
        return ordered.then_some((first, last));
    }
    match text.split_once('/') {
        Some((network, len)) => {
            let network = address(network)?;
            let len = len
                .parse()
                .ok()
                .filter(|len| *len <= Family::of(network).bits())?;
            Some(span(network, len))
        }
        None => address(text).map(|address| (address, address)),
    }
}

fn address(text: &str) -> Option<IpAddr> {
    text.strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .unwrap_or(text)
        .parse()
        .ok()
}

/// First and last address of the network of `len` bits that holds `address`.
fn span(address: IpAddr, len: u32) -> (IpAddr, IpAddr) {
    let family = Family::of(address);
    let first = Prefix::with_len(address, len).map_or(address, |prefix| prefix.address());
    let hosts = 1u128
        .checked_shl(family.bits() - len.min(family.bits()))
        .unwrap_or(0)
        .wrapping_sub(1);
    (first, number_address(family, address_number(first) | hosts))
}

/// `[protocol:]port[-port]`, and `icmp:type/code`.
fn ports(text: &str) -> Option<(u8, u16, u16)> {
    let (number, range) = match text.split_once(':') {
        Some((name, range)) => (protocol_number(name)?, range),
        None => (protocol::TCP, text),
    };
    if matches!(number, protocol::ICMP | protocol::ICMPV6)
        && let Some((kind, code)) = range.split_once('/')
    {
        let port = u16::from_be_bytes([kind.parse().ok()?, code.parse().ok()?]);
        return Some((number, port, port));
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((number, first, last))
}

fn protocol_number(name: &str) -> Option<u8> {
    if matches!(name, "icmpv6" | "icmp6") {
        return Some(protocol::ICMPV6);
    }
    let known = protocol::NAMES
        .iter()
        .find(|(_, known)| *known == name)
        .map(|(number, _)| *number);
    known.or_else(|| name.parse().ok())
}
