//! Work that many threads do and one takes, in order, so that what comes of it does not depend on how many threads there are.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};

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
    let make = |scratch: &mut S, at: usize, room: &mut Option<T>| *room = Some(make(scratch, at));
    each_again(count, scratch, make, |room| {
        room.take().into_iter().for_each(&mut take);
    });
}

/// As [`each`], where `make` is given what `take` has left of another, whose memory need not be asked for again: new memory is cleared
/// before it is given, and that takes longer than to fill it.
pub fn each_again<S, T: Default + Send>(
    count: usize,
    scratch: impl Fn() -> S + Sync,
    make: impl Fn(&mut S, usize, &mut T) + Sync,
    mut take: impl FnMut(&mut T),
) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.min(MAX_THREADS).min(count);
    if threads < 2 {
        let (mut scratch, mut one) = (scratch(), T::default());
        return (0..count).for_each(|at| {
            make(&mut scratch, at, &mut one);
            take(&mut one);
        });
    }
    let (next, taken) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    // No thread panics while it holds it.
    let taken = || taken.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        // Bounded, so that what is made does not pile up before it is taken.
        let (done, made) = mpsc::sync_channel(2 * threads);
        for _ in 0..threads {
            let (done, next, scratch, make) = (done.clone(), &next, &scratch, &make);
            let taken = &taken;
            scope.spawn(move || {
                let mut scratch = scratch();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count {
                        return;
                    }
                    let again = taken().pop();
                    let mut one = again.unwrap_or_default();
                    make(&mut scratch, at, &mut one);
                    if done.send((at, one)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        let (mut early, mut due) = (BTreeMap::new(), 0);
        for (at, one) in made {
            early.insert(at, one);
            while let Some(mut one) = early.remove(&due) {
                take(&mut one);
                taken().push(one);
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

    #[test]
    fn what_is_taken_is_made_of_again() {
        let mut taken = Vec::new();
        let make = |(): &mut (), at: usize, room: &mut Vec<usize>| {
            assert!(room.is_empty());
            room.extend([at, at]);
        };
        each_again(1000, || (), make, |room| taken.append(room));
        assert!(taken.into_iter().eq((0..1000).flat_map(|at| [at, at])));
    }
}
