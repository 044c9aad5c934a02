//! Parts of the program against the least the same work can take, as ratios within one run: `cargo bench --bench parts`.
//!
//! Each is run for a while and the median taken. No criterion: four numbers do not need one, and it is slow to build.

use std::hint::black_box;
use std::time::{Duration, Instant};

use cogfs::ingest::lines::{Lines, records};
use cogfs::model::{Millis, Role, Tool, ToolStatus, Turn};
use cogfs::render;
use cogfs::store::index::{Entry, TurnIndex};

const LEAST_TIME: Duration = Duration::from_millis(400);
const LEAST_RUNS: usize = 15;

/// The median time of one run.
fn time(mut work: impl FnMut()) -> Duration {
    work();
    let (start, mut times) = (Instant::now(), Vec::new());
    while times.len() < LEAST_RUNS || start.elapsed() < LEAST_TIME {
        let began = Instant::now();
        work();
        times.push(began.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2]
}

fn compare(what: &str, with: &str, ours: impl FnMut(), least: impl FnMut()) {
    let (ours, least) = (time(ours), time(least));
    let ratio = ours.as_secs_f64() / least.as_secs_f64();
    println!("| {what:<42} | {with:<38} | {ratio:>5.1} × | {ours:>10.1?} / {least:.1?} |");
}

/// Prose with a fence and some markup in it, as answers have.
fn prose(bytes: usize) -> String {
    let piece =
        "The query is lost when the cookie is set: `login` redirects before it is read.\n\n```rust\nlet a = b;\n```\n";
    piece.chars().cycle().take(bytes).collect()
}

fn turns(count: u32) -> Vec<Turn> {
    let turn = |number: u32| {
        let tool = number.is_multiple_of(3).then(|| Tool {
            name: "Bash".to_owned(),
            status: ToolStatus::Ok,
            input: r#"{"command":"cat src/login.rs | head -n 40","description":"Look"}"#.to_owned(),
            output: prose(1_200),
        });
        Turn {
            number,
            role: if tool.is_some() { Role::Tool } else { Role::Assistant },
            at: Millis(1_787_148_202_000 + i64::from(number) * 7_000),
            model: Some("claude-opus-4-5".to_owned()),
            text: if tool.is_some() { String::new() } else { prose(1_400) },
            label: None,
            tool,
            visuals: Vec::new(),
        }
    };
    (1..=count).map(turn).collect()
}

fn rendering() {
    let turns = turns(1_000);
    let mut out = Vec::new();
    let rendered: Vec<Vec<u8>> = turns
        .iter()
        .map(|turn| {
            let mut file = Vec::new();
            render::turn_file(&mut file, turn, "../../../visuals/");
            file
        })
        .collect();
    let mut copy = Vec::new();
    let mut copy_all = || {
        for file in &rendered {
            copy.clear();
            copy.extend_from_slice(black_box(file));
        }
    };
    let files = || {
        for turn in &turns {
            out.clear();
            render::turn_file(&mut out, black_box(turn), "../../../visuals/");
        }
    };
    compare("1,000 turns as files", "copying their bytes", files, &mut copy_all);
    let mut page = Vec::new();
    let sections = || {
        page.clear();
        for turn in &turns {
            render::section(&mut page, black_box(turn), "turns/", "../../visuals/");
        }
    };
    compare("1,000 turns as sections of a transcript", "copying their files' bytes", sections, &mut copy_all);
}

fn listing() {
    let mut index = TurnIndex::default();
    for number in 1..=10_000 {
        let role = if u32::is_multiple_of(number, 3) { Role::Tool } else { Role::Assistant };
        let tool_name = index.name_number("Bash");
        let at = Millis(i64::from(number));
        index.set(number, &Entry { role, visual_links: 0, tool_name, bytes: 1_500, at });
    }
    let slug = render::tool_slug("Bash");
    let name = |number: u32, entry: &Entry| {
        render::turn_file_name(number, entry.role, index.tool_name(entry).is_some().then_some(slug.as_str()))
    };
    let names: Vec<String> = (1..=10_000).filter_map(|n| index.get(n).map(|e| name(n, &e))).collect();
    let list = || {
        for number in 1..=black_box(&index).len() {
            if let Some(entry) = index.get(number) {
                black_box(name(number, &entry));
            }
        }
    };
    let clone = || {
        for name in black_box(&names) {
            black_box(name.clone());
        }
    };
    compare("listing a packed index of 10,000 turns", "copying the 10,000 names", list, clone);
}

fn parsing() {
    let line = |number: u32| {
        serde_json::json!({
            "type": "assistant", "uuid": format!("0000-{number}"), "timestamp": "2026-08-19T14:03:22.123Z",
            "message": { "role": "assistant", "content": [{ "type": "text", "text": prose(1_400) }] },
        })
    };
    let log: Vec<u8> = (0..2_000).flat_map(|number| format!("{}\n", line(number)).into_bytes()).collect();
    let ours = || {
        let mut lines = Lines::new(black_box(log.as_slice()), 0, 1);
        while let Ok(Some(line)) = lines.next() {
            black_box(records(line.bytes));
        }
    };
    let plain = || {
        for line in black_box(&log).split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let _ = black_box(serde_json::from_slice::<serde_json::Value>(line));
        }
    };
    compare("2,000 lines split, read, repaired", "splitting and serde_json alone", ours, plain);
}

fn main() {
    // `cargo test --all-targets` runs this too, without the argument: there is nothing to test.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    println!("| {:<42} | {:<38} | {:>7} | {:<20} |", "what", "against", "ratio", "times");
    println!("| {:-<42} | {:-<38} | {:->7} | {:-<20} |", "", "", "", "");
    rendering();
    listing();
    parsing();
}
