//! Two machines of one user, and a server that is a cloud in memory behind the double of Supabase.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use base64::Engine;
use cogfs::cloud::auth::session::{Session, Sessions};
use cogfs::cloud::secret::Secret;
use cogfs::cloud::wire::{Change, Mark};
use cogfs::cloud::{Cloud, CloudError};
use cogfs::model::{Id, Millis};
use serde::Serialize;
use serde_json::{Value, json};

use crate::common::cloud::{Answer, Asked, Double, KEY, USER};
use crate::common::{ClaudeLog, World, wait_until};
use crate::memory_cloud::MemoryCloud;

pub const FETCH: &str = "/rest/v1/rpc/fetch_contents";
const OBJECTS: &str = "/storage/v1/object/visuals/";
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How the server is.
#[derive(Default)]
struct Weather {
    /// It does not answer fetches of these sessions.
    held: Vec<Id>,
    holds_all: bool,
    is_gone: bool,
}

pub struct Stage {
    pub double: Double,
    pub cloud: MemoryCloud,
    weather: Arc<(Mutex<Weather>, Condvar)>,
    /// The one that pushes.
    pub a: World,
    /// The one that fetches.
    pub b: World,
}

fn world(double: &Double, tokens: &(String, String)) -> World {
    let mut world = World::new();
    world.set_variable("COGFS_SYNC_URL", Box::leak(double.url.clone().into_boxed_str()));
    world.set_variable("COGFS_SYNC_KEY", KEY);
    let session = Session {
        url: double.url.clone(),
        user: Id::parse(USER).unwrap(),
        email: None,
        name: Some("mira".to_owned()),
        provider: None,
        access_token: Secret::new(tokens.0.as_str()),
        refresh_token: Secret::new(tokens.1.as_str()),
        expires_in: 3600,
        received_at: Millis::now(),
        ended: None,
    };
    Sessions::new(session_file(&world)).save(&session).unwrap();
    world
}

pub fn session_file(world: &World) -> PathBuf {
    world.home().join("state/session.json")
}

/// A log with so many questions, and pictures behind them.
pub fn log(number: u32, pictures: u32) -> ClaudeLog {
    let mut log = ClaudeLog::new("boats", number);
    for question in 1..=5 {
        log.user(&format!("Question {question} of {number}")).assistant(&format!("Answer {question} of {number}."));
    }
    for picture in 1..=pictures {
        let data = base64::engine::general_purpose::STANDARD.encode(picture_bytes(number, picture));
        let source = json!({"type": "base64", "media_type": "image/png", "data": data});
        let content = json!([{"type": "text", "text": "Look."}, {"type": "image", "source": source}]);
        log.record("user", &json!({"message": {"role": "user", "content": content}})).assistant("I see.");
    }
    log
}

pub fn picture_bytes(number: u32, picture: u32) -> Vec<u8> {
    [b"\x89PNG\r\n\x1a\n".as_slice(), format!("picture {picture} of {number}").as_bytes()].concat()
}

impl Stage {
    /// So many sessions were imported and pushed by one machine, with a picture each, and pulled by the other.
    pub fn with(sessions: u32) -> Self {
        let double = Double::start();
        let tokens = double.give();
        let stage = Self {
            a: world(&double, &tokens),
            b: world(&double, &tokens),
            double,
            cloud: MemoryCloud::new(),
            weather: Arc::default(),
        };
        stage.cloud.set_user(Id::parse(USER).unwrap());
        stage.cloud.set_clock(Millis::now().0);
        let (cloud, weather) = (stage.cloud.clone(), Arc::clone(&stage.weather));
        stage.double.answers(move |asked| answer(&cloud, &weather, asked));
        for number in 1..=sessions {
            log(number, 1).write(&stage.a.logs());
        }
        stage.a.import(&[&stage.a.logs()]);
        stage.a.run(&["push"]).exits(0);
        stage.b.run(&["pull"]).exits(0);
        stage
    }

    /// Fetches are not answered until [`Self::let_go`].
    pub fn hold(&self) {
        self.weather.0.lock().unwrap().holds_all = true;
    }

    /// Those of one session.
    pub fn hold_one(&self, id: Id) {
        self.weather.0.lock().unwrap().held.push(id);
    }

    pub fn let_go(&self) {
        *self.weather.0.lock().unwrap() = Weather::default();
        self.weather.1.notify_all();
    }

    /// The server cannot be reached.
    pub fn is_gone(&self) {
        self.weather.0.lock().unwrap().is_gone = true;
    }

    /// It can again.
    pub fn is_back(&self) {
        self.weather.0.lock().unwrap().is_gone = false;
    }

    pub fn fetches(&self) -> usize {
        self.double.count(FETCH)
    }

    /// Requests of any kind.
    pub fn requests(&self) -> usize {
        self.double.asked().len()
    }

    #[track_caller]
    pub fn wait_for_fetches(&self, count: usize) {
        wait_until(PATIENCE, "the fetch arrives", || self.fetches() >= count);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.let_go();
    }
}

fn said(result: cogfs::cloud::Result<impl Serialize>) -> Answer {
    match result {
        Ok(value) => Answer::Json(200, serde_json::to_value(value).unwrap()),
        Err(CloudError::Refused { code, message }) => Answer::Json(400, json!({"code": code, "message": message})),
        Err(_) => Answer::Json(503, json!({"code": "53300", "message": "busy"})),
    }
}

fn of<T: serde::de::DeserializeOwned>(said: &Value, key: &str) -> T {
    serde_json::from_value(said[key].clone()).unwrap()
}

fn answer(cloud: &MemoryCloud, weather: &(Mutex<Weather>, Condvar), asked: &Asked) -> Option<Answer> {
    if weather.0.lock().unwrap().is_gone {
        return Some(Answer::Hangup);
    }
    let body = asked.json();
    if let Some(name) = asked.path.strip_prefix(OBJECTS).and_then(|path| path.split('/').nth(1)) {
        let sha256 = name.split('.').next().unwrap();
        return Some(match asked.method.as_str() {
            "POST" => match cloud.upload(sha256, "image/png", &asked.body) {
                Ok(()) => Answer::Json(200, json!({"Key": name})),
                other => said(other),
            },
            _ => match cloud.download(sha256, "image/png") {
                Ok(bytes) => Answer::Raw(200, vec![("Content-Type", "image/png".to_owned())], bytes),
                Err(_) => {
                    Answer::Json(400, json!({"statusCode": "404", "error": "not_found", "message": "Object not found"}))
                }
            },
        });
    }
    Some(match asked.path.split('?').next().unwrap_or_default() {
        "/rest/v1/rpc/sync_status" => said(cloud.status()),
        "/rest/v1/rpc/sync_push" => {
            said(cloud.push(of(&body, "machine"), of(&body, "as_of"), &of::<Vec<Change>>(&body, "changes")))
        }
        "/rest/v1/rpc/sync_pull" => said(cloud.pull(of(&body, "since"), of(&body, "max"))),
        FETCH => {
            let ids: Vec<Id> = of(&body, "ids");
            let is_held =
                |weather: &mut Weather| weather.holds_all || weather.held.iter().any(|held| ids.contains(held));
            drop(weather.1.wait_while(weather.0.lock().unwrap(), is_held).unwrap());
            said(cloud.fetch(&ids, of::<Option<Mark>>(&body, "after").as_ref()))
        }
        _ => return None,
    })
}
