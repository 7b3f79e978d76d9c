//! SCTP, for which pnet has no type.

use super::{Tag, put, write_ports};

/// The common header.
pub(super) const HEADER: usize = 12;
/// An INIT chunk.
const INIT: usize = 20;

/// Types whose chunks begin with a tag.
const GIVES_TAG: [u8; 2] = [1, 2];

/// Bytes of the chunks.
pub(super) fn length(tag: &Tag) -> usize {
    match tag.sctp {
        None => INIT,
        Some(sctp) => sctp.chunks.iter().flatten().copied().map(chunk).sum(),
    }
}

/// Bytes of a chunk, with as much as its type needs.
fn chunk(kind: u8) -> usize {
    match kind {
        1 | 2 => INIT,
        0 | 3 => 16,
        _ => 8,
    }
}

/// Ports, the chunks (RFC 9260, 3.3; an INIT opens an association), and the CRC-32C of all, little-endian (6.8).
pub(super) fn write(bytes: &mut [u8], ports: (u16, u16), tag: &Tag, whole: bool) {
    write_ports(bytes, ports);
    match tag.sctp {
        _ if !whole => {}
        Some(sctp) => {
            put(bytes, 4, &sctp.tag.to_be_bytes());
            let mut at = HEADER;
            for kind in sctp.chunks.into_iter().flatten() {
                let length = chunk(kind);
                put(bytes, at, &[kind, 0, 0, length as u8]);
                if GIVES_TAG.contains(&kind) {
                    put(bytes, at + 4, &sctp.initiate.to_be_bytes());
                }
                at += length;
            }
        }
        None => {
            /// The chunk's type, flags and length; then tag, window, streams out and in, first sequence number.
            const CHUNK: [u8; INIT] = [
                1, 0, 0, INIT as u8, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1,
            ];
            put(bytes, HEADER, &CHUNK);
            // What fills the packet is the chunk's: conntrack refuses a second one.
            let length = super::super::short(bytes.len().saturating_sub(HEADER));
            put(bytes, HEADER + 2, &length.to_be_bytes());
        }
    }
    let crc = crc32c(bytes).to_le_bytes();
    put(bytes, 8, &crc);
}

fn crc32c(bytes: &[u8]) -> u32 {
    const REVERSED_POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (REVERSED_POLYNOMIAL & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    #[test]
    fn the_crc_is_the_published_one() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }
}
