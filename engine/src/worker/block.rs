//! Frames that are taken together.

use super::Seen;

/// Frames of a block.
pub(super) const BLOCK: usize = 128;

/// Frames that wait to be looked at.
#[derive(Debug)]
pub(super) struct Block<'f> {
    len: usize,
    frames: [Seen<'f>; BLOCK],
}

impl<'f> Block<'f> {
    pub(super) fn new() -> Self {
        Self {
            len: 0,
            frames: [Seen::NOTHING; BLOCK],
        }
    }

    /// Takes a frame in; whether there is room for another one.
    #[inline(always)]
    pub(super) fn push(&mut self, frame: Seen<'f>) -> bool {
        self.frames[self.len % BLOCK] = frame;
        self.len = self.len % BLOCK + 1;
        self.len < BLOCK
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    #[inline(always)]
    pub(super) fn frames(&self) -> &[Seen<'f>] {
        &self.frames[..self.len.min(BLOCK)]
    }
}
