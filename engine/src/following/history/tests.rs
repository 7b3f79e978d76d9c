use super::*;

fn step(frame: u64) -> Step {
    let timestamp_ns = frame * 1000;
    Step {
        met: Met {
            capture: 0,
            frame,
            timestamp_ns,
        },
        header: Header::default(),
        became: None,
    }
}

fn numbers(steps: &[Step]) -> Vec<u64> {
    steps.iter().map(|step| step.met.frame).collect()
}

#[test]
fn of_a_long_connection_the_first_frames_and_the_last_are_kept() {
    let mut kept = Kept::default();
    let added: usize = (1..=1000).map(|frame| kept.add(step(frame))).sum();
    assert_eq!((added, kept.len()), (FIRST + LAST, FIRST + LAST));
    assert_eq!((kept.left_out, kept.newest()), (1000 - added as u64, 1000));
    let last = 1000 - LAST as u64 + 1..=1000;
    let expected: Vec<u64> = (1..=FIRST as u64).chain(last).collect();
    assert_eq!(numbers(&kept.steps()), expected);
}

#[test]
fn so_many_frames_are_kept_and_the_oldest_connections_are_forgotten() {
    let mut recorder = Recorder::new(u64::MAX);
    let key = |connection: u64| (6, (connection.into(), 1), (2, 2));
    for frame in 0..3 * MOST as u64 {
        recorder.add(key(frame / 2), step(frame));
        // One that is met again and again.
        if frame % 1000 == 0 {
            recorder.add(key(u64::MAX), step(frame));
        }
        assert!(recorder.kept <= MOST, "{} at {frame}", recorder.kept);
    }
    let kept: usize = recorder.connections.values().map(Kept::len).sum();
    assert_eq!(kept, recorder.kept);
    assert!(kept > MOST / 4, "{kept}");
    assert_eq!(numbers(&recorder.connections[&key(u64::MAX)].first)[0], 0);
    assert!(!recorder.connections.contains_key(&key(0)));
}
