//! Where the rules of a chain stand among those of its table.

use std::ops::Range;

/// Positions, in the order of the chain.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// The first ones, side by side. Nearly always these are all: a chain then takes no memory of its own.
    run: Range<u32>,
    /// Those behind them, anywhere.
    list: Vec<u32>,
}

impl Places {
    pub(super) fn len(&self) -> usize {
        self.run.len() + self.list.len()
    }

    pub(super) fn get(&self, at: usize) -> Option<u32> {
        match at.checked_sub(self.run.len()) {
            None => Some(self.run.start + at as u32),
            Some(at) => self.list.get(at).copied(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + Clone {
        self.run.clone().chain(self.list.iter().copied())
    }

    /// Where they end, if they stand side by side from `start` on.
    pub(super) fn run_from(&self, start: u32) -> Option<u32> {
        let is_run = self.list.is_empty() && (self.run.is_empty() || self.run.start == start);
        is_run.then(|| start + self.run.len() as u32)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn push(&mut self, place: u32) {
        if self.len() == 0 {
            self.run = place..place + 1;
        } else if self.list.is_empty() && self.run.end == place {
            self.run.end += 1;
        } else {
            self.list.push(place);
        }
    }

    /// Before the `at`-th; past the end it is appended.
    pub(super) fn insert(&mut self, at: usize, place: u32) {
        if at >= self.len() {
            return self.push(place);
        }
        self.scatter().insert(at, place);
    }

    /// False if there is no `at`-th.
    pub(super) fn remove(&mut self, at: usize) -> bool {
        let is_there = at < self.len();
        if is_there {
            self.scatter().remove(at);
        }
        is_there
    }

    /// All of them, as a list.
    fn scatter(&mut self) -> &mut Vec<u32> {
        let run = std::mem::take(&mut self.run);
        self.list.splice(0..0, run);
        &mut self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_a_list() {
        let (mut places, mut list) = (Places::default(), Vec::new());
        let check = |places: &Places, list: &[u32]| {
            assert_eq!(places.iter().collect::<Vec<_>>(), list);
            assert_eq!(places.len(), list.len());
            for start in [0, 1, 4, 11] {
                let end = start + list.len() as u32;
                let is_run = list.iter().copied().eq(start..end);
                let run = places.run_from(start);
                assert!(run.is_none() || (is_run && run == Some(end)), "{start}");
            }
            let all = (0..=list.len()).map(|at| places.get(at));
            assert!(all.eq((0..=list.len()).map(|at| list.get(at).copied())));
        };
        check(&places, &list);
        for place in [4, 5, 6, 9, 10] {
            places.push(place);
            list.push(place);
            check(&places, &list);
        }
        for (at, place) in [(0, 11), (3, 12), (99, 13)] {
            places.insert(at, place);
            list.insert(at.min(list.len()), place);
            check(&places, &list);
        }
        for at in [0, 2, 99] {
            assert_eq!(places.remove(at), at < list.len());
            if at < list.len() {
                list.remove(at);
            }
            check(&places, &list);
        }
        places.clear();
        check(&places, &[]);
        places.push(1);
        assert!(places.remove(0) && !places.remove(0));
        check(&places, &[]);
    }
}
