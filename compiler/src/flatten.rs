//! The last shape: rows of draws become selections, and nodes that nothing reaches go.

use crate::program::node::{Draw, Node, NodeId};

/// The nodes with their selections.
#[derive(Debug, Default)]
pub(crate) struct Flat {
    pub(crate) nodes: Vec<Node>,
    pub(crate) thresholds: Vec<Draw>,
    pub(crate) targets: Vec<NodeId>,
    pub(crate) route_children: Vec<[NodeId; 3]>,
}

/// Turns each row of at least two draws, one behind the other's `no`, into one selection at its head.
pub(crate) fn select(nodes: &mut [Node], draws: &[Draw], roots: &[NodeId], flat: &mut Flat) {
    let heads = heads(nodes, &flat.route_children, roots);
    for at in 0..nodes.len() {
        let (true, Node::Draw { .. }) = (heads[at], nodes[at]) else {
            continue;
        };
        let (first, targets) = (flat.thresholds.len() as u32, flat.targets.len() as u32);
        let mut next = NodeId(at as u32);
        let mut below = 0;
        while let Node::Draw { draw, yes, no } = nodes[next.0 as usize] {
            let draw = draws[draw.0 as usize];
            if draw.below <= below && next.0 as usize != at {
                break;
            }
            below = draw.below;
            flat.thresholds.push(draw);
            flat.targets.push(yes);
            next = no;
        }
        flat.targets.push(next);
        let count = flat.thresholds.len() as u32 - first;
        if count < 2 {
            flat.thresholds.truncate(first as usize);
            flat.targets.truncate(targets as usize);
            continue;
        }
        nodes[at] = Node::Select {
            first,
            count,
            targets,
        };
    }
}

/// Which draws something reaches other than by the `no` of the draw before.
fn heads(nodes: &[Node], routes: &[[NodeId; 3]], roots: &[NodeId]) -> Vec<bool> {
    let mut heads = vec![false; nodes.len()];
    let mut mark = |id: NodeId| heads[id.0 as usize] = true;
    roots.iter().copied().for_each(&mut mark);
    for node in nodes {
        match *node {
            Node::Test { yes, no, .. } => {
                mark(yes);
                mark(no);
            }
            Node::Draw { yes, .. } => mark(yes),
            Node::Act { next, .. } => mark(next),
            Node::Route { children, .. } => {
                routes[children as usize]
                    .iter()
                    .copied()
                    .for_each(&mut mark);
            }
            Node::Select { .. } | Node::End(_) | Node::Walk { .. } => {}
        }
    }
    heads
}

/// Keeps what the roots reach, in order, and renumbers it; `roots`, and `shared` beside the nodes, are changed in place. What only nodes
/// that went have named is left where it is.
pub(crate) fn compact(mut flat: Flat, shared: &mut Vec<bool>, roots: &mut [NodeId]) -> Flat {
    let nodes = std::mem::take(&mut flat.nodes);
    let reached = reached(&nodes, &flat, roots);
    let mut count = 0;
    let renumbered: Vec<NodeId> = reached
        .iter()
        .map(|reached| {
            let id = NodeId(count);
            count += u32::from(*reached);
            id
        })
        .collect();
    let new = |id: &mut NodeId| *id = renumbered[id.0 as usize];
    flat.targets.iter_mut().for_each(new);
    for children in &mut flat.route_children {
        children.iter_mut().for_each(new);
    }
    roots.iter_mut().for_each(new);
    let mut kept = reached.iter();
    shared.retain(|_| kept.next().is_some_and(|reached| *reached));
    flat.nodes = nodes
        .into_iter()
        .zip(&reached)
        .filter(|(_, reached)| **reached)
        .map(|(mut node, _)| {
            match &mut node {
                Node::Test { yes, no, .. } | Node::Draw { yes, no, .. } => {
                    new(yes);
                    new(no);
                }
                Node::Act { next, .. } => new(next),
                _ => {}
            }
            node
        })
        .collect();
    flat
}

fn reached(nodes: &[Node], flat: &Flat, roots: &[NodeId]) -> Vec<bool> {
    let mut reached = vec![false; nodes.len()];
    let mut work = roots.to_vec();
    while let Some(id) = work.pop() {
        if std::mem::replace(&mut reached[id.0 as usize], true) {
            continue;
        }
        match nodes[id.0 as usize] {
            Node::Test { yes, no, .. } | Node::Draw { yes, no, .. } => work.extend([yes, no]),
            Node::Act { next, .. } => work.push(next),
            Node::Route { children, .. } => work.extend(flat.route_children[children as usize]),
            Node::Select { count, targets, .. } => {
                let targets = targets as usize..(targets + count + 1) as usize;
                work.extend(&flat.targets[targets]);
            }
            Node::End(_) | Node::Walk { .. } => {}
        }
    }
    reached
}
