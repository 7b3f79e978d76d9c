//! Which entries are over, in the order in which they are: asked for once a table has been full, and kept from then on.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Entries by the time when they may be over. One that lives longer by then is put in again.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    /// Time and slot, the earliest first; a slot may stand here several times. `None`: nobody has asked yet.
    queue: Option<BinaryHeap<Reverse<(u64, u32)>>>,
}

/// So many more than twice as many as there are entries may stand here.
const FEW: usize = 1024;

impl Deadlines {
    /// An entry is over at a time that is earlier than those told of it before, if any.
    pub(super) fn add(&mut self, id: u32, deadline: u64) {
        if let Some(queue) = &mut self.queue {
            queue.push(Reverse((deadline, id)));
        }
    }

    /// Whether it has to be told of all entries first, of which there are so many.
    pub(super) fn is_to_be_filled(&self, entries: usize) -> bool {
        let most = 2 * entries + FEW;
        self.queue.as_ref().is_none_or(|queue| queue.len() > most)
    }

    /// Takes all entries over.
    pub(super) fn fill(&mut self, entries: impl Iterator<Item = (u32, u64)>) {
        let all = entries.map(|(id, deadline)| Reverse((deadline, id)));
        self.queue = Some(all.collect());
    }

    /// The next slot whose entry may be over.
    pub(super) fn next(&mut self, now: u64) -> Option<u32> {
        let queue = self.queue.as_mut()?;
        let Reverse((deadline, id)) = *queue.peek()?;
        (deadline <= now).then(|| {
            queue.pop();
            id
        })
    }
}
