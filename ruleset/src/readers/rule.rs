//! What stands behind `-A CHAIN`: the conditions and the target of one rule.

use super::modules::{Slot, protocol_module};
use super::options::Options;
use super::spelling;
use super::targets::{Finished, TargetSlot, UNREADABLE};
use super::values::{self, Reason};
use super::words::{Cursor, Word, is_option};
use super::{ReadError, names, text};
use crate::ids::Strings;
use crate::matches::{Match, MatchKind};
use crate::ruleset::Counters;
use crate::target::Target;
use crate::value::{Family, InterfacePattern, Prefix};

/// The rule being read. One is used for many rules, so that reading a rule allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Draft<'t> {
    sources: Addresses,
    destinations: Addresses,
    /// `-i`, `-o`, `-p`, `-f`, in this order.
    header: [Option<Match>; 4],
    slots: Vec<Slot<'t>>,
    target: Option<TargetSlot<'t>>,
    goto: bool,
    counters: Option<Counters>,
    matches: Vec<Match>,
    /// What was taken in a way that the text does not say.
    remark: Option<String>,
}

/// Most modules of a rule: a bound on time, far above what anybody writes.
const MAX_MODULES: usize = 100;

/// `-s` or `-d`: one rule for each address of the list.
#[derive(Debug, Default)]
struct Addresses {
    list: Vec<Prefix>,
    inverted: bool,
}

/// A rule that was read, but for its chains.
#[derive(Debug)]
pub(crate) struct ReadRule<'t> {
    /// What `-j` or `-g` names.
    pub(crate) target: ReadTarget<'t>,
    /// `-c` of `-S -v`.
    pub(crate) counters: Option<Counters>,
    /// What was taken in a way that the text does not say.
    pub(crate) remark: Option<String>,
    /// The words from a second `-A` on: lines that ran together.
    pub(crate) rest: Option<usize>,
}

/// A target whose chain is not looked up yet.
#[derive(Debug)]
pub(crate) enum ReadTarget<'t> {
    /// No chain.
    Target(Target),
    /// The chain of that name, at a word; by `-g`?
    Chain(&'t str, Word, bool),
}

impl<'t> Draft<'t> {
    /// Reads the rest of a line. Afterwards [`matches`](Self::expand) has the matches.
    pub(crate) fn read(
        &mut self,
        cursor: Cursor<'_, 't>,
        strings: &mut Strings,
        family: Family,
    ) -> Result<ReadRule<'t>, ReadError> {
        self.clear();
        let option = Word {
            start: 0,
            end: 0,
            quoted: false,
        };
        let mut options = Options {
            cursor,
            strings,
            family,
            option,
            repaired: None,
            inverted: false,
        };
        let mut rest = None;
        while let Some(word) = options.cursor.next() {
            let text = options.cursor.raw(word);
            let continued = text == "\\" && options.cursor.peek().is_none();
            if continued || matches!(text, "-A" | "--append") {
                rest = (!continued).then(|| options.cursor.passed() - 1);
                self.cut_off(word, family);
                break;
            }
            if text == "!" && !options.inverted {
                options.inverted = true;
                options.option = word;
                continue;
            }
            options.option = word;
            self.option(text, &mut options)?;
            if options.inverted {
                return Err(options.fail(format!("`!` cannot stand before `{text}`")));
            }
        }
        if options.inverted {
            return Err(options.fail("`!` needs a condition after it"));
        }
        self.finish(options, rest)
    }

    fn clear(&mut self) {
        self.sources.list.clear();
        self.sources.inverted = false;
        self.destinations.list.clear();
        self.destinations.inverted = false;
        self.header = Default::default();
        self.slots.clear();
        self.target = None;
        self.goto = false;
        self.counters = None;
        self.matches.clear();
        self.remark = None;
    }

    fn option(&mut self, name: &'t str, options: &mut Options<'_, 't>) -> Result<(), ReadError> {
        match name {
            "-s" | "--source" | "--src" => self.sources.read(options),
            "-d" | "--destination" | "--dst" => self.destinations.read(options),
            "-p" | "--protocol" | "--proto" => self.protocol(options),
            "-i" | "--in-interface" => self.interface(0, MatchKind::InInterface, options),
            "-o" | "--out-interface" => self.interface(1, MatchKind::OutInterface, options),
            "-f" | "--fragment" | "--fragments" => {
                let inverted = options.inversion();
                self.header[3] = Some(Match {
                    inverted,
                    kind: MatchKind::Fragment,
                });
                Ok(())
            }
            "-m" | "--match" => self.module(options),
            "-j" | "--jump" => self.jump(options, false),
            "-g" | "--goto" => self.jump(options, true),
            "-c" | "--set-counters" => self.counters(options),
            // How the command is run, not what the rule is.
            "-4" | "-6" | "--ipv4" | "--ipv6" | "-v" | "--verbose" | "-n" | "--numeric" | "-x"
            | "--exact" | "--line-numbers" => Ok(()),
            "-w" | "--wait" | "-W" | "--wait-interval" => {
                let seconds = options.cursor.peek().map(|word| options.cursor.raw(word));
                if seconds.is_some_and(|text| text.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
                {
                    options.cursor.next();
                }
                Ok(())
            }
            "-t" | "--table" | "--modprobe" => options.text("an argument").map(|_| ()),
            _ => self.other(name, options),
        }
    }

    fn interface(
        &mut self,
        slot: usize,
        kind: fn(InterfacePattern) -> MatchKind,
        options: &mut Options<'_, 't>,
    ) -> Result<(), ReadError> {
        let pattern = options.value("the name of a device", interface)?;
        let inverted = options.inversion();
        // `+` is every device, and iptables forgets it.
        let says = inverted || !(pattern.prefix && pattern.name.name().is_empty());
        self.header[slot] = says.then(|| Match {
            inverted,
            kind: kind(pattern),
        });
        Ok(())
    }

    fn protocol(&mut self, options: &mut Options<'_, 't>) -> Result<(), ReadError> {
        let read = |text: &str| {
            names::protocol_number(text).ok_or_else(|| format!("`{text}` is not a protocol"))
        };
        let number = options.value("a protocol", read)?;
        let inverted = options.inversion();
        if number == 0 && inverted {
            return Err(options.fail("`!` before every protocol leaves none"));
        }
        let kind = MatchKind::Protocol(number);
        self.header[2] = (number != 0).then_some(Match { inverted, kind });
        Ok(())
    }

    fn module(&mut self, options: &mut Options<'_, 't>) -> Result<(), ReadError> {
        let word = options.cursor.value(
            options.option,
            &mut options.inverted,
            "the name of a module",
        )?;
        let name = options.cursor.raw(word);
        if word.quoted || text::not_a_chain(name).is_some() {
            return Err(options.cursor.fail(word, "`-m` needs the name of a module"));
        }
        if self.slots.len() == MAX_MODULES {
            let message = format!("a rule has at most {MAX_MODULES} modules");
            return Err(options.cursor.fail(word, message));
        }
        self.slots.push(Slot::new(name, word, options));
        Ok(())
    }

    fn jump(&mut self, options: &mut Options<'_, 't>, goto: bool) -> Result<(), ReadError> {
        const NEEDS: &str = "the name of a target or chain";
        let Some(word) = options.cursor.next() else {
            let what = if goto { "a goto" } else { "a jump" };
            let error = options
                .fail(format!("{what} needs {NEEDS}"))
                .label("ends here");
            return Err(error.note("was the line cut off?"));
        };
        let name = options.cursor.raw(word);
        if name.starts_with(['-', '!']) || word.quoted {
            return Err(options
                .cursor
                .fail(word, format!("`{name}` is not {NEEDS}")));
        }
        if let Some(earlier) = &self.target {
            let message = format!("a second target: the rule has `{}` already", earlier.name);
            return Err(options.cursor.fail(word, message));
        }
        let slot = TargetSlot::new(name, word, options.family);
        if let Some(reason) = text::not_a_chain(name) {
            return Err(options.cursor.fail(word, reason));
        }
        if goto && slot.is_extension() {
            return Err(options
                .cursor
                .fail(word, format!("`-g` needs a chain; `{name}` is a target")));
        }
        self.target = Some(slot);
        self.goto = goto;
        Ok(())
    }

    /// `-c PACKETS BYTES`.
    fn counters(&mut self, options: &mut Options<'_, 't>) -> Result<(), ReadError> {
        let number = |text: &str| values::number(text, u64::MAX);
        let first = options.text("two numbers: packets and bytes")?;
        let (packets, bytes) = match first.split_once(',') {
            Some((packets, bytes)) => (number(packets), number(bytes)),
            None => (
                number(&first),
                Ok(options.value("a number of bytes after the packets", number)?),
            ),
        };
        match (packets, bytes) {
            (Ok(packets), Ok(bytes)) => self.counters = Some(Counters { packets, bytes }),
            (Err(reason), _) | (_, Err(reason)) => return Err(options.fail(reason)),
        }
        Ok(())
    }

    /// Another rule begins in the middle of the line, or the line should go on. If this one has no target yet, nobody knows what
    /// it does.
    fn cut_off(&mut self, word: Word, family: Family) {
        self.remark = Some(
            "another rule begins before this one is complete: what its end says is not known"
                .into(),
        );
        self.slots.retain(Slot::is_complete);
        if self.target.is_none() {
            self.target = Some(TargetSlot::new(UNREADABLE, word, family));
        }
    }

    /// An option of the target or of a module.
    fn other(&mut self, name: &'t str, options: &mut Options<'_, 't>) -> Result<(), ReadError> {
        if name.starts_with("--") && name.len() > 2 && self.take(name, options)? {
            return Ok(());
        }
        if let Some(full) = spelling::repair(name, &options.cursor) {
            let before = options.cursor;
            options.cursor.skip(full.words);
            options.repaired = Some(full.name);
            let of_rule = matches!(
                full.name,
                "--jump"
                    | "--goto"
                    | "--match"
                    | "--source"
                    | "--destination"
                    | "--protocol"
                    | "--in-interface"
                    | "--out-interface"
            );
            let taken = match of_rule {
                true => self.option(full.name, options).map(|()| true),
                false => self.take(full.name, options),
            };
            options.repaired = None;
            if taken? {
                if full.garbled {
                    self.remark = Some(format!("`{name}` is taken as `{}`", full.name));
                }
                return Ok(());
            }
            options.cursor = before;
        }
        if !is_option(name) || name.len() <= 2 || options.option.quoted {
            return self.unexpected(name, options);
        }
        self.unknown(name, options)
    }

    /// Gives the option to the target or module that has it, the latest first, as iptables looks; false if none has.
    fn take(&mut self, name: &str, options: &mut Options<'_, 't>) -> Result<bool, ReadError> {
        if let Some(target) = &mut self.target
            && target.take(name, options)?
        {
            return Ok(true);
        }
        // Behind a target that is not known either, an option is the target's.
        let behind = self.target.as_ref().filter(|target| !target.is_extension());
        let behind = behind.map_or(0, |target| target.word.start);
        for slot in self.slots.iter_mut().rev() {
            if !(slot.takes_all() && slot.word.start < behind) && slot.take(name, options)? {
                return Ok(true);
            }
        }
        self.implied(name, options)
    }

    /// An option that nobody knows: the target or module before it may be newer than this program.
    fn unknown(&mut self, name: &'t str, options: &mut Options<'_, 't>) -> Result<(), ReadError> {
        let error = options.fail(format!(
            "no module or target of this rule has the option `{name}`"
        ));
        if let Some(near) = spelling::nearest(name) {
            return Err(error.note(format!("`{near}` is an option of iptables")));
        }
        let adopted = match (&mut self.target, self.slots.last_mut()) {
            (Some(target), _) => target.adopt(options),
            (None, Some(slot)) => slot.adopt(options),
            (None, None) => false,
        };
        if !adopted {
            return Err(error);
        }
        self.remark = Some(format!(
            "the option `{name}` is not known: what has it is undecided"
        ));
        Ok(())
    }

    /// A word that is no option. Behind a target it may be somebody's remark.
    fn unexpected(&mut self, name: &str, options: &mut Options<'_, 't>) -> Result<(), ReadError> {
        let remark =
            name.starts_with(|c: char| !c.is_ascii_alphanumeric() && !"-!\"'._".contains(c));
        if remark && self.target.is_some() && !options.inverted {
            self.remark = Some(format!(
                "`{name}` and what follows is passed over: it is no part of a rule"
            ));
            while options.cursor.next().is_some() {}
            return Ok(());
        }
        if name.starts_with('-') {
            return Err(options.fail(format!("`{name}` is not an option of a rule")));
        }
        Err(options.fail(format!("`{name}` stands where an option is needed")))
    }

    /// `-p tcp --dport 80` brings `-m tcp` along.
    fn implied(&mut self, name: &str, options: &mut Options<'_, 't>) -> Result<bool, ReadError> {
        let number = match &self.header[2] {
            Some(Match {
                inverted: false,
                kind: MatchKind::Protocol(number),
            }) => *number,
            _ => return Ok(false),
        };
        let Some(module) = protocol_module(number) else {
            return Ok(false);
        };
        if self.slots.iter().any(|slot| slot.is_for(number)) {
            return Ok(false);
        }
        let mut slot = Slot::new(module, options.option, options);
        let taken = slot.take(name, options)?;
        if taken {
            self.slots.push(slot);
        }
        Ok(taken)
    }

    fn finish(
        &mut self,
        mut options: Options<'_, 't>,
        rest: Option<usize>,
    ) -> Result<ReadRule<'t>, ReadError> {
        for slot in self.slots.drain(..) {
            self.matches.push(slot.finish(&mut options)?);
        }
        let target = match self.target.take() {
            None => ReadTarget::Target(Target::None),
            Some(slot) => {
                let (name, word) = (slot.name, slot.word);
                match slot.finish(&mut options)? {
                    Finished::Target(target) => ReadTarget::Target(target),
                    Finished::Chain => ReadTarget::Chain(name, word, self.goto),
                }
            }
        };
        Ok(ReadRule {
            target,
            counters: self.counters,
            remark: self.remark.take(),
            rest,
        })
    }

    /// How many rules [`expand`](Self::expand) gives.
    pub(crate) fn expansions(&self) -> u64 {
        let [sources, destinations] =
            [&self.sources, &self.destinations].map(|a| a.list.len().max(1) as u64);
        sources * destinations
    }

    /// Moves the matches of a rule that is one to the others.
    pub(crate) fn give(&mut self, matches: &mut Vec<Match>) {
        matches.extend(self.sources.choice(0, MatchKind::Source));
        matches.extend(self.destinations.choice(0, MatchKind::Destination));
        matches.extend(self.header.iter_mut().filter_map(Option::take));
        matches.append(&mut self.matches);
    }

    /// The matches of the rule, once for each pair of a source and a destination of its lists.
    pub(crate) fn expand(&mut self, mut each: impl FnMut(&mut dyn Iterator<Item = Match>)) {
        let Self {
            sources,
            destinations,
            header,
            matches,
            ..
        } = self;
        let front = |source, destination| {
            [
                sources.choice(source, MatchKind::Source),
                destinations.choice(destination, MatchKind::Destination),
            ]
        };
        if sources.list.len() <= 1 && destinations.list.len() <= 1 {
            let header = header.iter_mut().filter_map(Option::take);
            each(
                &mut front(0, 0)
                    .into_iter()
                    .flatten()
                    .chain(header)
                    .chain(matches.drain(..)),
            );
            return;
        }
        for source in 0..sources.list.len().max(1) {
            for destination in 0..destinations.list.len().max(1) {
                let header = header.iter().flatten().cloned();
                let front = front(source, destination).into_iter().flatten();
                each(&mut front.chain(header).chain(matches.iter().cloned()));
            }
        }
    }
}

impl Addresses {
    fn read(&mut self, options: &mut Options<'_, '_>) -> Result<(), ReadError> {
        if !self.list.is_empty() {
            return Err(options.fail("this option is given twice"));
        }
        let (family, list) = (options.family, &mut self.list);
        options.value("an address", |text| {
            for part in text.split(',') {
                list.push(values::prefix(part, family)?);
            }
            Ok(())
        })?;
        self.inverted = options.inversion();
        if self.inverted && self.list.len() > 1 {
            return Err(options.fail("`!` cannot stand before a list of addresses"));
        }
        Ok(())
    }

    /// The `at`-th address as a match; none if there is no address or it is every address.
    fn choice(&self, at: usize, kind: fn(Prefix) -> MatchKind) -> Option<Match> {
        let prefix = self.list.get(at)?;
        let inverted = self.inverted;
        (inverted || !prefix.is_any()).then(|| Match {
            inverted,
            kind: kind(*prefix),
        })
    }
}

fn interface(text: &str) -> Result<InterfacePattern, Reason> {
    let most = "a device's name has at most 15 bytes";
    match InterfacePattern::new(text) {
        Some(_) if text.is_empty() => Err("the name of a device is empty".into()),
        Some(pattern) => Ok(pattern),
        None => Err(format!("`{text}` is too long: {most}")),
    }
}
