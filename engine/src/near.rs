//! Memory that a loop over packets is about to read, asked for ahead.

#![allow(
    unsafe_code,
    reason = "engine/LOOP.md: a load instead holds the loop up until it is done"
)]

/// Has what stands at a place come nearer; only a hint.
#[inline(always)]
pub(crate) fn ask_for<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 has the instruction, and it neither reads nor writes for the program, nor faults, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
