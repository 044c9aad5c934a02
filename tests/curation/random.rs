//! Any edits in any order, taken back in the reverse order, lead back to where they began.

use cogfs::curation::{Edit, Entity, Title, TrashName};
use cogfs::store::{edits, turns};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{Lab, session};

/// An edit of what there is: `commits` and `sessions` of them, numbers to be taken modulo.
#[derive(Debug, Clone)]
enum Step {
    Title(usize, Option<String>, Option<String>),
    Hidden(usize, bool),
    Published(usize, bool),
    Order(usize, i64),
    Note(usize, String),
    Tags(usize, Vec<String>),
    Move(usize, usize, Option<String>),
    Project(usize, String),
    Delete(usize, usize),
    Restore(usize, usize),
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c]", "[a-z]{1,9}", "[A-Z][ a-zäß:]{0,9}x"]
}

fn step() -> impl Strategy<Value = Step> {
    let n = 0..12_usize;
    prop_oneof![
        3 => (n.clone(), proptest::option::of(name()), proptest::option::of(name())).prop_map(|(n, t, d)| Step::Title(n, t, d)),
        1 => (n.clone(), any::<bool>()).prop_map(|(n, to)| Step::Hidden(n, to)),
        1 => (n.clone(), any::<bool>()).prop_map(|(n, to)| Step::Published(n, to)),
        1 => (n.clone(), -2..3_i64).prop_map(|(n, to)| Step::Order(n, to)),
        1 => (n.clone(), name()).prop_map(|(n, to)| Step::Note(n, to)),
        1 => (n.clone(), proptest::collection::vec(name(), 0..3)).prop_map(|(n, to)| Step::Tags(n, to)),
        2 => (n.clone(), n.clone(), proptest::option::of(name())).prop_map(|(n, p, d)| Step::Move(n, p, d)),
        1 => (n.clone(), name()).prop_map(|(n, to)| Step::Project(n, to)),
        3 => (n.clone(), n.clone()).prop_map(|(n, what)| Step::Delete(n, what)),
        3 => (n.clone(), n).prop_map(|(n, what)| Step::Restore(n, what)),
    ]
}

struct Rows {
    commits: Vec<i64>,
    sessions: Vec<i64>,
    projects: Vec<i64>,
}

impl Rows {
    fn entity(&self, n: usize, what: usize) -> Entity {
        let session = self.sessions[n % self.sessions.len()];
        match what % 6 {
            0 => Entity::commit(self.commits[n % self.commits.len()]),
            1 => Entity::session(session),
            number => Entity::turn(turns::row_of(session, u32::try_from(number).unwrap() - 1)),
        }
    }

    fn edit(&self, step: Step) -> Edit {
        let commit = |n: usize| self.commits[n % self.commits.len()];
        match step {
            Step::Title(n, title, name) => {
                Edit::Retitle { commit: commit(n), title: title.map_or(Title::Found, Title::User), name }
            }
            Step::Hidden(n, hidden) => Edit::SetHidden { commit: commit(n), hidden },
            Step::Published(n, published) => Edit::SetPublished { commit: commit(n), published },
            Step::Order(n, order) => Edit::Reorder { commit: commit(n), order },
            Step::Note(n, note) => Edit::SetNote { commit: commit(n), note },
            Step::Tags(n, tags) => Edit::SetTags { commit: commit(n), tags },
            Step::Move(n, p, name) => {
                Edit::MoveToProject { commit: commit(n), project: self.projects[p % self.projects.len()], name }
            }
            Step::Project(n, name) => Edit::RenameProject { project: self.projects[n % self.projects.len()], name },
            Step::Delete(n, what) => Edit::Delete { entity: self.entity(n, what), name: TrashName::Own },
            Step::Restore(n, what) => Edit::Restore { entity: self.entity(n, what) },
        }
    }
}

#[test]
fn any_edits_taken_back_in_reverse_lead_back_to_where_they_began() {
    let lab = Lab::with(&[session("boats", 1), session("boats", 2), session("cars", 3)]);
    let commits: Vec<i64> = lab.commits().into_iter().map(|c| c.row).collect();
    let sessions = commits.iter().flat_map(|row| lab.sessions(*row)).collect();
    let rows = Rows { commits, sessions, projects: vec![lab.project("boats"), lab.project("cars")] };
    let first = lab.seen();
    let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
    let steps = proptest::collection::vec(step(), 1..14);
    let result = TestRunner::new(config).run(&steps, |steps| {
        let mut made = Vec::new();
        for step in steps {
            // A refused edit (a name that is taken, a record that is not deleted) leaves nothing behind.
            made.extend(lab.try_edit(&[rows.edit(step)]).unwrap_or_default());
        }
        lab.seen();
        for seq in made.into_iter().rev() {
            // A deletion that was the beginning of a larger one is in the log no more.
            if edits::get(lab.writer().conn(), seq).unwrap().is_some() {
                let undone = lab.try_undo(seq);
                prop_assert!(undone.is_ok(), "edit {}: {:?}", seq, undone);
            }
        }
        let last = lab.seen();
        for (path, text) in &first {
            prop_assert_eq!(last.get(path), Some(text), "{}", path);
        }
        prop_assert_eq!(last.len(), first.len());
        Ok(())
    });
    result.unwrap_or_else(|e| panic!("{e}"));
}
