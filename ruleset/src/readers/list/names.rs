//! Names that stand where numbers should: a listing without `-n` asks the node's `/etc/hosts`, DNS, `/etc/networks`,
//! `/etc/protocols` and `/etc/services`. Only names that mean the same on every node are taken for their number.

pub(super) use crate::readers::names::{port, protocol_number};
use crate::value::Family;
use std::borrow::Cow;
use std::net::IpAddr;

/// Addresses with a name that is the same everywhere.
const HOSTS: [(&str, &str); 7] = [
    ("localhost", "127.0.0.1"),
    ("loopback", "127.0.0.0"),
    ("link-local", "169.254.0.0"),
    ("base-address.mcast.net", "224.0.0.0"),
    ("all-systems.mcast.net", "224.0.0.1"),
    ("mdns.mcast.net", "224.0.0.251"),
    ("broadcasthost", "255.255.255.255"),
];

/// The same for IPv6.
const HOSTS6: [(&str, &str); 6] = [
    ("localhost", "::1"),
    ("ip6-localhost", "::1"),
    ("ip6-loopback", "::1"),
    ("ip6-mcastprefix", "ff00::"),
    ("ip6-allnodes", "ff02::1"),
    ("ip6-allrouters", "ff02::2"),
];

/// Whether a word, perhaps negated, is `all`, a protocol's number or the name of a protocol.
pub(super) fn is_protocol(word: &str) -> bool {
    // `any` is an interface.
    let word = word.strip_prefix('!').unwrap_or(word);
    word != "any" && protocol_number(word).is_some()
}

/// Whether a word, perhaps negated, can stand in an address column: an address, a prefix, or a name with letters in it.
pub(super) fn is_address(word: &str) -> bool {
    let word = word.strip_prefix('!').unwrap_or(word);
    let legal = |b: u8| b.is_ascii_alphanumeric() || b".:/-_%".contains(&b);
    let host = word.split_once('/').map_or(word, |(host, _)| host);
    let named = host.len() > 1 && host.bytes().any(|b| b.is_ascii_alphabetic());
    word.bytes().all(legal) && (named || host.parse::<IpAddr>().is_ok())
}

/// An address of one family as `-s` takes it: itself, or what a name stands for. `None` for an unknown name.
pub(super) fn prefix(word: &str, family: Family) -> Option<Cow<'_, str>> {
    let (host, mask) = word
        .split_once('/')
        .map_or((word, None), |(host, mask)| (host, Some(mask)));
    if host.parse::<IpAddr>().is_ok() {
        return Some(word.into());
    }
    let known: &[_] = match family {
        Family::V4 => &HOSTS,
        Family::V6 => &HOSTS6,
    };
    let (_, address) = known.iter().find(|(name, _)| *name == host)?;
    Some(mask.map_or((*address).into(), |mask| format!("{address}/{mask}").into()))
}

/// Whether a word of an address column means every address.
pub(super) fn is_anywhere(word: &str) -> bool {
    matches!(word, "anywhere" | "0.0.0.0/0" | "::/0")
}

/// The family that a word of an address column is of, if it shows.
pub(super) fn family(word: &str) -> Option<Family> {
    let word = word.strip_prefix('!').unwrap_or(word);
    let host = word.split_once('/').map_or(word, |(host, _)| host);
    host.parse().ok().map(Family::of)
}
