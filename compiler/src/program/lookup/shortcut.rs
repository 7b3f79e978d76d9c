//! What a plan asks of packets whose addresses are both ordinary is mostly whose they are. All of that is answered beforehand, so that a draw
//! can be settled where it is made.

use super::{Address, Ask, Drawn, Lookup, NOWHERE, Plan, Tuple};

/// A plan, as such packets go through it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shortcut {
    /// The answers, as [`Drawn`] holds them, by whether the source is the node's, and above that whether the destination is.
    answers: [u16; 4],
    /// Those of the questions that are asked of each packet, as bits.
    open: u16,
    /// Whether there is none that asks for more than addresses.
    is_here: bool,
    first_ask: u32,
    first_choice: u32,
}

const _: () = assert!(size_of::<Shortcut>() == 20);

impl Shortcut {
    pub(super) fn new<A: Address>(plan: &Plan<A>, asks: &[Ask<A>]) -> Self {
        let mut shortcut = Self {
            answers: [0; 4],
            open: 0,
            is_here: true,
            first_ask: plan.first_ask,
            first_choice: plan.first_choice,
        };
        let asks = &asks[plan.first_ask as usize..][..plan.asks as usize];
        for (at, ask) in asks.iter().enumerate() {
            for (whose, answers) in shortcut.answers.iter_mut().enumerate() {
                match ask.told_by([whose & 1 != 0, whose & 2 != 0]) {
                    Told::Answer(answer) => *answers |= u16::from(answer) << (at + 3),
                    Told::Asked => shortcut.open |= 1 << at,
                    Told::Not => shortcut.is_here = false,
                }
            }
        }
        shortcut
    }
}

/// What whose the addresses are says of a question.
enum Told {
    Answer(bool),
    /// It is asked of the addresses themselves.
    Asked,
    /// Nothing.
    Not,
}

impl<A: Address> Ask<A> {
    /// Of ordinary addresses, source and destination, of which each is the node's or not.
    fn told_by(&self, [from, to]: [bool; 2]) -> Told {
        match *self {
            Self::Source { mask, value } | Self::Destination { mask, value } => {
                match A::holds_no_ordinary(mask, value) {
                    true => Told::Answer(false),
                    false => Told::Asked,
                }
            }
            Self::IsRoutedHere | Self::ComesBack(_) => Told::Answer(to),
            Self::IsRefused(_) => Told::Answer(false),
            Self::TypeOf {
                source,
                here,
                elsewhere,
                ..
            } => Told::Answer(match if source { from } else { to } {
                true => here,
                false => elsewhere,
            }),
            Self::Test(_) => Told::Not,
        }
    }
}

impl<A: Address> Lookup<A> {
    /// The same, settled, where more is to be asked and the addresses answer it.
    #[inline(always)]
    pub(super) fn settle(&self, drawn: Drawn, tuple: &Tuple<A>, draw: u64) -> Drawn {
        match drawn.settled() {
            Some(_) => drawn,
            None => self.settle_asked(drawn, tuple, draw).unwrap_or(drawn),
        }
    }

    #[inline(never)]
    fn settle_asked(&self, drawn: Drawn, tuple: &Tuple<A>, draw: u64) -> Option<Drawn> {
        let shortcut = self.shortcuts.get(drawn.plan())?;
        let (slots, to) = (self.locals.slots(), tuple.destination());
        let are_ordinary = tuple.source.is_ordinary() & to.is_ordinary();
        if !shortcut.is_here || !are_ordinary || slots.is_crowded() {
            return None;
        }
        let whose = usize::from(slots.hold(tuple.source)) | usize::from(slots.hold(to)) << 1;
        let mut answers = drawn.answers_so_far() | u32::from(shortcut.answers[whose]);
        let mut open = shortcut.open;
        while open != 0 {
            let at = open.trailing_zeros();
            let answer = match self.asks.get((shortcut.first_ask + at) as usize)? {
                Ask::Source { mask, value } => tuple.source.is_in(*mask, *value),
                Ask::Destination { mask, value } => tuple.destination().is_in(*mask, *value),
                _ => return None,
            };
            answers |= u32::from(answer) << (at + 3);
            open &= open - 1;
        }
        let member = match shortcut.first_choice {
            NOWHERE => drawn.member,
            first => {
                let set = self.choices.get((first + (answers >> 1)) as usize)?;
                drawn.member + set.offset + self.drawn(set, draw)
            }
        };
        Some(Drawn { member, answers })
    }
}
