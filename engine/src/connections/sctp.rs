//! SCTP's states (CONNTRACK.md 4.3), without verification tags.

use super::protocol::{Said, seconds};
use kpclass_ruleset::conntrack::{CtStatus, Direction, Settings};

const NO: u8 = 0;
const CL: u8 = 1;
const CW: u8 = 2;
const CE: u8 = 3;
const ES: u8 = 4;
const SS: u8 = 5;
const SR: u8 = 6;
const SA: u8 = 7;
const HS: u8 = 8;
/// Stands in the tables only.
const IV: u8 = 15;

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const HEARTBEAT: u8 = 4;
const HEARTBEAT_ACK: u8 = 5;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const ERROR: u8 = 9;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;

/// By chunk, then direction, then state.
#[rustfmt::skip]
const NEXT: [(u8, [[u8; 9]; 2]); 11] = [
    (INIT,              [[CL, CL, CW, CE, ES, CL, CL, SA, CW], [IV, CL, CW, CE, ES, SS, SR, SA, IV]]),
    (INIT_ACK,          [[CL, CL, CW, CE, ES, SS, SR, SA, CL], [IV, CW, CW, CE, ES, SS, SR, SA, IV]]),
    (ABORT,             [[CL, CL, CL, CL, CL, CL, CL, CL, CL], [IV, CL, CL, CL, CL, CL, CL, CL, IV]]),
    (SHUTDOWN,          [[CL, CL, CW, CE, SS, SS, SR, SA, CL], [IV, CL, CW, CE, SR, SS, SR, SA, IV]]),
    (SHUTDOWN_ACK,      [[SA, CL, CW, CE, ES, SA, SA, SA, SA], [IV, CL, CW, CE, ES, SA, SA, SA, IV]]),
    (ERROR,             [[CL, CL, CW, CE, ES, SS, SR, SA, CL], [IV, CL, CW, CL, ES, SS, SR, SA, IV]]),
    (COOKIE_ECHO,       [[CL, CL, CE, CE, ES, SS, SR, SA, CL], [IV, CL, CE, CE, ES, SS, SR, SA, IV]]),
    (COOKIE_ACK,        [[CL, CL, CW, ES, ES, SS, SR, SA, CL], [IV, CL, CW, ES, ES, SS, SR, SA, IV]]),
    (SHUTDOWN_COMPLETE, [[CL, CL, CW, CE, ES, SS, SR, CL, CL], [IV, CL, CW, CE, ES, SS, SR, CL, IV]]),
    (HEARTBEAT,         [[HS, CL, CW, CE, ES, SS, SR, SA, HS], [IV, CL, CW, CE, ES, SS, SR, SA, HS]]),
    (HEARTBEAT_ACK,     [[CL, CL, CW, CE, ES, SS, SR, SA, HS], [IV, CL, CW, CE, ES, SS, SR, SA, ES]]),
];

/// What an entry remembers of SCTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sctp {
    state: u8,
    /// A bit for each direction whose packets' tag is known.
    tags: u8,
}

/// Its packet is let in by any tag.
fn needs_no_tag(chunk: u8) -> bool {
    matches!(chunk, INIT | SHUTDOWN_ACK | HEARTBEAT | HEARTBEAT_ACK)
}

impl Sctp {
    pub(super) fn word(self) -> u16 {
        u16::from_le_bytes([self.state, self.tags])
    }

    pub(super) fn of_word(word: u16) -> Self {
        let [state, tags] = word.to_le_bytes();
        Self { state, tags }
    }

    /// `sctp_can_early_drop`.
    pub(super) fn is_closing(self) -> bool {
        matches!(self.state, SS | SR | SA)
    }

    /// One packet's chunks. `is_first`: the entry is not confirmed yet.
    pub(super) fn packet(
        &mut self,
        chunks: &[u8],
        direction: Direction,
        is_first: bool,
        status: &mut CtStatus,
        settings: &Settings,
    ) -> Said {
        let has_free = chunks.iter().any(|chunk| needs_no_tag(*chunk));
        if !stand_well(chunks) || is_first && !(has_free && chunks.iter().all(|c| may_begin(*c))) {
            return Said::Invalid;
        }
        let (own, other) = (1 << direction as u8, 1 << direction.inverse() as u8);
        if self.tags & own == 0 && !has_free {
            return Said::Invalid;
        }
        let mut refreshes = true;
        for chunk in chunks {
            match *chunk {
                INIT | INIT_ACK => self.tags |= other,
                HEARTBEAT | HEARTBEAT_ACK => self.tags |= own,
                ABORT | SHUTDOWN_COMPLETE | COOKIE_ECHO if self.tags & own == 0 => {
                    return Said::Invalid;
                }
                _ => {}
            }
            let old = self.state;
            let next = row(*chunk).map_or(old, |row| row[direction as usize][old as usize]);
            if next == IV || next == NO {
                return Said::Invalid;
            }
            refreshes &= !(*chunk == INIT && !is_first && old == CL && next == CL);
            self.state = next;
            if next == ES && old != ES {
                *status = status.with(CtStatus::ASSURED);
            }
        }
        match refreshes {
            true => seconds(self.timeout(settings)),
            false => Said::Valid(None),
        }
    }

    fn timeout(self, settings: &Settings) -> std::time::Duration {
        match self.state {
            CW => settings.sctp_cookie_wait,
            CE => settings.sctp_cookie_echoed,
            ES => settings.sctp_established,
            SS => settings.sctp_shutdown_sent,
            SR => settings.sctp_shutdown_recd,
            SA => settings.sctp_shutdown_ack_sent,
            HS => settings.sctp_heartbeat_sent,
            _ => settings.sctp_closed,
        }
    }
}

fn row(chunk: u8) -> Option<&'static [[u8; 9]; 2]> {
    let mut rows = NEXT.iter();
    rows.find(|(of, _)| *of == chunk).map(|(_, row)| row)
}

/// Each chunk stands where it may: alone, first, or anywhere.
fn stand_well(chunks: &[u8]) -> bool {
    let is_lone = |chunk: &u8| matches!(*chunk, INIT | INIT_ACK | SHUTDOWN_COMPLETE);
    let leads = |chunk: &u8| matches!(*chunk, COOKIE_ACK | COOKIE_ECHO);
    let Some((first, rest)) = chunks.split_first() else {
        return false;
    };
    rest.is_empty() || !is_lone(first) && !rest.iter().any(|c| is_lone(c) || leads(c))
}

/// A chunk that a first packet can hold.
fn may_begin(chunk: u8) -> bool {
    let never = matches!(chunk, ABORT | SHUTDOWN_COMPLETE | COOKIE_ECHO | COOKIE_ACK);
    row(chunk).is_some() && !never
}

/// Whether it begins a connection without an INIT or HEARTBEAT: which tags are right from then on depends on tags.
pub(super) fn is_out_of_the_blue(chunks: &[u8]) -> bool {
    !chunks
        .iter()
        .any(|chunk| matches!(*chunk, INIT | HEARTBEAT))
}
