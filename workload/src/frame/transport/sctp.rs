//! SCTP, for which pnet has no type.

use super::{put, write_ports};

/// The common header.
pub(super) const HEADER: usize = 12;
/// An INIT chunk.
pub(super) const INIT: usize = 20;

/// Ports, the INIT chunk that opens an association (RFC 9260, 3.3.2), and the CRC-32C of all, little-endian (6.8).
pub(super) fn write(bytes: &mut [u8], ports: (u16, u16), whole: bool) {
    write_ports(bytes, ports);
    if whole {
        /// The chunk's type, flags and length; then tag, window, streams out and in, first sequence number.
        const CHUNK: [u8; INIT] = [
            1, 0, 0, INIT as u8, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1,
        ];
        put(bytes, HEADER, &CHUNK);
        // What fills the packet is the chunk's: conntrack refuses a second one.
        let length = super::super::short(bytes.len().saturating_sub(HEADER));
        put(bytes, HEADER + 2, &length.to_be_bytes());
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
