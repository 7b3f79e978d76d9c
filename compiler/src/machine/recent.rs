//! WALK.md, recent: only what this walk itself put into the lists is there. Whether an address is one that was put there may be left to the packet.

use super::Machine;
use super::ask::{Answer, UNKNOWN_LOCAL, destination_of, source_of};
use super::ops::{CHOSEN, POSITION};
use super::state::{NONE, State};
use crate::graph::RecentAsk;
use crate::program::test::{AddressOf, Test};
use kpclass_ruleset::StrId;
use kpclass_ruleset::matches::RecentOperation;

/// An address in a list, under a mask, and how often it was put there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remembered {
    list: StrId,
    address: AddressOf,
    mask: u128,
    count: u32,
}

impl Machine<'_> {
    /// Asks and changes the state's entries. Of an entry that may be the address's or not, the packet is asked first; [`State::choice`] notes which
    /// entries are not, or which one is.
    pub(super) fn recent(&mut self, state: &mut State, ask: RecentAsk, inverted: bool) -> Answer {
        let address = match ask.by_destination {
            true => destination_of(state),
            false => source_of(self.graph, state),
        };
        let Some(address) = address else {
            return UNKNOWN_LOCAL;
        };
        let mut entries = match state.recent {
            NONE => Vec::new(),
            id => self.recents[id as usize].clone(),
        };
        let at = match find(&entries, ask, address, state.choice) {
            Ok(at) => at,
            Err((at, test)) => return Answer::Ask(test, at as u16),
        };
        state.choice = 0;
        let hit = at.is_some_and(|at| ask.hitcount == 0 || entries[at].count >= ask.hitcount);
        let hit = match ask.operation {
            RecentOperation::Set => true,
            RecentOperation::Remove => at.is_some(),
            RecentOperation::Check | RecentOperation::Update => hit,
        };
        match (ask.operation, at) {
            (RecentOperation::Set, None) => entries.push(Remembered {
                list: ask.list,
                address,
                mask: ask.mask,
                count: 1,
            }),
            (RecentOperation::Set, Some(at)) => entries[at].count += 1,
            (RecentOperation::Update, Some(at)) if hit != inverted => entries[at].count += 1,
            (RecentOperation::Remove, Some(at)) => drop(entries.remove(at)),
            _ => return Answer::Known(hit),
        }
        state.recent = self.recent_entries(entries);
        Answer::Known(hit)
    }
}

/// The address's entry, or the next one that may be it and the test that tells.
fn find(
    entries: &[Remembered],
    ask: RecentAsk,
    address: AddressOf,
    choice: u16,
) -> Result<Option<usize>, (usize, Test)> {
    let first = usize::from(choice & POSITION);
    if choice & CHOSEN != 0 {
        return Ok(Some(first));
    }
    for (at, entry) in entries.iter().enumerate().skip(first) {
        let (here, there) = ((address, ask.mask), (entry.address, entry.mask));
        if entry.list != ask.list {
            continue;
        }
        match (here, there) {
            _ if here == there => return Ok(Some(at)),
            ((AddressOf::Known(a), m), (AddressOf::Known(b), n)) => {
                if a & m == b & n {
                    return Ok(Some(at));
                }
            }
            _ => return Err((at, Test::SameAddress(here, there))),
        }
    }
    Ok(None)
}
