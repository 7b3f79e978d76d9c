//! `--rules`: which text to read, and what is known of it before it is read.

use crate::trouble::Trouble;
use kpclass_ruleset::TableId;
use kpclass_ruleset::value::Family;
use std::path::PathBuf;

/// One `--rules`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RulesChoice {
    /// `ip4:` or `ip6:`, where it was said.
    pub family: Option<Family>,
    /// `nat:` and the like, where it was said.
    pub table: Option<TableId>,
    /// Where the text comes from.
    pub from: From,
}

/// Where a dump's text comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// A file.
    File(PathBuf),
    /// `-`.
    Stdin,
    /// `live`: `iptables-save` and `ip6tables-save` are run.
    Live,
}

impl RulesChoice {
    /// `[ip4:|ip6:][TABLE:]FILE`, prefixes in any order. A file whose name begins like a prefix is reached as
    /// `./nat:x`.
    pub(crate) fn parse(text: &str) -> Result<Self, Trouble> {
        let (mut family, mut table, mut rest) = (None, None, text);
        while let Some((prefix, after)) = rest.split_once(':') {
            match (prefix, TableId::from_name(prefix)) {
                ("ip4", _) if family.is_none() => family = Some(Family::V4),
                ("ip6", _) if family.is_none() => family = Some(Family::V6),
                (_, Some(name)) if table.is_none() => table = Some(name),
                ("ip4" | "ip6", _) | (_, Some(_)) => {
                    let needed = "at most one family and one table before the file";
                    return Err(Trouble::option("--rules", text, needed));
                }
                _ => break,
            }
            rest = after;
        }
        let from = match rest {
            "" => return Err(Trouble::option("--rules", text, "a file, - or live")),
            "-" => From::Stdin,
            "live" => From::Live,
            file => From::File(PathBuf::from(file)),
        };
        Ok(Self {
            family,
            table,
            from,
        })
    }

    /// Every `--rules`; standard input can be read only once.
    pub(crate) fn parse_all(texts: &[String]) -> Result<Vec<Self>, Trouble> {
        let choices = texts
            .iter()
            .map(|t| Self::parse(t))
            .collect::<Result<Vec<_>, _>>()?;
        if choices.iter().filter(|c| c.from == From::Stdin).count() > 1 {
            return Err(Trouble::new(
                "--rules -: given twice; standard input is read only once",
            ));
        }
        Ok(choices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> From {
        From::File(PathBuf::from(name))
    }

    #[test]
    fn prefixes_say_family_and_table() {
        let parse = |text| {
            let c = RulesChoice::parse(text).unwrap();
            (c.family, c.table, c.from)
        };
        assert_eq!(parse("a.rules"), (None, None, file("a.rules")));
        assert_eq!(parse("nat:a"), (None, Some(TableId::Nat), file("a")));
        assert_eq!(
            parse("ip6:filter:-"),
            (Some(Family::V6), Some(TableId::Filter), From::Stdin)
        );
        assert_eq!(
            parse("raw:ip4:live"),
            (Some(Family::V4), Some(TableId::Raw), From::Live)
        );
        assert_eq!(parse("./nat:a"), (None, None, file("./nat:a")));
        assert_eq!(parse("c:nat:a"), (None, None, file("c:nat:a")));
    }

    #[test]
    fn nothing_to_read_or_two_families_are_refused() {
        for bad in ["", "nat:", "ip4:ip6:a", "nat:filter:a", "ip4:ip4:-"] {
            assert!(RulesChoice::parse(bad).is_err(), "{bad}");
        }
        let twice = ["-".to_owned(), "nat:-".to_owned()];
        assert!(RulesChoice::parse_all(&twice).is_err());
    }
}
