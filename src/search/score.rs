//! How well a turn fits, and how new it is: BM25 over the candidates, of which the newer count more. Pure.
//!
//! FTS5's own `bm25` looks at every turn that has a word before it ranks the first: at a million turns that alone takes longer than
//! everything here.

use super::query::Phrase;
use super::words::Text;
use crate::model::{Millis, Role};

/// The usual constants of BM25.
const K1: f64 = 1.2;
const B: f64 = 0.75;
/// Words of a turn as long as most.
const USUAL_WORDS: f64 = 200.0;

/// What was typed or said counts more than what a tool was given, and that more than what it printed.
const WEIGHTS: [f64; 3] = [1.0, 0.7, 0.35];

/// An age at which half of what newness gives is left.
const HALF: f64 = 90.0 * 24.0 * 60.0 * 60.0 * 1000.0;
/// What of a score is newness at most.
const NEWNESS: f64 = 0.5;

/// What is known of a candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct Weighed {
    /// How often each phrase stands in it, by the weights of where.
    pub counts: Vec<f64>,
    pub words: usize,
    pub role: Role,
    pub at: Millis,
}

/// Counts a turn's phrases in its three texts.
#[must_use]
pub fn weigh(texts: [&str; 3], phrases: &[&Phrase], role: Role, at: Millis) -> Weighed {
    let (mut counts, mut words) = (vec![0.0; phrases.len()], 0);
    for (text, weight) in texts.into_iter().zip(WEIGHTS).filter(|(text, _)| !text.is_empty()) {
        let text = Text::new(text);
        words += text.words();
        for (count, here) in counts.iter_mut().zip(text.counts(phrases)) {
            *count += weight * f64::from(here);
        }
    }
    Weighed { counts, words, role, at }
}

/// The score of each candidate.
#[must_use]
#[allow(clippy::cast_precision_loss)] // Counts of words and candidates, and ages: nothing near 2^52 that matters.
pub fn scores(candidates: &[Weighed], now: Millis) -> Vec<f64> {
    let total = candidates.len() as f64;
    let phrases = candidates.first().map_or(0, |c| c.counts.len());
    let rarity: Vec<f64> = (0..phrases)
        .map(|phrase| {
            let having = candidates.iter().filter(|c| c.counts[phrase] > 0.0).count() as f64;
            (1.0 + (total - having + 0.5) / (having + 0.5)).ln()
        })
        .collect();
    let score = |candidate: &Weighed| {
        let length = 1.0 - B + B * candidate.words as f64 / USUAL_WORDS;
        let fit: f64 = candidate
            .counts
            .iter()
            .zip(&rarity)
            .map(|(count, rarity)| rarity * count * (K1 + 1.0) / (count + K1 * length))
            .sum();
        let age = now.0.saturating_sub(candidate.at.0).max(0) as f64;
        let newness = 1.0 - NEWNESS + NEWNESS * (-age / HALF).exp2();
        fit * newness * said(candidate.role)
    };
    candidates.iter().map(score).collect()
}

/// A prompt is what people remember.
fn said(role: Role) -> f64 {
    match role {
        Role::User => 1.3,
        Role::Assistant => 1.0,
        Role::Thinking | Role::Tool => 0.8,
        Role::System => 0.6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::query::parse;

    const NOW: Millis = Millis(1_800_000_000_000);
    const DAY: i64 = 24 * 60 * 60 * 1000;

    fn ranked(query: &str, turns: &[([&str; 3], Role, i64)]) -> Vec<usize> {
        let query = parse(query, NOW).unwrap();
        let phrases = query.words.as_ref().unwrap().wanted();
        let weighed: Vec<Weighed> = turns
            .iter()
            .map(|(texts, role, days)| weigh(*texts, &phrases, *role, Millis(NOW.0 - days * DAY)))
            .collect();
        let scores = scores(&weighed, NOW);
        let mut order: Vec<usize> = (0..turns.len()).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        order
    }

    #[test]
    fn what_is_said_often_and_briefly_and_lately_comes_first() {
        let long = "and so on ".repeat(400) + "login";
        let turns = [
            ([long.as_str(), "", ""], Role::Assistant, 0),
            (["The login page: login again", "", ""], Role::Assistant, 0),
            (["The login page: login again", "", ""], Role::Assistant, 400),
            (["", "", "login login"], Role::Tool, 0),
        ];
        let order = ranked("login", &turns);
        assert_eq!((order[0], order[3]), (1, 0), "{order:?}");
    }

    #[test]
    fn of_two_words_the_rarer_counts_more() {
        let turns = [
            (["apple apple", "", ""], Role::User, 0),
            (["apple", "", ""], Role::User, 0),
            (["apple", "", ""], Role::User, 0),
            (["quince", "", ""], Role::User, 0),
        ];
        assert_eq!(ranked("apple OR quince", &turns)[0], 3);
    }

    #[test]
    fn no_number_is_none() {
        let empty = weigh(["", "", ""], &[], Role::User, Millis(i64::MIN));
        assert_eq!(scores(&[empty], Millis(i64::MAX)), [0.0]);
        assert!(scores(&[], NOW).is_empty());
    }
}
