//! Membership of ipsets (WALK.md 6, set).

use super::answer::{Asked, all_alike};
use super::{Leaves, SetTest, addresses};
use crate::header::{Header, known};
use kpclass_ruleset::decision::Fact;
use kpclass_ruleset::node::ipset::{Dimension, Entry, IpSet, Value};
use kpclass_ruleset::value::{Interface, PortRange, address_number, protocol};
use std::net::IpAddr;

/// What one dimension of the packet is.
struct Element<'a> {
    /// `None`: some address of this node.
    address: Option<u128>,
    /// One of these: nat may have drawn it.
    port: Option<PortRange>,
    is_source: bool,
    test: &'a SetTest,
}

/// Whether the packet is in the set.
pub(super) fn contains(asked: &Asked<'_>, test: &SetTest) -> Result<bool, Fact> {
    let (program, header) = (asked.program, asked.header);
    let missing = Fact::IpSet(test.ask.name);
    let sets = program.rules.node.ipsets.as_ref().ok_or(missing)?;
    let name = &program.rules.graph.set_names[test.id as usize];
    let set = sets.get(name.as_str()).ok_or(missing)?;
    let mut test = *test;
    if test.leg_out == Leaves::AsItCame {
        let comes_back =
            addresses::comes_back(&program.rules.locals, program.family, header.destination);
        test.leg_out = match comes_back {
            true => Leaves::By(Interface::lo()),
            false => Leaves::NotLo,
        };
    }
    let test = &test;
    if set.dimensions.is_empty() {
        let mut doubt = None;
        for member in &set.members {
            match sets
                .get(member.as_str())
                .map(|set| in_one(set, test, asked))
            {
                Some(Ok(true)) => return Ok(true),
                Some(Ok(false)) => {}
                Some(Err(fact)) => doubt = doubt.or(Some(fact)),
                None => doubt = doubt.or(Some(missing)),
            }
        }
        return doubt.map_or(Ok(false), Err);
    }
    in_one(set, test, asked)
}

/// Of the entries that hold the packet the most specific decides; where a fact is missing, only if it could change that.
fn in_one(set: &IpSet, test: &SetTest, asked: &Asked<'_>) -> Result<bool, Fact> {
    if usize::from(test.ask.dimensions) < set.dimensions.len() {
        return Ok(false);
    }
    let mut candidates: Vec<(Vec<u128>, bool, Result<(), Fact>)> = Vec::new();
    let narrowest = narrowest_net(set, test, asked);
    for entry in &set.entries {
        if narrowest.is_some_and(|narrowest| sizes(entry)[0] != narrowest) {
            continue;
        }
        match holds(set, entry, test, asked) {
            Ok(false) => {}
            Ok(true) => candidates.push((sizes(entry), !entry.nomatch, Ok(()))),
            Err(fact) => candidates.push((sizes(entry), !entry.nomatch, Err(fact))),
        }
    }
    let first_doubt = candidates.iter().find_map(|c| c.2.err());
    candidates.sort_by(|a, b| a.0.cmp(&b.0));
    let mut answer = None;
    for (_, member, sure) in &candidates {
        match (sure, answer) {
            (Ok(()), None) => return Ok(*member),
            (Ok(()), Some(doubted)) if doubted == *member => return Ok(*member),
            (Ok(()), Some(_)) => return Err(first_doubt.unwrap_or(Fact::IpSet(test.ask.name))),
            (Err(_), None) => answer = Some(*member),
            (Err(fact), Some(doubted)) if doubted != *member => {
                return Err(first_doubt.unwrap_or(*fact));
            }
            (Err(_), Some(_)) => {}
        }
    }
    match answer {
        Some(true) => Err(first_doubt.unwrap_or(Fact::IpSet(test.ask.name))),
        _ => Ok(false),
    }
}

/// Of a `hash:net,iface` the size of the narrowest network that holds the address, whatever its device: no other is asked.
fn narrowest_net(set: &IpSet, test: &SetTest, asked: &Asked<'_>) -> Option<u128> {
    if set.dimensions != [Dimension::Net, Dimension::Iface] {
        return None;
    }
    let is_source = !test.ask.destination[0];
    let address = element(test, asked, is_source).address?;
    let holding = set
        .entries
        .iter()
        .filter(|entry| match entry.values.first() {
            Some(Value::Addresses(first, last)) => {
                same_family(*first, asked.header)
                    && (address_number(*first)..=address_number(*last)).contains(&address)
            }
            _ => false,
        });
    holding.map(|entry| sizes(entry)[0]).min()
}

/// How many addresses each dimension of an entry spans, for "most specific".
fn sizes(entry: &Entry) -> Vec<u128> {
    let size = |value: &Value| match value {
        Value::Addresses(first, last) => address_number(*last) - address_number(*first),
        _ => 0,
    };
    entry.values.iter().map(size).collect()
}

/// Whether an entry holds the packet: false if one dimension is false, else unknown if one is.
fn holds(set: &IpSet, entry: &Entry, test: &SetTest, asked: &Asked<'_>) -> Result<bool, Fact> {
    let mut doubt = None;
    for (at, (dimension, value)) in set.dimensions.iter().zip(&entry.values).enumerate() {
        let is_source = !test.ask.destination.get(at).copied().unwrap_or_default();
        let element = element(test, asked, is_source);
        match dimension_holds(*dimension, value, &element, asked) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(fact) => doubt = doubt.or(Some(fact)),
        }
    }
    doubt.map_or(Ok(true), Err)
}

fn element<'a>(test: &'a SetTest, asked: &Asked<'_>, is_source: bool) -> Element<'a> {
    let of = if is_source {
        test.source
    } else {
        test.destination
    };
    Element {
        address: of.map(|of| asked.address(of)),
        port: port(test, asked.header, is_source),
        is_source,
        test,
    }
}

/// The number that a port dimension compares. (The kernel's `ip_set_get_ip_port` does not read DCCP's ports.)
fn port(test: &SetTest, header: &Header, is_source: bool) -> Option<PortRange> {
    use protocol::{ICMP, ICMPV6, SCTP, TCP, UDP, UDPLITE};
    let ports = header.known & known::PORTS != 0;
    let single = match header.protocol {
        TCP | UDP | SCTP | UDPLITE if !ports => None,
        TCP | UDP | SCTP | UDPLITE if is_source => {
            return Some(test.source_port.of(header.source_port));
        }
        TCP | UDP | SCTP | UDPLITE => {
            Some(test.destination_port.unwrap_or(header.destination_port))
        }
        ICMP | ICMPV6 => (header.known & known::ICMP != 0)
            .then(|| u16::from(header.icmp_type) << 8 | u16::from(header.icmp_code)),
        _ => Some(0),
    };
    single.map(PortRange::single)
}

fn dimension_holds(
    dimension: Dimension,
    value: &Value,
    element: &Element<'_>,
    asked: &Asked<'_>,
) -> Result<bool, Fact> {
    let header = asked.header;
    Ok(match (dimension, value) {
        (Dimension::Ip | Dimension::Net, Value::Addresses(first, last)) => {
            let address = element.address.ok_or(Fact::LocalAddresses)?;
            same_family(*first, header)
                && (address_number(*first)..=address_number(*last)).contains(&address)
        }
        (Dimension::Port, Value::Port(number, first, last)) => {
            let fits = match number {
                Some(number) => *number == header.protocol,
                None => matches!(header.protocol, protocol::TCP | protocol::UDP),
            };
            let (first, last) = (*first, *last);
            match element.port.filter(|_| fits) {
                Some(port) => return all_alike(port, &[PortRange { first, last }]),
                None => false,
            }
        }
        (Dimension::Mac, Value::Mac(mac)) => {
            if !element.is_source || header.known & known::MAC == 0 {
                return Err(Fact::Mac);
            }
            header.source_mac == *mac
        }
        (Dimension::Iface, Value::Iface(name)) => {
            let known = match (element.is_source, element.test.leg_out) {
                (true, _) => element.test.leg_in.or(asked.context.in_interface),
                (false, Leaves::By(device)) => Some(device),
                (false, Leaves::NotLo | Leaves::AsItCame) => None,
            };
            match known {
                Some(device) => device.name() == name,
                // A device that is not known is at least not lo.
                None if name == "lo" => false,
                None if element.is_source => return Err(Fact::InInterface),
                None => return Err(Fact::OutInterface),
            }
        }
        (Dimension::Mark, Value::Mark(mark)) => element.test.mark.of(asked.context.mark) == *mark,
        _ => false,
    })
}

fn same_family(address: IpAddr, header: &Header) -> bool {
    address.is_ipv6() == (header.known & known::V6 != 0)
}
