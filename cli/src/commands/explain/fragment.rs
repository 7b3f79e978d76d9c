//! What became of a fragment that meets no rule itself, in words.

use kpclass_engine::fragments::Ended;
use kpclass_ruleset::conntrack::Unjoined;

/// Of one that was dropped as it came.
pub(super) fn dropped(why: Unjoined) -> &'static str {
    match why {
        Unjoined::Repeated => "what it brings was there already: it is dropped alone",
        Unjoined::Overlap => "it overlaps other fragments of its datagram: all of them are dropped",
        Unjoined::Malformed => "it and the others cannot be parts of one datagram",
        Unjoined::Limit => "too many fragments wait already: it is dropped",
        Unjoined::Held | Unjoined::Joined | Unjoined::TimedOut | Unjoined::TooFar => {
            "it is held for the rest of its datagram"
        }
    }
}

/// Of one that was held.
pub(super) fn waited(ended: Option<Ended>, capture: &str) -> String {
    let Some(Ended { why, by }) = ended else {
        return "it is held, and the capture ends before the rest of its datagram comes".to_owned();
    };
    let frame = by.map_or_else(|| "another".to_owned(), |frame| format!("frame {frame}"));
    match why {
        Unjoined::Joined => {
            let asked = by.map_or_else(String::new, |frame| format!(": --frame {capture}:{frame}"));
            format!("it is held until {frame}, which completes its datagram{asked}")
        }
        Unjoined::TimedOut => {
            "it is held, and dropped as the rest of its datagram does not come in time".to_owned()
        }
        Unjoined::Overlap => {
            format!("it is held, and dropped with all of its datagram: {frame} overlaps it")
        }
        Unjoined::TooFar => {
            format!(
                "it is held, and dropped: too many other fragments of its source come before {frame}"
            )
        }
        _ => format!("it is held, and dropped: with {frame} it cannot be part of one datagram"),
    }
}
