//! The real kernel as the judge.
//!
//! ```text
//! rules ─ iptables-restore ─► kernel ◄─ frames ─ packets
//!                               │ NFLOG
//!                               ▼
//!                             Seen ─ judge ─► fits the reference's outcomes, or a disagreement
//! ```
//!
//! Everything happens in network namespaces of its own. What the judge adds to it, and why that cannot change a verdict, stands in
//! [`world`]. What a kernel does by the clock (`limit`, `quota`, `time`, `--seconds`) or by a random choice that netfilter does not
//! name (`MASQUERADE --random`) is not judged.
#![forbid(unsafe_code)]

mod backend;
mod error;
pub mod finding;
mod inject;
pub mod judge;
mod kernel;
mod namespace;
mod observe;
pub mod pace;
mod reach;
pub mod repeats;
pub mod script;
mod seen;
mod subject;
pub mod trial;
mod ways;
pub mod world;

pub use backend::Backend;
pub use error::KernelError;
pub use kernel::Kernel;
pub use namespace::is_privileged;
pub use reach::left_out;
pub use seen::{Answer, End, Seen, Sighting};
pub use subject::Subject;
pub use ways::Miscount;
