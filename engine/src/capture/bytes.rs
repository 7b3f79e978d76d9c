//! Bytes that several owners share: a mapped file, or a buffer.

use super::mapping::Mapping;
use std::io::Read;
use std::sync::Arc;

/// Cheap to clone.
#[derive(Clone)]
pub(super) enum Bytes {
    Mapped(Arc<Mapping>),
    Buffer(Arc<Vec<u8>>),
}

impl Bytes {
    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(mapping) => mapping.as_slice(),
            Self::Buffer(buffer) => buffer,
        }
    }

    /// What is there from `at` on, with room for `more`: in the same buffer if nobody else has it, whose pages are there already.
    pub(super) fn take_from(&mut self, at: usize, more: usize) -> Vec<u8> {
        if let Self::Buffer(buffer) = self
            && let Some(buffer) = Arc::get_mut(buffer)
        {
            buffer.drain(..at);
            buffer.reserve_exact(more);
            return std::mem::take(buffer);
        }
        let left = &self.as_slice()[at..];
        let mut buffer = Vec::with_capacity(left.len() + more);
        buffer.extend_from_slice(left);
        buffer
    }
}

/// Reads them from the beginning.
pub(super) struct BytesReader {
    bytes: Bytes,
    at: usize,
}

impl BytesReader {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { bytes, at: 0 }
    }
}

impl Read for BytesReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut rest = self.bytes.as_slice().get(self.at..).unwrap_or_default();
        let read = rest.read(buffer)?;
        self.at += read;
        Ok(read)
    }
}
