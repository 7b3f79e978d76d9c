//! Fragments as defragmentation reads them (CONNTRACK.md 9), and the datagram that they make.

use super::connection::with_upper;
use super::{
    MAX_EXTENSIONS, Network, OfConnection, Rest, Skip, behind_extensions, ipv4_header, ipv6_header,
    upper_layer,
};
use crate::wire::{Extension, Ipv4, Ipv6, next_header};
use kpclass_compiler::header::{Header, known};
use kpclass_ruleset::value::{Family, protocol};

/// A fragment.
#[derive(Clone, Copy, Debug)]
pub struct Fragment<'a> {
    /// What its own IP header says. The protocol is that of the datagram, of IPv6 what follows the fragment header.
    pub header: Header,
    /// The identification.
    pub id: u32,
    /// Where what it brings begins in its datagram, and where it ends.
    pub from: u32,
    /// See `from`.
    pub to: u32,
    /// It is not the last.
    pub more: bool,
    /// What was captured of what it brings.
    pub captured: &'a [u8],
    /// Bytes of the headers in front of what is fragmented, without the fragment header.
    pub headers: u32,
    /// The two bits of ECN.
    pub ecn: u8,
    /// IPv6: it is the first, and ends before the upper layer's header does (RFC 8200, 4.5).
    pub lacks_headers: bool,
}

impl<'a> Network<'a> {
    /// The packet as a fragment; `None`: it is none, or cannot be read.
    #[inline(always)]
    pub fn fragment(&self) -> Option<Fragment<'a>> {
        match self.may_be_fragment() {
            true => self.read_fragment(),
            false => None,
        }
    }

    /// Almost no packet gets further.
    #[inline(always)]
    fn may_be_fragment(&self) -> bool {
        let bytes = self.packet.captured;
        match self.family {
            Family::V4 => Ipv4::read(bytes).is_some_and(Ipv4::is_fragment),
            Family::V6 => {
                let first = bytes.get(Ipv6::NEXT_HEADER);
                first.is_some_and(|first| Extension::is_extension(*first))
            }
        }
    }

    #[inline(never)]
    fn read_fragment(&self) -> Option<Fragment<'a>> {
        match self.family {
            Family::V4 => self.fragment_v4(),
            Family::V6 => self.fragment_v6(),
        }
    }

    /// `ip_is_fragment`.
    fn fragment_v4(&self) -> Option<Fragment<'a>> {
        let (header, ip, payload) = ipv4_header(self.packet, self.mac).ok()?;
        let from = ip.fragment_offset();
        Some(Fragment {
            header: Header {
                protocol: ip.protocol(),
                ..header
            },
            id: ip.identification().into(),
            from,
            to: from.saturating_add(payload.wire_len as u32),
            more: ip.more_fragments(),
            captured: payload.captured,
            headers: ip.header_len() as u32,
            ecn: ip.ecn(),
            lacks_headers: false,
        })
    }

    /// `nf_ct_frag6_gather`, up to the queue: a jumbo payload has no fragment header.
    fn fragment_v6(&self) -> Option<Fragment<'a>> {
        let (header, ip, payload) = ipv6_header(self.packet, self.mac).ok()?;
        if ip.payload_len() == 0 {
            return None;
        }
        let (mut number, mut rest) = (ip.next_header(), payload);
        for _ in 0..MAX_EXTENSIONS {
            if !Extension::is_extension(number) {
                return None;
            }
            let extension = Extension::read(number, rest.captured)?;
            if number == next_header::FRAGMENT {
                let headers = Ipv6::LEN + payload.wire_len - rest.wire_len;
                let rest = rest.skip(Extension::LEN).ok()?;
                let fragment = (header, ip.ecn(), headers);
                return Some(fragment_behind(fragment, extension, rest));
            }
            if !extension.is_sound() {
                return None;
            }
            rest = rest.skip(extension.header_len()).ok()?;
            number = extension.next_header();
        }
        None
    }
}

fn fragment_behind<'a>(
    (header, ecn, headers): (Header, u8, usize),
    extension: Extension<'_>,
    rest: Rest<'a>,
) -> Fragment<'a> {
    let (from, number) = (extension.fragment_offset(), extension.next_header());
    Fragment {
        header: Header {
            protocol: number,
            ..header
        },
        id: extension.identification(),
        from,
        to: from.saturating_add(rest.wire_len as u32),
        more: extension.more_fragments(),
        captured: rest.captured,
        headers: headers as u32,
        ecn,
        lacks_headers: from == 0 && lacks_headers(number, rest),
    }
}

/// `ipv6frag_thdr_truncated`. Of what was not captured nothing is said to lack.
fn lacks_headers(mut number: u8, rest: Rest<'_>) -> bool {
    let mut at = 0;
    while Extension::is_extension(number) {
        let bytes = rest.captured.get(at..).unwrap_or_default();
        let &[next, units, ..] = bytes else {
            return false;
        };
        let len = match (number, bytes) {
            (next_header::FRAGMENT, [_, _, 0, 0..8, ..]) => Extension::LEN,
            (next_header::FRAGMENT, _) => return false,
            (next_header::AUTHENTICATION, _) => (usize::from(units) + 2) * 4,
            _ => (usize::from(units) + 1) * 8,
        };
        (number, at) = (next, at + len);
    }
    let least = match number {
        next_header::NONE => return false,
        protocol::TCP => 20,
        protocol::UDP | protocol::ICMPV6 => 8,
        _ => 1,
    };
    at + least > rest.wire_len
}

/// The datagram of which this was the first fragment's header: `len` bytes behind so many bytes of headers, of which the first were captured.
///
/// # Errors
/// The reason for which it holds no packet.
pub fn joined(
    first: &Header,
    headers: u32,
    (captured, len): (&[u8], u32),
) -> Result<OfConnection, Skip> {
    let header = Header {
        length: u16::try_from(headers + len).unwrap_or(u16::MAX),
        known: first.known | known::LENGTH,
        ..*first
    };
    let rest = Rest {
        captured,
        wire_len: len as usize,
        // Whole, it is not seen to go on.
        identification: 0,
    };
    let (header, rest) = match header.family() {
        Family::V4 => upper_layer(header, header.protocol, rest, false)?,
        Family::V6 => behind_extensions(header, header.protocol, rest)?,
    };
    Ok(with_upper(header, rest))
}
