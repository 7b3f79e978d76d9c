//! Whether a Service's connections go to its endpoints as often as the rules say: a chi-square test of goodness of fit.
//!
//! Pearson's statistic alone would not do. Many Services are tested, each at a strict level, and that far out its tail is too thin wherever few connections
//! are expected: of 10 among 200 what is said to happen once in a million times happens once in 20,000. The likelihood ratio's tail is right there, and
//! wrong where Pearson's is right. Of the two the greater p counts, doubled: over all ways in which a few dozen connections can fall, no such p comes more
//! often than it says (the tests count them).

/// How likely one report may hold a false alarm, all of its Services together.
pub const LEVEL: f64 = 0.001;

/// Endpoints are put together until so many connections are expected of them: the statistic is not near a chi-square otherwise.
const LEAST_EXPECTED: f64 = 5.0;

/// One endpoint's connections, or those of several that were put together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// Connections that were seen to go there.
    pub seen: f64,
    /// The chance that the rules give it.
    pub chance: f64,
}

/// How well connections fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// Pearson's statistic.
    pub chi_square: f64,
    /// Its degrees of freedom.
    pub degrees: u32,
    /// The chance of counts as far off as these, at most.
    pub p: f64,
}

/// Tests connections of one Service. Of `unseen` ones nobody saw where they went: they are taken to have gone where they make least difference, so that
/// endpoints which are seldom seen (they do not answer, say) raise no alarm. `None`: too few connections, or one endpoint.
pub fn test(cells: &[Cell], unseen: u64) -> Option<Fit> {
    let whole: f64 = cells.iter().map(|cell| cell.chance).sum();
    let seen: f64 = cells.iter().map(|cell| cell.seen).sum();
    let total = seen + unseen as f64;
    let mut cells = put_together(cells, total / whole);
    fill(&mut cells, unseen as f64);
    let degrees = cells
        .len()
        .checked_sub(1)
        .filter(|degrees| *degrees > 0 && seen > 0.0)?;
    let chi_square = cells.iter().map(|cell| {
        let expected = cell.chance * total / whole;
        (cell.seen - expected).powi(2) / expected
    });
    let chi_square: f64 = chi_square.sum();
    let likelihood = cells.iter().filter(|cell| cell.seen > 0.0).map(|cell| {
        let expected = cell.chance * total / whole;
        2.0 * cell.seen * (cell.seen / expected).ln()
    });
    let degrees = degrees as u32;
    let p = upper_tail(chi_square.min(likelihood.sum()), degrees);
    Some(Fit {
        chi_square,
        degrees,
        p: (2.0 * p).min(1.0),
    })
}

/// Those of these p that are alarms, one of [`LEVEL`] for all of them together (Holm).
pub fn alarms(tested: &[f64]) -> Vec<bool> {
    let mut order: Vec<usize> = (0..tested.len()).collect();
    order.sort_by(|a, b| tested[*a].total_cmp(&tested[*b]));
    let mut alarms = vec![false; tested.len()];
    for (rank, at) in order.into_iter().enumerate() {
        if tested[at] > LEVEL / (tested.len() - rank) as f64 {
            break;
        }
        alarms[at] = true;
    }
    alarms
}

/// Endpoints in their order, put together where little is expected of them: what they got must not matter.
fn put_together(cells: &[Cell], per_chance: f64) -> Vec<Cell> {
    let mut all: Vec<Cell> = Vec::new();
    let is_enough = |cell: &Cell| cell.chance * per_chance >= LEAST_EXPECTED;
    for cell in cells.iter().filter(|cell| cell.chance > 0.0) {
        match all.last_mut().filter(|last| !is_enough(last)) {
            Some(last) => last.add(cell),
            None => all.push(*cell),
        }
    }
    if all.len() > 1
        && let Some(rest) = all.pop_if(|last| !is_enough(last))
        && let Some(last) = all.last_mut()
    {
        last.add(&rest);
    }
    all.retain(is_enough);
    all
}

impl Cell {
    fn add(&mut self, other: &Self) {
        self.seen += other.seen;
        self.chance += other.chance;
    }

    fn ratio(&self) -> f64 {
        self.seen / self.chance
    }
}

/// Raises those that got the least, for their chance, to one level.
fn fill(cells: &mut [Cell], unseen: f64) {
    cells.sort_by(|a, b| a.ratio().total_cmp(&b.ratio()));
    let (mut seen, mut chance) = (unseen, 0.0);
    let mut below = 0;
    for cell in cells.iter() {
        if below > 0 && seen / chance <= cell.ratio() {
            break;
        }
        (seen, chance) = (seen + cell.seen, chance + cell.chance);
        below += 1;
    }
    for cell in cells[..below].iter_mut().filter(|_| unseen > 0.0) {
        cell.seen = cell.chance * seen / chance;
    }
}

/// The chance that a chi-square of so many degrees of freedom is at least this.
fn upper_tail(chi_square: f64, degrees: u32) -> f64 {
    let (half, x) = (f64::from(degrees) / 2.0, chi_square / 2.0);
    match () {
        () if x <= 0.0 => 1.0,
        () if x < half + 1.0 => 1.0 - lower_gamma(half, x),
        () => upper_gamma(half, x),
    }
}

/// So many terms are enough for a few thousand degrees of freedom.
const TERMS: u32 = 10_000;

/// The regularised lower incomplete gamma function, by its series.
fn lower_gamma(a: f64, x: f64) -> f64 {
    let (mut term, mut sum) = (1.0 / a, 1.0 / a);
    for n in 1..TERMS {
        term *= x / (a + f64::from(n));
        sum += term;
        if term < sum * f64::EPSILON {
            break;
        }
    }
    sum * (a * x.ln() - x - ln_gamma(a)).exp()
}

/// The upper one, by its continued fraction (Lentz).
fn upper_gamma(a: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let mut b = x + 1.0 - a;
    let (mut c, mut d) = (1.0 / TINY, 1.0 / b);
    let mut fraction = d;
    for n in 1..TERMS {
        let n = f64::from(n);
        let numerator = n * (a - n);
        b += 2.0;
        let far = |value: f64| if value.abs() < TINY { TINY } else { value };
        d = 1.0 / far(numerator * d + b);
        c = far(b + numerator / c);
        let step = c * d;
        fraction *= step;
        if (step - 1.0).abs() < f64::EPSILON {
            break;
        }
    }
    fraction * (a * x.ln() - x - ln_gamma(a)).exp()
}

/// Of half an integer: the factors down to the gamma function of 1 or 1/2.
fn ln_gamma(a: f64) -> f64 {
    let (mut at, mut sum) = (a - 1.0, 0.0);
    while at > 0.25 {
        sum += at.ln();
        at -= 1.0;
    }
    match at < -0.25 {
        true => sum + std::f64::consts::PI.sqrt().ln(),
        false => sum,
    }
}

#[cfg(test)]
mod tests;
