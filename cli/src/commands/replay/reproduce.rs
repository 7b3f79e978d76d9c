//! The command that shows a disagreement again.

use crate::args::{HookChoice, MissingChains, Mode, Replay};

/// `kpclass explain` with the rules and facts that were typed, and the packet.
pub(super) fn reproduce(typed: &Replay, asked: (&str, String)) -> String {
    let mut words = vec!["kpclass".to_owned(), "explain".to_owned()];
    let mut option = |name: &str, value: &str| words.extend([name.to_owned(), quoted(value)]);
    typed
        .rules
        .rules
        .iter()
        .for_each(|rules| option("--rules", rules));
    typed
        .node
        .local_addrs
        .iter()
        .for_each(|text| option("--local-addrs", text));
    typed
        .node
        .ipset
        .iter()
        .for_each(|path| option("--ipset", &path.display().to_string()));
    typed
        .node
        .sysctl
        .iter()
        .for_each(|text| option("--sysctl", text));
    if typed.node.missing_chains == MissingChains::Unknown {
        option("--missing-chains", "unknown");
    }
    if asked.0 == "--frame" {
        if typed.how.mode == Mode::Packet {
            option("--mode", "packet");
        }
        if let Some(most) = typed.how.most.max_connections {
            option("--max-connections", &most.to_string());
        }
        match typed.start.hook {
            HookChoice::Auto => {}
            HookChoice::Prerouting => option("--hook", "prerouting"),
            HookChoice::Output => option("--hook", "output"),
        }
        typed
            .start
            .in_interface
            .iter()
            .for_each(|name| option("--in-interface", name));
        typed
            .start
            .mark
            .iter()
            .for_each(|mark| option("--mark", mark));
    }
    option(asked.0, &asked.1);
    words.join(" ")
}

/// As a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Typed, Verb};
    use clap::Parser;

    fn replay_of(line: &str) -> Replay {
        match Typed::parse_from(line.split(' ')).verb {
            Verb::Replay(replay) => *replay,
            _ => panic!("no replay"),
        }
    }

    #[test]
    fn the_command_has_the_rules_the_facts_and_the_packet() {
        let line = "kpclass replay a.pcap --rules n.rules --local-addrs 10.0.0.1 --sysctl route_localnet=1 --mark 0x1";
        let typed = replay_of(line);
        assert_eq!(
            reproduce(
                &typed,
                ("--packet", "tcp 10.0.0.1:1 > 10.0.0.2:2".to_owned())
            ),
            "kpclass explain --rules n.rules --local-addrs 10.0.0.1 --sysctl route_localnet=1 \
             --packet 'tcp 10.0.0.1:1 > 10.0.0.2:2'"
        );
        assert_eq!(
            reproduce(&typed, ("--frame", "a.pcap:7".to_owned())),
            "kpclass explain --rules n.rules --local-addrs 10.0.0.1 --sysctl route_localnet=1 --mark 0x1 \
             --frame a.pcap:7"
        );
        for how in ["--mode packet", "--max-connections 7"] {
            let line = format!("kpclass replay a.pcap --rules n.rules {how}");
            let typed = replay_of(&line);
            assert_eq!(
                reproduce(&typed, ("--frame", "a.pcap:7".to_owned())),
                format!("kpclass explain --rules n.rules {how} --frame a.pcap:7")
            );
        }
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("a.rules"), "a.rules");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
