//! `mount.cogfs`: what mount(8) runs for a line of /etc/fstab of the type `cogfs`. The program under that name, as a link.
//!
//! ```text
//! cogfs  /home/ada/conversations  cogfs  user,noauto,ro  0  0
//! ```

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The name under which the program is such a helper.
pub const NAME: &str = "mount.cogfs";

/// Options of every filesystem that mean nothing here, or what is so anyway: mount(8) has dealt with them.
const USUAL: [&str; 18] = [
    "rw", "defaults", "auto", "noauto", "user", "nouser", "users", "owner", "group", "nofail", "_netdev", "nosuid",
    "nodev", "exec", "noexec", "noatime", "relatime", "dev",
];

/// A line of /etc/fstab as a command line: `mount.cogfs SOURCE DIR [-sfnv] [-o OPTIONS]` (mount(8), "EXTERNAL HELPERS").
///
/// # Errors
/// When it cannot be understood; the text says what.
pub fn command_line(args: impl IntoIterator<Item = OsString>) -> Result<Meant, String> {
    let mut args = args.into_iter().skip(1);
    let (mut places, mut meant) = (Vec::new(), Meant::default());
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("-o") => {
                let options = args.next().unwrap_or_default();
                for option in options.to_string_lossy().split(',').filter(|option| !option.is_empty()) {
                    meant.take(option)?;
                }
            }
            // A namespace and a type are mount(8)'s business.
            Some("-N" | "-t") => drop(args.next()),
            Some("-f") => meant.is_fake = true,
            Some("-s") => meant.is_sloppy = true,
            Some(flag) if flag.starts_with('-') && flag.len() > 1 => {}
            _ => places.push(PathBuf::from(arg)),
        }
    }
    match &places[..] {
        [_, dir] => {
            meant.dir = dir.clone();
            Ok(meant)
        }
        _ => Err(format!("usage: {NAME} cogfs DIR [-o OPTIONS]")),
    }
}

/// What a line of /etc/fstab says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Meant {
    pub dir: PathBuf,
    /// `COGFS_HOME`.
    pub home: Option<PathBuf>,
    /// Further arguments of `cogfs mount`.
    pub flags: Vec<&'static str>,
    /// Nothing is to be mounted: mount(8) tries its command line.
    pub is_fake: bool,
    is_sloppy: bool,
}

impl Meant {
    fn take(&mut self, option: &str) -> Result<(), String> {
        match option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value))) {
            ("ro", None) => self.flags.push("--read-only"),
            ("allow_other", None) => self.flags.push("--allow-other"),
            ("xattr", None) => self.flags.push("--xattr"),
            ("no-watch", None) => self.flags.push("--no-watch"),
            ("no-sync", None) => self.flags.push("--no-sync"),
            ("home", Some(home)) => self.home = Some(Path::new(home).to_owned()),
            (name, _) if USUAL.contains(&name) || name.starts_with("x-") || name == "user" => {}
            _ if self.is_sloppy => {}
            _ => {
                return Err(format!(
                    "{NAME}: there is no option `{option}`: ro, allow_other, xattr, no-watch, no-sync, home=DIR"
                ));
            }
        }
        Ok(())
    }

    /// The arguments of the program for it.
    #[must_use]
    pub fn args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["mount".into()];
        args.extend(self.flags.iter().map(OsString::from));
        args.push("--".into());
        args.push(self.dir.clone().into());
        args
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(line: &str) -> Result<Meant, String> {
        command_line(line.split(' ').map(OsString::from))
    }

    #[test]
    fn a_line_of_fstab_is_a_command_line() {
        let meant =
            meant("/sbin/mount.cogfs cogfs /home/u/c -o rw,ro,user=ada,home=/x,x-systemd.automount -n").unwrap();
        assert_eq!(meant.args(), ["mount", "--read-only", "--", "/home/u/c"]);
        assert_eq!((meant.home.as_deref(), meant.is_fake), (Some(Path::new("/x")), false));
    }

    #[test]
    fn what_is_not_understood_is_refused_unless_the_line_is_to_be_sloppy() {
        assert!(meant("mount.cogfs cogfs /m -o read-only").unwrap_err().contains("ro, allow_other"));
        assert!(meant("mount.cogfs cogfs /m -s -o read-only").is_ok());
        assert!(meant("mount.cogfs cogfs").unwrap_err().starts_with("usage:"));
        assert!(meant("mount.cogfs -f cogfs /m").unwrap().is_fake);
    }
}
