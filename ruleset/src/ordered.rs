//! Work that many threads do and one takes, in order, so that what comes of it does not depend on how many threads there are.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

/// More threads than this only wait for one another.
const MAX_THREADS: usize = 16;

/// Gives what `make` makes of 0, 1, … `count - 1` to `take`, in this order. `make` runs on as many threads as there are cores, each with
/// a scratch of its own; `take` on this one.
pub fn each<S, T: Send>(
    count: usize,
    scratch: impl Fn() -> S + Sync,
    make: impl Fn(&mut S, usize) -> T + Sync,
    mut take: impl FnMut(T),
) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.min(MAX_THREADS).min(count);
    if threads < 2 {
        let mut scratch = scratch();
        return (0..count).for_each(|at| take(make(&mut scratch, at)));
    }
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        // Bounded, so that what is made does not pile up before it is taken.
        let (done, made) = mpsc::sync_channel(2 * threads);
        for _ in 0..threads {
            let (done, next, scratch, make) = (done.clone(), &next, &scratch, &make);
            scope.spawn(move || {
                let mut scratch = scratch();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count || done.send((at, make(&mut scratch, at))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        let (mut early, mut due) = (BTreeMap::new(), 0);
        for (at, one) in made {
            early.insert(at, one);
            while let Some(one) = early.remove(&due) {
                take(one);
                due += 1;
            }
        }
    });
}

/// What two pieces of work come to, done at the same time where each is so `long` that another thread pays.
pub fn both<A, B: Send>(
    long: bool,
    first: impl FnOnce() -> A,
    second: impl FnOnce() -> B + Send,
) -> (A, B) {
    if !long || std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return (first(), second());
    }
    std::thread::scope(|scope| {
        let second = scope.spawn(second);
        let first = first();
        let second = second.join();
        (
            first,
            second.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_done() {
        for long in [false, true] {
            assert_eq!(both(long, || 1, || 2), (1, 2));
        }
    }

    #[test]
    fn all_are_taken_in_order() {
        for count in [0, 1, 2, 1000] {
            let mut taken = Vec::new();
            each(
                count,
                || (),
                |(), at| {
                    // The later ones are often made first.
                    if at % 7 == 0 {
                        std::thread::yield_now();
                    }
                    at
                },
                |at| taken.push(at),
            );
            assert_eq!(taken, (0..count).collect::<Vec<_>>());
        }
    }
}
