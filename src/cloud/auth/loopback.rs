//! The end of a login in the browser: a listener on this machine alone, for one address, which hands on what came and shows one
//! small page. What comes is not to be trusted, and is never logged.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Browsers open connections that they send nothing on.
const CONNECTIONS: usize = 32;

/// How long a connection may say nothing.
const QUIET: Duration = Duration::from_secs(10);

/// The longest head of a request.
const HEAD: u64 = 16 << 10;

/// A listener that no other machine reaches.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    port: u16,
}

/// A browser that came back, and waits for its page.
#[derive(Debug)]
pub struct Callback {
    /// What follows the `?`.
    pub query: String,
    stream: TcpStream,
}

impl Listener {
    /// On a free port.
    ///
    /// # Errors
    /// When there is none.
    pub fn bind() -> io::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let port = listener.local_addr()?.port();
        Ok(Self { listener, port })
    }

    /// Where the browser is to come back to. The literal address: GoTrue takes every port of it, and no name can be bent.
    #[must_use]
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}/callback", self.port)
    }

    /// Hands on every browser that comes back, from threads that end with the process.
    pub fn serve(self, take: impl Fn(Callback) + Send + Sync + 'static) {
        let take = Arc::new(take);
        let open = Arc::new(AtomicUsize::new(0));
        thread::spawn(move || {
            for stream in self.listener.incoming().filter_map(Result::ok) {
                if open.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS {
                    open.fetch_sub(1, Ordering::SeqCst);
                    continue;
                }
                let (take, open, port) = (Arc::clone(&take), Arc::clone(&open), self.port);
                thread::spawn(move || {
                    if let Err(error) = answer(stream, port, &*take) {
                        tracing::debug!(%error, "a connection of the browser ended early");
                    }
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
    }
}

fn answer(mut stream: TcpStream, port: u16, take: &(dyn Fn(Callback) + Send + Sync)) -> io::Result<()> {
    stream.set_read_timeout(Some(QUIET))?;
    stream.set_write_timeout(Some(QUIET))?;
    let Some(head) = read_head(&stream)? else { return Ok(()) };
    let mut lines = head.lines();
    let mut request = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (request.next().unwrap_or_default(), request.next().unwrap_or_default());
    let host = lines.find_map(|line| line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("host")));
    // A page elsewhere whose name was bent to this machine sends its own name.
    let is_ours = host.is_some_and(|(_, host)| host.trim() == format!("127.0.0.1:{port}"));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if !is_ours || method != "GET" || path != "/callback" {
        return write_page(&mut stream, "404 Not Found", "Nothing here", "This address ends a `cogfs login`.");
    }
    take(Callback { query: query.to_owned(), stream });
    Ok(())
}

/// The head of a request; `None`: the connection was closed, or it is too long.
fn read_head(stream: &TcpStream) -> io::Result<Option<String>> {
    let mut reader = BufReader::new(stream.take(HEAD));
    let mut head = Vec::new();
    loop {
        let before = head.len();
        if reader.read_until(b'\n', &mut head)? == 0 {
            return Ok(None);
        }
        if matches!(&head[before..], b"\r\n" | b"\n") {
            return Ok(Some(String::from_utf8_lossy(&head).into_owned()));
        }
    }
}

impl Callback {
    /// Shows how it went. A browser that is gone already misses nothing.
    pub fn show(mut self, title: &str, text: &str) {
        if let Err(error) = write_page(&mut self.stream, "200 OK", title, text) {
            tracing::debug!(%error, "the browser did not wait for its page");
        }
    }
}

fn write_page(stream: &mut TcpStream, status: &str, title: &str, text: &str) -> io::Result<()> {
    let (title, text) = (escaped(title), escaped(text));
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>cogfs: {title}</title>\n\
         <style>body{{font:16px/1.5 sans-serif;margin:20vh auto;max-width:34em;padding:0 1em}}</style></head>\n\
         <body><h1>{title}</h1><p>{text}</p></body></html>\n"
    );
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\
         Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n\
         Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n\r\n{page}",
        page.len()
    )?;
    stream.flush()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn ask(port: u16, request: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn serving() -> (u16, mpsc::Receiver<Callback>) {
        let listener = Listener::bind().unwrap();
        let (port, (to, from)) = (listener.port, mpsc::channel());
        listener.serve(move |callback| to.send(callback).unwrap());
        (port, from)
    }

    #[test]
    fn the_browser_waits_for_the_page_that_says_how_it_went() {
        let (port, callbacks) = serving();
        // Browsers do this, to be faster later.
        let _silent = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let request = format!("GET /callback?code=a&state=b HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
        let browser = thread::spawn(move || ask(port, &request));
        let callback = callbacks.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(callback.query, "code=a&state=b");
        callback.show("Logged in", "as <b>mira</b>");
        let page = browser.join().unwrap();
        assert!(page.starts_with("HTTP/1.1 200") && page.contains("as &lt;b&gt;mira"), "{page}");
        assert!(page.contains("Referrer-Policy: no-referrer"), "{page}");
    }

    #[test]
    fn other_addresses_methods_and_names_of_this_machine_are_not_answered_to() {
        let (port, callbacks) = serving();
        for (line, host) in [
            ("GET /favicon.ico HTTP/1.1", format!("127.0.0.1:{port}")),
            ("POST /callback?code=a HTTP/1.1", format!("127.0.0.1:{port}")),
            ("GET /callback?code=a HTTP/1.1", format!("evil.example:{port}")),
            ("GET /callback?code=a HTTP/1.1", "127.0.0.1".to_owned()),
        ] {
            let page = ask(port, &format!("{line}\r\nHost: {host}\r\n\r\n"));
            assert!(page.starts_with("HTTP/1.1 404"), "{line} {host}: {page}");
        }
        assert!(callbacks.try_recv().is_err());
    }
}
