//! The lookup alone, by the number of keys: packets that a key takes, and packets that none does. Every answer is held against the rules before
//! anything is timed (`keys.rs`). `KPCLASS_BENCH_KEYS=1000000` adds sizes; a million takes some 2 GB and half a minute to compile.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kpclass_bench::keys::Compiled;
use kpclass_engine::alone::Question;
use std::hint::black_box;

const PACKETS: usize = 1 << 18;

fn sizes() -> Vec<u32> {
    let more = std::env::var("KPCLASS_BENCH_KEYS").unwrap_or_default();
    let more = more.split(',').filter_map(|text| text.parse().ok());
    [10, 1_000, 10_000, 100_000]
        .into_iter()
        .chain(more)
        .collect()
}

fn lookup(c: &mut Criterion) {
    for keys in sizes() {
        let compiled = Compiled::new(keys).expect("the rules compile");
        let alone = compiled.alone().expect("a lookup of IPv4");
        let hits = compiled
            .hits(PACKETS, 1)
            .expect("a wrong answer is not timed");
        let misses = compiled
            .misses(PACKETS, 1)
            .expect("a wrong answer is not timed");
        let mut group = c.benchmark_group("lookup, per packet");
        group.throughput(Throughput::Elements(PACKETS as u64));
        group.sample_size(20);
        for (name, packets) in [("hit", &hits), ("miss", &misses)] {
            let of = |what: &str| BenchmarkId::new(format!("{name}: {what}"), keys);
            let keys: Vec<u64> = packets.iter().map(Question::key).collect();
            group.bench_with_input(of("class"), &keys, |b, keys| {
                b.iter(|| alone.find(black_box(keys)));
            });
            group.bench_with_input(of("verdict"), packets, |b, packets| {
                b.iter(|| alone.decide(black_box(packets)));
            });
        }
        group.finish();
    }
}

fn compile(c: &mut Criterion) {
    let mut group = c.benchmark_group("rules to program, per rule");
    group.sample_size(10);
    for keys in [1_000, 10_000] {
        group.throughput(Throughput::Elements(keys.into()));
        group.bench_with_input(BenchmarkId::from_parameter(keys), &keys, |b, keys| {
            b.iter(|| Compiled::new(*keys));
        });
    }
    group.finish();
}

criterion_group!(benches, lookup, compile);
criterion_main!(benches);
