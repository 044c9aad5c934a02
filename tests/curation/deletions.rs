//! Deleting and restoring: nothing of a record is lost, nothing of it is seen, and every length stays exact.

use cogfs::curation::{CurationError, Edit, Entity, TrashName};
use cogfs::store::{EntityKind, Survives, edits, outbox, trash, turns};

use super::{Lab, find, rename, session};

pub fn delete(entity: Entity) -> Edit {
    Edit::Delete { entity, name: TrashName::Own }
}

fn edits_left(lab: &Lab) -> Vec<String> {
    let all = edits::since(lab.writer().conn(), cogfs::model::Millis(0), None).unwrap();
    all.into_iter().map(|edit| format!("{} {}", edit.action, edit.kind.as_str())).collect()
}

#[test]
fn a_deleted_turn_is_left_out_everywhere_and_comes_back() {
    let lab = Lab::boats();
    let (commit, before) = (lab.commits().remove(0), lab.seen());
    let turn = Entity::turn(turns::row_of(lab.sessions(commit.row)[0], 2));
    let seq = lab.edit(delete(turn));
    let seen = lab.seen();
    let shows = |text: &str| {
        seen.iter().any(|(path, t)| path.starts_with("/projects") && path.ends_with(".md") && t.contains(text))
    };
    assert!(!shows("On it.") && shows("It is built."));
    assert!(!seen.keys().any(|path| path.ends_with("turns/0002-assistant.md")));
    assert!(seen.keys().any(|path| path.ends_with("turns/0004-assistant.md")), "numbers stay");
    let in_trash: Vec<_> = seen.keys().filter(|path| path.starts_with("/.cogfs/trash/")).collect();
    assert_eq!(in_trash.len(), 1);
    assert!(in_trash[0].ends_with("__0002-assistant.md") && seen[in_trash[0]].contains("On it."), "{in_trash:?}");
    assert!(lab.waiting(EntityKind::Turn, turn.row).unwrap().fields.contains_key("deleted_at"));
    lab.world.assert_consistent();
    assert!(matches!(lab.try_edit(&[delete(turn)]), Err(CurationError::Deleted { .. })));
    lab.undo(seq);
    assert_eq!(lab.seen(), before);
    assert_eq!(lab.waiting(EntityKind::Turn, turn.row), None);
}

#[test]
fn a_deleted_session_and_a_deleted_commit_are_seen_in_the_trash_alone() {
    let lab = Lab::with(&[session("boats", 1), session("boats", 2)]);
    let (commit, before) = (lab.commits().remove(0), lab.seen());
    let session = Entity::session(lab.sessions(commit.row)[0]);
    for entity in [session, Entity::commit(commit.row)] {
        lab.edit(delete(entity));
        lab.world.assert_consistent();
        let seen = lab.seen();
        let hits: Vec<_> =
            seen.iter().filter(|(_, text)| text.contains("Build part 1.")).map(|(path, _)| path).collect();
        let outside = hits.iter().filter(|path| !path.starts_with("/.cogfs/trash/")).filter(|path| {
            !path.ends_with("meta.md") && !path.ends_with("meta.json") && !path.ends_with("transcript.md")
        });
        assert_eq!(outside.count(), 0, "{hits:?}");
        assert!(hits.iter().any(|path| path.starts_with("/.cogfs/trash/")), "{hits:?}");
        lab.edit(Edit::Restore { entity });
        assert_eq!(lab.seen(), before);
        assert!(matches!(lab.try_edit(&[Edit::Restore { entity }]), Err(CurationError::NotDeleted)));
    }
    assert_eq!(outbox::count(lab.writer().conn()).unwrap(), 0);
}

#[test]
fn a_deleted_commit_is_in_no_view() {
    let lab = Lab::boats();
    let commit = lab.commits().remove(0);
    lab.edit(Edit::SetTags { commit: commit.row, tags: vec!["x".to_owned()] });
    lab.edit(delete(Entity::commit(commit.row)));
    let seen = lab.seen();
    let views =
        ["/by/date/", "/by/agent/", "/by/model/", "/by/tool/", "/by/file/", "/by/tag/", "/by/id/", "/by/machine/"];
    let left: Vec<_> = seen.keys().filter(|path| views.iter().any(|view| path.starts_with(view))).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_rm_r_deletes_piece_by_piece_is_one_deletion_and_one_restoration() {
    let lab = Lab::boats();
    let (commit, before) = (lab.commits().remove(0), lab.seen());
    let session = lab.sessions(commit.row)[0];
    for number in 1..=4 {
        lab.edit(delete(Entity::turn(turns::row_of(session, number))));
    }
    lab.edit(delete(Entity::session(session)));
    assert_eq!(edits_left(&lab), ["delete session"], "its turns are deleted with it");
    let seq = lab.edit(delete(Entity::commit(commit.row)));
    assert_eq!(edits_left(&lab), ["delete commit"]);
    assert_eq!(trash::listed(lab.writer().conn(), 0).unwrap().len(), 1);
    assert_eq!(outbox::all(lab.writer().conn()).unwrap().len(), 1, "one record waits");
    lab.undo(seq);
    assert_eq!(lab.seen(), before);
    lab.world.assert_consistent();
}

#[test]
fn a_name_that_was_taken_meanwhile_is_not_taken_back() {
    let lab = Lab::with(&[session("boats", 1), session("boats", 2)]);
    let commits = lab.commits();
    lab.edit(rename(&commits[0], "mine"));
    lab.edit(delete(Entity::commit(commits[0].row)));
    lab.edit(rename(&commits[1], "mine"));
    lab.edit(Edit::Restore { entity: Entity::commit(commits[0].row) });
    assert_eq!(lab.commit(commits[1].row).dir_name, "mine");
    let restored = lab.commit(commits[0].row);
    assert!(restored.dir_name.ends_with(&format!("_mine_{}", restored.id.short())), "{}", restored.dir_name);
    lab.seen();
}

#[test]
fn a_generated_name_that_another_typed_meanwhile_is_made_longer() {
    let lab = Lab::with(&[session("boats", 1), session("boats", 2)]);
    let commits = lab.commits();
    lab.edit(delete(Entity::commit(commits[0].row)));
    lab.edit(rename(&commits[1], &commits[0].dir_name));
    assert_eq!(lab.commit(commits[1].row).dir_name, commits[0].dir_name);
    lab.edit(Edit::Restore { entity: Entity::commit(commits[0].row) });
    let whole = commits[0].id.to_string().replace('-', "");
    assert!(lab.commit(commits[0].row).dir_name.ends_with(&whole));
    lab.seen();
}

#[test]
fn a_former_name_of_a_deleted_commit_leads_nowhere_and_on_again_when_it_is_back() {
    let lab = Lab::boats();
    let commit = lab.commits().remove(0);
    lab.edit(super::retitle(commit.row, "other"));
    let path = format!("projects/boats/{}", commit.dir_name);
    let is_found = || find(&cogfs::fs::CogFs::open(&lab.layout, "/mnt").unwrap(), &path).is_some();
    assert!(is_found());
    lab.edit(delete(Entity::commit(commit.row)));
    assert!(!is_found());
    lab.edit(Edit::Restore { entity: Entity::commit(commit.row) });
    assert!(is_found());
}

#[test]
fn what_is_emptied_out_of_the_trash_is_restored_all_the_same() {
    let lab = Lab::boats();
    let (commit, before) = (lab.commits().remove(0), lab.seen());
    lab.edit(delete(Entity::commit(commit.row)));
    let mut writer = lab.writer();
    let mut tx = writer.begin_urgent(Survives::Machine).unwrap();
    let trashed = trash::find(&tx, EntityKind::Commit, commit.row).unwrap().unwrap();
    trash::empty(&mut tx, &trashed).unwrap();
    tx.commit().unwrap();
    assert!(!lab.seen().keys().any(|path| path.starts_with("/.cogfs/trash/")));
    lab.edit(Edit::Restore { entity: Entity::commit(commit.row) });
    assert_eq!(lab.seen(), before);
}
