//! A rule a test, with the messages of what is refused.

use std::time::{Duration, Instant};

use super::*;

/// A file with these fields and the note "Note.".
fn file(fields: &str) -> String {
    format!("---\n{fields}\n---\n\nNote.\n")
}

fn accepted(text: &str) -> Document {
    parse(text.as_bytes()).unwrap_or_else(|refusal| panic!("refused: {refusal}\n{text}"))
}

fn fields(fields: &str) -> Document {
    accepted(&file(fields))
}

#[track_caller]
fn refused(bytes: impl AsRef<[u8]>) -> String {
    match parse(bytes.as_ref()) {
        Ok(document) => panic!("accepted: {document:?}"),
        Err(refusal) => refusal.to_string(),
    }
}

#[track_caller]
fn fields_refused(fields: &str, message: &str) {
    assert_eq!(refused(file(fields)), message, "{fields}");
}

fn set(text: &str) -> Field<String> {
    Field::Set(text.to_owned())
}

fn tags(tags: &[&str]) -> Field<Vec<String>> {
    Field::Set(tags.iter().map(|tag| (*tag).to_owned()).collect())
}

#[test]
fn an_edited_file_says_what_is_in_it() {
    let text = "---\ntitle: Login keeps the query\ntags: [login, \"needs: review\"]\nhidden: true\npublished: false\norder: -3\n\
                project: shop\n---\n\nThe cookie was it.\n\n---\nAnd *so* on.\n";
    assert_eq!(
        accepted(text),
        Document {
            title: set("Login keeps the query"),
            tags: tags(&["login", "needs: review"]),
            hidden: Field::Set(true),
            published: Field::Set(false),
            order: Field::Set(-3),
            project: Some("shop".to_owned()),
            note: "The cookie was it.\n\n---\nAnd *so* on.".to_owned(),
        }
    );
}

#[test]
fn an_absent_key_is_told_from_one_that_is_cleared() {
    assert_eq!(fields(""), Document { note: "Note.".to_owned(), ..Document::default() });
    assert_eq!(accepted("---\n---"), Document::default());
    assert_eq!(fields("# a comment alone"), fields(""));
    assert_eq!(fields("{}"), fields(""));
    for null in ["", " null", " ~", " Null", " NULL"] {
        let document = fields(&format!("title:{null}\ntags:{null}\nhidden:{null}\npublished:{null}\norder:{null}"));
        assert_eq!(document.title, Field::Cleared, "{null}");
        assert_eq!(document.tags, Field::Cleared, "{null}");
        assert_eq!(document.hidden, Field::Cleared, "{null}");
        assert_eq!(document.published, Field::Cleared, "{null}");
        assert_eq!(document.order, Field::Cleared, "{null}");
        assert_eq!(document.project, None);
    }
}

#[test]
fn a_title_is_the_text_that_was_typed() {
    for title in ["42", "2024 plan", "yes", "true", "1.50", "0x1F", "2024-08-19", "C#", "a:b", "it's", "nullable", "🎉"]
    {
        assert_eq!(fields(&format!("title: {title}")).title, set(title));
    }
    assert_eq!(fields("title: \"null\"").title, set("null"));
    assert_eq!(fields("title: '~'").title, set("~"));
    assert_eq!(fields("title: 'it''s'").title, set("it's"));
    assert_eq!(fields("title: \"Fix #42\" # a comment").title, set("Fix #42"));
    assert_eq!(fields("title: \"  blanks around  \"").title, set("blanks around"));
    assert_eq!(fields("title: one\n  line").title, set("one line"));
    assert_eq!(fields("title: >\n  one\n  line").title, set("one line"));
    assert_eq!(fields("\"title\": quoted key").title, set("quoted key"));
}

#[test]
fn a_title_of_nothing_is_cleared() {
    assert_eq!(fields("title: \"\"").title, Field::Cleared);
    assert_eq!(fields("title: '  '").title, Field::Cleared);
}

#[test]
fn a_title_of_several_lines_is_refused() {
    let message = "`title` is one line of text: write further lines below, in the note";
    fields_refused("title: |\n  one\n  two", &format!("line 3: {message}"));
    fields_refused("title: \"one\\ntwo\"", &format!("line 2: {message}"));
    fields_refused("title: \"one\\rtwo\"", &format!("line 2: {message}"));
    fields_refused("title: one\n\n  two", &format!("line 2: {message}"));
}

#[test]
fn a_title_has_1000_characters_at_most() {
    let title = "é".repeat(1_000);
    assert_eq!(fields(&format!("title: {title}")).title, set(&title));
    fields_refused(
        &format!("tags: []\ntitle: {title}x"),
        "line 3: `title` has 1001 characters: shorten it to 1000, and write the rest in the note",
    );
}

#[test]
fn a_title_that_is_no_text_is_refused() {
    fields_refused(
        "title: [WIP] login",
        "line 2: `title` is one line of text, not a list: put a text with brackets or a colon in it in double quotes",
    );
    fields_refused(
        "title:\n  a: b",
        "line 3: `title` is one line of text, not a mapping: put a text with brackets or a colon in it in double quotes",
    );
}

#[test]
fn a_text_that_a_comment_would_cut_is_refused() {
    let message = |line, key| {
        format!(
            "line {line}: the `#` behind `{key}` begins a comment in YAML: put the text in double quotes if the `#` belongs to it, \
             else delete the comment"
        )
    };
    fields_refused("title: Fix #42", &message(2, "title"));
    fields_refused("title: #42", &message(2, "title"));
    fields_refused("hidden: true\ntitle: naïve 🎉 #42\ntags: []", &message(3, "title"));
    fields_refused("title: one\n  line #42", &message(2, "title"));
    fields_refused("project: #shop", &message(2, "project"));
    fields_refused("tags: #urgent, #bug", &message(2, "tags"));
    fields_refused("tags: urgent, #bug", &message(2, "tags"));
    fields_refused("tags:\n- a\n- #bug\n- c", &message(4, "tags"));
    fields_refused("tags:\n- a\n- b #bug", &message(4, "tags"));
    fields_refused("tags: [a, #bug\n  c]", &message(2, "tags"));
}

#[test]
fn a_comment_that_cuts_no_text_is_passed_over() {
    let document = fields("# why\ntitle: C# and");
    assert_eq!(document.title, set("C# and"));
    let document =
        fields("# one\nhidden: true # two\ntags: # three\n  # four\n  - a\n  # five\n  - 'b' # six\norder: 1 # seven");
    assert_eq!((document.hidden, document.order), (Field::Set(true), Field::Set(1)));
    assert_eq!(document.tags, tags(&["a", "b"]));
}

#[test]
fn tags_are_a_list_or_words_between_commas() {
    assert_eq!(fields("tags: [login, 'a, b', 42]").tags, tags(&["login", "a, b", "42"]));
    assert_eq!(fields("tags:\n- login\n- null\n- true").tags, tags(&["login", "null", "true"]));
    assert_eq!(fields("tags:\n  - login\n  - two words").tags, tags(&["login", "two words"]));
    assert_eq!(fields("tags: login, two words,,").tags, tags(&["login", "two words"]));
    assert_eq!(fields("tags: \"login, bug\"").tags, tags(&["login", "bug"]));
    assert_eq!(fields("tags: []").tags, tags(&[]));
    assert_eq!(fields("tags: ''").tags, tags(&[]));
}

#[test]
fn empty_and_repeated_tags_are_dropped() {
    assert_eq!(fields("tags: [a, '', ' a ', \"\\tb\", ' ']").tags, tags(&["a", "b"]));
    assert_eq!(fields("tags:\n-\n- a\n-\n- a").tags, tags(&["a"]));
}

#[test]
fn tags_that_are_no_texts_are_refused() {
    let text = "a tag is text: put one with brackets or a colon in it in double quotes";
    fields_refused("tags: [needs: review]", &format!("line 2: {text}"));
    fields_refused("tags:\n- a\n- needs: review", &format!("line 4: {text}"));
    fields_refused("tags: [[a]]", &format!("line 2: {text}"));
    fields_refused("tags:\n  a: b", "line 3: `tags` is a list such as [login, bug], not a mapping");
}

#[test]
fn tags_have_no_control_characters_and_are_few_and_short() {
    fields_refused(
        "tags: [a, \"b\\e[1m\"]",
        "line 2: the tag `b\\u{1b}[1m` has a line break or another control character in it: write it without",
    );
    let tag = "é".repeat(100);
    assert_eq!(fields(&format!("tags: {tag}")).tags, tags(&[&tag]));
    fields_refused(
        &format!("tags:\n- a\n- {tag}x"),
        &format!("line 4: the tag `{}…` has 101 characters: shorten it to 100", "é".repeat(40)),
    );
    let list = |n: usize| (0..n).map(|i| format!("- t{i}\n")).collect::<String>();
    let document = fields(&format!("tags:\n{}- t0", list(100)));
    assert!(matches!(document.tags, Field::Set(tags) if tags.len() == 100));
    fields_refused(&format!("tags:\n{}", list(101)), "line 103: there are more than 100 tags: keep 100 of them");
}

#[test]
fn hidden_and_published_are_booleans_as_people_write_them() {
    for (text, value) in [("true", true), ("False", false), ("yes", true), ("NO", false), ("on", true), ("off", false)]
    {
        let document = fields(&format!("hidden: {text}\npublished: {text}"));
        assert_eq!((document.hidden, document.published), (Field::Set(value), Field::Set(value)), "{text}");
    }
    fields_refused("hidden: maybe", "line 2: `hidden` is true or false, not `maybe`");
    fields_refused("hidden: 1", "line 2: `hidden` is true or false, not `1`");
    fields_refused("title: a\npublished: \"true\"", "line 3: `published` is true or false, not `true` in quotes");
    fields_refused("hidden: [true]", "line 2: `hidden` is true or false, not a list");
    fields_refused("hidden: ''", "line 2: `hidden` is true or false, not `` in quotes");
}

#[test]
fn order_is_an_integer() {
    for (text, value) in [("0", 0), ("-2", -2), ("+7", 7), ("010", 10), ("-9223372036854775808", i64::MIN)] {
        assert_eq!(fields(&format!("order: {text}")).order, Field::Set(value));
    }
    for text in ["first", "1.5", "1e3", "0x10", "1_000", "-", "- 1", "٣"] {
        let message = refused(file(&format!("order: {text}")));
        assert!(message.starts_with("line 2: "), "{message}");
    }
    fields_refused("order: 1.5", "line 2: `order` is a whole number such as 3 or -2, not `1.5`");
    fields_refused("order: '3'", "line 2: `order` is a whole number such as 3 or -2, not `3` in quotes");
    fields_refused(
        "order: 9223372036854775808",
        "line 2: `order` lies between -9223372036854775808 and 9223372036854775807: `9223372036854775808` does not",
    );
}

#[test]
fn a_commit_is_not_taken_out_of_its_project() {
    assert_eq!(fields("project: 2024").project.as_deref(), Some("2024"));
    assert_eq!(fields("project: \" odd name\"").project.as_deref(), Some(" odd name"));
    for nothing in ["", " null", " ~", " \"\""] {
        fields_refused(
            &format!("project:{nothing}"),
            "line 2: a commit always lies in a project: name one, or leave the key `project` out",
        );
    }
}

#[test]
fn an_unknown_key_is_refused_with_the_known_ones() {
    let known = "`title`, `tags`, `hidden`, `published`, `order` and `project`";
    fields_refused("order: 1\nauthor: me", &format!("line 3: `author` is no field of meta.md: there are {known}"));
    for (typed, meant) in
        [("Title", "title"), ("titel", "title"), ("tag", "tags"), ("hiden", "hidden"), ("oder", "order")]
    {
        fields_refused(
            &format!("{typed}: x"),
            &format!("line 2: `{typed}` is no field of meta.md: did you mean `{meant}`? There are {known}"),
        );
    }
    fields_refused("note: x", "line 2: `note` is no field of meta.md: the note is the text below the front matter");
    fields_refused("? [a]\n: b", &format!("line 2: a key is a word, one of {known}"));
    assert!(refused(file(": x")).starts_with("line 2: `` is no field"));
    assert!(refused(file(&format!("{}: x", "k".repeat(1_000)))).len() < 200);
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    fields_refused("title: a\ntags: []\ntitle: a", "line 4: `title` stands in line 2 already: keep one of the two");
}

#[test]
fn broken_yaml_is_refused_with_its_line() {
    fields_refused(
        "hidden: true\ntitle: Fix: login",
        "line 3: this is no valid YAML (mapping values are not allowed in this context): write one `key: value` a line, and put a \
         value with `: `, ` #`, quotes, brackets or other signs in it in double quotes",
    );
    for (fields, line) in [
        ("tags: []\ntitle: \"open\nhidden: true", 3),
        ("title: a\n\thidden: true", 2),
        ("title: \"a\" b", 2),
        ("title: @a", 2),
        ("title: a\n hidden: true", 3),
        ("tags: [a, b\ntitle: c", 3),
        ("title: \"\\q\"", 2),
        ("hidden: true\n%YAML 1.2", 3),
    ] {
        let message = refused(file(fields));
        assert!(message.starts_with(&format!("line {line}: this is no valid YAML (")), "{fields}\n{message}");
    }
}

#[test]
fn control_characters_are_refused_where_they_stand_and_taken_where_they_are_written() {
    let message = |line, code| format!("line {line}: there is a control character (U+{code}) in the line: delete it");
    fields_refused("hidden: true\ntitle: a\u{1}b", &message(3, "0001"));
    fields_refused("title: \"\u{7f}\"", &message(2, "007F"));
    fields_refused("title: a\rtags: []", &message(2, "000D"));
    fields_refused("# \u{ffff}", &message(2, "FFFF"));
    assert_eq!(fields("title: \"a\\u0001b\"").title, set("a\u{1}b"));
    assert_eq!(fields("title: a\tb").title, set("a\tb"));
    assert_eq!(accepted("---\n---\nNote \u{1b}[1m.").note, "Note \u{1b}[1m.");
}

#[test]
fn what_is_no_mapping_is_refused() {
    let message = "line 2: there are no fields here: write one `key: value` a line";
    fields_refused("just text", message);
    fields_refused("- a\n- b", message);
    fields_refused("\"\"", message);
}

#[test]
fn anchors_aliases_tags_and_further_documents_are_refused() {
    let special = "`&`, `*` and `!` in front of a value are YAML's anchors, aliases and tags, which meta.md does not take: put the \
                   value in double quotes";
    for fields in [
        "title: &a text",
        "title: !important text",
        "title: &a",
        "tags: &a [b]",
        "tags: [!x b]",
        "&a title: b",
        "title: *a",
    ] {
        fields_refused(fields, &format!("line 2: {special}"));
    }
    fields_refused("title: *very* much", &format!("line 2: {special}"));
    fields_refused("!!map\ntitle: a", &format!("line 2: {special}"));
    fields_refused(
        "title: a\n--- # not alone\nhidden: true",
        "line 3: a second YAML document begins here: the fields stand in one, and the line that closes it is `---` alone",
    );
}

#[test]
fn what_a_save_that_was_cut_off_leaves_is_refused() {
    assert_eq!(
        refused(""),
        "line 1: the file is empty: begin it with a line `---`, the fields, and another line `---`"
    );
    assert_eq!(
        refused(b"---\ntitle: a\n---\n\nNo\0te.\n"),
        "line 5: there is a NUL byte, as a save that was cut off leaves it: save the text again"
    );
    assert_eq!(refused(b"---\ntitle: caf\xc3"), "line 2: this is not UTF-8: save the file in that encoding");
    let not_closed =
        "line 1: the front matter that begins here is not closed: write a line `---` between the fields and the note";
    assert_eq!(refused("---\ntitle: a\nhidden: true\n--"), not_closed);
    assert_eq!(refused("---"), not_closed);
    let none =
        "line 1: there is no front matter: the first line is `---`, then come the fields, another `---`, and the note";
    for text in ["A note alone.\n", "\n---\ntitle: a\n---\n", "----\ntitle: a\n---\n", "--", " ---\n---\n", "\u{feff}"]
    {
        assert_eq!(refused(text), none, "{text}");
    }
}

#[test]
fn editors_of_other_systems_are_read_too() {
    let document = accepted("\u{feff}---\r\ntitle: a\r\ntags:\r\n- b\r\n---\r\n\r\nOne.\r\n\r\nTwo.\r\n");
    assert_eq!((document.title, document.tags), (set("a"), tags(&["b"])));
    assert_eq!(document.note, "One.\n\nTwo.");
    // In a file of Unix line ends, a carriage return in the note is the person's.
    assert_eq!(accepted("---\n---\n\nOne.\r\nTwo.\n").note, "One.\r\nTwo.");
    assert_eq!(accepted("--- \ntitle: a\n---\t\nNote.").note, "Note.");
}

#[test]
fn three_dots_close_the_front_matter_too() {
    let document = accepted("---\ntitle: a\n...\n---\nNote.");
    assert_eq!((document.title, document.note.as_str()), (set("a"), "---\nNote."));
}

#[test]
fn the_note_is_what_stands_below_without_what_the_rendering_adds() {
    for (below, note) in [
        ("", ""),
        ("\n", ""),
        ("\n\n\n", ""),
        ("Note.", "Note."),
        ("\nNote.\n", "Note."),
        ("\nNote.\n\n\n", "Note."),
        ("\n\n\nNote.\n", "\n\nNote."),
        ("\n  code\n\n# Head \n", "  code\n\n# Head "),
    ] {
        assert_eq!(accepted(&format!("---\n---\n{below}")).note, note, "{below:?}");
    }
}

#[test]
fn hostile_input_costs_no_stack_and_little_time() {
    let many = |piece: &str| piece.repeat(200_000 / piece.len());
    let inputs = [
        "[".repeat(100_000),
        many("["),
        many("{"),
        many("- "),
        many("? "),
        many("[a: "),
        many("&a "),
        many("#\n"),
        many("\n"),
        many("\r\n"),
        many("---x\n"),
        format!("tags: {}", many("[")),
        format!("tags: [{}", many("[],")),
        format!("tags: [{}]", many("a,")),
        format!("tags: [{}]", many("a, ")),
        format!("tags: [a{}]", many(" ")),
        format!("tags: {}", many(",a")),
        format!("tags:\n{}", many("-\n")),
        format!("tags:\n{}", many("- #\n")),
        format!("title: {}", many("a")),
        format!("title: {}", many("a ")),
        format!("title: a\n{}", many(" b\n")),
        format!("title: \"{}\"", many("\\x41")),
        format!("title: |\n{}", many(" a\n")),
        format!("{}: a", many("k")),
        format!("? {}\n: a", many("k")),
        (0..20_000).map(|i| format!("k{i}: a\n")).collect(),
    ];
    for input in inputs {
        let started = Instant::now();
        let result = parse(file(&input).as_bytes());
        // Some hundredths of a second each; quadratic time would be minutes, and a busy machine is granted its pauses.
        assert!(started.elapsed() < Duration::from_secs(10), "{:.40}: {:?}", input, started.elapsed());
        if input.starts_with('[') {
            assert!(result.is_err());
        }
    }
}
