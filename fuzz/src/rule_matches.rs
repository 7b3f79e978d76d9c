//! The conditions of a rule, in the words of `iptables`.

use super::choices::Choices;
use super::rule_lines::{Place, address, mark, not, ports, prefix};
use kpclass_ruleset::matches::AddressTypes;
use kpclass_ruleset::value::{Family, address_number};
use std::fmt::Write;

type C<'c, 'b> = &'c mut Choices<'b>;

/// `-s`, `-d`, `-i`, `-o`, `-p`, `-f`, each sometimes, and the ports that a protocol brings along.
pub fn header(choices: C<'_, '_>, place: &Place<'_>, text: &mut String) {
    for option in ["-s", "-d"] {
        if choices.once_in(3) {
            let (not, prefix) = (not(choices), prefix(choices, place.family));
            let _ = write!(text, " {not}{option} {prefix}");
        }
    }
    for option in ["-i", "-o"] {
        if choices.once_in(8) {
            let (not, device) = (
                not(choices),
                choices.one(&["eth0", "lo", "eth+", "cali12345678901"]),
            );
            let _ = write!(text, " {not}{option} {device}");
        }
    }
    match choices.below(6) {
        0 | 1 => transport(choices, text),
        2 => icmp(choices, place.family, text),
        3 => {
            let protocol = choices.one(&["tcp", "udp", "47", "all", "132"]);
            let not = if protocol == "all" { "" } else { not(choices) };
            let _ = write!(text, " {not}-p {protocol}");
        }
        4 if place.family == Family::V4 && choices.once_in(3) => {
            let _ = write!(text, " {}-f", not(choices));
        }
        _ => {}
    }
}

/// `-p tcp -m tcp --dport 80`, and the same of the others.
fn transport(choices: C<'_, '_>, text: &mut String) {
    let protocol = choices.one(&["tcp", "udp", "sctp", "dccp", "tcp"]);
    let _ = write!(text, " -p {protocol}");
    if !choices.once_in(4) {
        let _ = write!(text, " -m {protocol}");
    }
    for option in ["--dport", "--sport"] {
        if choices.once_in(2) {
            let (not, ports) = (not(choices), ports(choices, ':'));
            let _ = write!(text, " {not}{option} {ports}");
        }
    }
    if protocol == "tcp" && choices.once_in(4) {
        let flags = [
            "SYN",
            "SYN,ACK",
            "FIN,SYN,RST,ACK",
            "ALL",
            "NONE",
            "URG,PSH",
        ];
        let (not, mask, value) = (not(choices), choices.one(&flags), choices.one(&flags));
        let _ = match choices.below(3) {
            0 => write!(text, " {not}--syn"),
            1 => write!(text, " {not}--tcp-option {}", choices.any::<u8>()),
            _ => write!(text, " {not}--tcp-flags {mask} {value}"),
        };
    }
}

fn icmp(choices: C<'_, '_>, family: Family, text: &mut String) {
    let (protocol, module, option) = match family {
        Family::V4 => ("icmp", "icmp", "--icmp-type"),
        Family::V6 => ("ipv6-icmp", "icmp6", "--icmpv6-type"),
    };
    let _ = write!(text, " -p {protocol}");
    if choices.once_in(2) {
        let kind = choices.one(&[
            "8",
            "3/4",
            "echo-request",
            "128",
            "255",
            "0/0",
            "destination-unreachable",
        ]);
        let _ = write!(text, " -m {module} {}{option} {kind}", not(choices));
    }
}

/// `-m NAME` with options.
pub fn module(choices: C<'_, '_>, place: &Place<'_>, text: &mut String) {
    let modules: [fn(C<'_, '_>, &Place<'_>, &mut String); 12] = [
        marks, conntrack, addrtype, statistic, comment, multiport, iprange, recent, set, field,
        undecided, state,
    ];
    choices.one(&modules)(choices, place, text);
}

fn marks(choices: C<'_, '_>, _: &Place<'_>, text: &mut String) {
    let module = choices.one(&["mark", "mark", "connmark"]);
    let (not, mark) = (not(choices), mark(choices));
    let _ = write!(text, " -m {module} {not}--mark {mark}");
}

fn conntrack(choices: C<'_, '_>, place: &Place<'_>, text: &mut String) {
    text.push_str(" -m conntrack");
    let (not, prefix, range) = (
        not(choices),
        prefix(choices, place.family),
        ports(choices, ':'),
    );
    let _ = match choices.below(7) {
        0 | 1 => {
            let states = [
                "NEW",
                "RELATED,ESTABLISHED",
                "INVALID",
                "DNAT",
                "SNAT,NEW",
                "UNTRACKED",
            ];
            write!(text, " {not}--ctstate {}", choices.one(&states))
        }
        2 => write!(
            text,
            " {not}--ctproto {}",
            choices.one(&["tcp", "17", "132"])
        ),
        3 => write!(
            text,
            " {not}--{} {prefix}",
            choices.one(&["ctorigdst", "ctorigsrc"])
        ),
        4 => write!(
            text,
            " {not}--{} {range}",
            choices.one(&["ctorigdstport", "ctorigsrcport"])
        ),
        5 => write!(text, " --ctdir {}", choices.one(&["ORIGINAL", "REPLY"])),
        _ => write!(text, " {not}--ctreplsrc {prefix} --ctstate NEW"),
    };
}

fn state(choices: C<'_, '_>, _: &Place<'_>, text: &mut String) {
    let states = choices.one(&["NEW", "RELATED,ESTABLISHED", "INVALID", "UNTRACKED"]);
    let _ = write!(text, " -m state {}--state {states}", not(choices));
}

fn addrtype(choices: C<'_, '_>, _: &Place<'_>, text: &mut String) {
    text.push_str(" -m addrtype");
    let first = choices.one(&[["--dst-type", "--src-type"], ["--src-type", "--dst-type"]]);
    for option in &first[..1 + choices.below(2)] {
        let not = not(choices);
        let name = choices.one(&["LOCAL", "LOCAL", "UNICAST", "MULTICAST", "BROADCAST"]);
        let other = choices.one(&AddressTypes::NAMES).0;
        let _ = match choices.once_in(4) {
            true => write!(text, " {not}{option} {name},{other}"),
            false => write!(text, " {not}{option} {name}"),
        };
    }
    if choices.once_in(6) {
        text.push_str(choices.one(&[" --limit-iface-in", " --limit-iface-out"]));
    }
}

fn statistic(choices: C<'_, '_>, _: &Place<'_>, text: &mut String) {
    let not = not(choices);
    if choices.once_in(3) {
        let every = choices.one(&[2, 3, 1, 1000, u32::MAX]);
        let packet = choices.any::<u32>() % every;
        let _ = write!(
            text,
            " -m statistic --mode nth {not}--every {every} --packet {packet}"
        );
        return;
    }
    let some = [
        "0.50000000000",
        "0.33333333349",
        "0",
        "1",
        "0.1",
        "0.00000000047",
        "0.99999999953",
    ];
    let _ = match choices.once_in(4) {
        true => {
            let probability = f64::from(choices.any::<u32>()) / f64::from(u32::MAX);
            write!(
                text,
                " -m statistic --mode random {not}--probability {probability:.11}"
            )
        }
        false => write!(
            text,
            " -m statistic --mode random {not}--probability {}",
            choices.one(&some)
        ),
    };
}

fn comment(choices: C<'_, '_>, _: &Place<'_>, text: &mut String) {
    let comments = [
        "\"default/web:http cluster IP\"",
        "bare",
        "\"\"",
        "\"-j DROP \\\"x\\\" it's # no\"",
        "'a  b'",
        "\"a\\\\\"",
        "\"ü*\"",
    ];
    let _ = write!(text, " -m comment --comment {}", choices.one(&comments));
}

fn multiport(choices: C<'_, '_>, _: &Place<'_>, text: &mut String) {
    let option = choices.one(&["--dports", "--sports", "--ports"]);
    let list: Vec<String> = (0..1 + choices.below(7))
        .map(|_| ports(choices, ':'))
        .collect();
    let protocol = if text.contains(" -p ") { "" } else { " -p tcp" };
    let _ = write!(
        text,
        "{protocol} -m multiport {}{option} {}",
        not(choices),
        list.join(",")
    );
}

fn iprange(choices: C<'_, '_>, place: &Place<'_>, text: &mut String) {
    let (a, b) = (
        address(choices, place.family),
        address(choices, place.family),
    );
    let (first, last) = if address_number(a) <= address_number(b) {
        (a, b)
    } else {
        (b, a)
    };
    let option = choices.one(&["--src-range", "--dst-range"]);
    let _ = write!(text, " -m iprange {}{option} {first}-{last}", not(choices));
}

fn recent(choices: C<'_, '_>, _: &Place<'_>, text: &mut String) {
    let name = choices.one(&["KUBE-SEP-A", "B", "DEFAULT"]);
    let operation = choices.one(&["--set", "--rcheck", "--update", "--remove"]);
    let _ = write!(text, " -m recent {}{operation}", not(choices));
    if matches!(operation, "--rcheck" | "--update") {
        if choices.once_in(2) {
            let _ = write!(text, " --seconds {}", choices.one(&[10800, 1, 60]));
            text.push_str(choices.one(&["", " --reap"]));
        }
        if choices.once_in(3) {
            let _ = write!(text, " --hitcount {}", choices.one(&[1, 2, 3]));
        }
    }
    let _ = write!(
        text,
        " --name {name} {}",
        choices.one(&["--rsource", "--rdest"])
    );
}

fn set(choices: C<'_, '_>, _: &Place<'_>, text: &mut String) {
    let name = choices.one(&[
        "ips", "ports", "nets", "devices", "macs", "marks", "list", "absent",
    ]);
    let directions = choices.one(&["src", "dst", "dst,dst", "src,dst", "dst,dst,src"]);
    let _ = write!(
        text,
        " -m set {}--match-set {name} {directions}",
        not(choices)
    );
    if choices.once_in(8) {
        text.push_str(" --return-nomatch");
    }
}

/// A field of a header.
fn field(choices: C<'_, '_>, place: &Place<'_>, text: &mut String) {
    let not = not(choices);
    let ttl = match place.family {
        Family::V4 => "ttl",
        Family::V6 => "hl",
    };
    let _ = match choices.below(5) {
        0 => write!(
            text,
            " -m mac {not}--mac-source 02:00:00:00:00:0{}",
            choices.below(3)
        ),
        1 => write!(text, " -m length {not}--length {}", ports(choices, ':')),
        2 => {
            let comparison = choices.one(&["eq", "lt", "gt"]);
            write!(
                text,
                " -m {ttl} {not}--{ttl}-{comparison} {}",
                choices.one(&[64, 1, 0, 255])
            )
        }
        3 => write!(text, " -m dscp {not}--dscp {:#04x}", choices.below(64)),
        _ => write!(
            text,
            " -m dscp {not}--dscp-class {}",
            choices.one(&["EF", "AF21", "CS0"])
        ),
    };
}

/// What is kept by name.
fn undecided(choices: C<'_, '_>, _: &Place<'_>, text: &mut String) {
    text.push_str(choices.one(&[
        " -m limit --limit 5/min --limit-burst 7",
        " -m owner ! --uid-owner 0-99",
        " -m nfacct --nfacct-name  count",
        " -m physdev ! --physdev-is-bridged",
        " -m string --string \"a b\" --algo bm --to 65535",
        " -m hashlimit --hashlimit-upto 1/sec --hashlimit-mode srcip --hashlimit-name x",
        " -m newer --strange ! --stranger 7 8",
    ]));
}
