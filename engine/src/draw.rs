//! The number that a packet draws: a keyed hash of its tuple, so that a replay is the same again, whatever the number
//! of threads.

use kpclass_compiler::header::{Header, known};

const A: u64 = 0x9e37_79b9_7f4a_7c15;
const B: u64 = 0xd6e8_feb8_6659_fd93;

/// Multiplies to 128 bits and folds: each half of the product depends on all bits.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// The number of a packet with these addresses, protocol and ports.
#[inline]
pub fn number(header: &Header, seed: u64) -> u64 {
    let ports = u64::from(header.source_port) << 16 | u64::from(header.destination_port);
    let rest = ports | u64::from(header.protocol) << 32;
    let mut state = fold(seed ^ A, rest ^ B);
    if header.known & known::V6 == 0 {
        state = fold(
            state ^ header.source as u64 ^ A,
            header.destination as u64 ^ B,
        );
    } else {
        for half in [header.source, header.destination] {
            state = fold(state ^ half as u64, (half >> 64) as u64 ^ A);
        }
    }
    fold(state ^ B, A)
}
