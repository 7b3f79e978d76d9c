//! The one place with `unsafe` code but for a hint (`near.rs`): mapping a file, and what happens when it is shortened meanwhile.
//!
//! The system sends SIGBUS to whoever reads a mapped page that the file no longer has. A handler of that signal, installed with
//! the first mapping, looks whether the page belongs to a [`Mapping`]. If so it says which file was shortened and ends the
//! process with status 2; if not, it leaves the signal to who handled it before.
#![expect(
    unsafe_code,
    reason = "a map of a file is only sound as long as its users hold to what is said here, and signal handlers are the system's"
)]

use memmap2::Mmap;
use std::fs::File;
use std::io;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// A file's bytes, mapped for reading.
///
/// What holds, and who sees to it: the bytes may change under us if another process writes to the file, so nothing may
/// rest on two reads of a byte being equal: every walk checks each length when it reads it ([`Chunk::frames`] never panics,
/// whatever it meets).
///
/// [`Chunk::frames`]: super::Chunk::frames
pub(super) struct Mapping {
    map: Mmap,
    watched: &'static Watched,
}

impl Mapping {
    /// Maps `file`; messages call it `name`.
    pub(super) fn of(file: &File, name: &str) -> io::Result<Self> {
        watch_signal()?;
        // SAFETY: read-only and private to this type, which hands out shared slices of plain bytes. Every bit pattern is a
        // valid byte; no reference into the map outlives it, because slices borrow it. Concurrent writers are dealt with above,
        // and a file that is shortened ends the process.
        let map = unsafe { Mmap::map(file) }?;
        let watched = Watched::new(&map, name);
        Ok(Self { map, watched })
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.map
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.watched.len.store(0, Ordering::Release);
    }
}

/// What the handler knows of a mapping. It may look at any time, so these are never freed: some bytes for each file that was mapped.
struct Watched {
    start: usize,
    /// 0: not mapped any more.
    len: AtomicUsize,
    message: String,
    next: AtomicPtr<Watched>,
}

/// The mapping that was made last.
static LATEST: AtomicPtr<Watched> = AtomicPtr::new(ptr::null_mut());

impl Watched {
    fn new(map: &Mmap, name: &str) -> &'static Self {
        let watched: &'static Self = Box::leak(Box::new(Self {
            start: map.as_ptr() as usize,
            len: AtomicUsize::new(map.len()),
            message: format!("kpclass: {name}: was shortened while it was read\n"),
            next: AtomicPtr::default(),
        }));
        let put = |latest| {
            watched.next.store(latest, Ordering::Release);
            Some(ptr::from_ref(watched).cast_mut())
        };
        // It always succeeds: the closure never declines.
        let _ = LATEST.fetch_update(Ordering::AcqRel, Ordering::Acquire, put);
        watched
    }

    /// The mapping that `address` belongs to. For a signal handler: it only loads.
    fn find(address: usize) -> Option<&'static Self> {
        let mut at = LATEST.load(Ordering::Acquire);
        // SAFETY: all that can be reached from `LATEST` was leaked, and is only read.
        while let Some(watched) = unsafe { at.as_ref() } {
            let len = watched.len.load(Ordering::Acquire);
            if address.wrapping_sub(watched.start) < len {
                return Some(watched);
            }
            at = watched.next.load(Ordering::Acquire);
        }
        None
    }
}

/// Who handled the signal before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// Installs the handler, once.
fn watch_signal() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    INSTALLED
        .get_or_init(|| install().map_err(|error| error.raw_os_error().unwrap_or_default()))
        .map_err(io::Error::from_raw_os_error)
}

fn install() -> io::Result<()> {
    let done = |result: libc::c_int| match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    // SAFETY: all zeros is a valid `sigaction`: the default action, no flags, an empty mask.
    let (mut before, mut ours): (libc::sigaction, libc::sigaction) = unsafe { std::mem::zeroed() };
    // SAFETY: asks only, and writes to `before`, which lives.
    done(unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut before) })?;
    let _ = BEFORE.set(before);
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_sigbus;
    ours.sa_sigaction = handler as usize;
    // On the stack that Rust's runtime has for signals: this one may be used up.
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the handler has the signature that SA_SIGINFO asks for, and does only what a handler may.
    done(unsafe { libc::sigaction(libc::SIGBUS, &raw const ours, ptr::null_mut()) })
}

/// Runs wherever a page is missing, at any point of the program: it may only load, and call what POSIX names async-signal-safe.
extern "C" fn on_sigbus(
    _signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // SAFETY: the system gives the handler a valid `info`, and fills in the address for this signal.
    let address = unsafe { (*info).si_addr() } as usize;
    if let Some(watched) = Watched::find(address) {
        let message = watched.message.as_bytes();
        // SAFETY: both are async-signal-safe; the message is never freed.
        unsafe {
            libc::write(libc::STDERR_FILENO, message.as_ptr().cast(), message.len());
            libc::_exit(2);
        }
    }
    if let Some(before) = BEFORE.get() {
        // SAFETY: async-signal-safe; what the system gave is valid. The fault comes again, and meets that handler.
        unsafe { libc::sigaction(libc::SIGBUS, before, ptr::null_mut()) };
    }
}
