//! The interfaces that a capture describes.

use crate::link::LinkType;
use kpclass_ruleset::value::Interface;
use std::sync::OnceLock;

/// An interface of a capture; counts through all sections of a pcapng. A classic pcap has one, without name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceIndex(pub u32);

/// What a capture says about an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Description {
    pub(super) link: LinkType,
    /// `None`: not given, or not a name that a Linux device can have.
    pub(super) name: Option<Interface>,
    /// 0: no limit.
    pub(super) snaplen: u32,
    pub(super) clock: super::pcapng::Clock,
}

const SEGMENT_BITS: u32 = 8;
const SEGMENT: usize = 1 << SEGMENT_BITS;
const SEGMENTS: usize = 1 << 12;

type Segment = Box<[OnceLock<Description>]>;

/// All interfaces described so far. The scanning thread adds at the end while others read what they know of: entries never
/// move or change, so readers take no lock, and adding costs the same for the first and the last.
pub struct Interfaces {
    segments: Box<[OnceLock<Segment>]>,
}

impl Default for Interfaces {
    fn default() -> Self {
        Self {
            segments: std::iter::repeat_with(OnceLock::new)
                .take(SEGMENTS)
                .collect(),
        }
    }
}

impl Interfaces {
    /// The most that a capture may describe; one that describes more ends there.
    pub const MAX: u32 = (SEGMENT * SEGMENTS) as u32;

    /// The name of a device, if the capture gives it, and a Linux device can have it.
    pub fn name(&self, index: InterfaceIndex) -> Option<Interface> {
        self.description(index.0)?.name
    }

    /// What frames captured there begin with; `None` if there is no such interface.
    pub fn link(&self, index: InterfaceIndex) -> Option<LinkType> {
        Some(self.description(index.0)?.link)
    }

    #[inline(always)]
    pub(super) fn description(&self, index: u32) -> Option<&Description> {
        let segment = self.segments.get((index >> SEGMENT_BITS) as usize)?.get()?;
        segment.get(index as usize % SEGMENT)?.get()
    }

    /// Describes interface `index`, once; `false` if it is beyond [`Self::MAX`].
    pub(super) fn describe(&self, index: u32, description: Description) -> bool {
        let Some(segment) = self.segments.get((index >> SEGMENT_BITS) as usize) else {
            return false;
        };
        let segment = segment.get_or_init(|| {
            std::iter::repeat_with(OnceLock::new)
                .take(SEGMENT)
                .collect()
        });
        segment[index as usize % SEGMENT].set(description).is_ok()
    }
}

impl std::fmt::Debug for Interfaces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let described = (0..Self::MAX).map_while(|index| self.description(index));
        f.debug_list().entries(described).finish()
    }
}
