//! A password: asked for without being shown, or read from standard input. Never an argument, which every user of the machine sees.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use super::super::mount::BoxError;
use crate::cloud::secret::Secret;

/// Longer is no password: bcrypt takes 72 bytes.
const LONGEST: u64 = 4096;

/// Reads a password, the first line of standard input.
pub fn read() -> Result<Secret, BoxError> {
    let mut line = String::new();
    BufReader::new(io::stdin().lock().take(LONGEST)).read_line(&mut line)?;
    password(&line).ok_or_else(|| "there is no password on standard input".into())
}

/// Asks for a password on the terminal, whatever standard input is.
pub fn ask(email: &str) -> Result<Secret, BoxError> {
    let no_terminal = "there is no terminal to ask for the password on: add --password-stdin and pipe it in";
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(|_| no_terminal)?;
    write!(terminal, "Password of {}: ", super::printable(email))?;
    let line = {
        let hidden = Hidden::new(terminal.try_clone()?)?;
        read_line(&mut terminal, hidden.interrupt)?
    };
    writeln!(terminal)?;
    password(&line.ok_or("interrupted")?).ok_or_else(|| "no password was typed".into())
}

fn password(line: &str) -> Option<Secret> {
    let line = line.strip_suffix('\n').unwrap_or(line);
    let line = line.strip_suffix('\r').unwrap_or(line);
    (!line.is_empty()).then(|| Secret::new(line))
}

/// The line that is typed; `None`: Ctrl-C.
fn read_line(terminal: &mut File, interrupt: u8) -> Result<Option<String>, BoxError> {
    let mut line = Vec::new();
    let mut byte = [0u8];
    // With VEOL set, a read gives what was typed up to Ctrl-C.
    while !line.ends_with(b"\n") && (line.len() as u64) < LONGEST && terminal.read(&mut byte)? > 0 {
        if byte[0] == interrupt {
            return Ok(None);
        }
        line.push(byte[0]);
    }
    Ok(Some(String::from_utf8(line).map_err(|_| "the password is no UTF-8")?))
}

/// A terminal that does not show what is typed, until this is dropped. Ctrl-C is a character meanwhile: a process that it ended
/// would leave the terminal so.
struct Hidden {
    terminal: File,
    before: Termios,
    interrupt: u8,
}

impl Hidden {
    fn new(terminal: File) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut hidden = before.clone();
        let interrupt = before.special_codes[SpecialCodeIndex::VINTR];
        hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        // It ends the line, so that Ctrl-C is seen at once.
        hidden.special_codes[SpecialCodeIndex::VEOL] = interrupt;
        tcsetattr(&terminal, OptionalActions::Flush, &hidden)?;
        Ok(Self { terminal, before, interrupt })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before) {
            tracing::debug!(%error, "the terminal is gone");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_a_line_with_its_blanks() {
        let read = |line| password(line).map(|p| p.reveal().to_owned());
        assert_eq!(read(" a b \r\n").as_deref(), Some(" a b "));
        assert_eq!(read("a").as_deref(), Some("a"));
        assert_eq!(read("\n"), None);
    }
}
