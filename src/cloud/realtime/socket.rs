//! A WebSocket to the server. Every wait in it ends when the doorbell is dropped. The only place that knows of tungstenite; no key
//! and no token gets into what it says.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_platform_verifier::BuilderVerifierExt;
use tungstenite::client::IntoClientRequest;
use tungstenite::error::ProtocolError;
use tungstenite::handshake::HandshakeError;
use tungstenite::http::HeaderValue;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error, Message, WebSocket};
use url::{Host, Url, form_urlencoded};

use super::super::http::transport::Server;
use super::machine::Down;
use super::wake::{Wake, Woke};
use super::wire;

/// From the look-up of the name to the end of the handshake; and for a message to leave.
const WITHIN: Duration = Duration::from_secs(10);

/// The largest message: Realtime sends none above 5 MB (its own limit).
const LARGEST: usize = 5 << 20;

/// A connection that is up.
pub struct Line {
    socket: WebSocket<Stream>,
}

/// What came.
pub enum Heard {
    Text(String),
    /// The time is over, or somebody called.
    Nothing,
    Lost(String),
}

impl Line {
    /// Connects to a server's Realtime.
    pub fn connect(server: &Server, wake: &Arc<Wake>) -> Result<Self, Down> {
        let until = Instant::now() + WITHIN;
        let url = Url::parse(&server.url).map_err(|_| lost("the server's address cannot be read"))?;
        let stream = dial(&url, wake, until)?;
        let plain = Plain { stream, wake: Arc::clone(wake), until: Some(until), hurried: false };
        let stream = if url.scheme() == "https" { secured(&url, plain)? } else { Stream::Plain(plain) };
        // Never told to anybody: errors have texts of their own.
        let mut request =
            address(server).into_client_request().map_err(|_| lost("the server's address or key is none"))?;
        request
            .headers_mut()
            .insert("user-agent", HeaderValue::from_static(concat!("cogfs/", env!("CARGO_PKG_VERSION"))));
        let config = WebSocketConfig::default()
            .read_buffer_size(8 << 10)
            .write_buffer_size(0)
            .max_message_size(Some(LARGEST))
            .max_frame_size(Some(LARGEST));
        let mut done = tungstenite::client::client_with_config(request, stream, Some(config));
        loop {
            match done {
                Ok((socket, _)) => return Ok(Self { socket }),
                Err(HandshakeError::Failure(error)) => return Err(refused(error, server)),
                Err(HandshakeError::Interrupted(_)) if wake.stopped() || Instant::now() >= until => {
                    return Err(lost(&format!("no answer within {} s", WITHIN.as_secs())));
                }
                Err(HandshakeError::Interrupted(rest)) => done = rest.handshake(),
            }
        }
    }

    /// Sends a message; why it could not.
    pub fn send(&mut self, text: &str) -> Result<(), String> {
        self.socket.send(Message::text(text)).map_err(|error| said(&error))
    }

    /// The next message.
    pub fn hear(&mut self, until: Option<Instant>) -> Heard {
        self.socket.get_mut().plain().until = until;
        match self.socket.read() {
            Ok(Message::Text(text)) => Heard::Text(text.as_str().to_owned()),
            Ok(Message::Binary(_)) => Heard::Lost("the server sent what is no text".to_owned()),
            Ok(Message::Close(frame)) => {
                let frame = frame.map(|f| format!(" ({} {})", u16::from(f.code), wire::shown(&f.reason)));
                Heard::Lost(format!("the server closed the socket{}", frame.unwrap_or_default()))
            }
            // Tungstenite answers pings itself.
            Ok(_) => Heard::Nothing,
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => Heard::Nothing,
            Err(error) => Heard::Lost(said(&error)),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let plain = self.socket.get_mut().plain();
        // The goodbye is written if there is room for it, and not waited for.
        plain.until = Some(Instant::now());
        plain.hurried = true;
        drop(self.socket.close(None));
        drop(self.socket.flush());
        drop(self.socket.get_mut().plain().stream.shutdown(Shutdown::Both));
    }
}

fn lost(why: &str) -> Down {
    Down::Lost(why.to_owned())
}

/// The address with the public key, which is all that is secret in it.
fn address(server: &Server) -> String {
    let rest = server.url.strip_prefix("http").unwrap_or(&server.url);
    let key: String = form_urlencoded::byte_serialize(server.key.reveal().as_bytes()).collect();
    format!("ws{rest}/realtime/v1/websocket?apikey={key}&vsn={}", wire::VERSION)
}

/// A connection to the first of a host's addresses that takes one.
fn dial(url: &Url, wake: &Wake, until: Instant) -> Result<TcpStream, Down> {
    let addresses = url.socket_addrs(|| None).map_err(|_| lost("the server's name is not known"))?;
    let mut why = io::Error::from(ErrorKind::AddrNotAvailable);
    for (tried, address) in addresses.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(1);
        match dial_one(*address, wake, Instant::now() + share) {
            Ok(stream) => return Ok(stream),
            Err(error) => why = error,
        }
    }
    Err(Down::Lost(format!("no connection: {}", why.kind())))
}

fn dial_one(address: SocketAddr, wake: &Wake, until: Instant) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let fd = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    match connect(&fd, &address) {
        Ok(()) => {}
        Err(rustix::io::Errno::INPROGRESS) => {
            while wake.wait(Some((fd.as_fd(), PollFlags::OUT)), Some(until)) != Woke::Ready {
                if wake.stopped() || Instant::now() >= until {
                    return Err(ErrorKind::TimedOut.into());
                }
            }
            sockopt::socket_error(&fd)??;
        }
        Err(error) => return Err(error.into()),
    }
    let stream = TcpStream::from(fd);
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// TLS, with the same roots as other requests: the system's.
fn secured(url: &Url, plain: Plain) -> Result<Stream, Down> {
    let name = match url.host() {
        Some(Host::Domain(name)) => ServerName::try_from(name.to_owned()).ok(),
        Some(Host::Ipv4(ip)) => Some(ServerName::from(std::net::IpAddr::from(ip))),
        Some(Host::Ipv6(ip)) => Some(ServerName::from(std::net::IpAddr::from(ip))),
        None => None,
    };
    let name = name.ok_or_else(|| lost("the server's name is none"))?;
    let of_tls = |error: rustls::Error| Down::Lost(format!("TLS: {error}"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(BuilderVerifierExt::with_platform_verifier)
        .map_err(of_tls)?
        .with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), name).map_err(of_tls)?;
    Ok(Stream::Tls(Box::new(StreamOwned::new(connection, plain))))
}

/// Why the handshake failed.
fn refused(error: Error, server: &Server) -> Down {
    let Error::Http(answer) = error else { return Down::Lost(said(&error)) };
    let header = |name: &str| answer.headers().get(name)?.to_str().ok()?.parse().ok();
    let wait = header("retry-after").map(Duration::from_secs);
    let body = answer.body().as_deref().unwrap_or_default();
    let why = wire::refusal(body, &[server.key.reveal()]);
    Down::Refused { status: answer.status().as_u16(), wait, why }
}

/// What went wrong, in words that hold nothing of what was sent.
fn said(error: &Error) -> String {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => "the server closed the socket".to_owned(),
        Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(error) => format!("TLS: {error}"),
            None => format!("the connection was lost: {}", error.kind()),
        },
        Error::Capacity(_) => "the server sent more than 5 MB at once".to_owned(),
        Error::Utf8(_) => "the server sent what is no text".to_owned(),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake | ProtocolError::HandshakeIncomplete) => {
            "the connection was lost".to_owned()
        }
        Error::Protocol(error) => format!("the server does not keep to the protocol: {error}"),
        _ => "the connection was lost".to_owned(),
    }
}

/// A TCP connection that never blocks but in [`Wake::wait`].
struct Plain {
    stream: TcpStream,
    wake: Arc<Wake>,
    /// How long a read waits.
    until: Option<Instant>,
    /// Nothing is waited for any more.
    hurried: bool,
}

impl Read for Plain {
    /// `WouldBlock`: nothing came in time, or somebody called.
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.stream.read(bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && !self.hurried => {
                    let socket = (self.stream.as_fd(), PollFlags::IN);
                    if self.wake.wait(Some(socket), self.until) != Woke::Ready {
                        return Err(error);
                    }
                }
                done => return done,
            }
        }
    }
}

impl Write for Plain {
    /// Waits until there is room, which there nearly always is.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let until = Instant::now() + WITHIN;
        loop {
            match self.stream.write(bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && !self.hurried => {
                    let socket = (self.stream.as_fd(), PollFlags::OUT);
                    self.wake.wait(Some(socket), Some(until));
                    if self.wake.stopped() || Instant::now() >= until {
                        return Err(ErrorKind::TimedOut.into());
                    }
                }
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// With TLS, or on loopback without.
enum Stream {
    Plain(Plain),
    Tls(Box<StreamOwned<ClientConnection, Plain>>),
}

impl Stream {
    fn plain(&mut self) -> &mut Plain {
        match self {
            Self::Plain(plain) => plain,
            Self::Tls(tls) => &mut tls.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(plain) => plain.read(bytes),
            Self::Tls(tls) => tls.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(plain) => plain.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(plain) => plain.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::secret::Secret;
    use super::*;

    #[test]
    fn the_address_has_the_key_and_nothing_else() {
        let server = Server { url: "https://x.example/base".to_owned(), key: Secret::new("a b&c") };
        assert_eq!(address(&server), "wss://x.example/base/realtime/v1/websocket?apikey=a+b%26c&vsn=1.0.0");
        let server = Server { url: "http://127.0.0.1:9".to_owned(), ..server };
        assert!(address(&server).starts_with("ws://127.0.0.1:9/realtime/v1/websocket?apikey="));
    }
}
