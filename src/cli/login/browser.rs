//! The login through the browser: it comes back to a listener of ours, or somebody pastes what it ended on.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::super::mount::BoxError;
use super::super::output::printable;
use super::Login;
use crate::cloud::auth::gotrue::Grant;
use crate::cloud::auth::loopback::{Callback, Listener};
use crate::cloud::auth::pkce::{Challenge, NoCode};
use crate::cloud::auth::session::Session;

/// GoTrue keeps what it knows of a login for so long.
const LIMIT: Duration = Duration::from_mins(5);

/// What a login waits for.
enum Event {
    Browser(Callback),
    Pasted(String),
}

/// Logs in through a browser, which is opened if `open` says so.
pub fn log_in(login: &Login<'_>, provider: &str, open: bool) -> Result<Session, BoxError> {
    login.auth.check_provider(provider)?;
    let (events, event) = mpsc::channel();
    let listener = Listener::bind()?;
    let challenge = Challenge::new()?;
    let server = login.auth.server_url();
    let address = challenge.address(server, provider, &listener.address()).ok_or("sync.url is no address")?;
    let browser = events.clone();
    // Nobody waits any more when the channel is closed.
    listener.serve(move |callback| drop(browser.send(Event::Browser(callback))));
    invite(&address, open)?;
    if !open || io::stdin().is_terminal() {
        take_pasted(events);
    }
    wait(login, &challenge, &event)
}

fn wait(login: &Login<'_>, challenge: &Challenge, event: &mpsc::Receiver<Event>) -> Result<Session, BoxError> {
    let end = Instant::now() + LIMIT;
    loop {
        match event.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(Event::Browser(callback)) => {
                if let Some(done) = from_browser(login, challenge, callback) {
                    return done;
                }
            }
            Ok(Event::Pasted(text)) => match challenge.code_in(&text) {
                Ok(code) => return login.finish(Grant::Code { code: &code, verifier: challenge.verifier() }),
                Err(NoCode::Denied(why)) => return Err(denied(&why)),
                Err(error) => {
                    writeln!(io::stderr(), "cogfs: {error}")?;
                    ask()?;
                }
            },
            // Closed: the listener's thread has ended, which it does not.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                return Err("nobody logged in within five minutes: run `cogfs login` again".into());
            }
        }
    }
}

/// What the browser brought; `None`: it was not for this login, which goes on.
fn from_browser(login: &Login<'_>, challenge: &Challenge, callback: Callback) -> Option<Result<Session, BoxError>> {
    let code = match challenge.code_of(&callback.query) {
        Ok(code) => code,
        Err(NoCode::Denied(why)) => {
            callback.show("Not logged in", &why);
            return Some(Err(denied(&why)));
        }
        Err(error) => {
            callback.show("Not logged in", &error.to_string());
            return None;
        }
    };
    let done = login.finish(Grant::Code { code: &code, verifier: challenge.verifier() });
    match &done {
        Ok(session) => {
            callback.show("Logged in", &format!("cogfs is logged in as {}. You can close this page.", session.who()));
        }
        Err(error) => callback.show("Not logged in", &error.to_string()),
    }
    Some(done)
}

fn denied(why: &str) -> BoxError {
    format!("the login was refused: {}", printable(why)).into()
}

fn invite(address: &str, open: bool) -> io::Result<()> {
    let mut err = io::stderr().lock();
    if open && open::that_detached(address).is_ok() {
        writeln!(err, "Opening the browser. If nothing happens, open this address:\n\n  {address}\n")?;
        return Ok(());
    }
    if open {
        writeln!(err, "No browser could be opened.")?;
    }
    writeln!(err, "Open this address in a browser, on any machine:\n\n  {address}\n")?;
    writeln!(err, "On another machine the page that it ends on does not load: that is as it should be.")?;
    drop(err);
    ask()
}

fn ask() -> io::Result<()> {
    let mut err = io::stderr().lock();
    write!(err, "Paste its address, or the code in it: ")?;
    err.flush()
}

/// Hands on what is typed, from a thread that ends with the process.
fn take_pasted(events: Sender<Event>) {
    thread::spawn(move || {
        let lines = io::stdin().lock().lines().map_while(Result::ok);
        for line in lines.filter(|line| !line.trim().is_empty()) {
            if events.send(Event::Pasted(line)).is_err() {
                break;
            }
        }
    });
}
