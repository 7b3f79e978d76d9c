//! Names that rules use for numbers.

use crate::value::protocol;

/// The number of a protocol, by number, by a name of `/etc/protocols` or by one that iptables knows beside; 0 is every protocol.
pub(crate) fn protocol_number(text: &str) -> Option<u8> {
    match text {
        "tcp" => return Some(protocol::TCP),
        "udp" => return Some(protocol::UDP),
        "all" | "any" => return Some(0),
        _ => {}
    }
    if let Some(number) = number(text) {
        return u8::try_from(number).ok();
    }
    let name = text.to_ascii_lowercase();
    match name.as_str() {
        "all" | "ip" => Some(0),
        "icmpv6" | "icmp6" => Some(protocol::ICMPV6),
        "mh" | "ipv6-mh" => Some(135),
        "ospfigp" => Some(89),
        "hopopt" => Some(0),
        _ => protocol::NAMES
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(number, _)| *number),
    }
}

/// Ports of the services in `/etc/services`.
const SERVICES: &str = include_str!("services.txt");

/// The port of a service, by number or name.
pub(crate) fn port(text: &str) -> Option<u16> {
    if text.as_bytes().first()?.is_ascii_digit()
        && let Some(number) = number(text)
    {
        return u16::try_from(number).ok();
    }
    let name = text.to_ascii_lowercase();
    let named = |line: &'static str| line.split_once(' ').filter(|(known, _)| *known == name);
    SERVICES
        .lines()
        .find_map(named)
        .and_then(|(_, port)| port.parse().ok())
}

/// An unsigned number as iptables reads it: decimal, `0x` hexadecimal, or octal after a `0`.
pub(crate) fn number(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let (digits, radix) = match bytes {
        [b'0', b'x' | b'X', ..] => (text.get(2..)?, 16),
        [b'0', _, ..] => (text.get(1..)?, 8),
        _ => (text, 10),
    };
    // `from_str_radix` would take a sign.
    let digit = |byte: &u8| byte.is_ascii_alphanumeric();
    if digits.is_empty() || !digits.as_bytes().iter().all(digit) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        assert_eq!(protocol_number("tcp"), Some(6));
        assert_eq!(protocol_number("TCP"), Some(6));
        assert_eq!(protocol_number("0x11"), Some(17));
        assert_eq!(protocol_number("256"), None);
        assert_eq!(protocol_number("vrrp"), Some(112));
        assert_eq!(protocol_number("nothing"), None);
        assert_eq!(port("https"), Some(443));
        assert_eq!(port("65536"), None);
        assert_eq!(port("0x50"), Some(80));
        assert_eq!(port("-1"), None);
        assert_eq!(number("017"), Some(15));
        assert_eq!(number("+5"), None);
        assert_eq!(number("0"), Some(0));
    }

    #[test]
    fn every_service_has_a_port() {
        let table = SERVICES.lines().filter(|line| !line.starts_with('#'));
        assert!(table.clone().count() > 300);
        for line in table {
            let (name, number) = line.split_once(' ').expect("two words");
            assert_eq!(port(name), number.parse().ok(), "{line}");
        }
    }
}
