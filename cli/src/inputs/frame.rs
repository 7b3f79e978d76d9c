//! One frame of a capture, read as the reference reads it.

use crate::trouble::Trouble;
use kpclass_engine::capture::{Capture, Frame};
use kpclass_reference::packet::{FramePacket, read_frame};
use kpclass_ruleset::value::Interface;
use std::path::Path;

/// The packet of a frame.
pub(crate) struct FoundFrame {
    /// What its bytes say.
    pub packet: FramePacket,
    /// The interface that the capture names for it.
    pub in_interface: Option<Interface>,
}

/// Frame `number` of a capture, from 1.
pub(crate) fn packet(capture: &str, number: u64) -> Result<FoundFrame, Trouble> {
    let mut reader = open(capture)?;
    while let Some(chunk) = reader
        .next_chunk()
        .map_err(|e| Trouble::new(e.to_string()))?
    {
        if number >= chunk.first_frame() + chunk.frame_count() {
            continue;
        }
        let frame = chunk.frames().find(|frame| frame.number == number);
        return match frame {
            Some(frame) => found(&reader, &frame),
            None => Err(Trouble::new(format!(
                "{capture}: frame {number} is not there"
            ))),
        };
    }
    let frames = reader.frames();
    let trouble = Trouble::new(format!("{capture}: needs frame {number}, holds {frames}"));
    Err(match reader.cut_off() {
        Some(cut) => trouble.note(format!("the capture is {cut}")),
        None => trouble,
    })
}

/// Opens a capture; `-` is standard input.
pub(crate) fn open(capture: &str) -> Result<Capture, Trouble> {
    let opened = match capture {
        "-" => Capture::from_reader("stdin", std::io::stdin()),
        path => Capture::open(Path::new(path)),
    };
    opened.map_err(|e| Trouble::new(e.to_string()))
}

fn found(reader: &Capture, frame: &Frame<'_>) -> Result<FoundFrame, Trouble> {
    let packet = read_frame(frame.link.0, frame.captured).map_err(|reason| {
        Trouble::new(format!(
            "{}: frame {} holds no packet to ask about: {reason}",
            reader.name(),
            frame.number
        ))
    })?;
    Ok(FoundFrame {
        packet,
        in_interface: reader.interfaces().name(frame.interface),
    })
}
