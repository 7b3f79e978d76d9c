//! The flat forms of one part of the classes after the other, put together: what they share is one, and ids become the whole program's.

use super::super::table::Table;
use super::super::{
    Address, Ask, Brief, Drawn, KnownPorts, Leaf, Locals, Lookup, Member, NOWHERE, Place, Plan,
    Port, Set, Shortcut, Taker, port_key,
};
use super::lists::Lists;
use super::{Built, Question, Shared, ask};
use crate::machine::Rules;
use crate::machine::state::Class;
use crate::program::ClassId;
use crate::program::node::{ActId, EndId, TestId};
use crate::program::test::Test;
use ahash::AHashSet;

/// What a part's ids are in the whole program.
pub(crate) trait Renumber {
    /// A test.
    fn test(&mut self, test: TestId) -> TestId;
    /// An end.
    fn end(&mut self, end: EndId) -> EndId;
    /// An act.
    fn act(&mut self, act: ActId) -> ActId;
    /// A class.
    fn class(&self, class: ClassId) -> ClassId;
    /// All tests so far.
    fn tests(&self) -> &[Test];
}

/// The flat form of the parts so far.
pub(crate) struct Merged<A> {
    places: Vec<Option<Place>>,
    lists: Shared<A>,
    members: Vec<Member<A>>,
    takers: Vec<Taker>,
}

impl<A: Address> Merged<A> {
    pub(crate) fn new() -> Self {
        Self {
            places: Vec::new(),
            lists: Shared::new(),
            members: Vec::new(),
            takers: Vec::new(),
        }
    }

    /// Adds the next part.
    pub(crate) fn add(&mut self, part: Built<A>, new: &mut impl Renumber) {
        let first = self.members.len() as u32;
        let plans = self.plans(&part.lists, new);
        let rows = moved(&part.lists.leaves, |row| {
            let row: Vec<Leaf> = row.iter().map(|leaf| leaf.renumbered(new)).collect();
            self.lists.leaves.first(&row, |leaf| *leaf)
        });
        for Member { own, row } in part.members {
            let row = rows[row as usize];
            self.members.push(Member { own, row });
        }
        self.takers
            .extend(part.takers.into_iter().map(|taker| match taker {
                Taker::Dnat(act) => Taker::Dnat(new.act(act)),
                Taker::End(class, end) => Taker::End(new.class(class), new.end(end)),
                Taker::Nobody => Taker::Nobody,
            }));
        let moved = |place: Place| Place::new(first + place.first(), plans[place.plan() as usize]);
        self.places
            .extend(part.places.into_iter().map(|place| place.map(moved)));
    }

    /// For each plan of a part which it is of all.
    fn plans(&mut self, part: &Shared<A>, new: &mut impl Renumber) -> Vec<u32> {
        let Shared {
            asks,
            choices,
            thresholds,
            plans,
            ..
        } = &mut self.lists;
        let mut renumbered = Vec::with_capacity(part.plans.all.len());
        let mut set = |set: Set| {
            let row = &part.thresholds.all[set.first_threshold as usize..];
            let row = &row[..set.members as usize - 1];
            set.moved(thresholds.first(row, |below| *below))
        };
        for plan in &part.plans.all {
            let questions = &part.asks.keys[plan.first_ask as usize..][..plan.asks as usize];
            let questions: Vec<Question> = questions
                .iter()
                .map(|question| match *question {
                    Question::Test(test) => Question::Test(new.test(test)),
                    question => question,
                })
                .collect();
            let first_choice = match plan.first_choice {
                NOWHERE => NOWHERE,
                first => {
                    // One for each combination of answers, the first question's and whether the packet is sent among them.
                    let combinations = 4 << plan.asks;
                    let sets = &part.choices.all[first as usize..][..combinations];
                    let sets: Vec<Set> = sets.iter().map(|choice| set(*choice)).collect();
                    choices.first(&sets, |set| *set)
                }
            };
            let tests = new.tests();
            let plan = Plan {
                first_ask: asks.first(&questions, |question| ask(tests, *question)),
                set: set(plan.set),
                first_choice,
                ..*plan
            };
            renumbered.push(plans.first(&[plan], |plan| *plan));
        }
        renumbered
    }

    /// The whole, of all classes, the node's addresses, and all tests.
    pub(crate) fn finish(self, classes: &[Class], rules: &Rules, tests: &[Test]) -> Lookup<A> {
        let locals = rules.locals.numbers();
        let (mut exact, mut ports) = (Vec::new(), Vec::new());
        let mut plans = self.lists.plans.all;
        plans.truncate(Drawn::PLANS - 1);
        let nowhere = Place::new(0, plans.len() as u32);
        let is_here = |place: &Place| (place.plan() as usize) < plans.len();
        let places = || self.places.iter().map(|place| place.filter(is_here));
        let mut other = nowhere;
        for (class, place) in classes.iter().zip(places()) {
            let place = place.unwrap_or(nowhere);
            match *class {
                Class::Exact {
                    protocol,
                    destination,
                    port,
                } => exact.push((A::new(destination).key(protocol, Port::new(port)), place)),
                Class::Port { protocol, port } => ports.push((port_key(protocol, port), place)),
                Class::Portless { .. } => {}
                Class::Other => other = place,
            }
        }
        let own: Vec<A> = locals.iter().map(|a| A::new(*a)).collect();
        add_node_ports(&mut exact, &ports, &own);
        let asks = self.lists.asks.all.into_iter();
        let asks: Vec<Ask<A>> = asks.map(|ask| ask.of_type(rules, tests)).collect();
        let shortcuts = plans.iter().map(|plan| Shortcut::new(plan, &asks));
        Lookup {
            exact: Table::new(&exact),
            known_ports: KnownPorts::new(ports.iter().map(|(key, _)| *key as u16)),
            ports: Table::new(&ports),
            other,
            briefs: briefs(&plans),
            classes: places().flatten().count(),
            shortcuts: shortcuts.collect(),
            plans,
            asks,
            choices: self.lists.choices.all,
            thresholds: self.lists.thresholds.all,
            locals: Locals::new(&own),
            leaves: self.lists.leaves.all,
            members: self.members,
            takers: self.takers,
        }
    }
}

/// So many node ports at the node's own addresses are found as a Service's key is, at once, or as many as there are such keys: with more the table would
/// grow too much.
const MOST_NODE_PORTS: usize = 1024;

/// Adds the node's ports to the keys, at each of its own addresses.
fn add_node_ports<A: Address>(exact: &mut Vec<(A::Key, Place)>, ports: &[(u64, Place)], own: &[A]) {
    let own: Vec<A> = own.iter().copied().filter(|a| a.is_ordinary()).collect();
    if own.len() * ports.len() > exact.len().max(MOST_NODE_PORTS) {
        return;
    }
    let known: AHashSet<A::Key> = exact.iter().map(|(key, _)| *key).collect();
    let at_own = own.iter().flat_map(|address| {
        ports.iter().map(|(key, place)| {
            let (protocol, port) = ((key >> 16) as u8, Port::new(*key as u16));
            (address.key(protocol, port), *place)
        })
    });
    exact.extend(at_own.filter(|(key, _)| !known.contains(key)));
}

/// What of all plans, and of none, all packets need.
fn briefs<A: Address>(plans: &[Plan<A>]) -> Vec<Brief<A>> {
    let briefs = plans.iter().enumerate().map(|(id, plan)| Brief {
        mask: plan.mask,
        value: plan.value,
        more: match (plan.asks, plan.first_choice) {
            (0, NOWHERE) => 0,
            _ => Drawn::more(id),
        },
        set: plan.set,
    });
    briefs.chain([Brief::nowhere(plans.len())]).collect()
}

impl Leaf {
    fn renumbered(self, new: &mut impl Renumber) -> Self {
        match self.is_slow() {
            true => self,
            false => self.ending(new.end(self.end())),
        }
    }
}

/// For each first position of a list where `of` moves the list to.
fn moved<T, K>(lists: &Lists<T, K>, mut of: impl FnMut(&[K]) -> u32) -> Vec<u32> {
    let mut known: Vec<(u32, u32)> = lists.known.iter().copied().collect();
    known.sort_unstable();
    let mut moved = vec![NOWHERE; lists.all.len()];
    for (first, len) in known {
        moved[first as usize] = of(&lists.keys[first as usize..][..len as usize]);
    }
    moved
}
