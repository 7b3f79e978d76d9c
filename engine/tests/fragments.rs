//! Fragments: the engine's joiner says of each what the reference's says, which the kernel judges.

#[path = "shared/joiners.rs"]
mod joiners;

use joiners::Joiners;
use kpclass_reference::fragments::{Place, Put};
use kpclass_ruleset::conntrack::{Datagram, Settings, Unjoined};
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::spec;
use kpclass_workload::corpus::tag;
use kpclass_workload::frame::{Framer, Link, Origin, Piece};
use kpclass_workload::numbers::Numbers;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Streams of fragments.
const STREAMS: u64 = 300;

/// Fragments of a stream.
const FRAGMENTS: usize = 120;

/// Packets that are cut: of few addresses, so that fragments meet.
const PACKETS: [&str; 10] = [
    "udp 10.0.0.9:4000 > 10.0.0.1:53 length=100",
    "tcp 10.0.0.9:4000 > 10.0.0.1:53",
    "tcp 10.0.0.9:4000 > 10.0.0.1:53 length=84",
    "sctp 10.0.0.9:4000 > 10.0.0.1:53",
    "icmp 10.0.0.9 > 10.0.0.1 type=8",
    "icmp 10.0.0.9 > 10.0.0.1 type=3 code=1",
    "udp [fd00::9]:4000 > [fd01::1]:53 length=120",
    "tcp [fd00::9]:4000 > [fd01::1]:53 length=100",
    "icmp6 fd00::9 > fd01::1 type=1 code=4",
    "udp [fd00::9]:4000 > [fd01::1]:54",
];

fn frame(text: &str) -> Vec<u8> {
    let packet = spec::parse(text).expect(text);
    let datagram = Datagram::new(packet.packet(&NodeFacts::default()));
    let mut framer = Framer::whole(Link::Ethernet);
    let frame = framer.tagged(&datagram.packet, Origin::Outside, &tag(&datagram));
    frame.to_vec()
}

/// A fragment as somebody may send it: mostly one of a whole packet's, at times of another size or with a wrong end.
fn piece(numbers: &mut Numbers) -> Piece {
    let from = 8 * numbers.below(8) as usize;
    let len = 8 * (1 + numbers.below(4) as usize) + 4 * usize::from(numbers.below(12) == 0);
    Piece {
        id: numbers.below(3) as u16,
        from,
        to: from + len - len * usize::from(numbers.below(40) == 0),
        more: numbers.below(3) != 0,
        ecn: (numbers.below(30) == 0).into(),
    }
}

#[test]
fn both_joiners_say_the_same_of_every_fragment() {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let fresh = since.expect("behind 1970").as_secs() << 8;
    eprintln!("fresh seeds from {fresh} on");
    let frames = PACKETS.map(frame);
    let mut met = [0; Unjoined::ALL.len() + 2];
    for seed in (0..STREAMS).chain(fresh..fresh + STREAMS / 3) {
        let (mut numbers, mut joiners) = (Numbers::new(seed), Joiners::new(&Settings::default()));
        let mut now = Duration::from_secs(1_000_000);
        for _ in 0..FRAGMENTS {
            now += Duration::from_millis(numbers.below(4) * 700);
            let whole = &frames[numbers.below(frames.len() as u64) as usize];
            let pieces = match numbers.below(3) {
                0 => Piece::all(numbers.below(3) as u16, whole.len() - 34, 24),
                _ => vec![piece(&mut numbers)],
            };
            for piece in pieces {
                let cut = piece.cut(Link::Ethernet, whole);
                // At times the capture has less of it.
                let missing = numbers.below(4).saturating_sub(2) * numbers.below(24);
                let captured =
                    &cut[..cut.len() - (missing as usize).min(cut.len().saturating_sub(54))];
                let place = (numbers.below(2) as u32, 0, false);
                let put = joiners.put((captured, cut.len() as u32), place, false, now);
                let put = put.unwrap_or_else(|differ| panic!("seed {seed}: {differ}"));
                met[match put {
                    Some(Put::Unjoined(why)) => why as usize,
                    Some(Put::Whole(_)) => Unjoined::ALL.len(),
                    Some(Put::AsItIs) => Unjoined::ALL.len() + 1,
                    None => continue,
                }] += 1;
            }
            if numbers.below(50) == 0 {
                now += Duration::from_secs(numbers.below(40));
                joiners.engine.pass(now);
                joiners.reference.pass(now);
            }
        }
        for (all, ended) in met.iter_mut().zip(joiners.engine.take_ended()) {
            *all += ended;
        }
    }
    eprintln!("{met:?}");
    // A stream is too short for the other two.
    let rare = [Unjoined::TooFar as usize, Unjoined::Limit as usize];
    let seen = met.iter().enumerate().filter(|(at, _)| !rare.contains(at));
    assert!(seen.into_iter().all(|(_, met)| *met > 100), "{met:?}");
}

/// `ip_frag_too_far`: 64 fragments of the same source in between are not too many.
#[test]
fn a_datagram_begins_anew_behind_too_many_other_fragments_of_its_source() {
    let (whole, other) = (frame(PACKETS[0]), frame(PACKETS[2]));
    let pieces = Piece::all(7, 80, 40);
    for (others, put) in [(63, None), (64, Some(Unjoined::Held))] {
        let mut joiners = Joiners::new(&Settings::default());
        let mut put_one = |piece: &Piece, frame: &[u8]| {
            let cut = piece.cut(Link::Ethernet, frame);
            let frame = (&cut[..], cut.len() as u32);
            joiners.put(frame, Place::default(), false, Duration::ZERO)
        };
        put_one(&pieces[0], &whole).expect("the same");
        for id in 100..100 + others {
            let lone = Piece { id, ..pieces[0] };
            put_one(&lone, &other).expect("the same");
        }
        let last = put_one(&pieces[1], &whole).expect("the same");
        match put {
            Some(why) => assert_eq!(last, Some(Put::Unjoined(why)), "{others}"),
            None => assert!(
                matches!(last, Some(Put::Whole(Ok(_)))),
                "{others}: {last:?}"
            ),
        }
        let too_far = joiners.engine.take_ended()[Unjoined::TooFar as usize];
        assert_eq!(too_far, u64::from(put.is_some()));
    }
}

#[test]
fn no_more_wait_than_the_kernel_lets_and_time_makes_room() {
    let whole = frame("udp 10.0.0.9:4000 > 10.0.0.1:53 length=1400");
    let mut joiners = Joiners::new(&Settings::default());
    let first = &Piece::all(0, 1380, 1000)[0];
    let mut refused = 0;
    for id in 0..4000 {
        let cut = Piece { id, ..*first }.cut(Link::Ethernet, &whole);
        let at = Duration::from_secs(u64::from(id) / 100);
        let put = joiners.put((&cut, cut.len() as u32), Place::default(), false, at);
        refused += u64::from(put == Ok(Some(Put::Unjoined(Unjoined::Limit))));
    }
    // 2,073 of 2,024 bytes each are the first beyond 4 MiB; behind 30 seconds as many go as come.
    assert_eq!(refused, 3000 - 2073);
}
