//! Choices by chance come as often as the exact probabilities say, and `nth` by the count.

use kpclass_kernel::repeats::repeats;
use kpclass_kernel::{Backend, Kernel, Subject};
use kpclass_reference::Walk;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::spec;
use libtest_mimic::Failed;
use std::fmt::Write as _;

/// Times that a packet is asked.
const TIMES: usize = 20_000;

pub(crate) fn judge(backend: Backend) -> Result<(), Failed> {
    let mut kernel = Kernel::new(backend)?;
    for rules in [
        service(2),
        service(3),
        service(7),
        service(40),
        nested(),
        skewed(),
    ] {
        let subject = subject(&rules)?;
        let walk = Walk::new(&subject.ruleset, &subject.node)?;
        let packet = spec::parse("tcp 10.9.9.9:40000 > 10.96.0.1:80")?.packet(&subject.node);
        kernel.load(&subject)?;
        let repeats = repeats(&mut kernel, &walk, &packet, TIMES)?;
        let deviation = repeats.deviation().ok_or("one outcome alone")?;
        println!(
            "{backend}: {} outcomes, {deviation:.2} standard deviations off",
            repeats.outcomes.len()
        );
        if !repeats.agrees() {
            let counts: Vec<(String, u64)> = repeats
                .outcomes
                .iter()
                .map(|(outcome, n)| (outcome.probability.to_string(), *n))
                .collect();
            return Err(format!("{counts:?}, {} by none\n{rules}", repeats.unaccounted).into());
        }
    }
    nth(&mut kernel)
}

/// Every third packet by `--packet`: which ones is certain, so the counts are exact.
fn nth(kernel: &mut Kernel) -> Result<(), Failed> {
    let subject = subject(
        "*nat\n:PREROUTING ACCEPT [0:0]\n\
         -A PREROUTING -m statistic --mode nth --every 3 --packet 0 -j DNAT --to-destination 10.0.0.1\n\
         -A PREROUTING -m statistic --mode nth --every 2 --packet 1 -j DNAT --to-destination 10.0.0.2\n\
         -A PREROUTING -j DNAT --to-destination 10.0.0.3\nCOMMIT\n",
    )?;
    let packet = spec::parse("tcp 10.9.9.9:40000 > 10.96.0.1:80")?.packet(&subject.node);
    kernel.load(&subject)?;
    let seen = kernel.ask(&vec![packet; 12])?;
    let ends: Vec<String> = seen
        .iter()
        .filter_map(|seen| seen.last)
        .map(|last| last.destination.to_string())
        .collect();
    let round = ["10.0.0.1", "10.0.0.3", "10.0.0.2"];
    match ends.iter().eq(round.iter().cycle().take(12)) {
        true => Ok(()),
        false => Err(format!("nth: {ends:?}").into()),
    }
}

fn subject(rules: &str) -> Result<Subject, Failed> {
    let ruleset = read(&[Input::new("rules", rules)])?.v4.ok_or("IPv4")?;
    Ok(Subject {
        rules: rules.to_string(),
        ruleset,
        ipsets: None,
        node: NodeFacts::default(),
        devices: Vec::new(),
    })
}

/// As kube-proxy spreads connections over `n` endpoints.
fn service(n: u32) -> String {
    let mut rules =
        "*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SVC - [0:0]\n-A PREROUTING -j KUBE-SVC\n"
            .to_string();
    for endpoint in 0..n {
        let left = n - endpoint;
        let chance = match left {
            1 => String::new(),
            _ => format!(
                " -m statistic --mode random --probability {:.10}",
                1.0 / f64::from(left)
            ),
        };
        writeln!(
            rules,
            "-A KUBE-SVC{chance} -j DNAT --to-destination 10.1.0.{}",
            endpoint + 1
        )
        .ok();
    }
    rules + "COMMIT\n"
}

/// A choice within a choice, with a `!`.
fn nested() -> String {
    "*nat\n:PREROUTING ACCEPT [0:0]\n:half - [0:0]\n\
     -A PREROUTING -m statistic --mode random --probability 0.5 -j half\n\
     -A PREROUTING -m statistic --mode random ! --probability 0.25 -j DNAT --to-destination 10.1.0.9\n\
     -A half -m statistic --mode random --probability 0.2 -j DNAT --to-destination 10.1.0.1\n\
     -A half -m statistic --mode random --probability 0.7 -j DNAT --to-destination 10.1.0.2\nCOMMIT\n"
        .to_string()
}

/// Marks and drops by chance, before and behind nat.
fn skewed() -> String {
    "*mangle\n:PREROUTING ACCEPT [0:0]\n\
     -A PREROUTING -m statistic --mode random --probability 0.01 -j MARK --set-xmark 0x1/0x1\nCOMMIT\n\
     *filter\n:FORWARD ACCEPT [0:0]\n\
     -A FORWARD -m mark --mark 0x1/0x1 -m statistic --mode random --probability 0.5 -j DROP\n\
     -A FORWARD -m statistic --mode random --probability 0.03 -j REJECT --reject-with icmp-port-unreachable\nCOMMIT\n"
        .to_string()
}
