//! `cogfs fetch`, and pictures with `cogfs push`.

use std::fs;

use serde_json::json;

use crate::common::{Mount, turn_files};
use crate::needs_fuse;
use crate::stage::{Stage, log};

#[test]
fn what_was_fetched_is_read_without_a_network_and_not_fetched_again() {
    needs_fuse!();
    let stage = Stage::with(25);
    let fetched = stage.b.run(&["fetch", "--all", "--images", "--json"]).exits(0).json();
    assert_eq!((&fetched["sessions"], &fetched["pictures"]), (&json!(25), &json!(25)));
    assert!(fetched["bytes"].as_u64().unwrap() > 1000);
    assert_eq!(stage.fetches(), 2, "twenty sessions a request");
    let before = stage.requests();
    let again = stage.b.run(&["fetch", "--all", "--images", "--json"]).exits(0).json();
    assert_eq!((&again["sessions"], &again["pictures"]), (&json!(0), &json!(0)));
    stage.is_gone();
    let mount = Mount::new(&stage.b);
    for file in turn_files(mount.dir()) {
        assert!(!fs::read(file).unwrap().is_empty());
    }
    for file in crate::common::files_named(&mount.path("projects"), |name| name.ends_with(".png")) {
        assert!(!fs::read(file).unwrap().is_empty());
    }
    assert_eq!(stage.requests(), before);
}

#[test]
fn a_commit_or_a_project_is_fetched_alone_and_what_cannot_be_had_is_told() {
    let stage = Stage::with(3);
    assert!(stage.b.run(&["fetch", "ships"]).exits(1).stderr.contains("ships"));
    assert!(stage.b.run(&["fetch"]).exits(2).stderr.contains("ID|PROJECT"));
    let one = stage.cloud.rows().into_iter().find(|row| row.kind == cogfs::cloud::wire::Kind::Commit).unwrap().id;
    let fetched = stage.b.run(&["fetch", &one.to_string(), "--json"]).exits(0).json();
    assert_eq!((&fetched["sessions"], &fetched["pictures"]), (&json!(1), &json!(0)));
    stage.cloud.lose_everything();
    let lost = stage.b.run(&["fetch", "boats", "--json"]).exits(3).json();
    assert_eq!((lost["sessions"].as_u64(), lost["failed"].as_array().unwrap().len()), (Some(0), 2));
    stage.is_gone();
    stage.b.run(&["fetch", "boats"]).exits(5);
    fs::remove_file(crate::stage::session_file(&stage.b)).unwrap();
    stage.b.run(&["fetch", "boats"]).exits(4);
}

#[test]
fn what_is_exported_is_fetched_first_and_what_cannot_be_had_leaves_no_file() {
    let stage = Stage::with(3);
    let page = stage.b.root().join("boats");
    let folder = page.to_str().unwrap();
    stage.is_gone();
    let args = ["export", "boats", "--format", "html", "--output", folder];
    let refused = stage.b.run(&args).exits(5);
    assert!(refused.stderr.contains("Not exported: 3"), "{refused:?}");
    assert!(!page.exists(), "no empty file, and no folder for none");
    let one = stage.cloud.rows().into_iter().find(|row| row.kind == cogfs::cloud::wire::Kind::Commit).unwrap().id;
    assert_eq!(stage.b.run(&["export", &one.to_string()]).exits(5).stdout, "");
    stage.is_back();
    let told = stage.b.run(&[&args[..], &["--json"]].concat()).exits(0).json();
    assert_eq!((&told["exported"], &told["sessions"], &told["failed"]), (&json!(3), &json!(3), &json!([])));
    for file in crate::common::files(&page) {
        let text = fs::read_to_string(file).unwrap();
        assert!(text.contains("src=\"data:image/png;base64,") && text.contains("Answer 5 of "));
    }
    // It is here now.
    stage.is_gone();
    stage.b.run(&["export", &one.to_string()]).exits(0);
}

#[test]
fn pictures_are_stored_before_the_facts_that_name_them_and_once() {
    let stage = Stage::with(2);
    assert_eq!(stage.cloud.objects().len(), 2);
    let order: Vec<String> = stage.double.asked().iter().map(|asked| asked.path.clone()).collect();
    let stored = order.iter().rposition(|path| path.starts_with("/storage/")).unwrap();
    let told = stage.double.asked().iter().position(|asked| {
        asked.path.contains("/sync_push") && String::from_utf8_lossy(&asked.body).contains("\"visuals\":[{")
    });
    assert!(stored < told.expect("facts with pictures"), "{order:?}");
    let uploads = stage.double.count("/storage/");
    let mut grown = log(1, 1);
    let before = grown.lines.len();
    grown.user("One more").assistant("Yes.");
    grown.append(&stage.a.logs(), before);
    stage.a.import(&[&stage.a.logs()]);
    let pushed = stage.a.run(&["push", "--json"]).exits(0).json();
    assert!(pushed["pushed"].as_u64().unwrap() > 0);
    assert_eq!(pushed["pictures"]["sent"], 0);
    assert_eq!(stage.double.count("/storage/"), uploads);
}

#[test]
fn a_picture_that_is_gone_or_not_taken_holds_nothing_up_and_is_told_and_one_that_must_not_leave_stays() {
    let stage = Stage::with(1);
    for number in [2, 3] {
        log(number, 1).write(&stage.a.logs());
    }
    stage.a.import(&[&stage.a.logs()]);
    let sha256 = cogfs::store::visuals::digest(&crate::stage::picture_bytes(2, 1));
    let blob = cogfs::store::Layout::new(stage.a.home().join("data")).blob(&sha256);
    let bytes = fs::read(&blob).unwrap();
    fs::remove_file(&blob).unwrap();
    stage.cloud.refuse_pictures(true);
    let ran = stage.a.run(&["push"]).exits(3);
    assert!(
        ran.stdout.contains("1 picture not sent") && ran.stdout.contains("does not take 1 picture"),
        "{}",
        ran.stdout
    );
    assert_eq!(stage.cloud.objects().len(), 1);
    stage.cloud.refuse_pictures(false);
    stage.a.run(&["push"]).exits(0);
    assert_eq!(stage.cloud.objects().len(), 1, "it is not tried again by itself");
    fs::write(&blob, &bytes).unwrap();
    let retried = stage.a.run(&["push", "--retry", "--json"]).exits(0).json();
    assert_eq!(retried["pictures"]["sent"], 2);
    assert_eq!(stage.cloud.objects().len(), 3);
    stage.a.run(&["project", "disable", "boats"]).exits(0);
    log(4, 1).write(&stage.a.logs());
    stage.a.import(&[&stage.a.logs()]);
    stage.a.run(&["push", "--force"]).exits(0);
    assert_eq!(stage.cloud.objects().len(), 3);
}
