//! Cost by number of Services, in characters: both axes are logarithmic.

use super::{Method, Record};

const WIDTH: usize = 61;
const HEIGHT: usize = 15;

/// A letter for each method, in their order.
const MARKS: [char; 5] = ['c', 'w', 'l', 'n', 'v'];

/// Both axes of a plot of the projections.
pub(super) struct Axes {
    /// Powers of ten of Services: from, to.
    pub services: (f64, f64),
    /// Powers of ten of nanoseconds.
    pub ns: (f64, f64),
}

impl Axes {
    /// That hold all methods; `None` if there is nothing to draw.
    pub(super) fn of(record: &Record) -> Option<Self> {
        let points = || record.methods.iter().flat_map(|m| &m.projected);
        let all = |of: fn(f64, f64) -> f64, start: f64| {
            points().fold(start, |so_far, point| of(so_far, point.ns.max(1.0).log10()))
        };
        let services = |of: fn(f64, f64) -> f64, start: f64| {
            points().fold(start, |so_far, p| of(so_far, (p.services as f64).log10()))
        };
        points().next().map(|_| Self {
            services: (services(f64::min, f64::MAX), services(f64::max, 0.0)),
            ns: (
                all(f64::min, f64::MAX).floor(),
                all(f64::max, 0.0).ceil().max(1.0),
            ),
        })
    }

    /// Where a point stands, both from 0 to 1.
    pub(super) fn place(&self, services: f64, ns: f64) -> (f64, f64) {
        let share = |value: f64, (from, to): (f64, f64)| (value - from) / (to - from).max(1e-9);
        (
            share(services.log10(), self.services),
            share(ns.max(1.0).log10(), self.ns),
        )
    }
}

/// What a method costs at a number of Services: projections, and straight lines between them as they look on logarithmic axes.
fn at(method: &Method, power: f64) -> Option<f64> {
    let near = |p: &super::Projected| (p.services as f64).log10();
    let behind = method
        .projected
        .iter()
        .position(|p| near(p) >= power - 1e-9)?;
    let to = method.projected[behind];
    let Some(from) = behind.checked_sub(1).map(|before| method.projected[before]) else {
        return Some(to.ns);
    };
    let share = (power - near(&from)) / (near(&to) - near(&from));
    let (low, high) = (from.ns.max(1.0).log10(), to.ns.max(1.0).log10());
    Some(10f64.powf(low + share * (high - low)))
}

/// The row of a method in each column.
fn rows(axes: &Axes, method: &Method) -> [Option<usize>; WIDTH] {
    let (from, to) = axes.services;
    std::array::from_fn(|column| {
        let power = from + (to - from) * column as f64 / (WIDTH - 1) as f64;
        let (_, up) = axes.place(1.0, at(method, power)?);
        Some(row(up))
    })
}

/// The row of a share of the height.
fn row(up: f64) -> usize {
    (((1.0 - up) * (HEIGHT - 1) as f64).round() as usize).min(HEIGHT - 1)
}

/// The plot.
pub(super) fn draw(record: &Record) -> String {
    let Some(axes) = Axes::of(record) else {
        return String::new();
    };
    let mut cells = vec![vec![' '; WIDTH]; HEIGHT];
    for (method, mark) in record.methods.iter().zip(MARKS) {
        for (column, row) in rows(&axes, method).into_iter().enumerate() {
            if let Some(row) = row {
                cells[row][column] = mark;
            }
        }
    }
    let mut text = String::new();
    for (at, line) in cells.iter().enumerate() {
        let line: String = line.iter().collect();
        text += &format!("  {:>8} │{}\n", label(&axes, at), line.trim_end());
    }
    text += &format!("  {:>8} └{}\n", "", "─".repeat(WIDTH));
    text += &format!("  {:>8}  10 {:>57}\n", "Services", "100 000");
    let marks = record.methods.iter().zip(MARKS);
    let marks: Vec<String> = marks
        .map(|(m, mark)| format!("{mark} {}", m.method))
        .collect();
    text + &format!("  {:>8}  {}\n", "", marks.join("   "))
}

/// The power of ten that stands nearest to a row, if one does.
fn label(axes: &Axes, at: usize) -> String {
    let (from, to) = axes.ns;
    let mut powers = (from as i32)..=(to as i32);
    let is_here = |power: &i32| {
        let (_, up) = axes.place(1.0, 10f64.powi(*power));
        row(up) == at
    };
    match powers.find(is_here) {
        Some(power @ ..=2) => format!("{} ns", 10u32.pow(power.max(0) as u32)),
        Some(power @ 3..=5) => format!("{} µs", 10u32.pow(power as u32 - 3)),
        Some(power) => format!("{} ms", 10u32.pow(power.min(12) as u32 - 6)),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn a_flat_cost_is_a_level_line_and_a_walk_climbs_across() {
        let text = draw(&sample());
        let lines: Vec<&str> = text.lines().collect();
        let level: Vec<&&str> = lines.iter().filter(|l| l.contains("cccc")).collect();
        assert_eq!(level.len(), 1, "{text}");
        assert!(
            lines[0].contains("1 ms") || lines[0].contains("10 ms"),
            "{text}"
        );
        assert!(
            lines[..HEIGHT].iter().filter(|l| l.contains('w')).count() > 6,
            "{text}"
        );
        assert!(
            lines.iter().all(|line| line.chars().count() <= 80),
            "{text}"
        );
    }
}
