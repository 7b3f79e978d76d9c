//! Both joiners, asked side by side.

use kpclass_compiler::header::Header;
use kpclass_engine::extract::{OfConnection, network};
use kpclass_engine::fragments as engine;
use kpclass_engine::link::LinkType;
use kpclass_reference::fragments::{self as reference, Place, Put};
use kpclass_reference::packet::{FrameDatagram, link_type, read_fragment};
use kpclass_ruleset::Hook;
use kpclass_ruleset::conntrack::Settings;
use std::time::Duration;

/// The two.
pub(crate) struct Joiners {
    pub(crate) engine: engine::Joiner,
    pub(crate) reference: reference::Joiner,
    frames: u64,
}

impl Joiners {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            engine: engine::Joiner::new(settings),
            reference: reference::Joiner::new(settings.clone()),
            frames: 0,
        }
    }

    /// What both make of a frame of Ethernet, as the reference says it; `None`: it is no fragment. An error is how they differ.
    pub(crate) fn put(
        &mut self,
        (captured, len): (&[u8], u32),
        place: Place,
        is_sent: bool,
        at: Duration,
    ) -> Result<Option<Put>, String> {
        self.frames += 1;
        let ours = network(LinkType::ETHERNET, captured, len);
        let ours = ours.map_err(|why| format!("{why:?}"))?.fragment();
        let theirs = read_fragment(link_type::ETHERNET, captured, len);
        let theirs = theirs.map_err(|why| why.to_string())?;
        let (ours, theirs) = match (ours, theirs) {
            (Some(ours), Some(theirs)) => (ours, theirs),
            (None, None) => return Ok(None),
            (ours, theirs) => return Err(format!("engine {ours:?}\nreference {theirs:?}")),
        };
        let met = engine::Met {
            place,
            is_sent,
            frame: self.frames,
            len,
            at,
        };
        let ours = self.engine.put(&ours, &met);
        let theirs = self.reference.put(&theirs, place, is_sent, at);
        match is_same(&ours, &theirs) {
            true => Ok(Some(theirs)),
            false => Err(format!("engine {ours:?}\nreference {theirs:?}")),
        }
    }
}

fn is_same(ours: &engine::Put, theirs: &Put) -> bool {
    match (ours, theirs) {
        (engine::Put::Unjoined(ours), Put::Unjoined(theirs)) => ours == theirs,
        (engine::Put::AsItIs, Put::AsItIs) => true,
        (
            engine::Put::Whole {
                packet: Ok(ours), ..
            },
            Put::Whole(Ok(theirs)),
        ) => is_same_packet(ours, theirs),
        (engine::Put::Whole { packet: Err(_), .. }, Put::Whole(Err(_))) => true,
        _ => false,
    }
}

fn is_same_packet(ours: &OfConnection, theirs: &FrameDatagram) -> bool {
    let header = Header::from(&theirs.packet.at(Hook::Prerouting, None));
    ours.header == header
        && (ours.icmp_id, ours.carried) == (theirs.icmp_id, theirs.carried)
        && ours.chunks == theirs.chunks
        && ours.is_broken == theirs.is_broken
}
