//! Checked views of the headers that a frame holds.
//!
//! The contract, once for all views: `View::read(bytes)` gives `None` unless the header's fixed part is there as a
//! whole; after that no accessor can fail, because a view borrows an array of exactly that length. A view says what
//! the bytes say; whether that makes sense is for [`extract`](crate::extract) to judge. Offsets are named in each
//! file's `field`, as the protocols' own documents draw them.

mod ethernet;
mod ipv4;
mod ipv6;
mod loopback;
mod sll;
mod transport;

pub use ethernet::{Ethernet, Vlan, ethertype};
pub use ipv4::Ipv4;
pub use ipv6::{Extension, Ipv6, next_header};
pub use loopback::{LEN as LOOPBACK_LEN, family_of};
pub use sll::{Sll, Sll2, arphrd};
pub use transport::{Icmp, Ports, Tcp};

fn be16<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn be32<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn be128<const N: usize>(bytes: &[u8; N], at: usize) -> u128 {
    u128::from_be_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn six<const N: usize>(bytes: &[u8; N], at: usize) -> [u8; 6] {
    std::array::from_fn(|i| bytes[at + i])
}
