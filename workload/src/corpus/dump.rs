//! A case's dump, made whole.

use kpclass_ruleset::Ruleset;
use kpclass_ruleset::TableId;
use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::value::Family;

/// The text with every built-in chain of its tables, counters and `COMMIT`, as `iptables-restore` takes it. A text that holds a `COMMIT` is
/// taken as it is.
pub(super) fn whole(text: &str) -> Result<String, String> {
    if text.lines().any(|line| line.trim() == "COMMIT") {
        return Ok(text.to_owned());
    }
    let mut whole = String::new();
    let mut table = None;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.strip_prefix('*') {
            Some(name) => {
                commit(table, &mut whole);
                table = Some(TableId::from_name(name).ok_or(format!("no table is named {name}"))?);
                whole += &format!("*{name}\n{}", missing_chains(text, table));
            }
            None if table.is_none() => return Err(format!("no table before `{line}`")),
            None if line.starts_with(':') && !line.ends_with(']') => {
                whole += &format!("{line} [0:0]\n");
            }
            None => whole += &format!("{line}\n"),
        }
    }
    commit(table, &mut whole);
    Ok(whole)
}

fn commit(table: Option<TableId>, whole: &mut String) {
    if table.is_some() {
        whole.push_str("COMMIT\n");
    }
}

/// Lines for the built-in chains that the section of `table` does not declare.
fn missing_chains(text: &str, table: Option<TableId>) -> String {
    let Some(table) = table else {
        return String::new();
    };
    let lines = || text.lines().map(str::trim);
    let start = format!("*{}", table.name());
    let section = || {
        lines()
            .skip_while(|line| *line != start)
            .skip(1)
            .take_while(|line| !line.starts_with('*'))
    };
    let declared = |chain: &str| section().any(|line| line.starts_with(&format!(":{chain} ")));
    let hooks = table.hooks().iter().map(|hook| hook.chain());
    hooks
        .filter(|chain| !declared(chain))
        .map(|chain| format!(":{chain} ACCEPT [0:0]\n"))
        .collect()
}

/// The rules of a whole text.
pub(super) fn rules(text: &str, family: Family, name: &str) -> Result<Ruleset, String> {
    let input = Input {
        family: Some(family),
        ..Input::new(name, text)
    };
    let rules = read(&[input]).map_err(|error| error.report())?;
    let rules = match family {
        Family::V4 => rules.v4,
        Family::V6 => rules.v6,
    };
    rules.ok_or_else(|| "holds no rules".to_owned())
}
