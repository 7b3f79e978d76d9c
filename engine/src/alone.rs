//! The lookup alone, of packets whose headers were read already and which nobody counts: for whoever times it. A replay goes the same way.

use crate::{draw, near};
use kpclass_compiler::header::Header;
use kpclass_compiler::program::lookup::{Address, Drawn, Leaf, Lookup, Member, Place, Tuple};
use kpclass_compiler::program::node::{Act, DnatAct};
use kpclass_compiler::{Context, Program};
use kpclass_ruleset::Hook;
use kpclass_ruleset::value::CtState;

/// Packets of a batch: while one waits for memory, so do the others.
const BATCH: usize = 64;

/// A packet, ready to be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question<A: Address> {
    tuple: Tuple<A>,
    is_sent: bool,
    draw: u64,
}

impl<A: Address> Question<A> {
    /// Of a packet's header; `None` where a replay would ask the program's nodes.
    pub fn new(program: &Program, header: &Header, context: &Context, seed: u64) -> Option<Self> {
        Some(Self {
            tuple: Tuple::of_flat(program, header, context)?,
            is_sent: context.hook == Hook::Output,
            draw: draw::number(header, seed),
        })
    }

    /// What its class is found by.
    #[inline(always)]
    pub fn key(&self) -> A::Key {
        self.tuple.key
    }
}

/// What the answers to many questions come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Packets whose source is masqueraded.
    pub masqueraded: u64,
    /// Packets that only the nodes can tell of.
    pub slow: u64,
}

/// What becomes of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether its source is masqueraded.
    pub is_masqueraded: bool,
    /// How its destination is rewritten.
    pub dnat: Option<DnatAct>,
}

/// The flat form of a program, to be asked.
#[derive(Clone, Copy, Debug)]
pub struct Alone<'p, A: Address> {
    program: &'p Program,
    lookup: &'p Lookup<A>,
    mark: u32,
}

impl<'p, A: Address> Alone<'p, A> {
    /// `lookup` is the program's own; packets start with `mark`.
    pub fn new(program: &'p Program, lookup: &'p Lookup<A>, mark: u32) -> Self {
        Self {
            program,
            lookup,
            mark,
        }
    }

    /// Only finds the class of each key; how many are not left to the nodes.
    pub fn find(&self, keys: &[A::Key]) -> usize {
        let at_hand = self.lookup.at_hand();
        let found = keys.chunks(BATCH).map(|batch| {
            let buckets = self.buckets(batch.iter().copied());
            let places = batch.iter().zip(buckets);
            let places = places.map(|(key, bucket)| at_hand.place(*key, bucket));
            places.filter(|place| self.lookup.is_here(*place)).count()
        });
        found.sum()
    }

    /// Decides all packets.
    pub fn decide(&self, questions: &[Question<A>]) -> Sum {
        let mut sum = Sum::default();
        for batch in questions.chunks(BATCH) {
            let mut drawn = [Drawn::default(); BATCH];
            let buckets = self.buckets(batch.iter().map(Question::key));
            for ((drawn, bucket), question) in drawn.iter_mut().zip(buckets).zip(batch) {
                *drawn = self.draw(self.place(question, bucket), question);
                if let Some(member) = self.lookup.members().get(drawn.member as usize) {
                    near::ask_for(member);
                }
            }
            for (drawn, question) in drawn.into_iter().zip(batch) {
                match self.leaf(drawn, question) {
                    Some((_, leaf)) => sum.masqueraded += u64::from(leaf.is_masqueraded()),
                    None => sum.slow += 1,
                }
            }
        }
        sum
    }

    /// Decides one packet; `None`: the nodes tell.
    pub fn answer(&self, question: &Question<A>) -> Option<Answer> {
        let bucket = self.lookup.bucket(question.key());
        let drawn = self.draw(self.place(question, bucket), question);
        let (member, leaf) = self.leaf(drawn, question)?;
        let act = self.lookup.dnat(member, leaf);
        let act = act.map(|act| self.program.act(act));
        Some(Answer {
            is_masqueraded: leaf.is_masqueraded(),
            dnat: act.and_then(|act| match act {
                Act::Dnat(dnat) => Some(dnat),
                _ => None,
            }),
        })
    }

    #[inline(always)]
    fn draw(&self, place: Place, question: &Question<A>) -> Drawn {
        let (tuple, is_sent) = (&question.tuple, question.is_sent);
        self.lookup
            .at_hand()
            .draw(place, question.draw, tuple, is_sent)
    }

    /// The member that a packet draws, and where it ends; `None`: the nodes tell.
    #[inline(always)]
    fn leaf(&self, drawn: Drawn, question: &Question<A>) -> Option<(u32, Leaf)> {
        let (member, answers) = drawn.settled().or_else(|| self.ask_more(drawn, question))?;
        let Member { own, row } = self.lookup.members()[member as usize];
        let is_own = own == question.tuple.source;
        let leaf = self.lookup.at_hand().leaf(row, answers, is_own);
        (!leaf.is_slow()).then_some((member, leaf))
    }

    /// The buckets of a batch's keys, all of which come nearer.
    #[inline(always)]
    fn buckets(&self, keys: impl Iterator<Item = A::Key>) -> [usize; BATCH] {
        let (sorter, mut buckets) = (self.lookup.sorter(), [0; BATCH]);
        for (bucket, key) in buckets.iter_mut().zip(keys) {
            let (at, line) = sorter.bucket(key);
            if let Some(line) = line {
                near::ask_for(line);
            }
            *bucket = at;
        }
        buckets
    }

    #[inline(always)]
    fn place(&self, question: &Question<A>, bucket: usize) -> Place {
        self.lookup.at_hand().place(question.tuple.key, bucket)
    }

    fn ask_more(&self, drawn: Drawn, question: &Question<A>) -> Option<(u32, u32)> {
        let context = Context {
            hook: if question.is_sent {
                Hook::Output
            } else {
                Hook::Prerouting
            },
            in_interface: None,
            mark: self.mark,
            ctstate: CtState::New,
            is_joined: false,
        };
        let Question { tuple, draw, .. } = question;
        self.lookup
            .ask_more(self.program, drawn, tuple, &context, *draw)
    }
}
