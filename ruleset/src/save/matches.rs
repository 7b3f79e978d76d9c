//! The matches of a rule as `iptables-save` prints them.

use super::{quote, word};
use crate::ids::Strings;
use crate::matches::{
    AddressTypes, Addrtype, Conntrack, IcmpType, Iprange, MarkTest, Match, MatchKind, Multiport,
    PortSide, Ports, Recent, RecentOperation, SetMatch, Statistic, TcpMatch, TtlTest,
};
use crate::value::{Family, Prefix, protocol};
use std::fmt::Write;

/// `!` with its blank, or nothing.
fn not(inverted: bool) -> &'static str {
    if inverted { "! " } else { "" }
}

/// Appends a match with a blank before it.
pub(crate) fn write(strings: &Strings, family: Family, condition: &Match, text: &mut String) {
    let not = not(condition.inverted);
    // Writing to a String cannot fail.
    let _ = match &condition.kind {
        MatchKind::Source(prefix) => write!(text, " {not}-s {prefix}"),
        MatchKind::Destination(prefix) => write!(text, " {not}-d {prefix}"),
        MatchKind::InInterface(pattern) => {
            write_named(&format!("{not}-i"), &pattern.to_string(), text)
        }
        MatchKind::OutInterface(pattern) => {
            write_named(&format!("{not}-o"), &pattern.to_string(), text)
        }
        MatchKind::Protocol(number) => match protocol::name(*number) {
            Some(name) => write!(text, " {not}-p {name}"),
            None => write!(text, " {not}-p {number}"),
        },
        MatchKind::Fragment => write!(text, " {not}-f"),
        MatchKind::Comment(id) => {
            text.push_str(" -m comment --comment ");
            quote(&strings[*id], text);
            Ok(())
        }
        MatchKind::Tcp(tcp) => write_tcp(tcp, text),
        MatchKind::Udp(_) | MatchKind::Sctp(_) | MatchKind::Dccp(_) => {
            write_ports(&condition.kind, text)
        }
        MatchKind::Icmp(icmp) => write_icmp(" -m icmp ", not, "--icmp-type ", icmp, text),
        MatchKind::Icmpv6(icmp) => write_icmp(" -m icmp6 ", not, "--icmpv6-type ", icmp, text),
        MatchKind::Multiport(multiport) => write_multiport(multiport, not, text),
        MatchKind::Iprange(iprange) => write_iprange(iprange, text),
        MatchKind::Mark(test) => write_mark("mark", not, test, text),
        MatchKind::Connmark(test) => write_mark("connmark", not, test, text),
        MatchKind::Conntrack(conntrack) => write_conntrack(strings, conntrack, text),
        MatchKind::State(states) => write!(text, " -m state {not}--state {states}"),
        MatchKind::Addrtype(addrtype) => write_addrtype(addrtype, text),
        MatchKind::Statistic(statistic) => write_statistic(statistic, not, text),
        MatchKind::Recent(recent) => write_recent(strings, recent, not, text),
        MatchKind::Set(set) => write_set(strings, set, not, text),
        MatchKind::Mac([a, b, c, d, e, f]) => {
            write!(
                text,
                " -m mac {not}--mac-source {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"
            )
        }
        MatchKind::Length(range) => write!(text, " -m length {not}--length {range}"),
        MatchKind::Ttl(test) => write_ttl(family, *test, not, text),
        MatchKind::Dscp(dscp) => write!(text, " -m dscp {not}--dscp 0x{dscp:02x}"),
        MatchKind::Undecided(kept) => {
            write_kept(&strings[kept.module], &strings[kept.options], text);
            Ok(())
        }
        // Two blanks: iptables prints them.
        MatchKind::Nfacct(name) => write_named("-m nfacct --nfacct-name ", &strings[*name], text),
    };
}

fn write_named(option: &str, name: &str, text: &mut String) -> std::fmt::Result {
    write!(text, " {option} ")?;
    word(name, text);
    Ok(())
}

/// The option that stands for what a listing says of a match in words of its own.
pub(crate) const LISTED: &str = "--listed";

fn write_kept(module: &str, options: &str, text: &mut String) {
    let _ = write!(text, " -m {module}");
    if is_options(options) {
        let _ = write!(text, " {options}");
    } else if !options.is_empty() {
        write_listed(options, text);
    }
}

fn write_listed(said: &str, text: &mut String) {
    let _ = write!(text, " {LISTED} ");
    quote(said, text);
}

/// Whether a match's text is options, and not what a listing says.
fn is_options(text: &str) -> bool {
    text.starts_with("--") || text.starts_with("! --")
}

/// What a listing says of a match as the text that is kept of it: itself, unless it could be taken for options.
pub(crate) fn listed(said: &str) -> String {
    if !is_options(said) {
        return said.to_owned();
    }
    let mut text = String::new();
    write_listed(said, &mut text);
    text.split_off(1)
}

fn write_ports(kind: &MatchKind, text: &mut String) -> std::fmt::Result {
    let (module, ports) = match kind {
        MatchKind::Udp(ports) => ("udp", ports),
        MatchKind::Sctp(ports) => ("sctp", ports),
        MatchKind::Dccp(ports) => ("dccp", ports),
        _ => return Ok(()),
    };
    write!(text, " -m {module}")?;
    write_port_options(ports, text)
}

fn write_port_options(ports: &Ports, text: &mut String) -> std::fmt::Result {
    let sides = [
        ("--sport", ports.source, ports.source_inverted),
        ("--dport", ports.destination, ports.destination_inverted),
    ];
    for (option, range, inverted) in sides {
        if inverted || !range.is_any() {
            write!(text, " {}{option} {range}", not(inverted))?;
        }
    }
    Ok(())
}

fn write_tcp(tcp: &TcpMatch, text: &mut String) -> std::fmt::Result {
    text.push_str(" -m tcp");
    write_port_options(&tcp.ports, text)?;
    if tcp.option != 0 || tcp.option_inverted {
        write!(
            text,
            " {}--tcp-option {}",
            not(tcp.option_inverted),
            tcp.option
        )?;
    }
    // iptables leaves `--tcp-flags NONE SYN` out, which no packet fulfils.
    if tcp.flags_mask != 0 || tcp.flags_value != 0 || tcp.flags_inverted {
        write!(text, " {}--tcp-flags ", not(tcp.flags_inverted))?;
        write_flags(tcp.flags_mask, text);
        text.push(' ');
        write_flags(tcp.flags_value, text);
    }
    Ok(())
}

fn write_flags(bits: u8, text: &mut String) {
    let names = crate::readers::TCP_FLAGS
        .iter()
        .filter(|(_, bit)| bits & bit != 0);
    let before = text.len();
    for (name, _) in names {
        if text.len() > before {
            text.push(',');
        }
        text.push_str(name);
    }
    if text.len() == before {
        text.push_str("NONE");
    }
}

fn write_icmp(
    module: &str,
    not: &str,
    option: &str,
    icmp: &IcmpType,
    text: &mut String,
) -> std::fmt::Result {
    write!(text, "{module}{not}{option}")?;
    match icmp {
        IcmpType {
            kind: 255,
            code_first: 0,
            code_last: 255,
        } if module == " -m icmp " => {
            text.push_str("any");
            Ok(())
        }
        IcmpType {
            kind,
            code_first: 0,
            code_last: 255,
        } => write!(text, "{kind}"),
        IcmpType {
            kind, code_first, ..
        } => write!(text, "{kind}/{code_first}"),
    }
}

fn write_multiport(multiport: &Multiport, not: &str, text: &mut String) -> std::fmt::Result {
    let option = match multiport.side {
        PortSide::Source => "--sports",
        PortSide::Destination => "--dports",
        PortSide::Either => "--ports",
    };
    write!(text, " -m multiport {not}{option} ")?;
    for (i, range) in multiport.ports.iter().enumerate() {
        write!(text, "{}{range}", if i == 0 { "" } else { "," })?;
    }
    Ok(())
}

fn write_iprange(iprange: &Iprange, text: &mut String) -> std::fmt::Result {
    text.push_str(" -m iprange");
    for (option, side) in [
        ("--src-range", &iprange.source),
        ("--dst-range", &iprange.destination),
    ] {
        if let Some((first, last, inverted)) = side {
            write!(text, " {}{option} {first}-{last}", not(*inverted))?;
        }
    }
    Ok(())
}

fn write_mark(module: &str, not: &str, test: &MarkTest, text: &mut String) -> std::fmt::Result {
    write!(text, " -m {module} {not}--mark 0x{:x}", test.value)?;
    if test.mask != u32::MAX {
        write!(text, "/0x{:x}", test.mask)?;
    }
    Ok(())
}

fn write_conntrack(
    strings: &Strings,
    conntrack: &Conntrack,
    text: &mut String,
) -> std::fmt::Result {
    text.push_str(" -m conntrack");
    if let Some((states, inverted)) = conntrack.state {
        write!(text, " {}--ctstate {states}", not(inverted))?;
    }
    if let Some((number, inverted)) = conntrack.protocol {
        write!(text, " {}--ctproto {number}", not(inverted))?;
    }
    let addresses = [
        ("--ctorigsrc", conntrack.original_source),
        ("--ctorigdst", conntrack.original_destination),
    ];
    for (option, side) in addresses {
        if let Some((prefix, inverted)) = side {
            write!(text, " {}{option} {}", not(inverted), bare_host(prefix))?;
        }
    }
    let ports = [
        ("--ctorigsrcport", conntrack.original_source_port),
        ("--ctorigdstport", conntrack.original_destination_port),
    ];
    for (option, side) in ports {
        if let Some((range, inverted)) = side {
            write!(text, " {}{option} {range}", not(inverted))?;
        }
    }
    if let Some(rest) = conntrack.rest {
        write!(text, " {}", &strings[rest])?;
    }
    match conntrack.original_direction {
        Some(true) => text.push_str(" --ctdir ORIGINAL"),
        Some(false) => text.push_str(" --ctdir REPLY"),
        None => {}
    }
    Ok(())
}

/// conntrack prints a single address without its length.
fn bare_host(prefix: Prefix) -> String {
    if prefix.is_host() {
        prefix.address().to_string()
    } else {
        prefix.to_string()
    }
}

fn write_addrtype(addrtype: &Addrtype, text: &mut String) -> std::fmt::Result {
    text.push_str(" -m addrtype");
    for (option, side) in [
        ("--src-type", addrtype.source),
        ("--dst-type", addrtype.destination),
    ] {
        let Some((types, inverted)) = side else {
            continue;
        };
        write!(text, " {}{option} ", not(inverted))?;
        let names = AddressTypes::NAMES
            .iter()
            .filter(|(_, bit)| types.0 & bit != 0);
        for (i, (name, _)) in names.enumerate() {
            write!(text, "{}{name}", if i == 0 { "" } else { "," })?;
        }
    }
    if addrtype.limit_in {
        text.push_str(" --limit-iface-in");
    }
    if addrtype.limit_out {
        text.push_str(" --limit-iface-out");
    }
    Ok(())
}

fn write_statistic(statistic: &Statistic, not: &str, text: &mut String) -> std::fmt::Result {
    match statistic {
        Statistic::Random { threshold } => {
            let probability = f64::from(*threshold) / 2_147_483_648.0;
            write!(
                text,
                " -m statistic --mode random {not}--probability {probability:.11}"
            )
        }
        Statistic::Nth { every, packet } => {
            write!(
                text,
                " -m statistic --mode nth {not}--every {every} --packet {packet}"
            )
        }
    }
}

fn write_recent(
    strings: &Strings,
    recent: &Recent,
    not: &str,
    text: &mut String,
) -> std::fmt::Result {
    let operation = match recent.operation {
        RecentOperation::Set => "--set",
        RecentOperation::Check => "--rcheck",
        RecentOperation::Update => "--update",
        RecentOperation::Remove => "--remove",
    };
    write!(text, " -m recent {not}{operation}")?;
    if recent.seconds != 0 {
        write!(text, " --seconds {}", recent.seconds)?;
    }
    if recent.reap {
        text.push_str(" --reap");
    }
    if recent.hitcount != 0 {
        write!(text, " --hitcount {}", recent.hitcount)?;
    }
    if recent.rttl {
        text.push_str(" --rttl");
    }
    let side = if recent.by_destination {
        "--rdest"
    } else {
        "--rsource"
    };
    write_named("--name", &strings[recent.name], text)?;
    write!(text, " --mask {} {side}", recent.mask)
}

fn write_set(strings: &Strings, set: &SetMatch, not: &str, text: &mut String) -> std::fmt::Result {
    let option = format!("-m set {not}--match-set");
    write_named(&option, &strings[set.name], text)?;
    text.push(' ');
    let directions = set.destination.iter().take(usize::from(set.dimensions));
    for (i, destination) in directions.enumerate() {
        let direction = if *destination { "dst" } else { "src" };
        write!(text, "{}{direction}", if i == 0 { "" } else { "," })?;
    }
    match set.rest {
        Some(rest) => write!(text, " {}", &strings[rest]),
        None => Ok(()),
    }
}

fn write_ttl(family: Family, test: TtlTest, not: &str, text: &mut String) -> std::fmt::Result {
    let name = match family {
        Family::V4 => "ttl",
        Family::V6 => "hl",
    };
    let (comparison, bound) = match test {
        TtlTest::Equal(bound) => ("eq", bound),
        TtlTest::Less(bound) => ("lt", bound),
        TtlTest::Greater(bound) => ("gt", bound),
    };
    write!(text, " -m {name} {not}--{name}-{comparison} {bound}")
}
