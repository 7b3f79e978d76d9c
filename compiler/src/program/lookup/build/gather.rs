//! What a class is asked: in front of its draws, and behind them for each member.

use super::super::ask::is_of_tuple;
use super::super::{Address, Ask};
use super::alike::Alike;
use super::{Builder, Question, Unfit, ask};
use crate::program::addresses::refused_on_entry;
use crate::program::node::{ActId, Node, NodeId, RouteTo, TestId};
use crate::program::test::Test;

/// A class as its nodes say.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) questions: Vec<Question>,
    /// What can be drawn from, each apart.
    pub(super) sets: Vec<DrawnFrom>,
}

/// Members that one is drawn from.
#[derive(Default)]
pub(super) struct DrawnFrom {
    /// The draws: nodes with these thresholds. None: there is nothing to draw.
    pub(super) selections: Vec<NodeId>,
    pub(super) thresholds: Vec<u64>,
    /// What rewrites the destination where there is nothing to draw, beside sets where there is.
    pub(super) act: Option<ActId>,
    /// For each member the test that is its own.
    pub(super) own: Vec<Option<TestId>>,
    /// For each member that is drawn its ways, if they are an endpoint's.
    pub(super) alike: Vec<Option<Alike>>,
}

impl Gathered {
    /// The set of one member that an act rewrites to without a draw.
    pub(super) fn set_of_act(&mut self, act: ActId) -> usize {
        let known = self.sets.iter().position(|set| set.act == Some(act));
        known.unwrap_or_else(|| {
            self.sets.push(DrawnFrom {
                act: Some(act),
                own: vec![None],
                ..DrawnFrom::default()
            });
            self.sets.len() - 1
        })
    }
}

impl<A: Address> Builder<'_, A> {
    /// First a question about the source, if there is one.
    pub(super) fn put_in_order(&self, questions: &mut Vec<Question>) {
        questions.sort_unstable();
        let first = questions.iter().position(|question| {
            matches!(ask::<A>(&self.program.tests, *question), Ask::Source { .. })
        });
        let first = first.map_or(Question::None, |at| questions.remove(at));
        questions.insert(0, first);
    }

    /// What is asked of a class's packets, in front of its draw and behind it.
    pub(super) fn gather(&mut self, roots: [NodeId; 2]) -> Result<Gathered, Unfit> {
        let (mut gathered, mut selections) = (Gathered::default(), Vec::new());
        self.gathering += 1;
        let mut work = std::mem::take(&mut self.work);
        work.clear();
        work.extend(roots);
        while let Some(at) = work.pop() {
            if let Some(question) = self.visit(at, &mut work, &mut selections)? {
                note(&mut gathered.questions, question);
            }
        }
        self.work = work;
        for selection in selections {
            let thresholds = self.thresholds_of(selection);
            let known = gathered
                .sets
                .iter_mut()
                .find(|set| set.thresholds == thresholds);
            match known {
                Some(set) => set.selections.push(selection),
                None => gathered.sets.push(DrawnFrom {
                    selections: vec![selection],
                    thresholds,
                    ..DrawnFrom::default()
                }),
            }
        }
        if gathered.sets.is_empty() {
            let own = vec![self.only_own(&mut gathered.questions)];
            gathered.sets.push(DrawnFrom {
                own,
                ..DrawnFrom::default()
            });
            return Ok(gathered);
        }
        let mut shapes = std::mem::take(&mut self.shapes);
        for set in 0..gathered.sets.len() {
            shapes.begin();
            for member in 0..=gathered.sets[set].thresholds.len() {
                let alike = self.alike(&gathered, (set, member), &mut shapes);
                let own = if shapes.is_known(alike, member) {
                    alike.map(|alike| alike.own)
                } else {
                    let own = self.gather_member(set, member, &mut gathered)?;
                    shapes.gathered(alike, member);
                    own
                };
                gathered.sets[set].own.push(own);
                gathered.sets[set].alike.push(alike);
            }
        }
        self.shapes = shapes;
        Ok(gathered)
    }

    /// What is asked once a member is drawn; its own test is returned.
    fn gather_member(
        &mut self,
        set: usize,
        member: usize,
        gathered: &mut Gathered,
    ) -> Result<Option<TestId>, Unfit> {
        let mut work = std::mem::take(&mut self.work);
        work.clear();
        let selections = gathered.sets[set].selections.iter();
        work.extend(selections.map(|selection| self.target(*selection, member)));
        self.gathering += 1;
        let (mut own, mut more) = (None, Vec::new());
        while let Some(at) = work.pop() {
            let question = self.visit(at, &mut work, &mut more)?;
            let Some(question) = question else { continue };
            if let Question::Test(test) = question
                && self.is_host(test)
                && !gathered.questions.contains(&question)
            {
                if own.replace(test).is_some_and(|before| before != test) {
                    return Err(Unfit);
                }
            } else {
                note(&mut gathered.questions, question);
            }
        }
        self.work = work;
        // A second draw.
        if more.is_empty() { Ok(own) } else { Err(Unfit) }
    }

    /// One node: its question, its children to `work`, a draw to `selections`.
    fn visit(
        &mut self,
        at: NodeId,
        work: &mut Vec<NodeId>,
        selections: &mut Vec<NodeId>,
    ) -> Result<Option<Question>, Unfit> {
        let met = &mut self.met[at.0 as usize];
        if *met == self.gathering {
            return Ok(None);
        }
        *met = self.gathering;
        let program = self.program;
        match program.nodes[at.0 as usize] {
            Node::Test {
                test,
                inverted,
                yes,
                no,
                ..
            } => {
                let asked = &program.tests[test.0 as usize];
                if matches!(asked, Test::Unknown(_)) {
                    return Ok(None);
                }
                if !is_of_tuple(asked) {
                    return Err(Unfit);
                }
                if let Some(answer) = self.answer_of_all(test) {
                    work.push(if answer != inverted { yes } else { no });
                    return Ok(None);
                }
                work.extend([yes, no]);
                return Ok(Some(Question::Test(test)));
            }
            Node::Draw { .. } | Node::Select { .. } => selections.push(at),
            Node::Route {
                destination,
                children,
            } => {
                let children = program.route_children[children as usize];
                match self.routed(destination) {
                    Some(child) => work.push(children[child]),
                    None if destination == RouteTo::Original => {
                        work.extend(&children[1..]);
                        return Ok(Some(Question::IsRoutedHere));
                    }
                    None => {}
                }
            }
            Node::Act { next, .. } => work.push(next),
            Node::End(_) | Node::Walk { .. } => {}
        }
        Ok(None)
    }

    /// Whether a test is of one source.
    pub(super) fn is_host(&self, test: TestId) -> bool {
        match self.program.tests[test.0 as usize] {
            Test::Source(prefix) => prefix.host(self.program.family).is_some(),
            _ => false,
        }
    }

    /// The answer of all packets of the class at hand that come this way, if they have one: their sources are ordinary, and none comes by lo.
    pub(super) fn answer_of_all(&self, test: TestId) -> Option<bool> {
        const ORDINARY: u128 = 0x2001 << 112;
        match (self.program.tests[test.0 as usize], self.destination) {
            (Test::RefusedOnEntry, Some(destination)) => {
                Some(refused_on_entry(ORDINARY, destination, false))
            }
            _ => self.is_of_no_ordinary_source(test).then_some(false),
        }
    }

    /// Whether a test is of sources that are no ordinary ones.
    pub(super) fn is_of_no_ordinary_source(&self, test: TestId) -> bool {
        match self.program.tests[test.0 as usize] {
            Test::LeavesLoopback(_) => true,
            Test::Source(prefix) => {
                A::holds_no_ordinary(A::new(prefix.mask), A::new(prefix.address))
            }
            _ => false,
        }
    }

    /// The host that a member's own test asks for.
    pub(super) fn source(&self, own: Option<TestId>) -> A {
        match own.map(|test| &self.program.tests[test.0 as usize]) {
            Some(Test::Source(host)) => A::new(host.address),
            _ => A::default(),
        }
    }

    /// Of a class without draws: the one host that is asked for.
    fn only_own(&self, questions: &mut Vec<Question>) -> Option<TestId> {
        let hosts = |question: &Question| match question {
            Question::Test(test) if self.is_host(*test) => Some(*test),
            _ => None,
        };
        let mut found = questions.iter().filter_map(hosts);
        let (Some(own), None) = (found.next(), found.next()) else {
            return None;
        };
        questions.retain(|question| *question != Question::Test(own));
        Some(own)
    }
}

fn note(questions: &mut Vec<Question>, question: Question) {
    if !questions.contains(&question) {
        questions.push(question);
    }
}
