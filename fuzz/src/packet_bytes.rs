//! Bytes as one frame of any link type: the engine's header reader says what the reference's says, which is built on etherparse: every field, and
//! whether a frame is read at all. Where the engine may skip what the reference reads is a list of names; there is nothing that it
//! reads and the reference does not, or otherwise.

use kpclass_compiler::header::{Header, known};
use kpclass_engine::extract::{MAX_TAGS, Skip, extract, of_connection, plain};
use kpclass_engine::link::LinkType;
use kpclass_reference::packet::{FramePacket, SkipReason, read_datagram, read_frame};
use kpclass_ruleset::value::{Family, number_address};

/// Every link type that is read, and one that is not.
pub const LINKS: [u32; 11] = [1, 113, 276, 101, 0, 108, 228, 229, 12, 14, 105];

/// Why the engine skips a frame that the reference reads, or skips it for another reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// The frame was shorter on the wire than its packet says: the kernel drops it; the reference is not told its length.
    ShorterThanItsPacket,
    /// More tags or extension headers than the engine walks over.
    TooDeep,
    /// A cooked header of a device on which the protocol field is no EtherType.
    DeviceWithoutEtherType,
}

/// Holds the bytes to what the module says. The first chooses the link type, the next two how much longer or shorter the frame was on the wire than in
/// the capture, the rest is the frame.
///
/// # Panics
/// Where it does not hold.
pub fn check(bytes: &[u8]) {
    let Some(([link, more @ ..], frame)) = bytes.split_first_chunk::<3>() else {
        return;
    };
    let link = LinkType(LINKS[usize::from(*link) % LINKS.len()]);
    let more = i32::from(i16::from_be_bytes(*more));
    let original_len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    if let Err(difference) = compare(link, frame, original_len.saturating_add_signed(more)) {
        panic!("{difference}");
    }
}

/// Reads a frame with both readers.
///
/// # Errors
/// What each says, where they differ and may not; else the difference that they may have.
pub fn compare(
    link: LinkType,
    captured: &[u8],
    original_len: u32,
) -> Result<Option<Difference>, String> {
    let ours = extract(link, captured, original_len);
    let theirs = read_frame(link.0, captured);
    let agree = match (&ours, &theirs) {
        (Ok(ours), Ok(theirs)) => as_packet(ours) == *theirs,
        (Err(ours), Err(theirs)) => is_same_reason(*ours, *theirs),
        _ => false,
    };
    if agree {
        return of_connections(link, captured, original_len).map(|()| None);
    }
    match difference(link, captured, &ours, &theirs) {
        Some(difference) => Ok(Some(difference)),
        None => Err(format!(
            "{link}, {original_len} bytes, {captured:02x?}:\n engine    {ours:?}\n reference {theirs:?}"
        )),
    }
}

/// What only conntrack reads of a frame on which both readers agree.
fn of_connections(link: LinkType, captured: &[u8], original_len: u32) -> Result<(), String> {
    let ours = of_connection(link, captured, original_len);
    if let Some(plain) = plain(link, captured)
        && ours.as_ref() != Ok(&plain.of_connection())
    {
        return Err(format!(
            "the short way reads {plain:?}, the long way {ours:?}"
        ));
    }
    let theirs = read_datagram(link.0, captured, original_len);
    let agree = match (&ours, &theirs) {
        (Ok(ours), Ok(theirs)) => {
            as_packet(&ours.header) == theirs.packet
                && ours.icmp_id == theirs.icmp_id
                && ours.carried == theirs.carried
                && ours.chunks == theirs.chunks
                && ours.is_broken == theirs.is_broken
        }
        (Err(_), Err(_)) => true,
        _ => false,
    };
    match agree {
        true => Ok(()),
        false => Err(format!(
            "{link}, {original_len} bytes, {captured:02x?}:\n engine    {ours:?}\n reference {theirs:?}"
        )),
    }
}

/// The header as the reference would say it.
fn as_packet(header: &Header) -> FramePacket {
    let knows = |bit: u16| header.known & bit != 0;
    let family = if knows(known::V6) {
        Family::V6
    } else {
        Family::V4
    };
    FramePacket {
        source: number_address(family, header.source),
        destination: number_address(family, header.destination),
        protocol: header.protocol,
        ports: knows(known::PORTS).then_some((header.source_port, header.destination_port)),
        tcp_flags: knows(known::TCP_FLAGS).then_some(header.tcp_flags),
        icmp: knows(known::ICMP).then_some((header.icmp_type, header.icmp_code)),
        fragment: knows(known::FRAGMENT),
        length: knows(known::LENGTH).then_some(header.length),
        ttl: header.ttl,
        dscp: header.dscp,
        source_mac: knows(known::MAC).then_some(header.source_mac),
    }
}

fn difference(
    link: LinkType,
    captured: &[u8],
    ours: &Result<Header, Skip>,
    theirs: &Result<FramePacket, SkipReason>,
) -> Option<Difference> {
    use Difference::*;
    let device_type = match link {
        LinkType::LINUX_SLL => captured.get(2..4),
        LinkType::LINUX_SLL2 => captured.get(8..10),
        _ => None,
    };
    let device_type = device_type.map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    match (ours, theirs) {
        (Err(Skip::TooDeep), _) if captured.len() > 4 * MAX_TAGS => Some(TooDeep),
        (Err(Skip::NotIp), _) if matches!(device_type, Some(770 | 803 | 824)) => {
            Some(DeviceWithoutEtherType)
        }
        // Told that the frame was long enough, the engine reads it, or lacks what was cut away.
        (Err(Skip::Malformed), Ok(theirs)) => match extract(link, captured, u32::MAX) {
            Ok(ours) => (as_packet(&ours) == *theirs).then_some(ShorterThanItsPacket),
            Err(skip) => {
                matches!(skip, Skip::Truncated | Skip::TooDeep).then_some(ShorterThanItsPacket)
            }
        },
        _ => None,
    }
}

/// Whether two reasons to skip a frame are the same one, in each reader's words.
fn is_same_reason(ours: Skip, theirs: SkipReason) -> bool {
    match ours {
        Skip::Arp | Skip::NotIp => theirs == SkipReason::NotIp,
        Skip::LinkType => matches!(theirs, SkipReason::LinkType(_)),
        Skip::Truncated | Skip::Malformed => matches!(
            theirs,
            SkipReason::CutLink
                | SkipReason::CutNetwork
                | SkipReason::CutTransport
                | SkipReason::MalformedNetwork
        ),
        Skip::TooDeep => false,
    }
}
