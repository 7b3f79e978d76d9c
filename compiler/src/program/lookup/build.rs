//! Nodes → flat form, class by class: what is asked is gathered, then the nodes are followed once for each combination of answers.

mod alike;
mod gather;
mod lists;
mod merged;

pub(crate) use merged::{Merged, Renumber};

use super::super::addresses::{self, Kind};
use super::super::node::{EndId, Node, NodeId, RouteTo, TestId};
use super::super::outcome::Noted;
use super::super::test::Test;
use super::{Address, Ask, Leaf, MAX_ASKS, Member, NOWHERE, Place, Plan, Set, Taker};
use crate::machine::state::Class;
use crate::program::{ClassId, Program};
use alike::Shapes;
use gather::Gathered;
use kpclass_ruleset::Hook;
use kpclass_ruleset::value::{CtState, Family};
use lists::Lists;

/// What is made of the nodes of some classes: [`Merged`] makes a [`super::Lookup`] of it.
pub(crate) struct Built<A> {
    /// Where each class is, if it is here.
    places: Vec<Option<Place>>,
    /// For each class whether whatever comes this way ends here.
    served: Vec<bool>,
    lists: Shared<A>,
    members: Vec<Member<A>>,
    takers: Vec<Taker>,
}

impl<A: Address> Built<A> {
    /// The flat form of a program's nodes.
    pub(crate) fn new(program: &Program) -> Self {
        Builder::new(program).build()
    }

    /// For each class whether no ordinary packet in ctstate NEW takes the nodes' way.
    pub(crate) fn served(&self) -> &[bool] {
        &self.served
    }
}

/// What many classes have in common.
struct Shared<A> {
    asks: Lists<Ask<A>, Question>,
    choices: Lists<Set, Set>,
    thresholds: Lists<u64, u64>,
    leaves: Lists<Leaf, Leaf>,
    plans: Lists<Plan<A>, Plan<A>>,
}

impl<A: Address> Shared<A> {
    fn new() -> Self {
        Self {
            asks: Lists::new(),
            choices: Lists::new(),
            thresholds: Lists::new(),
            leaves: Lists::new(),
            plans: Lists::new(),
        }
    }
}

/// What a class is asked, before it is known what answers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Question {
    Test(TestId),
    IsRoutedHere,
    /// None: it takes the place of one.
    None,
}

struct Builder<'p, A> {
    program: &'p Program,
    /// The starts of arriving and of sent packets in ctstate NEW, of [`Program::root_index`].
    starts: Option<[usize; 2]>,
    lists: Shared<A>,
    members: Vec<Member<A>>,
    takers: Vec<Taker>,
    /// Whether all leaves of the class at hand that something leads to are ends.
    serves: bool,
    /// The destination of the class at hand, if it has one.
    destination: Option<u128>,
    /// For each node the last gathering that met it.
    met: Vec<u32>,
    gathering: u32,
    /// Room for nodes that are still to be gathered.
    work: Vec<NodeId>,
    /// Room for the ways of a set's members.
    shapes: Shapes,
    /// Room for where a member's combinations of answers end, and their leaves.
    ends: (Vec<(Stop, Noted)>, Vec<Leaf>),
}

/// Where following the nodes led.
#[derive(Clone, Copy)]
enum Stop {
    Slow,
    Selection(NodeId),
    End(EndId),
}

impl Stop {
    fn end(self) -> Option<EndId> {
        match self {
            Self::End(end) => Some(end),
            Self::Slow | Self::Selection(_) => None,
        }
    }
}

/// The class does not fit.
struct Unfit;

impl<'p, A: Address> Builder<'p, A> {
    fn new(program: &'p Program) -> Self {
        let start = |hook| program.root_index(hook, CtState::New);
        let starts = start(Hook::Prerouting).zip(start(Hook::Output));
        Self {
            program,
            starts: starts.map(|(arriving, sent)| [arriving, sent]),
            lists: Shared::new(),
            members: Vec::new(),
            takers: Vec::new(),
            serves: false,
            destination: None,
            met: vec![0; program.nodes.len()],
            gathering: 0,
            work: Vec::new(),
            shapes: Shapes::default(),
            ends: Default::default(),
        }
    }

    fn build(mut self) -> Built<A> {
        let classes = self.program.classes.len();
        let (mut places, mut served) = (Vec::with_capacity(classes), Vec::with_capacity(classes));
        for at in 0..classes as u32 {
            self.serves = false;
            let place = self.class(ClassId(at));
            served.push(place.is_ok() && self.serves);
            places.push(place.ok());
        }
        Built {
            places,
            served,
            lists: self.lists,
            members: self.members,
            takers: self.takers,
        }
    }

    fn class(&mut self, class: ClassId) -> Result<Place, Unfit> {
        let starts = self.starts.ok_or(Unfit)?;
        self.destination = match self.program.classes[class.0 as usize] {
            Class::Exact { destination, .. } => Some(destination),
            _ => None,
        };
        let roots = starts.map(|start| self.program.root(class, start));
        let mut gathered = self.gather(roots)?;
        self.put_in_order(&mut gathered.questions);
        if gathered.questions.len() > MAX_ASKS {
            return Err(Unfit);
        }
        self.serves = self.answers_all(class, &gathered.questions);
        let in_front = self.in_front(&mut gathered, roots);
        let first = self.members.len() as u32;
        let plan = self.plan(&gathered, &in_front)?;
        for (set, drawn_from) in gathered.sets.iter().enumerate() {
            let first_of_set = self.members.len();
            for member in 0..drawn_from.own.len() {
                let alike = drawn_from.alike.get(member).copied().flatten();
                if let Some(first) = alike
                    .map(|alike| alike.first)
                    .filter(|first| *first < member)
                    && self.put_alike(alike, drawn_from.alike[first], first_of_set + first)
                {
                    continue;
                }
                let way = Way {
                    gathered: &gathered,
                    in_front: &in_front,
                    roots,
                    class,
                };
                let (member, taker) = self.row(&way, set, member);
                self.members.push(member);
                self.takers.push(taker);
            }
        }
        Ok(Place::new(first, plan))
    }

    /// Whether every ordinary packet of a class has an answer to what is asked, and no others are usual. To the class of all other keys belong those without ports, and
    /// node ports are reached by way of loopback: such packets come the nodes' way.
    fn answers_all(&self, class: ClassId, questions: &[Question]) -> bool {
        let program = self.program;
        let local_known = program.rules.node.local.is_some();
        let has_answer = |question: &Question| match *question {
            Question::None => true,
            Question::IsRoutedHere => local_known,
            Question::Test(test) => !program.tests[test.0 as usize].may_be_unknown(local_known),
        };
        let has_others = matches!(
            program.classes[class.0 as usize],
            Class::Other | Class::Port { .. }
        );
        !has_others && questions.iter().all(has_answer)
    }

    fn plan(&mut self, gathered: &Gathered, in_front: &[InFront]) -> Result<u32, Unfit> {
        let program = self.program;
        let (mask, value) = match gathered.questions[0] {
            // Nothing under an empty mask is 1.
            Question::None => (A::default(), A::new(1)),
            question => match ask(&program.tests, question) {
                Ask::Source { mask, value } => (mask, value),
                _ => return Err(Unfit),
            },
        };
        let more = gathered.questions[1..].to_vec();
        let mut offset = 0;
        let mut sets = Vec::with_capacity(gathered.sets.len());
        for set in &gathered.sets {
            sets.push(self.set(&set.thresholds, offset));
            offset += set.own.len() as u32;
        }
        let chooses = sets.len() > 1;
        let (set, first_choice) = if chooses {
            let choices: Vec<Set> = in_front.iter().map(|(_, _, set)| sets[*set]).collect();
            (
                self.set(&[], 0),
                self.lists.choices.first(&choices, |set| *set),
            )
        } else {
            (sets[0], NOWHERE)
        };
        let plan = Plan {
            mask,
            value,
            asks: more.len() as u32,
            first_ask: self
                .lists
                .asks
                .first(&more, |question| ask(&program.tests, *question)),
            set,
            first_choice,
        };
        match self.lists.plans.first(&[plan], |plan| *plan) {
            NOWHERE => Err(Unfit),
            id => Ok(id),
        }
    }

    fn set(&mut self, thresholds: &[u64], offset: u32) -> Set {
        let first = self.lists.thresholds.first(thresholds, |below| *below);
        Set::new(thresholds, offset, first)
    }

    fn thresholds_of(&self, selection: NodeId) -> Vec<u64> {
        let program = self.program;
        match program.nodes[selection.0 as usize] {
            Node::Draw { draw, .. } => vec![program.draws[draw.0 as usize].below],
            Node::Select { first, count, .. } => program.thresholds[first as usize..]
                [..count as usize]
                .iter()
                .map(|draw| draw.below)
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Where a selection leads if it draws a member.
    fn target(&self, selection: NodeId, member: usize) -> NodeId {
        let program = self.program;
        match program.nodes[selection.0 as usize] {
            Node::Draw { yes, no, .. } => [yes, no][member],
            Node::Select { targets, .. } => program.targets[targets as usize + member],
            _ => selection,
        }
    }

    /// The child that routing takes of an ordinary packet: 0 dropped, 1 local, 2 forward. `None`: it depends on more than the destination.
    fn routed(&self, to: RouteTo) -> Option<usize> {
        let program = self.program;
        let address = match to {
            RouteTo::SomeLocal => return Some(1),
            RouteTo::Original => return None,
            RouteTo::Known(at) => program.addresses[at as usize],
        };
        let ordinary = match program.family {
            Family::V4 => A::new(address).is_ordinary(),
            Family::V6 => addresses::kind(Family::V6, address) == Kind::Unicast,
        };
        let is_local = program.rules.locals.contains(address) == Some(true);
        ordinary.then_some(if is_local { 1 } else { 2 })
    }

    /// Where each combination of answers leads in front of a draw, and from which set it draws.
    fn in_front(&self, gathered: &mut Gathered, roots: [NodeId; 2]) -> Vec<InFront> {
        // A combination: the answers, then whether the packet is sent.
        let combinations = 2 << gathered.questions.len();
        let draws = !gathered.sets[0].selections.is_empty();
        (0..combinations)
            .map(|combination| {
                let answers = Answers::new(gathered, combination, None, false);
                let (stop, noted) = self.follow(roots[combination & 1], Noted::default(), &answers);
                let set = match (stop, noted.dnat) {
                    (Stop::Selection(selection), _) => gathered
                        .sets
                        .iter()
                        .position(|set| set.selections.contains(&selection)),
                    (Stop::End(_), Some(act)) if draws => Some(gathered.set_of_act(act)),
                    _ => None,
                };
                (stop, noted, set.unwrap_or(0))
            })
            .collect()
    }

    /// A member of a set with its leaves, for all combinations of answers.
    fn row(&mut self, way: &Way<'_>, set: usize, member: usize) -> (Member<A>, Taker) {
        let Way {
            gathered, in_front, ..
        } = *way;
        let own = gathered.sets[set].own[member];
        let (mut ends, mut leaves) = std::mem::take(&mut self.ends);
        ends.clear();
        leaves.clear();
        for (combination, (stop, noted, drawn_from)) in in_front.iter().enumerate() {
            for is_own in [false, true] {
                let answers = Answers::new(gathered, combination, own, is_own);
                ends.push(match *stop {
                    // Nothing leads here.
                    _ if *drawn_from != set => (Stop::Slow, Noted::default()),
                    Stop::Selection(selection) => {
                        self.follow(self.target(selection, member), *noted, &answers)
                    }
                    // Without a draw the member's own question stands in front.
                    _ if gathered.sets[0].selections.is_empty() => {
                        self.follow(way.roots[combination & 1], Noted::default(), &answers)
                    }
                    stop => (stop, *noted),
                });
            }
        }
        let class = way.class;
        let taker = taker(&ends, class);
        leaves.extend(ends.iter().map(|end| leaf(*end, taker)));
        // For each combination there are two.
        let led_here = in_front
            .iter()
            .flat_map(|(_, _, drawn_from)| [*drawn_from == set; 2]);
        self.serves &= leaves
            .iter()
            .zip(led_here)
            .all(|(leaf, led_here)| !led_here || !leaf.is_slow());
        let own = self.source(own);
        let row = self.lists.leaves.first(&leaves, |leaf| *leaf);
        self.ends = (ends, leaves);
        (Member { own, row }, taker)
    }

    fn answer(&self, test: TestId, answers: &Answers<'_>) -> Option<bool> {
        let known = self.answer_of_all(test);
        known.or_else(|| answers.of(Question::Test(test)))
    }

    /// Follows the nodes to a draw or an end.
    fn follow(&self, from: NodeId, noted: Noted, answers: &Answers<'_>) -> (Stop, Noted) {
        let program = self.program;
        let (mut at, mut noted) = (from, noted);
        loop {
            at = match program.nodes[at.0 as usize] {
                Node::Test {
                    test,
                    inverted,
                    yes,
                    no,
                    ..
                } => match self.answer(test, answers) {
                    Some(answer) if answer != inverted => yes,
                    Some(_) => no,
                    None => return (Stop::Slow, noted),
                },
                Node::Draw { .. } | Node::Select { .. } => return (Stop::Selection(at), noted),
                Node::Route {
                    destination,
                    children,
                } => {
                    let here = answers.of(Question::IsRoutedHere);
                    let asked = here.filter(|_| destination == RouteTo::Original);
                    let asked = asked.map(|here| if here { 1 } else { 2 });
                    match self.routed(destination).or(asked) {
                        Some(child) => program.route_children[children as usize][child],
                        None => return (Stop::Slow, noted),
                    }
                }
                Node::Act { act, kind, next } => {
                    noted.note(act, kind);
                    next
                }
                Node::End(end) => return (Stop::End(end), noted),
                Node::Walk { .. } => return (Stop::Slow, noted),
            };
        }
    }
}

/// Where a combination of answers leads in front of a draw, what was noted, and the set that it draws from.
type InFront = (Stop, Noted, usize);

/// A class that is being built.
struct Way<'g> {
    gathered: &'g Gathered,
    in_front: &'g [InFront],
    roots: [NodeId; 2],
    class: ClassId,
}

/// One combination of answers.
struct Answers<'g> {
    gathered: &'g Gathered,
    bits: usize,
    own: Option<TestId>,
    is_own: bool,
}

impl<'g> Answers<'g> {
    /// `combination`: the lowest bit is whether the packet is sent.
    fn new(gathered: &'g Gathered, combination: usize, own: Option<TestId>, is_own: bool) -> Self {
        Self {
            gathered,
            bits: combination >> 1,
            own,
            is_own,
        }
    }

    fn of(&self, question: Question) -> Option<bool> {
        if self.own.is_some_and(|own| question == Question::Test(own)) {
            return Some(self.is_own);
        }
        let at = self
            .gathered
            .questions
            .iter()
            .position(|q| *q == question)?;
        Some(self.bits >> at & 1 != 0)
    }
}

fn ask<A: Address>(tests: &[Test], question: Question) -> Ask<A> {
    match question {
        Question::IsRoutedHere | Question::None => Ask::IsRoutedHere,
        Question::Test(id) => match tests[id.0 as usize] {
            Test::Source(prefix) => Ask::Source {
                mask: A::new(prefix.mask),
                value: A::new(prefix.address),
            },
            Test::Destination(prefix) => Ask::Destination {
                mask: A::new(prefix.mask),
                value: A::new(prefix.address),
            },
            Test::ComesBack => Ask::ComesBack(id),
            Test::RefusedOnEntry => Ask::IsRefused(id),
            _ => Ask::Test(id),
        },
    }
}

/// What all that ends here has in common: a rewrite of the destination; else the first end.
fn taker(ends: &[(Stop, Noted)], class: ClassId) -> Taker {
    if let Some(dnat) = ends.iter().find_map(|(_, noted)| noted.dnat) {
        return Taker::Dnat(dnat);
    }
    let first = ends.iter().find_map(|(stop, _)| stop.end());
    first.map_or(Taker::Nobody, |end| Taker::End(class, end))
}

fn leaf((stop, noted): (Stop, Noted), taker: Taker) -> Leaf {
    let Some(end) = stop.end() else {
        return Leaf::SLOW;
    };
    let is_taken = match (noted.dnat, taker) {
        (Some(act), Taker::Dnat(taker)) if act == taker => true,
        (Some(_), _) => return Leaf::SLOW,
        (None, Taker::End(_, taker)) => end == taker,
        (None, _) => false,
    };
    Leaf::new(end, noted, is_taken)
}
