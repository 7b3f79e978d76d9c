//! Reads rule text: `iptables-save` output, restore input, `iptables -S` output, and commands that change rules.

mod ahead;
mod commands;

use super::rule::{Draft, ReadTarget};
use super::sections::{Known, Section, TextLine, sections};
use super::shape::{Shape, after_counters};
use super::words::{Cursor, Word, split};
use super::{Builders, Input, Line, ReadError, WarningKind};
use crate::ids::ChainId;
use crate::matches::{Match, MatchKind, Undecided};
use crate::ordered;
use crate::ruleset::{Counters, Hook, Policy, RulesetBuilder, Source, TableId};
use crate::target::Target;
use crate::value::Family;
use ahash::AHashMap;
use ahead::{Ahead, LINES, Ready, ReadyTarget, Scratch};

/// Longest name of a chain, in bytes (`XT_EXTENSION_MAXNAMELEN` less its terminator).
const MAX_CHAIN_NAME: usize = 28;

/// Reads lines of rule text.
///
/// # Errors
/// Malformed lines, and a table that cannot be told.
pub(crate) fn read(
    lines: &[TextLine<'_>],
    input: &Input,
    builders: &mut Builders,
) -> Result<(), ReadError> {
    let mut reader = TextReader {
        builders,
        words: Vec::new(),
        draft: Draft::default(),
        last: None,
        work: 0,
        rest: None,
    };
    for section in sections(lines, input)? {
        reader.section(&lines[section.start..section.end], &section, input)?;
    }
    Ok(())
}

struct TextReader<'b, 't> {
    builders: &'b mut Builders,
    words: Vec<Word>,
    draft: Draft<'t>,
    /// The chain of the last rule: most rules stand beside another of their chain.
    last: Option<(Family, TableId, &'t str, ChainId)>,
    /// What the commands so far took.
    work: u64,
    /// The word at which another rule begins on the line at hand.
    rest: Option<usize>,
}

/// Where a line's rule goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) family: Family,
    pub(crate) table: TableId,
}

impl<'t> TextReader<'_, 't> {
    fn section(
        &mut self,
        lines: &[TextLine<'t>],
        section: &Section,
        input: &Input,
    ) -> Result<(), ReadError> {
        self.introduce(lines, section);
        if let (Some(table), Known::Said) = (section.table, section.known) {
            return self.ahead(lines, section, table, input);
        }
        let mut seen = AHashMap::new();
        for text in lines {
            let repeats = text.shape == Shape::Bare && self.repeats(&text.line, &mut seen);
            if !repeats {
                self.line(text, section, input)?;
            }
        }
        Ok(())
    }

    /// The lines of a section, whose rules and chains are read ahead.
    fn ahead(
        &mut self,
        lines: &[TextLine<'t>],
        section: &Section,
        table: TableId,
        input: &Input,
    ) -> Result<(), ReadError> {
        let family = section.family;
        let some = |at: usize| &lines[at * LINES..lines.len().min((at + 1) * LINES)];
        self.builders.of(family).reserve(table, lines.len());
        let (mut at, mut result) = (0, Ok(()));
        ordered::each_again(
            lines.len().div_ceil(LINES),
            Scratch::default,
            |scratch, at, ahead| ahead::read(scratch, some(at), (family, table), ahead),
            |ahead| {
                if result.is_ok() {
                    result = self.take_ahead(ahead, some(at), (section, table), input);
                }
                at += 1;
            },
        );
        result
    }

    fn take_ahead(
        &mut self,
        ahead: &mut Ahead<'t>,
        lines: &[TextLine<'t>],
        (section, table): (&Section, TableId),
        input: &Input,
    ) -> Result<(), ReadError> {
        let place = Place {
            family: section.family,
            table,
        };
        let file = self.builders.file();
        let builder = self.builders.of(place.family);
        let mut first_match = ahead.give_matches(builder);
        let mut chains = vec![None; ahead.names.len()];
        if ahead.lines.iter().all(Option::is_some) {
            // All at once: what one look-up waits for in memory, the others wait for at the same time.
            let named = ahead.names.iter().zip(&mut chains);
            named.for_each(|(name, chain)| *chain = Some(builder.chain(table, name)));
        }
        for (text, ready) in lines.iter().zip(ahead.lines.drain(..)) {
            let Some(ready) = ready else {
                self.line(text, section, input)?;
                // It may have given chains other names.
                chains.fill(None);
                continue;
            };
            let builder = self.builders.of(place.family);
            let mut chain = |name: u32| {
                *chains[name as usize]
                    .get_or_insert_with(|| builder.chain(table, ahead.names[name as usize]))
            };
            match ready {
                Ready::Chain(name) => {
                    let chain = chain(name);
                    builder.flush(chain);
                    builder.declare(chain);
                }
                Ready::Rule(rule) => {
                    let source = Source {
                        file,
                        line: text.line.number,
                    };
                    let of = chain(rule.chain);
                    let target = match rule.target {
                        ReadyTarget::Target(target) => target,
                        ReadyTarget::Jump(to) => Target::Jump(chain(to)),
                        ReadyTarget::Goto(to) => Target::Goto(chain(to)),
                    };
                    let matches = first_match..first_match + rule.matches;
                    first_match = matches.end;
                    builder.push_with(of, matches, target, source, rule.counters);
                }
            }
        }
        Ok(())
    }

    fn line(
        &mut self,
        text: &TextLine<'t>,
        section: &Section,
        input: &Input,
    ) -> Result<(), ReadError> {
        let TextLine { line, shape, .. } = text;
        let place = |table| Place {
            family: section.family,
            table,
        };
        match (shape, section.table) {
            (Shape::Table, Some(table)) => self.begin_table(line, section.family, table),
            (Shape::Chain, Some(table)) => self.chain_line(line, place(table))?,
            (Shape::Bare, Some(table)) => self.bare(line, place(table))?,
            (Shape::Command(from, v6), _) => {
                let family = if *v6 { Family::V6 } else { Family::V4 };
                let place = Place {
                    family,
                    table: input.table.unwrap_or(TableId::Filter),
                };
                // iptables refuses a malformed command, and the rules stay as they were.
                if let Err(error) = self.command(line, *from as usize, place) {
                    let message =
                        format!("passed over, as iptables refuses it: {}", error.message());
                    self.builders.warn(WarningKind::SkippedLine, line, message);
                }
            }
            (Shape::Comment, _) => self.comment(line),
            _ => {}
        }
        Ok(())
    }

    /// A chain by the name that a rule gives it.
    fn chain(&mut self, name: &'t str, place: Place) -> ChainId {
        match self.last {
            Some((family, table, last, chain))
                if last == name && family == place.family && table == place.table =>
            {
                chain
            }
            _ => {
                let chain = self.builders.of(place.family).chain(place.table, name);
                self.last = Some((place.family, place.table, name, chain));
                chain
            }
        }
    }

    /// Whether a rule of an excerpt was met before: two greps found it. Twice in a chain it might count twice.
    fn repeats(&mut self, line: &Line<'t>, seen: &mut AHashMap<&'t str, u32>) -> bool {
        let rule = line.text.trim();
        let rule = after_counters(rule).unwrap_or(rule);
        let first = *seen.entry(rule).or_insert(line.number);
        let repeats = first != line.number && rule.starts_with("-A");
        if repeats {
            let message =
                format!("passed over: the same rule stands on line {first} of this excerpt");
            self.builders
                .warn(WarningKind::DuplicateRule, line, message);
        }
        repeats
    }

    /// Says so where a section's table was not said.
    fn introduce(&mut self, lines: &[TextLine<'t>], section: &Section) {
        let Some(table) = section.table else { return };
        let rule = lines
            .iter()
            .find(|text| matches!(text.shape, Shape::Bare | Shape::Chain));
        let Some(rule) = rule else { return };
        let name = table.name();
        let message = match section.known {
            Known::Said => return,
            Known::Inferred => format!(
                "no line names the table from here on: by its chains and targets it is {name}"
            ),
            Known::Likely => format!(
                "no line names the table from here on: taken to be {name} (`--rules TABLE:FILE` says it)"
            ),
        };
        self.builders
            .warn(WarningKind::TableInferred, &rule.line, message);
    }

    fn comment(&mut self, line: &Line<'t>) {
        let other = [
            "iptables-legacy tables present",
            "iptables-nft tables present",
        ];
        if let Some(found) = other.iter().find(|text| line.text.contains(**text)) {
            let program = found.split(' ').next().unwrap_or("");
            let message = format!(
                "more rules are in the other backend: this dump lacks what `{program}-save` prints"
            );
            self.builders.warn(WarningKind::OtherBackend, line, message);
        }
    }

    fn begin_table(&mut self, line: &Line<'t>, family: Family, table: TableId) {
        let builder = self.builders.of(family);
        let twice = builder.has_table(table);
        builder.add_table(table);
        if twice {
            let message = format!(
                "table {} is given again: a chain that is declared again replaces the earlier one",
                table.name()
            );
            self.builders.warn(WarningKind::TableTwice, line, message);
        }
    }

    /// `:CHAIN POLICY [PACKETS:BYTES]`.
    fn chain_line(&mut self, line: &Line<'t>, place: Place) -> Result<(), ReadError> {
        let colon = line.text.find(':').unwrap_or(0);
        split(line, colon + 1, &mut self.words)?;
        let mut cursor = Cursor::new(*line, &self.words);
        let (Some(name), Some(policy)) = (cursor.next(), cursor.next()) else {
            return Err(ReadError::line(
                line,
                "a chain needs a name and a policy or `-`",
            ));
        };
        let text = chain_name(&cursor, name)?;
        let builder = self.builders.of(place.family);
        let chain = builder.chain(place.table, text);
        builder.flush(chain);
        builder.declare(chain);
        if cursor.raw(policy) != "-" {
            set_policy(builder, chain, &cursor, policy)?;
        }
        if let Some(word) = cursor.next() {
            let counters = counters(cursor.raw(word))
                .ok_or_else(|| cursor.fail(word, "counters are written [PACKETS:BYTES]"))?;
            if builder.is_builtin(chain) {
                builder.set_counters(chain, counters);
            }
        }
        Ok(())
    }

    /// `-A …`, perhaps after `[PACKETS:BYTES]`.
    fn bare(&mut self, line: &Line<'t>, place: Place) -> Result<(), ReadError> {
        let start = line.text.len() - line.text.trim_start().len();
        let (mut from, mut counted) = (start, None);
        if line.text.as_bytes().get(start) == Some(&b'[') {
            let close = line.text.find(']').unwrap_or(start);
            counted = counters(line.text.get(start..=close).unwrap_or(""));
            from = close + 1;
        }
        split(line, from, &mut self.words)?;
        self.run(line, place, counted)
    }

    /// `iptables …`; a shell's words behind it are not its own.
    fn command(&mut self, line: &Line<'t>, from: usize, place: Place) -> Result<(), ReadError> {
        split(line, from, &mut self.words)?;
        let cursor = Cursor::new(*line, &self.words);
        let shell = |word: &&Word| {
            let raw = cursor.raw(**word);
            matches!(raw, "|" | "||" | "&&" | ";" | "&")
                || (raw.starts_with(['>', '<']) || raw.starts_with("2>"))
        };
        let end = self
            .words
            .iter()
            .position(|word| shell(&word))
            .unwrap_or(self.words.len());
        self.words.truncate(end);
        self.run(line, place, None)
    }
}

/// A rule in the words of `-A CHAIN`, as a listing's reader spells it.
#[derive(Debug)]
pub(crate) struct Spelt<'l> {
    pub(crate) chain: &'l str,
    /// What follows the chain.
    pub(crate) options: Line<'l>,
    /// Conditions that no option says: module and text of each.
    pub(crate) undecided: Vec<(&'l str, &'l str)>,
    pub(crate) counters: Option<Counters>,
}

/// Appends a rule to a chain.
///
/// # Errors
/// Malformed options.
pub(crate) fn append(
    builders: &mut Builders,
    place: Place,
    rule: Spelt<'_>,
) -> Result<(), ReadError> {
    let Spelt {
        chain,
        options,
        undecided,
        counters,
    } = rule;
    let source = builders.source(&options);
    let builder = builders.of(place.family);
    let chain = builder.chain(place.table, chain);
    let mut words = Vec::new();
    split(&options, 0, &mut words)?;
    let cursor = Cursor::new(options, &words);
    let mut draft = Draft::default();
    let read = draft.read(cursor, &mut builder.strings, place.family)?;
    let target = resolve(read.target, &cursor, builder, place.table)?;
    let mut keep = |(module, text): &(&str, &str)| {
        let text = crate::save::listed(text);
        let (module, options) = (
            builder.strings.intern(module),
            builder.strings.intern(&text),
        );
        Match {
            inverted: false,
            kind: MatchKind::Undecided(Undecided { module, options }),
        }
    };
    let undecided: Vec<Match> = undecided.iter().map(&mut keep).collect();
    draft.expand(|matches| {
        let matches = matches.chain(undecided.iter().cloned());
        builder.push(chain, matches, target.clone(), source, counters);
    });
    if let Some(remark) = read.remark {
        builders.warn(WarningKind::Repaired, &options, remark);
    }
    Ok(())
}

/// The name of a chain; quotes around the whole of it are the shell's.
fn chain_name<'t>(cursor: &Cursor<'_, 't>, word: Word) -> Result<&'t str, ReadError> {
    let raw = cursor.raw(word);
    let unquoted = ['"', '\''].iter().find_map(|quote| {
        raw.strip_prefix(*quote)?
            .strip_suffix(*quote)
            .filter(|_| word.quoted)
    });
    let name = unquoted.unwrap_or(raw);
    match not_a_chain(name) {
        None => Ok(name),
        Some(reason) => Err(cursor.fail(word, reason)),
    }
}

/// Why no chain can have this name: iptables refuses it, or cannot read back what it prints.
pub(crate) fn not_a_chain(name: &str) -> Option<String> {
    if name.len() <= MAX_CHAIN_NAME
        && name.as_bytes().first().is_some_and(|first| *first != b'-')
        && is_plain(name.as_bytes())
    {
        return None;
    }
    let unreadable = name.starts_with(['-', '!', '#', '\''])
        || name.ends_with('\\')
        || name.contains(|c: char| c == '"' || c.is_whitespace());
    match name.len() {
        0 => Some("the name of a chain is empty".to_owned()),
        _ if unreadable => Some(format!("`{name}` is not the name of a chain")),
        len if len > MAX_CHAIN_NAME => Some(format!(
            "a chain's name has at most {MAX_CHAIN_NAME} bytes, this one {len}"
        )),
        _ => None,
    }
}

/// Whether a name is made of what nearly all are: at most [`MAX_CHAIN_NAME`] letters, digits, `-` and `_`, all looked at together.
fn is_plain(name: &[u8]) -> bool {
    let mut bytes = [b'-'; 32];
    let Some(front) = bytes.get_mut(..name.len()) else {
        return false;
    };
    front.copy_from_slice(name);
    let is_not = |byte: u8| !(byte.is_ascii_alphanumeric() | (byte == b'-') | (byte == b'_'));
    bytes
        .iter()
        .fold(0, |odd, byte| odd | u8::from(is_not(*byte)))
        == 0
}

fn set_policy(
    builder: &mut RulesetBuilder,
    chain: ChainId,
    cursor: &Cursor<'_, '_>,
    word: Word,
) -> Result<(), ReadError> {
    let policy = match cursor.raw(word) {
        "ACCEPT" => Policy::Accept,
        "DROP" => Policy::Drop,
        other => {
            return Err(cursor.fail(word, format!("`{other}` is not a policy: ACCEPT or DROP")));
        }
    };
    if !builder.is_builtin(chain) {
        return Err(cursor.fail(word, "only a built-in chain has a policy; another has `-`"));
    }
    builder.set_policy(chain, policy);
    Ok(())
}

/// `[PACKETS:BYTES]`.
fn counters(text: &str) -> Option<Counters> {
    let (packets, bytes) = text.strip_prefix('[')?.strip_suffix(']')?.split_once(':')?;
    Some(Counters {
        packets: packets.parse().ok()?,
        bytes: bytes.parse().ok()?,
    })
}

/// Looks up the chain of a jump.
fn resolve(
    target: ReadTarget<'_>,
    cursor: &Cursor<'_, '_>,
    builder: &mut RulesetBuilder,
    table: TableId,
) -> Result<Target, ReadError> {
    let (name, word, goto) = match target {
        ReadTarget::Target(target) => return Ok(target),
        ReadTarget::Chain(name, word, goto) => (name, word, goto),
    };
    chain_name(cursor, word)?;
    if Hook::from_chain(name).is_some_and(|hook| table.hooks().contains(&hook)) {
        let message = format!("a jump to the built-in chain `{name}`: only hooks call it");
        return Err(cursor.fail(word, message));
    }
    let chain = builder.chain(table, name);
    Ok(if goto {
        Target::Goto(chain)
    } else {
        Target::Jump(chain)
    })
}
