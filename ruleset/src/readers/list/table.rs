//! Which table a listing shows, where nothing names it.
//!
//! Built-in chains, targets that the kernel allows in one table only, and chains that well-known software keeps in one table each
//! leave some tables possible; a listing of which exactly one stays is of that table. `iptables -L` prints all built-in chains
//! of a table, so a listing that has exactly those of one table is of that one, unless something else speaks against it.

use super::Listed;
use crate::ruleset::{Hook, TableId};
use TableId::{Filter, Mangle, Nat, Raw, Security};

/// A set of tables.
type Tables = &'static [TableId];

/// Targets that work in some tables only (`.table` and `.hooks` of the kernel's `xt_*` modules).
const TARGETS: [(&str, Tables); 19] = [
    ("DNAT", &[Nat]),
    ("SNAT", &[Nat]),
    ("MASQUERADE", &[Nat]),
    ("REDIRECT", &[Nat]),
    ("NETMAP", &[Nat]),
    ("REJECT", &[Filter]),
    ("CT", &[Raw]),
    ("NOTRACK", &[Raw]),
    ("TPROXY", &[Mangle]),
    ("CHECKSUM", &[Mangle]),
    ("DSCP", &[Mangle]),
    ("TOS", &[Mangle]),
    ("TTL", &[Mangle]),
    ("HL", &[Mangle]),
    ("ECN", &[Mangle]),
    ("TCPOPTSTRIP", &[Mangle]),
    ("SECMARK", &[Mangle, Security]),
    ("CONNSECMARK", &[Mangle, Security]),
    ("TRACE", &[Raw]),
];

/// Beginnings of the names of chains that one table only has.
const CHAINS: [(&str, TableId); 33] = [
    ("KUBE-SVC-", Nat),
    ("KUBE-SVL-", Nat),
    ("KUBE-SEP-", Nat),
    ("KUBE-XLB-", Nat),
    ("KUBE-EXT-", Nat),
    ("KUBE-FW-", Nat),
    ("KUBE-MARK-", Nat),
    ("KUBE-POSTROUTING", Nat),
    ("KUBE-PORTALS-", Nat),
    ("KUBE-NODEPORT-CONTAINER", Nat),
    ("KUBE-NODEPORT-HOST", Nat),
    ("KUBE-LOAD-BALANCER", Nat),
    ("KUBE-FORWARD", Filter),
    ("KUBE-EXTERNAL-SERVICES", Filter),
    ("KUBE-PROXY-FIREWALL", Filter),
    ("KUBE-NODEPORT-NON-LOCAL", Filter),
    ("KUBE-ROUTER-INPUT", Filter),
    ("KUBE-ROUTER-FORWARD", Filter),
    ("KUBE-ROUTER-OUTPUT", Filter),
    ("KUBE-ROUTER-HAIRPIN", Nat),
    ("KUBE-POD-FW-", Filter),
    ("KUBE-NWPLCY-", Filter),
    ("CNI-DN-", Nat),
    ("CNI-HOSTPORT-", Nat),
    ("DOCKER_OUTPUT", Nat),
    ("DOCKER_POSTROUTING", Nat),
    ("DOCKER-ISOLATION", Filter),
    ("DOCKER-USER", Filter),
    ("DOCKER-FORWARD", Filter),
    ("FLANNEL-POSTRTG", Nat),
    ("FLANNEL-FWD", Filter),
    ("IP-MASQ-AGENT", Nat),
    ("cali-nat-", Nat),
];

/// Sets of built-in chains that are all that a table has. (Kernels before 2.6.36 have no nat INPUT.)
const WHOLE: [(TableId, &[Hook]); 5] = [
    (Raw, &[Hook::Prerouting, Hook::Output]),
    (Mangle, &Hook::ALL),
    (
        Nat,
        &[
            Hook::Prerouting,
            Hook::Input,
            Hook::Output,
            Hook::Postrouting,
        ],
    ),
    (Nat, &[Hook::Prerouting, Hook::Output, Hook::Postrouting]),
    (Filter, &[Hook::Input, Hook::Forward, Hook::Output]),
];

/// Whether a chain is built-in, in some table.
pub(super) fn is_builtin(name: &str) -> bool {
    Hook::from_chain(name).is_some()
}

/// Whether no listing has all of these chains and `name` after them: no table has these built-in chains together, or `name` follows
/// chains that are not built-in, which come last.
pub(super) fn contradicts(names: &[&str], name: &str) -> bool {
    let hooks: Vec<Hook> = names
        .iter()
        .chain([&name])
        .filter_map(|name| Hook::from_chain(name))
        .collect();
    let together = TableId::ALL
        .iter()
        .any(|table| hooks.iter().all(|hook| table.hooks().contains(hook)));
    let of = |name: &&str| {
        CHAINS
            .iter()
            .find(|(head, _)| name.starts_with(head))
            .map(|(_, table)| *table)
    };
    let table = names.iter().find_map(of);
    let foreign = Hook::from_chain(name)
        .is_some_and(|hook| table.is_some_and(|table| !table.hooks().contains(&hook)));
    !together
        || foreign
        || names.last().is_some_and(|last| !is_builtin(last))
            && whole(&hooks[..hooks.len() - 1]).is_some()
}

fn whole(hooks: &[Hook]) -> Option<TableId> {
    let mut sorted = hooks.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let same = |whole: &[Hook]| {
        let mut whole = whole.to_vec();
        whole.sort_unstable();
        whole == sorted
    };
    WHOLE
        .iter()
        .find(|(_, whole)| same(whole))
        .map(|(table, _)| *table)
}

/// The table of a listing, if it can be told.
pub(super) fn infer(chains: &[Listed<'_>]) -> Option<TableId> {
    let names = || chains.iter().map(|listed| listed.heading.name);
    let targets = || {
        chains
            .iter()
            .flat_map(|listed| &listed.rows)
            .map(|(_, row)| row.target)
    };
    let hooks: Vec<Hook> = names().filter_map(Hook::from_chain).collect();
    let mut tables = TableId::ALL.to_vec();
    tables.retain(|table| hooks.iter().all(|hook| table.hooks().contains(hook)));
    for target in targets() {
        if let Some((_, only)) = TARGETS.iter().find(|(name, _)| *name == target) {
            tables.retain(|table| only.contains(table));
        }
    }
    for name in names().chain(targets()) {
        if let Some((_, only)) = CHAINS.iter().find(|(head, _)| name.starts_with(head)) {
            tables.retain(|table| table == only);
        }
    }
    match tables.as_slice() {
        [only] => Some(*only),
        _ => whole(&hooks).filter(|table| tables.contains(table)),
    }
}
