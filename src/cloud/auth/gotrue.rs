//! The calls of GoTrue, Supabase's login.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::http::errors::{self, Failure, Service};
use super::super::http::transport::{Method, Reply, Request, Transport};
use super::super::secret::Secret;
use super::session::{Session, TokenReply};
use crate::model::Millis;

/// For each call.
const WITHIN: Duration = Duration::from_secs(10);

/// What a session is given for.
#[derive(Debug, Clone, Copy)]
pub enum Grant<'a> {
    /// A code that the browser brought, with the proof that it was asked for here.
    Code {
        code: &'a Secret,
        verifier: &'a Secret,
    },
    Password {
        email: &'a str,
        password: &'a Secret,
    },
    Refresh(&'a Secret),
}

impl Grant<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::Code { .. } => "pkce",
            Self::Password { .. } => "password",
            Self::Refresh(_) => "refresh_token",
        }
    }

    fn body(&self) -> Value {
        match self {
            Self::Code { code, verifier } => json!({"auth_code": code.reveal(), "code_verifier": verifier.reveal()}),
            Self::Password { email, password } => json!({"email": email, "password": password.reveal()}),
            Self::Refresh(token) => json!({"refresh_token": token.reveal()}),
        }
    }

    fn secrets(&self) -> Vec<&str> {
        match self {
            Self::Code { code, verifier } => vec![code.reveal(), verifier.reveal()],
            Self::Password { password, .. } => vec![password.reveal()],
            Self::Refresh(token) => vec![token.reveal()],
        }
    }
}

/// Asks for a session.
///
/// # Errors
/// The server's code, or why there is no answer.
pub fn session(transport: &Transport, grant: Grant<'_>) -> Result<Session, Failure> {
    let body = grant.body().to_string();
    let path = format!("/auth/v1/token?grant_type={}", grant.name());
    let reply = send(transport, Method::Post, &path, None, Some(body.as_bytes()), &grant.secrets())?;
    let now = Millis::now();
    Ok(errors::json::<TokenReply>(&reply)?.session(&transport.server().url, now)?)
}

/// Ends a session, on this machine alone: without a scope, GoTrue would end those of all machines.
///
/// # Errors
/// The server's code, or why there is no answer.
pub fn log_out(transport: &Transport, token: &Secret) -> Result<(), Failure> {
    send(transport, Method::Post, "/auth/v1/logout?scope=local", Some(token), None, &[token.reveal()]).map(drop)
}

/// The logins that the server has, and those that it says it has not.
///
/// # Errors
/// When it does not say.
pub fn providers(transport: &Transport) -> Result<HashMap<String, bool>, Failure> {
    #[derive(serde::Deserialize)]
    struct Settings {
        external: HashMap<String, bool>,
    }
    let reply = send(transport, Method::Get, "/auth/v1/settings", None, None, &[])?;
    Ok(errors::json::<Settings>(&reply)?.external)
}

fn send(
    transport: &Transport,
    method: Method,
    path: &str,
    token: Option<&Secret>,
    body: Option<&[u8]>,
    secrets: &[&str],
) -> Result<Reply, Failure> {
    let request = Request {
        method,
        path,
        token,
        content_type: "application/json",
        headers: &[("x-supabase-api-version", "2024-01-01"), ("accept", "application/json")],
        body,
        within: WITHIN,
    };
    let reply = transport.send(&request)?;
    let mut secrets = secrets.to_vec();
    secrets.push(transport.server().key.reveal());
    errors::check(Service::Auth, &reply, &secrets)?;
    Ok(reply)
}
