//! `meta.md`: a commit's curated fields as YAML front matter, with its note below.

use crate::model::Commit;

/// Renders `meta.md`. `project_dir_name` is the directory the commit lies in.
#[must_use]
pub fn meta_md(commit: &Commit, project_dir_name: &str) -> String {
    let tags = commit.tags.iter().map(|tag| quoted(tag)).collect::<Vec<_>>().join(", ");
    let mut text = format!(
        "---\ntitle: {}\ntags: [{tags}]\nhidden: {}\npublished: {}\norder: {}\nproject: {}\n---\n",
        quoted(&commit.title),
        commit.hidden,
        commit.published,
        commit.display_order,
        quoted(project_dir_name),
    );
    if !commit.note.is_empty() {
        text.push('\n');
        text.push_str(&commit.note);
        if !commit.note.ends_with('\n') {
            text.push('\n');
        }
    }
    text
}

/// The text in double quotes, as both JSON and YAML read it. YAML wants more escaped than JSON: its line breaks (NEL, LS, PS),
/// control characters beyond ASCII, and the byte order mark (YAML 1.2.2, section 5.1).
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::testing, *};

    #[test]
    fn meta_md_reads_well() {
        insta::assert_snapshot!(meta_md(&testing::commit(), "shop"));
    }

    #[test]
    fn without_a_note_the_file_ends_with_the_front_matter() {
        let commit = Commit { note: String::new(), tags: Vec::new(), ..testing::commit() };
        let text = meta_md(&commit, "shop");
        assert!(text.contains("\ntags: []\n"), "{text}");
        assert!(text.ends_with("\nproject: \"shop\"\n---\n"), "{text}");
    }

    proptest! {
        #[test]
        fn any_title_is_one_quoted_line_that_reads_back(title in any::<String>()) {
            let text = quoted(&title);
            let breaks = |c: char| c.is_control() || ['\u{2028}', '\u{2029}', '\u{feff}'].contains(&c);
            prop_assert!(!text.contains(breaks), "{}", text);
            prop_assert_eq!(serde_json::from_str::<String>(&text).expect("valid JSON"), title);
        }
    }
}
