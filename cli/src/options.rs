//! What was typed means: files to read, facts of the node, how to replay. Values are parsed here; files are opened
//! where they are used.

pub(crate) mod replay;
pub(crate) mod rules;

use crate::trouble::Trouble;
use kpclass_ruleset::value::Interface;

/// `--mark`: decimal or `0x…`, 32 bits.
pub(crate) fn mark(text: &str) -> Result<u32, Trouble> {
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => {
            u32::from_str_radix(digits, 16).ok()
        }
        None if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| Trouble::option("--mark", text, "a number of 32 bits, such as 0x4000"))
}

/// `--in-interface`.
pub(crate) fn interface(text: &str) -> Result<Interface, Trouble> {
    let is_name = |t: &str| !t.is_empty() && !t.contains(|c: char| c.is_whitespace() || c == '/');
    Interface::new(text)
        .filter(|_| is_name(text))
        .ok_or_else(|| {
            Trouble::option(
                "--in-interface",
                text,
                "the name of a device, 1 to 15 bytes",
            )
        })
}

/// Whether a `--sysctl` is one of connection tracking.
pub(crate) fn is_of_conntrack(setting: &str) -> bool {
    setting.contains("nf_conntrack") || setting.contains("ipfrag_time")
}

/// `--sysctl NAME=VALUE`: what `route_localnet` is set to, if it is given.
pub(crate) fn route_localnet(settings: &[String]) -> Result<Option<bool>, Trouble> {
    let mut value = None;
    for setting in settings {
        let (name, text) = setting.split_once('=').unwrap_or((setting, ""));
        let known = name == "route_localnet" || name == "net.ipv4.conf.all.route_localnet";
        value = match (known, text) {
            (true, "0") => Some(false),
            (true, "1") => Some(true),
            _ => {
                let needed = match is_of_conntrack(setting) {
                    true => "replay --mode conntrack, which follows connections",
                    false => "route_localnet=0 or route_localnet=1",
                };
                return Err(Trouble::option("--sysctl", setting, needed));
            }
        };
    }
    Ok(value)
}

/// `--frame CAPTURE:N`: the capture and its frame's number, from 1. The number stands behind the last colon.
pub(crate) fn frame(text: &str) -> Result<(&str, u64), Trouble> {
    let parts = text
        .rsplit_once(':')
        .filter(|(capture, _)| !capture.is_empty());
    let number = |digits: &str| digits.parse().ok().filter(|n| *n > 0);
    let parsed = parts.and_then(|(capture, digits)| Some((capture, number(digits)?)));
    parsed.ok_or_else(|| {
        Trouble::option(
            "--frame",
            text,
            "a capture, a colon and a frame's number, from 1",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_decimal_or_hexadecimal_numbers_of_32_bits() {
        assert_eq!(mark("0x4000").unwrap(), 0x4000);
        assert_eq!(mark("16384").unwrap(), 0x4000);
        for bad in [
            "",
            "0x",
            "x4000",
            "0x100000000",
            "4294967296",
            "-1",
            "+1",
            "0x+1",
        ] {
            assert!(mark(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn interfaces_have_a_name_of_at_most_15_bytes() {
        assert_eq!(interface("eth0").unwrap().name(), "eth0");
        for bad in ["", "a name", "0123456789abcdef", "a/b"] {
            assert!(interface(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_last_route_localnet_counts() {
        let given = |list: &[&str]| {
            route_localnet(&list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(given(&[]).unwrap(), None);
        assert_eq!(
            given(&["route_localnet=0", "route_localnet=1"]).unwrap(),
            Some(true)
        );
        for bad in ["route_localnet", "route_localnet=2", "ip_forward=1", ""] {
            assert!(given(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_frame_is_a_capture_and_a_number_from_1() {
        assert_eq!(frame("a:b.pcap:7").unwrap(), ("a:b.pcap", 7));
        for bad in [
            "a.pcap",
            "a.pcap:",
            ":1",
            "a.pcap:0",
            "a.pcap:-1",
            "a.pcap:x",
            "",
        ] {
            assert!(frame(bad).is_err(), "{bad}");
        }
    }
}
