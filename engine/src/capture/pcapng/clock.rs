//! Timestamps of an interface: ticks since an epoch, to nanoseconds since 1970.

const NS: u64 = 1_000_000_000;

/// How long a tick is, and when the first one was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::capture) struct Clock {
    tick: Tick,
    offset_seconds: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tick {
    /// A tick is this many nanoseconds.
    Nanoseconds(u64),
    /// A nanosecond is this many ticks.
    PerNanosecond(u64),
    /// A second is 2 to this many ticks.
    BinaryFraction(u32),
}

impl Clock {
    pub(in crate::capture) const NANOSECONDS: Self = Self {
        tick: Tick::Nanoseconds(1),
        offset_seconds: 0,
    };

    /// Of the options `if_tsresol` (absent: microseconds) and `if_tsoffset` (seconds).
    pub(super) fn new(resolution: Option<u8>, offset_seconds: Option<i64>) -> Self {
        let tick = match resolution.unwrap_or(6) {
            power @ 0..=9 => Tick::Nanoseconds(10_u64.pow(9 - u32::from(power))),
            power @ 10..=0x7f => {
                // Ticks of less than 10^-28 seconds: all times that 64 bits of them can say are 0.
                let ticks = 10_u64.checked_pow(u32::from(power) - 9);
                Tick::PerNanosecond(ticks.unwrap_or(u64::MAX))
            }
            power => Tick::BinaryFraction(u32::from(power & 0x7f)),
        };
        Self {
            tick,
            offset_seconds: offset_seconds.unwrap_or(0),
        }
    }

    /// `ticks` as nanoseconds since 1970; beyond what 64 bits hold, the nearest.
    #[inline(always)] // and so left out where nobody asks
    pub(super) fn nanoseconds(self, ticks: u64) -> u64 {
        let nanoseconds = match self.tick {
            Tick::Nanoseconds(each) => ticks.saturating_mul(each),
            Tick::PerNanosecond(ticks_each) => ticks / ticks_each,
            Tick::BinaryFraction(power) => {
                let product = u128::from(ticks) * u128::from(NS);
                u64::try_from(product.checked_shr(power).unwrap_or(0)).unwrap_or(u64::MAX)
            }
        };
        if self.offset_seconds == 0 {
            return nanoseconds;
        }
        let offset = self.offset_seconds.unsigned_abs().saturating_mul(NS);
        if self.offset_seconds > 0 {
            nanoseconds.saturating_add(offset)
        } else {
            nanoseconds.saturating_sub(offset)
        }
    }
}
