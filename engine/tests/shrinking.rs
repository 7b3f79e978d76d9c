//! A capture that another process shortens while it is mapped ends in a message and exit status 2, not in death by a signal.

use kpclass_engine::capture::Capture;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// Names the file to the child, which is this test once more.
const FILE: &str = "KPCLASS_TEST_SHRINKING";

/// Empty records, more than a few pages of them.
fn write(path: &Path) {
    let words = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, 1];
    let mut bytes = words.map(u32::to_le_bytes).concat();
    bytes.resize(1 << 20, 0);
    std::fs::write(path, bytes).expect("room for it");
}

/// Maps the file, tells so, waits, and reads it.
fn child(path: &Path) {
    let mut capture = Capture::open(path).expect("a capture");
    println!("mapped");
    std::io::stdout().flush().expect("a parent");
    std::io::stdin().lock().lines().next();
    let chunks = capture.chunks().count();
    println!("read {chunks} chunks");
}

#[test]
fn a_file_that_is_shortened_while_it_is_read_is_an_error() {
    if let Some(path) = std::env::var_os(FILE) {
        return child(Path::new(&path));
    }
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    for shorten in [false, true] {
        write(file.path());
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args([
                "--exact",
                "a_file_that_is_shortened_while_it_is_read_is_an_error",
            ])
            .arg("--nocapture")
            .env(FILE, file.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a child");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("mapped")));
        if shorten {
            file.as_file().set_len(24).expect("it is a file");
        }
        let mut to_child = child.stdin.take().expect("a pipe");
        writeln!(to_child).expect("it waits");
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        let ended = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        let message = format!(
            "kpclass: {}: was shortened while it was read\n",
            file.path().display()
        );
        if shorten {
            assert_eq!(ended.status.code(), Some(2), "{said}");
            assert!(said.ends_with(&message), "{said}");
        } else {
            assert!(ended.status.success(), "{said}");
            assert!(rest.concat().contains("read 1 chunks"), "{rest:?}");
        }
    }
}
