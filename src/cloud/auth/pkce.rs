//! A login through the browser: what is asked, and what has to come back (RFC 7636). Pure, but for the dice.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::{Digest, Sha256};
use url::Url;

use super::super::secret::Secret;

/// Why a browser's login brought no code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoCode {
    /// It answers another question than ours.
    #[error("it belongs to another login: use the newest page, or run `cogfs login` again")]
    OtherLogin,
    /// The provider or the server said no.
    #[error("{0}")]
    Denied(String),
    /// There is none in it.
    #[error("there is no code in it: paste the whole address that the browser ended on, or its code=… part")]
    Missing,
}

/// One login. Who has the address it began with cannot end it: the verifier stays here.
#[derive(Debug)]
pub struct Challenge {
    verifier: Secret,
    state: String,
}

impl Challenge {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { verifier: Secret::new(random()?), state: random()? })
    }

    /// The proof that a code was asked for here.
    #[must_use]
    pub fn verifier(&self) -> &Secret {
        &self.verifier
    }

    /// Where the browser is to end, given the listener's address.
    fn redirect(&self, callback: &str) -> String {
        format!("{callback}?state={}", self.state)
    }

    /// Where the browser is to begin. `callback` is the listener's address; `None` when the server's address is none.
    #[must_use]
    pub fn address(&self, server: &str, provider: &str, callback: &str) -> Option<String> {
        let digest = Sha256::digest(self.verifier.reveal().as_bytes());
        let mut url = Url::parse(&format!("{server}/auth/v1/authorize")).ok()?;
        url.query_pairs_mut()
            .append_pair("provider", provider)
            .append_pair("redirect_to", &self.redirect(callback))
            .append_pair("code_challenge", &URL_SAFE_NO_PAD.encode(digest))
            .append_pair("code_challenge_method", "s256");
        Some(url.into())
    }

    /// The code in the query that the browser came back with.
    ///
    /// # Errors
    /// When there is none, or it is another login's.
    pub fn code_of(&self, query: &str) -> Result<Secret, NoCode> {
        let pairs: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let get = |name: &str| pairs.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        if get("state") != Some(&self.state) {
            return Err(NoCode::OtherLogin);
        }
        if get("error").is_some() || get("error_code").is_some() {
            return Err(NoCode::Denied(denied(get("error_code"), get("error_description").or(get("error")))));
        }
        get("code").filter(|code| is_code(code)).map(Secret::new).ok_or(NoCode::Missing)
    }

    /// The code in what somebody pasted: the address that the browser ended on, its query, or the code alone.
    ///
    /// # Errors
    /// When there is none, or it is another login's.
    pub fn code_in(&self, pasted: &str) -> Result<Secret, NoCode> {
        let pasted = pasted.trim().trim_matches(['"', '\'', '<', '>']);
        if let Some((_, query)) = pasted.split_once('?') {
            return self.code_of(query.split('#').next().unwrap_or_default());
        }
        if pasted.contains("code=") {
            let code = url::form_urlencoded::parse(pasted.as_bytes()).find(|(name, _)| name == "code");
            return code.map(|(_, code)| Secret::new(code)).filter(|c| is_code(c.reveal())).ok_or(NoCode::Missing);
        }
        if is_code(pasted) { Ok(Secret::new(pasted)) } else { Err(NoCode::Missing) }
    }
}

/// GoTrue's codes are UUIDs; what is certainly none is told at once.
fn is_code(text: &str) -> bool {
    (8..=512).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn denied(code: Option<&str>, description: Option<&str>) -> String {
    let words = description.unwrap_or("no reason was given");
    let words: String = words.chars().filter(|c| !c.is_control()).take(300).collect();
    match code {
        Some(code) if code.bytes().all(|b| b.is_ascii_graphic()) && code.len() < 80 => format!("{words} ({code})"),
        _ => words,
    }
}

/// 43 characters: the least that a verifier may have.
fn random() -> std::io::Result<String> {
    let mut bytes = [0u8; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
    }
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "0d1c2b3a-0000-4000-8000-00000000000c";

    #[test]
    fn the_address_has_the_challenge_and_never_the_verifier() {
        let challenge =
            Challenge { verifier: Secret::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"), state: "s".to_owned() };
        let address = challenge.address("https://a.example", "github", "http://127.0.0.1:9/callback").unwrap();
        // RFC 7636, appendix B.
        assert!(address.contains("code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&"), "{address}");
        assert!(address.contains("redirect_to=http%3A%2F%2F127.0.0.1%3A9%2Fcallback%3Fstate%3Ds&"), "{address}");
        assert!(address.starts_with("https://a.example/auth/v1/authorize?provider=github&"), "{address}");
        assert!(!address.contains("dBjft"));
        let [one, two] = [Challenge::new().unwrap(), Challenge::new().unwrap()];
        assert_eq!(one.verifier.reveal().len(), 43);
        assert_ne!(one.verifier, two.verifier);
        assert_ne!(one.state, two.state);
    }

    #[test]
    fn a_code_is_taken_with_our_state_alone() {
        let challenge = Challenge::new().unwrap();
        let state = &challenge.state;
        assert_eq!(challenge.code_of(&format!("state={state}&code={CODE}")).unwrap().reveal(), CODE);
        assert_eq!(challenge.code_of(&format!("state=other&code={CODE}")), Err(NoCode::OtherLogin));
        assert_eq!(challenge.code_of(&format!("code={CODE}")), Err(NoCode::OtherLogin));
        assert_eq!(challenge.code_of(&format!("state={state}")), Err(NoCode::Missing));
        assert_eq!(challenge.code_of(&format!("state={state}&code=a%20b%0d%0a")), Err(NoCode::Missing));
        let denied = challenge.code_of(&format!(
            "state={state}&error=access_denied&error_code=access_denied&error_description=The+user+said+no%0A"
        ));
        assert_eq!(denied, Err(NoCode::Denied("The user said no (access_denied)".to_owned())));
    }

    #[test]
    fn what_people_paste_is_understood() {
        let challenge = Challenge::new().unwrap();
        let whole = format!(" http://127.0.0.1:4711/callback?state={}&code={CODE}#x\n", challenge.state);
        for pasted in [whole.as_str(), CODE, &format!("code={CODE}"), &format!("'{CODE}'\r\n")] {
            assert_eq!(challenge.code_in(pasted).map(|c| c.reveal().to_owned()).as_deref(), Ok(CODE), "{pasted}");
        }
        assert_eq!(
            challenge.code_in(&format!("http://127.0.0.1:1/callback?state=x&code={CODE}")),
            Err(NoCode::OtherLogin)
        );
        for pasted in ["", "no", "what is this", "http://127.0.0.1:1/callback"] {
            assert_eq!(challenge.code_in(pasted), Err(NoCode::Missing), "{pasted}");
        }
    }
}
