//! What holds many conversations: exports of ChatGPT and Claude.ai, Cursor's databases, Antigravity's folder. Branches lose
//! nothing, a larger export brings what is new alone, damage costs itself, and no secret of a database is taken.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use cogfs::ingest::Format;
use rusqlite::Connection;
use serde_json::{Value, json};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::common;
use super::{Home, assert_same, fixture};

const FEED: &str = "SELECT coalesce(max(seq), 0) FROM changes";
const BOATS: &str = "c4a70001-0000-4000-8000-000000000001";
const TOLD: &str = "SELECT printf('%s %s %s', s.native_id, t.role, coalesce(nullif(t.text, ''), t.tool_name))
    FROM turns t JOIN sessions s ON s.row = t.row >> 16 ORDER BY t.row";

/// A folder as the archive that a service sends.
fn archived(folder: &Path, to: &Path) -> PathBuf {
    let mut archive = ZipWriter::new(File::create(to).unwrap());
    for path in common::files(folder) {
        let name = format!("export-2026/{}", path.strip_prefix(folder).unwrap().display());
        archive.start_file(name, SimpleFileOptions::default()).unwrap();
        archive.write_all(&fs::read(path).unwrap()).unwrap();
    }
    archive.finish().unwrap();
    to.to_owned()
}

fn texts_of(home: &Home, session: &str) -> Vec<String> {
    home.texts(&format!(
        "SELECT t.text || coalesce(t.tool_name || ': ' || t.tool_input || ' = ' || t.tool_output, '')
         FROM turns t JOIN sessions s ON s.row = t.row >> 16 WHERE s.native_id = '{session}' ORDER BY t.row"
    ))
}

#[test]
fn an_export_is_the_same_as_an_archive_and_as_a_folder_and_whichever_comes_first() {
    for (name, format) in [("chatgpt", Format::ChatGpt), ("claude-ai", Format::ClaudeAi)] {
        let folder = Home::with(&[&fixture(name)]);
        let archive = Home::new();
        let zip = archived(&fixture(name), &archive.logs().join("export.zip"));
        let summary = archive.import_from(format, &zip);
        assert!(summary.skipped.is_empty(), "{:?}", summary.skipped);
        assert_same(&archive.dump(), &folder.dump(), name);
        let feed = archive.count(FEED);
        archive.import_from(format, &fixture(name));
        archive.import_from(format, &zip);
        assert_same(&archive.dump(), &folder.dump(), "the folder beside its archive");
        assert_eq!(archive.count(FEED), feed, "nothing is announced");
    }
}

#[test]
fn every_branch_of_a_conversation_is_told_in_the_order_it_was_tried() {
    let home = Home::with(&[&fixture("chatgpt")]);
    assert_eq!(
        texts_of(&home, BOATS),
        [
            "Keeps a small harbour.\n\nShort answers, please.",
            "moorings.csv (text/csv)",
            "How many boats are in this picture?",
            "I see four boats.",
            "Another branch of the conversation: what follows goes on from “How many boats are in this picture?”.",
            "There are five: one is behind the crane.",
            "Draw how many there were each month. \u{e200}cite\u{e201}",
            "Choosing a chart\n\nBars are easier to read than lines here.",
            "Thought for 2 seconds",
            "python: print(sum([3, 5, 4])) = 12\n",
            "python:  = plotted",
            "Twelve boats in three months.",
            "A kind of content that nobody knows.",
            "Another branch of the conversation: what follows goes on from “There are five: one is behind the crane”.",
            "Forget the chart: just the sum, as JSON.",
            "browser.search: {\"query\":\"sum of boats\"} = Timeout\n\nthe page did not answer",
            "{\"boats\": 12}",
        ]
    );
    let status = "SELECT tool_status FROM turns WHERE tool_name = 'browser.search'";
    assert_eq!(home.count(status), 2, "what failed is told so");
    assert_eq!(home.count("SELECT count(*) FROM visuals"), 2, "the picture that was shown, and the one that was drawn");
    assert_eq!(home.count("SELECT count(*) FROM turns WHERE role = 1"), 4, "prompts");
    let models = "SELECT DISTINCT model FROM turns WHERE model IS NOT NULL ORDER BY model";
    assert_eq!(home.texts(models), ["gpt-4", "gpt-5"]);
    assert_eq!(
        home.texts("SELECT name FROM projects ORDER BY name"),
        ["ChatGPT", "ChatGPT b0a7b0a7"],
        "a project of ChatGPT's is one here"
    );
    assert_eq!(
        home.texts("SELECT title FROM cognitive_commits ORDER BY title"),
        ["Boats in the harbour", "New chat"],
        "a conversation in which nobody speaks is none"
    );
}

#[test]
fn claude_ais_messages_are_told_block_by_block_and_its_projects_have_their_documents() {
    let home = Home::with(&[&fixture("claude-ai")]);
    assert_eq!(
        texts_of(&home, "c1a10001-0000-4000-8000-000000000001"),
        [
            "knots.txt\n\nbowline\nclove hitch",
            "quay.jpg",
            "Which knot holds a dinghy best?",
            "The list names two of them.",
            "web_search: {\"query\":\"bowline or clove hitch\"} = Knots\nhttps://knots.example\nA bowline does not slip.",
            "A bowline.",
            "A block that nobody knows.",
            "And in a storm?",
            "Two lines, both doubled.",
            "Another branch of the conversation: what follows goes on from “A bowline”.",
            "And in a calm?",
            "Any knot will do.",
        ]
    );
    assert_eq!(
        texts_of(&home, "c1a10002-0000-4000-8000-000000000002"),
        ["An old message without blocks.", "And an old answer."]
    );
    assert_eq!(
        texts_of(&home, "project-9e0a0001-0000-4000-8000-000000000001"),
        [
            "What a harbour master must know.",
            "Answer like an old sailor.",
            "moorings.md\n\n# Moorings\n\nSeven, and two for guests."
        ]
    );
    assert_eq!(home.texts("SELECT name FROM projects ORDER BY name"), ["Claude.ai", "Harbour handbook"]);
}

#[test]
fn a_later_export_brings_what_is_new_alone_and_an_earlier_one_takes_nothing_back() {
    let home = Home::new();
    let path = home.logs().join("conversations.json");
    let mut all: Vec<Value> =
        serde_json::from_slice(&fs::read(fixture("chatgpt/conversations.json")).unwrap()).unwrap();
    fs::write(&path, json!(all).to_string()).unwrap();
    home.import(&path);
    let before = home.texts(TOLD);
    // Goes on from an answer in the middle.
    let boats = &mut all[0];
    boats["title"] = json!("Boats, counted");
    boats["update_time"] = json!(1_788_260_000.5);
    boats["mapping"]["a1"]["children"] = json!(["late"]);
    boats["mapping"]["late"] = json!({"id": "late", "parent": "a1", "children": [], "message": {
        "id": "late", "author": {"role": "user"}, "create_time": 1_788_259_000.0, "recipient": "all", "metadata": {},
        "content": {"content_type": "text", "parts": ["Are you sure about four?"]}}});
    let later = home.logs().join("later.json");
    fs::write(&later, json!(all).to_string()).unwrap();
    home.import(&later);
    let after = home.texts(TOLD);
    let new: Vec<&String> = after.iter().filter(|line| !before.contains(line)).collect();
    assert_eq!(new.len(), 2, "the branch and the prompt: {new:#?}");
    assert!(before.iter().all(|line| after.contains(line)));
    let titles = home.texts("SELECT title FROM cognitive_commits ORDER BY title");
    assert_eq!(titles, ["Boats, counted", "New chat"]);
    // The earlier one again, under another name.
    let again = home.logs().join("again.json");
    fs::copy(&path, &again).unwrap();
    home.import(&again);
    assert_eq!(home.texts(TOLD), after);
    assert_eq!(home.texts("SELECT title FROM cognitive_commits ORDER BY title"), titles);
}

#[test]
fn a_damaged_conversation_costs_itself_and_is_named() {
    let home = Home::new();
    let text = fs::read_to_string(fixture("chatgpt/conversations.json")).unwrap();
    let path = home.logs().join("conversations.json");
    // A word that is none, in the first of three.
    fs::write(&path, text.replacen("\"title\": \"Boats", "\"title\": oops \"Boats", 1)).unwrap();
    let summary = home.import(&path);
    assert_eq!(summary.skipped.len(), 1, "{:?}", summary.skipped);
    assert!(
        summary.skipped[0].file.ends_with("conversations.json#conversation 1 (at byte 1)"),
        "{:?}",
        summary.skipped
    );
    assert_eq!(home.texts("SELECT title FROM cognitive_commits"), ["New chat"]);
    // Cut off in the middle of the second.
    let cut = home.logs().join("cut.json");
    let at = text.find("high tide").unwrap();
    fs::write(&cut, &text[..at]).unwrap();
    let summary = home.import(&cut);
    assert!(summary.skipped[0].reason.contains("it is not whole"), "{:?}", summary.skipped);
    assert_eq!(home.count("SELECT count(*) FROM cognitive_commits"), 2, "what was there before it is kept");
}

#[test]
fn what_is_of_another_format_than_was_asked_for_is_left_alone_and_told() {
    let home = Home::new();
    let summary = home.import_from(Format::ClaudeAi, &fixture("chatgpt/conversations.json"));
    assert!(summary.skipped[0].reason.contains("it is of ChatGPT"), "{:?}", summary.skipped);
    let summary = home.import_from(Format::ClaudeAi, &fixture("chatgpt"));
    assert!(summary.skipped.is_empty() && summary.other_files > 0, "{summary:?}");
    assert_eq!(home.count("SELECT count(*) FROM sessions"), 0);
}

// --- Cursor ------------------------------------------------------------------------------------------------------------

/// Cursor's folder: the database of all workspaces, one of a workspace, and tokens that must stay where they are.
fn cursor(dir: &Path) -> PathBuf {
    let (all, one) = (dir.join("User/globalStorage"), dir.join("User/workspaceStorage/0a1b2c"));
    let database = |folder: &Path| {
        fs::create_dir_all(folder).unwrap();
        let conn = Connection::open(folder.join("state.vscdb")).unwrap();
        conn.execute_batch(
            "CREATE TABLE ItemTable (key TEXT UNIQUE ON CONFLICT REPLACE, value BLOB);
             CREATE TABLE cursorDiskKV (key TEXT UNIQUE ON CONFLICT REPLACE, value BLOB);
             INSERT INTO ItemTable VALUES ('cursorAuth/accessToken', 'TOKEN-THAT-MUST-STAY');
             INSERT INTO ItemTable VALUES ('secret://login', 'TOKEN-THAT-MUST-STAY');
             INSERT INTO cursorDiskKV VALUES ('checkpointId:x', 'TOKEN-THAT-MUST-STAY');",
        )
        .unwrap();
        conn
    };
    let put = |conn: &Connection, table: &str, key: &str, value: &Value| {
        conn.execute(&format!("INSERT INTO {table} VALUES (?1, ?2)"), (key, value.to_string())).unwrap();
    };
    let conn = database(&all);
    put(
        &conn,
        "cursorDiskKV",
        "composerData:c0a70001",
        &json!({
        "_v": 10, "composerId": "c0a70001", "name": "Buoys on the map", "createdAt": 1_788_500_000_000_i64,
        "lastUpdatedAt": 1_788_500_090_000_i64, "modelConfig": {"modelName": "gpt-5-codex"},
        "speculativeSummarizationEncryptionKey": "TOKEN-THAT-MUST-STAY",
        "fullConversationHeadersOnly": [{"bubbleId": "b1", "type": 1}, {"bubbleId": "b2", "type": 2},
            {"bubbleId": "b3", "type": 2}, {"bubbleId": "gone", "type": 2}]}),
    );
    put(
        &conn,
        "cursorDiskKV",
        "bubbleId:c0a70001:b3",
        &json!({"_v": 3, "type": 2, "bubbleId": "b3", "text": "",
        "toolFormerData": {"toolCallId": "call_1", "name": "run_terminal_cmd", "status": "completed",
            "rawArgs": "{\"command\":\"git commit -am buoys\"}",
            "result": "{\"output\":\"[main 7b0a7b0] Draw the buoys\\n 1 file changed\"}"}}),
    );
    put(
        &conn,
        "cursorDiskKV",
        "bubbleId:c0a70001:b1",
        &json!({"_v": 3, "type": 1, "bubbleId": "b1",
        "text": "Draw the buoys on the map.", "createdAt": "2026-09-04T05:33:21.000Z"}),
    );
    put(
        &conn,
        "cursorDiskKV",
        "bubbleId:c0a70001:b2",
        &json!({"_v": 3, "type": 2, "bubbleId": "b2",
        "text": "I draw them where they swim.", "thinking": {"text": "Red ones first."},
        "tokenCount": {"inputTokens": 900, "outputTokens": 40}}),
    );
    let conn = database(&one);
    fs::write(one.join("workspace.json"), r#"{"folder": "file:///w/sea%20map"}"#).unwrap();
    put(
        &conn,
        "ItemTable",
        "composer.composerData",
        &json!({"allComposers": [{"composerId": "c0a70001"},
        {"composerId": "c0a70002", "name": "", "createdAt": 1_731_784_818_255_i64, "conversation": [
            {"type": 1, "bubbleId": "d1", "text": "Which scale has the map?"},
            {"type": 2, "bubbleId": "d2", "text": "One to ten thousand.", "codeBlocks": [
                {"uri": {"fsPath": "/w/sea map/scale.ts", "external": "file:///w/sea%20map/scale.ts"}, "version": 0}]}],
         "codeBlockData": {"file:///w/sea%20map/scale.ts": [{"content": "export const SCALE = 1e4;"}]}}]}),
    );
    put(
        &conn,
        "ItemTable",
        "workbench.panel.aichat.view.aichat.chatdata",
        &json!({"tabs": [{"tabId": "t0a70003",
        "chatTitle": "Colours of buoys", "lastSendTime": 1_731_818_231_743_i64, "bubbles": [
            {"type": "user", "id": "u1", "text": "Why are buoys red?"},
            {"type": "ai", "id": "u2", "rawText": "To be seen.", "modelType": "claude-3.5-sonnet"}]}]}),
    );
    put(
        &conn,
        "ItemTable",
        "aiService.prompts",
        &json!([{"text": "Why are buoys red?", "commandType": 2},
        {"text": "A prompt whose chat is gone", "commandType": 4}]),
    );
    dir.join("User")
}

#[test]
fn cursors_conversations_of_both_generations_are_read_and_its_tokens_are_not() {
    let home = Home::new();
    let folder = cursor(&home.logs());
    let before: Vec<Vec<u8>> = common::files(&folder).iter().map(|path| fs::read(path).unwrap()).collect();
    let summary = home.import_from(Format::Cursor, &folder);
    assert!(summary.skipped.is_empty(), "{:?}", summary.skipped);
    assert_eq!(
        texts_of(&home, "c0a70001"),
        [
            "Draw the buoys on the map.",
            "Red ones first.",
            "I draw them where they swim.",
            "run_terminal_cmd: {\"command\":\"git commit -am buoys\"} = [main 7b0a7b0] Draw the buoys\n 1 file changed",
        ]
    );
    assert_eq!(home.texts("SELECT hash FROM git_commits"), ["7b0a7b0"]);
    assert_eq!(
        texts_of(&home, "c0a70002"),
        [
            "Which scale has the map?",
            "One to ten thousand.",
            "edit_file: {\"content\":\"export const SCALE = 1e4;\",\"target_file\":\"/w/sea map/scale.ts\"} = ",
        ]
    );
    assert_eq!(texts_of(&home, "t0a70003"), ["Why are buoys red?", "To be seen."]);
    assert_eq!(texts_of(&home, "prompts-0a1b2c"), ["A prompt whose chat is gone"]);
    assert_eq!(home.texts("SELECT name FROM projects"), ["sea map"], "by the workspace's folder, in both databases");
    let secret = |path: &PathBuf| memchr::memmem::find(&fs::read(path).unwrap(), b"TOKEN-THAT-MUST-STAY").is_some();
    assert!(!home.dump().iter().any(|line| line.contains("TOKEN-THAT-MUST-STAY")), "a token was taken");
    let ours = home.layout().database().parent().unwrap().to_owned();
    assert!(!common::files(&ours).iter().any(secret), "a token was copied");
    let after: Vec<Vec<u8>> = common::files(&folder).iter().map(|path| fs::read(path).unwrap()).collect();
    assert_eq!(after, before, "nothing was written to Cursor's folder, or beside its databases");

    let (dump, feed) = (home.dump(), home.count(FEED));
    home.import_from(Format::Cursor, &folder);
    assert_same(&home.dump(), &dump, "a second import");
    assert_eq!(home.count(FEED), feed);
}

#[test]
fn what_cursor_has_in_its_write_ahead_log_is_read_while_it_runs() {
    let home = Home::new();
    let folder = cursor(&home.logs());
    let conn = Connection::open(folder.join("globalStorage/state.vscdb")).unwrap();
    conn.pragma_update(None, "journal_mode", "wal").unwrap();
    conn.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    home.import_from(Format::Cursor, &folder);
    let bubble = json!({"type": 1, "bubbleId": "b9", "text": "And the lighthouse?"});
    conn.execute("INSERT INTO cursorDiskKV VALUES ('bubbleId:c0a70001:b9', ?1)", [bubble.to_string()]).unwrap();
    conn.execute(
        "UPDATE cursorDiskKV SET value = json_insert(value, '$.fullConversationHeadersOnly[#]', json('{\"bubbleId\":\"b9\"}'))
         WHERE key = 'composerData:c0a70001'",
        [],
    )
    .unwrap();
    home.import_from(Format::Cursor, &folder);
    assert_eq!(texts_of(&home, "c0a70001").last().unwrap(), "And the lighthouse?");
    assert_eq!(texts_of(&home, "c0a70001").len(), 5, "and nothing twice");
}

// --- Antigravity -------------------------------------------------------------------------------------------------------

const BUOYS: &str = "a9700001-0000-4000-8000-000000000001";

/// A field of a protobuf message.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

/// A step: its kind, a time, and a text two messages deep.
fn step(kind: u8, seconds: u64, text: &str) -> Vec<u8> {
    let mut time = vec![1 << 3];
    let mut rest = seconds;
    while rest >= 0x80 {
        time.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    time.push(rest as u8);
    let inner = field(2, &[field(1, text.as_bytes()), field(9, b"8f1e2d3c-opaque-id")].concat());
    [vec![1 << 3, kind], field(5, &field(1, &time)), field(12, &inner)].concat()
}

#[test]
fn of_antigravity_is_read_what_can_be_and_told_what_cannot() {
    let home = Home::new();
    let folder = home.logs().join("antigravity");
    common::must(std::process::Command::new("cp").arg("-r").arg(fixture("antigravity")).arg(&folder));
    let conversations = folder.join("conversations");
    fs::create_dir(&conversations).unwrap();
    let conn = Connection::open(conversations.join(format!("{BUOYS}.db"))).unwrap();
    conn.execute_batch("CREATE TABLE steps (idx INTEGER, step_type INTEGER, step_payload BLOB)").unwrap();
    for (n, payload) in [
        step(14, 1_788_426_000, "Paint the buoys red, please."),
        step(15, 1_788_426_010, "Both buoys are red now."),
        step(99, 1_788_426_011, "ran: brush --colour red"),
        b"\xff\xff no message".to_vec(),
    ]
    .into_iter()
    .enumerate()
    {
        conn.execute("INSERT INTO steps VALUES (?1, 0, ?2)", (n, payload)).unwrap();
    }
    drop(conn);
    fs::write(conversations.join("a9700003-0000-4000-8000-000000000003.pb"), b"\x8a\x01encrypted").unwrap();
    let summary = home.import_from(Format::Antigravity, &home.logs());
    assert_eq!(summary.skipped.len(), 1, "{:?}", summary.skipped);
    assert!(summary.skipped[0].reason.contains("it is encrypted"), "{:?}", summary.skipped);
    assert_eq!(
        texts_of(&home, BUOYS),
        [
            "Paint the buoys red, please.",
            "Both buoys are red now.",
            "ran: brush --colour red",
            "task.md\n\nTwo buoys, one brush.\n\n# Task\n\n- [x] Paint the buoys red\n- [ ] Count them\n",
            "How many are there now?",
        ]
    );
    assert_eq!(home.texts("SELECT name FROM projects"), ["buoys"]);
    let raw = home.raw(BUOYS);
    assert_eq!(raw.matches("step_payload").count(), 4, "every step is kept, read or not");
    let dump = home.dump();
    home.import_from(Format::Antigravity, &home.logs());
    assert_same(&home.dump(), &dump, "a second import");
}
