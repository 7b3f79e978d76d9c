//! Reads rule text: `iptables-save` output, restore input, `iptables -S` output, and commands that change rules.

use super::rule::{Draft, ReadTarget};
use super::sections::{Known, Section, TextLine, sections};
use super::shape::Shape;
use super::words::{Cursor, Word, split};
use super::{Builders, Input, Line, ReadError, WarningKind, names};
use crate::ids::ChainId;
use crate::matches::{Match, MatchKind, Undecided};
use crate::ruleset::{Counters, Hook, Policy, RulesetBuilder, TableId};
use crate::target::Target;
use crate::value::Family;

/// Longest name of a chain, in bytes (`XT_EXTENSION_MAXNAMELEN` less its terminator).
pub(crate) const MAX_CHAIN_NAME: usize = 28;

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
        moved: 0,
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
    /// Rules passed over by `-I` and `-D`.
    moved: u64,
    /// The word at which another rule begins on the line at hand.
    rest: Option<usize>,
}

/// Most rules that all `-I` and `-D` of an input may pass over together: a bound on time.
const MAX_MOVED: u64 = 4 << 30;

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
        for TextLine { line, shape, .. } in lines {
            match (shape, section.table) {
                (Shape::Table, Some(table)) => self.begin_table(line, section.family, table),
                (Shape::Chain, Some(table)) => {
                    self.chain(
                        line,
                        Place {
                            family: section.family,
                            table,
                        },
                    )?;
                }
                (Shape::Bare, Some(table)) => {
                    self.bare(
                        line,
                        Place {
                            family: section.family,
                            table,
                        },
                    )?;
                }
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
        }
        Ok(())
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
    fn chain(&mut self, line: &Line<'t>, place: Place) -> Result<(), ReadError> {
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

    /// Runs the command whose words are at hand.
    fn run(
        &mut self,
        line: &Line<'t>,
        mut place: Place,
        counters: Option<Counters>,
    ) -> Result<(), ReadError> {
        let words = std::mem::take(&mut self.words);
        let mut cursor = Cursor::new(*line, &words);
        if let Some(table) = table_option(&cursor)? {
            place.table = table;
        }
        let mut result = loop {
            let Some(word) = cursor.next() else {
                break Ok(());
            };
            match cursor.raw(word) {
                "-t" | "--table" | "-w" | "--wait" | "-W" => {
                    let argument = cursor.peek().map(|word| cursor.raw(word));
                    if argument.is_some_and(|text| !text.starts_with('-')) {
                        cursor.next();
                    }
                }
                "-4" | "--ipv4" => place.family = Family::V4,
                "-6" | "--ipv6" => place.family = Family::V6,
                "-n" | "-v" | "-x" | "--numeric" | "--verbose" => {}
                _ => break self.verb(word, cursor, place, counters),
            }
        };
        // Lines that ran together.
        while let (Ok(()), Some(at)) = (&result, self.rest.take()) {
            let mut cursor = Cursor::new(*line, &words);
            cursor.skip(at);
            if let Some(word) = cursor.next() {
                result = self.verb(word, cursor, place, None);
            }
        }
        self.words = words;
        result
    }

    fn verb(
        &mut self,
        verb: Word,
        mut cursor: Cursor<'_, 't>,
        place: Place,
        counters: Option<Counters>,
    ) -> Result<(), ReadError> {
        let name = cursor.raw(verb);
        match name {
            "-A" | "--append" => {
                let chain = self.chain_of(verb, &mut cursor, place)?;
                self.push(cursor, place, chain, None, counters)
            }
            "-I" | "--insert" => {
                let chain = self.chain_of(verb, &mut cursor, place)?;
                let at = rule_number(&mut cursor)?.unwrap_or(0);
                self.push(cursor, place, chain, Some(at), counters)
            }
            "-R" | "--replace" => {
                let chain = self.chain_of(verb, &mut cursor, place)?;
                let Some(at) = rule_number(&mut cursor)? else {
                    return Err(cursor.ends(verb, "the number of a rule after the chain"));
                };
                if !self.builders.of(place.family).remove(chain, at) {
                    return Err(cursor.fail(verb, format!("the chain has no rule {}", at + 1)));
                }
                self.push(cursor, place, chain, Some(at), counters)
            }
            "-D" | "--delete" => self.delete(verb, cursor, place),
            "-P" | "--policy" => self.policy(verb, cursor, place),
            "-N" | "--new" | "--new-chain" => {
                let chain = self.chain_of(verb, &mut cursor, place)?;
                let builder = self.builders.of(place.family);
                builder.flush(chain);
                builder.declare(chain);
                Ok(())
            }
            "-F" | "--flush" | "-X" | "--delete-chain" => self.clear(verb, cursor, place),
            "-E" | "--rename-chain" => self.rename(verb, cursor, place),
            // They change nothing.
            "-C" | "--check" | "-Z" | "--zero" | "-L" | "--list" | "-S" | "--list-rules" => Ok(()),
            _ => Err(cursor.fail(verb, format!("`{name}` is not a command such as -A or -N"))),
        }
    }

    /// The chain that a command's next word names.
    fn chain_of(
        &mut self,
        verb: Word,
        cursor: &mut Cursor<'_, 't>,
        place: Place,
    ) -> Result<ChainId, ReadError> {
        let Some(word) = cursor.next() else {
            return Err(cursor.ends(verb, "the name of a chain"));
        };
        let raw = cursor.raw(word);
        match self.last {
            Some((family, table, name, chain))
                if name == raw && family == place.family && table == place.table =>
            {
                Ok(chain)
            }
            _ => {
                let name = chain_name(cursor, word)?;
                let chain = self.builders.of(place.family).chain(place.table, name);
                self.last = Some((place.family, place.table, raw, chain));
                Ok(chain)
            }
        }
    }

    /// Appends a rule, or inserts it before the `at`-th.
    fn push(
        &mut self,
        cursor: Cursor<'_, 't>,
        place: Place,
        chain: ChainId,
        at: Option<usize>,
        counters: Option<Counters>,
    ) -> Result<(), ReadError> {
        let source = self.builders.source(cursor.line());
        let builder = self.builders.of(place.family);
        let rule = self
            .draft
            .read(cursor, &mut builder.strings, place.family)?;
        let target = resolve(rule.target, &cursor, builder, place.table)?;
        self.rest = rule.rest;
        let counters = rule.counters.or(counters);
        let mut at = at;
        if at.is_some() {
            pass(&mut self.moved, builder.rule_count(chain), &cursor)?;
        }
        self.draft.expand(|matches| match &mut at {
            None => builder.push(chain, matches, target.clone(), source, counters),
            Some(at) => {
                builder.insert(chain, *at, matches, target.clone(), source, counters);
                *at += 1;
            }
        });
        if let Some(remark) = rule.remark {
            self.builders
                .warn(WarningKind::Repaired, cursor.line(), remark);
        }
        Ok(())
    }

    /// `-D CHAIN NUMBER` or `-D CHAIN RULE`; a rule that is not there is no error, as scripts delete before they add.
    fn delete(
        &mut self,
        verb: Word,
        mut cursor: Cursor<'_, 't>,
        place: Place,
    ) -> Result<(), ReadError> {
        let chain = self.chain_of(verb, &mut cursor, place)?;
        let number = rule_number(&mut cursor)?;
        let builder = self.builders.of(place.family);
        pass(&mut self.moved, builder.rule_count(chain), &cursor)?;
        if let Some(at) = number {
            builder.remove(chain, at);
            return Ok(());
        }
        let rule = self
            .draft
            .read(cursor, &mut builder.strings, place.family)?;
        let target = resolve(rule.target, &cursor, builder, place.table)?;
        self.draft.expand(|matches| {
            let matches: Vec<Match> = matches.collect();
            let wanted = (&matches[..], &target);
            let found =
                (0..builder.rule_count(chain)).find(|at| builder.rule(chain, *at) == Some(wanted));
            if let Some(at) = found {
                builder.remove(chain, at);
            }
        });
        Ok(())
    }

    /// `-P CHAIN POLICY`, with `-c` of `-S -v`.
    fn policy(
        &mut self,
        verb: Word,
        mut cursor: Cursor<'_, 't>,
        place: Place,
    ) -> Result<(), ReadError> {
        let chain = self.chain_of(verb, &mut cursor, place)?;
        let Some(policy) = cursor.next() else {
            return Err(cursor.ends(verb, "a policy after the chain"));
        };
        let builder = self.builders.of(place.family);
        set_policy(builder, chain, &cursor, policy)?;
        builder.declare(chain);
        if cursor.next_is("-c") {
            cursor.next();
            let mut number = || {
                cursor
                    .next()
                    .and_then(|word| names::number(cursor.raw(word)))
            };
            if let (Some(packets), Some(bytes)) = (number(), number()) {
                builder.set_counters(chain, Counters { packets, bytes });
            }
        }
        Ok(())
    }

    /// `-F [CHAIN]`, `-X [CHAIN]`.
    fn clear(
        &mut self,
        verb: Word,
        mut cursor: Cursor<'_, 't>,
        place: Place,
    ) -> Result<(), ReadError> {
        let delete = matches!(cursor.raw(verb), "-X" | "--delete-chain");
        let one = match cursor.peek() {
            Some(_) => Some(self.chain_of(verb, &mut cursor, place)?),
            None => None,
        };
        let builder = self.builders.of(place.family);
        let chains = one.map_or_else(|| builder.declared_chains(place.table), |chain| vec![chain]);
        for chain in chains {
            match delete {
                true if builder.is_builtin(chain) => {}
                true => builder.delete(chain),
                false => builder.flush(chain),
            }
        }
        self.last = None;
        Ok(())
    }

    /// `-E OLD NEW`.
    fn rename(
        &mut self,
        verb: Word,
        mut cursor: Cursor<'_, 't>,
        place: Place,
    ) -> Result<(), ReadError> {
        let chain = self.chain_of(verb, &mut cursor, place)?;
        let Some(word) = cursor.next() else {
            return Err(cursor.ends(verb, "a new name after the old"));
        };
        let name = chain_name(&cursor, word)?;
        self.last = None;
        if self.builders.of(place.family).rename(chain, name) {
            return Ok(());
        }
        Err(cursor.fail(word, format!("a chain `{name}` is there already")))
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
        let (module, options) = (builder.strings.intern(module), builder.strings.intern(text));
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

/// Counts the rules that an insertion or deletion passes over.
fn pass(moved: &mut u64, rules: usize, cursor: &Cursor<'_, '_>) -> Result<(), ReadError> {
    *moved += rules as u64;
    if *moved > MAX_MOVED {
        let message = "too many rules are inserted into or deleted from long chains";
        return Err(ReadError::line(cursor.line(), message));
    }
    Ok(())
}

/// `-t TABLE`, wherever it stands.
fn table_option(cursor: &Cursor<'_, '_>) -> Result<Option<TableId>, ReadError> {
    let mut cursor = *cursor;
    while let Some(word) = cursor.next() {
        if matches!(cursor.raw(word), "-t" | "--table") {
            let Some(name) = cursor.next() else {
                return Err(cursor.ends(word, "the name of a table"));
            };
            let table = TableId::from_name(cursor.raw(name));
            let unknown = || {
                cursor.fail(
                    name,
                    format!("`{}` is not a table of iptables", cursor.raw(name)),
                )
            };
            return table.map(Some).ok_or_else(unknown);
        }
    }
    Ok(None)
}

/// The number of a rule, from 0, if one stands next.
fn rule_number(cursor: &mut Cursor<'_, '_>) -> Result<Option<usize>, ReadError> {
    let Some(word) = cursor.peek() else {
        return Ok(None);
    };
    let raw = cursor.raw(word);
    if !raw.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    cursor.next();
    match raw.parse::<u32>() {
        Ok(number @ 1..) => Ok(Some(number as usize - 1)),
        _ => Err(cursor.fail(
            word,
            format!("`{raw}` is not the number of a rule: they count from 1"),
        )),
    }
}

/// The name of a chain.
fn chain_name<'t>(cursor: &Cursor<'_, 't>, word: Word) -> Result<&'t str, ReadError> {
    let name = cursor.raw(word);
    let reason = match name.as_bytes() {
        [] => "the name of a chain is empty".to_owned(),
        [b'-' | b'!', ..] => format!("`{name}` is not the name of a chain"),
        bytes if bytes.len() > MAX_CHAIN_NAME => {
            format!(
                "a chain's name has at most {MAX_CHAIN_NAME} bytes, this one {}",
                bytes.len()
            )
        }
        _ => return Ok(name),
    };
    Err(cursor.fail(word, reason))
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
