//! The query language: what a user types to what is searched for. Pure: knows no database.
//!
//! Words and phrases, `AND`, `OR`, `NOT`, parentheses, `word*`, and filters (`project:NAME`) that hold for the whole query.
//! Nothing of the text is passed on as it is: [`Words::to_match`] alone makes FTS5's expression, of quoted strings.

use std::fmt::Write as _;

use super::words;
use crate::model::{Millis, Role};
use crate::when;

/// Words and phrases of a query. More are a document, not a query.
const MOST_WORDS: usize = 64;

/// Parentheses inside each other: FTS5 takes no more than 256.
const DEEPEST: usize = 32;

/// What is wrong with a query, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {at} of the search: {what}")]
pub struct QueryError {
    /// Counted in characters, from 1.
    pub at: usize,
    pub what: String,
}

impl QueryError {
    fn new(at: usize, what: impl Into<String>) -> Self {
        Self { at, what: what.into() }
    }
}

type Result<T> = std::result::Result<T, QueryError>;

/// A query that can be run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    /// `None`: whatever the filters let through.
    pub words: Option<Words>,
    pub filters: Filters,
}

/// What has to stand in a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Words {
    Phrase(Phrase),
    All(Vec<Words>),
    Any(Vec<Words>),
    /// The first, and not the second. Without a first: everything but.
    But(Option<Box<Words>>, Box<Words>),
}

/// Words that follow each other; mostly one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phrase {
    /// As typed, quotes and the star left out.
    pub text: String,
    /// Folded, as they are compared.
    pub words: Vec<String>,
    /// The last word may go on.
    pub prefix: bool,
}

/// What a turn, its session or its commit has to be. Values of one kind are alternatives; kinds all have to hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filters {
    pub project: Names,
    pub agent: Names,
    pub model: Names,
    pub file: Names,
    pub tool: Names,
    pub roles: Vec<Role>,
    pub not_roles: Vec<Role>,
    pub since: Option<Millis>,
}

/// Names of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    pub any: Vec<String>,
    pub none: Vec<String>,
}

impl Names {
    /// Whether nothing is asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.any.is_empty() && self.none.is_empty()
    }
}

/// What can stand in front of a colon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    Project,
    Agent,
    Model,
    File,
    Tool,
    Since,
    Role,
}

impl Key {
    pub const ALL: [Self; 7] =
        [Self::Project, Self::Agent, Self::Model, Self::File, Self::Tool, Self::Since, Self::Role];

    /// As it is typed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Agent => "agent",
            Self::Model => "model",
            Self::File => "file",
            Self::Tool => "tool",
            Self::Since => "since",
            Self::Role => "role",
        }
    }
}

impl Filters {
    /// Adds one value.
    ///
    /// # Errors
    /// What is wrong with the value, and what it can be.
    pub fn add(&mut self, key: Key, value: &str, wanted: bool, now: Millis) -> std::result::Result<(), String> {
        if value.trim().is_empty() {
            return Err(format!("{}: needs a value behind the colon, such as {}", key.as_str(), example(key)));
        }
        let names = match key {
            Key::Project => &mut self.project,
            Key::Agent => &mut self.agent,
            Key::Model => &mut self.model,
            Key::File => &mut self.file,
            Key::Tool => &mut self.tool,
            Key::Since if !wanted => return Err("since: cannot be turned round with NOT".to_owned()),
            Key::Since => {
                let since = when::past(value, now).ok_or_else(|| {
                    format!("{value:?} is no time: since: takes a date (2026-08-19, 2026-08, 2026) or an age (12h, 30d, 2w, 1y)")
                })?;
                self.since = self.since.max(Some(since));
                return Ok(());
            }
            Key::Role => {
                let role = role(value).ok_or_else(|| {
                    format!("{value:?} is no role: there are user, assistant, thinking, tool and system")
                })?;
                if wanted {
                    self.roles.push(role)
                } else {
                    self.not_roles.push(role)
                }
                return Ok(());
            }
        };
        if wanted {
            names.any.push(value.to_owned())
        } else {
            names.none.push(value.to_owned())
        }
        Ok(())
    }

    /// Whether everything passes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn example(key: Key) -> &'static str {
    match key {
        Key::Project => "project:plantshop",
        Key::Agent => "agent:codex",
        Key::Model => "model:opus",
        Key::File => "file:login.py",
        Key::Tool => "tool:bash",
        Key::Since => "since:30d",
        Key::Role => "role:user",
    }
}

fn role(text: &str) -> Option<Role> {
    let text = text.to_ascii_lowercase();
    [Role::User, Role::Assistant, Role::Thinking, Role::Tool, Role::System].into_iter().find(|r| r.as_str() == text)
}

impl Words {
    /// FTS5's expression for it. `everything` matches each turn: what nothing is taken from.
    #[must_use]
    pub fn to_match(&self, everything: &str) -> String {
        let joined = |parts: &[Self], with: &str| {
            let parts: Vec<String> = parts.iter().map(|part| part.to_match(everything)).collect();
            format!("({})", parts.join(with))
        };
        match self {
            Self::Phrase(phrase) => phrase.to_match(),
            Self::All(parts) => joined(parts, " AND "),
            Self::Any(parts) => joined(parts, " OR "),
            Self::But(some, less) => {
                let some = some.as_ref().map_or_else(|| everything.to_owned(), |some| some.to_match(everything));
                format!("({some} NOT {})", less.to_match(everything))
            }
        }
    }

    /// The phrases that make a turn fit: those that are marked in it.
    #[must_use]
    pub fn wanted(&self) -> Vec<&Phrase> {
        match self {
            Self::Phrase(phrase) => vec![phrase],
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::wanted).collect(),
            Self::But(some, _) => some.iter().flat_map(|some| some.wanted()).collect(),
        }
    }
}

impl Phrase {
    fn to_match(&self) -> String {
        let mut out = String::from("\"");
        for c in self.text.chars() {
            match c {
                '"' => out.push_str("\"\""),
                // SQLite takes it for the end.
                '\0' => out.push(' '),
                c if words::is_mark(c) => out.push(' '),
                c => out.push(c),
            }
        }
        out.push('"');
        if self.prefix {
            out.push('*');
        }
        out
    }
}

/// A piece of the text, with where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Open,
    Close,
    And,
    Or,
    Not,
    Phrase { text: String, prefix: bool },
    Filter { key: Key, value: String },
}

/// Reads a query. `now` is what ages are counted from.
///
/// # Errors
/// What is wrong with it, and where.
pub fn parse(text: &str, now: Millis) -> Result<Query> {
    let tokens = tokens(text)?;
    if tokens.iter().filter(|(_, token)| matches!(token, Token::Phrase { .. })).count() > MOST_WORDS {
        return Err(QueryError::new(1, format!("more than {MOST_WORDS} words: search for a few that stand out")));
    }
    let mut parser = Parser { tokens, next: 0, filters: Filters::default(), now, end: text.chars().count() + 1 };
    let words = parser.any(0)?;
    if let Some((at, _)) = parser.peek() {
        return Err(QueryError::new(at, "this parenthesis closes nothing; in quotes it is text: \")\""));
    }
    let filters = parser.filters;
    let is_all_but = |words: &Words| matches!(words, Words::But(None, _));
    match &words {
        None if filters.is_empty() => {
            Err(QueryError::new(1, "nothing to search for: a word needs a letter or a digit in it"))
        }
        Some(words) if is_all_but(words) && filters.is_empty() => {
            Err(QueryError::new(1, "NOT takes something away: say in front of it what to search for"))
        }
        _ => Ok(Query { words, filters }),
    }
}

fn tokens(text: &str) -> Result<Vec<(usize, Token)>> {
    let chars: Vec<char> = text.chars().collect();
    let (mut at, mut tokens) = (0, Vec::new());
    while let Some(c) = chars.get(at) {
        let begin = at + 1;
        match c {
            c if c.is_whitespace() => at += 1,
            '(' => {
                tokens.push((begin, Token::Open));
                at += 1;
            }
            ')' => {
                tokens.push((begin, Token::Close));
                at += 1;
            }
            '"' => {
                let text = quoted(&chars, &mut at)?;
                tokens.push((begin, Token::Phrase { text, prefix: star(&chars, &mut at) }));
            }
            _ => {
                let word = word(&chars, &mut at);
                tokens.push((begin, named(word, &chars, &mut at)?));
            }
        }
    }
    Ok(tokens)
}

/// A quoted text; a quote in it is doubled.
fn quoted(chars: &[char], at: &mut usize) -> Result<String> {
    let begin = *at + 1;
    let mut text = String::new();
    loop {
        *at += 1;
        match (chars.get(*at), chars.get(*at + 1)) {
            (Some('"'), Some('"')) => {
                text.push('"');
                *at += 1;
            }
            (Some('"'), _) => {
                *at += 1;
                return Ok(text);
            }
            (Some(c), _) => text.push(*c),
            (None, _) => return Err(QueryError::new(begin, "this quote is not closed: put a \" at its end")),
        }
    }
}

fn star(chars: &[char], at: &mut usize) -> bool {
    let is_star = chars.get(*at) == Some(&'*');
    *at += usize::from(is_star);
    is_star
}

/// A run of characters. Parentheses in it are its own, as in `main()`; what closes one in front of it is not.
fn word(chars: &[char], at: &mut usize) -> String {
    let (mut text, mut open) = (String::new(), 0_usize);
    while let Some(c) = chars.get(*at) {
        match c {
            c if c.is_whitespace() || *c == '"' => break,
            '(' => {
                // `NOT(a)` is an operator and what it is about.
                if matches!(text.as_str(), "AND" | "OR" | "NOT") {
                    break;
                }
                open += 1;
            }
            ')' if open == 0 => break,
            ')' => open -= 1,
            _ => {}
        }
        text.push(*c);
        *at += 1;
    }
    text
}

/// An operator, a filter, or a word.
fn named(word: String, chars: &[char], at: &mut usize) -> Result<Token> {
    match word.as_str() {
        "AND" => return Ok(Token::And),
        "OR" => return Ok(Token::Or),
        "NOT" => return Ok(Token::Not),
        _ => {}
    }
    if let Some((name, value)) = word.split_once(':')
        && let Some(key) = Key::ALL.into_iter().find(|key| key.as_str() == name)
    {
        let value =
            if value.is_empty() && chars.get(*at) == Some(&'"') { quoted(chars, at)? } else { value.to_owned() };
        return Ok(Token::Filter { key, value });
    }
    let prefix = word.ends_with('*');
    let text = word.trim_end_matches('*').to_owned();
    Ok(Token::Phrase { text, prefix })
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    filters: Filters,
    now: Millis,
    /// The place behind the text.
    end: usize,
}

impl Parser {
    fn peek(&self) -> Option<(usize, &Token)> {
        self.tokens.get(self.next).map(|(at, token)| (*at, token))
    }

    fn take(&mut self) -> Option<(usize, Token)> {
        let token = self.tokens.get(self.next).cloned();
        self.next += 1;
        token
    }

    /// Alternatives; `None` where there are no words, but filters or nothing.
    fn any(&mut self, depth: usize) -> Result<Option<Words>> {
        let (mut parts, begin) = (Vec::new(), self.peek().map_or(self.end, |(at, _)| at));
        let first = self.all(depth)?;
        let mut had_or = None;
        parts.extend(first.clone());
        while let Some((at, Token::Or)) = self.peek() {
            if first.is_none() && parts.is_empty() {
                return Err(QueryError::new(
                    at,
                    "OR needs a word in front of it; in quotes it is a word itself: \"OR\"",
                ));
            }
            had_or = Some(at);
            self.next += 1;
            let Some(part) = self.all(depth)? else {
                return Err(QueryError::new(at, "OR needs a word behind it; in quotes it is a word itself: \"OR\""));
            };
            parts.push(part);
        }
        if let Some(at) = had_or
            && parts.iter().any(|part| matches!(part, Words::But(None, _)))
        {
            return Err(QueryError::new(
                at.max(begin),
                "NOT takes something away: beside OR, say in front of it what to search for",
            ));
        }
        Ok(match parts.len() {
            0 | 1 => parts.pop(),
            _ => Some(Words::Any(parts)),
        })
    }

    /// What has to stand there together, and what must not.
    fn all(&mut self, depth: usize) -> Result<Option<Words>> {
        let (mut wanted, mut unwanted) = (Vec::new(), Vec::new());
        let mut anything = false;
        loop {
            match self.peek() {
                Some((at, Token::And)) => {
                    self.next += 1;
                    let goes_on = self.peek().is_some_and(|(_, t)| !matches!(t, Token::And | Token::Or | Token::Close));
                    if !anything || !goes_on {
                        let side = if anything { "behind" } else { "in front of" };
                        let what = format!("AND needs a word {side} it; in quotes it is a word itself: \"AND\"");
                        return Err(QueryError::new(at, what));
                    }
                }
                Some((at, Token::Not)) => {
                    self.next += 1;
                    let goes_on = self
                        .peek()
                        .is_some_and(|(_, t)| matches!(t, Token::Phrase { .. } | Token::Open | Token::Filter { .. }));
                    if !goes_on {
                        let what = "NOT needs a word behind it; in quotes it is a word itself: \"NOT\"";
                        return Err(QueryError::new(at, what));
                    }
                    unwanted.extend(self.one(depth, false)?);
                    anything = true;
                }
                Some((_, Token::Phrase { .. } | Token::Open | Token::Filter { .. })) => {
                    wanted.extend(self.one(depth, true)?);
                    anything = true;
                }
                _ => break,
            }
        }
        let join = |mut parts: Vec<Words>, several: fn(Vec<Words>) -> Words| match parts.len() {
            0 | 1 => parts.pop(),
            _ => Some(several(parts)),
        };
        let wanted = join(wanted, Words::All);
        Ok(match join(unwanted, Words::Any) {
            Some(unwanted) => Some(Words::But(wanted.map(Box::new), Box::new(unwanted))),
            None => wanted,
        })
    }

    /// A phrase, a filter, or what stands in parentheses. `None`: a filter, or nothing that could be searched for.
    fn one(&mut self, depth: usize, wanted: bool) -> Result<Option<Words>> {
        match self.take() {
            Some((at, Token::Phrase { text, prefix })) => {
                let words = words::folded(&text);
                if let Some(letter) = words.last().filter(|word| prefix && is_one_letter(word)) {
                    let what = format!(
                        "words that begin with {letter} stand in nearly every turn: put at least two letters in front of the *"
                    );
                    return Err(QueryError::new(at, what));
                }
                Ok((!words.is_empty()).then_some(Words::Phrase(Phrase { text, words, prefix })))
            }
            Some((at, Token::Filter { key, value })) => {
                if depth > 0 {
                    let what = format!(
                        "{}: holds for the whole search: put it outside the parentheses, or in quotes to search for the text",
                        key.as_str()
                    );
                    return Err(QueryError::new(at, what));
                }
                self.filters.add(key, &value, wanted, self.now).map_err(|what| QueryError::new(at, what))?;
                Ok(None)
            }
            Some((at, Token::Open)) => {
                if depth >= DEEPEST {
                    return Err(QueryError::new(at, format!("more than {DEEPEST} parentheses inside each other")));
                }
                let inner = self.any(depth + 1)?;
                match self.take() {
                    Some((_, Token::Close)) => {}
                    _ => return Err(QueryError::new(at, "this parenthesis is not closed: put a ) at its end")),
                }
                match inner {
                    None => Err(QueryError::new(at, "there is no word between the parentheses")),
                    Some(Words::But(None, _)) => Err(QueryError::new(
                        at,
                        "NOT takes something away: say in front of it, in the parentheses, what to search for",
                    )),
                    inner => Ok(inner),
                }
            }
            Some((at, _)) => Err(QueryError::new(at, "a word is expected here")),
            None => Err(QueryError::new(self.end, "a word is expected here")),
        }
    }
}

/// Whether it is a letter or digit of an alphabet. Thousands of words begin with one, in most turns of all: the index has no list of
/// those and would read seconds of it. What comes behind the alphabets (Unicode's block of CJK radicals on) says more than a letter.
fn is_one_letter(word: &str) -> bool {
    let mut chars = word.chars();
    chars.next().is_some_and(|c| c < '\u{2E80}') && chars.next().is_none()
}

/// A value as a query has it, quoted where it has to be.
#[must_use]
pub fn filter_text(key: Key, value: &str) -> String {
    let mut out = format!("{}:", key.as_str());
    if value.is_empty() || value.contains(|c: char| c.is_whitespace() || "\"()".contains(c)) {
        // Writing to a string cannot fail.
        let _ = write!(out, "\"{}\"", value.replace('"', "\"\""));
    } else {
        out.push_str(value);
    }
    out
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
