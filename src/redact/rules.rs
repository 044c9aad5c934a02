//! What looks like a secret. Shapes are those that the issuers document, so that nothing is taken for a secret by its looks alone:
//! a text of high entropy counts only beside a word that says what it is.

use std::sync::LazyLock;

use regex::{Captures, Regex, RegexSet};

/// A kind of secret.
pub struct Rule {
    /// What stands in its place: `[redacted:NAME]`.
    pub name: &'static str,
    /// The secret is the group `secret`, or the whole match.
    pattern: &'static str,
    /// Whether a match is one after all.
    check: fn(&Captures<'_>) -> bool,
}

const fn rule(name: &'static str, pattern: &'static str) -> Rule {
    Rule { name, pattern, check: |_| true }
}

/// Words that say that what follows is a secret.
const KEYWORD: &str = r"(?:password|passwd|passphrase|pwd|secret|token|api[_-]?key|apikey|access[_-]?key|private[_-]?key|auth[_-]?key|encryption[_-]?key|signing[_-]?key|client[_-]?secret|credentials?)";

/// In their order: what the first takes, the next do not see.
pub static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    vec![
        // A key that was cut off ends with the text.
        rule(
            "private-key",
            r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----(?s:.*?)(?:-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----|\z)",
        ),
        rule("age-key", r"\bAGE-SECRET-KEY-1[0-9A-Z]{58}\b"),
        rule("aws-access-key", r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b"),
        rule("github-token", r"\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})\b"),
        rule("gitlab-token", r"\bgl(?:pat|dt|rt|cbt|ptt|ft|soat)-[A-Za-z0-9_-]{20,}"),
        rule("slack-token", r"\bxox[abeprs]-[A-Za-z0-9-]{10,}|\bxapp-[0-9]-[A-Za-z0-9-]{20,}"),
        rule("slack-webhook", r"https://hooks\.slack\.com/(?:services|workflows)/(?P<secret>[A-Za-z0-9/_-]{20,})"),
        rule("anthropic-key", r"\bsk-ant-[a-z0-9]+-[A-Za-z0-9_-]{20,}"),
        rule("openai-key", r"\bsk-(?:proj-|svcacct-|admin-)?[A-Za-z0-9_-]*[A-Za-z0-9]{20,}[A-Za-z0-9_-]*"),
        rule("stripe-key", r"\b(?:[sr]k_(?:live|test)_[0-9A-Za-z]{16,}|whsec_[0-9A-Za-z+/=]{24,})"),
        rule("google-key", r"\bAIza[0-9A-Za-z_-]{35}|\bya29\.[0-9A-Za-z_-]{20,}|\bGOCSPX-[0-9A-Za-z_-]{28}"),
        rule("npm-token", r"\bnpm_[A-Za-z0-9]{36}\b"),
        rule("pypi-token", r"\bpypi-AgE[A-Za-z0-9_-]{50,}"),
        rule("crates-token", r"\bcio[A-Za-z0-9]{32}\b"),
        rule("huggingface-token", r"\bhf_[A-Za-z0-9]{30,}\b"),
        rule("supabase-key", r"\bsb_secret_[A-Za-z0-9_-]{20,}|\bsbp_[a-f0-9]{40}\b"),
        rule("sendgrid-key", r"\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
        rule("digitalocean-token", r"\bdo[opr]_v1_[a-f0-9]{64}\b"),
        rule("telegram-token", r"\b[0-9]{8,10}:AA[A-Za-z0-9_-]{33}\b"),
        rule("azure-key", r"(?i)\b(?:AccountKey|SharedAccessKey)=(?P<secret>[A-Za-z0-9+/]{40,}={0,2})"),
        rule("jwt", r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
        Rule {
            name: "connection-string",
            pattern: r#"\b[A-Za-z][A-Za-z0-9+.-]{1,30}://[^\s:/@"'<>]*:(?P<secret>[^\s/@"'<>]{3,})@[^\s]"#,
            check: |found| !is_placeholder(secret(found)),
        },
        rule(
            "authorization",
            r"(?i)\bauthorization[\x22']?\s*[:=]\s*[\x22']?(?:bearer|basic|token)\s+(?P<secret>[A-Za-z0-9._~+/=-]{8,})",
        ),
        // A line of a `.env` file, or of a shell: the name says it, whatever the value looks like.
        Rule {
            name: "env",
            pattern: ENV.as_str(),
            check: |found| !is_placeholder(secret(found)) && !is_name_of_a_thing(secret(found)),
        },
        Rule {
            name: "assigned-secret",
            pattern: ASSIGNED.as_str(),
            check: |found| {
                looks_random(secret(found)) && !is_placeholder(secret(found)) && !is_name_of_a_thing(secret(found))
            },
        },
    ]
});

static ENV: LazyLock<String> = LazyLock::new(|| {
    format!(
        r#"(?m)^[ \t]*(?:export[ \t]+|set[ \t]+)?(?:[A-Z0-9_]*_)?(?i-u:{KEYWORD})(?:_[A-Z0-9_]*)?=[ \t]*["']?(?P<secret>[^\s"'#]{{6,}})"#
    )
});

static ASSIGNED: LazyLock<String> = LazyLock::new(|| {
    format!(
        r#"(?i){KEYWORD}[A-Za-z0-9_]*["']?\s{{0,3}}(?:=>|:=|=|:|\bis\b)\s{{0,3}}["'`]?(?P<secret>[A-Za-z0-9+/_=.~!@#$%^&*-]{{8,256}})"#
    )
});

/// The rules, ready to be used.
pub static PATTERNS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    // The patterns are constants: a test compiles them all.
    RULES.iter().map(|rule| Regex::new(rule.pattern).unwrap_or_else(|error| panic!("{}: {error}", rule.name))).collect()
});

/// Which of them match, in one pass.
pub static ANY: LazyLock<RegexSet> = LazyLock::new(|| {
    // As above.
    RegexSet::new(RULES.iter().map(|rule| rule.pattern)).unwrap_or_else(|error| panic!("{error}"))
});

impl Rule {
    /// Whether what its pattern found is a secret.
    pub fn holds(&self, found: &Captures<'_>) -> bool {
        (self.check)(found)
    }
}

/// What is to be taken out of a match.
fn secret<'t>(found: &Captures<'t>) -> &'t str {
    found.name("secret").or_else(|| found.get(0)).map_or("", |part| part.as_str())
}

/// Written in place of a secret: by people in examples, by programs in logs.
fn is_placeholder(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    let one_character = value.chars().all(|c| value.starts_with(c));
    one_character
        || value.starts_with(['$', '<', '{', '[', '%', '*', '('])
        || value.contains("...")
        || value.contains('…')
        || value.contains("${")
        || value.contains("{{")
        || ["your", "example", "placeholder", "changeme", "change-me", "change_me", "redacted", "xxxx", "dummy", "****"]
            .iter()
            .any(|word| lower.contains(word))
        || ["null", "none", "undefined", "true", "false", "string", "password", "secret", "token"]
            .contains(&lower.as_str())
}

/// A call, a path, a member of something: code that says where a secret comes from, not what it is. Hashes of git and UUIDs name
/// things too.
fn is_name_of_a_thing(value: &str) -> bool {
    let is_code = value.contains('(') || value.starts_with(['/', '.', '~', '@']) || value.contains("://");
    let member = value.split('.').count() > 1
        && value.split('.').all(|part| part.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_'))
        && value.chars().all(|c| c.is_ascii_alphabetic() || c == '.' || c == '_');
    is_code || member || is_uuid(value) || is_git_hash(value)
}

fn is_git_hash(value: &str) -> bool {
    value.len() == 40 && value.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_uuid(value: &str) -> bool {
    value.len() == 36
        && value
            .bytes()
            .enumerate()
            .all(|(i, b)| if matches!(i, 8 | 13 | 18 | 23) { b == b'-' } else { b.is_ascii_hexdigit() })
}

/// Bits a character of which no word, name or sentence has as many and letters and digits both.
const RANDOM_BITS: f64 = 3.0;

fn looks_random(value: &str) -> bool {
    let digits = value.bytes().any(|b| b.is_ascii_digit());
    let letters = value.bytes().any(|b| b.is_ascii_alphabetic());
    digits && letters && entropy(value) >= RANDOM_BITS
}

/// Shannon's, in bits a byte.
fn entropy(value: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in value.bytes() {
        counts[usize::from(byte)] += 1;
    }
    #[expect(clippy::cast_precision_loss, reason = "no secret is that long")]
    let length = value.len() as f64;
    counts.iter().filter(|count| **count > 0).map(|count| f64::from(*count) / length).map(|p| -p * p.log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles_and_has_a_name_of_its_own() {
        assert_eq!(PATTERNS.len(), ANY.len());
        let mut names: Vec<&str> = RULES.iter().map(|rule| rule.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RULES.len());
    }

    #[test]
    fn random_texts_have_more_entropy_than_words() {
        assert!(looks_random("k9Qz2LpT7vXw"));
        assert!(!looks_random("correcthorse"));
        assert!(!looks_random("aaaa1111"));
    }
}
