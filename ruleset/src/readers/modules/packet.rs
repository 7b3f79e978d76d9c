//! Options about the packet itself: comment, icmp, iprange, addrtype, statistic, mac, length, ttl, dscp.

use super::super::options::Options;
use super::super::values::{self, Reason};
use super::{ReadError, address_types};
use crate::ids::StrId;
use crate::matches::{Addrtype, IcmpType, Iprange, Statistic, TtlTest};
use crate::value::PortRange;

/// `--comment`. Words after it that are no option belong to it: its quotes were lost on the way.
pub(super) fn comment(options: &mut Options<'_, '_>) -> Result<StrId, ReadError> {
    let text = options.text("a text")?;
    if options.cursor.at_option() {
        return Ok(options.strings.intern(&text));
    }
    let mut text = text.into_owned();
    while !options.cursor.at_option() {
        let Some(word) = options.cursor.next() else {
            break;
        };
        text.push(' ');
        text.push_str(&options.cursor.text(word));
    }
    Ok(options.strings.intern(&text))
}

/// Names of ICMP types: name, type, code (256: any).
const ICMP_NAMES: &[(&str, u8, u16)] = &[
    ("any", 255, 256),
    ("echo-reply", 0, 256),
    ("pong", 0, 256),
    ("destination-unreachable", 3, 256),
    ("network-unreachable", 3, 0),
    ("host-unreachable", 3, 1),
    ("protocol-unreachable", 3, 2),
    ("port-unreachable", 3, 3),
    ("fragmentation-needed", 3, 4),
    ("source-route-failed", 3, 5),
    ("network-unknown", 3, 6),
    ("host-unknown", 3, 7),
    ("network-prohibited", 3, 9),
    ("host-prohibited", 3, 10),
    ("TOS-network-unreachable", 3, 11),
    ("TOS-host-unreachable", 3, 12),
    ("communication-prohibited", 3, 13),
    ("host-precedence-violation", 3, 14),
    ("precedence-cutoff", 3, 15),
    ("source-quench", 4, 256),
    ("redirect", 5, 256),
    ("network-redirect", 5, 0),
    ("host-redirect", 5, 1),
    ("TOS-network-redirect", 5, 2),
    ("TOS-host-redirect", 5, 3),
    ("echo-request", 8, 256),
    ("ping", 8, 256),
    ("router-advertisement", 9, 256),
    ("router-solicitation", 10, 256),
    ("time-exceeded", 11, 256),
    ("ttl-exceeded", 11, 256),
    ("ttl-zero-during-transit", 11, 0),
    ("ttl-zero-during-reassembly", 11, 1),
    ("parameter-problem", 12, 256),
    ("ip-header-bad", 12, 0),
    ("required-option-missing", 12, 1),
    ("timestamp-request", 13, 256),
    ("timestamp-reply", 14, 256),
    ("address-mask-request", 17, 256),
    ("address-mask-reply", 18, 256),
];

/// Names of ICMPv6 types.
const ICMPV6_NAMES: &[(&str, u8, u16)] = &[
    ("destination-unreachable", 1, 256),
    ("no-route", 1, 0),
    ("communication-prohibited", 1, 1),
    ("beyond-scope", 1, 2),
    ("address-unreachable", 1, 3),
    ("port-unreachable", 1, 4),
    ("failed-policy", 1, 5),
    ("reject-route", 1, 6),
    ("packet-too-big", 2, 256),
    ("time-exceeded", 3, 256),
    ("ttl-exceeded", 3, 256),
    ("ttl-zero-during-transit", 3, 0),
    ("ttl-zero-during-reassembly", 3, 1),
    ("parameter-problem", 4, 256),
    ("bad-header", 4, 0),
    ("unknown-header-type", 4, 1),
    ("unknown-option", 4, 2),
    ("echo-request", 128, 256),
    ("ping", 128, 256),
    ("echo-reply", 129, 256),
    ("pong", 129, 256),
    ("mld-listener-query", 130, 256),
    ("mld-listener-report", 131, 256),
    ("mld-listener-done", 132, 256),
    ("mld-listener-reduction", 132, 256),
    ("router-solicitation", 133, 256),
    ("router-advertisement", 134, 256),
    ("neighbour-solicitation", 135, 256),
    ("neighbor-solicitation", 135, 256),
    ("neighbour-advertisement", 136, 256),
    ("neighbor-advertisement", 136, 256),
    ("redirect", 137, 256),
];

/// The type of `--icmp-type` or `--icmpv6-type`.
pub(super) fn icmp_type(options: &mut Options<'_, '_>, v6: bool) -> Result<IcmpType, ReadError> {
    options.value("a type such as 8 or 3/4", |text| icmp(text, v6))
}

/// `8`, `3/4`, `echo-request`; beginnings of names are taken as iptables takes them.
pub(crate) fn icmp(text: &str, v6: bool) -> Result<IcmpType, Reason> {
    let of = |kind: u8, code: u16| match u8::try_from(code) {
        Ok(code) => IcmpType {
            kind,
            code_first: code,
            code_last: code,
        },
        Err(_) => IcmpType {
            kind,
            code_first: 0,
            code_last: 255,
        },
    };
    if text.as_bytes().first().is_some_and(u8::is_ascii_digit) {
        return Ok(match text.split_once('/') {
            Some((kind, code)) => of(values::number8(kind)?, values::number8(code)?.into()),
            None => of(values::number8(text)?, 256),
        });
    }
    let names = if v6 { ICMPV6_NAMES } else { ICMP_NAMES };
    let exact = names
        .iter()
        .find(|(name, ..)| name.eq_ignore_ascii_case(text));
    let begins = |(name, ..): &&(&str, u8, u16)| {
        !text.is_empty()
            && name
                .get(..text.len())
                .is_some_and(|n| n.eq_ignore_ascii_case(text))
    };
    match exact.or_else(|| names.iter().find(begins)) {
        Some((_, kind, code)) => Ok(of(*kind, *code)),
        None => Err(format!("`{text}` is not an ICMP type")),
    }
}

/// The options of `-m iprange`.
pub(super) fn iprange(
    iprange: &mut Iprange,
    name: &str,
    options: &mut Options<'_, '_>,
) -> Result<bool, ReadError> {
    let family = options.family;
    let range = |options: &mut Options<'_, '_>| {
        let (first, last) = options.value("a range of addresses", |text| {
            values::address_range(text, family)
        })?;
        Ok(Some((first, last, options.inversion())))
    };
    match name {
        "--src-range" => iprange.source = range(options)?,
        "--dst-range" => iprange.destination = range(options)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// The options of `-m addrtype`.
pub(super) fn addrtype(
    addrtype: &mut Addrtype,
    name: &str,
    options: &mut Options<'_, '_>,
) -> Result<bool, ReadError> {
    match name {
        "--src-type" => {
            let types = options.value("an address type such as LOCAL", address_types)?;
            addrtype.source = Some((types, options.inversion()));
        }
        "--dst-type" => {
            let types = options.value("an address type such as LOCAL", address_types)?;
            addrtype.destination = Some((types, options.inversion()));
        }
        "--limit-iface-in" => addrtype.limit_in = true,
        "--limit-iface-out" => addrtype.limit_out = true,
        _ => return Ok(false),
    }
    Ok(true)
}

/// The options of `-m statistic`.
pub(super) fn statistic(
    statistic: &mut Statistic,
    name: &str,
    options: &mut Options<'_, '_>,
    inverted: &mut bool,
) -> Result<bool, ReadError> {
    let nth = |text: &str| match values::number32(text)? {
        0 => Err("`0` is not a number of packets: at least 1".into()),
        every => Ok(every),
    };
    match (name, &mut *statistic) {
        ("--mode", _) => {
            *statistic = options.value("`random` or `nth`", |text| match text {
                "random" => Ok(Statistic::Random { threshold: 0 }),
                "nth" => Ok(Statistic::Nth {
                    every: 1,
                    packet: 0,
                }),
                _ => Err(format!("`{text}` is neither `random` nor `nth`")),
            })?;
        }
        ("--probability", Statistic::Random { threshold }) => {
            *threshold = options.value("a probability", values::probability)?;
            *inverted = options.inversion();
        }
        ("--every", Statistic::Nth { every, .. }) => {
            *every = options.value("a number of packets", nth)?;
            *inverted = options.inversion();
        }
        ("--packet", Statistic::Nth { packet, .. }) => {
            *packet = options.value("a number", values::number32)?
        }
        ("--probability" | "--every" | "--packet", _) => {
            return Err(options.fail("this option is of the other `--mode`"));
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Whether the address that follows was made unreadable (`XX:XX:XX:XX:XX:XX`) by who published the dump.
pub(super) fn hides_mac(options: &Options<'_, '_>) -> bool {
    let next = options.cursor.peek().map(|word| options.cursor.raw(word));
    next.is_some_and(|text| {
        text.contains(':') && text.bytes().all(|b| matches!(b, b'X' | b'x' | b':'))
    })
}

/// `00:16:3e:00:00:01`.
pub(crate) fn mac(text: &str) -> Result<[u8; 6], Reason> {
    let mut mac = [0; 6];
    let parts = text.split(':');
    if parts.clone().count() != 6 {
        return Err(format!(
            "`{text}` is not an address of six bytes such as 00:16:3e:00:00:01"
        ));
    }
    for (byte, part) in mac.iter_mut().zip(parts) {
        let digits = (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_hexdigit());
        let value = digits.then(|| u8::from_str_radix(part, 16).ok()).flatten();
        *byte = value.ok_or_else(|| format!("`{part}` is not a byte in hexadecimal digits"))?;
    }
    Ok(mac)
}

/// `100`, `100:200`.
pub(crate) fn length(text: &str) -> Result<PortRange, Reason> {
    let bound = |text: &str, absent: u16| {
        if text.is_empty() {
            Ok(absent)
        } else {
            values::number(text, 0xffff).map(|n| n as u16)
        }
    };
    let (first, last) = match text.split_once(':') {
        Some((first, last)) => (bound(first, 0)?, bound(last, u16::MAX)?),
        None => values::number(text, 0xffff).map(|n| (n as u16, n as u16))?,
    };
    if first > last {
        return Err(format!(
            "`{text}` is a range whose first length is above its last"
        ));
    }
    Ok(PortRange { first, last })
}

/// The options of `-m ttl` and `-m hl`.
pub(super) fn ttl(
    test: &mut TtlTest,
    name: &str,
    options: &mut Options<'_, '_>,
    inverted: &mut bool,
) -> Result<bool, ReadError> {
    *test = match name {
        "--ttl-eq" | "--hl-eq" | "--ttl" => {
            TtlTest::Equal(options.value("a number", values::number8)?)
        }
        "--ttl-lt" | "--hl-lt" => TtlTest::Less(options.value("a number", values::number8)?),
        "--ttl-gt" | "--hl-gt" => TtlTest::Greater(options.value("a number", values::number8)?),
        _ => return Ok(false),
    };
    *inverted = options.inversion();
    Ok(true)
}

/// The options of `-m dscp`.
pub(super) fn dscp(
    dscp: &mut u8,
    name: &str,
    options: &mut Options<'_, '_>,
    inverted: &mut bool,
) -> Result<bool, ReadError> {
    *dscp = match name {
        "--dscp" => options.value("a number up to 63", |text| {
            values::number(text, 63).map(|n| n as u8)
        })?,
        "--dscp-class" => options.value("a class such as EF or AF21", dscp_class)?,
        _ => return Ok(false),
    };
    *inverted = options.inversion();
    Ok(true)
}

/// `BE`, `EF`, `CS0` to `CS7`, `AF11` to `AF43`.
pub(crate) fn dscp_class(text: &str) -> Result<u8, Reason> {
    let name = text.to_ascii_uppercase();
    match name.as_bytes() {
        b"BE" => Ok(0),
        b"EF" => Ok(0x2e),
        [b'C', b'S', class @ b'0'..=b'7'] => Ok((class - b'0') << 3),
        [b'A', b'F', class @ b'1'..=b'4', drop @ b'1'..=b'3'] => {
            Ok(((class - b'0') << 3) | ((drop - b'0') << 1))
        }
        _ => Err(format!(
            "`{text}` is not a DSCP class such as EF, CS1 or AF21"
        )),
    }
}
