//! The two iptables: the kernel's own tables, and their nf_tables twin.

use crate::error::{KernelError, Kind};
use kpclass_ruleset::value::Family;
use std::fmt;
use std::io::Write;
use std::process::{Command, Stdio};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Backend {
    /// `iptables-legacy`: `ip_tables.c`.
    Legacy,
    /// `iptables-nft`: the same rules in nf_tables.
    Nft,
}

impl Backend {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Legacy, Self::Nft];

    fn program(self, family: Family, verb: &str) -> String {
        let six = if family == Family::V6 { "6" } else { "" };
        format!("ip{six}tables-{self}-{verb}")
    }

    /// Loads a text, which replaces the tables that it names. Counters begin at zero.
    ///
    /// # Errors
    /// Where `iptables-restore` cannot be run or refuses it.
    pub fn restore(self, family: Family, text: &str) -> Result<(), KernelError> {
        run(
            Command::new(self.program(family, "restore")).args(["--wait", "10"]),
            Some(text),
        )
        .map(drop)
    }

    /// What the kernel holds, as `iptables-save -c` prints it.
    ///
    /// # Errors
    /// Where `iptables-save` cannot be run or fails.
    pub fn save(self, family: Family) -> Result<String, KernelError> {
        run(
            Command::new(self.program(family, "save")).arg("--counters"),
            None,
        )
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Legacy => "legacy",
            Self::Nft => "nft",
        })
    }
}

/// Runs a command with a text to read; what it printed.
pub(crate) fn run(command: &mut Command, input: Option<&str>) -> Result<String, KernelError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let io = |source| KernelError::io(name.clone(), source);
    // Root in a user namespace may not write where the lock file usually stands.
    let lock = std::env::temp_dir().join(format!("kpclass-{}.lock", std::process::id()));
    let mut child = command
        .env("XTABLES_LOCKFILE", lock)
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| Kind::NoTool {
            command: name.clone(),
            source,
        })?;
    if let (Some(mut pipe), Some(text)) = (child.stdin.take(), input) {
        // A command that refuses early closes its end; its own words say more than this error would.
        pipe.write_all(text.as_bytes()).ok();
    }
    let output = child.wait_with_output().map_err(io)?;
    if !output.status.success() {
        let mut stderr = String::from_utf8_lossy(&output.stderr).trim().to_string();
        if stderr.is_empty() {
            stderr = output.status.to_string();
        }
        return Err(Kind::Refused {
            command: name,
            stderr,
        }
        .into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
