//! The rules of a node, ready to replay: for each family the ruleset, its program and the names of its Services.

use kpclass_compiler::{CompileError, Config, Program};
use kpclass_reference::{LoadError, Walk};
use kpclass_ruleset::Ruleset;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::services::Services;
use kpclass_ruleset::value::Family;
use thiserror::Error;

/// One family's rules.
#[derive(Debug)]
pub struct FamilyRules<'a> {
    /// The rules.
    pub ruleset: &'a Ruleset,
    /// Compiled.
    pub program: Program,
    /// The linear walk of the same rules.
    pub walk: Walk<'a>,
    /// Names.
    pub services: Services,
}

/// Both families' rules; a family without a dump has none.
#[derive(Debug)]
pub struct Rules<'a> {
    /// IPv4.
    pub v4: Option<FamilyRules<'a>>,
    /// IPv6.
    pub v6: Option<FamilyRules<'a>>,
    /// The node.
    pub node: &'a NodeFacts,
}

/// A ruleset that cannot be used.
#[derive(Debug, Error)]
pub enum RulesError {
    /// The compiler refuses it.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The walk refuses it.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl<'a> Rules<'a> {
    /// Compiles what there is.
    ///
    /// # Errors
    /// If chains loop.
    pub fn new(
        v4: Option<&'a Ruleset>,
        v6: Option<&'a Ruleset>,
        node: &'a NodeFacts,
        config: &Config,
    ) -> Result<Self, RulesError> {
        let family = |ruleset: Option<&'a Ruleset>| {
            ruleset
                .map(|ruleset| FamilyRules::new(ruleset, node, config))
                .transpose()
        };
        Ok(Self {
            v4: family(v4)?,
            v6: family(v6)?,
            node,
        })
    }

    /// One family's.
    pub fn of(&self, family: Family) -> Option<&FamilyRules<'a>> {
        match family {
            Family::V4 => self.v4.as_ref(),
            Family::V6 => self.v6.as_ref(),
        }
    }

    /// Each family that has rules.
    pub fn families(&self) -> impl Iterator<Item = (Family, &FamilyRules<'a>)> {
        let both = [(Family::V4, &self.v4), (Family::V6, &self.v6)];
        both.into_iter()
            .filter_map(|(family, rules)| Some((family, rules.as_ref()?)))
    }
}

impl<'a> FamilyRules<'a> {
    fn new(ruleset: &'a Ruleset, node: &'a NodeFacts, config: &Config) -> Result<Self, RulesError> {
        std::thread::scope(|scope| {
            let services = scope.spawn(|| Services::new(ruleset));
            let program = Program::compile(ruleset, node, config)?;
            let walk = Walk::new(ruleset, node)?;
            let services = services.join();
            Ok(Self {
                ruleset,
                program,
                walk,
                services: services.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            })
        })
    }
}
