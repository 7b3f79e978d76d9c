//! Numbers for tests that do things in many orders: the same each time.

/// Gives numbers below what it is asked for.
pub(crate) fn numbers() -> impl FnMut(u64) -> u64 {
    let mut state = 1_u64;
    move |below| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    }
}
