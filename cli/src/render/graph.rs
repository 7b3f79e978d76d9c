//! The graph of chains, one item a line: each chain, then each of its rules that leads to another chain.

use kpclass_ruleset::target::Target;
use kpclass_ruleset::{Chain, Policy, Ruleset};

/// The chains and who leads to whom: `-j` as `->`, `-g` as `=>`.
///
/// ```text
/// nat PREROUTING  policy ACCEPT, rules 2
///   2 -> KUBE-SERVICES
/// nat KUBE-MARK-MASQ  not in the dump
/// ```
pub(crate) fn text(ruleset: &Ruleset) -> String {
    let mut text = String::new();
    for (id, chain) in ruleset.chains() {
        let name = ruleset.text(chain.name);
        text += &format!("{} {name}  {}\n", chain.table.name(), what(chain));
        for (rule, arrow, to) in
            ruleset
                .chain_rules(id)
                .filter_map(|(id, rule)| match rule.target {
                    Target::Jump(to) => Some((id, "->", to)),
                    Target::Goto(to) => Some((id, "=>", to)),
                    _ => None,
                })
        {
            let (number, to) = (ruleset.rulenum(rule), ruleset.chain_name(to));
            text += &format!("  {number} {arrow} {to}\n");
        }
    }
    text
}

fn what(chain: &Chain) -> String {
    let rules = format!("rules {}", chain.rules.len());
    match (chain.declared, chain.hook, chain.policy) {
        (false, ..) => "not in the dump".to_owned(),
        (true, None, _) => rules,
        (true, Some(_), Policy::Accept) => format!("policy ACCEPT, {rules}"),
        (true, Some(_), Policy::Drop) => format!("policy DROP, {rules}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kpclass_ruleset::readers::{Input, read};

    #[test]
    fn chains_and_the_rules_that_lead_on() {
        let dump = "*nat\n:PREROUTING DROP [0:0]\n:A - [0:0]\n-A PREROUTING -s 10.0.0.1/32 -j ACCEPT\n\
                    -A PREROUTING -j A\n-A A -g KUBE-B\nCOMMIT\n";
        let rules = read(&[Input::new("n.rules", dump)]).expect("it reads");
        assert_eq!(
            text(&rules.v4.expect("IPv4 rules")),
            "nat PREROUTING  policy DROP, rules 2\n  2 -> A\nnat A  rules 1\n  1 => KUBE-B\nnat KUBE-B  not in the dump\n"
        );
    }
}
