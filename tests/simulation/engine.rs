//! What a cycle asks for, what it refuses, and what it does with the answers.

use std::path::PathBuf;

use cogfs::cloud::wire::{Kind, Outcome};
use cogfs::cloud::{Cloud, CloudError};
use cogfs::curation::{Edit, Entity, Origin, Title, TrashName, undo};
use cogfs::model::{Commit, Id};
use cogfs::store::conflicts::{self, Side};
use cogfs::store::{EntityKind, commits, edits, outbox, projects, refused};
use cogfs::sync::engine::{self, SyncError};
use cogfs::sync::fields::{self, Here};
use serde_json::{Value, json};

use crate::common::ClaudeLog;
use crate::machine::Machine;
use crate::memory_cloud::{Fault, MemoryCloud};

/// Machines with the same logs to import, and a cloud.
pub struct Lab {
    dir: tempfile::TempDir,
    pub cloud: MemoryCloud,
    pub a: Machine,
    pub b: Machine,
}

impl Lab {
    /// So many sessions, imported on the first machine.
    pub fn with(sessions: u32) -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        crate::time::begin(0);
        let template = crate::logs::template(dir.path());
        let cloud = MemoryCloud::new();
        let machine = |name: char| Machine::new((name, Id([name as u8; 16])), dir.path(), &template, &cloud, 0);
        let (a, b) = (machine('a'), machine('b'));
        let mut lab = Self { dir, cloud, a, b };
        for number in 1..=sessions {
            ClaudeLog::new("boats", number).user(&format!("Question {number}")).assistant("Yes.").write(&lab.logs());
        }
        let logs = lab.logs();
        lab.a.import(&logs);
        lab
    }

    /// One session that both machines know.
    fn shared() -> Self {
        let mut lab = Self::with(1);
        lab.a.sync(None).unwrap();
        lab.b.sync(None).unwrap();
        lab.cloud.requests();
        lab
    }

    /// One more machine with an empty database.
    fn another(&self, name: char) -> Machine {
        let template = cogfs::store::Layout::new(self.dir.path().join("template")).database();
        Machine::new((name, Id([name as u8; 16])), self.dir.path(), &template, &self.cloud, 0)
    }

    fn logs(&self) -> PathBuf {
        self.dir.path().join("logs")
    }
}

fn all(machine: &Machine) -> Vec<Commit> {
    commits::all_by_id_range(machine.writer.conn(), &[0; 16], &[255; 16], 1000).unwrap()
}

fn only(machine: &Machine) -> Commit {
    all(machine).pop().unwrap()
}

fn title(machine: &mut Machine, text: &str) {
    let commit = only(machine).row;
    assert!(machine.edit(&Edit::Retitle { commit, title: Title::User(text.to_owned()), name: None }));
}

fn note(machine: &mut Machine, text: &str) {
    let commit = only(machine).row;
    assert!(machine.edit(&Edit::SetNote { commit, note: text.to_owned() }));
}

fn delete(machine: &mut Machine) {
    let entity = Entity::commit(only(machine).row);
    assert!(machine.edit(&Edit::Delete { entity, name: TrashName::Own }));
}

fn waiting(machine: &Machine) -> Vec<Value> {
    outbox::all(machine.writer.conn()).unwrap().into_iter().map(|waiting| Value::from(waiting.fields)).collect()
}

/// The files of a machine's folder, with their bytes' hash and the time they were written at.
fn written(machine: &Machine) -> Vec<(PathBuf, u64, std::time::SystemTime)> {
    let files = crate::common::files(machine.layout().dir());
    let told = |path: PathBuf| {
        let about = path.metadata().unwrap();
        (path, about.len(), about.modified().unwrap())
    };
    files.into_iter().map(told).collect()
}

#[test]
fn idle_cycles_write_nothing() {
    let mut lab = Lab::shared();
    lab.a.sync(None).unwrap();
    lab.a.sync(None).unwrap();
    let (before, last) = (written(&lab.a), lab.a.last_sync());
    for _ in 0..5 {
        lab.a.sync(None).unwrap();
    }
    assert_eq!(written(&lab.a), before);
    assert!(lab.a.last_sync() >= last && last.is_some());
    note(&mut lab.a, "Something");
    lab.a.sync(None).unwrap();
    assert_ne!(written(&lab.a), before);
}

#[test]
fn what_a_machine_sent_is_no_news_to_it() {
    let mut lab = Lab::with(3);
    assert_eq!(lab.a.sync(None).unwrap().pulled, 0);
    lab.b.sync(None).unwrap();
    assert_eq!(lab.a.sync(None).unwrap().pulled, 1, "the other machine");
    title(&mut lab.a, "Sail away");
    assert_eq!(lab.a.sync(None).unwrap().pulled, 0, "a title");
    let project = projects::all(lab.a.writer.conn()).unwrap().pop().unwrap();
    assert!(lab.a.rename_project(project.row, "harbour"));
    assert_eq!(lab.a.sync(None).unwrap().pulled, 0, "a project");
    let first = all(&lab.a)[0].clone();
    assert!(lab.a.edit(&Edit::Delete { entity: Entity::commit(first.row), name: TrashName::Own }));
    assert_eq!(lab.a.sync(None).unwrap().pulled, 0);
    assert!(lab.a.edit(&Edit::Restore { entity: Entity::commit(first.row) }));
    assert_eq!(lab.a.sync(None).unwrap().pulled, 0);
    lab.a.forget(first.id);
    assert_eq!(lab.a.sync(None).unwrap().pulled, 0);
    assert!(lab.b.sync(None).unwrap().pulled > 0);
}

#[test]
fn a_late_push_changes_nothing() {
    let lab = Lab::with(0);
    let (machine, other) = (Id([7; 16]), Id([8; 16]));
    let facts = |name: &str| cogfs::cloud::wire::Change::Facts {
        kind: Kind::Project,
        id: machine,
        rank: 1,
        facts: Some(json!({ "name": name })),
        parent: None,
    };
    let at = |millis: i64| cogfs::model::Millis(millis);
    let name = || lab.cloud.row(Kind::Project, machine).unwrap().facts.unwrap()["name"].clone();
    let push = |by: Id, as_of: i64, name: &str| lab.cloud.push(by, at(as_of), &[facts(name)]);
    push(machine, 20, "new").unwrap();
    push(machine, 10, "old").unwrap_err();
    push(other, 15, "older than the new one").unwrap();
    assert_eq!(name(), "new");
    push(other, 30, "newer").unwrap();
    push(machine, 20, "new").unwrap();
    assert_eq!(name(), "newer");
}

#[test]
fn an_idle_cycle_asks_once() {
    let mut lab = Lab::shared();
    lab.a.sync(None).unwrap();
    lab.cloud.requests();
    let summary = lab.a.sync(None).unwrap();
    assert_eq!(lab.cloud.requests(), ["pull"]);
    assert_eq!((summary.pulled, summary.pushed, summary.requests), (0, 0, 1));
}

#[test]
fn a_push_of_many_records_costs_a_request_for_a_hundred_of_them_and_few_more() {
    let mut lab = Lab::with(120);
    let summary = lab.a.sync_in_large_pages().unwrap();
    // A machine, a project, 120 commits and 120 sessions. Beside their requests there are two pulls.
    assert_eq!(summary.pushed, 242);
    let requests = lab.cloud.requests();
    assert!(requests.len() as u64 <= summary.pushed.div_ceil(100) + 3, "{requests:?}");
    assert_eq!(summary.pulled, 0, "what comes back of it is no news");
    for commit in all(&lab.a) {
        lab.a.edit(&Edit::SetHidden { commit: commit.row, hidden: true });
    }
    let summary = lab.a.sync_in_large_pages().unwrap();
    assert_eq!(summary.pushed, 120);
    let requests = lab.cloud.requests();
    assert!(requests.len() as u64 <= summary.pushed.div_ceil(100) + 2, "{requests:?}");
    lab.b.sync_in_large_pages().unwrap();
    assert_eq!(all(&lab.b).iter().filter(|commit| commit.hidden).count(), 120);
}

#[test]
fn with_another_language_nothing_is_sent() {
    let mut lab = Lab::with(1);
    lab.cloud.set_protocol(2, 3);
    let refused = lab.a.sync(None).unwrap_err();
    assert!(matches!(&refused, SyncError::Cloud(CloudError::Protocol(text)) if text.contains("too old")), "{refused}");
    assert_eq!(lab.cloud.requests(), ["pull"]);
    assert_eq!(lab.cloud.head(), 0);
}

#[test]
fn with_another_account_nothing_is_sent_until_it_is_adopted() {
    let mut lab = Lab::shared();
    note(&mut lab.a, "Mine");
    lab.cloud.set_user(Id([2; 16]));
    lab.a.dies();
    assert!(matches!(lab.a.sync(None), Err(SyncError::OtherAccount { .. })));
    assert_eq!(lab.cloud.requests(), Vec::<String>::new(), "the login says whose it is");
    lab.cloud.asks_whose();
    assert!(matches!(lab.a.sync(None), Err(SyncError::OtherAccount { .. })));
    assert_eq!(lab.cloud.requests(), ["status"]);
    let tx = lab.a.writer.begin().unwrap();
    engine::reset(&tx, true).unwrap();
    tx.commit().unwrap();
    lab.a.sync(None).unwrap();
    assert_eq!(waiting(&lab.a), Vec::<Value>::new());
    assert_eq!(lab.cloud.row(Kind::Commit, only(&lab.a).id).unwrap().fields["note"], "Mine");
}

#[test]
fn what_is_refused_is_set_aside_and_holds_nothing_up() {
    let mut lab = Lab::with(2);
    let ids: Vec<_> = all(&lab.a).iter().map(|commit| commit.id).collect();
    lab.cloud.refuse(ids[0], "quota_commits", "no room");
    let summary = lab.a.sync(None).unwrap();
    assert_eq!(summary.refused, 1);
    let aside = refused::all(lab.a.writer.conn()).unwrap();
    assert!(aside.iter().any(|refused| refused.id == ids[0] && refused.code == "quota_commits"), "{aside:?}");
    assert!(lab.cloud.row(Kind::Commit, ids[1]).is_some(), "the other one was sent");
    assert!(lab.cloud.row(Kind::Commit, ids[0]).is_none());
    lab.cloud.refuse_nothing();
    assert_eq!(lab.a.sync(None).unwrap().pushed, 0, "it is not tried again by itself");
    let tx = lab.a.writer.begin().unwrap();
    refused::clear_all(&tx).unwrap();
    tx.commit().unwrap();
    lab.a.sync(None).unwrap();
    assert!(lab.cloud.row(Kind::Commit, ids[0]).is_some());
    lab.b.sync(None).unwrap();
    assert_eq!(all(&lab.b).len(), 2, "with its session, which was refused for want of it");
}

#[test]
fn a_title_from_elsewhere_renames_the_directory_is_logged_and_is_not_sent_back() {
    let mut lab = Lab::shared();
    title(&mut lab.a, "Sail away");
    lab.a.sync(None).unwrap();
    lab.b.sync(None).unwrap();
    let commit = only(&lab.b);
    assert_eq!(commit.title, "Sail away");
    assert!(commit.dir_name.contains("sail-away"), "{}", commit.dir_name);
    assert_eq!(waiting(&lab.b), Vec::<Value>::new());
    let of = Some((EntityKind::Commit, commit.row));
    let logged = edits::since(lab.b.writer.conn(), cogfs::model::Millis(0), of).unwrap();
    assert_eq!(
        (logged[0].origin.as_str(), logged[0].machine.as_str(), logged[0].action.as_str()),
        ("sync", "a", "retitle")
    );
    // It can be taken back here, which is an edit of this machine's.
    let mut tx = lab.b.writer.begin().unwrap();
    undo(&mut tx, Origin::Command, logged[0].seq).unwrap();
    tx.commit().unwrap();
    lab.b.sync(None).unwrap();
    lab.a.sync(None).unwrap();
    assert_eq!(only(&lab.a).title, "Question 1");
}

#[test]
fn of_two_values_one_is_kept_as_a_conflict_that_can_be_taken() {
    let mut lab = Lab::shared();
    note(&mut lab.a, "From a");
    note(&mut lab.b, "From b");
    lab.a.sync(None).unwrap();
    let summary = lab.b.sync(None).unwrap();
    assert_eq!(summary.conflicts, 1);
    lab.a.sync(None).unwrap();
    assert_eq!(only(&lab.a).note, only(&lab.b).note);
    let conflict = conflicts::open(lab.b.writer.conn()).unwrap().pop().unwrap();
    assert_eq!((&conflict.local, &conflict.cloud), (&json!("From b"), &json!("From a")));
    assert_eq!(conflict.machine, "a");
    let other = if conflict.kept == Side::Local { Side::Cloud } else { Side::Local };
    let mut tx = lab.b.writer.begin().unwrap();
    assert!(fields::take_side(&mut tx, Origin::Command, &conflict, other).unwrap());
    tx.commit().unwrap();
    assert_eq!(conflicts::count(lab.b.writer.conn()).unwrap(), 0);
    lab.b.sync(None).unwrap();
    lab.a.sync(None).unwrap();
    let taken = if other == Side::Local { "From b" } else { "From a" };
    assert_eq!((only(&lab.a).note.as_str(), only(&lab.b).note.as_str()), (taken, taken));
}

#[test]
fn an_edit_beats_a_deletion_and_the_deletion_is_told() {
    let mut lab = Lab::shared();
    delete(&mut lab.a);
    note(&mut lab.b, "Still needed");
    lab.a.sync(None).unwrap();
    assert_eq!(lab.b.sync(None).unwrap().restored, 1);
    lab.a.sync(None).unwrap();
    assert_eq!((only(&lab.a).deleted_at, only(&lab.b).deleted_at), (None, None));
    assert_eq!(only(&lab.a).note, "Still needed");
    assert_eq!(conflicts::open(lab.b.writer.conn()).unwrap()[0].field, "deleted_at");
}

#[test]
fn what_is_edited_while_it_is_sent_waits_on() {
    let mut lab = Lab::shared();
    note(&mut lab.a, "First");
    let (sent, _) = fields::pending(lab.a.writer.conn(), 0, 100).unwrap();
    note(&mut lab.a, "Second");
    let here = Here { machine: cogfs::model::Id([1; 16]), ahead: 0 };
    let outcome = Outcome::Applied { version: 1, seq: 9, unused: vec![] };
    let mut tx = lab.a.writer.begin().unwrap();
    fields::settle(&mut tx, here, &sent[0], &outcome).unwrap();
    tx.commit().unwrap();
    let left = outbox::all(lab.a.writer.conn()).unwrap();
    assert_eq!((&left[0].fields["note"], &left[0].base["note"]), (&json!("Second"), &json!("First")));
}

#[test]
fn an_edit_that_was_taken_back_after_its_answer_was_lost_is_taken_back_everywhere() {
    let mut lab = Lab::shared();
    note(&mut lab.a, "Slip");
    // The pull, and the push, whose answer is lost.
    lab.cloud.fail_next(&[Fault::Doubled, Fault::LostAnswer]);
    lab.a.sync(None).unwrap_err();
    lab.cloud.heal();
    assert_eq!(lab.cloud.row(Kind::Commit, only(&lab.a).id).unwrap().fields["note"], "Slip");
    note(&mut lab.a, "");
    lab.a.sync(None).unwrap();
    lab.b.sync(None).unwrap();
    assert_eq!((only(&lab.a).note.as_str(), only(&lab.b).note.as_str()), ("", ""));
    assert_eq!(conflicts::count(lab.a.writer.conn()).unwrap(), 0, "it is no conflict with itself");
}

#[test]
fn what_was_purged_while_this_machine_was_away_is_deleted_here_unless_it_was_edited() {
    for edited in [false, true] {
        let mut lab = Lab::shared();
        let commit = only(&lab.a);
        delete(&mut lab.a);
        lab.a.sync(None).unwrap();
        let session = cogfs::store::sessions::all_of_commit(lab.a.writer.conn(), commit.row).unwrap().pop().unwrap();
        lab.cloud.purge(Kind::Session, session.id);
        lab.cloud.purge(Kind::Commit, commit.id);
        if edited {
            note(&mut lab.b, "Still needed");
        }
        lab.b.sync(None).unwrap();
        assert_eq!(only(&lab.b).deleted_at.is_some(), !edited, "edited: {edited}");
    }
}

#[test]
fn a_cloud_that_lost_what_it_had_is_told_and_filled_again() {
    let mut lab = Lab::shared();
    lab.cloud.lose_everything();
    assert!(matches!(lab.a.sync(None), Err(SyncError::CloudLost)));
    assert_eq!(only(&lab.a).deleted_at, None);
    let tx = lab.a.writer.begin().unwrap();
    engine::reset(&tx, false).unwrap();
    tx.commit().unwrap();
    lab.a.sync(None).unwrap();
    assert!(lab.cloud.row(Kind::Commit, only(&lab.a).id).is_some_and(|row| row.facts.is_some()));
}

fn reset(machine: &mut Machine) {
    let tx = machine.writer.begin().unwrap();
    engine::reset(&tx, false).unwrap();
    tx.commit().unwrap();
}

#[test]
fn a_cloud_that_lost_everything_has_every_edit_again_after_a_reset() {
    let mut lab = Lab::shared();
    title(&mut lab.a, "Sail away");
    note(&mut lab.a, "Before noon");
    let project = projects::all(lab.a.writer.conn()).unwrap().pop().unwrap();
    assert!(lab.a.rename_project(project.row, "harbour"));
    let (session, turn) = first_turn(&lab.a);
    assert!(lab.a.edit(&Edit::Delete { entity: Entity::turn(turn), name: TrashName::Own }));
    lab.a.sync(None).unwrap();
    lab.cloud.lose_everything();
    reset(&mut lab.a);
    lab.a.sync(None).unwrap();
    let row = lab.cloud.row(Kind::Commit, only(&lab.a).id).unwrap();
    assert_eq!((&row.fields["title"], &row.fields["note"]), (&json!("Sail away"), &json!("Before noon")));
    assert_eq!(lab.cloud.row(Kind::Project, project.id).unwrap().fields["name"], "harbour");
    let turns: Vec<_> = lab.cloud.rows().into_iter().filter(|row| row.kind == Kind::Turn).collect();
    assert_eq!(turns.len(), 1);
    assert_eq!(turns[0].turn.map(|(of, _)| of), Some(session));
    assert_eq!(waiting(&lab.a), Vec::<Value>::new());
}

#[test]
fn a_reset_where_the_cloud_has_everything_sends_no_edit_again() {
    let mut lab = Lab::shared();
    title(&mut lab.a, "Sail away");
    lab.a.sync(None).unwrap();
    lab.b.sync(None).unwrap();
    note(&mut lab.b, "At night");
    lab.b.sync(None).unwrap();
    reset(&mut lab.a);
    let head = lab.cloud.head();
    let summary = lab.a.sync(None).unwrap();
    assert_eq!((summary.conflicts, lab.cloud.head()), (0, head));
    assert_eq!(only(&lab.a).note, "At night");
}

/// The session of the only commit, and the row of its first turn.
fn first_turn(machine: &Machine) -> (Id, i64) {
    let session =
        cogfs::store::sessions::all_of_commit(machine.writer.conn(), only(machine).row).unwrap().pop().unwrap();
    (session.id, cogfs::store::turns::row_of(session.row, 1))
}

/// Removes the only commit from the cloud with its session, as 30 days after its deletion.
fn purge(lab: &Lab) {
    lab.cloud.pass(31 * 24 * 3600 * 1000);
    lab.cloud.purge_tombstones();
    assert_eq!(lab.cloud.row(Kind::Commit, only(&lab.a).id), None);
}

#[test]
fn what_comes_back_without_knowledge_of_its_deletion_is_deleted_again_with_all_that_was_in_it() {
    let mut lab = Lab::shared();
    let (_, turn) = first_turn(&lab.a);
    note(&mut lab.a, "Kept in the trash");
    assert!(lab.a.edit(&Edit::Delete { entity: Entity::turn(turn), name: TrashName::Own }));
    // Long before: it is no part of the whole's deletion.
    crate::time::pass(2 * 3600 * 1000);
    delete(&mut lab.a);
    lab.a.sync(None).unwrap();
    purge(&lab);
    // The other machine knows the same log, and never heard of the deletion.
    let mut other = lab.another('c');
    let logs = lab.logs();
    other.import(&logs);
    other.sync(None).unwrap();
    for _ in 0..2 {
        lab.a.sync(None).unwrap();
        other.sync(None).unwrap();
    }
    assert!(only(&other).deleted_at.is_some());
    assert_eq!(only(&other).note, "Kept in the trash");
    let (_, turn) = first_turn(&other);
    assert!(cogfs::store::turns::deleted_at(other.writer.conn(), turn).unwrap().is_some());
}

#[test]
fn an_edit_brings_back_what_was_purged_with_what_was_made_of_it_before() {
    let mut lab = Lab::shared();
    title(&mut lab.a, "Sail away");
    delete(&mut lab.a);
    lab.a.sync(None).unwrap();
    purge(&lab);
    let entity = Entity::commit(only(&lab.a).row);
    assert!(lab.a.edit(&Edit::Restore { entity }));
    for _ in 0..3 {
        lab.a.sync(None).unwrap();
        lab.b.sync(None).unwrap();
    }
    for machine in [&lab.a, &lab.b] {
        let commit = only(machine);
        assert_eq!((commit.title.as_str(), commit.deleted_at), ("Sail away", None), "on {}", machine.name);
    }
    let (session, _) = first_turn(&lab.a);
    assert!(lab.cloud.row(Kind::Session, session).is_some_and(|row| row.facts.is_some()), "its contents are there");
}

#[test]
fn what_one_machine_brings_back_after_a_purge_is_sent_by_the_one_that_has_its_contents() {
    let mut lab = Lab::shared();
    delete(&mut lab.a);
    lab.a.sync(None).unwrap();
    lab.b.sync(None).unwrap();
    purge(&lab);
    let entity = Entity::commit(only(&lab.b).row);
    assert!(lab.b.edit(&Edit::Restore { entity }));
    title(&mut lab.b, "Sail away");
    // Its version has no more changes than the one that was removed had when this machine saw it last.
    for _ in 0..2 {
        lab.b.sync(None).unwrap();
    }
    let (session, _) = first_turn(&lab.a);
    assert_eq!(lab.cloud.row(Kind::Session, session), None);
    lab.a.sync(None).unwrap();
    let mut other = lab.another('c');
    other.sync(None).unwrap();
    assert_eq!((only(&other).title.as_str(), only(&other).deleted_at), ("Sail away", None));
    assert_eq!(first_turn(&other).0, session);
    assert_eq!(other.fetch(session, false), Some(cogfs::sync::contents::Stored::Done));
}

#[test]
fn what_was_made_of_a_record_before_its_removal_is_told_of_the_one_in_its_place() {
    let mut lab = Lab::shared();
    note(&mut lab.a, "Before noon");
    title(&mut lab.a, "Row away");
    delete(&mut lab.a);
    lab.a.sync(None).unwrap();
    purge(&lab);
    // The other machine knows the same log, never heard of the deletion, and changes it as often.
    let mut other = lab.another('c');
    let logs = lab.logs();
    other.import(&logs);
    title(&mut other, "Sail away");
    other.sync(None).unwrap();
    lab.a.sync(None).unwrap();
    other.sync(None).unwrap();
    for machine in [&lab.a, &other] {
        let commit = only(machine);
        let told = (commit.title.as_str(), commit.note.as_str(), commit.deleted_at);
        assert_eq!(told, ("Sail away", "Before noon", None), "on {}", machine.name);
    }
    let kept = conflicts::open(lab.a.writer.conn()).unwrap();
    assert_eq!((kept.len(), &kept[0].local, &kept[0].cloud), (1, &json!("Row away"), &json!("Sail away")));
}

#[test]
fn of_two_commits_that_are_one_a_move_of_the_one_that_gives_way_is_kept_as_a_conflict() {
    let mut lab = Lab::with(0);
    for (number, folder) in [(1, "one"), (2, "two")] {
        let mut log = ClaudeLog::new("boats", number);
        log.user("Question").assistant("Yes.").git_commit("b0a7b0a7", "Set sail");
        log.write(&lab.dir.path().join(folder));
    }
    ClaudeLog::new("trains", 3).user("Where?").assistant("There.").write(&lab.dir.path().join("two"));
    let (one, two) = (lab.dir.path().join("one"), lab.dir.path().join("two"));
    lab.a.import(&one);
    let whole = only(&lab.a);
    lab.a.sync(None).unwrap();
    // Moved, it does not meet the whole here; and it dies before it tells of the move.
    lab.b.import(&two);
    let part = all(&lab.b).into_iter().find(|commit| commit.git_hash.is_some()).unwrap();
    let trains = projects::all(lab.b.writer.conn()).unwrap().into_iter().find(|p| p.name == "trains").unwrap();
    assert!(lab.b.edit(&Edit::MoveToProject { commit: part.row, project: trains.row, name: None }));
    let is_there = || lab.cloud.row(Kind::Commit, part.id).is_some();
    assert!((0..20).any(|step| lab.b.sync(Some(step)).is_ok_and(|_| is_there())));
    assert!(lab.cloud.row(Kind::Commit, part.id).is_some_and(|row| row.fields.is_empty()));
    lab.a.sync(None).unwrap();
    assert!(lab.cloud.row(Kind::Commit, part.id).is_some_and(|row| row.merged_into == Some(whole.id)));
    lab.b.sync(None).unwrap();
    let conflict = conflicts::open(lab.b.writer.conn()).unwrap().into_iter().find(|c| c.field == "project");
    let conflict = conflict.expect("the move is kept");
    assert_eq!((conflict.entity_id, &conflict.cloud), (whole.id, &json!(trains.id.to_string())));
    // It can be taken, and is told everywhere.
    let mut tx = lab.b.writer.begin().unwrap();
    assert!(fields::take_side(&mut tx, Origin::Command, &conflict, Side::Cloud).unwrap());
    tx.commit().unwrap();
    lab.b.sync(None).unwrap();
    lab.a.sync(None).unwrap();
    for machine in [&lab.a, &lab.b] {
        let commit = commits::by_id(machine.writer.conn(), &whole.id).unwrap().unwrap();
        let project = projects::get(machine.writer.conn(), commit.project_row).unwrap().unwrap();
        assert_eq!(project.name, "trains", "on {}", machine.name);
    }
}

#[test]
fn a_refused_merge_is_no_more_once_another_machine_told_of_it() {
    let mut lab = Lab::with(0);
    for (number, folder) in [(1, "one"), (2, "two")] {
        let mut log = ClaudeLog::new("boats", number);
        log.user("Question").assistant("Yes.").git_commit("b0a7b0a7", "Set sail");
        log.write(&lab.dir.path().join(folder));
    }
    let (one, two) = (lab.dir.path().join("one"), lab.dir.path().join("two"));
    lab.a.import(&one);
    lab.b.import(&two);
    lab.b.sync(None).unwrap();
    let part = only(&lab.b).id;
    lab.cloud.refuse(part, refused::UNKNOWN_PARENT, "not yet");
    lab.a.sync(None).unwrap();
    assert!(refused::is_refused(lab.a.writer.conn(), 2, &part).unwrap());
    lab.cloud.refuse_nothing();
    lab.b.sync(None).unwrap();
    assert!(lab.cloud.row(Kind::Commit, part).is_some_and(|row| row.merged_into.is_some()));
    lab.a.sync(None).unwrap();
    assert_eq!(refused::all(lab.a.writer.conn()).unwrap(), vec![]);
}

#[test]
fn nothing_of_a_project_that_stays_here_is_sent() {
    let mut lab = Lab::with(1);
    let project = projects::all(lab.a.writer.conn()).unwrap().pop().unwrap();
    let tx = lab.a.writer.begin().unwrap();
    projects::set_syncs(&tx, project.row, false).unwrap();
    tx.commit().unwrap();
    note(&mut lab.a, "Secret");
    lab.a.sync(None).unwrap();
    let sent: Vec<Kind> = lab.cloud.rows().iter().map(|row| row.kind).collect();
    assert_eq!(sent, [Kind::Machine]);
    let tx = lab.a.writer.begin().unwrap();
    projects::set_syncs(&tx, project.row, true).unwrap();
    tx.commit().unwrap();
    lab.a.sync(None).unwrap();
    lab.b.sync(None).unwrap();
    assert_eq!(only(&lab.b).note, "Secret");
}
