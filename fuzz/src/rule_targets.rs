//! The target of a rule, in the words of `iptables`.

use super::choices::Choices;
use super::rule_lines::{Place, address, mark, ports};
use kpclass_ruleset::value::{Family, address_number};
use kpclass_ruleset::{Hook, TableId};
use std::fmt::Write;

/// `-j` or `-g` with what follows, or nothing.
pub fn target(choices: &mut Choices<'_>, place: &Place<'_>, text: &mut String) {
    let users = place
        .below
        .iter()
        .filter(|name| Hook::from_chain(name).is_none());
    let users: Vec<&str> = users.copied().collect();
    match choices.below(10) {
        0..=2 if !users.is_empty() => {
            let _ = write!(
                text,
                " {} {}",
                choices.one(&["-j", "-j", "-g"]),
                choices.one(&users)
            );
        }
        3 => marks(choices, text),
        4 => {
            let absent = choices.one(&["KUBE-MARK-MASQ", "KUBE-MARK-DROP", "gone", "KUBE-X"]);
            // It could lead back to this chain, if it is there.
            if users.contains(&absent) || !text.contains(&format!(":{absent} ")) {
                let _ = write!(text, " -j {absent}");
            }
        }
        5 => kept(choices, text),
        6..=8 if place.table == TableId::Nat => nat(choices, place, text),
        9 => {}
        _ => verdict(choices, place, text),
    }
}

fn verdict(choices: &mut Choices<'_>, place: &Place<'_>, text: &mut String) {
    let target = choices.one(&["ACCEPT", "DROP", "RETURN", "RETURN", "REJECT", "NOTRACK"]);
    let _ = write!(text, " -j {target}");
    if target == "REJECT" && choices.once_in(2) {
        let with = match place.family {
            Family::V4 => ["icmp-host-prohibited", "tcp-reset", "port-unreach"],
            Family::V6 => ["icmp6-no-route", "tcp-reset", "icmp6-adm-prohibited"],
        };
        let _ = write!(text, " --reject-with {}", choices.one(&with));
    }
}

fn marks(choices: &mut Choices<'_>, text: &mut String) {
    let target = choices.one(&["MARK", "MARK", "CONNMARK"]);
    let _ = write!(text, " -j {target}");
    let number = choices.one(&["0x4000", "0x8000", "0", "0xffffffff", "3"]);
    let _ = match choices.below(6) {
        0 => write!(text, " --set-xmark {}", mark(choices)),
        1 => write!(text, " --set-mark {}", mark(choices)),
        2 => write!(text, " --or-mark {number}"),
        3 => write!(text, " --and-mark {number}"),
        4 if target == "CONNMARK" => {
            let option = choices.one(&["--save-mark", "--restore-mark"]);
            write!(
                text,
                " {option}{}",
                choices.one(&["", " --mask 0xff", " --nfmask 0xf0 --ctmask 0xff00"])
            )
        }
        _ => write!(text, " --xor-mark {number}"),
    };
}

fn nat(choices: &mut Choices<'_>, place: &Place<'_>, text: &mut String) {
    let sources = [Hook::Input.chain(), Hook::Postrouting.chain()];
    let target = match sources.contains(&place.chain) {
        true => choices.one(&["SNAT", "MASQUERADE", "NETMAP"]),
        false if Hook::from_chain(place.chain).is_some() => {
            choices.one(&["DNAT", "DNAT", "REDIRECT", "NETMAP"])
        }
        false => choices.one(&["DNAT", "DNAT", "REDIRECT", "NETMAP", "SNAT", "MASQUERADE"]),
    };
    let _ = write!(text, " -j {target}");
    let range = nat_range(choices, place.family);
    let ports = ports(choices, '-');
    let _ = match target {
        "DNAT" => write!(text, " --to-destination {range}"),
        "SNAT" => write!(text, " --to-source {range}"),
        "NETMAP" => write!(text, " --to {}/24", address(choices, place.family)),
        _ if choices.once_in(2) => write!(text, " --to-ports {ports}"),
        _ => Ok(()),
    };
    if target != "NETMAP" && choices.once_in(4) {
        let flags: &[&str] = match target {
            "MASQUERADE" => &[" --random", " --random-fully"],
            _ => &[" --random", " --persistent", " --random --persistent"],
        };
        text.push_str(choices.one(flags));
    }
}

/// `10.0.0.1`, `10.0.0.1-10.0.0.9:80-90`, `:53`, `[fd00::1]:80`, `10.0.0.1:5000-5009/6000`.
fn nat_range(choices: &mut Choices<'_>, family: Family) -> String {
    let (a, b) = (address(choices, family), address(choices, family));
    let (first, last) = if address_number(a) <= address_number(b) {
        (a, b)
    } else {
        (b, a)
    };
    let addresses = if choices.once_in(4) {
        format!("{first}-{last}")
    } else {
        a.to_string()
    };
    let ports = ports(choices, '-');
    let bracketed = match family {
        Family::V4 => addresses.clone(),
        Family::V6 => format!("[{addresses}]"),
    };
    match choices.below(5) {
        0 | 1 => format!("{bracketed}:{ports}"),
        2 => format!(":{ports}"),
        3 if ports.contains('-') => format!("{bracketed}:{ports}/{}", choices.one(&[6000, 80, 1])),
        _ => addresses,
    }
}

/// What changes nothing that is decided, or is not modelled.
fn kept(choices: &mut Choices<'_>, text: &mut String) {
    text.push_str(choices.one(&[
        " -j LOG --log-prefix \"a b \" --log-level 4",
        " -j TRACE",
        " -j NFLOG --nflog-group 3",
        " -j TCPMSS --clamp-mss-to-pmtu",
        " -j CT --notrack",
        " -j CT --zone 1",
        " -j DSCP --set-dscp 0x0a",
        " -j TTL --ttl-set 64",
        " -j SET --add-set ips src",
        " -j NFQUEUE --queue-num 0 --queue-bypass",
        " -j STRANGE --option 7",
    ]));
}
