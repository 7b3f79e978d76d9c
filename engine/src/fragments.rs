//! Fragments joined before any rule, as `nf_defrag_ipv4` and `nf_defrag_ipv6` do while conntrack is on (CONNTRACK.md 9).
//!
//! ```text
//! fragment ─► key ─► Queue (pieces by offset) ─► held │ gone, and why │ whole: the datagram, with the first fragment's header
//! ```
//!
//! What waits is bounded as the kernel bounds it, by a weight for each family.

mod queue;

use crate::extract::{Fragment, OfConnection, Skip};
use ahash::AHashMap;
use kpclass_ruleset::conntrack::{Settings, Unjoined};
use kpclass_ruleset::value::Family;
use queue::{Queue, Refusal};
use std::collections::BTreeMap;
use std::time::Duration;

/// `ipfrag_high_thresh`, `nf_conntrack_frag6_high_thresh`.
const HIGH_THRESH: usize = 4 << 20;

/// What a datagram that waits weighs beside its fragments (CONNTRACK.md 9.5).
const QUEUE_WEIGHT: usize = 256;

/// `ipfrag_max_dist`: so many fragments of a source may come between two of one datagram.
const MAX_DIST: u64 = 64;

/// What becomes of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It meets no rule, and completes nothing.
    Unjoined(Unjoined),
    /// It is not joined: it goes on as it is (IPv6).
    AsItIs,
    /// It completes its datagram.
    Whole {
        /// The datagram's packet, if it holds one.
        packet: Result<OfConnection, Skip>,
        /// Bytes of the frames that had waited.
        waited: u32,
    },
}

/// Where fragments are seen: interface, device within it, and whether they are seen to leave. Those of different places are joined apart, so that
/// the same fragments seen twice make two sightings of one datagram.
pub type Place = (u32, u32, bool);

/// A fragment that is met.
#[derive(Clone, Copy, Debug)]
pub struct Met {
    /// Where it is seen.
    pub place: Place,
    /// This node sends it.
    pub is_sent: bool,
    /// Its frame's number.
    pub frame: u64,
    /// Bytes that it had on the wire.
    pub len: u32,
    /// Its time.
    pub at: Duration,
}

/// By what fragments are known to be one datagram's (`ip4_frag_init`, `fq_find`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    place: Place,
    is_sent: bool,
    source: u128,
    destination: u128,
    id: u32,
    /// 0 of IPv6.
    protocol: u8,
}

/// What became of a fragment that waited, with the frame that showed it, if one did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// What became of it.
    pub why: Unjoined,
    /// The frame that completed its datagram, or had it dropped; `None`: time did.
    pub by: Option<u64>,
}

/// Fragments that wait.
#[derive(Debug)]
pub struct Joiner {
    families: [Waiting; 2],
    now: Duration,
    /// How many fragments that had waited came to each end.
    ended: [u64; Unjoined::ALL.len()],
    /// The frame whose fragment is asked for, and what became of it.
    watched: Option<u64>,
    watched_ended: Option<Ended>,
    /// The frames that had waited for it.
    waited_for_watched: Vec<u64>,
}

/// Those of one family.
#[derive(Debug)]
struct Waiting {
    wait: Duration,
    queues: AHashMap<Key, Queue>,
    /// By when they began to wait, which is by deadline.
    order: BTreeMap<u64, Key>,
    begun: u64,
    weight: usize,
    /// IPv4's sources that something waits of.
    sources: AHashMap<(Place, u128), Source>,
}

/// `inet_peer`.
#[derive(Clone, Copy, Debug, Default)]
struct Source {
    /// Fragments that came.
    came: u64,
    queues: usize,
}

impl Joiner {
    /// Nothing waits yet.
    pub fn new(settings: &Settings) -> Self {
        let family = |family| Waiting {
            wait: settings.fragments_wait(family),
            queues: AHashMap::new(),
            order: BTreeMap::new(),
            begun: 0,
            weight: 0,
            sources: AHashMap::new(),
        };
        Self {
            families: [family(Family::V4), family(Family::V6)],
            now: Duration::ZERO,
            ended: [0; Unjoined::ALL.len()],
            watched: None,
            watched_ended: None,
            waited_for_watched: Vec::new(),
        }
    }

    /// What becomes of this frame's fragment is asked for.
    pub fn watch(&mut self, frame: u64) {
        self.watched = Some(frame);
    }

    /// What became of the fragment that is asked for.
    pub fn watched(&self) -> Option<Ended> {
        self.watched_ended
    }

    /// The frames that had waited for the one that is asked for, where it completed a datagram.
    pub fn waited_for_watched(&self) -> &[u64] {
        &self.waited_for_watched
    }

    /// Whether the fragment that is asked for waits.
    pub fn holds_watched(&self) -> bool {
        let Some(frame) = self.watched else {
            return false;
        };
        let mut queues = self.families.iter().flat_map(|of| of.queues.values());
        queues.any(|queue| queue.frames().any(|of| of == frame))
    }

    /// How many fragments that had waited came to each end ([`Unjoined::ALL`]) since it was last asked.
    pub fn take_ended(&mut self) -> [u64; Unjoined::ALL.len()] {
        std::mem::take(&mut self.ended)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.families.iter().all(|of| of.queues.is_empty())
    }

    /// Time passes: what has waited for too long is gone. Time that goes backwards stands still.
    pub fn pass(&mut self, at: Duration) {
        self.now = self.now.max(at);
        for family in [0, 1] {
            while let Some(key) = self.families[family].over(self.now) {
                self.end(family, &key, Unjoined::TimedOut, None);
            }
        }
    }

    /// Takes a fragment.
    pub fn put(&mut self, fragment: &Fragment<'_>, met: &Met) -> Put {
        if fragment.lacks_headers {
            return Put::AsItIs;
        }
        self.pass(met.at);
        let (family, key) = key(fragment, met);
        if self.families[family].weight > HIGH_THRESH {
            return Put::Unjoined(Unjoined::Limit);
        }
        self.families[family].begin(&key, self.now);
        if family == 0 && self.families[family].is_too_far(&key) {
            self.end(family, &key, Unjoined::TooFar, Some(met.frame));
            self.families[family].begin(&key, self.now);
            self.families[family].stay_near(&key);
        }
        self.take(family, &key, fragment, met)
    }

    fn take(&mut self, family: usize, key: &Key, fragment: &Fragment<'_>, met: &Met) -> Put {
        let frame = met.frame;
        let waiting = &mut self.families[family];
        let Some(queue) = waiting.queues.get_mut(key) else {
            return Put::Unjoined(Unjoined::Limit);
        };
        let before = queue.weight();
        let taken = queue.take(fragment, met);
        waiting.weight += queue.weight() - before;
        match taken {
            Ok(()) if !queue.is_complete() => Put::Unjoined(Unjoined::Held),
            Ok(()) => match queue.join() {
                Some(packet) => {
                    let waited = queue.frame_bytes().saturating_sub(met.len);
                    self.end(family, key, Unjoined::Joined, Some(frame));
                    Put::Whole { packet, waited }
                }
                None => self.drop_all(family, key, Unjoined::Malformed, frame),
            },
            Err(Refusal::Alone(why)) => Put::Unjoined(why),
            Err(Refusal::All(why)) => self.drop_all(family, key, why, frame),
            Err(Refusal::AsItIs) => {
                self.end(family, key, Unjoined::Malformed, Some(frame));
                Put::AsItIs
            }
        }
    }

    fn drop_all(&mut self, family: usize, key: &Key, why: Unjoined, frame: u64) -> Put {
        self.end(family, key, why, Some(frame));
        Put::Unjoined(why)
    }

    /// A datagram waits no longer. The frame that ends it did not wait itself.
    fn end(&mut self, family: usize, key: &Key, why: Unjoined, by: Option<u64>) {
        let Some(queue) = self.families[family].remove(key) else {
            return;
        };
        let waited = || queue.frames().filter(|frame| Some(*frame) != by);
        if why == Unjoined::Joined && by == self.watched {
            self.waited_for_watched = waited().collect();
        }
        for frame in waited() {
            self.ended[why as usize] += 1;
            if self.watched == Some(frame) {
                self.watched_ended = Some(Ended { why, by });
            }
        }
    }
}

fn key(fragment: &Fragment<'_>, met: &Met) -> (usize, Key) {
    let header = &fragment.header;
    let is_v4 = header.family() == Family::V4;
    let key = Key {
        place: met.place,
        is_sent: met.is_sent,
        source: header.source,
        destination: header.destination,
        id: fragment.id,
        protocol: if is_v4 { header.protocol } else { 0 },
    };
    (usize::from(!is_v4), key)
}

impl Waiting {
    /// One whose time is over.
    fn over(&self, now: Duration) -> Option<Key> {
        let (_, key) = self.order.first_key_value()?;
        let queue = self.queues.get(key)?;
        (now >= queue.deadline()).then_some(*key)
    }

    /// Has a datagram wait, unless it does.
    fn begin(&mut self, key: &Key, now: Duration) {
        if self.queues.contains_key(key) {
            return;
        }
        self.begun += 1;
        self.order.insert(self.begun, *key);
        let queue = Queue::new(self.begun, now + self.wait);
        self.queues.insert(*key, queue);
        self.weight += QUEUE_WEIGHT;
        let source = self.sources.entry((key.place, key.source)).or_default();
        source.queues += 1;
    }

    fn remove(&mut self, key: &Key) -> Option<Queue> {
        let queue = self.queues.remove(key)?;
        self.order.remove(&queue.number());
        self.weight -= QUEUE_WEIGHT + queue.weight();
        let source = (key.place, key.source);
        if let Some(of) = self.sources.get_mut(&source) {
            of.queues -= 1;
            // One that is ended only to begin anew is still counted for.
            if of.queues == 0 {
                self.sources.remove(&source);
            }
        }
        Some(queue)
    }

    /// `ip_frag_too_far`; the fragment is counted.
    fn is_too_far(&mut self, key: &Key) -> bool {
        let Some(source) = self.sources.get_mut(&(key.place, key.source)) else {
            return false;
        };
        source.came += 1;
        let came = source.came;
        let Some(queue) = self.queues.get_mut(key) else {
            return false;
        };
        let since = came - queue.came_before(came);
        !queue.is_empty() && since > MAX_DIST
    }

    /// A datagram that begins anew is near.
    fn stay_near(&mut self, key: &Key) {
        let came = self.sources.get(&(key.place, key.source));
        let came = came.map_or(0, |source| source.came);
        if let Some(queue) = self.queues.get_mut(key) {
            queue.came_before(came);
        }
    }
}
