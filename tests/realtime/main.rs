//! The doorbell at a stack of real parts (`scripts/cloud-stack`), with a double of Realtime that Supabase's own client is held
//! against (`tests/cloud/test_realtime.py`): what is told, and what becomes of each fault.

#[path = "../common/mod.rs"]
mod common;

mod tls;

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cogfs::cloud::auth::Auth;
use cogfs::cloud::auth::session::Sessions;
use cogfs::cloud::http::HttpCloud;
use cogfs::cloud::http::transport::{Server, Transport};
use cogfs::cloud::realtime::{Doorbell, Ring};
use cogfs::cloud::secret::Secret;
use cogfs::model::Millis;
use common::stack::{Stack, User};
use common::{World, wait_until};
use serde_json::{Value, json};

/// Longer than anything here takes, a pause after a failure among it.
const SOON: Duration = Duration::from_secs(20);

/// A machine where a user is logged in.
struct Machine {
    stack: Stack,
    user: User,
    world: World,
}

impl Machine {
    fn new(stack: Stack) -> Self {
        let user = stack.user();
        let world = stack.machine(&user);
        let machine = Self { stack, user, world };
        machine.moves();
        machine
    }

    fn session(&self) -> PathBuf {
        self.world.home().join("state/session.json")
    }

    /// Changes what is kept of the login.
    fn keeps(&self, change: impl FnOnce(&mut Value)) {
        let mut session = common::json(&self.session());
        change(&mut session);
        std::fs::write(self.session(), session.to_string()).unwrap();
    }

    fn cloud(&self) -> Arc<HttpCloud> {
        self.cloud_at(&self.stack.url)
    }

    fn cloud_at(&self, url: &str) -> Arc<HttpCloud> {
        let server = Server { url: url.to_owned(), key: Secret::new(self.stack.key()) };
        let transport = Arc::new(Transport::new(server));
        let auth = Auth::new(Arc::clone(&transport), Sessions::new(self.session()));
        Arc::new(HttpCloud::new(transport, auth))
    }

    fn rings(&self) -> Bell {
        Bell::start(self.cloud())
    }

    /// A doorbell that listens.
    fn listens(&self) -> Bell {
        let bell = self.rings();
        bell.says(&Ring::Joined);
        bell
    }

    /// The head moves; where to.
    fn moves(&self) -> i64 {
        let id = &self.user.id;
        let account = format!("insert into public.accounts(user_id) values ('{id}') on conflict do nothing");
        let head = format!(
            "insert into public.sync_heads(user_id, seq) values ('{id}', 1)
             on conflict (user_id) do update set seq = public.sync_heads.seq + 1 returning seq"
        );
        self.stack.sql(&account);
        self.stack.sql(&head).parse().unwrap()
    }

    /// The head moves, and that is told.
    fn rings_of_a_move(&self, bell: &Bell) {
        let seq = self.moves();
        bell.says(&Ring::Rang { seq: Some(seq) });
    }
}

/// A rule for a step of Realtime's.
fn at(step: &str, fault: &str, more: &Value) -> Value {
    let mut rule = json!({ "path": format!("/realtime/v1/{step}"), "fault": fault });
    for (key, value) in more.as_object().unwrap() {
        rule[key] = value.clone();
    }
    json!([rule])
}

/// A doorbell, and what it says.
struct Bell {
    doorbell: Doorbell,
    rings: Receiver<Ring>,
}

impl Bell {
    fn start(cloud: Arc<HttpCloud>) -> Self {
        let (sender, rings) = mpsc::channel();
        let sender = Mutex::new(sender);
        let ring = move |ring| drop(sender.lock().unwrap().send(ring));
        Self { doorbell: Doorbell::start(cloud, Arc::new(ring)).unwrap(), rings }
    }

    #[track_caller]
    fn next(&self) -> Ring {
        self.rings.recv_timeout(SOON).expect("nothing is told")
    }

    /// The next thing it says.
    #[track_caller]
    fn says(&self, ring: &Ring) {
        assert_eq!(&self.next(), ring);
    }

    /// The next thing it says is that it is gone, with these words.
    #[track_caller]
    fn is_lost(&self, words: &str) {
        match self.next() {
            Ring::Lost { why } if why.contains(words) => {}
            other => panic!("{other:?}, and not lost: {words}"),
        }
    }
}

#[test]
fn a_push_of_one_machine_rings_at_the_others_of_the_account_and_at_no_one_elses() {
    let machine = Machine::new(needs_stack!());
    let stranger = machine.stack.user();
    let strange = machine.stack.machine(&stranger);
    let (first, second) = (machine.listens(), machine.listens());
    assert_eq!(machine.stack.realtime("open"), 2);

    let mut log = common::ClaudeLog::new("boats", 1);
    log.user("How many boats?").assistant("Seven.");
    log.write(&strange.logs());
    strange.import(&[&strange.logs()]);
    strange.run(&["push"]).exits(0);
    log.write(&machine.world.logs());
    machine.world.import(&[&machine.world.logs()]);
    let start = Instant::now();
    machine.world.run(&["push"]).exits(0);
    for bell in [&first, &second] {
        let Ring::Rang { seq: Some(seq) } = bell.next() else { panic!("it did not ring") };
        assert!(seq > 1, "{seq}");
    }
    assert!(start.elapsed() < SOON);
    machine.stack.sql(&format!("update public.sync_heads set seq = 1000 where user_id = '{}'", machine.user.id));
    loop {
        // A push is more than one request.
        match first.next() {
            Ring::Rang { seq: Some(1000) } => break,
            Ring::Rang { seq: Some(seq) } if seq < 1000 => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_socket_that_is_cut_closed_or_fed_garbage_is_opened_again() {
    let machine = Machine::new(needs_stack!());
    let bell = machine.listens();
    for (fault, words) in [
        (json!({"fault": "cut"}), "the connection was lost"),
        (json!({"fault": "goodbye", "code": 1001}), "closed the socket (1001 going away)"),
        (json!({"fault": "garbage"}), "what is no message"),
        (json!({"fault": "binary"}), "what is no text"),
        (json!({"fault": "large"}), "more than 5 MB"),
        (json!({"fault": "close"}), "the channel was closed"),
        (json!({"fault": "error"}), "the channel failed"),
        (json!({"fault": "system", "message": "Unable to subscribe"}), "Unable to subscribe"),
    ] {
        machine.stack.sockets(&fault);
        bell.is_lost(words);
        // The pause grows from fault to fault; the caller knows that the network is there.
        bell.doorbell.retry_now();
        bell.says(&Ring::Joined);
        wait_until(SOON, "the old socket is gone", || machine.stack.realtime("open") == 1);
        machine.rings_of_a_move(&bell);
    }
    assert_eq!(machine.stack.realtime("connections"), 9, "one a fault");
}

#[test]
fn events_may_be_late_doubled_or_lost() {
    let machine = Machine::new(needs_stack!());
    let bell = machine.listens();
    machine.stack.faults(&at("event", "delay", &json!({"seconds": 0.4})));
    let start = Instant::now();
    machine.rings_of_a_move(&bell);
    assert!(start.elapsed() > Duration::from_millis(350));

    machine.stack.faults(&at("event", "double", &json!({})));
    machine.rings_of_a_move(&bell);
    bell.says(&Ring::Rang { seq: Some(3) });

    machine.stack.faults(&at("event", "lose", &json!({})));
    machine.moves();
    wait_until(SOON, "the event is lost", || machine.stack.realtime("event") == 3);
    machine.rings_of_a_move(&bell);
    assert_eq!(machine.stack.realtime("connections"), 1);
}

#[test]
fn a_flood_is_told_ring_by_ring_and_ends_nothing() {
    let machine = Machine::new(needs_stack!());
    let bell = machine.listens();
    machine.stack.sockets(&json!({"fault": "flood", "count": 3000, "rate": 1000}));
    for seq in 0..3000 {
        bell.says(&Ring::Rang { seq: Some(seq) });
    }
    machine.rings_of_a_move(&bell);
    assert_eq!(machine.stack.realtime("connections"), 1);
}

#[test]
fn what_moved_while_nobody_listened_is_not_told_but_joined_is() {
    let machine = Machine::new(needs_stack!());
    let bell = machine.listens();
    machine.stack.faults(&at("subscribe", "delay", &json!({"seconds": 0.5})));
    machine.stack.sockets(&json!({"fault": "cut"}));
    bell.is_lost("the connection was lost");
    machine.moves();
    bell.says(&Ring::Joined);
    machine.rings_of_a_move(&bell);
}

#[test]
fn handshakes_that_are_refused_are_tried_again() {
    let machine = Machine::new(needs_stack!());
    for (status, words) in [(401, "HTTP 401: no key"), (403, "HTTP 403"), (404, "HTTP 404"), (503, "HTTP 503")] {
        machine.stack.faults(&at("websocket", "status", &json!({"status": status, "body": {"error": "no key"}})));
        let bell = machine.rings();
        bell.is_lost(words);
        bell.doorbell.retry_now();
        bell.says(&Ring::Joined);
    }
    // The server is obeyed, whatever the caller knows of the network.
    let refused = json!({"status": 429, "retry_after": 2, "body": {"error": "Too many joins"}});
    machine.stack.faults(&at("websocket", "status", &refused));
    let start = Instant::now();
    let bell = machine.rings();
    bell.is_lost("HTTP 429: Too many joins");
    bell.doorbell.retry_now();
    bell.says(&Ring::Joined);
    assert!(start.elapsed() > Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn a_join_that_is_refused_is_tried_again_and_what_helps_is_done() {
    let machine = Machine::new(needs_stack!());
    let refused = json!({"reason": "InitializingProjectConnection: Realtime is initializing the project connection"});
    machine.stack.faults(&at("join", "refuse", &refused));
    let bell = machine.rings();
    bell.is_lost("InitializingProjectConnection");
    bell.says(&Ring::Joined);
    drop(bell);

    // A token that is not taken is replaced, once.
    let before = common::json(&machine.session());
    machine.keeps(|session| session["access_token"] = json!(machine.stack.token(&machine.user, -60)));
    let bell = machine.rings();
    bell.is_lost("InvalidJWTToken");
    bell.says(&Ring::Joined);
    let after = common::json(&machine.session());
    assert_ne!(before["refresh_token"], after["refresh_token"]);
    machine.rings_of_a_move(&bell);
}

#[test]
fn a_channel_that_is_closed_right_after_the_join_is_not_joined_without_a_pause() {
    let machine = Machine::new(needs_stack!());
    // In place of the event that says that it listens.
    machine.stack.faults(&at("subscribe", "close", &json!({"count": 3})));
    let start = Instant::now();
    let bell = machine.rings();
    bell.is_lost("the channel was closed");
    bell.says(&Ring::Joined);
    assert!(start.elapsed() > Duration::from_secs_f64(0.75 * (1.0 + 2.0 + 5.0)), "{:?}", start.elapsed());
    assert_eq!((machine.stack.realtime("connections"), machine.stack.realtime("join")), (4, 4));
}

#[test]
fn a_token_that_ends_soon_is_replaced_on_the_open_channel() {
    let machine = Machine::new(needs_stack!());
    // Four seconds more than are kept in reserve.
    machine.keeps(|session| session["received_at"] = json!(Millis::now().0 - 3_506_000));
    let before = common::json(&machine.session());
    let bell = machine.listens();
    wait_until(SOON, "another token", || machine.stack.realtime("access_token") == 1);
    assert_ne!(before["access_token"], common::json(&machine.session())["access_token"]);
    machine.rings_of_a_move(&bell);
    assert_eq!(machine.stack.realtime("connections"), 1);
}

#[test]
fn a_token_that_the_server_finds_over_is_replaced_and_the_channel_joined_anew() {
    let machine = Machine::new(needs_stack!());
    let before = common::json(&machine.session());
    let bell = machine.listens();
    machine.stack.sockets(&json!({"fault": "expire"}));
    bell.is_lost("Token has expired");
    bell.says(&Ring::Joined);
    assert_ne!(before["refresh_token"], common::json(&machine.session())["refresh_token"]);
    machine.rings_of_a_move(&bell);
    assert_eq!(machine.stack.realtime("connections"), 2);
}

#[test]
fn a_server_that_is_there_no_more_is_found_out_by_a_heartbeat() {
    let machine = Machine::new(needs_stack!());
    let bell = machine.listens();
    bell.doorbell.retry_now();
    wait_until(SOON, "a heartbeat", || machine.stack.realtime("heartbeat") == 1);
    machine.rings_of_a_move(&bell);
    machine.stack.faults(&at("heartbeat", "lose", &json!({})));
    bell.doorbell.retry_now();
    bell.is_lost("no answer to a heartbeat");
    bell.says(&Ring::Joined);
}

#[test]
fn without_a_login_it_is_silent_until_there_is_one() {
    let machine = Machine::new(needs_stack!());
    machine.world.run(&["logout"]).exits(0);
    let bell = machine.rings();
    assert!(bell.rings.recv_timeout(Duration::from_millis(500)).is_err());
    assert_eq!(machine.stack.realtime("connections"), 0);
    machine.stack.login(&machine.world, &machine.user).exits(0);
    bell.doorbell.retry_now();
    bell.says(&Ring::Joined);
}

/// What is there to be connected with, in turn.
enum Peer {
    /// Takes connections, and says nothing.
    Silent,
    /// Answers as another server would.
    Other,
    Nobody,
}

#[test]
fn dropping_it_ends_its_thread_within_a_moment_wherever_it_is() {
    let machine = Machine::new(needs_stack!());
    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok);
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| name.trim() == "cogfs-realtime").count()
    };
    let ends = |bell: Bell, what: &str| {
        let start = Instant::now();
        drop(bell);
        assert!(start.elapsed() < Duration::from_millis(500), "{what}: {:?}", start.elapsed());
    };
    // Nextest runs a test a process; in one process others have doorbells too.
    let others = threads();
    ends(machine.listens(), "listening");
    ends(machine.rings(), "at its beginning");
    for peer in [Peer::Silent, Peer::Other, Peer::Nobody] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        machine.keeps(|session| session["url"] = json!(url));
        let bell = Bell::start(machine.cloud_at(&url));
        match peer {
            Peer::Silent => {
                let (_socket, _) = listener.accept().unwrap();
                ends(bell, "in a handshake");
            }
            Peer::Other => {
                let (mut socket, _) = listener.accept().unwrap();
                socket.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n").unwrap();
                bell.next();
                ends(bell, "in a pause");
            }
            Peer::Nobody => {
                drop(listener);
                bell.is_lost("");
                ends(bell, "without a server");
            }
        }
    }
    assert!(threads() <= others, "{} threads", threads());
    wait_until(SOON, "sockets are closed", || machine.stack.realtime("open") == 0);
}

#[test]
fn it_may_be_dropped_by_what_it_calls() {
    let machine = Machine::new(needs_stack!());
    let (sender, done) = mpsc::channel();
    let place: Arc<Mutex<Option<Doorbell>>> = Arc::default();
    let (here, sender) = (Arc::clone(&place), Mutex::new(sender));
    let ring = move |_| {
        drop(here.lock().unwrap().take());
        sender.lock().unwrap().send(()).unwrap();
    };
    let mut held = place.lock().unwrap();
    *held = Some(Doorbell::start(machine.cloud(), Arc::new(ring)).unwrap());
    drop(held);
    done.recv_timeout(SOON).unwrap();
    wait_until(SOON, "the socket is closed", || machine.stack.realtime("open") == 0);
}

#[test]
fn it_costs_next_to_nothing_while_nothing_happens() {
    let machine = Machine::new(needs_stack!());
    let _bell = machine.listens();
    let ticks = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok);
        let of = |dir: PathBuf| {
            let name = std::fs::read_to_string(dir.join("comm")).ok()?;
            let status = std::fs::read_to_string(dir.join("status")).ok()?;
            let count =
                status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?.trim().to_owned();
            (name.trim() == "cogfs-realtime").then(|| count.parse::<u64>().unwrap())
        };
        tasks.filter_map(|task| of(task.path())).sum::<u64>()
    };
    let before = ticks();
    // Something else takes its time.
    let start = Instant::now();
    wait_until(SOON, "three seconds", || start.elapsed() > Duration::from_secs(3));
    assert!(ticks() - before <= 2, "it woke {} times", ticks() - before);
}

#[test]
fn no_token_gets_into_a_log_or_a_reason() {
    /// What is logged, at the finest.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let writer = log.clone();
    let all = tracing_subscriber::fmt().with_env_filter("trace").with_writer(move || writer.clone());
    all.init();

    let machine = Machine::new(needs_stack!());
    machine.keeps(|session| session["access_token"] = json!(machine.stack.token(&machine.user, -60)));
    let mut tokens = vec![common::json(&machine.session())];
    let bell = machine.rings();
    let mut told = vec![bell.next(), bell.next()];
    assert_eq!(told[1], Ring::Joined);
    tokens.push(common::json(&machine.session()));
    // A server that repeats what was sent to it.
    let access = tokens[1]["access_token"].as_str().unwrap();
    machine.stack.sockets(&json!({"fault": "system", "message": format!("bad token {access} of {access}")}));
    told.push(bell.next());
    drop(bell);
    let text = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned() + &format!("{told:?}");
    assert!(text.contains("the doorbell is gone") && text.contains("bad token (secret)"), "{text}");
    for session in &tokens {
        for name in ["access_token", "refresh_token"] {
            let secret = session[name].as_str().unwrap();
            // The middle is the claims', the end the signature's.
            for part in secret.split('.').skip(1).chain([secret]) {
                assert!(!text.contains(part), "{name} stands in the log");
            }
        }
    }
}
