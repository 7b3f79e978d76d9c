//! Rules read ahead, by all cores: `-A CHAIN …` lines become rules that lack only the ids of their chains and strings. Whatever else a
//! line may be, an error above all, is left to [`super::TextReader`], which goes through the lines in order.

use super::super::Line;
use super::super::rule::{Draft, ReadTarget};
use super::super::sections::TextLine;
use super::super::shape::Shape;
use super::super::words::{Cursor, Word, split};
use super::{counters, not_a_chain};
use crate::ids::{StrId, Strings};
use crate::matches::{Match, MatchKind};
use crate::ruleset::{Counters, Hook, TableId};
use crate::target::Target;
use crate::value::Family;

/// Lines that are read at a time.
pub(super) const LINES: usize = 2048;

/// The rules of some lines.
#[derive(Debug, Default)]
pub(super) struct Ahead<'t> {
    /// One for each line.
    pub(super) rules: Vec<Option<Ready<'t>>>,
    /// Their matches, one rule's behind the other's.
    pub(super) matches: Vec<Match>,
    /// What the ids in matches and targets stand for.
    pub(super) strings: Strings,
}

/// A rule but for its chains.
#[derive(Debug)]
pub(super) struct Ready<'t> {
    pub(super) chain: &'t str,
    pub(super) matches: u32,
    pub(super) target: ReadyTarget<'t>,
    pub(super) counters: Option<Counters>,
}

/// What it names.
#[derive(Debug)]
pub(super) enum ReadyTarget<'t> {
    Target(Target),
    Jump(&'t str),
    Goto(&'t str),
}

/// What reading ahead needs again and again.
#[derive(Debug, Default)]
pub(super) struct Scratch<'t> {
    words: Vec<Word>,
    draft: Draft<'t>,
}

/// Reads lines of one table and family.
pub(super) fn read<'t>(
    scratch: &mut Scratch<'t>,
    lines: &[TextLine<'t>],
    family: Family,
    table: TableId,
) -> Ahead<'t> {
    let mut ahead = Ahead {
        rules: Vec::with_capacity(lines.len()),
        ..Ahead::default()
    };
    for line in lines {
        let rule = match line.shape {
            Shape::Bare => rule(scratch, &line.line, &mut ahead, family, table),
            _ => None,
        };
        ahead.rules.push(rule);
    }
    ahead
}

fn rule<'t>(
    scratch: &mut Scratch<'t>,
    line: &Line<'t>,
    ahead: &mut Ahead<'t>,
    family: Family,
    table: TableId,
) -> Option<Ready<'t>> {
    let (from, counted) = if line.text.starts_with('[') {
        let close = line.text.find(']')?;
        (close + 1, Some(counters(&line.text[..=close])?))
    } else {
        (0, None)
    };
    split(line, from, &mut scratch.words).ok()?;
    let mut cursor = Cursor::new(*line, &scratch.words);
    let (verb, chain) = (cursor.next()?, cursor.next()?);
    let has_table = || cursor.ahead().any(|word| matches!(word, "-t" | "--table"));
    if cursor.raw(verb) != "-A" || has_table() {
        return None;
    }
    let chain = name(&cursor, chain)?;
    let read = scratch
        .draft
        .read(cursor, &mut ahead.strings, family)
        .ok()?;
    if read.rest.is_some() || read.remark.is_some() || scratch.draft.expansions() != 1 {
        return None;
    }
    let target = match read.target {
        ReadTarget::Target(target) => ReadyTarget::Target(target),
        ReadTarget::Chain(to, _, goto) => {
            if Hook::from_chain(to).is_some_and(|hook| table.hooks().contains(&hook)) {
                return None;
            }
            if goto {
                ReadyTarget::Goto(to)
            } else {
                ReadyTarget::Jump(to)
            }
        }
    };
    let before = ahead.matches.len();
    scratch
        .draft
        .expand(|matches| ahead.matches.extend(matches));
    Some(Ready {
        chain,
        matches: (ahead.matches.len() - before) as u32,
        target,
        counters: read.counters.or(counted),
    })
}

/// The name of a chain, as it stands.
fn name<'t>(cursor: &Cursor<'_, 't>, word: Word) -> Option<&'t str> {
    let name = cursor.raw(word);
    (!word.quoted && not_a_chain(name).is_none()).then_some(name)
}

impl Ahead<'_> {
    /// The matches, once their ids, and those of the targets, are those of the strings that `to` gives.
    pub(super) fn rename<'s>(
        &mut self,
        to: impl FnOnce() -> &'s mut Strings,
    ) -> std::vec::IntoIter<Match> {
        if self.strings.len() > 0 {
            let to = to();
            let ids = (0..self.strings.len() as u32).map(|id| to.intern(&self.strings[StrId(id)]));
            let ids: Vec<StrId> = ids.collect();
            self.matches
                .iter_mut()
                .for_each(|condition| rename_match(condition, &ids));
            for rule in self.rules.iter_mut().flatten() {
                if let ReadyTarget::Target(target) = &mut rule.target {
                    rename_target(target, &ids);
                }
            }
        }
        std::mem::take(&mut self.matches).into_iter()
    }
}

fn rename(id: &mut StrId, ids: &[StrId]) {
    *id = ids[id.index()];
}

fn rename_match(condition: &mut Match, ids: &[StrId]) {
    match &mut condition.kind {
        MatchKind::Comment(id) | MatchKind::Nfacct(id) => rename(id, ids),
        MatchKind::Recent(recent) => rename(&mut recent.name, ids),
        MatchKind::Conntrack(conntrack) => {
            conntrack.rest.iter_mut().for_each(|rest| rename(rest, ids));
        }
        MatchKind::Set(set) => {
            rename(&mut set.name, ids);
            set.rest.iter_mut().for_each(|rest| rename(rest, ids));
        }
        MatchKind::Undecided(undecided) => {
            rename(&mut undecided.module, ids);
            rename(&mut undecided.options, ids);
        }
        _ => {}
    }
}

fn rename_target(target: &mut Target, ids: &[StrId]) {
    match target {
        Target::Transparent(kept)
        | Target::Rewrite(kept)
        | Target::SetChange(kept)
        | Target::Undecided(kept) => {
            rename(&mut kept.name, ids);
            rename(&mut kept.options, ids);
        }
        _ => {}
    }
}
