//! Rulesets that packets meet, made from a seed: as `iptables-save` text that both back ends of `iptables-restore` 1.8.9 load, with the
//! facts of the node that they are for.
//!
//! ```text
//! Recipe ─► values (few) ─► sets ─► skeleton (chains, jumps) ─► rules ─► text ─► Ruleset
//!              └─► node      └─► ipset text
//! ```
//!
//! Values come from so few addresses, ports, devices and marks that rules meet the same packets, and what one rule rewrites another asks for.
//!
//! Left out is what one packet does not decide, or decides by the clock or a system's own random numbers: the matches `limit`, `hashlimit`,
//! `quota`, `time`, `connlimit`, `connbytes`, `owner`, `recent --seconds` (but for kube-proxy's own, of three hours) and `--rttl`, and every
//! other module that the reference does not decide; `nfacct`, which needs an object of its own; DNAT `--random` with several ports; the targets
//! TTL, HL, DSCP, TOS and SET, behind which matches are unknown; all that needs a conntrack helper.

mod author;
mod conditions;
mod free;
mod kube;
mod node;
mod sets;
mod skeleton;
mod targets;
mod values;

use crate::numbers::Numbers;
use kpclass_ruleset::Ruleset;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::value::{Family, Interface};
use kube::Kube;
use sets::Sets;
use values::Values;

/// What a ruleset looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Anything that the kernel's tools load: all tables, matches and targets.
    Free,
    /// As a kube-proxy writes it, of an old version or a new one, with a neighbour's rules around it.
    KubeProxy,
}

/// What rules may use beside the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ingredients {
    /// Anything that turns connection tracking on; without it nat is never asked.
    pub conntrack: bool,
    /// `-m statistic`: outcomes are then random, and `--mode nth` counts in the kernel from packet to packet.
    pub statistic: bool,
    /// `-m recent`: the kernel's lists then have to be emptied between packets.
    pub recent: bool,
    /// `-m set`.
    pub sets: bool,
    /// Built-in chains whose policy is DROP.
    pub policies: bool,
}

impl Ingredients {
    /// Everything.
    pub const ALL: Self = Self {
        conntrack: true,
        statistic: true,
        recent: true,
        sets: true,
        policies: true,
    };

    /// What a kube-proxy cannot do without is there.
    fn of(self, shape: Shape) -> Self {
        Self {
            conntrack: self.conntrack || shape == Shape::KubeProxy,
            ..self
        }
    }

    /// As a seed has it: each in most rulesets, or in some.
    fn drawn(numbers: &mut Numbers) -> Self {
        Self {
            conntrack: numbers.chance(0.88),
            statistic: numbers.chance(0.35),
            recent: numbers.chance(0.3),
            sets: numbers.chance(0.5),
            policies: numbers.chance(0.3),
        }
    }
}

/// What a ruleset is made from. Equal recipes make equal rulesets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// What it looks like.
    pub shape: Shape,
    /// The family of all its addresses.
    pub family: Family,
    /// What all else is drawn from.
    pub seed: u64,
    /// How many rules, roughly. ([`Shape::KubeProxy`] has a few dozen at least.)
    pub rules: usize,
    /// What rules may use. ([`Shape::KubeProxy`] always uses conntrack.)
    pub with: Ingredients,
}

impl Recipe {
    /// A recipe whose size and ingredients are the seed's too: 15 to 150 rules.
    pub fn new(shape: Shape, family: Family, seed: u64) -> Self {
        let mut numbers = Numbers::new(seed ^ 0x7265_6369_7065);
        let rules = 15 + numbers.index(12) * numbers.index(13);
        let with = Ingredients::drawn(&mut numbers);
        Self {
            shape,
            family,
            seed,
            rules,
            with: with.of(shape),
        }
    }
}

/// A ruleset with all that a judge has to set up for it.
#[derive(Clone, Debug)]
pub struct Generated {
    /// What it was made from.
    pub recipe: Recipe,
    /// The rules for `iptables-restore` or `ip6tables-restore`.
    pub text: String,
    /// The same, read.
    pub ruleset: Ruleset,
    /// What a matcher may know of the node: addresses with their devices (each a /32 or /128, so that no subnet has a broadcast address),
    /// `route_localnet`, the sets.
    pub node: NodeFacts,
    /// What `ipset restore` has to read before the rules are loaded, if they ask for sets.
    pub ipsets: Option<String>,
    /// The devices that packets arrive on; `lo` is not among them. Rules may name others, which do not exist.
    pub devices: Vec<Interface>,
}

/// Makes a ruleset.
///
/// # Panics
/// Where the text does not read back: a defect of the generator, or of the readers.
pub fn generate(recipe: &Recipe) -> Generated {
    let recipe = &Recipe {
        with: recipe.with.of(recipe.shape),
        ..recipe.clone()
    };
    let mut numbers = Numbers::new(recipe.seed);
    let numbers = &mut numbers;
    let route_localnet = numbers.chance(0.5);
    let (text, ipsets) = match recipe.shape {
        Shape::Free => {
            let values = Values::drawn(recipe.family, numbers);
            let sets = sets(recipe, &values, numbers);
            (free::text(recipe, &values, &sets, numbers), sets.text())
        }
        Shape::KubeProxy => {
            let kube = Kube::drawn(recipe, numbers);
            let sets = sets(recipe, &kube.values, numbers);
            (kube.text(recipe, &sets, numbers), sets.text())
        }
    };
    let ruleset = read_rules(recipe.family, &text);
    let ipsets = recipe.with.sets.then_some(ipsets);
    Generated {
        recipe: recipe.clone(),
        text,
        ruleset,
        node: node::facts(recipe.family, route_localnet, ipsets.as_deref()),
        ipsets,
        devices: node::devices(),
    }
}

fn sets(recipe: &Recipe, values: &Values, numbers: &mut Numbers) -> Sets {
    match recipe.with.sets {
        true => Sets::drawn(values, numbers),
        false => Sets::default(),
    }
}

/// The rules of a text that was made here.
///
/// # Panics
/// Where it does not read back.
pub(crate) fn read_rules(family: Family, text: &str) -> Ruleset {
    let input = Input {
        family: Some(family),
        ..Input::new("generated", text)
    };
    let rules = read(&[input]).expect("generated text reads");
    match family {
        Family::V4 => rules.v4,
        Family::V6 => rules.v6,
    }
    .expect("generated text is of its family")
}
