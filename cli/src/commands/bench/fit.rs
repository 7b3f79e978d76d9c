//! From the positions that were measured to those of larger clusters.

use crate::render::bench::{Point, Projected};

/// The numbers of Services that costs are projected to.
const SERVICES: [u64; 5] = [10, 100, 1_000, 10_000, 100_000];

/// Positions less far apart than this say nothing of a rule's cost.
const LEAST_SPREAD: f64 = 8.0;

/// So many nanoseconds, and so many more for each rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Line {
    pub start: f64,
    pub each: f64,
}

/// The line through the points: least squares of the relative errors, so that short walks count as much as long ones. `None`: they do
/// not tell.
pub(super) fn line(points: &[Point]) -> Option<Line> {
    let positions = || points.iter().map(|point| point.position);
    let spread = positions().fold(0.0, f64::max) - positions().fold(f64::MAX, f64::min);
    if points.len() < 2 || spread < LEAST_SPREAD {
        return None;
    }
    let weighed = |f: &dyn Fn(&Point) -> f64| -> f64 {
        let weight = |point: &Point| point.ns.max(1.0).powi(-2);
        points.iter().map(|p| weight(p) * f(p)).sum()
    };
    let all = weighed(&|_| 1.0);
    let (x, y) = (weighed(&|p| p.position) / all, weighed(&|p| p.ns) / all);
    let across = weighed(&|p| (p.position - x) * (p.ns - y));
    let along = weighed(&|p| (p.position - x).powi(2));
    let each = (across / along).max(0.0);
    Some(Line {
        start: (y - each * x).max(0.0),
        each,
    })
}

/// A packet to the last of so many Services.
pub(super) fn projected(line: Line, rules_each: f64) -> Vec<Projected> {
    let at = |services: u64| Projected {
        services,
        ns: line.start + line.each * rules_each * services as f64,
    };
    SERVICES.map(at).to_vec()
}

/// The same for all.
pub(super) fn flat(ns: f64) -> Vec<Projected> {
    SERVICES.map(|services| Projected { services, ns }).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(of: impl Fn(f64) -> f64, positions: &[f64]) -> Vec<Point> {
        let point = |position: &f64| Point {
            position: *position,
            packets: 1,
            ns: of(*position),
        };
        positions.iter().map(point).collect()
    }

    #[test]
    fn a_line_is_found_again_and_carried_on() {
        let line = line(&points(|x| 50.0 + 5.0 * x, &[1.0, 10.0, 100.0, 1000.0])).unwrap();
        assert!(
            (line.start - 50.0).abs() < 1e-6 && (line.each - 5.0).abs() < 1e-9,
            "{line:?}"
        );
        let last = projected(line, 2.0).pop().unwrap();
        assert!((last.ns - 1_000_050.0).abs() < 1.0);
    }

    #[test]
    fn positions_side_by_side_say_nothing_of_a_rule() {
        assert_eq!(line(&points(|x| x, &[1.0, 2.0, 5.0])), None);
        assert_eq!(line(&points(|x| x, &[100.0])), None);
    }

    #[test]
    fn a_cost_that_falls_is_flat() {
        let line = line(&points(|x| 100.0 - x / 100.0, &[1.0, 1000.0])).unwrap();
        assert!(line.each == 0.0 && line.start > 0.0);
    }
}
