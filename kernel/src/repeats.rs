//! One packet asked many times: its outcomes must come as often as their chances say.

use crate::error::KernelError;
use crate::judge::fits;
use crate::kernel::Kernel;
use kpclass_reference::{Outcome, Walk};
use kpclass_ruleset::packet::Packet;

/// How often each outcome was seen.
#[derive(Clone, Debug, Default)]
pub struct Repeats {
    /// Each outcome with its chance and how often it was seen, most probable first.
    pub outcomes: Vec<(Outcome, u64)>,
    /// Packets that no outcome accounts for.
    pub unaccounted: u64,
}

/// A test of chance that a sound kernel fails about once in 10^9 times: the standard normal's upper tail at `LIMIT`.
pub const FALSE_ALARMS: f64 = 1e-9;

const LIMIT: f64 = 6.0;

/// Outcomes expected less often than this are put together: the statistic is not near a chi-square otherwise.
const LEAST_EXPECTED: f64 = 5.0;

impl Repeats {
    /// How many standard deviations the counts are off, by the chi-square statistic (Wilson and Hilferty's normal approximation); `None` where there is
    /// only one outcome to expect.
    pub fn deviation(&self) -> Option<f64> {
        let total: u64 = self.outcomes.iter().map(|(_, count)| count).sum();
        let (mut cells, mut rest) = (Vec::new(), (0.0, 0.0));
        for (outcome, count) in &self.outcomes {
            let expected = outcome.probability.as_f64() * total as f64;
            if expected < LEAST_EXPECTED {
                rest = (rest.0 + expected, rest.1 + *count as f64);
            } else {
                cells.push((expected, *count as f64));
            }
        }
        if rest.0 >= LEAST_EXPECTED {
            cells.push(rest);
        }
        let degrees = cells.len().checked_sub(1).filter(|n| *n > 0)? as f64;
        let statistic: f64 = cells
            .iter()
            .map(|(expected, seen)| (seen - expected).powi(2) / expected)
            .sum();
        let ninth = 2.0 / (9.0 * degrees);
        Some(((statistic / degrees).cbrt() - (1.0 - ninth)) / ninth.sqrt())
    }

    /// Whether the counts are as the chances say, but for one false alarm in [`FALSE_ALARMS`]^-1.
    pub fn agrees(&self) -> bool {
        self.unaccounted == 0 && self.deviation().is_none_or(|d| d < LIMIT)
    }
}

/// Asks about one packet `times` times. The rules must have been loaded. (`statistic --mode nth` counts from packet to packet, so that its outcomes are not
/// independent: not for rules that use it.)
///
/// # Errors
/// Where the system fails.
pub fn repeats(
    kernel: &mut Kernel,
    walk: &Walk<'_>,
    packet: &Packet,
    times: usize,
) -> Result<Repeats, KernelError> {
    let outcomes = walk.outcomes(packet);
    let mut repeats = Repeats {
        outcomes: outcomes.into_iter().map(|outcome| (outcome, 0)).collect(),
        unaccounted: 0,
    };
    let seen = kernel.ask(&vec![packet.clone(); times])?;
    let is_local = |address| kernel.is_local(address);
    for seen in &seen {
        let fitting = repeats
            .outcomes
            .iter_mut()
            .find(|(outcome, _)| fits(packet, &outcome.decision, seen, &is_local));
        match fitting {
            Some((_, count)) => *count += 1,
            None => repeats.unaccounted += 1,
        }
    }
    Ok(repeats)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kpclass_reference::Walk;
    use kpclass_ruleset::node::NodeFacts;
    use kpclass_ruleset::readers::{Input, read};
    use kpclass_ruleset::spec;

    fn counted(counts: [u64; 3]) -> Repeats {
        let text = "*nat\n:PREROUTING ACCEPT [0:0]\n\
            -A PREROUTING -m statistic --mode random --probability 0.33333333349 -j DNAT --to-destination 10.0.0.1\n\
            -A PREROUTING -m statistic --mode random --probability 0.50000000000 -j DNAT --to-destination 10.0.0.2\n\
            -A PREROUTING -j DNAT --to-destination 10.0.0.3\nCOMMIT\n";
        let rules = read(&[Input::new("thirds", text)]).expect("rules");
        let (ruleset, node) = (rules.v4.expect("IPv4"), NodeFacts::default());
        let walk = Walk::new(&ruleset, &node).expect("no loops");
        let packet = spec::parse("tcp 10.9.9.9:1 > 10.8.8.8:2").expect("a packet");
        let outcomes = walk.outcomes(&packet.packet(&node));
        assert_eq!(outcomes.len(), 3);
        Repeats {
            outcomes: outcomes.into_iter().zip(counts).collect(),
            unaccounted: 0,
        }
    }

    #[test]
    fn even_thirds_agree_and_skewed_ones_do_not() {
        assert!(counted([3_000, 3_050, 2_950]).agrees());
        assert!(counted([3_100, 2_900, 3_000]).agrees());
        // 4 % off: six standard deviations of a count of 3,000 in 9,000 are 9 %.
        assert!(!counted([3_400, 2_800, 2_800]).agrees());
        assert!(!counted([0, 4_500, 4_500]).agrees());
    }

    #[test]
    fn what_no_outcome_accounts_for_is_a_disagreement() {
        let mut repeats = counted([1_000, 1_000, 1_000]);
        repeats.unaccounted = 1;
        assert!(!repeats.agrees());
    }
}
