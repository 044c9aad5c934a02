//! A login in a browser that the test plays: it reads the address that the program prints, and follows where it leads.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use super::Ran;

/// A login in a browser that is played by the test.
pub struct Browser {
    login: Child,
    /// What the program says to its user.
    said: BufReader<std::process::ChildStderr>,
    pub address: url::Url,
}

impl Browser {
    pub fn start(command: &mut Command) -> Self {
        let mut login = command
            .env_remove("COGFS_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(login.stderr.take().unwrap());
        let mut line = String::new();
        while !line.trim().starts_with("http") {
            line.clear();
            assert_ne!(said.read_line(&mut line).unwrap(), 0, "it ended without an address");
        }
        let address = url::Url::parse(line.trim()).unwrap();
        Self { login, said, address }
    }

    pub fn query(&self, name: &str) -> String {
        let value = self.address.query_pairs().find(|(n, _)| n == name);
        value.unwrap_or_else(|| panic!("no {name} in {}", self.address)).1.into_owned()
    }

    /// Where the server sends the browser at the end, with what it adds.
    pub fn callback(&self, add: &str) -> String {
        format!("{}&{add}", self.query("redirect_to"))
    }

    /// Goes to an address of this machine, and wherever that leads; the last page.
    pub fn visit(&self, address: &str) -> String {
        let mut url = url::Url::parse(address).unwrap();
        for _ in 0..10 {
            let page = get(&url);
            let location = page.lines().take_while(|line| !line.is_empty()).find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("location").then(|| value.to_owned())
            });
            let Some(location) = location else { return page };
            url = url.join(&location).unwrap();
        }
        panic!("{address} leads nowhere");
    }

    pub fn paste(&mut self, text: &str) {
        writeln!(self.login.stdin.as_mut().unwrap(), "{text}").unwrap();
    }

    pub fn end(mut self) -> Ran {
        let mut stderr = String::new();
        self.said.read_to_string(&mut stderr).unwrap();
        let mut ran = Ran::of(&self.login.wait_with_output().unwrap());
        ran.stderr = stderr;
        ran
    }
}

/// A page with its head.
fn get(url: &url::Url) -> String {
    let host = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    let mut stream = TcpStream::connect(&host).unwrap();
    let target = format!("{}?{}", url.path(), url.query().unwrap_or_default());
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page.replace("\r\n", "\n")
}
