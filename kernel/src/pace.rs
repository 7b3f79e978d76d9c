//! How long the kernel takes over a packet at PREROUTING.
//!
//! ```text
//! frame ─ write to a TUN device ─► raw, conntrack, mangle, nat PREROUTING ─► dropped at priority 0
//! ```
//!
//! The kernel goes that way before the write returns. A packet that is dropped there leaves no connection behind, so that each packet is the first
//! of its own, and nat is asked every time. Only the nat table is loaded; what the same way costs without rules is measured beside it.

mod verdict_map;

use crate::backend::{Backend, run};
use crate::error::KernelError;
use crate::namespace::Namespace;
use kpclass_ruleset::Ruleset;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::save;
use kpclass_ruleset::value::Family;
use kpclass_workload::frame::{Framer, Link, Origin};
use std::process::Command;
use std::time::{Duration, Instant};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rival {
    /// Rules in `iptables`.
    Iptables(Backend),
    /// The same Services in nf_tables, by a verdict map, as kube-proxy's nftables mode has them.
    VerdictMap,
}

impl Rival {
    /// All of them.
    pub const ALL: [Self; 3] = [
        Self::Iptables(Backend::Legacy),
        Self::Iptables(Backend::Nft),
        Self::VerdictMap,
    ];
}

/// A nat table in the kernel, in a network namespace of its own.
pub struct Pace {
    namespace: Namespace,
    device: SyncDevice,
}

const DEVICE: &str = "kppace";

/// Whatever else the machine does meanwhile must not be in all rounds of a packet.
const LEAST_ROUNDS: u32 = 4;

/// Behind nat's priority, -100.
const DROP: &str =
    "table inet kpclass_pace { chain behind { type filter hook prerouting priority 0; drop; }; }\n";

const NO_RULES: &str =
    "*nat\n:PREROUTING ACCEPT\n:INPUT ACCEPT\n:OUTPUT ACCEPT\n:POSTROUTING ACCEPT\nCOMMIT\n";

impl Pace {
    /// Loads the nat table of a ruleset.
    ///
    /// # Errors
    /// Where the privilege or a program lacks, or the rules are refused.
    pub fn new(rival: Rival, ruleset: &Ruleset) -> Result<Self, KernelError> {
        let family = ruleset.family();
        match rival {
            Rival::Iptables(backend) => {
                let text = save::save(ruleset);
                Self::with(|| backend.restore(family, nat(&text)))
            }
            Rival::VerdictMap => {
                let text = verdict_map::write(ruleset);
                Self::with(|| nft(&text))
            }
        }
    }

    /// Loads a nat table without rules.
    ///
    /// # Errors
    /// Where the privilege or a program lacks.
    pub fn without_rules(rival: Rival, family: Family) -> Result<Self, KernelError> {
        match rival {
            Rival::Iptables(backend) => Self::with(|| backend.restore(family, NO_RULES)),
            Rival::VerdictMap => Self::with(|| nft(verdict_map::WITHOUT)),
        }
    }

    fn with(load: impl FnOnce() -> Result<(), KernelError>) -> Result<Self, KernelError> {
        let namespace = Namespace::enter_new()?;
        let device = DeviceBuilder::new()
            .name(DEVICE)
            .layer(Layer::L3)
            .enable(false)
            .build_sync()
            .map_err(|source| KernelError::io("device kppace", source))?;
        run(
            Command::new("ip").args(["link", "set", "dev", DEVICE, "up"]),
            None,
        )?;
        nft(DROP)?;
        load()?;
        Ok(Self { namespace, device })
    }

    /// Nanoseconds for a packet that arrives: the mean of these, each in its best round of some, which all take about `time`.
    ///
    /// # Errors
    /// Where the device takes no packet.
    pub fn time(&self, packets: &[Packet], time: Duration) -> Result<f64, KernelError> {
        self.namespace.enter()?;
        let mut framer = Framer::whole(Link::Raw);
        let frames = packets
            .iter()
            .map(|packet| framer.frame(packet, Origin::Outside).to_vec());
        let mut frames: Vec<(Vec<u8>, Duration)> =
            frames.map(|frame| (frame, Duration::MAX)).collect();
        let (started, mut rounds) = (Instant::now(), 0);
        while rounds < LEAST_ROUNDS || started.elapsed() < time {
            for (frame, best) in &mut frames {
                let from = Instant::now();
                let sent = self.device.send(frame);
                *best = from.elapsed().min(*best);
                sent.map_err(|source| KernelError::io("a packet for kppace", source))?;
            }
            rounds += 1;
        }
        let sum: f64 = frames.iter().map(|(_, best)| best.as_secs_f64()).sum();
        Ok(sum * 1e9 / frames.len().max(1) as f64)
    }
}

/// The nat table of `iptables-save` text.
fn nat(text: &str) -> &str {
    let Some(start) = text.find("*nat\n") else {
        return NO_RULES;
    };
    let rest = &text[start..];
    let end = rest.find("\nCOMMIT\n").map(|at| at + "\nCOMMIT\n".len());
    &rest[..end.unwrap_or(rest.len())]
}

fn nft(text: &str) -> Result<(), KernelError> {
    run(Command::new("nft").args(["-f", "-"]), Some(text)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_nat_table_is_loaded() {
        let text = "*filter\nCOMMIT\n*nat\n:A - [0:0]\nCOMMIT\n*raw\nCOMMIT\n";
        assert_eq!(nat(text), "*nat\n:A - [0:0]\nCOMMIT\n");
        assert_eq!(nat("*filter\nCOMMIT\n"), NO_RULES);
    }
}
