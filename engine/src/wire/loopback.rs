//! The four bytes before a packet in BSD loopback captures (`LINKTYPE_NULL`, `LINKTYPE_LOOP`).

use kpclass_ruleset::value::Family;

/// Bytes of the header.
pub const LEN: usize = 4;

const AF_INET: u32 = 2;

/// `AF_INET6` of Linux; Windows; NetBSD, OpenBSD and Npcap; FreeBSD; Darwin.
const AF_INET6: [u32; 5] = [10, 23, 24, 28, 30];

/// The family that a loopback header names. It is in the byte order of the machine that captured, or in network order,
/// and nothing says which; no family that is told apart here means another one when read in the wrong order.
pub fn family_of(header: [u8; LEN]) -> Option<Family> {
    let number = u32::from_le_bytes(header);
    let number = if number > 0xffff {
        number.swap_bytes()
    } else {
        number
    };
    match number {
        AF_INET => Some(Family::V4),
        n if AF_INET6.contains(&n) => Some(Family::V6),
        _ => None,
    }
}
