//! What is done to a mount: operations as data, so that a sequence can be done again and made shorter, and their generator.

use super::model::Model;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Replace,
    NoReplace,
    Exchange,
}

/// How an editor saves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Truncates, then writes in two pieces: nano, `>`.
    InPlace,
    /// Writes over the old bytes, then cuts: `rsync --inplace`.
    WithoutTruncating,
    /// Makes a file beside it and renames that: `sed -i`, GLib.
    Rename,
    /// Moves the old one to `meta.md~` and makes a new one: vim, emacs.
    Backup,
    /// Removes it and makes a new one: `install`.
    Remove,
}

/// Bytes that a failure prints as text.
#[derive(Clone, PartialEq)]
pub struct Text(pub Vec<u8>);

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    Create {
        path: String,
        exclusive: bool,
    },
    Mkdir {
        path: String,
    },
    Symlink {
        path: String,
    },
    Unlink {
        path: String,
    },
    Rmdir {
        path: String,
    },
    RemoveTree {
        path: String,
    },
    Rename {
        from: String,
        to: String,
        mode: Mode,
    },
    Write {
        path: String,
        offset: usize,
        bytes: Text,
    },
    Truncate {
        path: String,
        size: usize,
    },
    Fsync {
        path: String,
    },
    FsyncDir {
        path: String,
    },
    Save {
        dir: String,
        how: How,
        text: Text,
        fresh: bool,
        sync: bool,
    },
    Open {
        path: String,
    },
    WriteOpen {
        handle: usize,
        offset: usize,
        bytes: Text,
    },
    Close {
        handle: usize,
    },
    /// Nothing is done for so long.
    Quiet {
        for_ms: u64,
    },
    /// The mount ends and begins again.
    Remount,
    /// The process dies and another one mounts.
    Kill,
    Control {
        line: String,
    },
    /// This growing log, by its number, has a turn more.
    Import {
        log: usize,
    },
    /// The kernel forgets what it does not hold.
    Forget,
}

/// A small generator of numbers: the same for a seed on every machine (xorshift64*).
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let random = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(random).unwrap() % n
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

const SCRATCH_NAMES: [&str; 10] =
    [".meta.md.swp", "4913", "meta.md~", "meta.md.new", ".#meta.md", "a", "b", "d", "Ä (2)", "meta.md"];
const TYPED_NAMES: [&str; 12] = [
    "New words",
    "shop",
    "boats",
    "Zwölf Boote",
    "x y",
    "latest",
    "hidden",
    ".dot",
    "ctrl\u{7}",
    "untitled",
    "B",
    "project.json",
];
const TITLES: [&str; 7] = ["One", "Another title", "42", "Größe", "a: b # c", "", "One"];
const QUIETS: [u64; 5] = [1_000, 1_000, 3_500, 7_000, 700_000];

/// What the mount of a test can do.
#[derive(Debug, Clone, Copy)]
pub struct Can {
    /// Time can be made up, and the kernel be made to forget.
    pub wait: bool,
    pub logs: usize,
}

pub fn next(dice: &mut Dice, model: &Model, can: Can) -> Op {
    let mut op = any(dice, model, can);
    // A name in the trash that is not modelled would come of it.
    while let Op::Unlink { path } | Op::RemoveTree { path } = &op
        && model.would_collide(path)
    {
        op = any(dice, model, can);
    }
    op
}

fn any(dice: &mut Dice, model: &Model, can: Can) -> Op {
    let (dirs, files) = model.dirs_and_files();
    let commits = model.commit_dirs();
    let dir = dice.of(&dirs).clone();
    let file = dice.of(&files).clone();
    let either = |dice: &mut Dice| if dice.one_in(2) { dice.of(&dirs).clone() } else { dice.of(&files).clone() };
    let commit = if commits.is_empty() { dir.clone() } else { dice.of(&commits).clone() };
    let scratch: Vec<&String> = files.iter().filter(|f| commits.iter().any(|c| is_directly(f, c))).collect();
    let beside = |dice: &mut Dice| {
        let base = if dice.one_in(3) { dir.clone() } else { commit.clone() };
        format!("{base}/{}", dice.of(&SCRATCH_NAMES))
    };
    let writable = |dice: &mut Dice| {
        if scratch.is_empty() || dice.one_in(5) { file.clone() } else { (*dice.of(&scratch)).clone() }
    };
    match dice.below(100) {
        0..6 => Op::Create { path: beside(dice), exclusive: dice.one_in(3) },
        6..9 => Op::Mkdir { path: beside(dice) },
        9..11 => Op::Symlink { path: beside(dice) },
        11..18 => Op::Unlink { path: if dice.one_in(3) { writable(dice) } else { either(dice) } },
        18..21 => Op::Rmdir { path: dir },
        21..24 => Op::RemoveTree { path: removable(dice, &dirs) },
        24..34 => scratch_rename(dice, &commit, beside, writable),
        34..48 => entity_rename(dice, model, &dirs, &files, &commits),
        48..52 => Op::Rename {
            from: either(dice),
            to: either(dice),
            mode: *dice.of(&[Mode::Replace, Mode::NoReplace, Mode::Exchange]),
        },
        52..58 => {
            let bytes = dice.of(&["x", "---\n", "---\ntitle: w\n---\n", "\nmore\n"]).as_bytes().to_vec();
            Op::Write { path: writable(dice), offset: *dice.of(&[0, 0, 1, 5, 40, 70_000]), bytes: Text(bytes) }
        }
        58..61 => Op::Truncate { path: writable(dice), size: *dice.of(&[0, 1, 30, 200, 1_048_577]) },
        61..64 => Op::Fsync { path: writable(dice) },
        64 => Op::FsyncDir { path: dir },
        65..80 => Op::Save {
            dir: commit,
            how: *dice.of(&[How::InPlace, How::WithoutTruncating, How::Rename, How::Backup, How::Remove]),
            text: document(dice, model),
            fresh: !dice.one_in(3),
            sync: !dice.one_in(3),
        },
        80..83 => Op::Open { path: writable(dice) },
        83..86 => Op::WriteOpen {
            handle: dice.below(4),
            offset: *dice.of(&[0, 3, 50]),
            bytes: Text(b"---\n---\nopen\n".to_vec()),
        },
        86 => Op::Close { handle: dice.below(4) },
        87..93 if can.wait => Op::Quiet { for_ms: *dice.of(&QUIETS) },
        93 => Op::Remount,
        94 => Op::Kill,
        95 => Op::Control { line: control(dice, &files, &dirs) },
        96..98 if can.logs > 0 => Op::Import { log: dice.below(can.logs) },
        98.. if can.wait => Op::Forget,
        _ => Op::Fsync { path: writable(dice) },
    }
}

fn is_directly(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir).and_then(|rest| rest.strip_prefix('/')).is_some_and(|rest| !rest.contains("sessions/"))
}

/// Large things seldom: nothing would be left.
fn removable(dice: &mut Dice, dirs: &[String]) -> String {
    let deep: Vec<&String> = dirs.iter().filter(|dir| dir.contains("/sessions/") || dir.contains("trash/")).collect();
    if deep.is_empty() || dice.one_in(4) { dice.of(dirs).clone() } else { (*dice.of(&deep)).clone() }
}

fn scratch_rename(
    dice: &mut Dice,
    commit: &str,
    beside: impl Fn(&mut Dice) -> String,
    writable: impl Fn(&mut Dice) -> String,
) -> Op {
    let mode = *dice.of(&[Mode::Replace, Mode::Replace, Mode::Replace, Mode::NoReplace, Mode::Exchange]);
    let from = writable(dice);
    let to = match dice.below(4) {
        0 => format!("{commit}/meta.md"),
        1 => from.rsplit_once('/').map_or_else(String::new, |(dir, _)| format!("{dir}/{}", dice.of(&SCRATCH_NAMES))),
        2 => writable(dice),
        _ => beside(dice),
    };
    Op::Rename { from, to, mode }
}

fn entity_rename(dice: &mut Dice, model: &Model, dirs: &[String], files: &[String], commits: &[String]) -> Op {
    let mode = *dice.of(&[Mode::Replace, Mode::Replace, Mode::NoReplace, Mode::NoReplace, Mode::Exchange]);
    let entities: Vec<&String> = dirs
        .iter()
        .chain(files)
        .filter(|p| p.contains("/turns/") || p.contains("/sessions/") || p.contains("rash"))
        .collect();
    let from = match dice.below(5) {
        0 if !entities.is_empty() => (*dice.of(&entities)).clone(),
        1 => format!("projects/{}", dice.of(&model.projects)),
        _ if commits.is_empty() => "projects".to_owned(),
        _ => dice.of(commits).clone(),
    };
    let own = from.rsplit_once('/').map_or("", |(_, name)| name).to_owned();
    let is_whole = commits.contains(&from) || model.projects.iter().any(|p| from == format!("projects/{p}"));
    let trash = |dice: &mut Dice| if dice.one_in(2) { model.roots()[1].clone() } else { model.roots()[3].clone() };
    let project = dice.of(&model.projects).clone();
    let dir = match dice.below(6) {
        0 => trash(dice),
        1 => format!("projects/{project}/hidden"),
        2 => from.rsplit_once('/').map_or("", |(dir, _)| dir).to_owned(),
        3 => dice.of(dirs).clone(),
        _ => format!("projects/{project}"),
    };
    let name = match dice.below(4) {
        0 | 1 => own,
        // Names of turns and sessions in the trash that others have are not modelled.
        _ if !is_whole => format!("n{}", dice.below(1_000_000)),
        2 => dice.of(&TYPED_NAMES).to_string(),
        _ => dice.of(dirs).rsplit_once('/').map_or("x", |(_, name)| name).to_owned(),
    };
    Op::Rename { from, to: format!("{dir}/{name}"), mode }
}

fn control(dice: &mut Dice, files: &[String], dirs: &[String]) -> String {
    let trashed: Vec<&str> = dirs
        .iter()
        .chain(files)
        .filter_map(|p| p.strip_prefix(".cogfs/trash/"))
        .filter(|p| !p.contains('/') && !p.contains(' '))
        .collect();
    match dice.below(4) {
        0 => "refresh".to_owned(),
        1 => "sync now".to_owned(),
        _ if trashed.is_empty() => "dance".to_owned(),
        _ => format!("restore {}", dice.of(&trashed)),
    }
}

/// A document: whole ones, some with a part of the fields, and what an interrupted or careless save leaves.
fn document(dice: &mut Dice, model: &Model) -> Text {
    let mut text = String::from("---\n");
    if dice.one_in(2) {
        let title = match dice.below(5) {
            0 => "null".to_owned(),
            _ => serde_json::to_string(dice.of(&TITLES)).unwrap(),
        };
        text.push_str(&format!("title: {title}\n"));
    }
    if dice.one_in(3) {
        text.push_str(dice.of::<&str>(&[
            "tags: [a, b]\n",
            "tags:\n  - a\n",
            "tags: null\n",
            "tags: x, y\n",
            "tags: []\n",
        ]));
    }
    for (key, values) in
        [("hidden", ["true", "no", "~"]), ("published", ["yes", "false", "null"]), ("order", ["3", "-7", ""])]
    {
        if dice.one_in(4) {
            text.push_str(&format!("{key}: {}\n", dice.of(&values)));
        }
    }
    if dice.one_in(4) {
        let project = if dice.one_in(5) { "no such project" } else { dice.of(&model.projects).as_str() };
        text.push_str(&format!("project: {}\n", serde_json::to_string(project).unwrap()));
    }
    text.push_str("---\n");
    text.push_str(dice.of::<&str>(&["", "\nA note.\n", "A note\nof two lines\n\n", "\n---\nnot the end\n"]));
    let mut bytes = text.into_bytes();
    match dice.below(14) {
        0 => bytes.truncate(dice.below(bytes.len())),
        1 => bytes.extend(*dice.of(&[b"\0\0\0", b"\xff\xfe!"])),
        2 => bytes = b"---\ncolour: red\n---\n".to_vec(),
        3 => bytes = b"no front matter\n".to_vec(),
        4 => bytes.splice(0..0, *b"\xef\xbb\xbf").for_each(drop),
        _ => {}
    }
    Text(bytes)
}
