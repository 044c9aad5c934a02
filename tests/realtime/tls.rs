//! The doorbell over TLS, which is all that hosted servers speak.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cogfs::cloud::auth::Auth;
use cogfs::cloud::auth::session::Sessions;
use cogfs::cloud::http::HttpCloud;
use cogfs::cloud::http::transport::{Server, Transport};
use cogfs::cloud::realtime::Ring;
use cogfs::cloud::secret::Secret;
use serde_json::{Value, json};

use super::{Bell, Machine};
use crate::common::certificates::Certificates;
use crate::common::{has_program, must};
use crate::{needs_stack, skip_unless};

/// Speaks TLS in front of a port of this machine, a thread a connection: `CERTIFICATE KEY PORT`; prints its own port.
const TLS: &str = r"
import select, socket, ssl, sys, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
def relay(outside):
    try:
        outside = context.wrap_socket(outside, server_side=True)
        inside = socket.create_connection(('127.0.0.1', int(sys.argv[3])))
        while True:
            ready = [outside] if outside.pending() else select.select([outside, inside], [], [])[0]
            for source, target in ((outside, inside), (inside, outside)):
                if source in ready:
                    data = source.recv(65536)
                    if not data:
                        return inside.close()
                    target.sendall(data)
    except OSError:
        pass
listener = socket.create_server(('127.0.0.1', 0))
print(listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=relay, args=(listener.accept()[0],), daemon=True).start()
";

/// Says in the test's own process below what the server is and who vouches for it.
const BEHIND_TLS: &str = "COGFS_TEST_DOORBELL_BEHIND_TLS";

#[test]
fn over_tls_it_rings_for_a_server_that_the_system_vouches_for_and_for_no_other() {
    if let Ok(told) = std::env::var(BEHIND_TLS) {
        return is_told_over_tls(&serde_json::from_str(&told).unwrap());
    }
    skip_unless!(has_program("openssl"), "no openssl");
    let machine = Machine::new(needs_stack!());
    let certificates = Certificates::new();
    let inside = machine.stack.url.rsplit_once(':').unwrap().1;
    let mut relay = Command::new("python3")
        .args(["-c", TLS])
        .args([certificates.path("cert.pem"), certificates.path("key.pem")])
        .arg(inside)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut port = String::new();
    BufReader::new(relay.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let url = format!("https://127.0.0.1:{}", port.trim());
    machine.keeps(|session| session["url"] = json!(url));
    let told = |says: &str| {
        json!({"url": url, "key": machine.stack.key(), "session": machine.session(), "says": says}).to_string()
    };
    // Who vouches is read from the environment of a process.
    let name = "tls::over_tls_it_rings_for_a_server_that_the_system_vouches_for_and_for_no_other";
    let run = |says: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", name, "--nocapture"]).env(BEHIND_TLS, told(says)).env_remove("SSL_CERT_DIR");
        command
    };
    must(run("").env("SSL_CERT_FILE", certificates.path("ca.pem")));
    assert_eq!(machine.stack.realtime("heartbeat"), 1);
    assert_eq!(machine.stack.realtime("connections"), 1);
    must(run("certificate").env_remove("SSL_CERT_FILE"));
    assert_eq!(machine.stack.realtime("connections"), 1, "a server that nobody vouches for was spoken with");
    relay.kill().unwrap();
    relay.wait().unwrap();
}

/// In a process of its own: `says` is in the reason why there is no doorbell; empty: there is one.
fn is_told_over_tls(told: &Value) {
    let text = |key: &str| told[key].as_str().unwrap();
    let server = Server { url: text("url").to_owned(), key: Secret::new(text("key")) };
    let transport = Arc::new(Transport::new(server));
    let auth = Auth::new(Arc::clone(&transport), Sessions::new(PathBuf::from(text("session"))));
    let bell = Bell::start(Arc::new(HttpCloud::new(transport, auth)));
    if !text("says").is_empty() {
        return bell.is_lost(text("says"));
    }
    bell.says(&Ring::Joined);
    bell.doorbell.retry_now();
    // The heartbeat is answered, or it would be lost within five seconds.
    assert!(bell.rings.recv_timeout(Duration::from_secs(6)).is_err());
    let start = Instant::now();
    drop(bell);
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
}
