//! One packet, as it is typed: `tcp 10.1.5.5:40000 > 10.152.183.1:443 in=eth0 flags=S`.
//!
//! ```text
//! spec     = protocol endpoint ">" endpoint option*
//! protocol = tcp | udp | sctp | dccp | udplite | icmp | icmp6 | gre | … | number
//! endpoint = address ":" port | "[" address6 "]:" port        with ports (required for the first five)
//!          | address | address6 | "[" address6 "]"            without
//! option   = in=eth0 hook=prerouting|output mark=0x0 ctstate=new ttl=64 length=60 dscp=46 mac=02:00:00:00:00:01
//!          | flags=SA (tcp)  | type=8 code=0 (icmp, icmp6)  | fragment-offset=185 (no ports then)
//! ```
//!
//! Flags are tcpdump's letters `S F R P A U E C` (`.` is A, `W` is C), or `none`. A byte of a device's name that would end
//! the word is written `%20`.

mod error;
#[cfg(test)]
mod tests;
mod write;

use crate::node::NodeFacts;
use crate::packet::{Packet, tcp_flag};
use crate::ruleset::Hook;
use crate::value::{CtState, Family, Interface, protocol};
pub use error::SpecError;
use error::Word;
use std::net::{IpAddr, Ipv6Addr};
pub use write::of_packet;

/// What was typed. `None` is what was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Protocol number.
    pub protocol: u8,
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same family.
    pub destination: IpAddr,
    /// Source and destination port; always there for a protocol that has them, but in a later fragment.
    pub ports: Option<(u16, u16)>,
    /// `flags=`, for TCP.
    pub tcp_flags: Option<u8>,
    /// `type=` and `code=`, for ICMP and ICMPv6; an echo request where left out.
    pub icmp: Option<(u8, u8)>,
    /// `fragment-offset=` above 0.
    pub fragment: bool,
    /// `in=`.
    pub in_interface: Option<Interface>,
    /// `hook=`: [`Hook::Prerouting`] or [`Hook::Output`].
    pub hook: Option<Hook>,
    /// `mark=`; 0 where left out.
    pub mark: u32,
    /// `ctstate=`.
    pub ctstate: Option<CtState>,
    /// `ttl=`.
    pub ttl: Option<u8>,
    /// `length=`, of the whole IP datagram.
    pub length: Option<u16>,
    /// `dscp=`.
    pub dscp: Option<u8>,
    /// `mac=`: the source address of its link header.
    pub source_mac: Option<[u8; 6]>,
}

impl Spec {
    /// The packet that is meant, on this node. Where no hook was typed it is OUTPUT if the source is one of the node's addresses
    /// (loopback always is), else PREROUTING; where no ctstate was typed it is [`Packet::first_ctstate`].
    pub fn packet(&self, node: &NodeFacts) -> Packet {
        let hook = self
            .hook
            .unwrap_or_else(|| match node.is_local(self.source) {
                Some(true) => Hook::Output,
                _ => Hook::Prerouting,
            });
        let new = Packet::new(
            hook,
            self.protocol,
            self.source,
            self.destination,
            self.ports,
        );
        let mut packet = Packet {
            in_interface: self.in_interface,
            tcp_flags: self.tcp_flags.or(new.tcp_flags).filter(|_| !self.fragment),
            icmp: self.icmp.or(new.icmp).filter(|_| !self.fragment),
            fragment: self.fragment,
            mark: self.mark,
            length: self.length,
            ttl: self.ttl,
            dscp: self.dscp,
            source_mac: self.source_mac,
            ..new
        };
        packet.ctstate = self.ctstate.unwrap_or_else(|| packet.first_ctstate());
        packet
    }
}

/// Reads one SPEC.
///
/// # Errors
/// Says the column, what is there and what is needed.
pub fn parse(text: &str) -> Result<Spec, SpecError> {
    let mut words = Words { text, at: 0 };
    let protocol_word = words.next("a protocol (tcp, udp, sctp, icmp, …)")?;
    let protocol = protocol_number(protocol_word)?;
    let source_word = words.next("the source address")?;
    let source = endpoint(source_word)?;
    let arrow = words.next("`>` and the destination")?;
    if arrow.text != ">" {
        return Err(arrow.error("`>` between source and destination"));
    }
    let destination_word = words.next("the destination address")?;
    let destination = endpoint(destination_word)?;
    same_family(
        protocol_word,
        protocol,
        source,
        destination_word,
        destination,
    )?;

    let mut spec = Spec {
        protocol,
        source: source.address,
        destination: destination.address,
        ports: None,
        tcp_flags: None,
        icmp: None,
        fragment: false,
        in_interface: None,
        hook: None,
        mark: 0,
        ctstate: None,
        ttl: None,
        length: None,
        dscp: None,
        source_mac: None,
    };
    options(&mut words, &mut spec)?;
    spec.ports = ports(
        &spec,
        (source_word, source),
        (destination_word, destination),
    )?;
    Ok(spec)
}

/// Reads one SPEC a line, with its line number; `#` begins a comment, blank lines are skipped.
///
/// # Errors
/// The first bad line's, with its number.
pub fn parse_file(text: &str) -> Result<Vec<(u32, Spec)>, SpecError> {
    let mut specs = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (line, number) in text.lines().zip(1u32..) {
        let content = line.split_once('#').map_or(line, |(before, _)| before);
        if !content.trim().is_empty() {
            specs.push((
                number,
                parse(content).map_err(|error| error.at_line(number))?,
            ));
        }
    }
    Ok(specs)
}

/// The words of a SPEC: blanks part them, and `>` is a word of its own.
struct Words<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Words<'t> {
    fn peek(&self) -> Option<Word<'t>> {
        let rest = &self.text[self.at..];
        let start = self.at + rest.len() - rest.trim_start().len();
        let rest = rest.trim_start();
        let len = match rest.find(|c: char| c.is_whitespace() || c == '>') {
            Some(0) => 1,
            Some(len) => len,
            None => rest.len(),
        };
        (len > 0).then(|| Word {
            line: self.text,
            start,
            text: &rest[..len],
        })
    }

    fn pop(&mut self) -> Option<Word<'t>> {
        let word = self.peek()?;
        self.at = word.start + word.text.len();
        Some(word)
    }

    fn next(&mut self, needed: &str) -> Result<Word<'t>, SpecError> {
        let end = Word {
            line: self.text,
            start: self.text.trim_end().len(),
            text: "",
        };
        self.pop().ok_or_else(|| end.error(needed))
    }
}

/// Whether packets of this protocol have ports.
fn has_ports(number: u8) -> bool {
    use protocol::{DCCP, SCTP, TCP, UDP, UDPLITE};
    matches!(number, TCP | UDP | SCTP | DCCP | UDPLITE)
}

fn protocol_number(word: Word<'_>) -> Result<u8, SpecError> {
    if let Ok(number) = word.text.parse() {
        return Ok(number);
    }
    let name = word.text.to_ascii_lowercase();
    if name == "icmp6" || name == "icmpv6" {
        return Ok(protocol::ICMPV6);
    }
    let known = protocol::NAMES.iter().find(|(_, known)| *known == name);
    known.map(|(number, _)| *number).ok_or_else(|| {
        word.error("a protocol: tcp, udp, sctp, dccp, udplite, icmp, icmp6, gre, esp, … or a number up to 255")
    })
}

#[derive(Clone, Copy)]
struct Endpoint {
    address: IpAddr,
    port: Option<u16>,
}

fn endpoint(word: Word<'_>) -> Result<Endpoint, SpecError> {
    let text = word.text;
    if let Some(rest) = text.strip_prefix('[') {
        let Some((inside, after)) = rest.split_once(']') else {
            return Err(word.error("`]` after the IPv6 address"));
        };
        let address = inside.parse::<Ipv6Addr>();
        let address = address.map_err(|_| {
            word.part(1, inside)
                .error("an IPv6 address between the brackets")
        })?;
        let after = word.part(inside.len() + 2, after);
        let port = match after.text.strip_prefix(':') {
            Some(digits) => Some(port(after.part(1, digits))?),
            None if after.text.is_empty() => None,
            None => return Err(after.error("`:` and a port after the bracket")),
        };
        return Ok(Endpoint {
            address: address.into(),
            port,
        });
    }
    if let Ok(address) = text.parse() {
        return Ok(Endpoint {
            address,
            port: None,
        });
    }
    let Some((host, digits)) = text.rsplit_once(':') else {
        return Err(word.error("an address, such as 10.1.5.5, 10.1.5.5:40000 or [fd00::1]:80"));
    };
    match host.parse() {
        Ok(address @ IpAddr::V4(_)) => Ok(Endpoint {
            address,
            port: Some(port(word.part(host.len() + 1, digits))?),
        }),
        Ok(_) => Err(word.error("brackets around an IPv6 address with a port: [fd00::1]:80")),
        Err(_) => Err(word
            .part(0, host)
            .error("an IPv4 address, or an IPv6 address in brackets")),
    }
}

fn port(word: Word<'_>) -> Result<u16, SpecError> {
    decimal(word, u64::from(u16::MAX), "a port from 0 to 65535").map(|port| port as u16)
}

/// Families must be one, and a protocol that was named must be the family's own.
fn same_family(
    protocol_word: Word<'_>,
    protocol: u8,
    source: Endpoint,
    destination_word: Word<'_>,
    destination: Endpoint,
) -> Result<(), SpecError> {
    let family = Family::of(source.address);
    if family != Family::of(destination.address) {
        let needed = match family {
            Family::V4 => "an IPv4 address, as the source is one",
            Family::V6 => "an IPv6 address, as the source is one",
        };
        return Err(destination_word.error(needed));
    }
    let named = !protocol_word.text.starts_with(|c: char| c.is_ascii_digit());
    match (protocol, family) {
        (protocol::ICMP, Family::V6) if named => {
            Err(protocol_word.error("icmp6 between IPv6 addresses"))
        }
        (protocol::ICMPV6, Family::V4) if named => {
            Err(protocol_word.error("icmp between IPv4 addresses"))
        }
        _ => Ok(()),
    }
}

/// Ports stand on both sides or on none, as the protocol asks.
fn ports(
    spec: &Spec,
    source: (Word<'_>, Endpoint),
    destination: (Word<'_>, Endpoint),
) -> Result<Option<(u16, u16)>, SpecError> {
    let wanted = has_ports(spec.protocol) && !spec.fragment;
    for (word, endpoint) in [source, destination] {
        match (wanted, endpoint.port) {
            (true, None) if endpoint.address.is_ipv6() => {
                return Err(word.error("a port behind the address in brackets: [fd00::1]:80"));
            }
            (true, None) => return Err(word.error("a port behind the address: 10.1.5.5:40000")),
            (false, Some(_)) if spec.fragment => {
                return Err(word.error("no port, as a later fragment carries none"));
            }
            (false, Some(_)) => return Err(word.error("no port, as this protocol has none")),
            _ => {}
        }
    }
    Ok(source.1.port.zip(destination.1.port))
}

const OPTIONS: &str = "in=, hook=, mark=, ctstate=, flags=, type=, code=, ttl=, length=, dscp=, mac= or fragment-offset=";

fn options(words: &mut Words<'_>, spec: &mut Spec) -> Result<(), SpecError> {
    let mut seen: Vec<&str> = Vec::new();
    let mut portless: Option<Word<'_>> = None;
    while let Some(word) = words.pop() {
        let Some((name, text)) = word.text.split_once('=') else {
            return Err(word.error(OPTIONS));
        };
        if seen.contains(&name) {
            return Err(word.error(&format!("{name}= once")));
        }
        option(spec, word, name, word.part(name.len() + 1, text))?;
        seen.push(name);
        if matches!(name, "flags" | "type" | "code") {
            portless = portless.or(Some(word));
        }
    }
    match portless {
        Some(word) if spec.fragment => {
            Err(word.error("nothing of the upper header, as a later fragment carries none"))
        }
        _ => Ok(()),
    }
}

fn option(spec: &mut Spec, word: Word<'_>, name: &str, value: Word<'_>) -> Result<(), SpecError> {
    match name {
        "in" => spec.in_interface = Some(interface(value)?),
        "hook" => spec.hook = Some(hook(value)?),
        "mark" => spec.mark = number(value, u64::from(u32::MAX), "a mark such as 0x4000")? as u32,
        "ctstate" => {
            let needed = "new, established, related, invalid or untracked";
            spec.ctstate = Some(CtState::from_name(value.text).ok_or_else(|| value.error(needed))?);
        }
        "flags" if spec.protocol == protocol::TCP => spec.tcp_flags = Some(flags(value)?),
        "flags" => return Err(word.error("no flags=, which only tcp has")),
        "type" | "code" => icmp(spec, word, name, value)?,
        "ttl" => spec.ttl = Some(number(value, 255, "a TTL or hop limit from 0 to 255")? as u8),
        "length" => {
            spec.length = Some(number(value, 65535, "a length in bytes from 0 to 65535")? as u16)
        }
        "dscp" => spec.dscp = Some(number(value, 63, "a DSCP from 0 to 63")? as u8),
        "mac" => spec.source_mac = Some(mac(value)?),
        "fragment-offset" => {
            spec.fragment =
                number(value, 8191, "an offset in units of 8 bytes, from 0 to 8191")? > 0;
        }
        _ => return Err(word.error(OPTIONS)),
    }
    Ok(())
}

fn hook(value: Word<'_>) -> Result<Hook, SpecError> {
    match value.text.to_ascii_lowercase().as_str() {
        "prerouting" => Ok(Hook::Prerouting),
        "output" => Ok(Hook::Output),
        _ => Err(value.error("prerouting or output, where a packet can start")),
    }
}

fn icmp(spec: &mut Spec, word: Word<'_>, name: &str, value: Word<'_>) -> Result<(), SpecError> {
    let echo = match spec.protocol {
        protocol::ICMP => (8, 0),
        protocol::ICMPV6 => (128, 0),
        _ => return Err(word.error("no type= or code=, which only icmp and icmp6 have")),
    };
    let byte = number(value, 255, "a number from 0 to 255")? as u8;
    let (kind, code) = spec.icmp.unwrap_or(echo);
    spec.icmp = Some(if name == "type" {
        (byte, code)
    } else {
        (kind, byte)
    });
    Ok(())
}

fn flags(value: Word<'_>) -> Result<u8, SpecError> {
    let needed = "letters of S F R P A U E C, or none";
    if value.text == "none" {
        return Ok(0);
    }
    if value.text.is_empty() {
        return Err(value.error(needed));
    }
    let mut bits = 0;
    for (at, letter) in value.text.char_indices() {
        bits |= match letter.to_ascii_uppercase() {
            'S' => tcp_flag::SYN,
            'F' => tcp_flag::FIN,
            'R' => tcp_flag::RST,
            'P' => tcp_flag::PSH,
            'A' | '.' => tcp_flag::ACK,
            'U' => tcp_flag::URG,
            'E' => tcp_flag::ECE,
            'C' | 'W' => tcp_flag::CWR,
            _ => {
                return Err(value
                    .part(at, &value.text[at..at + letter.len_utf8()])
                    .error(needed));
            }
        };
    }
    Ok(bits)
}

/// A device's name, its `%XX` bytes decoded.
fn interface(value: Word<'_>) -> Result<Interface, SpecError> {
    let needed = "a device's name of 1 to 15 bytes";
    let mut bytes = Vec::with_capacity(value.text.len());
    let mut rest = value.text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = rest
            .get(..2)
            .filter(|d| d.iter().all(u8::is_ascii_hexdigit));
        let code = digits.and_then(|d| u8::from_str_radix(std::str::from_utf8(d).ok()?, 16).ok());
        bytes.push(code.ok_or_else(|| value.error("two hexadecimal digits after %"))?);
        rest = &rest[2..];
    }
    let name = std::str::from_utf8(&bytes)
        .ok()
        .filter(|name| !name.is_empty());
    name.and_then(Interface::new)
        .ok_or_else(|| value.error(needed))
}

fn mac(value: Word<'_>) -> Result<[u8; 6], SpecError> {
    crate::node::parse_mac(value.text)
        .ok_or_else(|| value.error("six bytes in hexadecimal: 02:00:00:00:00:01"))
}

fn decimal(word: Word<'_>, most: u64, needed: &str) -> Result<u64, SpecError> {
    let digits = !word.text.is_empty() && word.text.bytes().all(|b| b.is_ascii_digit());
    let value = word
        .text
        .parse()
        .ok()
        .filter(|value| digits && *value <= most);
    value.ok_or_else(|| word.error(needed))
}

/// Decimal, or hexadecimal with `0x`.
fn number(word: Word<'_>, most: u64, needed: &str) -> Result<u64, SpecError> {
    let Some(digits) = word
        .text
        .strip_prefix("0x")
        .or(word.text.strip_prefix("0X"))
    else {
        return decimal(word, most, needed);
    };
    let valid = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let value = u64::from_str_radix(digits, 16)
        .ok()
        .filter(|value| valid && *value <= most);
    value.ok_or_else(|| word.error(needed))
}
