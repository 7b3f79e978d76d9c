//! The number that a packet draws: a keyed hash of its tuple, so that a replay is the same again, whatever the number
//! of threads.

use kpclass_compiler::header::{Header, known};
use kpclass_compiler::program::lookup::{Address, Tuple};

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
    if header.known & known::V6 == 0 {
        v4(header.source as u32, header.destination as u32, rest, seed)
    } else {
        v6(header.source, header.destination, rest, seed)
    }
}

/// The same of a tuple.
#[inline(always)]
pub fn of_tuple<A: Address>(tuple: &Tuple<A>, seed: u64) -> u64 {
    let ports = u64::from(tuple.source_port) << 16 | u64::from(tuple.destination_port);
    let rest = ports | u64::from(tuple.protocol) << 32;
    let (source, destination) = (tuple.source.number(), tuple.destination.number());
    if size_of::<A>() == size_of::<u32>() {
        v4(source as u32, destination as u32, rest, seed)
    } else {
        v6(source, destination, rest, seed)
    }
}

#[inline(always)]
fn v4(source: u32, destination: u32, rest: u64, seed: u64) -> u64 {
    let state = fold(seed ^ A, rest ^ B);
    let state = fold(state ^ u64::from(source) ^ A, u64::from(destination) ^ B);
    fold(state ^ B, A)
}

#[inline(always)]
fn v6(source: u128, destination: u128, rest: u64, seed: u64) -> u64 {
    let mut state = fold(seed ^ A, rest ^ B);
    for half in [source, destination] {
        state = fold(state ^ half as u64, (half >> 64) as u64 ^ A);
    }
    fold(state ^ B, A)
}
