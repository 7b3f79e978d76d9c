//! Values in the arguments of options: addresses, ports, marks. Each reader's error says what was needed.

use super::names;
use crate::matches::MarkTest;
use crate::value::{Family, PortRange, Prefix};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why a value could not be read; the caller adds the place.
pub(crate) type Reason = String;

/// An address of a family.
pub(crate) fn address(text: &str, family: Family) -> Result<IpAddr, Reason> {
    let bare = text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .unwrap_or(text);
    let address = match family {
        Family::V4 => v4(bare).map(IpAddr::V4),
        Family::V6 => bare.parse::<Ipv6Addr>().map(IpAddr::V6).ok(),
    };
    address.ok_or_else(|| not_an_address(text, bare, family))
}

/// As the standard library reads it, only sooner: there is one in nearly every rule.
fn v4(text: &str) -> Option<Ipv4Addr> {
    let (mut octets, mut at, mut digits, mut octet) = ([0; 4], 0, 0, 0);
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' if digits < 3 && (digits == 0 || octet > 0) => {
                octet = octet * 10 + u16::from(byte - b'0');
                digits += 1;
            }
            b'.' if digits > 0 && at < 3 => {
                octets[at] = u8::try_from(octet).ok()?;
                (at, digits, octet) = (at + 1, 0, 0);
            }
            _ => return None,
        }
    }
    octets[at] = u8::try_from(octet).ok()?;
    (at == 3 && digits > 0).then(|| Ipv4Addr::from(octets))
}

fn not_an_address(text: &str, bare: &str, family: Family) -> Reason {
    match (family, bare.parse::<IpAddr>()) {
        (Family::V4, Ok(_)) => format!("`{text}` is an IPv6 address in rules for IPv4"),
        (Family::V6, Ok(_)) => format!("`{text}` is an IPv4 address in rules for IPv6"),
        (Family::V4, Err(_)) => format!("`{text}` is not an IPv4 address"),
        (Family::V6, Err(_)) => format!("`{text}` is not an IPv6 address"),
    }
}

/// Address with or without `/LEN` or `/MASK`; `10/8` is `10.0.0.0/8`, and `any`, `anywhere`, `default` are everything.
pub(crate) fn prefix(text: &str, family: Family) -> Result<Prefix, Reason> {
    let (host, length) = match text.split_once('/') {
        Some((host, length)) => (host, Some(length)),
        None => (text, None),
    };
    let unspecified = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let anything = Prefix::with_len(unspecified, 0);
    if length == Some("0") || (length.is_none() && matches!(host, "any" | "anywhere" | "default")) {
        // The kernel keeps nothing of the address under an empty mask.
        return anything.ok_or_else(String::new);
    }
    let base = match address(host, family) {
        Ok(base) => base,
        Err(reason) => short_address(host)
            .filter(|_| family == Family::V4)
            .ok_or(reason)?,
    };
    let Some(length) = length else {
        return Ok(Prefix::host(base));
    };
    let mask = match length.parse::<u32>() {
        Ok(bits) => Prefix::with_len(base, bits),
        Err(_) => address(length, family)
            .ok()
            .and_then(|mask| Prefix::new(base, mask)),
    };
    let most = family.bits();
    mask.ok_or_else(|| format!("`{length}` is not a prefix length up to {most}, nor a mask"))
}

/// `10`, `10.1`, `10.1.2`: the rest is zero.
fn short_address(text: &str) -> Option<IpAddr> {
    let mut octets = [0; 4];
    let parts = text.split('.');
    if parts.clone().count() > 4 {
        return None;
    }
    for (octet, part) in octets.iter_mut().zip(parts) {
        *octet = part.parse().ok()?;
    }
    Some(IpAddr::V4(Ipv4Addr::from(octets)))
}

/// `80`, `http`, `80:90`, `80:`, `:90`.
pub(crate) fn port_range(text: &str) -> Result<PortRange, Reason> {
    match text.split_once(':') {
        None => port(text).map(PortRange::single),
        Some((first, last)) => {
            let first = if first.is_empty() { 0 } else { port(first)? };
            let last = if last.is_empty() {
                u16::MAX
            } else {
                port(last)?
            };
            ordered(text, first, last)
        }
    }
}

/// A port by number or service name.
pub(crate) fn port(text: &str) -> Result<u16, Reason> {
    names::port(text)
        .ok_or_else(|| format!("`{text}` is not a port (0 to 65535) or the name of a service"))
}

/// `A-B` of numbers, as `--to-ports` writes it.
pub(crate) fn dashed_ports(text: &str) -> Result<PortRange, Reason> {
    // A service name may hold a dash itself.
    if let Some(single) = names::port(text) {
        return Ok(PortRange::single(single));
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    ordered(text, port(first)?, port(last)?)
}

fn ordered(text: &str, first: u16, last: u16) -> Result<PortRange, Reason> {
    if first > last {
        return Err(format!(
            "`{text}` is a range whose first port is above its last"
        ));
    }
    Ok(PortRange { first, last })
}

/// `A-B` or `A` of addresses.
pub(crate) fn address_range(text: &str, family: Family) -> Result<(IpAddr, IpAddr), Reason> {
    let Some((first, last)) = text.split_once('-') else {
        let only = address(text, family)?;
        return Ok((only, only));
    };
    let (first, last) = (address(first, family)?, address(last, family)?);
    if first > last {
        return Err(format!(
            "`{text}` is a range whose first address is above its last"
        ));
    }
    Ok((first, last))
}

/// A number up to `most`.
pub(crate) fn number(text: &str, most: u64) -> Result<u64, Reason> {
    match names::number(text) {
        Some(number) if number <= most => Ok(number),
        Some(_) => Err(format!("`{text}` is above {most}")),
        None => Err(format!("`{text}` is not a number")),
    }
}

/// A number of 32 bits.
pub(crate) fn number32(text: &str) -> Result<u32, Reason> {
    number(text, u64::from(u32::MAX)).map(|number| number as u32)
}

/// A number of 8 bits.
pub(crate) fn number8(text: &str) -> Result<u8, Reason> {
    number(text, 255).map(|number| number as u8)
}

/// `VALUE` or `VALUE/MASK`; without a mask all bits count.
pub(crate) fn mark(text: &str) -> Result<MarkTest, Reason> {
    let (value, mask) = match text.split_once('/') {
        Some((value, mask)) => (value, number32(mask)?),
        None => (text, u32::MAX),
    };
    Ok(MarkTest {
        value: number32(value)?,
        mask,
    })
}

/// The threshold of a probability: round(p·2^31).
pub(crate) fn probability(text: &str) -> Result<u32, Reason> {
    let ordinary = text
        .bytes()
        .all(|b| b.is_ascii_digit() || b".eE-+".contains(&b));
    match text.parse::<f64>() {
        Ok(p) if ordinary && (0.0..=1.0).contains(&p) => Ok((p * 2_147_483_648.0).round() as u32),
        _ => Err(format!("`{text}` is not a probability from 0 to 1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, family: Family) -> String {
        prefix(text, family).map_or_else(|reason| reason, |prefix| prefix.to_string())
    }

    #[test]
    fn addresses_are_those_of_the_standard_library() {
        let parts = [
            "", "0", "00", "7", "07", "10", "010", "255", "256", "1000", "+1", "1x", ".", ":",
        ];
        let mut texts = vec![String::new()];
        for separator in ["", ".", ".", "."] {
            let longer = |text: &String| parts.map(|part| format!("{text}{separator}{part}"));
            texts = texts.iter().flat_map(longer).collect();
        }
        texts.extend(["1.2.3", "1.2.3.4.5", "1.2.3.4.", ".1.2.3.4", "1.2.3.4 "].map(String::from));
        for text in texts {
            assert_eq!(v4(&text), text.parse().ok(), "{text}");
        }
    }

    #[test]
    fn prefixes() {
        assert_eq!(shown("10/8", Family::V4), "10.0.0.0/8");
        assert_eq!(shown("10.1.2.3", Family::V4), "10.1.2.3/32");
        assert_eq!(
            shown("10.1.2.3/255.0.255.0", Family::V4),
            "10.0.2.0/255.0.255.0"
        );
        assert_eq!(shown("host/0", Family::V4), "0.0.0.0/0");
        assert_eq!(shown("fd00::1/64", Family::V6), "fd00::/64");
        assert_eq!(
            shown("10.0.0.0/33", Family::V4),
            "`33` is not a prefix length up to 32, nor a mask"
        );
        assert_eq!(
            shown("10.0.0.256", Family::V4),
            "`10.0.0.256` is not an IPv4 address"
        );
        assert_eq!(
            shown("fd00::1", Family::V4),
            "`fd00::1` is an IPv6 address in rules for IPv4"
        );
    }

    #[test]
    fn ports() {
        assert_eq!(port_range(":90"), Ok(PortRange { first: 0, last: 90 }));
        assert_eq!(
            port_range("http:"),
            Ok(PortRange {
                first: 80,
                last: u16::MAX
            })
        );
        assert!(port_range("90:80").is_err());
        assert_eq!(dashed_ports("http-alt"), Ok(PortRange::single(8080)));
        assert_eq!(
            dashed_ports("80-90"),
            Ok(PortRange {
                first: 80,
                last: 90
            })
        );
    }

    #[test]
    fn probabilities_round_to_the_kernels_threshold() {
        assert_eq!(probability("0.33333333349"), Ok(715_827_883));
        assert_eq!(probability("0.3333333333"), Ok(715_827_883));
        assert_eq!(probability("1"), Ok(1 << 31));
        assert!(
            probability("1.1").is_err() && probability("nan").is_err() && probability("").is_err()
        );
    }
}
