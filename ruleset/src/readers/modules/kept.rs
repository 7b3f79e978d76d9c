//! Modules that are kept by name, with their options as text.

use super::MatchKind;

/// How the options of modules begin. A module that is not here takes every option that no other module knows.
const OPTIONS: &[(&str, &[&str])] = &[
    ("ah", &["--ahspi", "--ahlen", "--ahres"]),
    ("bpf", &["--bytecode", "--object-pinned"]),
    ("cgroup", &["--cgroup", "--path"]),
    ("cluster", &["--cluster-"]),
    ("connbytes", &["--connbytes"]),
    ("connlabel", &["--label", "--set"]),
    ("connlimit", &["--connlimit-"]),
    ("cpu", &["--cpu"]),
    ("devgroup", &["--src-group", "--dst-group"]),
    ("ecn", &["--ecn-"]),
    ("esp", &["--espspi"]),
    ("hashlimit", &["--hashlimit"]),
    ("helper", &["--helper"]),
    ("ipv6header", &["--header", "--soft"]),
    (
        "ipvs",
        &[
            "--ipvs",
            "--vproto",
            "--vaddr",
            "--vport",
            "--vdir",
            "--vmethod",
            "--vportctl",
        ],
    ),
    ("limit", &["--limit"]),
    ("mh", &["--mh-type"]),
    ("osf", &["--genre", "--ttl", "--log"]),
    (
        "owner",
        &[
            "--uid-owner",
            "--gid-owner",
            "--pid-owner",
            "--sid-owner",
            "--cmd-owner",
            "--socket-exists",
            "--suppl-groups",
        ],
    ),
    ("physdev", &["--physdev-"]),
    ("pkttype", &["--pkt-type"]),
    (
        "policy",
        &[
            "--dir",
            "--pol",
            "--strict",
            "--reqid",
            "--spi",
            "--proto",
            "--mode",
            "--tunnel-src",
            "--tunnel-dst",
            "--next",
        ],
    ),
    ("quota", &["--quota"]),
    ("rateest", &["--rateest"]),
    ("realm", &["--realm"]),
    (
        "rpfilter",
        &["--loose", "--validmark", "--accept-local", "--invert"],
    ),
    ("rt", &["--rt-"]),
    (
        "socket",
        &["--transparent", "--nowildcard", "--restore-skmark"],
    ),
    (
        "string",
        &[
            "--algo",
            "--from",
            "--to",
            "--string",
            "--hex-string",
            "--icase",
        ],
    ),
    ("tcpmss", &["--mss"]),
    (
        "time",
        &[
            "--datestart",
            "--datestop",
            "--timestart",
            "--timestop",
            "--monthdays",
            "--weekdays",
            "--days",
            "--kerneltz",
            "--utc",
            "--localtz",
            "--contiguous",
        ],
    ),
    ("tos", &["--tos"]),
    ("u32", &["--u32"]),
];

/// Whether the module's options are known.
pub(super) fn is_known(module: &str) -> bool {
    OPTIONS.iter().any(|(name, _)| *name == module)
}

/// Whether `option` may belong to `module`.
pub(super) fn knows(module: &str, option: &str) -> bool {
    match OPTIONS.iter().find(|(name, _)| *name == module) {
        Some((_, beginnings)) => beginnings
            .iter()
            .any(|beginning| option.starts_with(beginning)),
        None => true,
    }
}

/// Whether `option` is one of a typed match's module that the type does not hold.
pub(super) fn demotes(kind: &MatchKind, option: &str) -> bool {
    match kind {
        MatchKind::Sctp(_) => option == "--chunk-types",
        MatchKind::Dccp(_) => option.starts_with("--dccp-"),
        _ => false,
    }
}

/// The text as `iptables-save` prints it, where that is not what was written.
pub(super) fn canonical(module: &str, text: String) -> String {
    match module {
        "limit" => text.replace("/minute", "/min").replace("/second", "/sec"),
        _ => text,
    }
}
