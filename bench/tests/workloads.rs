//! What `workloads.toml` says comes of its files comes of them: of those that are not generated, here; of the others, whenever they run.

use kpclass_bench::inputs::{Files, repository};
use kpclass_bench::workload::{Capture, Loaded, Rules, Workload, Workloads, replay};

fn committed(workload: &Workload) -> Option<Files> {
    match (&workload.rules, &workload.capture) {
        (Rules::File(rules), Capture::File(capture)) => Some(Files {
            rules: repository().join(rules),
            capture: repository().join(capture),
        }),
        _ => None,
    }
}

#[test]
fn the_small_workloads_count_what_they_must() {
    let all = Workloads::read().unwrap();
    let mut tried = 0;
    for workload in &all.workload {
        let Some(files) = committed(workload) else {
            continue;
        };
        let loaded = Loaded::new(workload, &files).unwrap();
        let rules = loaded.compile().unwrap();
        for threads in [1, 2] {
            replay(workload, &rules, &files, threads).unwrap();
        }
        tried += 1;
    }
    assert!(tried >= 2, "some workloads are of committed files");
}

#[test]
fn a_workload_whose_counts_are_wrong_fails() {
    let all = Workloads::read().unwrap();
    let mut workload = all.workload[0].clone();
    workload.expect.rewritten += 1;
    let files = committed(&workload).unwrap();
    let loaded = Loaded::new(&workload, &files).unwrap();
    let wrong = replay(&workload, &loaded.compile().unwrap(), &files, 1).unwrap_err();
    assert!(wrong.contains("was to come"), "{wrong}");
}

#[test]
fn no_two_workloads_have_one_name() {
    let all = Workloads::read().unwrap();
    let mut names: Vec<&String> = all.workload.iter().map(|w| &w.name).collect();
    names.sort();
    let before = names.len();
    names.dedup();
    assert_eq!(names.len(), before);
}
