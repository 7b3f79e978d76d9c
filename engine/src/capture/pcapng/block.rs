//! One block: its frame, its byte order, its options.
//!
//! ```text
//! type:4 length:4 body… length:4      the length counts all of it, and is a multiple of 4
//! ```

use super::corrupt;
use crate::capture::MAX_RECORD;
use crate::capture::error::CutCause;
use crate::capture::scan::Stop;

/// Types of block that are read.
pub(super) mod kind {
    /// Section header; reads the same in both byte orders.
    pub(crate) const SECTION_HEADER: u32 = 0x0a0d_0d0a;
    pub(crate) const INTERFACE_DESCRIPTION: u32 = 1;
    /// The obsolete packet block.
    pub(crate) const PACKET: u32 = 2;
    pub(crate) const SIMPLE_PACKET: u32 = 3;
    pub(crate) const ENHANCED_PACKET: u32 = 6;
}

mod option {
    pub(super) const END: u16 = 0;
    pub(super) const NAME: u16 = 2;
    pub(super) const RESOLUTION: u16 = 9;
    pub(super) const OFFSET: u16 = 14;
}

const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const HEADER: usize = 8;
pub(super) const TRAILER: usize = 4;

/// The byte order of a section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    #[default]
    Little,
    Big,
}

impl Order {
    /// The order of the section whose header `bytes` begin with.
    fn of_section(bytes: &[u8]) -> Option<Self> {
        Self::of_magic(*bytes.get(HEADER..)?.first_chunk()?)
    }

    fn of_magic(magic: [u8; 4]) -> Option<Self> {
        match u32::from_le_bytes(magic) {
            BYTE_ORDER_MAGIC => Some(Self::Little),
            m if m.swap_bytes() == BYTE_ORDER_MAGIC => Some(Self::Big),
            _ => None,
        }
    }

    #[inline(always)]
    pub(super) fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }

    #[inline]
    fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }
}

/// A block that is there as a whole.
pub(super) struct Block<'a> {
    pub(super) kind: u32,
    /// That of the section; a section header brings its own.
    pub(super) order: Order,
    /// Without header and trailer.
    pub(super) body: &'a [u8],
    /// With both.
    pub(super) len: usize,
}

/// The options of an interface description that are read.
#[derive(Default)]
pub(super) struct InterfaceOptions<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) resolution: Option<u8>,
    pub(super) offset: Option<i64>,
}

impl<'a> Block<'a> {
    /// The block at the beginning of `bytes`, in a section of byte order `order`; `None` if it is not there as a whole, or
    /// cannot be one.
    #[inline]
    pub(super) fn whole(order: Order, bytes: &'a [u8]) -> Option<Self> {
        let header: &[u8; HEADER] = bytes.first_chunk()?;
        let [k0, k1, k2, k3, l0, l1, l2, l3] = *header;
        let kind = order.u32([k0, k1, k2, k3]);
        let order = if kind == kind::SECTION_HEADER {
            Order::of_section(bytes)?
        } else {
            order
        };
        let len = whole_len(order, order.u32([l0, l1, l2, l3]), bytes)?;
        let body = bytes.get(HEADER..len - TRAILER)?;
        Some(Self {
            kind,
            order,
            body,
            len,
        })
    }

    /// As [`Self::whole`], with the reason.
    ///
    /// # Errors
    /// [`Stop::Short`] if it is not there as a whole, [`Stop::Corrupt`] if it cannot be one.
    #[inline]
    pub(super) fn read(order: Order, bytes: &'a [u8]) -> Result<Self, Stop> {
        Self::whole(order, bytes).ok_or_else(|| why_not(order, bytes))
    }

    /// Whether it changes how later blocks are read.
    #[inline]
    pub(super) fn is_state(&self) -> bool {
        matches!(
            self.kind,
            kind::SECTION_HEADER | kind::INTERFACE_DESCRIPTION
        )
    }

    /// The number at `at` in the body.
    #[inline]
    pub(super) fn u32(&self, at: usize) -> Option<u32> {
        Some(self.order.u32(*self.body.get(at..)?.first_chunk()?))
    }

    /// The number at `at` in the body.
    #[inline]
    pub(super) fn u16(&self, at: usize) -> Option<u16> {
        Some(self.order.u16(*self.body.get(at..)?.first_chunk()?))
    }

    /// The options from `at` in the body on. The first of each kind counts; what is damaged ends the list.
    pub(super) fn options(&self, at: usize) -> InterfaceOptions<'a> {
        let mut options = InterfaceOptions::default();
        let mut at = at;
        while let Some((code, len)) = self.u16(at).zip(self.u16(at + 2)) {
            let Some(value) = self.body.get(at + 4..at + 4 + usize::from(len)) else {
                break;
            };
            match code {
                option::END => break,
                option::NAME if options.name.is_none() => options.name = name(value),
                option::RESOLUTION if options.resolution.is_none() => {
                    options.resolution = value.first().copied();
                }
                option::OFFSET if options.offset.is_none() => {
                    options.offset = self.seconds(value);
                }
                _ => {}
            }
            at += 4 + usize::from(len).next_multiple_of(4);
        }
        options
    }

    fn seconds(&self, value: &[u8]) -> Option<i64> {
        let bytes = value.first_chunk()?;
        Some(match self.order {
            Order::Little => i64::from_le_bytes(*bytes),
            Order::Big => i64::from_be_bytes(*bytes),
        })
    }
}

/// An option's text: some writers end it with zeros.
fn name(value: &[u8]) -> Option<&str> {
    Some(std::str::from_utf8(value).ok()?.trim_end_matches('\0'))
}

/// Whether a block can have this length.
#[inline]
fn is_length(len: usize) -> bool {
    (HEADER + TRAILER..=MAX_RECORD).contains(&len) && len.is_multiple_of(4)
}

/// The length of the block that `bytes` begin with, if they hold it whole, and both ends give it.
#[inline(always)]
pub(super) fn whole_len(order: Order, given: u32, bytes: &[u8]) -> Option<usize> {
    let len = given as usize;
    if !is_length(len) {
        return None;
    }
    let trailer = bytes.get(len - TRAILER..)?.first_chunk()?;
    (order.u32(*trailer) == given).then_some(len)
}

/// Why `bytes` do not begin with a whole block.
#[cold]
fn why_not(order: Order, bytes: &[u8]) -> Stop {
    let Some([k0, k1, k2, k3, l0, l1, l2, l3]) = bytes.first_chunk().copied() else {
        return Stop::Short(HEADER + TRAILER);
    };
    let mut order = order;
    if order.u32([k0, k1, k2, k3]) == kind::SECTION_HEADER {
        let Some(magic) = bytes.get(HEADER..).and_then(|rest| rest.first_chunk()) else {
            return Stop::Short(HEADER + TRAILER);
        };
        let Some(own) = Order::of_magic(*magic) else {
            let magic = u32::from_le_bytes(*magic);
            return corrupt(format!(
                "a section header with byte-order magic {magic:#010x}"
            ));
        };
        order = own;
    }
    let len = order.u32([l0, l1, l2, l3]);
    match len as usize {
        given if given > MAX_RECORD => Stop::Corrupt(CutCause::TooLong(len.into())),
        given if !is_length(given) => corrupt(format!(
            "a block of {len} bytes; blocks have at least 12, and a multiple of 4"
        )),
        given if given > bytes.len() => Stop::Short(given),
        given => {
            let trailer = bytes[given - TRAILER..]
                .first_chunk()
                .map_or(0, |last| order.u32(*last));
            corrupt(format!(
                "a block of {len} bytes that ends with length {trailer}"
            ))
        }
    }
}

/// Whether a section header's version is 1.x. (1.1 was never given a meaning; 1.2 is an old mistake for 1.0.)
pub(super) fn check_version(block: &Block<'_>) -> Result<(), CutCause> {
    match block.u16(4).zip(block.u16(6)) {
        Some((1, _)) => Ok(()),
        Some((major, minor)) => Err(CutCause::Block(format!(
            "a section of pcapng version {major}.{minor}; supported is 1"
        ))),
        None => Err(CutCause::Block("a section header without version".into())),
    }
}
