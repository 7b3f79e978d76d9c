//! TCP's states (CONNTRACK.md 4.1), without windows.

use super::protocol::{Said, nanos};
use kpclass_ruleset::conntrack::{CtStatus, Direction, Settings};
use kpclass_ruleset::packet::tcp_flag::{ACK, CWR, ECE, FIN, PSH, RST, SYN, URG};

/// States, in the order of the tables' columns; [`IG`] and [`IV`] stand in their fields only.
const NO: u8 = 0;
const SS: u8 = 1;
const SR: u8 = 2;
const ES: u8 = 3;
const FW: u8 = 4;
const CW: u8 = 5;
const LA: u8 = 6;
const TW: u8 = 7;
const CL: u8 = 8;
const S2: u8 = 9;
const STATES: usize = 10;
const IG: u8 = 14;
const IV: u8 = 15;

/// How long a connection lives in each state, in nanoseconds.
#[derive(Clone, Debug)]
pub(super) struct Timeouts {
    of_state: [u64; STATES],
    unacknowledged: u64,
    /// Connections are picked up in the middle.
    loose: bool,
}

impl Timeouts {
    pub(super) fn new(settings: &Settings) -> Self {
        let of_state = |state| match state {
            SR => settings.tcp_syn_recv,
            ES => settings.tcp_established,
            FW => settings.tcp_fin_wait,
            CW => settings.tcp_close_wait,
            LA => settings.tcp_last_ack,
            TW => settings.tcp_time_wait,
            CL => settings.tcp_close,
            S2 => Settings::TCP_SYN_SENT2,
            _ => settings.tcp_syn_sent,
        };
        Self {
            of_state: std::array::from_fn(|state| nanos(of_state(state as u8))),
            unacknowledged: nanos(settings.tcp_unacknowledged),
            loose: settings.tcp_loose,
        }
    }
}

/// Kinds of segments, in the order of the rows.
const KIND_SYN: u8 = 0;
const KIND_SYNACK: u8 = 1;
const KIND_FIN: u8 = 2;
const KIND_ACK: u8 = 3;
const KIND_RST: u8 = 4;
const KIND_NONE: u8 = 5;

/// No segment yet.
const NO_KIND: u8 = 7;

/// By direction, kind and state.
#[rustfmt::skip]
const NEXT: [[[u8; 10]; 6]; 2] = [
    [
        [SS, SS, IG, IG, IG, IG, IG, SS, SS, S2],
        [IV, IV, SR, IV, IV, IV, IV, IV, IV, SR],
        [IV, IV, FW, FW, LA, LA, LA, TW, CL, IV],
        [ES, IV, ES, ES, CW, CW, TW, TW, CL, IV],
        [IV, CL, CL, CL, CL, CL, CL, CL, CL, CL],
        [IV, IV, IV, IV, IV, IV, IV, IV, IV, IV],
    ],
    [
        [IV, S2, IV, IV, IV, IV, IV, SS, IV, S2],
        [IV, SR, IG, IG, IG, IG, IG, IG, IG, SR],
        [IV, IV, FW, FW, LA, LA, LA, TW, CL, IV],
        [IV, IG, SR, ES, CW, CW, TW, TW, CL, IG],
        [IV, CL, CL, CL, CL, CL, CL, CL, CL, CL],
        [IV, IV, IV, IV, IV, IV, IV, IV, IV, IV],
    ],
];

/// By flags; [`KIND_NONE`] of those that no segment may have.
const KINDS: [u8; 256] = {
    let mut kinds = [KIND_NONE; 256];
    let mut flags = 0;
    while flags < kinds.len() {
        kinds[flags] = kind(flags as u8);
        flags += 1;
    }
    kinds
};

/// What an entry remembers of TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tcp {
    state: u8,
    /// Kind of the last segment that was accepted or ignored.
    last: u8,
    last_direction: Direction,
    flags: u8,
}

/// The last segment was ignored.
const IGNORED: u8 = 1;
/// A FIN brought it into FIN_WAIT.
const CLOSE_INIT: u8 = 1 << 1;
const SIMULTANEOUS: u8 = 1 << 2;
const CHALLENGE: u8 = 1 << 3;

impl Default for Tcp {
    fn default() -> Self {
        Self {
            state: NO,
            last: NO_KIND,
            last_direction: Direction::Original,
            flags: 0,
        }
    }
}

impl Tcp {
    #[inline(always)]
    pub(super) fn word(self) -> u32 {
        u32::from_le_bytes([self.state, self.last, self.last_direction as u8, self.flags])
    }

    #[inline(always)]
    pub(super) fn of_word(word: u32) -> Self {
        let [state, last, direction, flags] = word.to_le_bytes();
        Self {
            state,
            last,
            last_direction: match direction {
                0 => Direction::Original,
                _ => Direction::Reply,
            },
            flags,
        }
    }

    /// `tcp_can_early_drop`.
    pub(super) fn is_closing(self) -> bool {
        matches!(self.state, FW | CW | LA | TW | CL)
    }

    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn set(&mut self, flag: u8, on: bool) {
        self.flags = if on {
            self.flags | flag
        } else {
            self.flags & !flag
        };
    }

    fn last_was(self, kind: u8, direction: Direction) -> bool {
        self.last == kind && self.last_direction == direction
    }

    fn note(&mut self, kind: u8, direction: Direction, ignored: bool) {
        (self.last, self.last_direction) = (kind, direction);
        self.set(IGNORED, ignored);
    }

    /// One segment. `status` is the entry's, as before it.
    #[inline(always)]
    pub(super) fn segment(
        &mut self,
        flags: u8,
        direction: Direction,
        status: &mut CtStatus,
        timeouts: &Timeouts,
    ) -> Said {
        let kind = KINDS[usize::from(flags)];
        // What most segments are, in short.
        if kind == KIND_ACK && self.state == ES && status.intersects(CtStatus::SEEN_REPLY) {
            self.note(kind, direction, false);
            *status = status.with(CtStatus::ASSURED);
            return Said::Valid(Some(timeouts.of_state[usize::from(ES)]));
        }
        let said;
        (*self, *status, said) = self.other(kind, direction, *status, timeouts);
        said
    }

    /// Any other. Values go in and come out: what is referred to does not stay in registers, not even of those above.
    #[inline(never)]
    fn other(
        mut self,
        kind: u8,
        direction: Direction,
        mut status: CtStatus,
        timeouts: &Timeouts,
    ) -> (Self, CtStatus, Said) {
        let said = self.take(kind, direction, &mut status, timeouts);
        (self, status, said)
    }

    fn take(
        &mut self,
        kind: u8,
        direction: Direction,
        status: &mut CtStatus,
        timeouts: &Timeouts,
    ) -> Said {
        let is_pickup = self.state == NO && kind == KIND_ACK;
        if kind == KIND_NONE || is_pickup && !timeouts.loose {
            return Said::Invalid;
        }
        let other = direction.inverse();
        let mut next = NEXT[direction as usize][kind as usize][self.state as usize];
        if next == IG && kind == KIND_SYNACK && self.has(IGNORED) && self.last_was(KIND_SYN, other)
        {
            self.flags &= !(CLOSE_INIT | SIMULTANEOUS | CHALLENGE);
            next = SR;
        }
        let answers_challenge = self.state == LA
            && kind == KIND_ACK
            && self.has(CHALLENGE)
            && self.last_was(KIND_SYN, other);
        match next {
            IV => return Said::Invalid,
            IG => return self.ignore(kind, direction),
            SS if self.state == TW || self.state == CL => {
                let begins = self.has(CLOSE_INIT) || self.last_was(KIND_RST, direction);
                return match begins {
                    true => Said::BeginsAnew,
                    false => self.ignore(kind, direction),
                };
            }
            TW if answers_challenge => {
                self.set(CHALLENGE, false);
                return Said::Valid(None);
            }
            SR if self.has(SIMULTANEOUS) && kind == KIND_ACK && direction == Direction::Reply => {
                next = ES;
            }
            S2 => self.set(SIMULTANEOUS, true),
            _ => {}
        }
        self.accept(kind, direction, next, status, timeouts)
    }

    fn ignore(&mut self, kind: u8, direction: Direction) -> Said {
        self.note(kind, direction, true);
        if kind == KIND_SYN && direction == Direction::Original {
            self.set(SIMULTANEOUS, false);
            self.set(CHALLENGE, self.state == LA);
        }
        Said::Valid(None)
    }

    fn accept(
        &mut self,
        kind: u8,
        direction: Direction,
        next: u8,
        status: &mut CtStatus,
        timeouts: &Timeouts,
    ) -> Said {
        let old = std::mem::replace(&mut self.state, next);
        self.note(kind, direction, false);
        if next == FW && old != FW {
            self.set(CLOSE_INIT, true);
        }
        let state = if kind == KIND_RST { CL } else { next };
        let timeout = timeouts.of_state[usize::from(state)];
        let has_reply = status.intersects(CtStatus::SEEN_REPLY);
        match (kind, old, next) {
            (KIND_RST, ..) if !has_reply => Said::Gone,
            (KIND_SYN, SS, _) if !has_reply => Said::Valid(None),
            (_, _, ES) if !has_reply => Said::Valid(Some(timeout.min(timeouts.unacknowledged))),
            (_, SR | ES, ES) => {
                *status = status.with(CtStatus::ASSURED);
                Said::Valid(Some(timeout))
            }
            _ => Said::Valid(Some(timeout)),
        }
    }

    /// Whether a segment, before which it was so, was an acknowledgment like any other.
    pub(super) fn says_no_more_than(self, before: Self) -> bool {
        self.last == KIND_ACK && (self.state, self.flags) == (before.state, before.flags)
    }

    /// A `REJECT --reject-with tcp-reset` of one of its packets: whether it was not closed already.
    pub(super) fn set_closing(&mut self) -> bool {
        std::mem::replace(&mut self.state, CL) != CL
    }
}

const fn kind(flags: u8) -> u8 {
    match flags & (SYN | ACK | FIN | RST) {
        _ if !are_valid(flags) => KIND_NONE,
        f if f & RST != 0 => KIND_RST,
        f if f & SYN != 0 && f & ACK != 0 => KIND_SYNACK,
        f if f & SYN != 0 => KIND_SYN,
        f if f & FIN != 0 => KIND_FIN,
        f if f & ACK != 0 => KIND_ACK,
        _ => KIND_NONE,
    }
}

/// `tcp_valid_flags`.
const fn are_valid(flags: u8) -> bool {
    let urgent = URG & flags;
    match flags & !(ECE | CWR | PSH | URG) {
        SYN | ACK => true,
        f if f == FIN | ACK => true,
        f if f == SYN | ACK || f == RST || f == RST | ACK => urgent == 0,
        _ => false,
    }
}
