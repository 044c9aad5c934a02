//! Secrets in what people typed: titles, notes, tags, names of projects. They are taken out of what leaves, and what comes back
//! without them means what is here: the text that another was made of is never replaced by it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::record;
use crate::curation::Entity;
use crate::model::Id;
use crate::redact::{Redactor, Report};
use crate::store::outbox::{self, Rest};
use crate::store::{EntityKind, Result, Transaction};
use crate::sync::facts::Redact;
use crate::sync::merge::{Fields, TAGS};

/// The fields that hold what people typed.
const TYPED: [&str; 4] = ["title", "note", "name", TAGS];

/// A longer text, or one with more secrets, is compared as a whole alone.
const LONGEST: usize = 64 << 10;
const MOST: usize = 64;

static MARK: LazyLock<Regex> = LazyLock::new(|| {
    // A constant: every test of this module compiles it.
    Regex::new(r"\[redacted:([a-z0-9-]+)\]").unwrap_or_else(|error| panic!("{error}"))
});

/// What leaves of a record's fields.
pub(super) fn taken_out(mut fields: Fields, project: &Id, redact: &dyn Redact) -> Fields {
    if redact.is_identity() {
        return fields;
    }
    for field in TYPED {
        match fields.get_mut(field) {
            Some(Value::String(text)) => *text = redact.text(project, text).into_owned(),
            Some(Value::Array(words)) => {
                let mut clean: Vec<Value> = Vec::new();
                for word in words.iter() {
                    let word = word.as_str().map_or_else(|| word.clone(), |word| redact.text(project, word).into());
                    if !clean.contains(&word) {
                        clean.push(word);
                    }
                }
                *words = clean;
            }
            _ => {}
        }
    }
    fields
}

/// What came, with the secrets that were taken out of what is here: `originals` gives the texts that a field's may be made of, the
/// likeliest first.
pub(super) fn put_back<'a>(mut cloud: Fields, originals: impl Fn(&str) -> Vec<&'a Value>) -> Fields {
    for field in TYPED {
        if let Some(theirs) = cloud.get_mut(field)
            && MARK.is_match(&theirs.to_string())
        {
            let originals = originals(field);
            let whole = match &*theirs {
                Value::String(text) => whole_text(text, &originals).map(Value::from),
                Value::Array(words) => Some(Value::from(whole_words(words, &originals))),
                _ => None,
            };
            if let Some(whole) = whole {
                *theirs = whole;
            }
        }
    }
    cloud
}

fn clean(text: &str) -> Option<String> {
    let clean = Redactor.text(text, &mut Report::default());
    (clean != text).then(|| clean.into_owned())
}

fn whole_text(theirs: &str, originals: &[&Value]) -> Option<String> {
    let with_secrets: Vec<(&str, String)> =
        originals.iter().filter_map(|value| value.as_str()).filter_map(|text| Some((text, clean(text)?))).collect();
    if let Some((original, _)) = with_secrets.iter().find(|(_, clean)| clean == theirs) {
        return Some((*original).to_owned());
    }
    with_secrets.iter().find_map(|(original, clean)| mended(theirs, original, clean))
}

/// Words of which several may look the same without their secrets: all of them are meant.
fn whole_words(theirs: &[Value], originals: &[&Value]) -> Vec<Value> {
    let mut whole = Vec::new();
    for word in theirs {
        let of_it = |list: &Value| -> Vec<Value> {
            let words = list.as_array().map(Vec::as_slice).unwrap_or_default();
            words.iter().filter(|own| own.as_str().and_then(clean).as_deref() == word.as_str()).cloned().collect()
        };
        let found = originals.iter().map(|list| of_it(list)).find(|found| !found.is_empty());
        for word in found.unwrap_or_else(|| vec![word.clone()]) {
            if !whole.contains(&word) {
                whole.push(word);
            }
        }
    }
    whole
}

/// A text that was changed elsewhere, with the secrets back in the places that can be told: in lines that are as they were, and
/// where as many of a kind are left as there were.
fn mended(theirs: &str, original: &str, clean: &str) -> Option<String> {
    let secrets = secrets(original, clean)?;
    // The lines that had some, with those.
    let mut lines: Vec<(&str, Vec<(String, String)>)> = Vec::new();
    let mut next = secrets.into_iter();
    for line in clean.split('\n') {
        let own: Vec<_> = next.by_ref().take(MARK.find_iter(line).count()).collect();
        if !own.is_empty() {
            lines.push((line, own));
        }
    }
    let mut out: Vec<(String, bool)> = Vec::new();
    for line in theirs.split('\n') {
        match lines.iter().position(|(known, _)| *known == line) {
            Some(at) => out.push((filled(line, &mut lines.remove(at).1), true)),
            None => out.push((line.to_owned(), false)),
        }
    }
    let mut left: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for (kind, secret) in lines.into_iter().flat_map(|(_, secrets)| secrets) {
        left.entry(kind.clone()).or_default().push((kind, secret));
    }
    let open: String =
        out.iter().filter(|(_, done)| !done).map(|(line, _)| line.as_str()).collect::<Vec<_>>().join("\n");
    left.retain(|kind, secrets| MARK.captures_iter(&open).filter(|mark| mark[1] == *kind).count() == secrets.len());
    for (line, _) in out.iter_mut().filter(|(_, done)| !done) {
        for secrets in left.values_mut() {
            *line = filled(line, secrets);
        }
    }
    let whole = out.into_iter().map(|(line, _)| line).collect::<Vec<_>>().join("\n");
    (whole != theirs).then_some(whole)
}

/// A line with secrets in the place of their marks: the first of each kind first.
fn filled(line: &str, secrets: &mut Vec<(String, String)>) -> String {
    MARK.replace_all(line, |mark: &regex::Captures<'_>| {
        let at = secrets.iter().position(|(kind, _)| *kind == mark[1]);
        at.map_or_else(|| mark[0].to_owned(), |at| secrets.remove(at).1)
    })
    .into_owned()
}

/// The secrets of a text in their order, with their kinds: what stands in it where the clean one has marks.
fn secrets(original: &str, clean: &str) -> Option<Vec<(String, String)>> {
    let kinds: Vec<String> = MARK.captures_iter(clean).map(|mark| mark[1].to_owned()).collect();
    if original.len() > LONGEST || kinds.len() > MOST {
        return None;
    }
    let parts: Vec<String> = MARK.split(clean).map(regex::escape).collect();
    let pattern = Regex::new(&format!("(?s)^{}$", parts.join("(.+?)"))).ok()?;
    let found = pattern.captures(original)?;
    let secrets = found.iter().skip(1).flatten().map(|secret| secret.as_str().to_owned());
    Some(kinds.into_iter().zip(secrets).collect())
}

/// Has fields sent again whose texts leave otherwise from now on. What waits already is sent so.
pub(crate) fn tell_anew(tx: &mut Transaction<'_>) -> Result<()> {
    for (kind, table) in [(EntityKind::Project, "projects"), (EntityKind::Commit, "cognitive_commits")] {
        let rows: Vec<i64> = tx
            .prepare(&format!("SELECT row FROM {table} WHERE cloud_version > 0"))?
            .query_map([], |r| r.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for row in rows {
            tell_again(tx, Entity { kind, row })?;
        }
    }
    Ok(())
}

fn tell_again(tx: &Transaction<'_>, entity: Entity) -> Result<()> {
    let (Some(now), Some(id)) = (record::values(tx, entity)?, record::id(tx, entity)?) else { return Ok(()) };
    let waiting = outbox::find(tx, entity.kind, entity.row)?;
    let base_version = waiting.as_ref().map_or(record::version(tx, entity)?, |waiting| waiting.base_version);
    let edits = waiting.as_ref().map_or(1, |waiting| waiting.edits);
    let (mut fields, mut base) = waiting.map_or_else(Default::default, |waiting| (waiting.fields, waiting.base));
    let before = fields.len();
    for field in TYPED {
        let Some(value) = now.get(field).filter(|value| has_secrets(value)) else { continue };
        if !fields.contains_key(field) {
            fields.insert(field.to_owned(), value.clone());
            base.insert(field.to_owned(), value.clone());
        }
    }
    if fields.len() > before {
        outbox::replace(tx, entity.kind, entity.row, id, &Rest { fields, base, base_version, edits })?;
    }
    Ok(())
}

fn has_secrets(value: &Value) -> bool {
    match value {
        Value::String(text) => clean(text).is_some(),
        Value::Array(words) => words.iter().any(has_secrets),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ONE: &str = "AKIAIOSFODNN7EXAMPLQ";
    const TWO: &str = "AKIAIOSFODNN7EXAMPLR";
    const MARKED: &str = "[redacted:aws-access-key]";

    fn back(theirs: Value, original: &Value) -> Value {
        let fields: Fields = [("note".to_owned(), theirs)].into_iter().collect();
        put_back(fields, |_| vec![original])["note"].clone()
    }

    #[test]
    fn a_text_without_its_secrets_means_the_one_with_them() {
        let original = json!(format!("Key {ONE} of the harbour"));
        assert_eq!(back(json!(format!("Key {MARKED} of the harbour")), &original), original);
        let other = json!("Something else");
        assert_eq!(back(other.clone(), &original), other);
        // Typed by somebody: there is nothing that it stands for.
        let typed = json!(format!("About {MARKED}"));
        assert_eq!(back(typed.clone(), &json!("About boats")), typed);
    }

    #[test]
    fn what_was_changed_elsewhere_keeps_the_secrets_whose_places_can_be_told() {
        let original = json!(format!("First {ONE}\nSecond {TWO}\nThird"));
        let back = |text: String| back(json!(text), &original).as_str().unwrap().to_owned();
        assert_eq!(
            back(format!("Second {MARKED}\nFirst {MARKED}\nFourth")),
            format!("Second {TWO}\nFirst {ONE}\nFourth")
        );
        assert_eq!(back(format!("Second {MARKED}")), format!("Second {TWO}"));
        assert_eq!(back(format!("1st {MARKED}\nSecond {MARKED}")), format!("1st {ONE}\nSecond {TWO}"));
        assert_eq!(back(format!("Either {MARKED}")), format!("Either {MARKED}"), "which one cannot be told");
        let key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\n-----END PRIVATE KEY-----";
        let whole = super::mended(
            "A [redacted:private-key] of old\nMore",
            &format!("A {key} of old\nThat is all"),
            "A [redacted:private-key] of old\nThat is all",
        );
        assert_eq!(whole.unwrap(), format!("A {key} of old\nMore"));
    }

    #[test]
    fn tags_are_put_back_each_for_itself() {
        let original = json!([ONE, "ops", TWO]);
        assert_eq!(back(json!([MARKED, "ops", "new"]), &original), json!([ONE, TWO, "ops", "new"]));
        assert_eq!(back(json!(["ops"]), &original), json!(["ops"]), "one that was removed stays removed");
    }

    #[test]
    fn what_is_taken_out_is_put_back_as_it_was() {
        struct Always;
        impl Redact for Always {
            fn text<'a>(&self, _: &Id, text: &'a str) -> std::borrow::Cow<'a, str> {
                Redactor.text(text, &mut Report::default())
            }
        }
        let fields = json!({ "title": format!("Use {ONE}"), "note": "Plain", TAGS: [ONE, TWO, "a"], "hidden": true });
        let fields = fields.as_object().unwrap().clone();
        let sent = taken_out(fields.clone(), &Id([1; 16]), &Always);
        let sent_text = Value::from(sent.clone()).to_string();
        assert!(!sent_text.contains(ONE) && !sent_text.contains(TWO), "{sent_text}");
        assert_eq!(sent[TAGS], json!([MARKED, "a"]));
        assert_eq!(put_back(sent, |field| vec![&fields[field]]), fields);
    }
}
