//! One request and its answer, within a deadline. The only place that knows of reqwest; nothing of a request gets into an error.

use std::error::Error as _;
use std::io::Read;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use reqwest::blocking::{Client, Response};
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::redirect;
use url::Url;

use super::super::secret::Secret;
use super::super::{CloudError, Result};
use crate::config::settings::is_loopback;

/// Until there is a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// How long a connection is kept for the next request. Gateways close theirs after a minute: a request that meets the closing is lost.
const IDLE: Duration = Duration::from_secs(20);

/// The largest answer that is read: one turn may be 16 MiB of text, which JSON may make six times as long.
const LARGEST: usize = 256 << 20;

/// The server and the key that opens its gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Without a slash at its end.
    pub url: String,
    pub key: Secret,
}

/// What to do with the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
    Delete,
}

/// A request to the server.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    pub method: Method,
    /// Behind the server's address, with the slash in front.
    pub path: &'a str,
    /// The user's, if it is made for one.
    pub token: Option<&'a Secret>,
    pub content_type: &'a str,
    pub headers: &'a [(&'static str, &'static str)],
    pub body: Option<&'a [u8]>,
    /// For everything, from the connection to the last byte.
    pub within: Duration,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reply {
    pub status: u16,
    pub content_type: String,
    pub retry_after: Option<String>,
    pub date: Option<String>,
    /// GoTrue's `x-sb-error-code`.
    pub error_code: Option<String>,
    pub body: Vec<u8>,
}

/// Connections to one server. They are opened by the first request.
#[derive(Debug)]
pub struct Transport {
    server: Server,
    client: OnceLock<Client>,
}

impl Transport {
    /// To a server.
    #[must_use]
    pub fn new(server: Server) -> Self {
        Self { server, client: OnceLock::new() }
    }

    /// The server.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Sends a request; whatever the answer says.
    ///
    /// # Errors
    /// When there is no whole answer in time.
    pub fn send(&self, request: &Request<'_>) -> Result<Reply> {
        let start = Instant::now();
        let client = self.client()?;
        let address = format!("{}{}", self.server.url, request.path);
        let mut builder = match request.method {
            Method::Get => client.get(address),
            Method::Post => client.post(address),
            Method::Delete => client.delete(address),
        };
        builder = builder.timeout(request.within).header("apikey", secret_header(&self.server.key)?);
        if let Some(token) = request.token {
            let bearer = Secret::new(format!("Bearer {}", token.reveal()));
            builder = builder.header(header::AUTHORIZATION, secret_header(&bearer)?);
        }
        for (name, value) in request.headers {
            builder = builder.header(*name, *value);
        }
        if let Some(body) = request.body {
            builder = builder.header(header::CONTENT_TYPE, request.content_type).body(body.to_vec());
        }
        let response = builder.send().map_err(|error| self.lost(&error, request.within))?;
        let mut reply = reply(response.status().as_u16(), response.headers());
        reply.body = self.read(response, start, request.within)?;
        Ok(reply)
    }

    fn read(&self, mut response: Response, start: Instant, within: Duration) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        let mut piece = vec![0u8; 64 << 10];
        loop {
            // Each read has the time of a whole request (reqwest::blocking): a server that drips would be waited for without end.
            if start.elapsed() >= within {
                return Err(self.too_slow(within));
            }
            match response.read(&mut piece) {
                Ok(0) => return Ok(body),
                Ok(read) if body.len() + read <= LARGEST => body.extend_from_slice(&piece[..read]),
                Ok(_) => return Err(CloudError::Garbled("it is larger than any answer".to_owned())),
                Err(error) => {
                    let inner = error.get_ref().and_then(|e| e.downcast_ref::<reqwest::Error>());
                    return Err(
                        inner.map_or_else(|| self.unreachable("the connection was lost"), |e| self.lost(e, within))
                    );
                }
            }
        }
    }

    fn client(&self) -> Result<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        // An error says that somebody else chose one already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut builder = Client::builder()
            .user_agent(concat!("cogfs/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_WITHIN)
            .pool_idle_timeout(IDLE)
            // A token is never taken elsewhere.
            .redirect(redirect::Policy::none());
        if Url::parse(&self.server.url).is_ok_and(|url| is_loopback(&url)) {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| self.unreachable(&innermost(&error)))?;
        Ok(self.client.get_or_init(|| client))
    }

    /// Why there is no answer, without the address, which may hold what is not to be told.
    fn lost(&self, error: &reqwest::Error, within: Duration) -> CloudError {
        if error.is_timeout() && !error.is_connect() {
            return self.too_slow(within);
        }
        if error.is_timeout() {
            return self.unreachable("it does not answer");
        }
        if error.is_decode() {
            return CloudError::Garbled("its compression is damaged".to_owned());
        }
        if error.is_connect() {
            return self.unreachable(&innermost(error));
        }
        self.unreachable("the connection was lost")
    }

    fn too_slow(&self, within: Duration) -> CloudError {
        self.unreachable(&format!("no whole answer within {} s", within.as_secs_f64()))
    }

    fn unreachable(&self, why: &str) -> CloudError {
        let host = Url::parse(&self.server.url).ok().and_then(|url| url.host_str().map(str::to_owned));
        CloudError::Unreachable(format!("{}: {why}", host.unwrap_or_default()))
    }
}

/// The error at the bottom: what the system said.
fn innermost(error: &reqwest::Error) -> String {
    let mut bottom: Option<&dyn std::error::Error> = error.source();
    while let Some(below) = bottom.and_then(std::error::Error::source) {
        bottom = Some(below);
    }
    bottom.map_or_else(|| "no connection".to_owned(), ToString::to_string)
}

fn secret_header(secret: &Secret) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(secret.reveal())
        .map_err(|_| CloudError::Garbled("a key or token holds what no header can".to_owned()))?;
    // Left out of what HTTP libraries log.
    value.set_sensitive(true);
    Ok(value)
}

fn reply(status: u16, headers: &HeaderMap) -> Reply {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    Reply {
        status,
        content_type: text("content-type").unwrap_or_default(),
        retry_after: text("retry-after"),
        date: text("date"),
        error_code: text("x-sb-error-code"),
        body: Vec::new(),
    }
}
