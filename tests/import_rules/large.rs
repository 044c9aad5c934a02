//! Records that are larger than a page, or than what is held in memory.

use cogfs::ingest::record::LONGEST_TEXT;
use std::fs;

use super::common::ClaudeLog;
use super::{Home, assert_same};

/// Mebibytes of a line that is parsed from its file.
const LARGE: usize = 9 << 19;

fn words(bytes: usize) -> String {
    (0..)
        .map(|n| format!("word {n}\n"))
        .scan(0, |sum, w| {
            (*sum < bytes).then(|| {
                *sum += w.len();
                w
            })
        })
        .collect()
}

#[test]
fn a_line_too_large_to_be_held_is_a_turn_like_any_other() {
    let text = words(LARGE);
    let mut log = ClaudeLog::new("large", 1);
    log.user("Print all words.").bash("cat words", &text).assistant("There they are.");
    let home = Home::new();
    let path = log.write(&home.logs());
    let summary = home.import(&path);
    assert!(summary.skipped.is_empty(), "{:?}", summary.skipped);
    assert_eq!(home.count("SELECT count(*) FROM turns"), 3);
    assert!(home.texts("SELECT tool_output FROM turns WHERE tool_name = 'Bash'") == [text], "the output is another");
    // The same again, behind what was read, and in a file that was read before.
    let whole = home.dump();
    assert!(whole.iter().any(|line| line.contains("word 350000")), "the raw records lack the end of the text");
    assert_eq!(home.import(&path).new_turns, 0);
    assert_same(&home.dump(), &whole, "a second import");
    let cut = Home::new();
    let path = cut.logs().join("grows.jsonl");
    for lines in [1, 3, log.lines.len()] {
        fs::write(&path, log.lines[..lines].join("\n") + "\n").unwrap();
        cut.import(&path);
    }
    assert_same(&cut.dump(), &whole, "a log that grew by a large line");
}

#[test]
fn a_large_line_that_is_cut_off_waits_for_its_rest() {
    let mut log = ClaudeLog::new("large", 2);
    log.user("Print all words.").bash("cat words", &words(LARGE)).assistant("There they are.");
    let whole = log.lines.join("\n") + "\n";
    let home = Home::new();
    let path = home.logs().join("grows.jsonl");
    fs::write(&path, &whole[..whole.len() - 2000]).unwrap();
    let summary = home.import(&path);
    assert_eq!((summary.unfinished, summary.skipped.len()), (1, 0));
    fs::write(&path, &whole).unwrap();
    home.import(&path);
    let at_once = Home::new();
    let path = log.write(&at_once.logs());
    at_once.import(&path);
    assert_same(&home.dump(), &at_once.dump(), "a large line that came in two pieces");
}

#[test]
fn a_large_damaged_line_costs_itself_and_its_bytes_are_kept() {
    let mut log = ClaudeLog::new("large", 3);
    log.user("Before.").bash("cat words", &words(LARGE)).assistant("Behind.");
    let last = log.lines.len() - 2;
    log.lines[last] = log.lines[last].replace("word 300000", "word \" 300000");
    let home = Home::new();
    let summary = home.import(&log.write(&home.logs()));
    assert!(!summary.skipped.is_empty() && summary.skipped.iter().all(|s| s.line == 3), "{:?}", summary.skipped);
    assert_eq!(home.texts("SELECT text FROM turns WHERE text <> ''"), ["Before.", "Behind."]);
    let bytes: usize = log.lines.iter().map(|line| line.len() + 1).sum();
    assert_eq!(home.count("SELECT raw_bytes FROM sessions"), bytes as i64, "the damaged line is not kept");
}

#[test]
fn a_text_too_long_for_a_page_ends_with_where_the_rest_stands() {
    let text = words(LONGEST_TEXT + 1000);
    let mut log = ClaudeLog::new("large", 4);
    log.user(&text);
    let home = Home::new();
    home.import(&log.write(&home.logs()));
    let stored = home.texts("SELECT text FROM turns").remove(0);
    let (kept, told) = stored.rsplit_once("\n\n[").expect("the text does not say that it was cut");
    assert!(kept.len() <= LONGEST_TEXT && text.starts_with(kept));
    assert_eq!(told, format!("{} more bytes of this text stand in raw.jsonl]", text.len() - kept.len()));
    assert_eq!(home.count("SELECT raw_bytes FROM sessions"), log.lines[0].len() as i64 + 1, "the record is kept whole");
}

#[test]
fn a_folder_with_a_name_of_a_megabyte_is_not_looked_for() {
    let mut log = ClaudeLog::new(&"deep/".repeat(200_000), 5);
    log.user("Where am I?");
    let home = Home::new();
    let path = home.logs().join("deep.jsonl");
    fs::write(&path, log.lines.join("\n")).unwrap();
    let began = std::time::Instant::now();
    home.import(&path);
    assert!(began.elapsed().as_secs() < 10, "{:?} for one line", began.elapsed());
    assert_eq!(home.count("SELECT count(*) FROM turns"), 1);
}
