//! `recent`: what a walk put into the lists (WALK.md 6). Entries are by address, and an address can be the packet's own, not known while
//! compiling; where two entries could be one, the packet is asked first.

use super::Machine;
use super::ask::{Answer, UNKNOWN_LOCAL, destination_of, mapped_source, source_of};
use super::state::{NONE, State};
use crate::graph::{Graph, MaskedAddress, RecentAsk};
use crate::program::test::{AddressOf, Test};
use kpclass_ruleset::StrId;
use kpclass_ruleset::matches::RecentOperation;

/// What a walk remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Memory {
    /// Entries with their counts, no two of them one.
    entries: Vec<(Key, u32)>,
    /// What the packet was asked to tell entries apart.
    told: Vec<(Test, bool)>,
    /// Lists of which it is not known what they hold.
    unknown: Vec<StrId>,
}

/// What identifies an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    list: StrId,
    address: KeyAddress,
}

/// A masked address: the packet's own under a mask, or a known one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum KeyAddress {
    Source(u128),
    Destination(u128),
    Known(u128),
    /// The source as the NETMAP of a rule rewrites it.
    Mapped(u32, u128),
}

/// Whether two entries are one.
enum Same {
    Known(bool),
    Asked(Test),
}

impl Key {
    /// `None`: an address of this node, not known which.
    fn new(ask: RecentAsk, state: &State) -> Option<Self> {
        let of = match ask.by_destination {
            true => destination_of(state),
            false => source_of(state),
        };
        let address = match of? {
            AddressOf::Source => KeyAddress::Source(ask.mask),
            AddressOf::Destination => KeyAddress::Destination(ask.mask),
            AddressOf::Known(a) => KeyAddress::Known(a & ask.mask),
            AddressOf::Mapped(rule) => KeyAddress::Mapped(rule, ask.mask),
        };
        let list = ask.list;
        Some(Self { list, address })
    }

    fn same(self, graph: &Graph, other: Self) -> Same {
        if self.list != other.list {
            return Same::Known(false);
        }
        use KeyAddress::{Destination, Known, Mapped, Source};
        let is = |value: u128, mask: u128| MaskedAddress {
            address: value,
            mask,
        };
        match (self.address, other.address) {
            (a, b) if a == b => Same::Known(true),
            (Known(_), Known(_)) => Same::Known(false),
            (Known(a), Source(mask) | Destination(mask))
            | (Source(mask) | Destination(mask), Known(a))
                if a & !mask != 0 =>
            {
                Same::Known(false)
            }
            (Known(a), Source(mask)) | (Source(mask), Known(a)) => {
                Same::Asked(Test::Source(is(a, mask)))
            }
            (Known(a), Destination(mask)) | (Destination(mask), Known(a)) => {
                Same::Asked(Test::Destination(is(a, mask)))
            }
            (Known(a), Mapped(_, mask)) | (Mapped(_, mask), Known(a)) if a & !mask != 0 => {
                Same::Known(false)
            }
            (Known(a), Mapped(rule, mask)) | (Mapped(rule, mask), Known(a)) => {
                mapped(graph, rule, is(a, mask))
            }
            (Mapped(rule, a), Mapped(_, b)) => mapped(graph, rule, is(0, a ^ b)),
            (Mapped(rule, m), Source(n)) | (Source(n), Mapped(rule, m)) => {
                Same::Asked(Test::MappedIs(rule, true, m, n))
            }
            (Mapped(rule, m), Destination(n)) | (Destination(n), Mapped(rule, m)) => {
                Same::Asked(Test::MappedIs(rule, false, m, n))
            }
            // Equal under both masks: nothing where they differ.
            (Source(a), Source(b)) => Same::Asked(Test::Source(is(0, a ^ b))),
            (Destination(a), Destination(b)) => Same::Asked(Test::Destination(is(0, a ^ b))),
            (Source(source), Destination(destination))
            | (Destination(destination), Source(source)) => {
                Same::Asked(Test::SidesMeet(source, destination))
            }
        }
    }
}

/// Whether a source behind a NETMAP is inside.
fn mapped(graph: &Graph, rule: u32, inside: MaskedAddress) -> Same {
    match mapped_source(graph, rule, inside) {
        Answer::Known(same) => Same::Known(same),
        Answer::Test(test) => Same::Asked(test),
        _ => Same::Known(false),
    }
}

impl Memory {
    /// The entry of `key`, or what the packet must be asked to find it.
    fn find(&self, graph: &Graph, key: Key) -> Result<Option<usize>, Test> {
        for (at, (entry, _)) in self.entries.iter().enumerate() {
            let same = match entry.same(graph, key) {
                Same::Known(same) => same,
                Same::Asked(test) => match self.told.iter().find(|(told, _)| *told == test) {
                    Some((_, answer)) => *answer,
                    None => return Err(test),
                },
            };
            if same {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    fn with(&self, test: Test, answer: bool) -> Self {
        let mut told = self.clone();
        told.told.push((test, answer));
        told
    }
}

impl Machine<'_> {
    /// Asks and changes a list. Only what this walk itself put into it is there.
    pub(super) fn recent(&mut self, state: &mut State, ask: RecentAsk, inverted: bool) -> Answer {
        self.met_recent = true;
        let mut memory = match state.recent {
            NONE => Memory::default(),
            id => self.memories.list[id as usize].clone(),
        };
        let Some(key) = Key::new(ask, state) else {
            return self.recent_by_unknown(state, memory, ask);
        };
        if ask.operation != RecentOperation::Set && memory.unknown.contains(&ask.list) {
            return UNKNOWN_LOCAL;
        }
        let at = match memory.find(self.graph, key) {
            Ok(at) => at,
            Err(test) => {
                let [yes, no] = [true, false].map(|answer| self.memory(memory.with(test, answer)));
                return Answer::First { test, yes, no };
            }
        };
        let entries = &mut memory.entries;
        let count = at.map_or(0, |at| entries[at].1);
        let hit = match ask.operation {
            RecentOperation::Set => true,
            RecentOperation::Remove => at.is_some(),
            RecentOperation::Check | RecentOperation::Update => {
                at.is_some() && (ask.hitcount == 0 || count >= ask.hitcount)
            }
        };
        match (ask.operation, at) {
            (RecentOperation::Set, None) => entries.push((key, 1)),
            (RecentOperation::Set, Some(at)) => entries[at].1 += 1,
            (RecentOperation::Update, Some(at)) if hit != inverted => entries[at].1 += 1,
            (RecentOperation::Remove, Some(at)) => {
                entries.remove(at);
            }
            _ => return Answer::Known(hit),
        }
        state.recent = self.memory(memory);
        Answer::Known(hit)
    }

    /// By an address of this node that is not known.
    fn recent_by_unknown(
        &mut self,
        state: &mut State,
        mut memory: Memory,
        ask: RecentAsk,
    ) -> Answer {
        let unknown = memory.unknown.contains(&ask.list);
        let may_be_met = unknown || memory.entries.iter().any(|(key, _)| key.list == ask.list);
        let answer = match ask.operation {
            RecentOperation::Set => Answer::Known(true),
            _ if !may_be_met => return Answer::Known(false),
            RecentOperation::Check => return UNKNOWN_LOCAL,
            RecentOperation::Update | RecentOperation::Remove => UNKNOWN_LOCAL,
        };
        if !unknown {
            memory.unknown.push(ask.list);
            state.recent = self.memory(memory);
        }
        answer
    }

    fn memory(&mut self, memory: Memory) -> u32 {
        self.memories.id(memory)
    }
}
