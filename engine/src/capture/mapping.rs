//! The one place with `unsafe` code: mapping a file.

use memmap2::Mmap;
use std::fs::File;
use std::io;

/// A file's bytes, mapped for reading.
///
/// What holds, and who sees to it: the bytes may change under us if another process writes to the file, so nothing may
/// rest on two reads of a byte being equal: every walk of a chunk checks each length again ([`Chunk::frames`] never panics,
/// whatever it meets). And the file must not be shortened while it is mapped, or the system ends the process (SIGBUS);
/// that is the user's to see to, and said in [the module's](super) documentation.
///
/// [`Chunk::frames`]: super::Chunk::frames
pub(super) struct Mapping(Mmap);

impl Mapping {
    #[expect(
        unsafe_code,
        reason = "a map of a file is only sound as long as its users hold to the above"
    )]
    pub(super) fn of(file: &File) -> io::Result<Self> {
        // SAFETY: read-only and private to this type, which hands out shared slices of plain bytes. Every bit pattern is a
        // valid byte; no reference into the map outlives it, because slices borrow it. Concurrent writers are dealt with above.
        unsafe { Mmap::map(file) }.map(Self)
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.0
    }
}
