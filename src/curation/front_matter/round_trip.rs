//! What was rendered is read as it was, and what was read is rendered as it was; whatever the input.

use proptest::prelude::*;

use super::*;
use crate::{
    model::Commit,
    render::{self, testing},
};

fn accepted(text: &str) -> Document {
    parse(text.as_bytes()).unwrap_or_else(|refusal| panic!("refused: {refusal}\n{text}"))
}

/// What a document says of a commit that is like `testing::commit` where it is silent.
fn apply(document: &Document) -> (Commit, String) {
    fn value<T: Clone + Default>(field: &Field<T>, absent: T) -> T {
        match field {
            Field::Absent => absent,
            Field::Cleared => T::default(),
            Field::Set(value) => value.clone(),
        }
    }
    let commit = testing::commit();
    let project = document.project.clone().unwrap_or_else(|| "shop".to_owned());
    let commit = Commit {
        title: value(&document.title, commit.title.clone()),
        tags: value(&document.tags, commit.tags.clone()),
        hidden: value(&document.hidden, commit.hidden),
        published: value(&document.published, commit.published),
        display_order: value(&document.order, commit.display_order),
        note: document.note.clone(),
        ..commit
    };
    (commit, project)
}

/// What the rendering of a commit says, with its note as `parse` leaves notes.
fn said_of(commit: &Commit, project: &str) -> Document {
    Document {
        title: if commit.title.is_empty() { Field::Cleared } else { Field::Set(commit.title.clone()) },
        tags: Field::Set(commit.tags.clone()),
        hidden: Field::Set(commit.hidden),
        published: Field::Set(commit.published),
        order: Field::Set(commit.display_order),
        project: Some(project.to_owned()),
        note: commit.note.trim_end_matches(['\r', '\n']).to_owned(),
    }
}

#[test]
fn every_character_of_a_title_and_a_tag_survives_the_rendering() {
    let all: Vec<char> = (char::MIN..=char::MAX).collect();
    let in_titles: Vec<char> = all.iter().copied().filter(|c| !matches!(c, '\n' | '\r')).collect();
    for piece in in_titles.chunks(998) {
        let title = format!("x{}x", piece.iter().collect::<String>());
        let commit = Commit { title: title.clone(), ..testing::commit() };
        assert_eq!(accepted(&render::meta_md(&commit, "shop")).title, Field::Set(title));
    }
    let in_tags: Vec<char> = all.into_iter().filter(|c| !c.is_control()).collect();
    let every: Vec<String> =
        in_tags.chunks(98).map(|piece| format!("x{}x", piece.iter().collect::<String>())).collect();
    for piece in every.chunks(100) {
        let commit = Commit { tags: piece.to_vec(), ..testing::commit() };
        assert_eq!(accepted(&render::meta_md(&commit, "shop")).tags, Field::Set(piece.to_vec()));
    }
}

/// Keys with pieces of YAML in any order behind: sometimes read, mostly refused, and close to what is read.
fn soup() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec!["title", "tags", "hidden", "published", "order", "project", "# "]);
    let field = (key, pieces()).prop_map(|(key, value)| format!("{key}: {value}\n"));
    prop_oneof![4 => prop::collection::vec(field, 1..4).prop_map(|fields| fields.concat()), 1 => pieces()]
}

fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "title: ",
            "tags: ",
            "hidden: ",
            "order: ",
            "project: ",
            "true",
            "null",
            "7",
            "a",
            "é",
            "🎉",
            "\n",
            "\n  ",
            "\n- ",
            "- ",
            "[",
            "]",
            "{",
            "}",
            ", ",
            ": ",
            "\"",
            "'",
            "\\",
            "\\n",
            "#",
            " #",
            "|",
            ">",
            "|\n  ",
            "&a",
            "*a",
            "!",
            "!!",
            "%",
            "? ",
            "\t",
            "\r\n",
            "\r",
            "---",
            "...",
            "\n---\n",
            "\u{feff}",
            "\u{85}",
            "\u{2028}",
            "\u{1}",
            "@",
            "`",
            "-",
            " ",
            "<<: ",
        ])
        .prop_map(str::to_owned),
        "[a-z \n]{0,6}",
        testing::any_chars(),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn a_rendered_file_says_what_the_commit_is((commit, project) in testing::any_commit()) {
        let commit = Commit { note: commit.note.replace('\0', ""), ..commit };
        prop_assert_eq!(parse(render::meta_md(&commit, &project).as_bytes()), Ok(said_of(&commit, &project)));
    }

    #[test]
    fn a_note_that_was_read_once_stays_as_it_is(below in testing::text(), first in prop::sample::select(vec!["\n", "\r\n"])) {
        let text = format!("---{first}---{first}{}", below.replace('\0', ""));
        let commit = Commit { note: accepted(&text).note, ..testing::commit() };
        let rendered = render::meta_md(&commit, "shop");
        let again = accepted(&rendered).note;
        prop_assert_eq!(&again, &commit.note);
        prop_assert_eq!(render::meta_md(&Commit { note: again, ..commit }, "shop"), rendered);
    }

    #[test]
    fn a_cut_file_is_refused_or_has_all_fields_and_the_beginning_of_the_note((commit, project) in testing::any_commit(), cut in any::<prop::sample::Index>()) {
        let commit = Commit { note: commit.note.replace('\0', ""), ..commit };
        let whole = render::meta_md(&commit, &project);
        if let Ok(document) = parse(&whole.as_bytes()[..cut.index(whole.len() + 1)]) {
            prop_assert!(commit.note.starts_with(&document.note));
            let whole = Document { note: document.note.clone(), ..said_of(&commit, &project) };
            prop_assert_eq!(document, whole);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
        let _ = parse(&[b"---\n", &bytes[..], b"\n---\n"].concat());
    }

    #[test]
    fn any_yaml_is_refused_with_a_line_of_it_or_read_as_it_is_rendered_again(yaml in soup()) {
        let text = format!("---\n{yaml}\n---\n\nNote.\n");
        match parse(text.as_bytes()) {
            Ok(document) => {
                let (commit, project) = apply(&document);
                let rendered = accepted(&render::meta_md(&commit, &project));
                prop_assert_eq!(rendered, said_of(&commit, &project));
            }
            Err(refusal) => {
                prop_assert!((1..=text.lines().count()).contains(&refusal.line), "{}", refusal);
                prop_assert!(!refusal.reason.contains(char::is_control), "{}", refusal);
            }
        }
    }
}
