//! Bytes as a stream of choices. When they run out, each choice is the first, so that what is made of them ends.

use arbitrary::{Arbitrary, Unstructured};

/// The stream.
#[derive(Debug)]
pub struct Choices<'b>(Unstructured<'b>);

impl<'b> Choices<'b> {
    /// Of these bytes.
    pub fn new(bytes: &'b [u8]) -> Self {
        Self(Unstructured::new(bytes))
    }

    /// Below `n`, which must not be 0.
    pub fn below(&mut self, n: usize) -> usize {
        self.0.int_in_range(0..=n - 1).unwrap_or(0)
    }

    /// Once in `n` times; never when the bytes have run out.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    /// One of a list, which must not be empty.
    pub fn one<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// Any value.
    pub fn any<T: Arbitrary<'b> + Default>(&mut self) -> T {
        self.0.arbitrary().unwrap_or_default()
    }
}
