//! What the extensions' `print` functions write for a match, back into the options it was made with.
//!
//! The forms are those of iptables 1.8.9 and, where they differ, of older versions back to 1.4. Matches stand in the order in
//! which the rule holds them, so the options come out as `iptables-save` would have printed them.

use super::names;
use super::spell::Options;
use super::text::Text;
use std::borrow::Cow;

/// Reads one match, whose options it appends; false (and nothing taken) if none that is known stands here.
pub(super) fn read(text: &mut Text<'_>, options: &mut Options) -> bool {
    let (before, written) = (*text, options.len());
    if one(text, options).is_none() {
        *text = before;
        options.truncate(written);
        return false;
    }
    true
}

fn one(text: &mut Text<'_>, options: &mut Options) -> Option<()> {
    if let Some(comment) = text.take_comment() {
        options.put(&["-m", "comment", "--comment"]);
        options.push(comment);
        return Some(());
    }
    let before = *text;
    let negated = text.take_not();
    let head = text.next()?;
    let negatable = match head {
        "state" => value(text, options, negated, "state", "--state"),
        "recent:" => recent(text, options, negated),
        "match-set" => match_set(text, options, negated),
        "owner" => owner(text, options, negated),
        _ if conntrack_option(head) => {
            *text = before;
            conntrack(text, options)
        }
        _ => None,
    };
    if negatable.is_some() || negated {
        return negatable;
    }
    match head {
        "tcp" | "udp" | "sctp" | "dccp" => ports(head, text, options),
        "icmp" | "icmptype" => icmp(head, text, options, ["icmp", "--icmp-type"]),
        "ipv6-icmp" | "ipv6-icmptype" => icmp(head, text, options, ["icmp6", "--icmpv6-type"]),
        "multiport" => multiport(text, options),
        "ADDRTYPE" => addrtype(text, options),
        "statistic" => statistic(text, options),
        "mark" | "MARK" => mark(text, options, "mark"),
        "connmark" | "CONNMARK" => mark(text, options, "connmark"),
        "source" | "destination" => {
            *text = before;
            iprange(text, options)
        }
        "limit:" => limit(text, options),
        "PHYSDEV" => physdev(text, options),
        "rpfilter" => rpfilter(text, options),
        "nfacct-name" => value(text, options, false, "nfacct", "--nfacct-name"),
        _ => header_field(head, before, text, options),
    }
}

/// Matches on a field of a header or on what came with the packet.
fn header_field<'t>(
    head: &str,
    before: Text<'t>,
    text: &mut Text<'t>,
    options: &mut Options,
) -> Option<()> {
    match head {
        "length" => {
            let negated = text.take_not();
            value(text, options, negated, "length", "--length")
        }
        "TTL" => ttl(
            text,
            options,
            ["TTL", "ttl", "--ttl-eq", "--ttl-lt", "--ttl-gt"],
        ),
        "HL" => ttl(text, options, ["HL", "hl", "--hl-eq", "--hl-lt", "--hl-gt"]),
        "DSCP" => after_match(text, options, "dscp", "--dscp"),
        "tcpmss" => after_match(text, options, "tcpmss", "--mss"),
        "helper" => after_match(text, options, "helper", "--helper"),
        "PKTTYPE" => {
            let negated = match text.next()? {
                "=" => false,
                "!=" => true,
                _ => return None,
            };
            value(text, options, negated, "pkttype", "--pkt-type")
        }
        _ if head.starts_with("MAC") => mac(head, text, options),
        // `tcpflags: 0x17/0x02`: ip6tables of 2016 left the blank out.
        _ if head.starts_with("tcpflags:") => {
            *text = Text::new(&before.rest()["tcp".len()..]);
            ports("tcp", text, options)
        }
        _ => None,
    }
}

/// `[!] --option`, without its value.
fn put_option(options: &mut Options, negated: bool, option: &'static str) {
    if negated {
        options.push("!");
    }
    options.push(option);
}

/// A module with one option, whose value is the next word.
fn value(
    text: &mut Text<'_>,
    options: &mut Options,
    negated: bool,
    module: &'static str,
    option: &'static str,
) -> Option<()> {
    options.put(&["-m", module]);
    put_option(options, negated, option);
    options.push(text.next()?.trim_matches('"'));
    Some(())
}

/// `X match [!]VALUE`.
fn after_match(
    text: &mut Text<'_>,
    options: &mut Options,
    module: &'static str,
    option: &'static str,
) -> Option<()> {
    if !text.take(&["match"]) {
        return None;
    }
    let negated = text.take_not();
    value(text, options, negated, module, option)
}

/// `tcp spt:[!]P spts:[!]A:B dpt:… dpts:… option=[!]N flags:[!]MASK/COMP`, and the same of udp, sctp and dccp.
fn ports(module: &str, text: &mut Text<'_>, options: &mut Options) -> Option<()> {
    options.put(&["-m"]);
    options.push(module);
    while let Some(word) = text.peek() {
        // `dpt:22flags: 0x17/0x02`: as above, without a blank.
        let word = word
            .find("flags:")
            .filter(|at| *at > 0)
            .map_or(word, |at| &word[..at]);
        let (option, tail) = match word.split_once([':', '=']) {
            Some(("spt" | "spts", tail)) => ("--sport", tail),
            Some(("dpt" | "dpts", tail)) => ("--dport", tail),
            Some(("flags", _)) if module == "tcp" => {
                tcp_flags(text, options)?;
                continue;
            }
            Some(("option", tail)) if module == "tcp" => ("--tcp-option", tail),
            // More of the same match that is not known, such as sctp's chunk types.
            Some(("chunktypes", _)) => return None,
            _ => break,
        };
        *text = Text::new(&text.rest()[word.len()..]);
        put_option(options, tail.starts_with('!'), option);
        options.push(port_range(tail.strip_prefix('!').unwrap_or(tail))?);
    }
    Some(())
}

/// `80`, `1:5`, `http`.
fn port_range(word: &str) -> Option<Cow<'_, str>> {
    match word.split_once(':') {
        _ if word.bytes().all(|b| b.is_ascii_digit() || b == b':') => Some(word.into()),
        Some((first, last)) => {
            Some(format!("{}:{}", names::port(first)?, names::port(last)?).into())
        }
        None => Some(names::port(word)?.to_string().into()),
    }
}

/// `flags:[!]0x17/0x02`, `flags: 0x17/0x02`, `flags:FIN,SYN,RST,ACK/SYN`.
fn tcp_flags(text: &mut Text<'_>, options: &mut Options) -> Option<()> {
    let joined = text.take_after("flags:")?;
    let word = if matches!(joined, "" | "!") {
        text.next()?
    } else {
        joined
    };
    let negated = joined.starts_with('!');
    let (mask, comp) = word.strip_prefix('!').unwrap_or(word).split_once('/')?;
    put_option(options, negated, "--tcp-flags");
    for flags in [mask, comp] {
        options.push(match flags.strip_prefix("0x") {
            Some(digits) => flag_names(u8::from_str_radix(digits, 16).ok()?)?,
            None => flags.to_owned(),
        });
    }
    Some(())
}

fn flag_names(bits: u8) -> Option<String> {
    const NAMES: [&str; 6] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG"];
    let set = NAMES
        .iter()
        .enumerate()
        .filter(|(bit, _)| bits & (1 << bit) != 0);
    let names: Vec<&str> = set.map(|(_, name)| *name).collect();
    match names.is_empty() {
        _ if bits >= 64 => None,
        true => Some("NONE".to_owned()),
        false => Some(names.join(",")),
    }
}

/// `icmptype 8`, `icmptype 3 code 4`, `icmp !type 8`, and by name `icmp echo-request`.
fn icmp(
    head: &str,
    text: &mut Text<'_>,
    options: &mut Options,
    [module, option]: [&'static str; 2],
) -> Option<()> {
    let apart = !head.ends_with("type");
    let negated = apart && text.take_not();
    let numeric = !apart || text.take(&["type"]);
    let kind = text.next()?;
    options.put(&["-m", module]);
    put_option(options, negated, option);
    if !numeric {
        options.push(kind);
        return Some(());
    }
    if text.peek() == Some("codes") {
        return None;
    }
    options.push(match text.take(&["code"]) {
        true => format!("{kind}/{}", text.next()?),
        false if kind == "255" && module == "icmp" => "any".to_owned(),
        false => kind.to_owned(),
    });
    Some(())
}

/// `multiport dports [!]80,443,8000:8080`.
fn multiport(text: &mut Text<'_>, options: &mut Options) -> Option<()> {
    options.put(&["-m", "multiport"]);
    let option = match text.next()? {
        "sports" => "--sports",
        "dports" => "--dports",
        "ports" => "--ports",
        _ => return None,
    };
    put_option(options, text.take_not(), option);
    let list = text.next()?;
    let numeric = list
        .bytes()
        .all(|b| b.is_ascii_digit() || b",:".contains(&b));
    if numeric {
        options.push(list);
    } else {
        let ports: Option<Vec<_>> = list.split(',').map(port_range).collect();
        options.push(ports?.join(","));
    }
    Some(())
}

/// `mark match [!] 0x4000/0x4000`.
fn mark(text: &mut Text<'_>, options: &mut Options, module: &'static str) -> Option<()> {
    after_match(text, options, module, "--mark")
}

const CONNTRACK: [(&str, &str); 12] = [
    ("ctstate", "--ctstate"),
    ("ctproto", "--ctproto"),
    ("ctorigsrc", "--ctorigsrc"),
    ("ctorigdst", "--ctorigdst"),
    ("ctreplsrc", "--ctreplsrc"),
    ("ctrepldst", "--ctrepldst"),
    ("ctorigsrcport", "--ctorigsrcport"),
    ("ctorigdstport", "--ctorigdstport"),
    ("ctreplsrcport", "--ctreplsrcport"),
    ("ctrepldstport", "--ctrepldstport"),
    ("ctstatus", "--ctstatus"),
    ("ctexpire", "--ctexpire"),
];

fn conntrack_option(word: &str) -> bool {
    word == "ctdir" || CONNTRACK.iter().any(|(name, _)| *name == word)
}

/// `[!] ctstate NEW [!] ctorigdst 10.0.0.1 …`, all of one match.
fn conntrack(text: &mut Text<'_>, options: &mut Options) -> Option<()> {
    options.put(&["-m", "conntrack"]);
    loop {
        let mut ahead = *text;
        let negated = ahead.take_not();
        let option = match ahead.next() {
            Some("ctdir") => "--ctdir",
            Some(word) => match CONNTRACK.iter().find(|(name, _)| *name == word) {
                Some((_, option)) => option,
                None => return Some(()),
            },
            None => return Some(()),
        };
        put_option(options, negated, option);
        options.push(ahead.next()?);
        *text = ahead;
    }
}

/// `ADDRTYPE match src-type [!]LOCAL dst-type LOCAL limit-in`.
fn addrtype(text: &mut Text<'_>, options: &mut Options) -> Option<()> {
    if !text.take(&["match"]) {
        return None;
    }
    options.put(&["-m", "addrtype"]);
    let written = options.len();
    loop {
        let option = match text.peek() {
            Some("src-type") => "--src-type",
            Some("dst-type") => "--dst-type",
            Some("limit-in") => "--limit-iface-in",
            Some("limit-out") => "--limit-iface-out",
            _ => return (options.len() > written).then_some(()),
        };
        text.next();
        let valued = option.ends_with("-type");
        put_option(options, valued && text.take_not(), option);
        if valued {
            options.push(text.next()?);
        }
    }
}

/// `statistic mode random [!] probability 0.5`, `statistic mode nth every 2 packet 1`.
fn statistic(text: &mut Text<'_>, options: &mut Options) -> Option<()> {
    options.put(&["-m", "statistic", "--mode"]);
    if text.take(&["mode", "random"]) {
        options.push("random");
        let negated = text.take_not();
        return word_value(text, options, negated, "probability", "--probability");
    }
    if !text.take(&["mode", "nth"]) {
        return None;
    }
    options.push("nth");
    let negated = text.take_not();
    word_value(text, options, negated, "every", "--every")?;
    if text.peek() == Some("packet") {
        word_value(text, options, false, "packet", "--packet")?;
    }
    Some(())
}

/// `NAME VALUE`, of an option within a match.
fn word_value(
    text: &mut Text<'_>,
    options: &mut Options,
    negated: bool,
    name: &str,
    option: &'static str,
) -> Option<()> {
    if !text.take(&[name]) {
        return None;
    }
    put_option(options, negated, option);
    options.push(text.next()?);
    Some(())
}

/// `recent: CHECK seconds: 10800 reap hit_count: 4 TTL-Match name: X side: source mask: 255.255.255.255`.
fn recent(text: &mut Text<'_>, options: &mut Options, negated: bool) -> Option<()> {
    options.put(&["-m", "recent"]);
    let operation = match text.next()? {
        "SET" => "--set",
        "CHECK" => "--rcheck",
        "UPDATE" => "--update",
        "REMOVE" => "--remove",
        _ => return None,
    };
    put_option(options, negated, operation);
    loop {
        let option = match text.peek() {
            Some("seconds:") => "--seconds",
            Some("hit_count:") => "--hitcount",
            Some("name:") => "--name",
            Some("mask:") => "--mask",
            Some("reap") => "--reap",
            Some("TTL-Match") => "--rttl",
            Some("side:") => {
                text.next();
                let side = if text.next()? == "source" {
                    "--rsource"
                } else {
                    "--rdest"
                };
                options.push(side);
                continue;
            }
            _ => return Some(()),
        };
        let valued = text.next()?.ends_with(':');
        options.push(option);
        if valued {
            options.push(text.next()?);
        }
    }
}

/// `[!] match-set NAME dst,dst [return-nomatch]`.
fn match_set(text: &mut Text<'_>, options: &mut Options, negated: bool) -> Option<()> {
    value(text, options, negated, "set", "--match-set")?;
    options.push(text.next()?);
    if text.take(&["return-nomatch"]) {
        options.push("--return-nomatch");
    }
    Some(())
}

/// `[!] owner UID match 1000-1010`, `owner GID match …`, `owner socket exists`.
fn owner(text: &mut Text<'_>, options: &mut Options, negated: bool) -> Option<()> {
    if text.take(&["socket", "exists"]) {
        options.put(&["-m", "owner"]);
        put_option(options, negated, "--socket-exists");
        return Some(());
    }
    let option = match text.next()? {
        "UID" => "--uid-owner",
        "GID" => "--gid-owner",
        _ => return None,
    };
    if !text.take(&["match"]) {
        return None;
    }
    let negated = negated || text.take_not();
    value(text, options, negated, "owner", option)
}

fn mac(head: &str, text: &mut Text<'_>, options: &mut Options) -> Option<()> {
    let joined = head.strip_prefix("MAC")?;
    let negated = joined == "!" || joined.is_empty() && text.take_not();
    let address = if matches!(joined, "" | "!") {
        text.next()?
    } else {
        joined
    };
    let mut octets = address.split(':');
    let hex = |octet: &str| octet.len() == 2 && u8::from_str_radix(octet, 16).is_ok();
    if octets.clone().count() != 6 || !octets.all(hex) {
        return None;
    }
    options.put(&["-m", "mac"]);
    put_option(options, negated, "--mac-source");
    options.push(address);
    Some(())
}

/// `source IP range [!] A-B`, `destination IP range …`, both of one match.
fn iprange(text: &mut Text<'_>, options: &mut Options) -> Option<()> {
    options.put(&["-m", "iprange"]);
    let written = options.len();
    for (side, option) in [("source", "--src-range"), ("destination", "--dst-range")] {
        if text.take(&[side, "IP", "range"]) {
            put_option(options, text.take_not(), option);
            options.push(text.next()?);
        }
    }
    (options.len() > written).then_some(())
}

/// `limit: avg 3/min burst 5`. `iptables-save` leaves the default burst of 5 out.
fn limit(text: &mut Text<'_>, options: &mut Options) -> Option<()> {
    options.put(&["-m", "limit"]);
    word_value(text, options, false, "avg", "--limit")?;
    if !text.take(&["burst"]) {
        return Some(());
    }
    match text.next()? {
        "5" => {}
        burst => {
            options.push("--limit-burst");
            options.push(burst);
        }
    }
    Some(())
}

/// `PHYSDEV match [!] --physdev-in eth0 --physdev-is-bridged`: already the options.
fn physdev(text: &mut Text<'_>, options: &mut Options) -> Option<()> {
    if !text.take(&["match"]) {
        return None;
    }
    options.put(&["-m", "physdev"]);
    loop {
        let mut ahead = *text;
        let negated = ahead.take_not();
        let option = match ahead.next() {
            Some(option) if option.starts_with("--physdev-") => option,
            _ => return Some(()),
        };
        if negated {
            options.push("!");
        }
        options.push(option);
        if matches!(option, "--physdev-in" | "--physdev-out") {
            options.push(ahead.next()?);
        }
        *text = ahead;
    }
}

/// `rpfilter loose validmark accept-local invert`.
fn rpfilter(text: &mut Text<'_>, options: &mut Options) -> Option<()> {
    options.put(&["-m", "rpfilter"]);
    loop {
        options.push(match text.peek() {
            Some("loose") => "--loose",
            Some("validmark") => "--validmark",
            Some("accept-local") => "--accept-local",
            Some("invert") => "--invert",
            _ => return Some(()),
        });
        text.next();
    }
}

/// `TTL match TTL == 64`; also `!=`, `<`, `>`.
fn ttl(
    text: &mut Text<'_>,
    options: &mut Options,
    [field, module, equal, less, greater]: [&'static str; 5],
) -> Option<()> {
    if !text.take(&["match", field]) {
        return None;
    }
    let (negated, option) = match text.next()? {
        "==" => (false, equal),
        "!=" => (true, equal),
        "<" => (false, less),
        ">" => (false, greater),
        _ => return None,
    };
    value(text, options, negated, module, option)
}
