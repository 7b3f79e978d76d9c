//! Text that did not read back as it was saved, or was not read as it says: what fuzzing found (`fuzz/`, targets `dump_text` and `listing_text`), each
//! with its cause.

use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::save::save;

/// The text as it is saved; and saved again, once read back.
#[track_caller]
fn saved(text: &str) -> String {
    let one = |text: &str| {
        let rules = read(&[Input::new("text", text)]).expect("reads");
        save(&rules.v4.or(rules.v6).expect("a ruleset"))
    };
    let first = one(text);
    assert_eq!(one(&first), first);
    first
}

/// What the error says.
#[track_caller]
fn refused(text: &str) -> String {
    let error = read(&[Input::new("text", text)]).expect_err("refused");
    error.message().to_owned()
}

/// Cause: iptables-save leaves the option out where its mask is empty; but then no packet fulfils it.
#[test]
fn flags_that_no_packet_has_are_saved() {
    let rule = "-A INPUT -p tcp -m tcp --tcp-flags NONE SYN -j DROP";
    let text = saved(&format!("*filter\n{rule}\nCOMMIT\n"));
    assert!(text.contains(rule), "{text}");
}

/// Cause: a chain's name in another script was taken for a sentence about `-A`, also between `*table` and COMMIT.
#[test]
fn a_chain_may_be_named_in_any_script() {
    let text = saved("*nat\n:KUBE-ü - [0:0]\n-A KUBE-ü -j RETURN\nCOMMIT\n");
    assert!(text.contains("\n-A KUBE-ü -j RETURN\n"), "{text}");
}

/// Cause: what a listing says of a match in words of its own came back as the option that stands for it, or as options where it began like
/// some.
#[test]
fn what_a_listing_says_comes_back_as_it_was() {
    let listing = |row: &str| {
        format!(
            "# iptables -t nat -L\nChain PREROUTING (policy ACCEPT)\ntarget     prot opt source               destination         \n\
             RETURN     all  --  {row}\n"
        )
    };
    for row in [
        "node-7               0.0.0.0/0",
        "0.0.0.0/0            0.0.0.0/0            --to be seen",
        "0.0.0.0/0            0.0.0.0/0            a-word-that-is-longer-than-a-name-can-be: 7",
        "0.0.0.0/0            0.0.0.0/0            -t",
    ] {
        let text = saved(&listing(row));
        assert!(text.contains(" --listed "), "{text}");
    }
}

/// Cause: a heading's name was not held to what a chain can be called.
#[test]
fn a_heading_names_a_chain() {
    let listing =
        "Chain -FW (0 references)\ntarget     prot opt source               destination         \n";
    let said = refused(&format!(
        "# iptables -t filter -L\nChain INPUT (policy ACCEPT)\n\n{listing}"
    ));
    assert!(said.contains("`-FW` is not the name of a chain"), "{said}");
}

/// Cause: `to:` without an address was read as a rewrite to nothing.
#[test]
fn a_rewrite_goes_somewhere() {
    let said = refused("*nat\n-A PREROUTING -j DNAT --to-destination \"\"\nCOMMIT\n");
    assert!(said.contains("neither an address nor a port"), "{said}");
}

/// Cause: a text that begins like an option was saved without quotes, and read as one.
#[test]
fn a_text_may_begin_like_an_option() {
    let text = saved("*nat\n-A PREROUTING -m comment --comment \"-t\" -j RETURN\nCOMMIT\n");
    assert!(text.contains("--comment \"-t\""), "{text}");
}

/// Cause: names of devices, sets and lists were saved bare, whatever stands in them.
#[test]
fn a_name_may_need_quotes() {
    for rule in [
        r#"-i "a\"b""#,
        r#"-m set --match-set "a b" src"#,
        r#"-m recent --set --name "a b" --mask 255.255.255.255 --rsource"#,
        r##"-m nfacct --nfacct-name  "#x""##,
    ] {
        let text = saved(&format!("*filter\n-A INPUT {rule}\nCOMMIT\n"));
        assert!(text.contains(rule), "{text}");
    }
}

/// Cause: quotes that a shell takes off stayed in the chain's name.
#[test]
fn a_chain_may_be_quoted() {
    let text = saved("iptables -N \"KUBE-X\"\niptables -A KUBE-X -j DROP\n");
    assert_eq!(text.matches("KUBE-X").count(), 2, "{text}");
    assert!(!text.contains('"'), "{text}");
}

/// Cause: a chain could be renamed to what then is no chain any more.
#[test]
fn a_chain_is_not_renamed_to_a_hooks_or_a_targets_name() {
    for (old, new) in [("X", "INPUT"), ("INPUT", "Y"), ("X", "DROP")] {
        let text = saved(&format!(
            "iptables -N X\niptables -A FORWARD -j X\niptables -E {old} {new}\n"
        ));
        assert!(text.contains(":X - ") && text.contains("-j X\n"), "{text}");
    }
}

/// Cause: commands that leave nothing made a ruleset without any table, which no text says.
#[test]
fn commands_that_leave_nothing_make_no_ruleset() {
    let rules = read(&[Input::new(
        "text",
        "iptables -A INPUT -j DROP\nip6tables -D INPUT 1\n",
    )]);
    assert!(rules.expect("reads").v6.is_none());
    let said = refused("ip6tables -D INPUT 1\n");
    assert!(said.contains("is left"), "{said}");
}

/// Cause: an option that nobody knows went to a module that nobody knows either, though it stands behind a target that nobody knows; as saved
/// text has modules first, it changed sides.
#[test]
fn an_unknown_option_belongs_to_what_stands_before_it() {
    let text = saved("*nat\n-A OUTPUT -j STRANGE --strange-thing 7 -m newer\nCOMMIT\n");
    assert!(
        text.contains("-A OUTPUT -m newer -j STRANGE --strange-thing 7\n"),
        "{text}"
    );
}

/// Cause: a list or set that is not named yet was asked for its name, and the reader panicked.
#[test]
fn a_module_may_lack_its_name() {
    let text = saved("*nat\n-A OUTPUT -m recent --rcheck --strange-thing 7\nCOMMIT\n");
    assert!(
        text.contains("--name DEFAULT --mask 255.255.255.255 --rsource --strange-thing 7"),
        "{text}"
    );
    let said = refused("*nat\n-A OUTPUT -m set --return-nomatch -j RETURN\nCOMMIT\n");
    assert!(said.contains("needs `--match-set`"), "{said}");
}

/// Cause: a word was taken for an option when met and for an argument when read back.
#[test]
fn an_option_looks_like_one() {
    let said = refused("*filter\n-A OUTPUT -m conntrack --ctstate NEW ! -=\"x\"y\nCOMMIT\n");
    assert!(said.contains("is not an option"), "{said}");
}

/// Cause: an option that a word processor had garbled was understood, and then kept as it was written: what was saved did not read back.
#[test]
fn a_garbled_option_is_kept_by_its_name() {
    for garbled in ["-- limit 5/min", "\u{2013}limit 5/min", "-limit 5/min"] {
        let text = saved(&format!(
            "*filter\n-A INPUT -m limit {garbled} -j DROP\nCOMMIT\n"
        ));
        assert!(text.contains("-m limit --limit 5/min -j DROP\n"), "{text}");
    }
    let text = saved("*filter\n-A INPUT -m newer -- mask 7 -j DROP\nCOMMIT\n");
    assert!(text.contains("-m newer --mask 7 -j DROP\n"), "{text}");
}

/// Cause: the name of a device was taken for the option that names a table.
#[test]
fn a_device_may_be_called_as_the_option_of_tables() {
    let text = saved("*nat\n-A POSTROUTING -o -t -m mark --mark 1 -j RETURN\nCOMMIT\n");
    assert!(
        text.contains("\n-A POSTROUTING -o -t -m mark --mark 0x1 -j RETURN\n"),
        "{text}"
    );
    let said = refused("*nat\n-A POSTROUTING -o eth0 -t none -j RETURN\nCOMMIT\n");
    assert!(said.contains("`none` is not a table"), "{said}");
}
