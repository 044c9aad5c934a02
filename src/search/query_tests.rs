use proptest::prelude::*;
use rusqlite::Connection;

use super::*;

const NOW: Millis = Millis(1_800_000_000_000);

fn matched(text: &str) -> String {
    parse(text, NOW).unwrap().words.map(|words| words.to_match("*")).unwrap_or_default()
}

fn refused(text: &str) -> (usize, String) {
    let error = parse(text, NOW).expect_err(text);
    (error.at, error.what)
}

#[test]
fn words_stand_together_unless_it_is_said_otherwise() {
    for (text, expected) in [
        ("login", r#""login""#),
        ("open redirect", r#"("open" AND "redirect")"#),
        ("open AND redirect", r#"("open" AND "redirect")"#),
        (r#""open redirect""#, r#""open redirect""#),
        ("a b OR c", r#"(("a" AND "b") OR "c")"#),
        ("a (b OR c)", r#"("a" AND ("b" OR "c"))"#),
        ("a NOT b", r#"("a" NOT "b")"#),
        ("a AND NOT b c", r#"(("a" AND "c") NOT "b")"#),
        ("a NOT b NOT(c d)", r#"("a" NOT ("b" OR ("c" AND "d")))"#),
        ("redir*", r#""redir"*"#),
        (r#""open re"*"#, r#""open re"*"#),
        ("std::io -> main()", r#"("std::io" AND "main()")"#),
        ("and or not near", r#"("and" AND "or" AND "not" AND "near")"#),
        (r#"say""hi""#, ""),
        (r#""say ""hi""""#, r#""say ""hi""""#),
    ] {
        if expected.is_empty() {
            assert!(parse(text, NOW).is_err(), "{text}");
        } else {
            assert_eq!(matched(text), expected, "{text}");
        }
    }
}

#[test]
fn a_beginning_of_one_letter_is_refused_with_what_to_do() {
    for (text, at) in [("a*", 1), ("login É*", 7), ("(x OR 7*)", 7), ("NOT a*", 5), (r#""open r"*"#, 1), ("я**", 1)] {
        let (place, what) = refused(text);
        assert_eq!(place, at, "{text}");
        assert!(what.contains("at least two letters in front of the *"), "{text}: {what}");
    }
    for text in ["ab*", "a", r#""a*""#, "語*", "* b"] {
        assert!(parse(text, NOW).is_ok(), "{text}");
    }
}

#[test]
fn filters_hold_for_the_whole_query_wherever_they_stand() {
    let query =
        parse(r#"project:shop login NOT tool:bash role:user model:"gpt 5" OR logout file:src/a.rs"#, NOW).unwrap();
    assert_eq!(query.words.unwrap().to_match("*"), r#"("login" OR "logout")"#);
    let filters = query.filters;
    assert_eq!(filters.project.any, ["shop"]);
    assert_eq!(filters.tool, Names { any: vec![], none: vec!["bash".to_owned()] });
    assert_eq!(filters.model.any, ["gpt 5"]);
    assert_eq!(filters.file.any, ["src/a.rs"]);
    assert_eq!(filters.roles, [Role::User]);
    let alone = parse("agent:codex NOT draft", NOW).unwrap();
    assert_eq!(alone.words.unwrap().to_match("*"), r#"(* NOT "draft")"#);
    assert!(parse("agent:codex", NOW).unwrap().words.is_none());
    assert_eq!(matched("http://x foo:bar"), r#"("http://x" AND "foo:bar")"#, "what is no filter is text");
}

#[test]
fn times_are_dates_or_ages() {
    let since = |text: &str| parse(&format!("since:{text}"), NOW).map(|q| q.filters.since.unwrap().readable());
    let day = 24 * 60 * 60 * 1000;
    assert_eq!(since("30d").unwrap(), Millis(NOW.0 - 30 * day).readable());
    assert_eq!(since("2w").unwrap(), Millis(NOW.0 - 14 * day).readable());
    assert_eq!(since("12h").unwrap(), Millis(NOW.0 - day / 2).readable());
    assert_eq!(since("2026-08-19").unwrap(), "2026-08-19 00:00:00");
    assert_eq!(since("2026-08").unwrap(), "2026-08-01 00:00:00");
    assert_eq!(since("2026").unwrap(), "2026-01-01 00:00:00");
    assert_eq!(since("2026-08-19T14:03:00Z").unwrap(), "2026-08-19 14:03:00");
    for bad in ["x", "30", "2026-13-01", "2026-08-19-1", "99999999999999999d", "-3d", "14:00"] {
        assert!(since(bad).unwrap_err().what.contains("takes a date"), "{bad}");
    }
    assert_eq!(parse("since:2025 since:2026", NOW).unwrap().filters.since.unwrap().readable(), "2026-01-01 00:00:00");
}

#[test]
fn an_error_says_where_and_what_to_do() {
    for (text, at, what) in [
        ("", 1, "nothing to search for"),
        ("-> ()", 4, "no word between"),
        ("->", 1, "letter or a digit"),
        ("a AND", 3, "needs a word behind"),
        ("AND a", 1, "needs a word in front"),
        ("OR a", 1, "needs a word in front"),
        ("é OR", 3, "needs a word behind"),
        ("a NOT", 3, "needs a word behind"),
        ("NOT a", 1, "what to search for"),
        ("a OR NOT b", 3, "what to search for"),
        ("(NOT a) b", 1, "what to search for"),
        (r#"a "b c"#, 3, "not closed"),
        ("(a", 1, "not closed"),
        ("a )", 3, "closes nothing"),
        ("()", 1, "no word between"),
        ("a (project:x)", 4, "whole search"),
        ("role:boss", 1, "user, assistant"),
        ("a NOT since:3d", 7, "NOT"),
        ("x project:", 3, "needs a value"),
        ("a AND AND b", 3, "needs a word behind"),
    ] {
        let (found_at, found) = refused(text);
        assert!(found.contains(what), "{text}: {found}");
        assert_eq!(found_at, at, "{text}: {found}");
    }
    assert!(refused(&"(".repeat(100)).1.contains("inside each other"));
    assert!(refused(&"a ".repeat(100)).1.contains("more than 64 words"));
    let whole = parse("a AND", NOW).unwrap_err().to_string();
    assert_eq!(
        whole,
        "at character 3 of the search: AND needs a word behind it; in quotes it is a word itself: \"AND\""
    );
}

#[test]
fn a_value_is_quoted_where_it_has_to_be() {
    for value in ["shop", "my shop", "a\"b", "x(1)", ""] {
        let text = filter_text(Key::Project, value);
        match parse(&text, NOW) {
            Ok(query) => assert_eq!(query.filters.project.any, [value], "{text}"),
            Err(error) => assert!(value.is_empty() && error.what.contains("needs a value"), "{text}"),
        }
    }
}

/// An empty index of the same kind, to try expressions on.
fn index() -> Connection {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(
        r#"CREATE VIRTUAL TABLE f USING fts5(text, content='', tokenize = "unicode61 remove_diacritics 2");
           INSERT INTO f(rowid, text) VALUES (1, 'login open redirect')"#,
    )
    .unwrap();
    conn
}

fn is_understood(conn: &Connection, expression: &str) -> rusqlite::Result<i64> {
    conn.query_row("SELECT count(*) FROM f WHERE f MATCH ?1", [expression], |r| r.get(0))
}

#[test]
fn what_words_mean_is_what_the_index_finds() {
    let conn = index();
    for (text, found) in [
        ("login", 1),
        ("logout", 0),
        ("LOGIN redir*", 1),
        ("\"open redirect\"", 1),
        ("\"redirect open\"", 0),
        ("open-redirect", 1),
        ("login NOT open", 0),
        ("login NOT (closed OR shut)", 1),
        ("closed OR (open -> login)", 1),
        ("\"login\" \"\u{0}\"", 1),
    ] {
        assert_eq!(is_understood(&conn, &matched(text)).unwrap(), found, "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_a_query_that_the_index_understands_or_an_error_with_a_place(
        text in "(AND|OR|NOT|\\(|\\)|\"|\\*| |a|é|project:|role:user|since:|:|\\^|\\{|NEAR\\(|,|\\PC){0,24}",
    ) {
        let conn = index();
        match parse(&text, NOW) {
            Ok(query) => {
                if let Some(words) = query.words {
                    let expression = words.to_match("\"login\"");
                    prop_assert!(is_understood(&conn, &expression).is_ok(), "{text:?}: {expression}");
                }
            }
            Err(error) => prop_assert!((1..=text.chars().count() + 1).contains(&error.at), "{text:?}: {error}"),
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,300}", now in any::<i64>()) {
        let _ = parse(&text, Millis(now));
    }
}
