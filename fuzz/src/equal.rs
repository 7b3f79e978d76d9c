//! Whether two rulesets say the same. Ids of strings and chains, files and lines may differ; the counters of rules are not saved. Written apart from
//! `save`, which it judges.

use kpclass_ruleset::matches::{Match, MatchKind};
use kpclass_ruleset::target::Target;
use kpclass_ruleset::{Chain, ChainId, Rule, Ruleset, StrId, TableId};

/// The first difference of two rulesets, in words.
pub fn difference(a: &Ruleset, b: &Ruleset) -> Option<String> {
    if a.family() != b.family() {
        return Some(format!("{:?} against {:?}", a.family(), b.family()));
    }
    let tables = |r: &Ruleset| TableId::ALL.map(|table| r.has_table(table));
    if tables(a) != tables(b) {
        return Some(format!("tables {:?} against {:?}", tables(a), tables(b)));
    }
    let (ours, theirs) = (declared(a), declared(b));
    let names = |r: &Ruleset, chains: &[ChainId]| -> Vec<String> {
        chains.iter().map(|id| head(r, r.chain(*id))).collect()
    };
    let (our_names, their_names) = (names(a, &ours), names(b, &theirs));
    if our_names != their_names {
        return Some(format!("chains {our_names:#?} against {their_names:#?}"));
    }
    let mut pairs = ours.iter().zip(&theirs);
    pairs.find_map(|(x, y)| chain_difference((a, *x), (b, *y)))
}

/// The chains that a dump holds, in order. Those that are only jumped to stand where they were met first, which the order of the rules decides.
fn declared(ruleset: &Ruleset) -> Vec<ChainId> {
    let chains = ruleset.chains().filter(|(_, chain)| chain.declared);
    chains.map(|(id, _)| id).collect()
}

fn head(r: &Ruleset, chain: &Chain) -> String {
    format!(
        "{:?} {} {:?} {:?} {:?}",
        chain.table,
        r.text(chain.name),
        chain.hook,
        chain.policy,
        chain.counters.unwrap_or_default()
    )
}

fn chain_difference(a: (&Ruleset, ChainId), b: (&Ruleset, ChainId)) -> Option<String> {
    let rules = |(r, chain): (&Ruleset, ChainId)| -> Vec<String> {
        r.chain_rules(chain)
            .map(|(_, rule)| spell(r, rule))
            .collect()
    };
    let (x, y) = (rules(a), rules(b));
    let name = a.0.chain_name(a.1);
    if x.len() != y.len() {
        return Some(format!("{name} has {} rules, then {}", x.len(), y.len()));
    }
    let (at, (x, y)) = x.iter().zip(&y).enumerate().find(|(_, (x, y))| x != y)?;
    Some(format!("{name} rule {}:\n {x}\n {y}", at + 1))
}

/// The rule's own form with each id replaced by what it stands for.
fn spell(r: &Ruleset, rule: &Rule) -> String {
    let mut spelt = String::new();
    for condition in r.matches(rule) {
        let mut blank = condition.clone();
        let strings: Vec<&str> = take_strings(&mut blank)
            .iter()
            .map(|id| r.text(*id))
            .collect();
        spelt += &format!("{blank:?} {strings:?}; ");
    }
    let mut target = rule.target.clone();
    let names: Vec<String> = take_names(r, &mut target);
    spelt + &format!("{target:?} {names:?}")
}

/// Blanks the ids of strings, and says what they were.
fn take_strings(condition: &mut Match) -> Vec<StrId> {
    let mut ids = Vec::new();
    let mut take = |id: &mut StrId| ids.push(std::mem::replace(id, StrId(0)));
    match &mut condition.kind {
        MatchKind::Comment(id) | MatchKind::Nfacct(id) => take(id),
        MatchKind::Conntrack(conntrack) => conntrack.rest.iter_mut().for_each(take),
        MatchKind::Recent(recent) => take(&mut recent.name),
        MatchKind::Set(set) => {
            take(&mut set.name);
            set.rest.iter_mut().for_each(take);
        }
        MatchKind::Undecided(kept) => {
            take(&mut kept.module);
            take(&mut kept.options);
        }
        _ => {}
    }
    ids
}

fn take_names(r: &Ruleset, target: &mut Target) -> Vec<String> {
    match target {
        Target::Jump(id) | Target::Goto(id) => {
            let chain = r.chain(std::mem::replace(id, ChainId(0)));
            vec![
                format!("{:?} {}", chain.table, r.text(chain.name)),
                chain.declared.to_string(),
            ]
        }
        Target::Transparent(kept)
        | Target::Rewrite(kept)
        | Target::SetChange(kept)
        | Target::Undecided(kept) => {
            let ids = [&mut kept.name, &mut kept.options];
            ids.map(|id| r.text(std::mem::replace(id, StrId(0))).to_owned())
                .to_vec()
        }
        _ => Vec::new(),
    }
}
