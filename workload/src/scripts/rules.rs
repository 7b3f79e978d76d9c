//! Rules that ask for connections, in front of those that a ruleset has. Most only mark, so that what they saw shows in the packet's mark.

use crate::numbers::Numbers;
use crate::rulesets::Generated;
use kpclass_ruleset::value::Family;
use std::net::IpAddr;

/// The text with some more rules.
pub(super) fn with_connections(text: &str, generated: &Generated, numbers: &mut Numbers) -> String {
    let mut all = text.to_owned();
    for _ in 0..4 + numbers.index(8) {
        let (table, chain) = numbers.choose([
            ("mangle", "PREROUTING"),
            ("mangle", "INPUT"),
            ("mangle", "FORWARD"),
            ("mangle", "OUTPUT"),
            ("mangle", "POSTROUTING"),
            ("mangle", "POSTROUTING"),
            ("filter", "FORWARD"),
            ("filter", "INPUT"),
            ("filter", "OUTPUT"),
        ]);
        let condition = condition(generated, numbers);
        let target = target(table, numbers);
        let protocol = match target.contains("tcp-reset") && !condition.contains("-p tcp") {
            true => "-p tcp ",
            false => "",
        };
        add(
            &mut all,
            table,
            chain,
            &format!("{protocol}{condition} {target}"),
        );
    }
    if numbers.chance(0.15) {
        let chain = numbers.choose(["PREROUTING", "OUTPUT"]);
        let what = numbers.choose(["-p udp", "-p tcp -m tcp --dport 80", "-p sctp"]);
        add(&mut all, "raw", chain, &format!("{what} -j CT --notrack"));
    }
    if numbers.chance(0.25) {
        recent(&mut all, numbers);
    }
    if numbers.chance(0.2) {
        for (chain, verb) in [
            ("PREROUTING", "--restore-mark"),
            ("POSTROUTING", "--save-mark"),
        ] {
            add(&mut all, "mangle", chain, &format!("-j CONNMARK {verb}"));
        }
    }
    all
}

/// Puts a rule in front of a built-in chain's, where the table is there.
fn add(text: &mut String, table: &str, chain: &str, rule: &str) {
    let start = format!("*{table}\n");
    let Some(at) = text.find(&start) else {
        let policies: String = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]
            .iter()
            .filter(|name| has(table, name))
            .map(|name| format!(":{name} ACCEPT [0:0]\n"))
            .collect();
        text.push_str(&format!("{start}{policies}-A {chain} {rule}\nCOMMIT\n"));
        return;
    };
    // Behind the chains' own lines.
    let mut end = at + start.len();
    while text[end..].starts_with(':') {
        end += text[end..].find('\n').map_or(0, |n| n + 1);
    }
    text.insert_str(end, &format!("-A {chain} {rule}\n"));
}

fn has(table: &str, chain: &str) -> bool {
    match table {
        "raw" => matches!(chain, "PREROUTING" | "OUTPUT"),
        "filter" => matches!(chain, "INPUT" | "FORWARD" | "OUTPUT"),
        _ => true,
    }
}

fn condition(generated: &Generated, numbers: &mut Numbers) -> String {
    let not = if numbers.chance(0.2) { "! " } else { "" };
    match numbers.index(10) {
        0..=2 => {
            let states = numbers.choose([
                "NEW",
                "ESTABLISHED",
                "RELATED",
                "INVALID",
                "RELATED,ESTABLISHED",
                "DNAT",
                "SNAT",
                "UNTRACKED",
                "NEW,SNAT",
            ]);
            format!("-m conntrack {not}--ctstate {states}")
        }
        3 | 4 => {
            let status = numbers.choose([
                "SEEN_REPLY",
                "ASSURED",
                "CONFIRMED",
                "SEEN_REPLY,ASSURED",
                "EXPECTED",
                "NONE",
            ]);
            format!("-m conntrack {not}--ctstatus {status}")
        }
        5 => format!(
            "-m conntrack --ctdir {}",
            numbers.choose(["ORIGINAL", "REPLY"])
        ),
        6 => {
            let option = numbers.choose(["ctorigsrc", "ctorigdst", "ctreplsrc", "ctrepldst"]);
            let addresses: Vec<IpAddr> = addresses(generated);
            let address = numbers.pick(&addresses).copied();
            let any = match generated.recipe.family {
                Family::V4 => IpAddr::from([10, 0, 0, 5]),
                Family::V6 => IpAddr::from([0xfd01, 0, 0, 0, 0, 0, 0, 5]),
            };
            format!("-m conntrack {not}--{option} {}", address.unwrap_or(any))
        }
        7 => {
            let option = numbers.choose(["ctorigsrcport", "ctorigdstport", "ctreplsrcport"]);
            let port = numbers.choose(["80", "1:1024", "8080", "443:65535"]);
            format!("-p tcp -m conntrack {not}--{option} {port}")
        }
        8 => format!("-m connmark {not}--mark 0x{:x}/0xf", numbers.index(3)),
        _ => format!(
            "-m state {not}--state {}",
            numbers.choose(["NEW", "ESTABLISHED", "INVALID"])
        ),
    }
}

/// Those that rules rewrite to, and the node's.
fn addresses(generated: &Generated) -> Vec<IpAddr> {
    use kpclass_ruleset::target::Target;
    let rules = generated.ruleset.rules();
    let to = rules.filter_map(|(_, rule)| match &rule.target {
        Target::Dnat(range) => range.addresses.map(|(first, _)| first),
        _ => None,
    });
    let local = generated.node.local.iter();
    to.chain(local.flat_map(|local| local.devices.iter().map(|(_, address)| *address)))
        .collect()
}

fn target(table: &str, numbers: &mut Numbers) -> String {
    let bit = 1u32 << (20 + numbers.index(8));
    match numbers.index(16) {
        0 if table == "filter" => "-j DROP".into(),
        1 if table == "filter" => "-j REJECT".into(),
        2 if table == "filter" => "-j REJECT --reject-with tcp-reset".into(),
        3 if table == "filter" => "-j ACCEPT".into(),
        4 if table == "mangle" => "-j DROP".into(),
        5 | 6 => format!("-j CONNMARK --set-xmark 0x{:x}/0xf", 1 + numbers.index(3)),
        7 => "-j CONNMARK --save-mark --nfmask 0xff00000 --ctmask 0xff00000".into(),
        8 => "-j CONNMARK --restore-mark --nfmask 0xf0 --ctmask 0xf".into(),
        _ => format!("-j MARK --set-xmark 0x{bit:x}/0x{bit:x}"),
    }
}

/// A list that packets of the filter table fill and ask.
fn recent(text: &mut String, numbers: &mut Numbers) {
    let chain = numbers.choose(["FORWARD", "INPUT", "OUTPUT"]);
    let side = numbers.choose(["--rsource", "--rdest"]);
    let check = numbers.choose([
        "--rcheck --seconds 1",
        "--update --seconds 1 --hitcount 2",
        "--rcheck --seconds 1 --reap",
        "--update --seconds 1 --reap",
        "--rcheck --hitcount 3",
        "! --rcheck --seconds 1",
        "--remove",
        "--rcheck --rttl",
    ]);
    let bit = 1u32 << (20 + numbers.index(8));
    let ask =
        format!("-m recent {check} --name SEEN {side} -j MARK --set-xmark 0x{bit:x}/0x{bit:x}");
    let set = format!("-m recent --set --name SEEN {side}");
    let (front, behind) = if numbers.chance(0.5) {
        (ask, set)
    } else {
        (set, ask)
    };
    add(text, "filter", chain, &behind);
    add(text, "filter", chain, &front);
}
