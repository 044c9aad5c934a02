//! The names of generated files and directories: at most 255 bytes, no `:`, never a leading dot or dash.
//!
//! Letters of every script stay, in NFC, so that a name typed on a keyboard is the name on disk.

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

use crate::model::{Agent, Id, Millis, Role};

/// The longest slug of a commit's title.
const TITLE_BYTES: usize = 80;
/// The longest slug of a tool's name or a subagent's type.
const KIND_BYTES: usize = 60;
/// The longest project directory's name; leaves room for what tells two projects of one name apart.
const PROJECT_BYTES: usize = 120;

/// The longest name a kernel takes.
const NAME_BYTES: usize = 255;

/// `0001-user.md`, `0003-tool-bash.md`; five digits from 10000 on. `tool_slug` is that of [`tool_slug`].
#[must_use]
pub fn turn_file_name(number: u32, role: Role, tool_slug: Option<&str>) -> String {
    // A listing makes one for each of its entries: put together, which takes a third of what formatting takes.
    let number = number.to_string();
    let zeros = "0000".get(number.len()..).unwrap_or_default();
    match tool_slug {
        Some(slug) => [zeros, &number, "-", role.as_str(), "-", slug, ".md"].concat(),
        None => [zeros, &number, "-", role.as_str(), ".md"].concat(),
    }
}

/// Lower-case letters and digits, all else as single dashes; at most `max_bytes`, cut at a word's end where one is near.
/// Empty when the text holds no letter or digit.
#[must_use]
pub fn slug(text: &str, max_bytes: usize) -> String {
    let text: String = text.nfc().flat_map(char::to_lowercase).nfc().collect();
    dashed(&text, max_bytes, |_| false)
}

/// A tool's name in a turn's file name: `mcp__playwright__browser_click` is `mcp-playwright-browser-click`.
#[must_use]
pub fn tool_slug(name: &str) -> String {
    or(slug(name, KIND_BYTES), "tool")
}

/// `2026-08-19T14-03-22Z_fix-login-redirect_7f3a9c`.
#[must_use]
pub fn commit_dir_name(started: Millis, title: &str, short_id: &str) -> String {
    format!("{}_{}_{short_id}", started.file_name(), or(slug(title, TITLE_BYTES), "untitled"))
}

/// `01_claude-code_c41d20`.
#[must_use]
pub fn session_dir_name(ordinal: u32, agent: Agent, short_id: &str) -> String {
    format!("{ordinal:02}_{}_{short_id}", agent.slug())
}

/// `01_general-purpose_a2271d`; a subagent of no known type is a `subagent`.
#[must_use]
pub fn subagent_dir_name(ordinal: u32, kind: Option<&str>, short_id: &str) -> String {
    format!("{ordinal:02}_{}_{short_id}", or(slug(kind.unwrap_or_default(), KIND_BYTES), "subagent"))
}

/// `0001_2026-08-19T14-05-10Z.png`. `extension` is that of [`mime_extension`].
#[must_use]
pub fn visual_file_name(ordinal: u32, at: Millis, extension: &str) -> String {
    format!("{ordinal:04}_{}.{extension}", at.file_name())
}

/// A project's directory: its name with case, dots and underscores kept.
#[must_use]
pub fn project_dir_name(name: &str) -> String {
    let name: String = name.nfc().collect();
    or(dashed(&name, PROJECT_BYTES, |c| c == '.' || c == '_'), "project")
}

/// A model's directory in a view: its name with case, dots and underscores kept.
#[must_use]
pub fn model_dir_name(name: &str) -> String {
    let name: String = name.nfc().collect();
    or(dashed(&name, PROJECT_BYTES, |c| c == '.' || c == '_'), "model")
}

/// A tag's directory in a view: its name with case, dots and underscores kept.
#[must_use]
pub fn tag_dir_name(tag: &str) -> String {
    let tag: String = tag.nfc().collect();
    or(dashed(&tag, PROJECT_BYTES, |c| c == '.' || c == '_'), "tag")
}

/// A machine's directory in a view: its name without the domain.
#[must_use]
pub fn machine_dir_name(host: &str) -> String {
    or(slug(host.split('.').next().unwrap_or_default(), KIND_BYTES), "machine")
}

/// A part of a file's path as a directory in a view: as it is, in NFC, control characters as `_`; one too long for a name is
/// cut, with what tells it from others behind. `None` for what names no file.
#[must_use]
pub fn path_part_name(part: &str) -> Option<String> {
    if matches!(part, "" | "." | "..") || part.contains('/') {
        return None;
    }
    let name: String = part.nfc().map(|c| if c.is_control() { '_' } else { c }).collect();
    if name.len() <= NAME_BYTES {
        return Some(name);
    }
    let id = Id::derive(&[b"path", name.as_bytes()]).short();
    let end = (0..=NAME_BYTES - id.len() - 1).rev().find(|&i| name.is_char_boundary(i)).unwrap_or(0);
    Some(format!("{}_{id}", &name[..end]))
}

/// The file name extension of a picture of this type.
#[must_use]
pub fn mime_extension(mime: &str) -> &'static str {
    let essence = mime.split(';').next().unwrap_or_default().trim();
    match essence.to_ascii_lowercase().as_str() {
        "image/png" => "png",
        "image/jpeg" | "image/jpg" | "image/pjpeg" => "jpg",
        "image/gif" => "gif",
        "image/webp" => "webp",
        "image/svg+xml" => "svg",
        "image/bmp" | "image/x-ms-bmp" => "bmp",
        "image/tiff" => "tiff",
        "image/avif" => "avif",
        "image/heic" => "heic",
        "image/heif" => "heif",
        "image/x-icon" | "image/vnd.microsoft.icon" => "ico",
        "application/pdf" => "pdf",
        _ => "bin",
    }
}

fn or(text: String, default: &str) -> String {
    if text.is_empty() { default.to_owned() } else { text }
}

/// Keeps letters, digits, their combining marks and what `also` says; each run of anything else becomes one dash.
fn dashed(text: &str, max_bytes: usize, also: fn(char) -> bool) -> String {
    let mut name = String::with_capacity(text.len().min(max_bytes + 4));
    let mut gap = false;
    let mut truncated = false;
    for c in text.chars() {
        // A mark belongs to the letter before it (Devanagari's virama is no letter); alone it would be an odd name.
        let mark = is_combining_mark(c) && !gap && !name.is_empty();
        if !(c.is_alphanumeric() && !is_combining_mark(c) || mark || also(c)) {
            gap = true;
            continue;
        }
        if name.is_empty() && c == '.' {
            continue;
        }
        if gap && !name.is_empty() {
            name.push('-');
        }
        gap = false;
        name.push(c);
        if name.len() > max_bytes {
            truncated = true;
            break;
        }
    }
    if truncated {
        cut(&mut name, max_bytes);
    }
    name.truncate(name.trim_end_matches(['-', '.']).len());
    name
}

/// Shortens to `max_bytes`: at a word's end in the second half, else at a character's.
fn cut(name: &mut String, max_bytes: usize) {
    let end = (0..=max_bytes.min(name.len())).rev().find(|&i| name.is_char_boundary(i)).unwrap_or(0);
    let word_ended = name[end..].starts_with('-');
    name.truncate(end);
    if let (false, Some(word_end)) = (word_ended, name.rfind('-'))
        && word_end >= max_bytes / 2
    {
        name.truncate(word_end);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT: Millis = Millis(1_787_148_202_000);

    #[test]
    fn turn_files_are_numbered_with_four_digits_and_five_from_10000_on() {
        assert_eq!(turn_file_name(1, Role::User, None), "0001-user.md");
        assert_eq!(turn_file_name(3, Role::Tool, Some("bash")), "0003-tool-bash.md");
        assert_eq!(turn_file_name(9999, Role::Thinking, None), "9999-thinking.md");
        assert_eq!(turn_file_name(10_000, Role::Assistant, None), "10000-assistant.md");
    }

    #[test]
    fn a_slug_keeps_letters_of_every_script_in_nfc_and_lower_case() {
        assert_eq!(slug("Fix: login/redirect (again!)", 80), "fix-login-redirect-again");
        assert_eq!(slug("Cafe\u{301} ÄÖÜ", 80), "café-äöü");
        assert_eq!(slug("修正 ログイン 1", 80), "修正-ログイン-1");
        assert_eq!(slug("हिन्दी", 80), "हिन्दी");
        assert_eq!(slug("🎉 --- ...", 80), "");
        assert_eq!(slug("..hidden", 80), "hidden");
    }

    #[test]
    fn a_long_slug_ends_with_a_word_where_one_ends_near() {
        assert_eq!(slug("alpha beta gamma", 10), "alpha-beta");
        assert_eq!(slug("alpha beta gamma", 12), "alpha-beta");
        assert_eq!(slug("alpha beta gamma", 15), "alpha-beta");
        assert_eq!(slug("a bbbbbbbbbbbbbbbbbbbbbb", 10), "a-bbbbbbbb");
        assert_eq!(slug("éééé", 5), "éé");
    }

    #[test]
    fn tool_names_become_slugs() {
        assert_eq!(tool_slug("mcp__playwright__browser_click"), "mcp-playwright-browser-click");
        assert_eq!(tool_slug("Bash"), "bash");
        assert_eq!(tool_slug(""), "tool");
    }

    #[test]
    fn directories_and_visuals_are_named_as_documented() {
        assert_eq!(
            commit_dir_name(AT, "Fix login redirect", "7f3a9c"),
            "2026-08-19T14-03-22Z_fix-login-redirect_7f3a9c"
        );
        assert_eq!(commit_dir_name(AT, "???", "7f3a9c"), "2026-08-19T14-03-22Z_untitled_7f3a9c");
        assert_eq!(session_dir_name(1, Agent::ClaudeCode, "c41d20"), "01_claude-code_c41d20");
        assert_eq!(subagent_dir_name(2, Some("general-purpose"), "a2271d"), "02_general-purpose_a2271d");
        assert_eq!(subagent_dir_name(12, None, "a2271d"), "12_subagent_a2271d");
        assert_eq!(visual_file_name(1, AT, mime_extension("image/png")), "0001_2026-08-19T14-03-22Z.png");
        assert_eq!(mime_extension("IMAGE/JPEG; q=1"), "jpg");
        assert_eq!(mime_extension("text/x-unknown"), "bin");
    }

    #[test]
    fn a_projects_directory_keeps_case_dots_and_underscores_but_never_leads_with_a_dot() {
        assert_eq!(project_dir_name("My_Project.js"), "My_Project.js");
        assert_eq!(project_dir_name(".dotfiles"), "dotfiles");
        assert_eq!(project_dir_name("..//-x"), "x");
        assert_eq!(project_dir_name("-.-"), "project");
        assert_eq!(project_dir_name("owner/name: a fork"), "owner-name-a-fork");
    }

    #[test]
    fn models_and_machines_have_directories_of_their_names() {
        assert_eq!(model_dir_name("gpt-5.1-codex"), "gpt-5.1-codex");
        assert_eq!(model_dir_name("anthropic/claude-opus-4-5"), "anthropic-claude-opus-4-5");
        assert_eq!(model_dir_name("???"), "model");
        assert_eq!(machine_dir_name("Mira-Laptop.local"), "mira-laptop");
        assert_eq!(machine_dir_name(""), "machine");
    }

    #[test]
    fn a_part_of_a_path_stays_as_it_is_as_far_as_a_name_may() {
        for part in [".github", "-x", "Größe (1).txt", "…", "a:b"] {
            assert_eq!(path_part_name(part).as_deref(), Some(part));
        }
        assert_eq!(path_part_name("cafe\u{301}").as_deref(), Some("café"));
        assert_eq!(path_part_name("a\0b\n").as_deref(), Some("a_b_"));
        for nothing in ["", ".", "..", "a/b"] {
            assert_eq!(path_part_name(nothing), None, "{nothing:?}");
        }
        let (long, other) = ("é".repeat(200), format!("{}x", "é".repeat(200)));
        let (long, other) = (path_part_name(&long).unwrap(), path_part_name(&other).unwrap());
        assert!(long.len() <= 255 && other.len() <= 255 && long != other, "{long} {other}");
    }

    fn assert_file_name(name: &str) {
        assert!(!name.is_empty() && name.len() <= 255, "length of {name:?}");
        assert!(!name.starts_with(['.', '-']), "start of {name:?}");
        assert!(!name.ends_with(['.', '-', ' ']), "end of {name:?}");
        assert!(!name.contains([':', '/', '\0', '\n', ' ', '(', ')', '<', '>']), "characters of {name:?}");
        assert!(!name.contains("--"), "dashes of {name:?}");
        assert_eq!(name.nfc().collect::<String>(), name, "NFC");
    }

    proptest! {
        #[test]
        fn every_text_gives_a_valid_name(text in "\\PC{0,120}|[\\x00-\\x7f]{0,300}", max in 1usize..100) {
            for name in [
                commit_dir_name(AT, &text, "7f3a9c"),
                subagent_dir_name(1, Some(&text), "7f3a9c"),
                project_dir_name(&text),
                tool_slug(&text),
                turn_file_name(1, Role::Tool, Some(&tool_slug(&text))),
            ] {
                assert_file_name(&name);
            }
            let name = slug(&text, max);
            prop_assert!(name.len() <= max);
            if !name.is_empty() {
                assert_file_name(&name);
            }
            prop_assert_eq!(&slug(&name, max), &name, "a slug's slug is itself");
        }
    }
}
