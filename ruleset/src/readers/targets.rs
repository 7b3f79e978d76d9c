//! The targets (`-j NAME`) and their options, read into [`Target`]s.

use super::options::Options;
use super::values::{self, Reason};
use super::words::Word;
use super::{ReadError, names};
use crate::ids::StrId;
use crate::target::{ConnmarkOp, Extension, MarkSet, NatRange, RejectWith, Target};
use crate::value::{Family, PortRange};

/// The name of the target of a rule whose end was cut off: nobody knows what it does.
pub(crate) const UNREADABLE: &str = "UNREADABLE";

/// A target while its options are read.
#[derive(Debug)]
pub(crate) struct TargetSlot<'t> {
    /// As written after `-j`.
    pub(crate) name: &'t str,
    /// Where.
    pub(crate) word: Word,
    kind: Kind,
    /// What the target still needs; empty once it was given.
    needs: &'static str,
}

#[derive(Debug)]
enum Kind {
    /// A modelled target, filled in option by option.
    Typed(Target),
    /// A target kept by name: how it is kept, and its options.
    Kept(Keep, String),
    /// No target that is known: a chain, unless options follow.
    Chain,
}

/// Which of [`Target`]'s variants keeps a target by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Transparent,
    Rewrite,
    SetChange,
    Undecided,
}

/// What a finished target is.
pub(crate) enum Finished {
    /// A target of its own.
    Target(Target),
    /// The name of a chain.
    Chain,
}

impl<'t> TargetSlot<'t> {
    /// The target of that name, without options yet.
    pub(crate) fn new(name: &'t str, word: Word, family: Family) -> Self {
        let (kind, needs) = match blank(name, family) {
            Some((target, needs)) => (Kind::Typed(target), needs),
            None => match keep(name) {
                Some(keep) => (Kind::Kept(keep, String::new()), ""),
                None => (Kind::Chain, ""),
            },
        };
        Self {
            name,
            word,
            kind,
            needs,
        }
    }

    /// Reads the option if it is one of the target's; `false` if it is not.
    pub(crate) fn take(
        &mut self,
        name: &str,
        options: &mut Options<'_, '_>,
    ) -> Result<bool, ReadError> {
        match &mut self.kind {
            Kind::Chain => return Ok(false),
            Kind::Kept(_, kept) => {
                let known = knows(self.name, name);
                if known {
                    options.keep(kept);
                }
                return Ok(known);
            }
            Kind::Typed(target) => {
                if !typed(target, self.name, name, options)? {
                    return Ok(false);
                }
            }
        }
        if matches!(self.kind, Kind::Typed(Target::Transparent(_))) {
            // `CT` with other options than `--notrack`: start keeping.
            let mut kept = String::new();
            options.keep(&mut kept);
            self.kind = Kind::Kept(Keep::Transparent, kept);
        }
        self.needs = "";
        Ok(true)
    }

    /// Takes an option that nobody knows: the name is then a target that is not known, and no chain.
    pub(crate) fn adopt(&mut self, options: &mut Options<'_, '_>) -> bool {
        let Kind::Chain = self.kind else { return false };
        let mut kept = String::new();
        options.keep(&mut kept);
        self.kind = Kind::Kept(Keep::Undecided, kept);
        true
    }

    /// Whether it cannot be a chain.
    pub(crate) fn is_extension(&self) -> bool {
        !matches!(self.kind, Kind::Chain)
    }

    /// The target, once the rule is read.
    pub(crate) fn finish(self, options: &mut Options<'_, '_>) -> Result<Finished, ReadError> {
        if !self.needs.is_empty() {
            let message = format!("`-j {}` needs {}", self.name, self.needs);
            return Err(options.cursor.fail(self.word, message));
        }
        let (keep, text) = match self.kind {
            Kind::Typed(Target::Transparent(_)) => (Keep::Transparent, String::new()),
            Kind::Typed(target) => return Ok(Finished::Target(target)),
            Kind::Chain => return Ok(Finished::Chain),
            Kind::Kept(keep, text) => (keep, text),
        };
        let (name, text) = (
            options.strings.intern(self.name),
            options.strings.intern(&text),
        );
        let extension = Extension {
            name,
            options: text,
        };
        Ok(Finished::Target(match keep {
            Keep::Transparent => Target::Transparent(extension),
            Keep::Rewrite => Target::Rewrite(extension),
            Keep::SetChange => Target::SetChange(extension),
            Keep::Undecided => Target::Undecided(extension),
        }))
    }
}

/// A typed target without options, and what it then still needs.
fn blank(name: &str, family: Family) -> Option<(Target, &'static str)> {
    let range = NatRange::default();
    let no_change = MarkSet { value: 0, mask: 0 };
    Some(match name {
        "ACCEPT" => (Target::Accept, ""),
        "DROP" => (Target::Drop, ""),
        "RETURN" => (Target::Return, ""),
        "REJECT" => {
            let with = match family {
                Family::V4 => RejectWith::IcmpPortUnreachable,
                Family::V6 => RejectWith::Icmp6PortUnreachable,
            };
            (Target::Reject(with), "")
        }
        "MARK" => (Target::Mark(no_change), "an option such as `--set-xmark`"),
        "CONNMARK" => (
            Target::Connmark(ConnmarkOp::Set(no_change)),
            "an option such as `--set-xmark`, `--save-mark` or `--restore-mark`",
        ),
        "DNAT" => (Target::Dnat(range), "`--to-destination` and an address"),
        "SNAT" => (Target::Snat(range), "`--to-source` and an address"),
        "MASQUERADE" => (Target::Masquerade(range), ""),
        "REDIRECT" => (Target::Redirect(range), ""),
        "NETMAP" => {
            let everything = values::prefix("any", family).ok()?;
            (Target::Netmap(everything), "`--to` and a network")
        }
        "NOTRACK" => (Target::Notrack, ""),
        // Becomes Notrack or is kept, by its options.
        "CT" => (
            Target::Transparent(Extension {
                name: StrId(0),
                options: StrId(0),
            }),
            "",
        ),
        _ => return None,
    })
}

/// The targets that are kept by name.
fn keep(name: &str) -> Option<Keep> {
    Some(match name {
        "LOG" | "NFLOG" | "ULOG" | "TRACE" | "AUDIT" | "CHECKSUM" | "TCPMSS" | "TCPOPTSTRIP"
        | "CLASSIFY" | "TEE" | "SECMARK" | "CONNSECMARK" | "IDLETIMER" | "RATEEST" | "LED" => {
            Keep::Transparent
        }
        "TTL" | "HL" | "DSCP" | "TOS" | "ECN" => Keep::Rewrite,
        "SET" => Keep::SetChange,
        "TPROXY" | "NFQUEUE" | "QUEUE" | "SYNPROXY" | "TARPIT" | "CLUSTERIP" | "DNPT" | "SNPT"
        | "HMARK" | "MIRROR" | "SAME" | "ROUTE" | "BALANCE" | "FULLCONENAT" | "ACCOUNT"
        | "CHAOS" | "DELUDE" | "DHCPMAC" | "ECHO" | "IPMARK" | "LOGMARK" | "PROTO" | "RAWDNAT"
        | "RAWSNAT" | "STEAL" | "SYSRQ" | UNREADABLE => Keep::Undecided,
        _ => return None,
    })
}

/// How the options of kept targets begin; one that is not here takes every option.
fn knows(target: &str, option: &str) -> bool {
    let beginning = match target {
        "LOG" => "--log-",
        "NFLOG" => "--nflog-",
        "ULOG" => "--ulog-",
        "CHECKSUM" => "--checksum-",
        "TEE" => "--gateway",
        "TTL" => "--ttl-",
        "HL" => "--hl-",
        "DSCP" => "--set-dscp",
        "TOS" => "--",
        "CLASSIFY" => "--set-class",
        "TRACE" => return false,
        _ => "--",
    };
    option.starts_with(beginning)
}

/// Reads an option of a typed target; `false` if it has no such option.
fn typed(
    target: &mut Target,
    target_name: &str,
    name: &str,
    options: &mut Options<'_, '_>,
) -> Result<bool, ReadError> {
    match target {
        Target::Reject(with) if name == "--reject-with" => {
            *with = options.value("how to answer", reject_with)?;
        }
        Target::Mark(set) => return mark(set, name, options),
        Target::Connmark(op) => return connmark(op, name, options),
        Target::Dnat(range) if matches!(name, "--to-destination" | "--to") => to(range, options)?,
        Target::Snat(range) if matches!(name, "--to-source" | "--to") => to(range, options)?,
        Target::Masquerade(range) | Target::Redirect(range)
            if matches!(name, "--to-ports" | "--to-port" | "--to") =>
        {
            range.ports = Some(options.value("a port or a range", values::dashed_ports)?);
        }
        Target::Netmap(network) if name == "--to" => {
            let family = options.family;
            *network = options.value("a network", |text| values::prefix(text, family))?;
        }
        Target::Dnat(range)
        | Target::Snat(range)
        | Target::Masquerade(range)
        | Target::Redirect(range) => match name {
            "--random" => range.random = true,
            "--random-fully" => range.random_fully = true,
            "--persistent" => range.persistent = true,
            _ => return Ok(false),
        },
        Target::Transparent(_) | Target::Notrack if name == "--notrack" && target_name == "CT" => {
            *target = Target::Notrack;
        }
        Target::Transparent(_) => return Ok(true),
        _ => return Ok(false),
    }
    Ok(true)
}

/// The argument of `--reject-with`, with iptables' short names.
pub(crate) fn reject_with(text: &str) -> Result<RejectWith, Reason> {
    let full = match text {
        "net-unreach" => "icmp-net-unreachable",
        "host-unreach" => "icmp-host-unreachable",
        "proto-unreach" => "icmp-proto-unreachable",
        "port-unreach" => "icmp-port-unreachable",
        "net-prohib" => "icmp-net-prohibited",
        "host-prohib" => "icmp-host-prohibited",
        "tcp-rst" => "tcp-reset",
        "admin-prohib" => "icmp-admin-prohibited",
        "no-route" => "icmp6-no-route",
        "adm-prohibited" => "icmp6-adm-prohibited",
        "addr-unreach" => "icmp6-addr-unreachable",
        "policy-fail" => "icmp6-policy-fail",
        "reject-route" => "icmp6-reject-route",
        other => other,
    };
    let known = RejectWith::NAMES.iter().find(|(_, name)| *name == full);
    known
        .map(|(kind, _)| *kind)
        .ok_or_else(|| format!("`{text}` is not an answer that REJECT knows"))
}

/// The options of `MARK`; see [`MarkSet`] for the arithmetic.
fn mark(set: &mut MarkSet, name: &str, options: &mut Options<'_, '_>) -> Result<bool, ReadError> {
    let needs = "a mark";
    *set = match name {
        "--set-xmark" => {
            let test = options.value(needs, values::mark)?;
            MarkSet {
                value: test.value,
                mask: test.mask,
            }
        }
        "--set-mark" => {
            let test = options.value(needs, values::mark)?;
            MarkSet {
                value: test.value,
                mask: test.value | test.mask,
            }
        }
        "--or-mark" => {
            let value = options.value(needs, values::number32)?;
            MarkSet { value, mask: value }
        }
        "--and-mark" => MarkSet {
            value: 0,
            mask: !options.value(needs, values::number32)?,
        },
        "--xor-mark" => MarkSet {
            value: options.value(needs, values::number32)?,
            mask: 0,
        },
        _ => return Ok(false),
    };
    Ok(true)
}

/// The options of `CONNMARK`.
fn connmark(
    op: &mut ConnmarkOp,
    name: &str,
    options: &mut Options<'_, '_>,
) -> Result<bool, ReadError> {
    match (name, &mut *op) {
        ("--save-mark", _) => {
            *op = ConnmarkOp::Save {
                nfmask: u32::MAX,
                ctmask: u32::MAX,
            }
        }
        ("--restore-mark", _) => {
            *op = ConnmarkOp::Restore {
                nfmask: u32::MAX,
                ctmask: u32::MAX,
            }
        }
        (
            "--mask",
            ConnmarkOp::Save { nfmask, ctmask } | ConnmarkOp::Restore { nfmask, ctmask },
        ) => {
            *nfmask = options.value("a mask", values::number32)?;
            *ctmask = *nfmask;
        }
        ("--nfmask", ConnmarkOp::Save { nfmask, .. } | ConnmarkOp::Restore { nfmask, .. }) => {
            *nfmask = options.value("a mask", values::number32)?;
        }
        ("--ctmask", ConnmarkOp::Save { ctmask, .. } | ConnmarkOp::Restore { ctmask, .. }) => {
            *ctmask = options.value("a mask", values::number32)?;
        }
        (_, ConnmarkOp::Set(set)) => return mark(set, name, options),
        _ => return Ok(false),
    }
    Ok(true)
}

/// The argument of `--to-destination` and `--to-source`.
fn to(range: &mut NatRange, options: &mut Options<'_, '_>) -> Result<(), ReadError> {
    let family = options.family;
    let read = options.value("an address, a port, or both", |text| {
        nat_range(text, family)
    })?;
    (range.addresses, range.ports, range.base_port) = (read.addresses, read.ports, read.base_port);
    Ok(())
}

/// `10.0.0.1`, `10.0.0.1-10.0.0.9:80-90`, `:53`, `[fd00::1]:80`, `10.0.0.1:5000-5009/6000`.
pub(crate) fn nat_range(text: &str, family: Family) -> Result<NatRange, Reason> {
    let (addresses, ports) = match family {
        Family::V4 => match text
            .split_once(':')
            .filter(|(_, ports)| !ports.contains(':'))
        {
            Some((addresses, ports)) => (addresses, Some(ports)),
            None => (text, None),
        },
        Family::V6 => match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            // `[a]-[b]:80` is written as well as `[a-b]:80`.
            Some((_, rest)) if rest.starts_with('-') => {
                let (addresses, ports) = text.rsplit_once("]:").unwrap_or((text, ""));
                (addresses, Some(ports).filter(|ports| !ports.is_empty()))
            }
            Some((addresses, "")) => (addresses, None),
            Some((addresses, rest)) => (addresses, Some(rest.trim_start_matches(':'))),
            None if text.starts_with(':')
                && text
                    .bytes()
                    .skip(1)
                    .all(|b| b.is_ascii_digit() || b == b'-') =>
            {
                ("", text.get(1..))
            }
            None => (text, None),
        },
    };
    let addresses = match addresses {
        "" => None,
        _ if addresses.bytes().any(|byte| matches!(byte, b'[' | b']')) => {
            let bare = addresses.replace(['[', ']'], "");
            Some(values::address_range(&bare, family)?)
        }
        _ => Some(values::address_range(addresses, family)?),
    };
    let (ports, base_port) = ports.map_or(Ok((None, None)), nat_ports)?;
    if addresses.is_none() && ports.is_none() {
        return Err(format!("`{text}` is neither an address nor a port"));
    }
    Ok(NatRange {
        addresses,
        ports,
        base_port,
        ..NatRange::default()
    })
}

/// `80`, `80-90`, `5000-5009/6000`.
fn nat_ports(text: &str) -> Result<(Option<PortRange>, Option<u16>), Reason> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    if let (true, Some(port)) = (is_number, names::port(text)) {
        return Ok((Some(PortRange::single(port)), None));
    }
    let (ports, base) = match text.split_once('/') {
        Some((ports, base)) => (ports, Some(values::port(base)?)),
        None => (text, None),
    };
    if names::port(ports).is_none() && !ports.contains('-') {
        return Err(format!("`{ports}` is not a port or a range of ports"));
    }
    Ok((Some(values::dashed_ports(ports)?), base))
}
