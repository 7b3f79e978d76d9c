//! Which table a listing shows, where nothing names it.
//!
//! Built-in chains, targets that the kernel allows in some tables only, chains that well-known software keeps in one table, and
//! kube-proxy's comments each leave some tables possible. Where several stay, `iptables -L` helps: it prints all built-in chains of a
//! table, so a listing that has exactly those of one table is of that one.

use super::collect::{Listed, Listing};
use crate::readers::sections::{Tables, bit, chain_tables, jump_tables, target_tables};
use crate::ruleset::{Hook, RulesetBuilder, TableId};

/// Comments of kube-proxy and kubelet that stand in one table only.
const COMMENTS: [(&str, TableId); 9] = [
    (
        "/* kubernetes firewall for dropping marked packets */",
        TableId::Filter,
    ),
    ("/* kubernetes forwarding rules */", TableId::Filter),
    (
        "/* kubernetes health check service ports */",
        TableId::Filter,
    ),
    (
        "/* kubernetes externally-visible service portals */",
        TableId::Filter,
    ),
    ("/* kubernetes load balancer firewall */", TableId::Filter),
    ("/* block incoming localnet connections */", TableId::Filter),
    ("/* kubernetes postrouting rules */", TableId::Nat),
    (
        "/* kubernetes service traffic requiring SNAT */",
        TableId::Nat,
    ),
    ("/* kubernetes service nodeports; NOTE", TableId::Nat),
];

/// What nat had before Linux 2.6.36: no INPUT.
const OLD_NAT: [Hook; 3] = [Hook::Prerouting, Hook::Output, Hook::Postrouting];

/// The table of a listing.
///
/// # Errors
/// The tables that it may be, if that is not one.
pub(super) fn infer(chains: &[Listed<'_>]) -> Result<TableId, Vec<TableId>> {
    let hooks = hooks(chains);
    let mut allowed = evidence(chains);
    if allowed.count_ones() > 1 {
        allowed = match allowed & by_comments(chains) {
            0 => allowed,
            tables => tables,
        };
    }
    let possible: Vec<TableId> = TableId::ALL
        .into_iter()
        .filter(|table| allowed & bit(*table) != 0)
        .collect();
    match possible.as_slice() {
        [only] => Ok(*only),
        _ => complete(&hooks, &possible).ok_or(possible),
    }
}

/// The table of a listing that does not show it itself, by what else the inputs hold. It is the only table that they hold; or the only one that
/// names the listing's chains; or that of the listing `before` if that jumps here, as texts go from a jump to where it leads; or the only one that
/// names the chains and lacks them.
pub(super) fn by_others(
    listing: &Listing<'_>,
    possible: &[TableId],
    before: Option<(&Listing<'_>, TableId)>,
    builder: &RulesetBuilder,
) -> Option<TableId> {
    let names = || listing.chains.iter().map(|listed| listed.heading.name);
    let only = |tables: &[TableId]| match tables {
        [only] if possible.contains(only) => Some(*only),
        _ => None,
    };
    let holds = |table: &TableId| builder.has_table(*table);
    let present: Vec<TableId> = TableId::ALL.into_iter().filter(holds).collect();
    let named = |table: TableId| names().filter_map(move |name| builder.find(table, name));
    let mut naming = present.clone();
    naming.retain(|table| possible.contains(table) && named(*table).next().is_some());
    let mut lacking = naming.clone();
    lacking.retain(|table| named(*table).any(|chain| !builder.is_declared(chain)));
    let jumps = |before: &Listing<'_>| {
        let mut rows = before.chains.iter().flat_map(|listed| &listed.rows);
        rows.any(|(_, row)| listing.names.contains(row.target))
    };
    let led = || before.filter(|(before, table)| naming.contains(table) && jumps(before));
    only(&present)
        .or_else(|| only(&naming))
        .or_else(|| Some(led()?.1))
        .or_else(|| only(&lacking))
}

/// Whether a built-in chain cannot follow these chains in one listing: no table has them together, or the listing had all built-in
/// chains of its table, which come first, and is past them.
pub(super) fn contradicts(chains: &[Listed<'_>], name: &str) -> bool {
    let before = hooks(chains);
    let past = chains
        .last()
        .is_some_and(|last| Hook::from_chain(last.heading.name).is_none());
    let all: Vec<Hook> = before
        .iter()
        .copied()
        .chain(Hook::from_chain(name))
        .collect();
    tables_with(&all) & evidence(chains) == 0 || past && complete(&before, &TableId::ALL).is_some()
}

fn hooks(chains: &[Listed<'_>]) -> Vec<Hook> {
    chains
        .iter()
        .filter_map(|listed| Hook::from_chain(listed.heading.name))
        .collect()
}

/// The tables that have a built-in chain at each of these hooks.
fn tables_with(hooks: &[Hook]) -> Tables {
    let has = |table: &&TableId| hooks.iter().all(|hook| table.hooks().contains(hook));
    TableId::ALL
        .iter()
        .filter(has)
        .fold(0, |tables, table| tables | bit(*table))
}

/// The table whose built-in chains are exactly those at `hooks`. filter and security have the same ones; a listing of the latter says so.
fn complete(hooks: &[Hook], possible: &[TableId]) -> Option<TableId> {
    let is = |all: &[Hook]| hooks.len() == all.len() && all.iter().all(|hook| hooks.contains(hook));
    let known = |table: &TableId| *table != TableId::Security && is(table.hooks());
    let table = TableId::ALL
        .into_iter()
        .find(known)
        .or(is(&OLD_NAT).then_some(TableId::Nat))?;
    possible.contains(&table).then_some(table)
}

/// The tables that the chains, as listed, can be of.
fn evidence(chains: &[Listed<'_>]) -> Tables {
    let hooks = tables_with(&hooks(chains));
    match hooks & by_names(chains, "") {
        // kubelet's chain of this name is in filter, kube-proxy's of IPVS mode in nat.
        0 => hooks & by_names(chains, "KUBE-FIREWALL"),
        tables => tables,
    }
}

/// By the names of chains and targets, but for one.
fn by_names(chains: &[Listed<'_>], but: &str) -> Tables {
    let mut tables = Tables::MAX;
    for listed in chains {
        let name = listed.heading.name;
        if name != but {
            tables &= chain_tables(name);
        }
        for (_, row) in listed.rows.iter().filter(|(_, row)| row.target != but) {
            tables &= target_tables(row.target) & jump_tables(name, row.target);
        }
    }
    tables
}

fn by_comments(chains: &[Listed<'_>]) -> Tables {
    let mut tables = Tables::MAX;
    for (_, row) in chains.iter().flat_map(|listed| &listed.rows) {
        let known = COMMENTS
            .iter()
            .find(|(comment, _)| row.text.contains(comment));
        tables &= known.map_or(Tables::MAX, |(_, table)| bit(*table));
    }
    tables
}
