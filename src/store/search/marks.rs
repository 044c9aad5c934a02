//! Words that the index has of a turn beside those in it: who said it, with which agent, tool and model. They are made of private
//! characters, so that no text meets them, and are looked up like any word: a filter costs no look at the turns.

use std::fmt::Write as _;

use crate::model::Role;

/// In front of each. Of category Co, which FTS5's `unicode61` takes for a letter.
const PRIVATE: char = '\u{e000}';

/// Bytes of a name that are compared.
const MOST: usize = 80;

/// The kinds of marks, by their letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    Agent,
    Model,
    Tool,
}

impl Mark {
    fn letter(self) -> char {
        match self {
            Self::Agent => 'a',
            Self::Model => 'm',
            Self::Tool => 't',
        }
    }

    /// The word for a name. Names that differ in case and punctuation alone have one, as their directories in `by/` do.
    #[must_use]
    pub fn word(self, name: &str) -> String {
        let mut word = String::from_iter([PRIVATE, self.letter()]);
        // In hex: the index folds letters.
        for byte in name
            .chars()
            .filter(|c| c.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .collect::<String>()
            .bytes()
            .take(MOST)
        {
            // Writing to a string cannot fail.
            let _ = write!(word, "{byte:02x}");
        }
        word
    }
}

/// The word for a role.
#[must_use]
pub fn role(role: Role) -> String {
    format!("{PRIVATE}r{}", role as u8)
}

/// An expression that every turn fits.
#[must_use]
pub fn everything() -> String {
    let roles = [Role::User, Role::Assistant, Role::Thinking, Role::Tool, Role::System];
    let words: Vec<String> = roles.iter().map(|r| format!("\"{}\"", role(*r))).collect();
    format!("({})", words.join(" OR "))
}

/// All words for a turn.
pub(super) fn of_turn(role_number: u8, agent: &str, tool: Option<&str>, model: Option<&str>) -> String {
    let mut words = role(Role::from_u8(role_number).unwrap_or(Role::System));
    let mut add = |word: String| {
        words.push(' ');
        words.push_str(&word);
    };
    add(Mark::Agent.word(agent));
    if let Some(tool) = tool {
        add(Mark::Tool.word(tool));
    }
    if let Some(model) = model {
        add(Mark::Model.word(model));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_one_directory_are_one_word() {
        assert_eq!(Mark::Tool.word("mcp__Files__read"), Mark::Tool.word("mcp-files-read"));
        assert_ne!(Mark::Tool.word("bash"), Mark::Model.word("bash"));
        assert_eq!(of_turn(1, "codex", None, None), format!("{} {}", role(Role::User), Mark::Agent.word("codex")));
    }
}
