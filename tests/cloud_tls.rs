//! The cloud over TLS: who vouches for the server is the system's business, and a server that nobody vouches for gets nothing.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::thread;

use common::certificates::Certificates;
use common::cloud::{Double, KEY, PASSWORD};
use common::{Ran, World, has_program};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

fn config(of: &Certificates) -> Arc<ServerConfig> {
    let certificate = CertificateDer::from_pem_file(of.path("cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(of.path("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap())
}

/// Speaks TLS in front of a double; its address.
fn in_front_of(double: &Double, config: Arc<ServerConfig>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let behind = double.url.trim_start_matches("http://").to_owned();
    thread::spawn(move || {
        for stream in listener.incoming().filter_map(Result::ok) {
            let (config, behind) = (Arc::clone(&config), behind.clone());
            thread::spawn(move || drop(relay(stream, config, &behind)));
        }
    });
    url
}

fn relay(stream: TcpStream, config: Arc<ServerConfig>, behind: &str) -> std::io::Result<()> {
    let mut tls = StreamOwned::new(ServerConnection::new(config).map_err(std::io::Error::other)?, stream);
    let mut behind = TcpStream::connect(behind)?;
    let (mut request, mut piece) = (Vec::new(), [0; 4096]);
    while !is_whole(&request) {
        match tls.read(&mut piece)? {
            0 => return Ok(()),
            read => request.extend_from_slice(&piece[..read]),
        }
    }
    behind.write_all(&request)?;
    let mut answer = Vec::new();
    behind.read_to_end(&mut answer)?;
    tls.write_all(&answer)?;
    tls.conn.send_close_notify();
    tls.flush()
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

fn log_in(world: &World, url: &str, authorities: Option<&Path>) -> Ran {
    let mut command = world.cogfs(&["login", "--email", "mira@example.org", "--password-stdin"]);
    command
        .env("COGFS_SYNC_URL", url)
        .env("COGFS_SYNC_KEY", KEY)
        .env_remove("SSL_CERT_FILE")
        .env_remove("SSL_CERT_DIR");
    if let Some(path) = authorities {
        command.env("SSL_CERT_FILE", path);
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It may have ended before it reads.
    drop(writeln!(child.stdin.take().unwrap(), "{PASSWORD}"));
    Ran::of(&child.wait_with_output().unwrap())
}

#[test]
fn a_server_that_the_system_vouches_for_is_spoken_with_and_another_gets_nothing() {
    skip_unless!(has_program("openssl"), "no openssl");
    let (world, double, certificates) = (World::new(), Double::start(), Certificates::new());
    let url = in_front_of(&double, config(&certificates));
    log_in(&world, &url, Some(&certificates.path("ca.pem"))).exits(0);
    assert_eq!(double.count("/auth/v1/token"), 1);

    let stranger = log_in(&world, &url, None).exits(5);
    assert!(stranger.stderr.contains("certificate"), "{}", stranger.stderr);
    let other_name =
        log_in(&world, &url.replace("127.0.0.1", "localhost"), Some(&certificates.path("ca.pem"))).exits(5);
    assert!(other_name.stderr.contains("certificate"), "{}", other_name.stderr);
    let no_authorities = log_in(&world, &url, Some(Path::new("/nowhere/ca.pem"))).exits(5);
    assert!(no_authorities.stderr.contains("certificate"), "{}", no_authorities.stderr);
    assert_eq!(double.count("/auth/v1/token"), 1, "a password was sent to a server that nobody vouches for");
}
