use proptest::prelude::*;

use super::*;

fn clean(text: &str) -> String {
    Redactor.text(text, &mut Report::default()).into_owned()
}

/// Made of pieces, or this file itself would be taken for one that holds secrets.
fn secrets() -> Vec<(&'static str, String)> {
    let (hex, base62) = ("0123456789abcdef".repeat(4), "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zA".repeat(2));
    vec![
        (
            "private-key",
            format!(
                "-----BEGIN OPENSSH {}-----\nb3BlbnNzaA==\nAAAA\n-----END OPENSSH {}-----",
                "PRIVATE KEY", "PRIVATE KEY"
            ),
        ),
        ("aws-access-key", format!("AKIA{}", "QZ4WMT2N7HYPL3RB")),
        ("github-token", format!("ghp_{}", &base62[..36])),
        ("github-token", format!("github_pat_{}", &base62[..40])),
        ("gitlab-token", format!("glpat-{}", &base62[..20])),
        ("slack-token", format!("xoxb-{}-{}", "123456789012", &base62[..24])),
        ("anthropic-key", format!("sk-ant-api03-{base62}")),
        ("openai-key", format!("sk-proj-{}", &base62[..48])),
        ("openai-key", format!("sk-{}", &base62[..48])),
        ("stripe-key", format!("sk_live_{}", &base62[..24])),
        ("google-key", format!("AIza{}", &base62[..35])),
        ("npm-token", format!("npm_{}", &base62[..36])),
        ("huggingface-token", format!("hf_{}", &base62[..34])),
        ("supabase-key", format!("sb_secret_{}", &base62[..30])),
        ("sendgrid-key", format!("SG.{}.{}", &base62[..22], &base62[..43])),
        ("digitalocean-token", format!("dop_v1_{hex}")),
        ("jwt", format!("eyJ{}.eyJ{}.{}", &base62[..20], &base62[..30], &base62[..40])),
    ]
}

#[test]
fn each_kind_of_secret_is_taken_out_of_a_sentence_and_counted() {
    for (kind, secret) in secrets() {
        let mut report = Report::default();
        let text = format!("I use {secret} here.");
        assert_eq!(Redactor.text(&text, &mut report), format!("I use [redacted:{kind}] here."), "{kind}");
        assert_eq!(report.0.into_iter().collect::<Vec<_>>(), [(kind, 1)]);
    }
}

#[test]
fn of_what_says_where_a_secret_is_used_the_secret_alone_goes() {
    for (text, cleaned) in [
        (
            "postgres://shop:h4rdToGuess@db.internal:5432/shop",
            "postgres://shop:[redacted:connection-string]@db.internal:5432/shop",
        ),
        ("redis://:p4ssw0rd@cache:6379", "redis://:[redacted:connection-string]@cache:6379"),
        (
            "curl -H 'Authorization: Bearer abc.DEF-123456' x",
            "curl -H 'Authorization: Bearer [redacted:authorization]' x",
        ),
        ("DB_PASSWORD=letmein\nPORT=80", "DB_PASSWORD=[redacted:env]\nPORT=80"),
        ("export STRIPE_SECRET=\"words only\"", "export STRIPE_SECRET=\"words only\""),
        ("  \"apiKey\": \"k9Qz2LpT7vXw4Rb8\",", "  \"apiKey\": \"[redacted:assigned-secret]\","),
        ("the password is Tr0ub4dor&3x!", "the password is [redacted:assigned-secret]"),
        ("AccountKey=QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo0MTIzNDU2Nzg5MA==;", "AccountKey=[redacted:azure-key];"),
    ] {
        assert_eq!(clean(text), cleaned);
    }
}

#[test]
fn what_is_no_secret_stays() {
    for text in [
        "commit 3f785a5cb8f2e1d04a6b9c7d2e5f8a1b3c4d6e7f",
        "token: 3f785a5cb8f2e1d04a6b9c7d2e5f8a1b3c4d6e7f",
        "session_token = 5f2b1c9e-8a4d-4f7b-9c3e-1a2b3c4d5e6f",
        "API_KEY=<your key here>",
        "API_KEY=${API_KEY}",
        "SECRET_KEY=changeme",
        "const token = getToken();",
        "password: string",
        "let secret = process.env.SECRET;",
        "password = os.environ[\"PASSWORD\"]",
        "https://example.com:8080/path@2",
        "git@github.com:owner/name.git",
        "token_count: 123456789",
        "The secret of good bread is time.",
        "data:image/png;base64,AKIAQZ4WMT2N7HYPL3RB",
        "skip-the-tests-and-go-on",
        "",
    ] {
        assert_eq!(clean(text), text);
    }
    let picture = "iVBORw0KGgo+AKIAQZ4WMT2N7HYPL3RB/".repeat(200);
    assert_eq!(clean(&picture), picture);
}

#[test]
fn of_a_record_the_strings_alone_change() {
    let (_, key) = secrets().swap_remove(0);
    let record = format!("{{\"b\" : 1.50, \"a\":\"x\\u00e9\", \"text\":{}}}", serde_json::to_string(&key).unwrap());
    let mut report = Report::default();
    let cleaned = Redactor.record(&record, &mut report);
    assert_eq!(cleaned, "{\"b\" : 1.50, \"a\":\"x\\u00e9\", \"text\":\"[redacted:private-key]\"}");
    assert_eq!(report.total(), 1);
    assert!(matches!(Redactor.record("{\"a\": \"b\\\\\", \"c\": 1}", &mut report), Cow::Borrowed(_)));
    assert_eq!(Redactor.record("no JSON: DB_PASSWORD=letmein", &mut report), "no JSON: DB_PASSWORD=letmein");
    assert_eq!(Redactor.record("DB_PASSWORD=letmein", &mut report), "DB_PASSWORD=[redacted:env]");
}

proptest! {
    #[test]
    fn redacting_twice_is_redacting_once(text in ".{0,200}", which in 0_usize..16, behind in ".{0,40}") {
        let text = format!("{text}{}{behind}", secrets()[which].1);
        let once = clean(&text);
        prop_assert_eq!(clean(&once), once);
    }

    #[test]
    fn a_record_stays_json_and_what_surrounds_a_secret_stays(before in any::<String>(), after in any::<String>()) {
        let (kind, secret) = secrets().swap_remove(6);
        let text = format!("{before} {secret} {after}");
        let record = serde_json::json!({ "text": text, "n": 1 }).to_string();
        let cleaned = Redactor.record(&record, &mut Report::default()).into_owned();
        let value: serde_json::Value = serde_json::from_str(&cleaned).unwrap();
        let cleaned = value["text"].as_str().unwrap();
        prop_assert!(!cleaned.contains(&secret), "{}", kind);
    }
}
