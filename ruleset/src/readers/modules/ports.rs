//! Options about ports and TCP flags: tcp, udp, sctp, dccp, multiport.

use super::super::options::Options;
use super::super::values::{self, Reason};
use super::ReadError;
use crate::matches::{Multiport, PortSide, Ports, TcpMatch};

/// `--sport`, `--dport`.
pub(super) fn ports(
    ports: &mut Ports,
    name: &str,
    options: &mut Options<'_, '_>,
) -> Result<bool, ReadError> {
    match name {
        "--dport" | "--destination-port" => {
            ports.destination = options.value("a port", values::port_range)?;
            ports.destination_inverted = options.inversion();
        }
        "--sport" | "--source-port" => {
            ports.source = options.value("a port", values::port_range)?;
            ports.source_inverted = options.inversion();
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// The options of `-m tcp`.
pub(super) fn tcp(
    tcp: &mut TcpMatch,
    name: &str,
    options: &mut Options<'_, '_>,
) -> Result<bool, ReadError> {
    match name {
        "--tcp-flags" => {
            tcp.flags_mask =
                options.value("flags to look at, and flags that must be set", flags)?;
            tcp.flags_value =
                options.value("flags that must be set, after those to look at", flags)?;
            tcp.flags_inverted = options.inversion();
        }
        "--syn" => {
            (tcp.flags_mask, tcp.flags_value) = (SYN_MASK, SYN);
            tcp.flags_inverted = options.inversion();
        }
        "--tcp-option" => {
            tcp.option = options.value("the number of an option", values::number8)?;
            tcp.option_inverted = options.inversion();
        }
        _ => return ports(&mut tcp.ports, name, options),
    }
    Ok(true)
}

const SYN: u8 = 2;
/// FIN, SYN, RST and ACK: what `--syn` looks at.
const SYN_MASK: u8 = 1 | 2 | 4 | 16;

/// Names of TCP flags with their bits, in the order in which they are printed.
pub(crate) const FLAGS: [(&str, u8); 6] = [
    ("FIN", 1),
    ("SYN", 2),
    ("RST", 4),
    ("PSH", 8),
    ("ACK", 16),
    ("URG", 32),
];

/// `SYN,ACK`, `ALL`, `NONE`; a listing writes them as a number.
pub(crate) fn flags(text: &str) -> Result<u8, Reason> {
    if text.starts_with("0x") {
        return values::number(text, 0x3f).map(|bits| bits as u8);
    }
    let mut bits = 0;
    for name in text.split(',') {
        bits |= match name {
            "ALL" => 0x3f,
            "NONE" => 0,
            _ => match FLAGS
                .iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
            {
                Some((_, bit)) => *bit,
                None => {
                    return Err(format!(
                        "`{name}` is not a TCP flag (FIN SYN RST PSH ACK URG ALL NONE)"
                    ));
                }
            },
        };
    }
    Ok(bits)
}

/// Most ports that the kernel's multiport holds; a range takes two places.
const MULTIPORT_PLACES: usize = 15;

/// The options of `-m multiport`.
pub(super) fn multiport(
    multiport: &mut Multiport,
    name: &str,
    options: &mut Options<'_, '_>,
    inverted: &mut bool,
) -> Result<bool, ReadError> {
    multiport.side = match name {
        "--dports" | "--destination-ports" => PortSide::Destination,
        "--sports" | "--source-ports" => PortSide::Source,
        "--ports" => PortSide::Either,
        _ => return Ok(false),
    };
    multiport.ports = options.value("a list of ports", port_list)?;
    *inverted = options.inversion();
    Ok(true)
}

fn port_list(text: &str) -> Result<Vec<crate::value::PortRange>, Reason> {
    let ports = text
        .split(',')
        .map(values::port_range)
        .collect::<Result<Vec<_>, _>>()?;
    let places: usize = ports
        .iter()
        .map(|range| 1 + usize::from(range.first != range.last))
        .sum();
    if places > MULTIPORT_PLACES {
        return Err(format!(
            "a multiport list holds at most {MULTIPORT_PLACES} ports (a range counts twice), this one {places}"
        ));
    }
    Ok(ports)
}
