//! The program as text, one item a line: `kpclass dump classes` and `dump program`, golden files, bug reports.

use super::Program;
use super::node::{Act, Node, RouteTo};
use crate::machine::state::Class;
use kpclass_ruleset::value::{number_address, protocol};
use std::fmt;

/// The classes with their roots.
pub struct Classes<'a>(pub(super) &'a Program);

impl Program {
    /// The classes as text.
    pub fn display_classes(&self) -> Classes<'_> {
        Classes(self)
    }

    fn class_text(&self, class: Class) -> String {
        let name = |p: u8| protocol::name(p).map_or_else(|| p.to_string(), str::to_owned);
        match class {
            Class::Exact {
                protocol,
                destination,
                port,
            } => {
                let address = number_address(self.family, destination);
                let address = std::net::SocketAddr::new(address, port);
                format!("{} {address}", name(protocol))
            }
            Class::Port { protocol, port } => format!("{} *:{port}", name(protocol)),
            Class::Portless { protocol, .. } => name(protocol),
            Class::Other => "other".to_owned(),
        }
    }

    /// The key of a class, as reports name it: `tcp 10.0.0.1:80`, `tcp *:30080`, `other`.
    pub fn class_name(&self, class: super::ClassId) -> String {
        self.class_text(self.classes[class.0 as usize])
    }

    fn node_text(&self, node: Node) -> String {
        match node {
            Node::Test {
                test,
                inverted,
                again,
                rule,
                yes,
                no,
            } => {
                let not = if inverted { "! " } else { "" };
                let by = if rule.0 == u32::MAX {
                    String::new()
                } else {
                    format!(" {rule:?}")
                };
                let again = if again { " again" } else { "" };
                let test = self.tests[test.0 as usize];
                format!("test {not}{test:?}{by}{again} ? {yes:?} : {no:?}")
            }
            Node::Draw { draw, yes, no } => {
                let draw = self.draws[draw.0 as usize];
                format!(
                    "draw {:#018x} ({}/{}) ? {yes:?} : {no:?}",
                    draw.below, draw.n, draw.d
                )
            }
            Node::Select {
                first,
                count,
                targets,
            } => {
                let mut text = "select".to_owned();
                for i in 0..count {
                    let threshold = self.thresholds[(first + i) as usize];
                    let target = self.targets[(targets + i) as usize];
                    text.push_str(&format!(" {:#018x}:{target:?}", threshold.below));
                }
                format!("{text} else {:?}", self.targets[(targets + count) as usize])
            }
            Node::Route {
                destination,
                children,
            } => {
                let [dropped, local, forward] = self.route_children[children as usize];
                let to = match destination {
                    RouteTo::Original => "destination".to_owned(),
                    RouteTo::SomeLocal => "local".to_owned(),
                    RouteTo::Known(a) => {
                        number_address(self.family, self.addresses[a as usize]).to_string()
                    }
                };
                format!("route {to} drop {dropped:?} local {local:?} forward {forward:?}")
            }
            Node::Act { act, next, .. } => match self.act(act) {
                Act::Dnat(dnat) => {
                    let address = dnat.address.map_or("-".to_owned(), |a| a.to_string());
                    let port = dnat.port.map_or("-".to_owned(), |p| p.to_string());
                    format!("dnat {address} port {port} {:?} then {next:?}", dnat.rule)
                }
                act => format!("{act:?} then {next:?}"),
            },
            Node::End(end) => {
                let end = self.ends[end.0 as usize];
                let by = end
                    .decided_by
                    .map_or(String::new(), |rule| format!(" {rule:?}"));
                format!("end {:?} mark {:?}{by}", end.disposition, end.mark)
            }
            Node::Walk { served } => if served {
                "walk what the flat form leaves"
            } else {
                "walk"
            }
            .to_owned(),
        }
    }
}

impl fmt::Display for Classes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, class) in self.0.classes.iter().enumerate() {
            write!(f, "{}", self.0.class_text(*class))?;
            for root in self.0.class_roots(super::ClassId(at as u32)) {
                write!(f, " {root:?}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// The classes, then the nodes.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.display_classes())?;
        for (at, node) in self.nodes.iter().enumerate() {
            writeln!(f, "n{at} {}", self.node_text(*node))?;
        }
        Ok(())
    }
}
