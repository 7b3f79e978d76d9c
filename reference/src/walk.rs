//! The walk through chains: rules in order, the jump stack, and what stops it: the end, a draw, an unknown rule.

use crate::Walk;
use crate::assumption::Assumption;
use crate::draw::{Overlap, Share};
use crate::matches::{ask, has_effect, inside, recent};
use crate::probability::Chance;
use crate::state::{Event, Kept, Lost, Pending, State, Step};
use crate::truth::Truth;
use kpclass_ruleset::decision::{Decision, Disposition, Fact, MAX_FORKS, Unknown};
use kpclass_ruleset::matches::{Match, MatchKind, Statistic};
use kpclass_ruleset::target::Target;
use kpclass_ruleset::{Policy, Rule, RuleId};

/// One way asks at most so many rules: chains that jump twice to chains that jump twice take forever, in the kernel too.
const MAX_RULES: u32 = 1 << 22;

/// Why the walk stopped.
pub(crate) enum Stop {
    /// The packet's way ended.
    End(Decision),
    /// A draw with this chance to hit.
    Draw(Chance),
    /// A rule of which it is not known whether it matches.
    Fork(Unknown),
}

/// What came of asking a rule's matches.
enum Asked {
    Matches,
    Fails,
    Stop(Stop),
}

/// One way to its end, for a share of the numbers drawn.
#[derive(Clone, Debug)]
pub(crate) struct Way<S> {
    pub(crate) share: S,
    pub(crate) decision: Decision,
    pub(crate) path: Vec<Step>,
    pub(crate) assumptions: Vec<Assumption>,
    /// Where connections are followed, what is left of the packet.
    pub(crate) kept: Option<Kept>,
    /// If it came back by lo: what is left of it if it is lost before; or what it depends on.
    pub(crate) lost: Option<Result<Box<Lost>, Unknown>>,
}

impl<S> Way<S> {
    fn new(share: S, decision: Decision, state: State<'_>) -> Self {
        let kept = state.kept();
        let State {
            path,
            assumptions,
            lost,
            ..
        } = state;
        Self {
            share,
            decision,
            path,
            assumptions,
            kept,
            lost: lost.map(Ok),
        }
    }
}

impl Walk<'_> {
    /// Every way from `state` on, in the order of the numbers drawn.
    pub(crate) fn ways<S: Share>(&self, state: State<'_>, share: S) -> Vec<Way<S>> {
        let mut draws_left = S::MAX_DRAWS;
        self.follow(state, share, &mut draws_left)
    }

    /// Draws go onto a work list, so that their number costs no stack; an unknown rule calls this again, at most [`MAX_FORKS`] deep.
    fn follow<S: Share>(&self, state: State<'_>, share: S, draws_left: &mut u32) -> Vec<Way<S>> {
        let mut ways = Vec::new();
        let mut to_do = vec![(state, share)];
        while let Some((mut state, share)) = to_do.pop() {
            match self.advance(&mut state) {
                Stop::End(decision) => ways.push(Way::new(share, decision, state)),
                Stop::Fork(unknown) => {
                    ways.extend(self.follow_both(state, share, unknown, draws_left));
                }
                Stop::Draw(chance) => match share.split(chance) {
                    (Some(_), Some(_)) if *draws_left == 0 => {
                        let decision = state.unknown(state.present_rule(), Fact::TooMany);
                        ways.push(Way::new(share, decision, state));
                    }
                    (Some(hit), Some(miss)) => {
                        *draws_left -= 1;
                        let mut other = state.clone();
                        other.resume(false);
                        to_do.push((other, miss));
                        state.resume(true);
                        to_do.push((state, hit));
                    }
                    (hit, miss) => {
                        state.resume(hit.is_some());
                        to_do.extend(hit.or(miss).map(|share| (state, share)));
                    }
                },
            }
        }
        ways
    }

    /// Sentence 4.1, corpus `unknowns.toml`.
    fn follow_both<S: Share>(
        &self,
        mut state: State<'_>,
        share: S,
        unknown: Unknown,
        draws_left: &mut u32,
    ) -> Vec<Way<S>> {
        state.forks += 1;
        let mut until_here = state.path.clone();
        let mut passed = state.clone();
        passed.record(unknown.rule, Event::Immaterial(unknown.fact));
        passed.resume(false);
        state.record(unknown.rule, Event::Unknown(unknown.fact));
        until_here.extend(state.path.last());
        state.resume(true);
        let matched = self.follow(state, share.clone(), draws_left);
        let passed = self.follow(passed, share, draws_left);
        lay_over(matched, passed, unknown, |matched, passed| {
            let gave_up = [matched, passed]
                .into_iter()
                .find(|way| way.decision.gave_up());
            match gave_up {
                Some(way) => (way.decision.clone(), way.path.clone()),
                None if matched.decision == passed.decision
                    && (matched.decision.is_unknown() || matched.kept == passed.kept) =>
                {
                    (passed.decision.clone(), passed.path.clone())
                }
                None => (Decision::unknown(unknown), until_here.clone()),
            }
        })
    }

    /// On to the next stop.
    fn advance(&self, state: &mut State<'_>) -> Stop {
        loop {
            let stop = match (state.pending, state.frame) {
                (Some(Pending::NatAddress { .. }), _) => self.next_candidate(state),
                (_, Some(_)) => self.next_rule(state),
                (_, None) => self.next_leg(state),
            };
            if let Some(stop) = stop {
                return stop;
            }
        }
    }

    /// Sentences 3.1 and 3.3, corpus `chains.toml`.
    fn next_rule(&self, state: &mut State<'_>) -> Option<Stop> {
        if state.asking.at == 0 {
            self.pass_over(state);
        }
        let frame = state.frame?;
        if frame.next >= frame.end {
            return self.end_of_chain(state);
        }
        let id = RuleId(frame.next);
        let rule = self.ruleset.rule(id);
        if state.asking.at == 0 {
            state.rules_asked += 1;
            if state.rules_asked > MAX_RULES {
                return Some(Stop::End(state.unknown(Some(id), Fact::TooMany)));
            }
        }
        match self.ask_rule(state, id, rule) {
            Asked::Fails => {
                state.skip_rule();
                None
            }
            Asked::Matches => {
                state.skip_rule();
                self.apply(state, id, frame, &rule.target)
            }
            Asked::Stop(stop) => Some(stop),
        }
    }

    /// Goes behind the rules from here on whose first match is an address that the packet does not have, as most are: nothing else of them is asked.
    fn pass_over(&self, state: &mut State<'_>) {
        let Some(frame) = &mut state.frame else {
            return;
        };
        while frame.next < frame.end && state.rules_asked < MAX_RULES {
            let rule = self.ruleset.rule(RuleId(frame.next));
            let Some(first) = self.ruleset.matches(rule).first() else {
                return;
            };
            let truth = match &first.kind {
                MatchKind::Source(prefix) => inside(state.source, prefix),
                MatchKind::Destination(prefix) => inside(state.destination, prefix),
                _ => return,
            };
            if truth.inverted(first.inverted) != Truth::False {
                return;
            }
            state.rules_asked += 1;
            frame.next += 1;
        }
    }

    /// Back behind the rule that jumped, or to the policy.
    pub(crate) fn end_of_chain(&self, state: &mut State<'_>) -> Option<Stop> {
        if let Some(caller) = state.stack.pop() {
            state.frame = Some(caller);
            return None;
        }
        let base = state.base?;
        state.record(None, Event::Policy(base));
        state.leave_table();
        match self.ruleset.chain(base).policy {
            Policy::Accept => None,
            Policy::Drop => Some(Stop::End(state.decision(Disposition::Drop, None))),
        }
    }

    /// Asks a rule's matches in order, from where it was left.
    fn ask_rule(&self, state: &mut State<'_>, id: RuleId, rule: &Rule) -> Asked {
        let matches = self.ruleset.matches(rule);
        while let Some(m) = matches.get(state.asking.at) {
            if has_effect(&m.kind)
                && let Some(fact) = state.asking.open_unknown()
            {
                return fork(state, id, fact);
            }
            let truth = match &m.kind {
                MatchKind::Statistic(statistic) => return Asked::Stop(draw(state, *statistic, m)),
                MatchKind::Recent(r) => recent(state, r, m.inverted),
                kind => ask(self, state, kind).inverted(m.inverted),
            };
            match truth {
                Truth::True => {}
                Truth::False | Truth::Void => return Asked::Fails,
                Truth::Unknown(fact) => {
                    state.asking.unknown.get_or_insert(fact);
                }
            }
            state.asking.at += 1;
        }
        match state.asking.open_unknown() {
            None => Asked::Matches,
            Some(_)
                if changes_nothing(&rule.target)
                    && !matches.iter().any(|m| has_effect(&m.kind)) =>
            {
                Asked::Fails
            }
            Some(fact) => fork(state, id, fact),
        }
    }
}

impl crate::state::Asking {
    /// The missing fact, unless this is the way on which it is taken as true.
    fn open_unknown(&self) -> Option<Fact> {
        self.unknown.filter(|_| !self.assumed)
    }
}

/// Sentence 4.3, corpus `eleven-missing-facts-…`.
fn fork(state: &mut State<'_>, rule: RuleId, fact: Fact) -> Asked {
    if state.forks == MAX_FORKS {
        return Asked::Stop(Stop::End(state.unknown(Some(rule), Fact::TooMany)));
    }
    state.pending = Some(Pending::Rule);
    Asked::Stop(Stop::Fork(Unknown {
        rule: Some(rule),
        fact,
    }))
}

fn changes_nothing(target: &Target) -> bool {
    matches!(target, Target::None | Target::Transparent(_))
}

fn draw(state: &mut State<'_>, statistic: Statistic, m: &Match) -> Stop {
    state.pending = Some(Pending::Statistic {
        inverted: m.inverted,
    });
    Stop::Draw(match statistic {
        Statistic::Random { threshold } => Chance {
            hits: threshold.min(1 << 31),
            of: 1 << 31,
        },
        Statistic::Nth { every, .. } => {
            state.assume(Assumption::NthCounter);
            Chance {
                hits: 1,
                of: every.max(1),
            }
        }
    })
}

/// Lays two sequences of ways over one another, share by share, between which the unknown decides; `decide` says what comes of two ways. The assumptions
/// are both ways'.
fn lay_over<S: Share>(
    first: Vec<Way<S>>,
    second: Vec<Way<S>>,
    unknown: Unknown,
    decide: impl Fn(&Way<S>, &Way<S>) -> (Decision, Vec<Step>),
) -> Vec<Way<S>> {
    let mut ways = Vec::new();
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let (mut a, mut b) = (first.next(), second.next());
    while let (Some(mut x), Some(mut y)) = (a.take(), b.take()) {
        let (decision, path) = decide(&x, &y);
        let mut assumptions = x.assumptions.clone();
        assumptions.extend(
            y.assumptions
                .iter()
                .filter(|s| !x.assumptions.contains(s))
                .cloned(),
        );
        let Overlap {
            both,
            first: rest_x,
            second: rest_y,
        } = x.share.clone().overlap(y.share.clone());
        ways.push(Way {
            share: both,
            decision,
            path,
            assumptions,
            kept: x.kept.clone(),
            lost: match x.lost == y.lost {
                true => x.lost.clone(),
                false => Some(Err(unknown)),
            },
        });
        a = match rest_x {
            Some(share) => {
                x.share = share;
                Some(x)
            }
            None => first.next(),
        };
        b = match rest_y {
            Some(share) => {
                y.share = share;
                Some(y)
            }
            None => second.next(),
        };
    }
    ways
}
