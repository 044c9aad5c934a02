//! A double of Supabase on a port of this machine: GoTrue's sessions, a function, and whatever fault a test asks for. Its forms
//! are those that the real services were seen to have.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// The key of the double's gateway.
pub const KEY: &str = "sb_publishable_for_tests";

/// The user whose tokens the double gives.
pub const USER: &str = "6e2f6f9a-3c1c-4b8e-9d55-0a1b2c3d4e5f";

/// The password of that user.
pub const PASSWORD: &str = "correct horse battery";

/// The code that a browser brings back.
pub const CODE: &str = "0d1c2b3a-4444-4000-8000-00000000000c";

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    /// With its query.
    pub path: String,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The user's token; `None`: none was sent.
    pub fn token(&self) -> Option<&str> {
        self.headers.get("authorization")?.strip_prefix("Bearer ")
    }
}

/// What to answer.
#[derive(Debug, Clone)]
pub enum Answer {
    Json(u16, Value),
    /// Status, headers, body.
    Raw(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Closes the connection without a word.
    Hangup,
    /// Promises more than it sends.
    CutOff(Vec<u8>),
    /// Sends a byte every 50 ms, for ever.
    Drip,
}

type Handler = dyn Fn(&Asked) -> Option<Answer> + Send + Sync;

/// The double. What the test's handler does not answer is answered as Supabase does.
pub struct Double {
    pub url: String,
    state: Arc<State>,
}

struct State {
    asked: Mutex<Vec<Asked>>,
    tokens: Mutex<Tokens>,
    handler: Mutex<Arc<Handler>>,
}

/// GoTrue's sessions, which are one.
#[derive(Default)]
struct Tokens {
    given: u32,
    access: Option<String>,
    refresh: Option<String>,
}

impl Double {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            asked: Mutex::default(),
            tokens: Mutex::default(),
            handler: Mutex::new(Arc::new(|_: &Asked| None)),
        });
        let of_thread = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                let state = Arc::clone(&of_thread);
                thread::spawn(move || drop(serve(stream, &state)));
            }
        });
        Self { url, state }
    }

    /// Answers in Supabase's place, as long as it answers.
    pub fn answers(&self, handler: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) {
        *self.state.handler.lock().unwrap() = Arc::new(handler);
    }

    /// Everything that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().unwrap().clone()
    }

    /// How often a path was asked that begins so.
    pub fn count(&self, path: &str) -> usize {
        self.asked().iter().filter(|asked| asked.path.starts_with(path)).count()
    }

    /// The access token that is taken now is taken no more.
    pub fn expire(&self) {
        self.state.tokens.lock().unwrap().access = None;
    }

    /// The next tokens: access and refresh.
    pub fn give(&self) -> (String, String) {
        self.state.tokens.lock().unwrap().give()
    }

    /// Every secret that this server gave, or was given.
    pub fn secrets(&self) -> Vec<String> {
        let given = self.state.tokens.lock().unwrap().given;
        let mut all: Vec<String> = (1..=given).flat_map(|n| [access(n), refresh(n)]).collect();
        all.extend([PASSWORD.to_owned(), CODE.to_owned()]);
        for asked in self.asked() {
            all.extend(asked.json()["code_verifier"].as_str().map(str::to_owned));
        }
        all
    }
}

fn access(number: u32) -> String {
    let claims = json!({"sub": USER, "exp": 4_000_000_000_i64, "role": "authenticated", "number": number});
    format!("eyJhbGciOiJIUzI1NiJ9.{}.signature{number}", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

fn refresh(number: u32) -> String {
    format!("refreshtoken{number}")
}

impl Tokens {
    fn give(&mut self) -> (String, String) {
        self.given += 1;
        let pair = (access(self.given), refresh(self.given));
        (self.access, self.refresh) = (Some(pair.0.clone()), Some(pair.1.clone()));
        pair
    }

    fn session(&mut self) -> Answer {
        let (access, refresh) = self.give();
        Answer::Json(
            200,
            json!({
                "access_token": access, "token_type": "bearer", "expires_in": 3600, "expires_at": 1, "refresh_token": refresh,
                "user": {
                    "id": USER, "aud": "authenticated", "role": "authenticated", "email": "mira@example.org",
                    "app_metadata": {"provider": "github", "providers": ["github"]},
                    "user_metadata": {"user_name": "mira", "provider_id": "7"},
                },
            }),
        )
    }
}

fn serve(stream: TcpStream, state: &State) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let asked = read(&mut reader)?;
    state.asked.lock().unwrap().push(asked.clone());
    let handler = Arc::clone(&state.handler.lock().unwrap());
    let answer = handler(&asked).unwrap_or_else(|| supabase(&asked, &mut state.tokens.lock().unwrap()));
    write(stream, answer)
}

fn read(reader: &mut BufReader<TcpStream>) -> std::io::Result<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_lowercase(), value.trim().to_owned());
        }
    }
    let length = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Asked { method, path, headers, body })
}

fn write(mut stream: TcpStream, answer: Answer) -> std::io::Result<()> {
    let head = |status: u16, length: usize| {
        format!("HTTP/1.1 {status} Said\r\nConnection: close\r\nContent-Length: {length}\r\n")
    };
    match answer {
        Answer::Json(status, value) => {
            let body = value.to_string();
            write!(stream, "{}Content-Type: application/json; charset=utf-8\r\n\r\n{body}", head(status, body.len()))
        }
        Answer::Raw(status, headers, body) => {
            let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            write!(stream, "{}{headers}\r\n", head(status, body.len()))?;
            stream.write_all(&body)
        }
        Answer::Hangup => Ok(()),
        Answer::CutOff(body) => {
            write!(stream, "{}Content-Type: application/json\r\n\r\n", head(200, body.len() + 100))?;
            stream.write_all(&body)
        }
        Answer::Drip => {
            write!(stream, "{}Content-Type: application/json\r\n\r\n", head(200, 1_000_000))?;
            loop {
                stream.write_all(b" ")?;
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

fn gotrue_error(status: u16, code: &str) -> Answer {
    Answer::Json(status, json!({"code": code, "message": format!("about {code}")}))
}

fn supabase(asked: &Asked, tokens: &mut Tokens) -> Answer {
    if asked.headers.get("apikey").map(String::as_str) != Some(KEY) {
        return Answer::Json(401, json!({"message": "Invalid API key", "hint": "Double check your key."}));
    }
    let is_user = asked.token().is_some() && asked.token() == tokens.access.as_deref();
    let said = asked.json();
    match asked.path.as_str() {
        "/auth/v1/settings" => Answer::Json(200, json!({"external": {"github": true, "google": false, "email": true}})),
        "/auth/v1/token?grant_type=password" if said["password"] == PASSWORD => tokens.session(),
        "/auth/v1/token?grant_type=password" => gotrue_error(400, "invalid_credentials"),
        "/auth/v1/token?grant_type=pkce" if said["auth_code"] == CODE => tokens.session(),
        "/auth/v1/token?grant_type=pkce" => gotrue_error(404, "flow_state_not_found"),
        "/auth/v1/token?grant_type=refresh_token" => {
            if said["refresh_token"].as_str() == tokens.refresh.as_deref() {
                tokens.session()
            } else {
                gotrue_error(400, "refresh_token_already_used")
            }
        }
        "/auth/v1/logout?scope=local" if is_user => {
            (tokens.access, tokens.refresh) = (None, None);
            Answer::Raw(204, Vec::new(), Vec::new())
        }
        path if path.starts_with("/auth/") => gotrue_error(403, "bad_jwt"),
        path if path.starts_with("/rest/") && !is_user => {
            Answer::Json(401, json!({"code": "PGRST301", "message": "JWT expired", "details": null, "hint": null}))
        }
        path if path.starts_with("/storage/") && !is_user => Answer::Json(
            400,
            json!({"statusCode": "403", "error": "Unauthorized", "message": "\"exp\" claim timestamp check failed"}),
        ),
        "/rest/v1/rpc/sync_status" => Answer::Json(200, status()),
        _ => Answer::Json(404, json!({"code": "PGRST202", "message": "no such function"})),
    }
}

/// What `sync_status` says.
pub fn status() -> Value {
    json!({
        "protocol": {"min": 1, "max": 1}, "user": USER, "plan": "free", "head": 7, "min_seq": 0,
        "usage": {"commits": 68, "bytes": 6_100_000}, "limits": {"commits": 250, "bytes": 50_000_000}, "now": 1_800_000_000_000_i64,
    })
}
