//! TCP's states (CONNTRACK.md 4.1), without windows.

use super::protocol::Said;
use kpclass_ruleset::conntrack::{CtStatus, Direction, Settings};
use kpclass_ruleset::packet::tcp_flag;
use std::time::Duration;

/// The states, in the order of the tables' columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum TcpState {
    #[default]
    None,
    SynSent,
    SynRecv,
    Established,
    FinWait,
    CloseWait,
    LastAck,
    TimeWait,
    Close,
    SynSent2,
}

use TcpState::{
    Close, CloseWait, Established, FinWait, LastAck, None as No, SynRecv, SynSent, SynSent2,
    TimeWait,
};

/// The kinds of segments, in the order of the tables' rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Syn,
    SynAck,
    Fin,
    Ack,
    Rst,
    Nothing,
}

/// What a table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    To(TcpState),
    Ignore,
    Invalid,
}

const IV: Next = Next::Invalid;
const IG: Next = Next::Ignore;
const fn to(state: TcpState) -> Next {
    Next::To(state)
}
const SS: Next = to(SynSent);
const SR: Next = to(SynRecv);
const ES: Next = to(Established);
const FW: Next = to(FinWait);
const CW: Next = to(CloseWait);
const LA: Next = to(LastAck);
const TW: Next = to(TimeWait);
const CL: Next = to(Close);
const S2: Next = to(SynSent2);

const ORIGINAL: [[Next; 10]; 6] = [
    [SS, SS, IG, IG, IG, IG, IG, SS, SS, S2],
    [IV, IV, SR, IV, IV, IV, IV, IV, IV, SR],
    [IV, IV, FW, FW, LA, LA, LA, TW, CL, IV],
    [ES, IV, ES, ES, CW, CW, TW, TW, CL, IV],
    [IV, CL, CL, CL, CL, CL, CL, CL, CL, CL],
    [IV; 10],
];
const REPLY: [[Next; 10]; 6] = [
    [IV, S2, IV, IV, IV, IV, IV, SS, IV, S2],
    [IV, SR, IG, IG, IG, IG, IG, IG, IG, SR],
    [IV, IV, FW, FW, LA, LA, LA, TW, CL, IV],
    [IV, IG, SR, ES, CW, CW, TW, TW, CL, IG],
    [IV, CL, CL, CL, CL, CL, CL, CL, CL, CL],
    [IV; 10],
];

/// What an entry remembers of TCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tcp {
    pub(super) state: TcpState,
    /// The last segment that was accepted or ignored.
    last: Option<(Kind, Direction)>,
    /// It was ignored.
    pub(super) is_last_ignored: bool,
    close_init: bool,
    simultaneous: bool,
    challenge: bool,
}

impl Tcp {
    /// One segment. `status` is the entry's, as before it.
    pub(super) fn segment(
        &mut self,
        flags: u8,
        direction: Direction,
        status: &mut CtStatus,
        settings: &Settings,
    ) -> Said {
        let kind = Kind::of(flags);
        if !is_valid(flags) {
            return Said::Invalid;
        }
        let old = self.state;
        if old == No && kind == Kind::Ack && !settings.tcp_loose {
            return Said::Invalid;
        }
        let table = match direction {
            Direction::Original => &ORIGINAL,
            Direction::Reply => &REPLY,
        };
        let answers_ignored_syn = kind == Kind::SynAck
            && self.is_last_ignored
            && self.last == Some((Kind::Syn, direction.inverse()));
        let new = match table[kind as usize][old as usize] {
            Next::Invalid => return Said::Invalid,
            Next::To(SynSent) if matches!(old, TimeWait | Close) => {
                if self.close_init || self.last == Some((Kind::Rst, direction)) {
                    return Said::BeginsAnew;
                }
                return self.ignore(kind, direction);
            }
            Next::Ignore if answers_ignored_syn => {
                (self.close_init, self.simultaneous, self.challenge) = (false, false, false);
                SynRecv
            }
            Next::Ignore => return self.ignore(kind, direction),
            Next::To(TimeWait) if self.is_challenge_ack(kind, direction) => {
                self.challenge = false;
                return Said::Valid(None);
            }
            Next::To(SynRecv)
                if self.simultaneous && kind == Kind::Ack && direction == Direction::Reply =>
            {
                Established
            }
            Next::To(state) => state,
        };
        self.simultaneous |= new == SynSent2;
        self.accept(kind, direction, new, status, settings)
    }

    /// An RFC 5961 challenge in answer to a SYN, which does not acknowledge the last FIN.
    fn is_challenge_ack(&self, kind: Kind, direction: Direction) -> bool {
        self.state == LastAck
            && kind == Kind::Ack
            && self.challenge
            && self.last == Some((Kind::Syn, direction.inverse()))
    }

    fn ignore(&mut self, kind: Kind, direction: Direction) -> Said {
        self.last = Some((kind, direction));
        self.is_last_ignored = true;
        if kind == Kind::Syn && direction == Direction::Original {
            self.simultaneous = false;
            self.challenge = self.state == LastAck;
        }
        Said::Valid(None)
    }

    fn accept(
        &mut self,
        kind: Kind,
        direction: Direction,
        new: TcpState,
        status: &mut CtStatus,
        settings: &Settings,
    ) -> Said {
        let old = self.state;
        self.last = Some((kind, direction));
        self.is_last_ignored = false;
        self.state = new;
        self.close_init |= new == FinWait && old != FinWait;
        let mut timeout = match kind {
            Kind::Rst => settings.tcp_close,
            _ => new.timeout(settings),
        };
        if !status.intersects(CtStatus::SEEN_REPLY) {
            if kind == Kind::Rst {
                return Said::Gone;
            }
            if kind == Kind::Syn && old == SynSent {
                return Said::Valid(None);
            }
            if new == Established {
                timeout = timeout.min(settings.tcp_unacknowledged);
            }
        } else if matches!(old, SynRecv | Established) && new == Established {
            *status = status.with(CtStatus::ASSURED);
        }
        Said::Valid(Some(timeout))
    }

    /// A `REJECT --reject-with tcp-reset` of one of its packets; the timeout from then on, unless it stays.
    pub(super) fn set_closing(&mut self, settings: &Settings) -> Option<Duration> {
        let was = std::mem::replace(&mut self.state, Close);
        (was != Close).then_some(settings.tcp_close)
    }
}

impl TcpState {
    fn timeout(self, settings: &Settings) -> Duration {
        match self {
            No | SynSent => settings.tcp_syn_sent,
            SynSent2 => Settings::TCP_SYN_SENT2,
            SynRecv => settings.tcp_syn_recv,
            Established => settings.tcp_established,
            FinWait => settings.tcp_fin_wait,
            CloseWait => settings.tcp_close_wait,
            LastAck => settings.tcp_last_ack,
            TimeWait => settings.tcp_time_wait,
            Close => settings.tcp_close,
        }
    }
}

impl Kind {
    fn of(flags: u8) -> Self {
        use tcp_flag::{ACK, FIN, RST, SYN};
        match flags {
            f if f & RST != 0 => Self::Rst,
            f if f & SYN != 0 && f & ACK != 0 => Self::SynAck,
            f if f & SYN != 0 => Self::Syn,
            f if f & FIN != 0 => Self::Fin,
            f if f & ACK != 0 => Self::Ack,
            _ => Self::Nothing,
        }
    }
}

/// `tcp_valid_flags`.
fn is_valid(flags: u8) -> bool {
    use tcp_flag::{ACK, CWR, ECE, FIN, PSH, RST, SYN, URG};
    const VALID: [u8; 9] = [
        SYN,
        SYN | URG,
        SYN | ACK,
        RST,
        RST | ACK,
        FIN | ACK,
        FIN | ACK | URG,
        ACK,
        ACK | URG,
    ];
    VALID.contains(&(flags & !(ECE | CWR | PSH)))
}
