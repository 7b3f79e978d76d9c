//! Commands that change rules: `-A`, `-I`, `-D`, `-P`, … with their arguments.

use super::super::targets::TargetSlot;
use super::super::words::{Cursor, Word};
use super::super::{Line, ReadError, WarningKind, names};
use super::{Place, TextReader, chain_name, resolve, set_policy};
use crate::ids::ChainId;
use crate::matches::Match;
use crate::ruleset::{Counters, TableId};
use crate::value::Family;

/// Most work that the commands of an input may take together, in rules passed over by `-I` and `-D`: a bound on time.
const MAX_WORK: u64 = 1 << 27;

/// What a rule costs that a list of addresses adds beside the line's own: a bound on memory, about a million of them.
const ADDED_RULE: u64 = 1 << 7;

impl<'t> TextReader<'_, 't> {
    /// Runs the command whose words are at hand.
    pub(super) fn run(
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
        let same = self.last.is_some_and(|(family, table, name, _)| {
            name == raw && family == place.family && table == place.table
        });
        let name = if same { raw } else { chain_name(cursor, word)? };
        Ok(self.chain(name, place))
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
        let passed = if at.is_some() {
            builder.rule_count(chain) as u64
        } else {
            0
        };
        let added = self.draft.expansions() - 1;
        spend(
            &mut self.work,
            passed * (added + 1) + added * ADDED_RULE,
            &cursor,
        )?;
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
        spend(&mut self.work, builder.rule_count(chain) as u64, &cursor)?;
        if let Some(at) = number {
            builder.remove(chain, at);
            return Ok(());
        }
        let rule = self
            .draft
            .read(cursor, &mut builder.strings, place.family)?;
        let target = resolve(rule.target, &cursor, builder, place.table)?;
        let added = self.draft.expansions() - 1;
        spend(
            &mut self.work,
            builder.rule_count(chain) as u64 * added,
            &cursor,
        )?;
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
        spend(
            &mut self.work,
            one.map_or(builder.chain_count() as u64, |_| 1),
            &cursor,
        )?;
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
        if TargetSlot::new(name, word, place.family).is_extension() {
            return Err(cursor.fail(word, format!("`{name}` is the name of a target")));
        }
        self.last = None;
        if self.builders.of(place.family).rename(chain, name) {
            return Ok(());
        }
        Err(cursor.fail(word, format!("a chain `{name}` is there already")))
    }
}

/// Counts what a command costs.
fn spend(work: &mut u64, cost: u64, cursor: &Cursor<'_, '_>) -> Result<(), ReadError> {
    *work = work.saturating_add(cost);
    if *work > MAX_WORK {
        let message =
            "the commands up to here take too long: too many lists, or -I and -D in long chains";
        return Err(ReadError::line(cursor.line(), message));
    }
    Ok(())
}

/// `-t TABLE`, wherever it stands; but a device may be called so, too.
fn table_option(cursor: &Cursor<'_, '_>) -> Result<Option<TableId>, ReadError> {
    const DEVICES: [&str; 4] = ["-i", "-o", "--in-interface", "--out-interface"];
    let mut cursor = *cursor;
    while let Some(word) = cursor.next() {
        if DEVICES.contains(&cursor.raw(word)) {
            cursor.next();
        } else if matches!(cursor.raw(word), "-t" | "--table") {
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
