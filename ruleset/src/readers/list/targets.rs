//! What the extensions' `print` functions write for a target, back into the options it was made with.

use super::spell::Options;
use super::text::Text;

/// Reads the text of target `name`, whose options it appends; false (and nothing taken) if it does not stand here.
pub(super) fn read(name: &str, text: &mut Text<'_>, options: &mut Options) -> bool {
    let (before, written) = (*text, options.len());
    if one(name, text, options).is_none() {
        *text = before;
        options.truncate(written);
        return false;
    }
    true
}

fn one(name: &str, text: &mut Text<'_>, options: &mut Options) -> Option<()> {
    match name {
        "DNAT" => nat(text.take_after("to:")?, "--to-destination", text, options),
        "SNAT" => nat(text.take_after("to:")?, "--to-source", text, options),
        "MASQUERADE" => ported(&["masq", "ports:"], text, options),
        "REDIRECT" => ported(&["redir", "ports"], text, options),
        "NETMAP" => valued(
            text.take_after("to:").or_else(|| bare_prefix(text))?,
            "--to",
            options,
        ),
        "REJECT" => words(text, options, &["reject-with"], "--reject-with"),
        "MARK" => mark("MARK", text, options),
        "CONNMARK" => connmark(text, options),
        "LOG" => log(text, options),
        "CT" | "NOTRACK" => ct(name, text, options),
        "TPROXY" => tproxy(text, options),
        "NFLOG" => nflog(text, options),
        _ => extension(name, text, options),
    }
}

/// Targets that the walk does not decide: one phrase for each option.
fn extension(name: &str, text: &mut Text<'_>, options: &mut Options) -> Option<()> {
    match name {
        "CHECKSUM" => flag(text, options, &["CHECKSUM", "fill"], "--checksum-fill"),
        "TCPMSS" => flag(
            text,
            options,
            &["TCPMSS", "clamp", "to", "PMTU"],
            "--clamp-mss-to-pmtu",
        )
        .or_else(|| words(text, options, &["TCPMSS", "set"], "--set-mss")),
        "CLASSIFY" => words(text, options, &["CLASSIFY", "set"], "--set-class"),
        "DSCP" => words(text, options, &["DSCP", "set"], "--set-dscp"),
        "TOS" => words(text, options, &["TOS", "set"], "--set-tos"),
        "TTL" => words(text, options, &["TTL", "set", "to"], "--ttl-set")
            .or_else(|| words(text, options, &["TTL", "decrement", "by"], "--ttl-dec"))
            .or_else(|| words(text, options, &["TTL", "increment", "by"], "--ttl-inc")),
        "HL" => words(text, options, &["HL", "set", "to"], "--hl-set")
            .or_else(|| words(text, options, &["HL", "decrement", "by"], "--hl-dec"))
            .or_else(|| words(text, options, &["HL", "increment", "by"], "--hl-inc")),
        "AUDIT" => words(text, options, &["AUDIT"], "--type"),
        "TEE" => valued(
            text.take_after("TEE")
                .and_then(|_| text.take_after("gw:"))?,
            "--gateway",
            options,
        ),
        "NFQUEUE" => nfqueue(text, options),
        "SET" => set(text, options),
        _ => None,
    }
}

fn valued(value: impl AsRef<str>, option: &'static str, options: &mut Options) -> Option<()> {
    options.push(option);
    options.push(value);
    Some(())
}

/// A phrase and a value.
fn words(
    text: &mut Text<'_>,
    options: &mut Options,
    phrase: &[&str],
    option: &'static str,
) -> Option<()> {
    text.take(phrase).then_some(())?;
    valued(text.next()?.trim_matches('"'), option, options)
}

/// A phrase that stands for an option without a value.
fn flag(
    text: &mut Text<'_>,
    options: &mut Options,
    phrase: &[&str],
    option: &'static str,
) -> Option<()> {
    text.take(phrase).then_some(())?;
    options.push(option);
    Some(())
}

/// `to:10.0.0.1:80 random persistent`.
fn nat(to: &str, option: &'static str, text: &mut Text<'_>, options: &mut Options) -> Option<()> {
    valued(to, option, options)?;
    nat_flags(text, options);
    Some(())
}

/// Takes `random`, `random-fully`, `persistent`; whether there was any.
fn nat_flags(text: &mut Text<'_>, options: &mut Options) -> bool {
    let before = options.len();
    loop {
        options.push(match text.peek() {
            Some("random") => "--random",
            Some("random-fully") => "--random-fully",
            Some("persistent") => "--persistent",
            _ => return options.len() > before,
        });
        text.next();
    }
}

/// `masq ports: 1024-65535 random`, `redir ports 8080`, or the flags alone.
fn ported(phrase: &[&str], text: &mut Text<'_>, options: &mut Options) -> Option<()> {
    let ports = text.take(phrase);
    if ports {
        valued(text.next()?, "--to-ports", options)?;
    }
    let flags = nat_flags(text, options);
    (ports || flags).then_some(())
}

fn bare_prefix<'t>(text: &mut Text<'t>) -> Option<&'t str> {
    let word = text.peek()?;
    let host = word.split_once('/')?.0;
    host.parse::<std::net::IpAddr>().ok()?;
    text.next()
}

/// `MARK or 0x4000`, and with and, xor, set, `xset VALUE/MASK`; `CONNMARK` alike.
fn mark(name: &str, text: &mut Text<'_>, options: &mut Options) -> Option<()> {
    text.take(&[name]).then_some(())?;
    let option = match text.next()? {
        "and" => "--and-mark",
        "or" => "--or-mark",
        "xor" => "--xor-mark",
        "set" => "--set-mark",
        "xset" => "--set-xmark",
        _ => return None,
    };
    valued(text.next()?, option, options)
}

/// `CONNMARK save`, `CONNMARK restore mask 0xff`, `CONNMARK save nfmask 0xf ctmask ~0xf0`, or as [`mark`].
fn connmark(text: &mut Text<'_>, options: &mut Options) -> Option<()> {
    if text.take(&["CONNMARK", "save"]) {
        options.push("--save-mark");
    } else if text.take(&["CONNMARK", "restore"]) {
        options.push("--restore-mark");
    } else {
        return mark("CONNMARK", text, options);
    }
    loop {
        let option = match text.peek() {
            Some("mask") => "--mask",
            Some("nfmask") => "--nfmask",
            Some("ctmask") => "--ctmask",
            _ => return Some(()),
        };
        text.next();
        let value = text.next()?;
        valued(value.strip_prefix('~').unwrap_or(value), option, options)?;
    }
}

/// The flags of `LOG`, by bit, name in a listing, and option.
const LOG_FLAGS: [(u8, &str, &str); 5] = [
    (1, "tcp-sequence", "--log-tcp-sequence"),
    (2, "tcp-options", "--log-tcp-options"),
    (4, "ip-options", "--log-ip-options"),
    (8, "uid", "--log-uid"),
    (32, "macdecode", "--log-macdecode"),
];

/// The levels of `LOG`, from 0, with their other names.
const LOG_LEVELS: [(&str, u8); 10] = [
    ("emerg", 0),
    ("alert", 1),
    ("crit", 2),
    ("error", 3),
    ("err", 3),
    ("warning", 4),
    ("warn", 4),
    ("notice", 5),
    ("info", 6),
    ("debug", 7),
];

/// `LOG flags 0 level 4 prefix "x "`, or without `-n` `LOG level warning tcp-options prefix "x "`.
fn log(text: &mut Text<'_>, options: &mut Options) -> Option<()> {
    text.take(&["LOG"]).then_some(())?;
    let mut bits: u8 = if text.take(&["flags"]) {
        text.next()?.parse().ok()?
    } else {
        0
    };
    let level = if text.take(&["level"]) {
        text.next()?
    } else {
        "4"
    };
    let named = LOG_LEVELS
        .iter()
        .find(|(name, _)| *name == level)
        .map(|(_, level)| *level);
    let level = named.or_else(|| level.parse().ok())?;
    while let Some(flag) = LOG_FLAGS
        .iter()
        .find(|(_, name, _)| text.peek() == Some(name))
    {
        bits |= flag.0;
        text.next();
    }
    if text.take(&["prefix"]) {
        valued(log_prefix(text)?, "--log-prefix", options)?;
    }
    if level != 4 {
        valued(level.to_string(), "--log-level", options)?;
    }
    let set = LOG_FLAGS.iter().filter(|(bit, _, _)| bits & bit != 0);
    for (_, _, option) in set {
        options.push(option);
    }
    Some(())
}

/// `"x "`, or as older versions quote it `` `x ' ``.
fn log_prefix<'t>(text: &mut Text<'t>) -> Option<&'t str> {
    let Some(quoted) = text.rest().strip_prefix('`') else {
        let word = text.next()?;
        let inside = word
            .strip_prefix('"')
            .and_then(|word| word.strip_suffix('"'));
        return Some(inside.unwrap_or(word));
    };
    let end = quoted.find('\'')?;
    *text = Text::new(&quoted[end + 1..]);
    Some(&quoted[..end])
}

/// `CT notrack`, `CT helper ftp`, `CT zone 5`; `NOTRACK`.
fn ct(name: &str, text: &mut Text<'_>, options: &mut Options) -> Option<()> {
    if text.take(&["NOTRACK"]) || text.take(&["CT", "notrack"]) {
        if name == "CT" {
            options.push("--notrack");
        }
        return Some(());
    }
    text.take(&["CT"]).then_some(())?;
    loop {
        let option = match text.peek() {
            Some("helper") => "--helper",
            Some("timeout") => "--timeout",
            Some("ctevents") => "--ctevents",
            Some("expevents") => "--expevents",
            Some("zone") => "--zone",
            _ => return Some(()),
        };
        text.next();
        valued(text.next()?, option, options)?;
    }
}

/// `TPROXY redirect 0.0.0.0:37379 mark 0x200/0xffffffff`.
fn tproxy(text: &mut Text<'_>, options: &mut Options) -> Option<()> {
    text.take(&["TPROXY", "redirect"]).then_some(())?;
    let (address, port) = text.next()?.rsplit_once(':')?;
    valued(port, "--on-port", options)?;
    valued(
        address.trim_start_matches('[').trim_end_matches(']'),
        "--on-ip",
        options,
    )?;
    words(text, options, &["mark"], "--tproxy-mark")
}

/// `nflog-prefix X nflog-group 5 nflog-size 64 nflog-threshold 2`.
fn nflog(text: &mut Text<'_>, options: &mut Options) -> Option<()> {
    let before = options.len();
    loop {
        let option = match text.peek() {
            Some("nflog-prefix") => "--nflog-prefix",
            Some("nflog-group") => "--nflog-group",
            Some("nflog-size") => "--nflog-size",
            Some("nflog-range") => "--nflog-range",
            Some("nflog-threshold") => "--nflog-threshold",
            _ => return (options.len() > before).then_some(()),
        };
        text.next();
        valued(text.next()?.trim_matches('"'), option, options)?;
    }
}

/// `NFQUEUE num 0 bypass`, `NFQUEUE balance 0:3`.
fn nfqueue(text: &mut Text<'_>, options: &mut Options) -> Option<()> {
    words(text, options, &["NFQUEUE", "num"], "--queue-num")
        .or_else(|| words(text, options, &["NFQUEUE", "balance"], "--queue-balance"))?;
    let _ = flag(text, options, &["bypass"], "--queue-bypass");
    Some(())
}

/// `add-set NAME src,dst`, `del-set …`, `map-set …`.
fn set(text: &mut Text<'_>, options: &mut Options) -> Option<()> {
    let option = match text.next()? {
        "add-set" => "--add-set",
        "del-set" => "--del-set",
        "map-set" => "--map-set",
        _ => return None,
    };
    valued(text.next()?, option, options)?;
    options.push(text.next()?);
    Some(())
}
