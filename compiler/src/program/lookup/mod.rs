//! The program's flat form, for loops over many packets.
//!
//! ```text
//! key ─ bucket ─► place ─ number drawn ─► member ─ answers about the packet ─► leaf
//! ```
//! A **place** is a class: its first member and its plan. A **plan** says what is asked of a packet and by which thresholds a member is drawn.
//! A **member** is what can be drawn (an endpoint; a class without draws has one), with the one source that is asked of it alone (hairpin).
//! A **leaf** is an end, reached for one combination of answers, or says that only the nodes tell.
//!
//! Classes are here that draw at most once on any way, ask at most [`MAX_ASKS`] questions beside, and ask nothing but of addresses, ports and
//! devices; that is what kube-proxy writes. And packets come this way whose source is an ordinary address, with ports, in ctstate NEW, not by
//! `lo`, and, if they arrive, not from this node: what routing says of their rewritten destinations is then known while compiling.
//! All others take the nodes' way, which is the same program.

mod address;
mod ask;
mod at_hand;
mod build;
mod locals;
mod ports;
mod set;
mod shortcut;
mod table;

pub use address::{Address, Port, v4_key};
pub use ask::{Ask, Tuple};
pub use at_hand::{AtHand, Sorter, leaf_at};
pub(crate) use build::{Built, Merged, Renumber};
use locals::Locals;
use ports::KnownPorts;
use set::Set;
use shortcut::Shortcut;
pub use table::{Bucket, Key, Table, Value};

use super::node::{ActId, EndId};
use super::outcome::Noted;
use super::{ClassId, Context, Program};

/// Questions of one class, beside each member's own.
pub const MAX_ASKS: usize = 8;

/// A class: its first member, and above that its plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place(u64);

impl Value for Place {
    const NONE: Self = Self(u64::MAX);
}

impl Place {
    fn new(first: u32, plan: u32) -> Self {
        Self(u64::from(plan) << 32 | u64::from(first))
    }

    #[inline(always)]
    fn first(self) -> u32 {
        self.0 as u32
    }

    #[inline(always)]
    fn plan(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// No position in a list.
const NOWHERE: u32 = u32::MAX;

/// What is asked of the packets of a class, and how a member is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Plan<A> {
    /// The first question, which nearly every class has: whether the source under this mask…
    mask: A,
    /// … is this. Where there is none, it can not be.
    value: A,
    /// The others.
    first_ask: u32,
    asks: u32,
    /// What a member is drawn from; where that depends on the answers, the first member alone.
    set: Set,
    /// The first of the sets for each combination of answers, or [`NOWHERE`].
    first_choice: u32,
}

/// What of a plan all packets need, in one half of a cache line (IPv4).
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
struct Brief<A> {
    mask: A,
    value: A,
    /// What [`Drawn`] says of the plan, if there is more to ask.
    more: u32,
    set: Set,
}

const _: () = assert!(size_of::<Brief<u32>>() == 32);

impl<A: Address> Brief<A> {
    /// Of no class: the nodes tell.
    fn nowhere(id: usize) -> Self {
        Self {
            mask: A::default(),
            value: A::new(1),
            more: Drawn::more(id),
            set: Set::new(&[], 0, 0),
        }
    }
}

/// What a number drew: the member, and answers as bits of a position among the leaves of its row. If there is more to ask
/// ([`Lookup::ask_more`]), the plan stands above the answers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drawn {
    /// The member.
    pub member: u32,
    answers: u32,
}

impl Drawn {
    const MORE: u32 = 1 << 31;
    /// Whose own source it is, whether it is sent, the first answer, the others.
    const ANSWERS: u32 = 3 + MAX_ASKS as u32;
    /// Plans are below.
    const PLANS: usize = 1 << (31 - Self::ANSWERS);

    fn more(plan: usize) -> u32 {
        Self::MORE | (plan as u32) << Self::ANSWERS
    }

    fn plan(self) -> usize {
        ((self.answers & !Self::MORE) >> Self::ANSWERS) as usize
    }

    fn answers_so_far(self) -> u32 {
        self.answers & ((1 << Self::ANSWERS) - 1)
    }

    /// The member and all answers, if there are no more to be asked for.
    #[inline(always)]
    pub fn settled(self) -> Option<(u32, u32)> {
        (self.answers & Self::MORE == 0).then_some((self.member, self.answers))
    }
}

/// Something that can be drawn, as a worker begins with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<A> {
    /// The source that is asked of it alone; 0, which is no ordinary source, if none is.
    pub own: A,
    /// Its first leaf.
    pub row: u32,
}

/// What a member stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taker {
    /// The packets that this act rewrites.
    Dnat(ActId),
    /// Those of its class that keep their destination and end here.
    End(ClassId, EndId),
    /// None.
    Nobody,
}

/// What the packets of a key draw from.
pub(super) struct Sets<'l> {
    /// The first member of each set, and its thresholds.
    pub(super) sets: Vec<(usize, &'l [u64])>,
    /// So many leaves has each member.
    pub(super) leaves: usize,
}

/// Where a packet ends, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Leaf(u32);

impl Leaf {
    /// Only the nodes tell.
    pub const SLOW: Self = Self(1 << 30);
    const MASQUERADED: u32 = 1 << 31;
    /// What the member stands for took it.
    const TAKEN: u32 = 1 << 29;
    /// Nothing but its destination is rewritten, and no rule is credited with its mark.
    const PLAIN: u32 = 1 << 28;
    const END: u32 = (1 << 24) - 1;

    fn new(end: EndId, noted: Noted, taken: bool) -> Self {
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        let flags = flag(noted.masqueraded, Self::MASQUERADED)
            | flag(taken, Self::TAKEN)
            | flag(!noted.has_others, Self::PLAIN);
        Self(flags).ending(end)
    }

    /// The same with another end.
    fn ending(self, end: EndId) -> Self {
        if end.0 > Self::END {
            return Self::SLOW;
        }
        Self(self.0 & !Self::END | end.0)
    }

    /// Whether only the nodes tell.
    #[inline(always)]
    pub fn is_slow(self) -> bool {
        self == Self::SLOW
    }

    /// How it ended.
    #[inline(always)]
    pub fn end(self) -> EndId {
        EndId(self.0 & Self::END)
    }

    /// Whether its source is masqueraded.
    #[inline(always)]
    pub fn is_masqueraded(self) -> bool {
        self.0 & Self::MASQUERADED != 0
    }

    /// Whether the rewrite of its destination is all that is done to it.
    #[inline(always)]
    pub fn is_plain(self) -> bool {
        self.0 & Self::PLAIN != 0
    }

    /// Whether it counts under the member; else under its class and end.
    #[inline(always)]
    pub fn is_taken(self) -> bool {
        self.0 & Self::TAKEN != 0
    }
}

/// One family's flat form.
#[derive(Clone, Debug)]
pub struct Lookup<A: Address> {
    exact: Table<A::Key, Place>,
    ports: Table<u64, Place>,
    known_ports: KnownPorts,
    other: Place,
    briefs: Vec<Brief<A>>,
    plans: Vec<Plan<A>>,
    shortcuts: Vec<Shortcut>,
    asks: Vec<Ask<A>>,
    choices: Vec<Set>,
    thresholds: Vec<u64>,
    leaves: Vec<Leaf>,
    members: Vec<Member<A>>,
    takers: Vec<Taker>,
    locals: Locals<A>,
    classes: usize,
}

/// The flat form of a program's family.
#[derive(Clone, Debug)]
pub enum Lookups {
    /// Not built yet.
    None,
    /// IPv4's.
    V4(Lookup<u32>),
    /// IPv6's.
    V6(Lookup<u128>),
}

impl Lookups {
    /// How many classes are here; the nodes tell of the others.
    pub fn classes(&self) -> usize {
        match self {
            Self::None => 0,
            Self::V4(lookup) => lookup.classes,
            Self::V6(lookup) => lookup.classes,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::None => 0,
            Self::V4(lookup) => lookup.bytes(),
            Self::V6(lookup) => lookup.bytes(),
        }
    }
}

impl<A: Address> Lookup<A> {
    /// The bucket of a packet's key.
    #[inline(always)]
    pub fn bucket(&self, key: A::Key) -> usize {
        self.exact.bucket(key)
    }

    /// Whether the class of a place is here; else the nodes tell.
    pub fn is_here(&self, place: Place) -> bool {
        (place.plan() as usize) < self.plans.len()
    }

    /// The class of a key that is not in its bucket.
    #[inline(never)]
    fn place_elsewhere(&self, key: A::Key, bucket: usize) -> Place {
        let found = self.exact.find_behind(key, bucket);
        found.unwrap_or_else(|| self.place_of_port(key))
    }

    fn place_of_port(&self, key: A::Key) -> Place {
        let (_, protocol, port) = A::of_key(key);
        if !self.known_ports.holds(port.number()) {
            return self.other;
        }
        self.ports
            .get(port_key(protocol, port.number()))
            .unwrap_or(self.other)
    }

    /// kube-proxy's thresholds stand at nearly equal distances, so the first guess is nearly always the member, and surely so.
    #[inline(always)]
    fn drawn(&self, set: &Set, draw: u64) -> u32 {
        if let Some(member) = set.guess(draw) {
            return member;
        }
        self.drawn_slowly(set, draw)
    }

    #[cold]
    fn drawn_slowly(&self, set: &Set, draw: u64) -> u32 {
        let thresholds = &self.thresholds[set.first_threshold as usize..];
        let thresholds = &thresholds[..set.members as usize - 1];
        thresholds.partition_point(|below| *below <= draw) as u32
    }

    /// The member, which may depend on the answers, and all answers, where the addresses do not answer all that is asked; `None`: a fact is missing, routing
    /// says more than local or forward, or nothing was drawn.
    #[inline(never)]
    pub fn ask_more(
        &self,
        program: &Program,
        drawn: Drawn,
        tuple: &Tuple<A>,
        context: &Context,
        draw: u64,
    ) -> Option<(u32, u32)> {
        let plan = self.plans.get(drawn.plan())?;
        let asks = &self.asks[plan.first_ask as usize..][..plan.asks as usize];
        let mut bits = drawn.answers_so_far();
        for (at, ask) in asks.iter().enumerate() {
            let answer = ask.answer(program, tuple, context)?;
            bits |= u32::from(answer) << (at + 3);
        }
        if plan.first_choice == NOWHERE {
            return Some((drawn.member, bits));
        }
        let set = &self.choices[(plan.first_choice + (bits >> 1)) as usize];
        Some((drawn.member + set.offset + self.drawn(set, draw), bits))
    }

    /// What the packets of a key draw from, if they come this way.
    pub(super) fn sets_of(&self, key: A::Key) -> Option<Sets<'_>> {
        let place = self.exact.find(key, self.exact.bucket(key))?;
        let plan = self.plans.get(place.plan() as usize)?;
        let choices = match plan.first_choice {
            NOWHERE => &[],
            // One for each combination of answers, the first one's and whether it is sent included.
            first => &self.choices[first as usize..][..4 << plan.asks],
        };
        let only = (plan.first_choice == NOWHERE).then_some(&plan.set);
        let sets = choices.iter().chain(only).map(|set| {
            let thresholds = &self.thresholds[set.first_threshold as usize..];
            let first = place.first() + set.offset;
            (first as usize, &thresholds[..set.members as usize - 1])
        });
        Some(Sets {
            sets: sets.collect(),
            leaves: 8 << plan.asks,
        })
    }

    /// Whether a member is of the class of all other keys.
    #[inline(always)]
    pub fn is_other(&self, member: u32) -> bool {
        // That class comes last, and so do its members.
        member >= self.other.first()
    }

    /// The leaves of a member that has so many.
    pub(super) fn row(&self, member: usize, leaves: usize) -> &[Leaf] {
        &self.leaves[self.members[member].row as usize..][..leaves]
    }

    /// All leaves.
    pub fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }

    /// All members.
    pub fn members(&self) -> &[Member<A>] {
        &self.members
    }

    /// What each member stands for.
    pub fn takers(&self) -> &[Taker] {
        &self.takers
    }

    /// What rewrites the destination of a packet that drew a member and ended in one of its leaves.
    pub fn dnat(&self, member: u32, leaf: Leaf) -> Option<ActId> {
        match self.takers[member as usize] {
            Taker::Dnat(act) if leaf.is_taken() => Some(act),
            _ => None,
        }
    }

    fn bytes(&self) -> usize {
        [
            self.exact.bytes(),
            self.ports.bytes(),
            self.known_ports.bytes(),
            size_of_val(&*self.briefs),
            size_of_val(&*self.plans),
            size_of_val(&*self.shortcuts),
            size_of_val(&*self.asks),
            size_of_val(&*self.choices),
            size_of_val(&*self.thresholds),
            size_of_val(&*self.leaves),
            size_of_val(&*self.members),
            size_of_val(&*self.takers),
        ]
        .into_iter()
        .sum()
    }
}

/// Protocol and port, packed.
pub(super) fn port_key(protocol: u8, port: u16) -> u64 {
    u64::from(protocol) << 16 | u64::from(port)
}
