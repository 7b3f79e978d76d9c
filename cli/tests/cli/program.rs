//! Runs `kpclass` in a directory of its own.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A directory with files, and the binary to run in it.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

/// What a run left behind.
pub(crate) struct Run {
    /// The exit status; `None`: a signal ended it.
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file and returns its name, which is valid in this place.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path().join(name), content).expect("write a test's file");
        name.to_owned()
    }

    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kpclass"));
        command.args(arguments).current_dir(self.path());
        command.env_remove("NO_COLOR").stdin(Stdio::null());
        command
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Run {
        Run::from(self.command(arguments).output().expect("run kpclass"))
    }

    /// Runs with `input` on standard input.
    pub(crate) fn run_with<S: AsRef<OsStr>>(&self, arguments: &[S], input: &[u8]) -> Run {
        let mut command = self.command(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("run kpclass");
        let mut stdin = child.stdin.take().expect("its stdin");
        let input = input.to_vec();
        let writer = std::thread::spawn(move || {
            // It may stop reading early, which is its right.
            let _ = stdin.write_all(&input);
        });
        let output = child.wait_with_output().expect("its output");
        writer.join().expect("the writer");
        Run::from(output)
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8 output");
        Self {
            status: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

impl Run {
    /// What it printed, of a run that went well.
    #[track_caller]
    pub(crate) fn fine(self) -> String {
        assert_eq!(self.status, Some(0), "stderr: {}", self.stderr);
        self.stdout
    }

    /// What it said, of a run that had trouble: status 2, nothing on stdout, the program's name in front, no panic.
    #[track_caller]
    pub(crate) fn trouble(self) -> String {
        assert_eq!(
            self.status,
            Some(2),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        assert_eq!(self.stdout, "", "stderr: {}", self.stderr);
        assert!(self.stderr.starts_with("kpclass: "), "{}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self.stderr
    }
}

/// The directory of material that is shared beside the project, if this machine has it.
pub(crate) fn shared(inside: &str) -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared");
    let root = std::env::var_os("KPCLASS_SHARED").map_or_else(|| beside.into(), PathBuf::from);
    let path = root.join(inside);
    if !path.exists() {
        std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("SKIPPED: {} is absent\n", path.display()),
        )
        .ok();
        return None;
    }
    Some(path)
}
