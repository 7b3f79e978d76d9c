//! Rules of others on the node: a CNI's, a container engine's, a host firewall's, and some of no known hand.
//!
//! None asks for a device to leave by, which a dump does not tell: a real neighbour's `-o` is left out, or `-i` stands for it.

use super::sheet::{At, Sheet};
use crate::rulesets::author::{Author, Place};
use crate::rulesets::skeleton::Hooks;
use kpclass_ruleset::value::{Family, Prefix};
use kpclass_ruleset::{Hook, TableId};

/// Adds some of them.
pub(super) fn add(sheet: &mut Sheet, author: &mut Author<'_>, pods: Prefix) {
    let all: [fn(&mut Sheet, &mut Author<'_>, Prefix); 4] = [calico, flannel, docker, firewall];
    for neighbour in all {
        if author.numbers.chance(0.3) {
            neighbour(sheet, author, pods);
        }
    }
    if author.numbers.chance(0.5) {
        strangers(sheet, author);
    }
}

fn calico(sheet: &mut Sheet, author: &mut Author<'_>, pods: Prefix) {
    let allowed = match author.with.sets {
        true => format!("-m set --match-set {} src ", author.sets.all[0].name),
        false => format!("-s {} ", author.numbers.choose(author.values.addresses)),
    };
    let rules = [
        (
            "raw",
            "cali-PREROUTING",
            "-j MARK --set-xmark 0x0/0xf0000".to_owned(),
        ),
        (
            "raw",
            "cali-PREROUTING",
            "-i cni+ -j MARK --set-xmark 0x40000/0x40000".into(),
        ),
        (
            "raw",
            "cali-PREROUTING",
            "-m mark --mark 0x10000/0x10000 -j ACCEPT".into(),
        ),
        (
            "mangle",
            "cali-PREROUTING",
            "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT".into(),
        ),
        (
            "filter",
            "cali-FORWARD",
            "-j MARK --set-xmark 0x0/0xe0000".into(),
        ),
        (
            "filter",
            "cali-FORWARD",
            "-i cni0 -j cali-from-wl-dispatch".into(),
        ),
        (
            "filter",
            "cali-from-wl-dispatch",
            "-m conntrack --ctstate INVALID -j DROP".into(),
        ),
        (
            "filter",
            "cali-from-wl-dispatch",
            "-i cni+ -g cali-fw".into(),
        ),
        (
            "filter",
            "cali-fw",
            format!(
                "{allowed}-m comment --comment \"Policy allows\" -j MARK --set-xmark 0x10000/0x10000"
            ),
        ),
        (
            "filter",
            "cali-fw",
            "-m mark --mark 0x10000/0x10000 -j RETURN".into(),
        ),
        ("filter", "cali-fw", "-p udp -j DROP".into()),
        ("nat", "cali-PREROUTING", "-j cali-fip-dnat".into()),
        (
            "nat",
            "cali-POSTROUTING",
            format!("-s {pods} ! -d {pods} -m comment --comment \"cali:nat\" -j MASQUERADE"),
        ),
    ];
    sheet.declare("nat", "cali-fip-dnat");
    for (table, chain, rule) in rules {
        sheet.add(table, chain, At::Back, rule);
    }
    for (table, hook) in [
        ("raw", "PREROUTING"),
        ("mangle", "PREROUTING"),
        ("filter", "FORWARD"),
        ("nat", "PREROUTING"),
        ("nat", "POSTROUTING"),
    ] {
        sheet.add(table, hook, At::Front, format!("-j cali-{hook}"));
    }
    if author.numbers.chance(0.5) {
        let accepted = "-m mark --mark 0x10000/0x10000 -j ACCEPT";
        sheet.add("filter", "FORWARD", At::Back, accepted);
    }
}

fn flannel(sheet: &mut Sheet, author: &mut Author<'_>, pods: Prefix) {
    let multicast = match author.family() {
        Family::V4 => "224.0.0.0/4",
        Family::V6 => "ff00::/8",
    };
    for rule in [
        "-m mark --mark 0x4000/0x4000 -j RETURN".to_owned(),
        format!("-s {pods} -d {pods} -j RETURN"),
        format!("-s {pods} ! -d {multicast} -j MASQUERADE"),
        format!("! -s {pods} -d {pods} -j MASQUERADE"),
    ] {
        sheet.add("nat", "FLANNEL-POSTRTG", At::Back, rule);
    }
    sheet.add(
        "filter",
        "FLANNEL-FWD",
        At::Back,
        format!("-s {pods} -j ACCEPT"),
    );
    sheet.add(
        "filter",
        "FLANNEL-FWD",
        At::Back,
        format!("-d {pods} -j ACCEPT"),
    );
    let at = author.numbers.choose([At::Front, At::Back]);
    sheet.add("nat", "POSTROUTING", at, "-j FLANNEL-POSTRTG");
    sheet.add("filter", "FORWARD", at, "-j FLANNEL-FWD");
}

fn docker(sheet: &mut Sheet, author: &mut Author<'_>, _: Prefix) {
    let (loopback, container) = match author.family() {
        Family::V4 => ("127.0.0.0/8", "172.17.0.2:80"),
        Family::V6 => ("::1/128", "[fd00:d0c::2]:80"),
    };
    let published = author.numbers.choose(author.values.ports).max(1);
    let local = "-m addrtype --dst-type LOCAL -j DOCKER";
    let at = author.numbers.choose([At::Front, At::Back]);
    sheet.add("nat", "PREROUTING", at, local);
    sheet.add("nat", "OUTPUT", at, format!("! -d {loopback} {local}"));
    sheet.add("nat", "DOCKER", At::Back, "-i docker0 -j RETURN");
    let publish = format!(
        "! -i docker0 -p tcp -m tcp --dport {published} -j DNAT --to-destination {container}"
    );
    sheet.add("nat", "DOCKER", At::Back, publish);
    sheet.add("filter", "DOCKER-USER", At::Back, "-j RETURN");
    sheet.add("filter", "FORWARD", At::Front, "-j DOCKER-USER");
    if author.with.policies {
        sheet.set_policy("filter", "FORWARD", "DROP");
    }
}

fn firewall(sheet: &mut Sheet, author: &mut Author<'_>, _: Prefix) {
    let (icmp, refusal) = match author.family() {
        Family::V4 => ("icmp", "icmp-host-prohibited"),
        Family::V6 => ("ipv6-icmp", "icmp6-adm-prohibited"),
    };
    let ports = author.values.ports;
    for rule in [
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT".to_owned(),
        "-i lo -j ACCEPT".into(),
        "-m conntrack --ctstate INVALID -j DROP".into(),
        format!("-p {icmp} -j ACCEPT"),
        format!(
            "-p tcp -m multiport --dports 22,{},{} -j ACCEPT",
            ports[0], ports[1]
        ),
        "-m conntrack --ctstate DNAT -j ACCEPT".into(),
        format!("-i eth+ -j REJECT --reject-with {refusal}"),
    ] {
        sheet.add("filter", "host-input", At::Back, rule);
    }
    sheet.add("filter", "INPUT", At::Back, "-j host-input");
}

/// Rules of any kind in a chain of their own, asked before or after kube-proxy's.
fn strangers(sheet: &mut Sheet, author: &mut Author<'_>) {
    let places = [
        (TableId::Raw, Hook::Prerouting),
        (TableId::Mangle, Hook::Prerouting),
        (TableId::Mangle, Hook::Forward),
        (TableId::Mangle, Hook::Output),
        (TableId::Nat, Hook::Prerouting),
        (TableId::Nat, Hook::Output),
        (TableId::Nat, Hook::Postrouting),
        (TableId::Filter, Hook::Input),
        (TableId::Filter, Hook::Forward),
        (TableId::Filter, Hook::Output),
        (TableId::Security, Hook::Forward),
    ];
    for _ in 0..1 + author.numbers.index(3) {
        let (table, hook) = author.numbers.choose(places);
        let chain = format!("x-{}", hook.chain().to_lowercase());
        let place = Place {
            table,
            builtin: None,
            hooks: Hooks::of(hook),
        };
        for _ in 0..2 + author.numbers.index(4) {
            let count = author.numbers.choose([1, 2, 2, 3]);
            let conditions = author.conditions(place, count);
            let target = author.target(place, &conditions);
            sheet.add(
                table.name(),
                &chain,
                At::Back,
                format!("{}{target}", conditions.text()),
            );
        }
        let at = author.numbers.choose([At::Front, At::Back]);
        sheet.add(table.name(), hook.chain(), at, format!("-j {chain}"));
    }
}
