//! The keys of the front matter and what each takes.

use super::{
    Document, Field, Refusal,
    reader::{Item, Reader, Scalar},
};

/// Characters of a title, and of a tag.
const MAX_TITLE: usize = 1_000;
const MAX_TAG: usize = 100;
const MAX_TAGS: usize = 100;

/// Characters of an unknown key that are compared with the known ones, all of which are shorter.
const LONGEST_SLIP: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Title,
    Tags,
    Hidden,
    Published,
    Order,
    Project,
}

impl Key {
    const ALL: [Key; 6] = [Key::Title, Key::Tags, Key::Hidden, Key::Published, Key::Order, Key::Project];

    fn name(self) -> &'static str {
        match self {
            Key::Title => "title",
            Key::Tags => "tags",
            Key::Hidden => "hidden",
            Key::Published => "published",
            Key::Order => "order",
            Key::Project => "project",
        }
    }

    /// What the key takes, to finish "`key` is ..." with.
    fn takes(self) -> &'static str {
        match self {
            Key::Title => "one line of text",
            Key::Tags => "a list such as [login, bug]",
            Key::Hidden | Key::Published => "true or false",
            Key::Order => "a whole number such as 3 or -2",
            Key::Project => "the name of a directory in projects/",
        }
    }
}

/// Reads the fields. `yaml` begins with the line `---`.
pub fn read(yaml: &str) -> Result<Document, Refusal> {
    let mut reader = Reader::new(yaml)?;
    let document = match reader.item()? {
        Item::Mapping(_) => mapping(&mut reader)?,
        Item::Scalar(scalar) if scalar.plain && scalar.text.is_empty() => Document::default(),
        Item::Scalar(Scalar { line, .. }) | Item::List(line) => {
            return Err(Refusal::new(line, "there are no fields here: write one `key: value` a line"));
        }
        Item::End => return Err(Refusal::new(1, "there are no fields: write one `key: value` a line")),
    };
    reader.end()?;
    Ok(document)
}

fn mapping(reader: &mut Reader<'_>) -> Result<Document, Refusal> {
    let mut document = Document::default();
    let mut seen: Vec<(Key, usize)> = Vec::new();
    loop {
        let scalar = match reader.item()? {
            Item::End => return Ok(document),
            Item::Scalar(scalar) => scalar,
            Item::List(line) | Item::Mapping(line) => {
                return Err(Refusal::new(line, format!("a key is a word, one of {}", known())));
            }
        };
        let key = key(&scalar)?;
        if let Some((_, first)) = seen.iter().find(|(other, _)| *other == key) {
            let reason = format!("`{}` stands in line {first} already: keep one of the two", key.name());
            return Err(Refusal::new(scalar.line, reason));
        }
        seen.push((key, scalar.line));
        field(reader, key, &mut document)?;
    }
}

fn field(reader: &mut Reader<'_>, key: Key, document: &mut Document) -> Result<(), Refusal> {
    let value = reader.item()?;
    match key {
        Key::Title => document.title = title(&scalar(key, value)?)?,
        Key::Tags => document.tags = tags(reader, value)?,
        Key::Hidden => document.hidden = boolean(key, &scalar(key, value)?)?,
        Key::Published => document.published = boolean(key, &scalar(key, value)?)?,
        Key::Order => document.order = order(&scalar(key, value)?)?,
        Key::Project => document.project = Some(project(scalar(key, value)?)?),
    }
    Ok(())
}

fn key(scalar: &Scalar<'_>) -> Result<Key, Refusal> {
    if let Some(key) = Key::ALL.into_iter().find(|key| key.name() == scalar.text) {
        return Ok(key);
    }
    let word = scalar.text.chars().take(LONGEST_SLIP).collect::<String>().to_lowercase();
    let near = Key::ALL.into_iter().map(|key| (distance(&word, key.name()), key)).min_by_key(|(distance, _)| *distance);
    let advice = match near {
        _ if matches!(&*word, "note" | "notes") => "the note is the text below the front matter".to_owned(),
        Some((0..=2, key)) => format!("did you mean `{}`? There are {}", key.name(), known()),
        _ => format!("there are {}", known()),
    };
    Err(Refusal::new(scalar.line, format!("{} is no field of meta.md: {advice}", shown(&scalar.text))))
}

fn known() -> String {
    let names = Key::ALL.map(|key| format!("`{}`", key.name()));
    let (last, others) = names.split_last().map_or(("", &[][..]), |(last, others)| (last.as_str(), others));
    format!("{} and {last}", others.join(", "))
}

fn scalar(key: Key, item: Item<'_>) -> Result<Scalar<'_>, Refusal> {
    match item {
        Item::Scalar(scalar) => Ok(scalar),
        other => Err(wrong_kind(key, &other)),
    }
}

fn title(scalar: &Scalar<'_>) -> Result<Field<String>, Refusal> {
    whole(Key::Title, scalar)?;
    let text = scalar.text.trim();
    if scalar.is_null() || text.is_empty() {
        return Ok(Field::Cleared);
    }
    if text.contains(['\n', '\r']) {
        return Err(Refusal::new(scalar.line, "`title` is one line of text: write further lines below, in the note"));
    }
    let length = text.chars().count();
    if length > MAX_TITLE {
        let reason =
            format!("`title` has {length} characters: shorten it to {MAX_TITLE}, and write the rest in the note");
        return Err(Refusal::new(scalar.line, reason));
    }
    Ok(Field::Set(text.to_owned()))
}

fn tags(reader: &mut Reader<'_>, value: Item<'_>) -> Result<Field<Vec<String>>, Refusal> {
    let mut tags = Vec::new();
    match value {
        Item::Scalar(scalar) => {
            whole(Key::Tags, &scalar)?;
            if scalar.is_null() {
                return Ok(Field::Cleared);
            }
            scalar.text.split(',').try_for_each(|tag| add_tag(&mut tags, tag, scalar.line))?;
        }
        Item::List(_) => loop {
            match reader.item()? {
                Item::End => break,
                // Any plain word is text here, `null` as well: it may be what the conversation was about.
                Item::Scalar(scalar) => {
                    whole(Key::Tags, &scalar)?;
                    add_tag(&mut tags, &scalar.text, scalar.line)?;
                }
                Item::List(line) | Item::Mapping(line) => {
                    let reason = "a tag is text: put one with brackets or a colon in it in double quotes";
                    return Err(Refusal::new(line, reason));
                }
            }
        },
        other => return Err(wrong_kind(Key::Tags, &other)),
    }
    Ok(Field::Set(tags))
}

fn add_tag(tags: &mut Vec<String>, tag: &str, line: usize) -> Result<(), Refusal> {
    let tag = tag.trim();
    if tag.is_empty() || tags.iter().any(|other| other == tag) {
        return Ok(());
    }
    if tag.contains(char::is_control) {
        let reason =
            format!("the tag {} has a line break or another control character in it: write it without", shown(tag));
        return Err(Refusal::new(line, reason));
    }
    let length = tag.chars().count();
    if length > MAX_TAG {
        let reason = format!("the tag {} has {length} characters: shorten it to {MAX_TAG}", shown(tag));
        return Err(Refusal::new(line, reason));
    }
    if tags.len() == MAX_TAGS {
        return Err(Refusal::new(line, format!("there are more than {MAX_TAGS} tags: keep {MAX_TAGS} of them")));
    }
    tags.push(tag.to_owned());
    Ok(())
}

/// YAML 1.2 knows `true` and `false` alone; `yes` and the like are YAML 1.1's, and people's.
fn boolean(key: Key, scalar: &Scalar<'_>) -> Result<Field<bool>, Refusal> {
    if scalar.is_null() {
        return Ok(Field::Cleared);
    }
    match scalar.text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" if scalar.plain => Ok(Field::Set(true)),
        "false" | "no" | "off" if scalar.plain => Ok(Field::Set(false)),
        _ => Err(wrong_type(key, scalar)),
    }
}

fn order(scalar: &Scalar<'_>) -> Result<Field<i64>, Refusal> {
    if scalar.is_null() {
        return Ok(Field::Cleared);
    }
    let digits = scalar.text.strip_prefix(['-', '+']).unwrap_or(&scalar.text);
    if !scalar.plain || digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong_type(Key::Order, scalar));
    }
    scalar.text.parse().map(Field::Set).map_err(|_| {
        let reason = format!("`order` lies between {} and {}: {} does not", i64::MIN, i64::MAX, shown(&scalar.text));
        Refusal::new(scalar.line, reason)
    })
}

/// A project's directory may be called anything a file may: the name is taken as it is.
fn project(scalar: Scalar<'_>) -> Result<String, Refusal> {
    whole(Key::Project, &scalar)?;
    if scalar.is_null() || scalar.text.is_empty() {
        let reason = "a commit always lies in a project: name one, or leave the key `project` out";
        return Err(Refusal::new(scalar.line, reason));
    }
    Ok(scalar.text.into_owned())
}

/// Refuses a text that a comment may have cut: in `title: Fix #42`, YAML's text is `Fix`.
fn whole(key: Key, scalar: &Scalar<'_>) -> Result<(), Refusal> {
    if !scalar.comment {
        return Ok(());
    }
    let reason = format!(
        "the `#` behind `{}` begins a comment in YAML: put the text in double quotes if the `#` belongs to it, else delete the comment",
        key.name()
    );
    Err(Refusal::new(scalar.line, reason))
}

fn wrong_kind(key: Key, item: &Item<'_>) -> Refusal {
    let (line, what) = match item {
        Item::Scalar(scalar) => (scalar.line, "a text"),
        Item::List(line) => (*line, "a list"),
        Item::Mapping(line) => (*line, "a mapping"),
        // Never seen: where a value is missing, the parser makes an empty one.
        Item::End => (1, "nothing"),
    };
    let advice = match key {
        Key::Title | Key::Project => ": put a text with brackets or a colon in it in double quotes",
        _ => "",
    };
    Refusal::new(line, format!("`{}` is {}, not {what}{advice}", key.name(), key.takes()))
}

fn wrong_type(key: Key, scalar: &Scalar<'_>) -> Refusal {
    let quoted = if scalar.plain { "" } else { " in quotes" };
    Refusal::new(scalar.line, format!("`{}` is {}, not {}{quoted}", key.name(), key.takes(), shown(&scalar.text)))
}

/// A piece of the file as it stands in a message: short, and without control characters.
fn shown(text: &str) -> String {
    const MAX: usize = 40;
    let mut shown = String::new();
    for c in text.chars().take(MAX) {
        if c.is_control() {
            shown.extend(c.escape_debug());
        } else {
            shown.push(c);
        }
    }
    if text.chars().nth(MAX).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// How many characters are to be inserted, deleted or exchanged (Levenshtein) to come from one word to the other.
fn distance(word: &str, name: &str) -> usize {
    let mut row: Vec<usize> = (0..=name.chars().count()).collect();
    for (i, a) in word.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in name.chars().enumerate() {
            let exchanged = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = exchanged.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[name.len()]
}
