//! The stages on the zoo sample, one by one: reading, compiling, extracting, looking up. The lookup is checked before it is timed.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kpclass_compiler::header::Header;
use kpclass_compiler::{Config, Context, Program};
use kpclass_reference::Walk;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::{Hook, Ruleset};
use kpclass_workload::edges::Edges;
use std::hint::black_box;

const ZOO: &str = include_str!("../../pcaps/zoo.rules");

fn input() -> Input {
    Input {
        name: "zoo.rules".into(),
        family: None,
        table: None,
        bytes: ZOO.into(),
    }
}

fn zoo() -> Ruleset {
    let rules = read(&[input()]).expect("the sample is sound");
    rules.v4.expect("the sample is IPv4's")
}

/// Packets at the edges of the rules, each with what the program is asked.
fn packets(ruleset: &Ruleset) -> Vec<(Packet, Header, Context)> {
    let mut edges = Edges::new(ruleset, &[], 1);
    let all = ruleset
        .rules()
        .flat_map(|(id, _)| edges.of_rule(id, 0))
        .collect::<Vec<_>>();
    let replayed = all
        .into_iter()
        .filter(|p| p.hook == Hook::Prerouting && p.mark == 0);
    replayed
        .map(|p| (p.clone(), Header::from(&p), Context::from(&p)))
        .collect()
}

fn stages(c: &mut Criterion) {
    let (ruleset, node) = (zoo(), NodeFacts::default());
    let mut group = c.benchmark_group("zoo");
    group.throughput(Throughput::Elements(ruleset.rules().len() as u64));
    group.bench_function("read, per rule", |b| b.iter(|| read(black_box(&[input()]))));
    group.bench_function("compile, per rule", |b| {
        b.iter(|| Program::compile(black_box(&ruleset), &node, &Config::default()));
    });

    let program = Program::compile(&ruleset, &node, &Config::default()).expect("it compiles");
    let walk = Walk::new(&ruleset, &node).expect("it loads");
    let packets = packets(&ruleset);
    for (packet, header, context) in &packets {
        let decided = program.decide(header, context, 7);
        assert_eq!(
            decided,
            Some(walk.decide(packet, 7).decision),
            "a wrong answer is not timed"
        );
    }
    group.throughput(Throughput::Elements(packets.len() as u64));
    group.bench_function("class, per packet", |b| {
        b.iter(|| {
            packets
                .iter()
                .map(|(_, header, _)| program.class(header).0)
                .sum::<u32>()
        });
    });
    group.bench_function("decide by the program, per packet", |b| {
        b.iter(|| {
            packets
                .iter()
                .filter_map(|(_, h, c)| program.decide(h, c, 7))
                .count()
        });
    });
    group.bench_function("decide by the linear walk, per packet", |b| {
        b.iter(|| {
            packets
                .iter()
                .map(|(p, _, _)| walk.decide(p, 7).path.len())
                .sum::<usize>()
        });
    });
    group.finish();
}

criterion_group!(benches, stages);
criterion_main!(benches);
