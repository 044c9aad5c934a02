//! Conversations that are trees: a prompt that was edited and an answer that was asked for again make another branch.
//!
//! Owns in which order the messages of a tree are told, and where one has to be told that it goes on from elsewhere. The order
//! is that of time, a parent always before its children: so a conversation that goes on, on whatever branch, only gets longer.
//! Pure.

use std::collections::HashMap;

use super::record::{NewTurn, Stream};
use super::title;
use crate::model::{Millis, Role};

/// A message of a tree.
#[derive(Debug, Clone, Default)]
pub struct Node {
    pub id: String,
    pub parent: Option<String>,
    pub at: Option<Millis>,
    /// What it says, as far as somebody sees it: a message without a text takes no part in branching.
    pub says: String,
}

/// The order of a tree.
#[derive(Debug, Default)]
pub struct Order {
    /// Places in the list that was given.
    pub order: Vec<usize>,
    /// The messages that do not go on from the one told before them, by id: with what they go on from, if that is something.
    pub branches: HashMap<String, Option<String>>,
}

/// Orders the messages of a tree. Whatever is wrong with it, each is in the order once.
#[must_use]
pub fn order(nodes: &[Node]) -> Order {
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (at, node) in nodes.iter().enumerate() {
        places.entry(node.id.as_str()).or_insert(at);
    }
    let parents: Vec<Option<usize>> = nodes
        .iter()
        .enumerate()
        .map(|(at, node)| node.parent.as_deref().and_then(|id| places.get(id)).copied().filter(|parent| *parent != at))
        .collect();
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (at, parent) in parents.iter().enumerate() {
        if let Some(list) = parent.and_then(|parent| children.get_mut(parent)) {
            list.push(at);
        }
    }
    let mut walk = Walk { nodes, children: &children, told: vec![None; nodes.len()], met: 0 };
    for (at, parent) in parents.iter().enumerate() {
        if parent.is_none() {
            walk.from(at);
        }
    }
    // What hangs in a circle begins anywhere.
    for at in 0..nodes.len() {
        walk.from(at);
    }
    let told: Vec<Told> = walk.told.into_iter().flatten().collect();
    let mut order: Vec<(Millis, usize, usize, Option<usize>)> =
        told.iter().map(|told| (told.time, told.nth, told.at, told.above)).collect();
    order.sort_unstable();
    let mut last = None;
    let mut branches = HashMap::new();
    for (_, _, at, above) in &order {
        let Some(node) = nodes.get(*at).filter(|node| !node.says.trim().is_empty()) else { continue };
        if last.is_some() && last != *above {
            let from = above.and_then(|above| nodes.get(above)).map(|above| above.says.clone());
            branches.insert(node.id.clone(), from);
        }
        last = Some(*at);
    }
    Order { order: order.into_iter().map(|(_, _, at, _)| at).collect(), branches }
}

#[derive(Clone, Copy)]
struct Told {
    at: usize,
    /// The time it has, or that of what is above it if that is later.
    time: Millis,
    nth: usize,
    /// The nearest message above it that says something.
    above: Option<usize>,
}

struct Walk<'a> {
    nodes: &'a [Node],
    children: &'a [Vec<usize>],
    told: Vec<Option<Told>>,
    met: usize,
}

impl Walk<'_> {
    fn from(&mut self, root: usize) {
        let mut rest = vec![(root, Millis(i64::MIN), None)];
        while let Some((at, after, above)) = rest.pop() {
            let (Some(node), Some(place)) = (self.nodes.get(at), self.told.get_mut(at)) else { continue };
            if place.is_some() {
                continue;
            }
            let time = node.at.unwrap_or(after).max(after);
            *place = Some(Told { at, time, nth: self.met, above });
            self.met += 1;
            let above = if node.says.trim().is_empty() { above } else { Some(at) };
            let below = self.children.get(at).map(Vec::as_slice).unwrap_or_default();
            rest.extend(below.iter().rev().map(|child| (*child, time, above)));
        }
    }
}

/// Says that what follows goes on from elsewhere.
#[must_use]
pub fn marker(native: String, at: Option<Millis>, from: Option<&str>) -> NewTurn {
    let text = match from.and_then(title::first_sentence) {
        Some(said) => format!("Another branch of the conversation: what follows goes on from “{said}”."),
        None => "Another branch of the conversation: what follows begins anew.".to_owned(),
    };
    NewTurn {
        native: Some(native),
        message_key: None,
        stream: Stream::Main,
        role: Role::System,
        at,
        model: None,
        text,
        label: Some("branch".to_owned()),
        images: Vec::new(),
        call: None,
        revises: true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(id: &str, parent: Option<&str>, at: i64) -> Node {
        Node { id: id.to_owned(), parent: parent.map(str::to_owned), at: Some(Millis(at)), says: id.to_owned() }
    }

    fn ids(nodes: &[Node]) -> (Vec<&str>, HashMap<String, Option<String>>) {
        let order = order(nodes);
        (order.order.iter().map(|at| nodes[*at].id.as_str()).collect(), order.branches)
    }

    #[test]
    fn an_edited_prompt_is_told_when_it_was_asked_and_says_where_it_goes_on_from() {
        let nodes = [
            node("hello", None, 1),
            node("hi", Some("hello"), 2),
            node("edited", Some("hi"), 5),
            node("first", Some("hi"), 3),
            node("answer", Some("first"), 4),
            node("again", Some("edited"), 6),
        ];
        let (order, branches) = ids(&nodes);
        assert_eq!(order, ["hello", "hi", "first", "answer", "edited", "again"]);
        assert_eq!(branches, HashMap::from([("edited".to_owned(), Some("hi".to_owned()))]));
    }

    #[test]
    fn what_comes_later_is_told_behind_what_was_there_on_whatever_branch() {
        let mut nodes = vec![node("a", None, 1), node("b", Some("a"), 2), node("c", Some("a"), 3)];
        let (before, branches) = ids(&nodes);
        let (before, branches) = (before.join(" "), branches);
        nodes.insert(1, node("d", Some("b"), 9));
        nodes[1].at = Some(Millis(9));
        let (after, more) = ids(&nodes);
        assert_eq!(after.join(" "), format!("{before} d"));
        assert!(branches.iter().all(|(id, from)| more.get(id) == Some(from)));
    }

    #[test]
    fn a_message_without_a_text_is_between_and_no_branch() {
        let mut nodes = [node("a", None, 1), node("silent", Some("a"), 2), node("b", Some("silent"), 3)];
        nodes[1].says.clear();
        assert!(ids(&nodes).1.is_empty());
    }

    proptest! {
        #[test]
        fn each_message_is_told_once_and_behind_its_parent(
            parents in proptest::collection::vec((0_usize..12, 0_i64..20), 0..12)
        ) {
            let nodes: Vec<Node> = parents.iter().enumerate().map(|(at, (parent, time))| {
                node(&at.to_string(), Some(parent.to_string().as_str()), *time)
            }).collect();
            let mut told = order(&nodes).order;
            let tree: Vec<Option<usize>> = (0..nodes.len()).map(|at| told.iter().position(|t| *t == at)).collect();
            for (at, (parent, _)) in parents.iter().enumerate() {
                // Circles aside.
                if *parent < at && parents[..=at].iter().enumerate().all(|(i, (p, _))| *p < i || *p >= nodes.len() || i == 0) {
                    prop_assert!(tree[*parent] < tree[at]);
                }
            }
            told.sort_unstable();
            prop_assert_eq!(told, (0..nodes.len()).collect::<Vec<_>>());
        }
    }
}
