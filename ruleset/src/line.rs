//! Decisions as a line.
//!
//! ```text
//! line = disposition [reject type] ["by" CHAIN N] ["dnat=" ADDRESS] ["masquerade" | "snat=" RANGE | "netmap=" ADDRESS] ["mark=" 0x…]
//!        ["marked-by" CHAIN N]
//!      | "unknown at" (CHAIN N | "routing") ":" FACT
//! ```

use crate::decision::{Decision, Disposition, Nat, Snat};
use crate::ids::RuleId;
use crate::ruleset::Ruleset;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

/// A decision with the rules that took it: `drop by FORWARD 1 dnat=10.0.0.1:80 mark=0x1 marked-by KUBE-SVC 2`.
pub fn describe(ruleset: &Ruleset, decision: &Decision) -> String {
    line(ruleset, decision, true)
}

/// What happens to the packet, whichever rules did it: `drop dnat=10.0.0.1:80 mark=0x1`.
pub fn effect(ruleset: &Ruleset, decision: &Decision) -> String {
    line(ruleset, decision, false)
}

fn line(ruleset: &Ruleset, decision: &Decision, rules: bool) -> String {
    let mut line = decision.disposition.name().to_owned();
    match decision.disposition {
        Disposition::Reject(with) => add(&mut line, with.name()),
        Disposition::Unknown(unknown) => {
            let at = unknown
                .rule
                .map_or_else(|| "routing".to_owned(), |rule| place(ruleset, rule));
            let _ = write!(line, " at {at}: {}", unknown.fact.describe(ruleset));
        }
        _ => {}
    }
    if let Some(rule) = decision.decided_by.filter(|_| rules) {
        let _ = write!(line, " by {}", place(ruleset, rule));
    }
    if let Some((to, _)) = decision.dnat {
        let _ = write!(line, " dnat={}", nat(to));
    }
    if let Some((from, _)) = decision.snat {
        add(&mut line, &snat(from));
    }
    if decision.mark != 0 {
        let _ = write!(line, " mark={:#x}", decision.mark);
    }
    if let Some(rule) = decision.marked_by.filter(|_| rules) {
        let _ = write!(line, " marked-by {}", place(ruleset, rule));
    }
    line
}

fn add(line: &mut String, word: &str) {
    line.push(' ');
    line.push_str(word);
}

/// `FORWARD 1`.
fn place(ruleset: &Ruleset, rule: RuleId) -> String {
    let chain = ruleset.chain_name(ruleset.rule(rule).chain);
    format!("{chain} {}", ruleset.rulenum(rule))
}

/// `10.0.0.1:80`, `[fd00::1]:80`, `this-node:80`; without a port the address alone.
pub fn nat(nat: Nat) -> String {
    match (nat.address, nat.port) {
        (Some(address), Some(port)) => SocketAddr::new(address, port).to_string(),
        (Some(address), None) => address.to_string(),
        (None, Some(port)) => format!("this-node:{port}"),
        (None, None) => "this-node".to_owned(),
    }
}

/// `masquerade`, `snat=10.3.3.3-10.3.3.5:1000-2000`, `netmap=10.9.7.1`.
fn snat(snat: Snat) -> String {
    let (addresses, ports) = match snat {
        Snat::Masquerade => return "masquerade".to_owned(),
        Snat::Netmap(to) => return format!("netmap={to}"),
        Snat::To { addresses, ports } => (addresses, ports),
    };
    let bracketed = |address: IpAddr| match address {
        IpAddr::V6(address) if ports.is_some() => format!("[{address}]"),
        address => address.to_string(),
    };
    let mut text = "snat=".to_owned();
    if let Some((first, last)) = addresses {
        text += &bracketed(first);
        if last != first {
            text += &format!("-{}", bracketed(last));
        }
    }
    if let Some((first, last)) = ports {
        text += &format!(":{first}");
        if last != first {
            text += &format!("-{last}");
        }
    }
    text
}
