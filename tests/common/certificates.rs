//! Certificates for a test, made by openssl.

use std::path::PathBuf;
use std::process::Command;

use super::must;

/// An authority, and a server at 127.0.0.1 that it vouches for.
pub struct Certificates {
    dir: tempfile::TempDir,
}

impl Certificates {
    pub fn new() -> Self {
        let made = Self { dir: tempfile::tempdir().unwrap() };
        let key = ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"];
        let authority = ["-x509", "-subj", "/CN=an authority", "-keyout", "ca.key", "-out", "ca.pem"];
        made.openssl(&[&key[..], &authority[..]].concat());
        let server = [
            "-x509",
            "-subj",
            "/CN=a server",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
        ];
        let of_whom = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"];
        made.openssl(&[&key[..], &server[..], &of_whom[..]].concat());
        made
    }

    fn openssl(&self, args: &[&str]) {
        must(Command::new("openssl").args(args).current_dir(self.dir.path()));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}
