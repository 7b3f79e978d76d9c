//! A connection's frames up to the one that is explained.

use crate::output::Palette;
use crate::render::columns::{Align, Columns};
use crate::render::quantity::{count, counted};
use serde::Serialize;

/// A connection up to a frame.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Story {
    /// Its original tuple; `None`: the packet has no connection.
    pub original: Option<String>,
    /// Its reply tuple; `None`: that, or nat's choice of the source is not known.
    pub reply: Option<String>,
    /// Its frames, the one that is explained the last.
    pub frames: Vec<StoryFrame>,
    /// Those that were not kept, between the first ones and the last ones.
    pub left_out: u64,
    /// The frames of the fragments that came before the one that is explained, where it completes a datagram.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fragments: Vec<u64>,
}

/// A frame of a connection.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StoryFrame {
    /// Its number, from 1.
    pub frame: u64,
    /// Seconds since the first one.
    pub seconds: f64,
    /// `original`, `reply`, `behind-nat` (seen again there), or `none`.
    pub direction: &'static str,
    /// As rules saw it; of a frame seen again nothing is told from here on.
    pub ctstate: Option<&'static str>,
    /// TCP's flags: `SA`.
    pub flags: Option<String>,
    /// The connection's status behind it.
    pub status: Option<String>,
    /// From where, as it came.
    pub source: String,
    /// To where.
    pub destination: String,
    /// What nat made of it.
    pub nat: Option<String>,
    /// `forward local out drop reject unknown`.
    pub disposition: Option<&'static str>,
}

/// The connection's tuples, then a line a frame.
pub(super) fn text(story: &Story, palette: Palette) -> String {
    let mut text = match (&story.original, &story.reply) {
        (None, _) => "of no connection\n".to_owned(),
        (Some(original), None) => format!("connection {original}\n"),
        (Some(original), Some(reply)) => format!("connection {original}, answered {reply}\n"),
    };
    if !story.fragments.is_empty() {
        let frames: Vec<String> = story.fragments.iter().map(|frame| count(*frame)).collect();
        let before = frames.join(", ");
        text += &format!("joined of fragments; those before it: frame {before}\n");
    }
    let mut table = Columns::new(&[
        ("FRAME", Align::Right),
        ("TIME", Align::Right),
        ("DIRECTION", Align::Left),
        ("CTSTATE", Align::Left),
        ("FLAGS", Align::Left),
        ("STATUS", Align::Left),
        ("SOURCE", Align::Left),
        ("DESTINATION", Align::Left),
        ("NAT", Align::Left),
        ("VERDICT", Align::Left),
    ]);
    for frame in &story.frames {
        let known = |text: &Option<String>| text.clone().unwrap_or_default();
        table.row([
            count(frame.frame),
            format!("{:.6}", frame.seconds),
            frame.direction.to_owned(),
            frame.ctstate.unwrap_or_default().to_owned(),
            known(&frame.flags),
            known(&frame.status),
            frame.source.clone(),
            frame.destination.clone(),
            known(&frame.nat),
            frame.disposition.unwrap_or_default().to_owned(),
        ]);
    }
    text += &table.render(palette);
    if story.left_out > 0 {
        let left_out = format!(
            "{} between them not shown",
            counted(story.left_out, "frame")
        );
        text += &format!("  {}\n", palette.faint(&left_out));
    }
    text
}
