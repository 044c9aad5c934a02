//! What a typed name says. Pure.

use unicode_normalization::UnicodeNormalization;

use super::CurationError;
use crate::model::Commit;
use crate::render;
use crate::store::commits::curated::Title;

/// The longest name, in bytes.
const NAME_BYTES: usize = 255;

/// Names in a project's directory that are no commit's.
const RESERVED: [&str; 3] = ["project.json", "latest", "hidden"];

/// Holds that a name may be a directory's.
///
/// # Errors
/// When it may not, with the reason.
pub fn check(name: &str) -> Result<(), CurationError> {
    let refuse = |reason: &str| Err(CurationError::Invalid { reason: format!("{name:?} cannot be a name: {reason}") });
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return refuse("it is empty, or has a slash in it");
    }
    if name.len() > NAME_BYTES {
        return refuse("it is longer than 255 bytes");
    }
    if name.chars().any(char::is_control) {
        return refuse("there is a control character in it");
    }
    if name.starts_with('.') {
        return refuse("names with a dot in front are left to programs' own files");
    }
    if RESERVED.contains(&name) {
        return refuse("it is the name of a file of every project");
    }
    Ok(())
}

/// The title that a commit gets by a name typed for it: the name without the time in front and the id behind, if they are
/// still there. `None`: the title stays, because the name says no other.
#[must_use]
pub fn title(commit: &Commit, name: &str) -> Option<Title> {
    let text = without_id(commit, without_time(name)).trim();
    let slug = render::slug(&commit.title, 80);
    let is_same = text == commit.title || text.nfc().eq(slug.nfc()) || (slug.is_empty() && text == "untitled");
    (!is_same && !text.is_empty()).then(|| Title::User(text.to_owned()))
}

/// Without `2026-08-19T14-03-22Z_` in front.
fn without_time(name: &str) -> &str {
    const PATTERN: &[u8] = b"0000-00-00T00-00-00Z_";
    let fits = |(byte, pattern): (&u8, &u8)| if *pattern == b'0' { byte.is_ascii_digit() } else { byte == pattern };
    match name.as_bytes().get(..PATTERN.len()) {
        Some(front) if front.iter().zip(PATTERN).all(fits) => &name[PATTERN.len()..],
        _ => name,
    }
}

/// Without `_7f3a9c` behind, if that is the beginning of the commit's id.
fn without_id<'a>(commit: &Commit, name: &'a str) -> &'a str {
    let id = commit.id.to_string().replace('-', "");
    match name.rsplit_once('_') {
        Some((front, digits)) if digits.len() >= 6 && id.starts_with(digits) => front,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::testing;

    fn commit(title: &str) -> Commit {
        Commit { title: title.to_owned(), ..testing::commit() }
    }

    #[test]
    fn a_typed_name_is_the_title_without_the_time_and_the_id() {
        let commit = commit("Fix login redirect");
        let id = commit.id.short();
        let user = |text: &str| Some(Title::User(text.to_owned()));
        assert_eq!(title(&commit, "New words"), user("New words"));
        assert_eq!(title(&commit, &format!("2026-08-19T14-03-22Z_new_{id}")), user("new"));
        assert_eq!(title(&commit, &format!("new_{id}")), user("new"));
        assert_eq!(title(&commit, "new_abcdef"), user("new_abcdef"), "another's id is part of the title");
        assert_eq!(title(&commit, &format!("2026-08-19T14-03-22Z_fix-login-redirect_{id}")), None);
        assert_eq!(title(&commit, "fix-login-redirect"), None, "the words are the same");
        assert_eq!(title(&commit, &format!("2026-08-19T14-03-22Z__{id}")), None, "no words at all");
    }

    #[test]
    fn names_that_programs_or_the_tree_use_are_refused() {
        for name in
            ["", ".", "..", "a/b", "a\nb", ".hidden", "latest", "project.json", "hidden", "x".repeat(256).as_str()]
        {
            assert!(check(name).is_err(), "{name:?}");
        }
        for name in ["a", "Ärger mit Umlauten (2)", "x".repeat(255).as_str(), "-x", "a.b"] {
            assert!(check(name).is_ok(), "{name:?}");
        }
    }
}
