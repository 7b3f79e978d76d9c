//! Network namespaces of one's own.

use crate::error::{KernelError, Kind};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{Uid, getgid, getuid};
use std::fs::File;

/// Whether this process is root, who may have namespaces in every thread.
pub fn is_privileged() -> bool {
    Uid::effective().is_root()
}

/// A network namespace, held so that a thread can come back to it.
pub(crate) struct Namespace(File);

impl Namespace {
    /// Moves this thread, and the commands that it starts from now on, into a new one. Without root a user namespace is made as well (once),
    /// which the kernel allows a process of one thread only.
    pub(crate) fn enter_new() -> Result<Self, KernelError> {
        if is_privileged() {
            unshare(CloneFlags::CLONE_NEWNET).map_err(refused)?;
        } else {
            become_root_of_a_new_one()?;
        }
        const HERE: &str = "/proc/thread-self/ns/net";
        let file = File::open(HERE).map_err(|source| KernelError::io(HERE, source))?;
        Ok(Self(file))
    }

    /// Moves this thread back into it.
    pub(crate) fn enter(&self) -> Result<(), KernelError> {
        setns(&self.0, CloneFlags::CLONE_NEWNET).map_err(refused)
    }
}

fn refused(error: nix::Error) -> KernelError {
    Kind::Privilege {
        what: "a private network namespace",
        source: error.into(),
    }
    .into()
}

fn become_root_of_a_new_one() -> Result<(), KernelError> {
    let (uid, gid) = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).map_err(refused)?;
    // The kernel wants setgroups denied before it takes a group.
    for (file, text) in [
        ("setgroups", "deny".to_string()),
        ("uid_map", format!("0 {uid} 1")),
        ("gid_map", format!("0 {gid} 1")),
    ] {
        let path = format!("/proc/self/{file}");
        std::fs::write(&path, text).map_err(|source| KernelError::io(path, source))?;
    }
    Ok(())
}
