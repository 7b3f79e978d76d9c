//! Rules and chains read ahead, by all cores: `-A CHAIN …` lines become rules that lack only the ids of their chains and strings, and of `:CHAIN -`
//! lines the name is left. Whatever else a line may be, an error above all, is left to [`super::TextReader`], which goes through the lines in order.

use super::super::Line;
use super::super::rule::{Draft, ReadTarget};
use super::super::sections::TextLine;
use super::super::shape::Shape;
use super::super::words::{Cursor, Word, split};
use super::{counters, not_a_chain};
use crate::ids::{StrId, Strings};
use crate::matches::{Match, MatchKind};
use crate::ruleset::{Counters, Hook, RulesetBuilder, TableId};
use crate::target::Target;
use crate::value::Family;
use ahash::AHashMap;

/// Lines that are read at a time.
pub(super) const LINES: usize = 2048;

/// What was read of some lines. Chains are positions in `names`.
#[derive(Debug, Default)]
pub(super) struct Ahead<'t> {
    /// One for each line.
    pub(super) lines: Vec<Option<Ready>>,
    /// The names of chains, in the order in which lines name them first.
    pub(super) names: Vec<&'t str>,
    /// The rules' matches, one rule's behind the other's.
    matches: Vec<Match>,
    /// What the ids in matches and targets stand for.
    strings: Strings,
}

/// What a line says.
#[derive(Debug)]
pub(super) enum Ready {
    /// There is a chain, not a built-in one, and it is empty.
    Chain(u32),
    /// A rule.
    Rule(ReadyRule),
}

/// A rule but for its chains.
#[derive(Debug)]
pub(super) struct ReadyRule {
    pub(super) chain: u32,
    /// How many it has.
    pub(super) matches: u32,
    pub(super) target: ReadyTarget,
    pub(super) counters: Option<Counters>,
}

/// What it names.
#[derive(Debug)]
pub(super) enum ReadyTarget {
    Target(Target),
    Jump(u32),
    Goto(u32),
}

/// What reading ahead needs again and again.
#[derive(Debug, Default)]
pub(super) struct Scratch<'t> {
    words: Vec<Word>,
    draft: Draft<'t>,
    /// The positions of names.
    names: AHashMap<&'t str, u32>,
    /// The one named last: most lines of a chain stand side by side.
    last: Option<(&'t str, u32)>,
}

/// Reads lines of one table and family.
pub(super) fn read<'t>(
    scratch: &mut Scratch<'t>,
    lines: &[TextLine<'t>],
    (family, table): (Family, TableId),
    ahead: &mut Ahead<'t>,
) {
    scratch.names.clear();
    scratch.last = None;
    ahead.clear();
    for line in lines {
        let ready = match line.shape {
            Shape::Bare => rule(scratch, &line.line, ahead, family, table).map(Ready::Rule),
            Shape::Chain => chain(scratch, &line.line, ahead, table).map(Ready::Chain),
            _ => None,
        };
        ahead.lines.push(ready);
    }
}

fn rule<'t>(
    scratch: &mut Scratch<'t>,
    line: &Line<'t>,
    ahead: &mut Ahead<'t>,
    family: Family,
    table: TableId,
) -> Option<ReadyRule> {
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
    if matches!(read.target, ReadTarget::Chain(to, ..) if is_built_in(to, table)) {
        return None;
    }
    let before = ahead.matches.len();
    scratch.draft.give(&mut ahead.matches);
    // A line that is left to others names nothing.
    let chain = scratch.position(chain, ahead);
    let target = match read.target {
        ReadTarget::Target(target) => ReadyTarget::Target(target),
        ReadTarget::Chain(to, _, true) => ReadyTarget::Goto(scratch.position(to, ahead)),
        ReadTarget::Chain(to, _, false) => ReadyTarget::Jump(scratch.position(to, ahead)),
    };
    Some(ReadyRule {
        chain,
        matches: (ahead.matches.len() - before) as u32,
        target,
        counters: read.counters.or(counted),
    })
}

/// `:CHAIN - [0:0]`.
fn chain<'t>(
    scratch: &mut Scratch<'t>,
    line: &Line<'t>,
    ahead: &mut Ahead<'t>,
    table: TableId,
) -> Option<u32> {
    if !line.text.starts_with(':') {
        return None;
    }
    split(line, 1, &mut scratch.words).ok()?;
    let mut cursor = Cursor::new(*line, &scratch.words);
    let (chain, policy) = (cursor.next()?, cursor.next()?);
    if let Some(word) = cursor.next() {
        counters(cursor.raw(word))?;
    }
    let chain = name(&cursor, chain)?;
    let is_plain = cursor.raw(policy) == "-" && !is_built_in(chain, table);
    is_plain.then(|| scratch.position(chain, ahead))
}

fn is_built_in(name: &str, table: TableId) -> bool {
    Hook::from_chain(name).is_some_and(|hook| table.hooks().contains(&hook))
}

impl<'t> Scratch<'t> {
    /// The position of a chain's name, which is added if new.
    fn position(&mut self, name: &'t str, ahead: &mut Ahead<'t>) -> u32 {
        if let Some((last, at)) = self.last
            && last == name
        {
            return at;
        }
        let at = *self.names.entry(name).or_insert_with(|| {
            ahead.names.push(name);
            ahead.names.len() as u32 - 1
        });
        self.last = Some((name, at));
        at
    }
}

/// The name of a chain, as it stands.
fn name<'t>(cursor: &Cursor<'_, 't>, word: Word) -> Option<&'t str> {
    let name = cursor.raw(word);
    (!word.quoted && not_a_chain(name).is_none()).then_some(name)
}

impl Ahead<'_> {
    /// Forgets what was read, but keeps the room.
    fn clear(&mut self) {
        self.lines.clear();
        self.names.clear();
        self.matches.clear();
        self.strings.clear();
    }

    /// Gives a builder the matches, whose ids, and those of the targets, become its own; the position of the first.
    pub(super) fn give_matches(&mut self, builder: &mut RulesetBuilder) -> u32 {
        if self.strings.len() > 0 {
            let to = &mut builder.strings;
            let ids = (0..self.strings.len() as u32).map(|id| to.intern(&self.strings[StrId(id)]));
            let ids: Vec<StrId> = ids.collect();
            self.matches
                .iter_mut()
                .for_each(|condition| rename_match(condition, &ids));
            for ready in self.lines.iter_mut().flatten() {
                if let Ready::Rule(rule) = ready
                    && let ReadyTarget::Target(target) = &mut rule.target
                {
                    rename_target(target, &ids);
                }
            }
        }
        builder.add_matches(&mut self.matches)
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
