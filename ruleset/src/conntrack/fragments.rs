//! What becomes of fragments that carry no datagram on (CONNTRACK.md 9).

/// Why a fragment meets no rule while conntrack is on: what becomes of it, or became of it as one that waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unjoined {
    /// It waits for the rest of its datagram.
    Held,
    /// It waited; a later one completed the datagram, and took it on.
    Joined,
    /// It waited for too long.
    TimedOut,
    /// One of its datagram's fragments overlapped others: all of them are dropped.
    Overlap,
    /// It, or what waited together with it, cannot be parts of one datagram.
    Malformed,
    /// What it brings is there already: it is dropped alone.
    Repeated,
    /// It waited while too many other fragments of its source came (`net.ipv4.ipfrag_max_dist`).
    TooFar,
    /// Too many fragments wait already (`ipfrag_high_thresh`, `nf_conntrack_frag6_high_thresh`).
    Limit,
}

impl Unjoined {
    /// All of them, in order; `reason as usize` is its position.
    pub const ALL: [Self; 8] = [
        Self::Held,
        Self::Joined,
        Self::TimedOut,
        Self::Overlap,
        Self::Malformed,
        Self::Repeated,
        Self::TooFar,
        Self::Limit,
    ];

    /// Its name in reports and in the corpus.
    pub fn name(self) -> &'static str {
        match self {
            Self::Held => "fragment-held",
            Self::Joined => "fragment-joined",
            Self::TimedOut => "fragment-timed-out",
            Self::Overlap => "fragment-overlap",
            Self::Malformed => "fragment-malformed",
            Self::Repeated => "fragment-repeated",
            Self::TooFar => "fragment-too-far",
            Self::Limit => "fragment-limit",
        }
    }
}
