//! Ids into a [`Ruleset`](crate::Ruleset)'s arrays, and its interned strings.

use ahash::RandomState;
use hashbrown::HashTable;
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u32);

        impl $name {
            /// As an index.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", stringify!($name), self.0)
            }
        }
    };
}

id! {
    /// A rule; ids count through all tables and chains of a ruleset, in order.
    RuleId
}
id! {
    /// A chain of any table.
    ChainId
}
id! {
    /// An interned string.
    StrId
}
id! {
    /// An input file, in the order given.
    FileId
}

/// Interned strings: one buffer, each distinct string once.
#[derive(Clone, Default)]
pub struct Strings {
    text: String,
    ends: Vec<u32>,
    /// Positions among the strings, with their hashes: to hash them again when the table grows would fetch them all from memory.
    ids: HashTable<(u64, u32)>,
    state: RandomState,
}

impl Strings {
    /// The id of `text`, which is added if new.
    ///
    /// # Panics
    /// Beyond 4 GiB of distinct text; readers refuse such inputs before.
    pub fn intern(&mut self, text: &str) -> StrId {
        let hash = self.state.hash_one(text);
        if let Some(id) = self.found(hash, text) {
            return id;
        }
        let id = u32::try_from(self.ends.len()).expect("fewer than 2^32 strings");
        self.text.push_str(text);
        self.ends
            .push(u32::try_from(self.text.len()).expect("less than 4 GiB of strings"));
        self.ids.insert_unique(hash, (hash, id), |(hash, _)| *hash);
        StrId(id)
    }

    /// The id of `text`, if it was interned.
    pub fn find(&self, text: &str) -> Option<StrId> {
        self.found(self.state.hash_one(text), text)
    }

    fn found(&self, hash: u64, text: &str) -> Option<StrId> {
        let found = self
            .ids
            .find(hash, |(of, id)| *of == hash && self[StrId(*id)] == *text);
        found.map(|(_, id)| StrId(*id))
    }

    /// Forgets all of them.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.ids.clear();
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }
}

impl std::ops::Index<StrId> for Strings {
    type Output = str;

    fn index(&self, id: StrId) -> &str {
        let start = id
            .index()
            .checked_sub(1)
            .map_or(0, |before| self.ends[before] as usize);
        &self.text[start..self.ends[id.index()] as usize]
    }
}

impl fmt::Debug for Strings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Strings({})", self.ends.len())
    }
}
