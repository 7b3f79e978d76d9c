//! Fragments joined as `nf_defrag_ipv4` and `nf_defrag_ipv6` join them before any table (CONNTRACK.md 9), as obvious as it can be written: a list of
//! the datagrams that wait, gone through for each fragment.

use crate::packet::{Fragment, FrameDatagram, FramePacket, SkipReason, whole};
use kpclass_ruleset::conntrack::{Settings, Unjoined};
use kpclass_ruleset::value::Family;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// `ipfrag_high_thresh`, `nf_conntrack_frag6_high_thresh`.
const HIGH_THRESH: usize = 4 << 20;

/// What a fragment, and a datagram, is taken to weigh beside the bytes that it brings (CONNTRACK.md 9.5).
const BUFFER: usize = 768;
const QUEUE: usize = 256;

/// `ipfrag_max_dist`.
const MAX_DIST: u64 = 64;

/// The longest IPv4 packet, and payload of an IPv6 packet.
const LONGEST: usize = 65_535;
const IPV6_LEN: usize = 40;

/// What becomes of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It meets no rule, and completes nothing.
    Unjoined(Unjoined),
    /// It is not joined: it goes on as it is (IPv6).
    AsItIs,
    /// It completes its datagram.
    Whole(Result<FrameDatagram, SkipReason>),
}

/// Where fragments are seen: those of different places are joined apart.
pub type Place = (u32, u32, bool);

/// Fragments that wait.
#[derive(Clone, Debug)]
pub struct Joiner {
    settings: Settings,
    waiting: Vec<Waiting>,
    /// How many fragments of a source came (`inet_peer.rid`).
    came: BTreeMap<(Place, IpAddr), u64>,
    now: Duration,
}

/// By what fragments are known to be one datagram's.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    place: Place,
    is_sent: bool,
    source: IpAddr,
    destination: IpAddr,
    id: u32,
    /// Of IPv4 only.
    protocol: Option<u8>,
}

/// A datagram of which some fragments came.
#[derive(Clone, Debug)]
struct Waiting {
    key: Key,
    deadline: Duration,
    /// Fragments of its source that had come when its last one did.
    came: u64,
    /// By where they begin; fragments of a run follow one another without a gap, and came in that order.
    runs: Vec<Vec<Piece>>,
    /// What is known of its end.
    len: usize,
    has_last: bool,
    /// The header of its first fragment, and its length.
    first: Option<(FramePacket, usize)>,
    /// A bit for each codepoint of ECN that was there.
    ecn: u8,
}

#[derive(Clone, Debug)]
struct Piece {
    from: usize,
    to: usize,
    bytes: Vec<u8>,
}

/// Why a fragment is not taken.
enum Refused {
    /// It alone is dropped.
    Alone(Unjoined),
    /// All of its datagram is dropped.
    All(Unjoined),
    /// All that waits is dropped, and it goes on as it is.
    AsItIs,
}

impl Joiner {
    /// Nothing waits yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            waiting: Vec::new(),
            came: BTreeMap::new(),
            now: Duration::ZERO,
        }
    }

    /// Takes a fragment that comes at some time; `is_sent`: this node sends it.
    pub fn put(&mut self, fragment: &Fragment, place: Place, is_sent: bool, at: Duration) -> Put {
        if fragment.lacks_headers {
            return Put::AsItIs;
        }
        self.pass(at);
        let family = Family::of(fragment.packet.source);
        if self.weight(family) > HIGH_THRESH {
            return Put::Unjoined(Unjoined::Limit);
        }
        let position = self.find(fragment, place, is_sent);
        if family == Family::V4 {
            self.keep_near(position, place, fragment.packet.source);
        }
        let waiting = &mut self.waiting[position];
        match waiting.take(fragment, family) {
            Ok(()) if !waiting.is_complete() => Put::Unjoined(Unjoined::Held),
            Ok(()) => self.waiting.remove(position).join(family),
            Err(Refused::Alone(why)) => Put::Unjoined(why),
            Err(Refused::All(why)) => {
                self.waiting.remove(position);
                Put::Unjoined(why)
            }
            Err(Refused::AsItIs) => {
                self.waiting.remove(position);
                Put::AsItIs
            }
        }
    }

    /// Time passes: what has waited for too long is gone.
    pub fn pass(&mut self, at: Duration) {
        self.now = self.now.max(at);
        let Self {
            waiting, came, now, ..
        } = self;
        waiting.retain(|waiting| *now < waiting.deadline);
        came.retain(|(place, source), _| {
            let is_its = |key: &Key| (key.place, key.source) == (*place, *source);
            waiting.iter().any(|waiting| is_its(&waiting.key))
        });
    }

    fn weight(&self, family: Family) -> usize {
        let of = self.waiting.iter();
        let of = of.filter(|waiting| Family::of(waiting.key.source) == family);
        let pieces = |waiting: &Waiting| -> usize {
            let pieces = waiting.runs.iter().flatten();
            pieces.map(|piece| piece.to - piece.from + BUFFER).sum()
        };
        of.map(|waiting| QUEUE + pieces(waiting)).sum()
    }

    /// The datagram of a fragment, a new one if there is none.
    fn find(&mut self, fragment: &Fragment, place: Place, is_sent: bool) -> usize {
        let packet = &fragment.packet;
        let key = Key {
            place,
            is_sent,
            source: packet.source,
            destination: packet.destination,
            id: fragment.id,
            protocol: packet.source.is_ipv4().then_some(packet.protocol),
        };
        let found = self.waiting.iter().position(|waiting| waiting.key == key);
        found.unwrap_or_else(|| {
            let wait = self.settings.fragments_wait(Family::of(packet.source));
            self.waiting.push(Waiting::new(key, self.now + wait));
            self.waiting.len() - 1
        })
    }

    /// `ip_frag_too_far`: a datagram begins anew where too many other fragments of its source came in between.
    fn keep_near(&mut self, position: usize, place: Place, source: IpAddr) {
        let came = self.came.entry((place, source)).or_default();
        *came += 1;
        let waiting = &mut self.waiting[position];
        if !waiting.runs.is_empty() && *came - waiting.came > MAX_DIST {
            let wait = self.settings.fragments_wait(Family::V4);
            *waiting = Waiting::new(waiting.key.clone(), self.now + wait);
        }
        waiting.came = *came;
    }
}

impl Waiting {
    fn new(key: Key, deadline: Duration) -> Self {
        Self {
            key,
            deadline,
            came: 0,
            runs: Vec::new(),
            len: 0,
            has_last: false,
            first: None,
            ecn: 0,
        }
    }

    /// `ip_frag_queue`, `nf_ct_frag6_queue`. What contradicts itself drops all of an IPv4 datagram, and of an IPv6 one the fragment alone.
    fn take(&mut self, fragment: &Fragment, family: Family) -> Result<(), Refused> {
        let malformed = || match family {
            Family::V4 => Refused::All(Unjoined::Malformed),
            Family::V6 => Refused::Alone(Unjoined::Malformed),
        };
        let (from, mut to) = (fragment.from, fragment.to);
        if family == Family::V6 && to > LONGEST {
            return Err(malformed());
        }
        if fragment.more {
            if !to.is_multiple_of(8) && family == Family::V6 {
                return Err(Refused::AsItIs);
            }
            to -= to % 8;
            if to > self.len && self.has_last {
                return Err(malformed());
            }
            self.len = self.len.max(to);
        } else {
            if to < self.len || self.has_last && to != self.len {
                return Err(malformed());
            }
            (self.has_last, self.len) = (true, to);
        }
        if to == from {
            return Err(malformed());
        }
        let kept = fragment.bytes.len().min(to - from);
        self.insert(Piece {
            from,
            to,
            bytes: fragment.bytes[..kept].to_vec(),
        })?;
        if from == 0 {
            self.first = Some((fragment.packet.clone(), fragment.headers));
        }
        self.ecn |= 1 << fragment.ecn;
        Ok(())
    }

    /// `inet_frag_queue_insert`: what lies in one run is a repetition, what touches one otherwise an overlap. Only at the end a run grows.
    fn insert(&mut self, piece: Piece) -> Result<(), Refused> {
        let span = |run: &Vec<Piece>| (run[0].from, run[run.len() - 1].to);
        for run in &self.runs {
            let (from, to) = span(run);
            if piece.from >= to || piece.to <= from {
                continue;
            }
            let is_inside = piece.from >= from && piece.to <= to;
            return Err(match is_inside {
                true => Refused::Alone(Unjoined::Repeated),
                false => Refused::All(Unjoined::Overlap),
            });
        }
        match self.runs.last_mut() {
            Some(last) if span(last).1 == piece.from => last.push(piece),
            _ => {
                let behind = |run: &Vec<Piece>| span(run).0 > piece.from;
                let at = self.runs.iter().position(behind);
                let at = at.unwrap_or(self.runs.len());
                self.runs.insert(at, vec![piece]);
            }
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        let pieces = self.runs.iter().flatten();
        let there: usize = pieces.map(|piece| piece.to - piece.from).sum();
        self.has_last && self.first.is_some() && there == self.len
    }

    /// `ip_frag_reasm`, `nf_ct_frag6_reasm`.
    fn join(self, family: Family) -> Put {
        const NOT_ECT: u8 = 1;
        let mixed = self.ecn & NOT_ECT != 0 && self.ecn != NOT_ECT;
        let Some((first, headers)) = self.first.filter(|_| !mixed) else {
            return Put::Unjoined(Unjoined::Malformed);
        };
        let longest = match family {
            Family::V4 => LONGEST,
            Family::V6 => LONGEST + IPV6_LEN,
        };
        if headers + self.len > longest {
            return Put::Unjoined(Unjoined::Malformed);
        }
        let mut captured = Vec::new();
        for piece in self.runs.iter().flatten() {
            captured.extend(&piece.bytes);
            if piece.bytes.len() < piece.to - piece.from {
                break;
            }
        }
        let is_joined = self.runs.iter().flatten().count() > 1;
        let whole = whole(&first, headers, (&captured, self.len));
        Put::Whole(whole.map(|whole| FrameDatagram { is_joined, ..whole }))
    }
}
