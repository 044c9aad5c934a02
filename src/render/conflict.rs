//! A conflict as a page: what two machines made of one field, whose value holds, and the command that takes the other one.

use serde_json::Value;

use crate::model::{Id, Millis};

/// What a page tells of.
#[derive(Debug, Clone, Copy)]
pub struct ConflictPage<'a> {
    /// What commands call it.
    pub number: i64,
    /// Of what: `commit`, ...
    pub kind: &'a str,
    pub id: Id,
    /// The directory's name at that time.
    pub name: &'a str,
    pub field: &'a str,
    /// The value before both changes.
    pub base: &'a Value,
    pub local: &'a Value,
    pub cloud: &'a Value,
    pub local_holds: bool,
    /// The name of the other machine; empty: not known.
    pub machine: &'a str,
    pub at: Millis,
}

/// The page.
#[must_use]
pub fn conflict_md(page: &ConflictPage<'_>) -> String {
    let ConflictPage { number, kind, id, field, .. } = *page;
    let other = if page.machine.is_empty() { "another machine".to_owned() } else { one_line(page.machine) };
    let (holds, yields) = if page.local_holds { ("local", "cloud") } else { ("cloud", "local") };
    let mut out = format!(
        "# Conflict {number}: {} of {}\n\nThe {} of this {kind} was changed here and on {other}, neither knowing of the other.\n\n",
        one_line(field),
        one_line(page.name),
        one_line(field),
    );
    out += &format!("- {kind}: {id}\n- found: {}\n- it holds: the {holds} value\n", page.at.iso());
    for (title, value) in [
        ("Before".to_owned(), page.base),
        ("Local: changed here".to_owned(), page.local),
        (format!("Cloud: changed on {other}"), page.cloud),
    ] {
        out += &format!("\n## {title}\n\n");
        for line in shown(field, value).lines() {
            let line = line.trim_end_matches('\r');
            out += if line.is_empty() { "" } else { "    " };
            out += line;
            out.push('\n');
        }
    }
    out + &format!(
        "\n## Take\n\n`cogfs sync conflicts take {number} {yields}` gives it the other value; `cogfs sync conflicts take {number} {holds}` \
         keeps this one and closes the conflict.\n"
    )
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A value as people read it.
fn shown(field: &str, value: &Value) -> String {
    match value {
        Value::Null if field == "deleted_at" => "(not deleted)".to_owned(),
        Value::Null => "(none)".to_owned(),
        Value::String(text) if text.is_empty() => "(empty)".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(at) if field == "deleted_at" => {
            format!("deleted {}", at.as_i64().map_or_else(|| at.to_string(), |at| Millis(at).iso()))
        }
        Value::Array(list) if list.is_empty() => "(none)".to_owned(),
        Value::Array(list) => list
            .iter()
            .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join("\n"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(field: &str, values: [&Value; 3]) -> String {
        let [base, local, cloud] = values;
        let id = Id([7; 16]);
        let (name, machine) = ("2026-08-19T14-03-22Z_fix-login_7f3a9c", "laptop");
        let (number, kind, local_holds, at) = (3, "commit", false, Millis(1_787_148_202_000));
        conflict_md(&ConflictPage { number, kind, id, name, field, base, local, cloud, local_holds, machine, at })
    }

    #[test]
    fn a_page_says_what_each_had_whose_value_holds_and_how_to_take_the_other() {
        let text = page("title", [&Value::Null, &json!("From here"), &json!("From there")]);
        for part in [
            "# Conflict 3: title of 2026-08-19T14-03-22Z_fix-login_7f3a9c\n",
            "it holds: the cloud value\n",
            "## Before\n\n    (none)\n",
            "## Local: changed here\n\n    From here\n",
            "## Cloud: changed on laptop\n\n    From there\n",
            "`cogfs sync conflicts take 3 local` gives it the other value",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(text.ends_with("closes the conflict.\n"));
    }

    #[test]
    fn values_of_any_kind_are_text_that_cannot_pass_for_the_page() {
        let text = page("note", [&json!(""), &json!("# Conflict 9\n\n## Take"), &json!("b")]);
        assert!(text.contains("    # Conflict 9\n\n    ## Take\n"), "{text}");
        let text = page("tags", [&json!([]), &json!(["a", "b"]), &json!(["c"])]);
        assert!(text.contains("    a\n    b\n"), "{text}");
        let text = page("deleted_at", [&Value::Null, &json!(1_787_148_202_000_i64), &Value::Null]);
        assert!(text.contains("(not deleted)") && text.contains("deleted 2026-08-19T"), "{text}");
    }
}
