//! SCTP's states (CONNTRACK.md 4.3), without verification tags.

use super::protocol::Said;
use kpclass_ruleset::conntrack::{CtStatus, Direction, Settings};
use std::time::Duration;

/// The states, in the order of the tables' columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SctpState {
    #[default]
    None,
    Closed,
    CookieWait,
    CookieEchoed,
    Established,
    ShutdownSent,
    ShutdownRecd,
    ShutdownAckSent,
    HeartbeatSent,
}

use SctpState::{
    Closed as CL, CookieEchoed as CE, CookieWait as CW, Established as ES, HeartbeatSent as HS,
    None as NO, ShutdownAckSent as SA, ShutdownRecd as SR, ShutdownSent as SS,
};

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

/// The chunks that have a row, in the rows' order.
const ROWS: [u8; 11] = [
    INIT,
    INIT_ACK,
    ABORT,
    SHUTDOWN,
    SHUTDOWN_ACK,
    ERROR,
    COOKIE_ECHO,
    COOKIE_ACK,
    SHUTDOWN_COMPLETE,
    HEARTBEAT,
    HEARTBEAT_ACK,
];

const ORIGINAL: [[SctpState; 9]; 11] = [
    [CL, CL, CW, CE, ES, CL, CL, SA, CW],
    [CL, CL, CW, CE, ES, SS, SR, SA, CL],
    [CL, CL, CL, CL, CL, CL, CL, CL, CL],
    [CL, CL, CW, CE, SS, SS, SR, SA, CL],
    [SA, CL, CW, CE, ES, SA, SA, SA, SA],
    [CL, CL, CW, CE, ES, SS, SR, SA, CL],
    [CL, CL, CE, CE, ES, SS, SR, SA, CL],
    [CL, CL, CW, ES, ES, SS, SR, SA, CL],
    [CL, CL, CW, CE, ES, SS, SR, CL, CL],
    [HS, CL, CW, CE, ES, SS, SR, SA, HS],
    [CL, CL, CW, CE, ES, SS, SR, SA, HS],
];

/// NO stands for invalid: no chunk leads back to it.
const REPLY: [[SctpState; 9]; 11] = [
    [NO, CL, CW, CE, ES, SS, SR, SA, NO],
    [NO, CW, CW, CE, ES, SS, SR, SA, NO],
    [NO, CL, CL, CL, CL, CL, CL, CL, NO],
    [NO, CL, CW, CE, SR, SS, SR, SA, NO],
    [NO, CL, CW, CE, ES, SA, SA, SA, NO],
    [NO, CL, CW, CL, ES, SS, SR, SA, NO],
    [NO, CL, CE, CE, ES, SS, SR, SA, NO],
    [NO, CL, CW, ES, ES, SS, SR, SA, NO],
    [NO, CL, CW, CE, ES, SS, SR, CL, NO],
    [NO, CL, CW, CE, ES, SS, SR, SA, HS],
    [NO, CL, CW, CE, ES, SS, SR, SA, ES],
];

/// What an entry remembers of SCTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sctp {
    pub(super) state: SctpState,
    /// Whether the tag is known that packets of each direction carry, the original one first.
    knows_tag: [bool; 2],
}

/// Chunks whose packets are let in by any tag.
const BY_ANY_TAG: [u8; 4] = [INIT, SHUTDOWN_ACK, HEARTBEAT, HEARTBEAT_ACK];

impl Sctp {
    /// One packet's chunks. `is_first`: the entry is not confirmed yet.
    pub(super) fn packet(
        &mut self,
        chunks: &[u8],
        direction: Direction,
        is_first: bool,
        status: &mut CtStatus,
        settings: &Settings,
    ) -> Said {
        if !stand_well(chunks) || is_first && !may_be_first(chunks) {
            return Said::Invalid;
        }
        let table = match direction {
            Direction::Original => &ORIGINAL,
            Direction::Reply => &REPLY,
        };
        let (own, other) = (direction as usize, direction.inverse() as usize);
        if !self.knows_tag[own] && !chunks.iter().any(|chunk| BY_ANY_TAG.contains(chunk)) {
            return Said::Invalid;
        }
        let mut refreshes = true;
        for chunk in chunks {
            match *chunk {
                INIT | INIT_ACK => self.knows_tag[other] = true,
                HEARTBEAT | HEARTBEAT_ACK => self.knows_tag[own] = true,
                ABORT | SHUTDOWN_COMPLETE | COOKIE_ECHO if !self.knows_tag[own] => {
                    return Said::Invalid;
                }
                _ => {}
            }
            let old = self.state;
            let row = ROWS.iter().position(|of| of == chunk);
            let new = row.map_or(old, |row| table[row][old as usize]);
            if new == NO {
                return Said::Invalid;
            }
            if *chunk == INIT && !is_first && (old, new) == (CL, CL) {
                refreshes = false;
            }
            self.state = new;
            if new == ES && old != ES {
                *status = status.with(CtStatus::ASSURED);
            }
        }
        Said::Valid(refreshes.then(|| self.state.timeout(settings)))
    }
}

impl SctpState {
    fn timeout(self, settings: &Settings) -> Duration {
        match self {
            NO | CL => settings.sctp_closed,
            CW => settings.sctp_cookie_wait,
            CE => settings.sctp_cookie_echoed,
            ES => settings.sctp_established,
            SS => settings.sctp_shutdown_sent,
            SR => settings.sctp_shutdown_recd,
            SA => settings.sctp_shutdown_ack_sent,
            HS => settings.sctp_heartbeat_sent,
        }
    }
}

/// `do_basic_checks`.
fn stand_well(chunks: &[u8]) -> bool {
    let mut is_alone = false;
    for (at, chunk) in chunks.iter().enumerate() {
        is_alone |= matches!(*chunk, INIT | INIT_ACK | SHUTDOWN_COMPLETE);
        let is_led = matches!(*chunk, COOKIE_ACK | COOKIE_ECHO) || is_alone;
        if is_led && at != 0 {
            return false;
        }
    }
    !chunks.is_empty()
}

/// `sctp_new`, and what is out of the blue: but for these kinds the tag would have to be 0.
fn may_be_first(chunks: &[u8]) -> bool {
    let never = [ABORT, SHUTDOWN_COMPLETE, COOKIE_ECHO, COOKIE_ACK];
    let well = |chunk: &u8| ROWS.contains(chunk) && !never.contains(chunk);
    chunks.iter().all(well) && chunks.iter().any(|chunk| BY_ANY_TAG.contains(chunk))
}
