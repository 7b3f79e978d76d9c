//! A chain that reaches itself by jumps would never end; the kernel refuses it at load (`mark_source_chains`).

use crate::error::CompileError;
use kpclass_ruleset::{ChainId, Ruleset};

#[derive(Clone, Copy, PartialEq)]
enum Mark {
    New,
    Open,
    Closed,
}

/// Refuses a ruleset whose chains loop.
pub(crate) fn check(ruleset: &Ruleset) -> Result<(), CompileError> {
    let mut marks = vec![Mark::New; ruleset.chains().len()];
    for (id, _) in ruleset.chains() {
        if let Some(chain) = visit(ruleset, id, &mut marks) {
            return Err(CompileError::chain_loop(ruleset.chain_name(chain)));
        }
    }
    Ok(())
}

/// Depth first, with a stack of its own; the chain at which a loop closes.
fn visit(ruleset: &Ruleset, start: ChainId, marks: &mut [Mark]) -> Option<ChainId> {
    if marks[start.index()] != Mark::New {
        return None;
    }
    marks[start.index()] = Mark::Open;
    let mut open = vec![(start, ruleset.chain_jumps(start).iter())];
    while let Some((id, jumps)) = open.last_mut() {
        let Some(to) = jumps.next() else {
            marks[id.index()] = Mark::Closed;
            open.pop();
            continue;
        };
        match marks[to.index()] {
            Mark::Open => return Some(*to),
            Mark::Closed => {}
            Mark::New => {
                marks[to.index()] = Mark::Open;
                open.push((*to, ruleset.chain_jumps(*to).iter()));
            }
        }
    }
    None
}
