//! Each edit: the record, its line in the log, its entry in the queue, and the way back.

use cogfs::curation::{CurationError, Edit, Title};
use cogfs::store::EntityKind::{self, Project};
use serde_json::json;

use super::{Lab, find, rename, retitle, session};

#[test]
fn a_new_title_renames_the_directory_and_the_former_name_leads_on() {
    let lab = Lab::boats();
    let before = lab.commits().remove(0);
    let seq = lab.edit(retitle(before.row, "Ships & more"));
    let after = lab.commit(before.row);
    assert_eq!(after.title, "Ships & more");
    assert_eq!(after.dir_name, before.dir_name.replace("build-part-1", "ships-more"));
    assert!(after.curated_at.is_some());
    let fs = cogfs::fs::CogFs::open(&lab.layout, "/mnt").unwrap();
    let former = find(&fs, &format!("projects/boats/{}", before.dir_name)).expect("the former name is found");
    assert_eq!(String::from_utf8(fs.readlink(former).unwrap()).unwrap(), after.dir_name);
    assert_eq!(lab.paths(&before.dir_name), [""; 0], "and not listed");
    let logged = lab.logged(seq);
    assert_eq!((logged.action.as_str(), logged.origin.as_str()), ("retitle", "command"));
    assert_eq!((&logged.before["title"], &logged.after["title"]), (&json!(null), &json!("Ships & more")));
    assert_eq!(logged.before["name"], before.dir_name);
    lab.undo(seq);
    let undone = lab.commit(before.row);
    assert_eq!((undone.title, undone.dir_name, undone.link_name), (before.title, before.dir_name, before.link_name));
    assert_eq!(lab.waiting(EntityKind::Commit, before.row), None);
    // Whoever is on the way through what was the former name until now is to look again.
    let gone = cogfs::fs::CogFs::open(&lab.layout, "/mnt").unwrap().readlink(former).unwrap_err();
    assert_eq!(gone.errno(), libc::ESTALE, "{gone}");
}

#[test]
fn a_typed_name_is_the_directory_s_to_the_letter_and_leaves_no_former_one() {
    let lab = Lab::boats();
    let before = lab.commits().remove(0);
    let seq = lab.edit(rename(&before, "Größer: (2)"));
    let after = lab.commit(before.row);
    assert_eq!((after.dir_name.as_str(), after.link_name.as_str()), ("Größer: (2)", "Größer: (2)"));
    assert_eq!(after.title, "Größer: (2)");
    let fs = cogfs::fs::CogFs::open(&lab.layout, "/mnt").unwrap();
    assert_eq!(find(&fs, &format!("projects/boats/{}", before.dir_name)), None);
    lab.undo(seq);
    assert_eq!(lab.commit(before.row).dir_name, before.dir_name);
}

#[test]
fn a_name_that_says_no_other_title_is_not_queued() {
    let lab = Lab::boats();
    let commit = lab.commits().remove(0);
    let name = Edit::Retitle { commit: commit.row, title: Title::Found, name: Some("build-part-1".to_owned()) };
    let seq = lab.edit(name);
    assert_eq!(lab.waiting(EntityKind::Commit, commit.row), None, "names are this machine's alone");
    lab.edit(rename(&lab.commit(commit.row), "other"));
    assert!(matches!(lab.try_undo(seq), Err(CurationError::ChangedSince { .. })));
}

#[test]
fn two_commits_of_one_name_in_two_projects_have_links_of_two_names() {
    let lab = Lab::with(&[session("boats", 1), session("cars", 2)]);
    let commits = lab.commits();
    lab.edit(rename(&commits[0], "same"));
    lab.edit(rename(&commits[1], "same"));
    let (first, second) = (lab.commit(commits[0].row), lab.commit(commits[1].row));
    assert_eq!((first.dir_name.as_str(), second.dir_name.as_str()), ("same", "same"));
    assert_eq!((first.link_name.as_str(), second.link_name), ("same", format!("same_{}", second.id.short())));
    let cars = lab.project("cars");
    let refused = lab.try_edit(&[Edit::MoveToProject { commit: first.row, project: cars, name: None }]);
    assert!(matches!(refused, Err(CurationError::NameTaken { .. })), "{refused:?}");
    lab.seen();
}

#[test]
fn a_name_that_is_taken_or_reserved_changes_nothing() {
    let lab = Lab::with(&[session("boats", 1), session("boats", 2)]);
    let (commits, before) = (lab.commits(), lab.seen());
    for name in [commits[1].dir_name.as_str(), "latest", "hidden", "a/b", ""] {
        let edit = Edit::Retitle { commit: commits[0].row, title: Title::Found, name: Some(name.to_owned()) };
        assert!(lab.try_edit(&[edit]).is_err(), "{name:?}");
    }
    let edits = [retitle(commits[0].row, "lost"), rename(&commits[0], "latest")];
    assert!(lab.try_edit(&edits).is_err());
    assert_eq!(lab.seen(), before, "what came before the refused edit is taken back with it");
}

#[test]
fn marks_numbers_words_and_tags_are_set_logged_queued_and_undone() {
    let lab = Lab::boats();
    let (row, before) = (lab.commits()[0].row, lab.seen());
    let tags = vec!["Login".to_owned(), "needs review".to_owned()];
    let edits = [
        (Edit::SetHidden { commit: row, hidden: true }, "hidden", json!(false), json!(true)),
        (Edit::SetPublished { commit: row, published: true }, "published", json!(false), json!(true)),
        (Edit::Reorder { commit: row, order: -7 }, "order", json!(0), json!(-7)),
        (Edit::SetNote { commit: row, note: "Why.\n\nSo.".to_owned() }, "note", json!(""), json!("Why.\n\nSo.")),
        (Edit::SetTags { commit: row, tags: tags.clone() }, "tags", json!([]), json!(tags)),
    ];
    let mut made = Vec::new();
    for (edit, field, from, to) in edits {
        let seq = lab.edit(edit.clone());
        let logged = lab.logged(seq);
        assert_eq!((logged.action.as_str(), &logged.before, &logged.after), (field, &from, &to));
        let waiting = lab.waiting(EntityKind::Commit, row).unwrap();
        assert_eq!((&waiting.base[field], &waiting.fields[field]), (&from, &to));
        assert_eq!(lab.try_edit(&[edit]).unwrap(), [0_i64; 0], "once more changes nothing");
        made.push(seq);
    }
    assert_eq!(lab.waiting(EntityKind::Commit, row).unwrap().fields.len(), 5, "one entry a record");
    let dir = lab.commit(row).dir_name;
    let seen = lab.seen();
    let target = format!("../../../projects/boats/hidden/{dir}");
    for place in
        ["tag/Login", "tag/needs-review", "status/hidden", "status/published", "status/unsynced", "agent/claude-code"]
    {
        assert_eq!(seen.get(&format!("/by/{place}/{dir}")), Some(&target), "{place}");
    }
    assert!(!seen.contains_key(&format!("/projects/boats/{dir}")), "a hidden commit lies in hidden/");
    assert!(!seen.contains_key("/projects/boats/latest"));
    for seq in made.into_iter().rev() {
        lab.undo(seq);
    }
    assert_eq!(lab.seen(), before);
}

#[test]
fn edits_of_one_field_keep_the_first_base_and_the_way_back_empties_the_queue() {
    let lab = Lab::boats();
    let row = lab.commits()[0].row;
    lab.edit(Edit::Reorder { commit: row, order: 1 });
    lab.edit(Edit::Reorder { commit: row, order: 2 });
    let waiting = lab.waiting(EntityKind::Commit, row).unwrap();
    assert_eq!((&waiting.base["order"], &waiting.fields["order"]), (&json!(0), &json!(2)));
    lab.edit(Edit::SetPublished { commit: row, published: true });
    lab.edit(Edit::Reorder { commit: row, order: 0 });
    let waiting = lab.waiting(EntityKind::Commit, row).unwrap();
    assert_eq!(waiting.fields.keys().collect::<Vec<_>>(), ["published"]);
    assert_eq!(lab.paths(&format!("unsynced/{}", lab.commit(row).dir_name)).len(), 1);
    lab.edit(Edit::SetPublished { commit: row, published: false });
    assert_eq!(lab.waiting(EntityKind::Commit, row), None);
    assert_eq!(lab.paths("/by/status/unsynced"), [""; 0], "nothing waits, and the directory is gone");
}

#[test]
fn an_edit_is_undone_once_and_not_when_something_else_was_made_of_it() {
    let lab = Lab::boats();
    let row = lab.commits()[0].row;
    let first = lab.edit(retitle(row, "one"));
    let second = lab.edit(retitle(row, "two"));
    let refused = lab.try_undo(first).unwrap_err();
    assert!(matches!(refused, CurationError::ChangedSince { seq, by } if (seq, by) == (first, second)), "{refused}");
    let by = lab.undo(second);
    assert_eq!(lab.commit(row).title, "one");
    let refused = lab.try_undo(second).unwrap_err();
    assert!(matches!(refused, CurationError::UndoneAlready { seq, by: b } if (seq, b) == (second, by)), "{refused}");
    assert!(matches!(lab.try_undo(999), Err(CurationError::NoSuchEdit { seq: 999 })));
    lab.undo(first);
    assert_eq!(lab.commit(row).title, "Build part 1");
}

#[test]
fn an_undone_edit_that_is_made_again_by_an_undo_stands_before_the_ones_below_it() {
    let lab = Lab::boats();
    let row = lab.commits()[0].row;
    let first = lab.edit(retitle(row, "one"));
    let second = lab.edit(retitle(row, "two"));
    let undo = lab.undo(second);
    let redo = lab.undo(undo);
    assert_eq!(lab.commit(row).title, "two");
    assert_eq!(lab.logged(second).undone_by, None, "it holds again");
    assert_eq!(lab.logged(undo).undone_by, Some(redo));
    assert!(matches!(lab.try_undo(first), Err(CurationError::ChangedSince { .. })));
    lab.undo(second);
    lab.undo(first);
    assert_eq!(lab.commit(row).title, "Build part 1");
}

#[test]
fn a_commit_in_another_project_takes_its_links_by_file_along() {
    let lab = Lab::with(&[session("boats", 1), session("cars", 2)]);
    let (commit, before) = (lab.commits().remove(0), lab.seen());
    let cars = lab.project("cars");
    let seq = lab.edit(Edit::MoveToProject { commit: commit.row, project: cars, name: None });
    let (seen, dir) = (lab.seen(), &commit.dir_name);
    assert!(seen.contains_key(&format!("/projects/cars/{dir}/transcript.md")));
    assert_eq!(
        seen.get(&format!("/by/file/cars/src/1.rs/{dir}")),
        Some(&format!("../../../../../projects/cars/{dir}"))
    );
    assert!(!seen.keys().any(|path| path.starts_with("/by/file/boats")), "nothing is left of its files");
    assert_eq!(seen.get(&format!("/by/agent/claude-code/{dir}")), Some(&format!("../../../projects/cars/{dir}")));
    let waiting = lab.waiting(EntityKind::Commit, commit.row).unwrap();
    assert_eq!(waiting.fields.keys().collect::<Vec<_>>(), ["project"]);
    lab.undo(seq);
    assert_eq!(lab.seen(), before);
}

#[test]
fn a_project_is_renamed_and_called_as_before_again() {
    let lab = Lab::with(&[session("boats", 1), session("cars", 2)]);
    let before = lab.seen();
    let row = lab.project("boats");
    let refused = lab.try_edit(&[Edit::RenameProject { project: row, name: "cars".to_owned() }]);
    assert!(matches!(refused, Err(CurationError::NameTaken { .. })));
    let seq = lab.edit(Edit::RenameProject { project: row, name: "Big Boats".to_owned() });
    assert_eq!(lab.project("Big Boats"), row);
    assert_eq!(lab.waiting(Project, row).unwrap().fields["name"], "Big Boats");
    assert!(lab.seen().contains_key("/by/file/Big Boats/src/1.rs"));
    lab.undo(seq);
    assert_eq!(lab.seen(), before);
    assert_eq!(lab.waiting(Project, row), None);
}
