//! The node's addresses, in whatever form they come: a list, or what `ip addr` printed.

use super::{FactsError, LocalAddresses};
use crate::value::Interface;
use serde::Deserialize;
use std::net::IpAddr;

/// Reads the addresses of a node. By its content the text is one of
///
/// - a list, parted by commas and blanks: `10.0.0.1, fd00::1`, a prefix length (`10.0.0.1/24`) or zone (`fe80::1%eth0`) behind an
///   address being ignored, `#` beginning a comment;
/// - `ip addr`, `ip -o addr`, `ip -br addr`: the address behind `inet` and `inet6`, never its `peer`, with its device, whose `@if5` is
///   dropped;
/// - `ip -j addr`, the same as JSON.
///
/// # Errors
/// Where a word is no address, or the text holds none.
pub fn parse_addresses(text: &str) -> Result<LocalAddresses, FactsError> {
    let mut found = LocalAddresses::default();
    match form(text) {
        Form::Json => read_json(text, &mut found)?,
        Form::Ip => read_ip(text, &mut found)?,
        Form::Brief => read_brief(text, &mut found)?,
        Form::List => read_list(text, &mut found)?,
    }
    if found.addresses.is_empty() {
        return Err(FactsError::new(1, "at least one address", text.trim()));
    }
    Ok(found)
}

enum Form {
    Json,
    Ip,
    Brief,
    List,
}

fn form(text: &str) -> Form {
    let start = text.trim_start();
    if start.starts_with('{')
        || start
            .strip_prefix('[')
            .is_some_and(|s| s.trim_start().starts_with(['{', ']']))
    {
        return Form::Json;
    }
    let first = start.lines().next().unwrap_or_default();
    let mut words = first.split_whitespace();
    let (one, two) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let numbered = one
        .strip_suffix(':')
        .is_some_and(|n| n.parse::<u32>().is_ok());
    if numbered || one == "inet" || one == "inet6" {
        return Form::Ip;
    }
    match two {
        "UP" | "DOWN" | "UNKNOWN" | "DORMANT" | "LOWERLAYERDOWN" | "NOTPRESENT" | "TESTING" => {
            Form::Brief
        }
        _ => Form::List,
    }
}

fn read_list(text: &str, found: &mut LocalAddresses) -> Result<(), FactsError> {
    for (line, number) in text.lines().zip(1..) {
        let content = line.split_once('#').map_or(line, |(before, _)| before);
        let words = content.split(|c: char| c == ',' || c.is_whitespace());
        for word in words.filter(|word| !word.is_empty()) {
            let needed = "an address (a list of them, or the output of `ip addr`)";
            let address = address(word).ok_or_else(|| FactsError::new(number, needed, word))?;
            found.addresses.insert(address);
        }
    }
    Ok(())
}

/// `ip addr` has a line for the device and one for each address; `ip -o addr` has both on one line.
fn read_ip(text: &str, found: &mut LocalAddresses) -> Result<(), FactsError> {
    let mut device = None;
    for (line, number) in text.lines().zip(1..) {
        let mut words = line.split_whitespace();
        let mut word = words.next();
        if word.is_some_and(|w| {
            w.strip_suffix(':')
                .is_some_and(|n| n.parse::<u32>().is_ok())
        }) {
            device = words
                .next()
                .map(|name| interface(name, number))
                .transpose()?;
            word = words.next();
        }
        if let Some("inet" | "inet6") = word {
            let text = words.next().unwrap_or_default();
            let address =
                address(text).ok_or_else(|| FactsError::new(number, "an address", text))?;
            add(found, device, address);
        }
    }
    Ok(())
}

/// `eth0@if5  UP  10.0.0.1/24 fe80::1/64`, where a point-to-point address reads `10.8.0.1 peer 10.8.0.2/32`.
fn read_brief(text: &str, found: &mut LocalAddresses) -> Result<(), FactsError> {
    for (line, number) in text.lines().zip(1..) {
        let mut words = line.split_whitespace();
        let Some(name) = words.next() else { continue };
        let device = Some(interface(name, number)?);
        words.next();
        while let Some(word) = words.next() {
            match word {
                "peer" | "metric" => {
                    words.next();
                }
                _ => {
                    let address =
                        address(word).ok_or_else(|| FactsError::new(number, "an address", word))?;
                    add(found, device, address);
                }
            }
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Device {
    /// Absent in the empty objects that `ip -j addr show dev X` prints for other devices.
    ifname: Option<String>,
    #[serde(default)]
    addr_info: Vec<AddressInfo>,
}

#[derive(Deserialize)]
struct AddressInfo {
    /// The node's own; `address` beside it is then the peer's.
    local: Option<String>,
    address: Option<String>,
}

fn read_json(text: &str, found: &mut LocalAddresses) -> Result<(), FactsError> {
    let devices: Vec<Device> = serde_json::from_str(text).map_err(|error| {
        FactsError::new(
            error.line() as u32,
            "the output of `ip -j addr`",
            &error.to_string(),
        )
    })?;
    for device in devices {
        let name = device
            .ifname
            .as_deref()
            .map(|name| interface(name, 1))
            .transpose()?;
        for own in device.addr_info {
            let Some(text) = own.local.or(own.address) else {
                continue;
            };
            let address = address(&text).ok_or_else(|| FactsError::new(1, "an address", &text))?;
            add(found, name, address);
        }
    }
    Ok(())
}

fn add(found: &mut LocalAddresses, device: Option<Interface>, address: IpAddr) {
    found.addresses.insert(address);
    found.devices.extend(device.map(|device| (device, address)));
}

/// A device's name without what follows `@`, and without the colon that `ip addr` puts behind it.
fn interface(text: &str, line: u32) -> Result<Interface, FactsError> {
    let name = text.strip_suffix(':').unwrap_or(text);
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    let device = Interface::new(name).filter(|_| !name.is_empty());
    device.ok_or_else(|| FactsError::new(line, "a device's name of 1 to 15 bytes", name))
}

fn address(word: &str) -> Option<IpAddr> {
    let bare = word.split_once('/').map_or(Some(word), |(address, len)| {
        len.parse::<u8>()
            .is_ok_and(|len| len <= 128)
            .then_some(address)
    })?;
    let bare = bare.split_once('%').map_or(bare, |(address, _)| address);
    let bare = bare
        .strip_prefix('[')
        .and_then(|b| b.strip_suffix(']'))
        .unwrap_or(bare);
    bare.parse().ok()
}
