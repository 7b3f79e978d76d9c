//! The target of a rule as `iptables-save` prints it.

use crate::ruleset::Ruleset;
use crate::target::{ConnmarkOp, Extension, MarkSet, NatRange, Target};
use crate::value::PortRange;
use std::fmt::{Result, Write};

/// Appends a target with a blank before it.
pub(super) fn write(ruleset: &Ruleset, target: &Target, text: &mut String) {
    // Writing to a String cannot fail.
    let _ = match target {
        Target::None => Ok(()),
        Target::Accept => write!(text, " -j ACCEPT"),
        Target::Drop => write!(text, " -j DROP"),
        Target::Reject(with) => write!(text, " -j REJECT --reject-with {}", with.name()),
        Target::Return => write!(text, " -j RETURN"),
        Target::Jump(chain) => write!(text, " -j {}", ruleset.chain_name(*chain)),
        Target::Goto(chain) => write!(text, " -g {}", ruleset.chain_name(*chain)),
        Target::Mark(set) => write_mark(" -j MARK", *set, text),
        Target::Connmark(op) => write_connmark(*op, text),
        Target::Dnat(range) => write_nat(" -j DNAT", "--to-destination", range, text),
        Target::Snat(range) => write_nat(" -j SNAT", "--to-source", range, text),
        Target::Masquerade(range) => write_ports_only(" -j MASQUERADE", range, text),
        Target::Redirect(range) => write_ports_only(" -j REDIRECT", range, text),
        Target::Netmap(network) => write!(text, " -j NETMAP --to {network}"),
        Target::Notrack => write!(text, " -j CT --notrack"),
        Target::Transparent(kept)
        | Target::Rewrite(kept)
        | Target::SetChange(kept)
        | Target::Undecided(kept) => write_kept(ruleset, kept, text),
    };
}

fn write_kept(ruleset: &Ruleset, kept: &Extension, text: &mut String) -> Result {
    let options = ruleset.text(kept.options);
    let blank = if options.is_empty() { "" } else { " " };
    write!(text, " -j {}{blank}{options}", ruleset.text(kept.name))
}

fn write_mark(target: &str, set: MarkSet, text: &mut String) -> Result {
    write!(
        text,
        "{target} --set-xmark 0x{:x}/0x{:x}",
        set.value, set.mask
    )
}

fn write_connmark(op: ConnmarkOp, text: &mut String) -> Result {
    let (option, nfmask, ctmask) = match op {
        ConnmarkOp::Set(set) => return write_mark(" -j CONNMARK", set, text),
        ConnmarkOp::Save { nfmask, ctmask } => ("--save-mark", nfmask, ctmask),
        ConnmarkOp::Restore { nfmask, ctmask } => ("--restore-mark", nfmask, ctmask),
    };
    write!(
        text,
        " -j CONNMARK {option} --nfmask 0x{nfmask:x} --ctmask 0x{ctmask:x}"
    )
}

fn write_nat(target: &str, option: &str, range: &NatRange, text: &mut String) -> Result {
    text.push_str(target);
    if range.addresses.is_some() || range.ports.is_some() {
        write!(text, " {option} ")?;
    }
    if let Some((first, last)) = range.addresses {
        // Only a port after it makes the brackets of an IPv6 address necessary.
        let bracketed = first.is_ipv6() && range.ports.is_some();
        text.push_str(if bracketed { "[" } else { "" });
        write!(text, "{first}")?;
        if first != last {
            write!(text, "-{last}")?;
        }
        text.push_str(if bracketed { "]" } else { "" });
    }
    if let Some(ports) = range.ports {
        text.push(':');
        write_dashed(ports, text)?;
    }
    if let Some(base) = range.base_port {
        write!(text, "/{base}")?;
    }
    write_flags(range, text);
    Ok(())
}

fn write_ports_only(target: &str, range: &NatRange, text: &mut String) -> Result {
    text.push_str(target);
    if let Some(ports) = range.ports {
        text.push_str(" --to-ports ");
        write_dashed(ports, text)?;
    }
    write_flags(range, text);
    Ok(())
}

fn write_dashed(ports: PortRange, text: &mut String) -> Result {
    write!(text, "{}", ports.first)?;
    if ports.first != ports.last {
        write!(text, "-{}", ports.last)?;
    }
    Ok(())
}

fn write_flags(range: &NatRange, text: &mut String) {
    let flags = [
        (range.random, " --random"),
        (range.random_fully, " --random-fully"),
        (range.persistent, " --persistent"),
    ];
    for (_, flag) in flags.iter().filter(|(set, _)| *set) {
        text.push_str(flag);
    }
}
