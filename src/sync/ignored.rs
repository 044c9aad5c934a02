//! Projects whose folders a `.cogfsignore` names: their conversations stay on this machine.
//!
//! A `.cogfsignore` has the lines of a `.gitignore` and says which folders below it are meant; `*` says that its own is too. The
//! file `cogfsignore` among the settings speaks of all folders of the machine. A project stays here if one of its folders is meant.

use std::fs;
use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::store::{Result, Writer, projects};

/// In any folder above a project's, or in it.
const FILE: &str = ".cogfsignore";

/// Lines that mean the folder in which they stand.
const ITSELF: [&str; 5] = ["*", "/", ".", "**", "/*"];

/// A line that cannot be read, for who runs a command.
pub type Complaint = String;

/// Reads the files anew and notes which projects they name; what in them cannot be read.
///
/// # Errors
/// When the database cannot be used.
pub fn refresh(writer: &mut Writer, settings: &Path) -> Result<Vec<Complaint>> {
    let mut complaints = Vec::new();
    let everywhere = patterns(settings, Path::new("/"), &mut complaints);
    let mut changed = Vec::new();
    for project in projects::all(writer.conn())? {
        let is_named = project.paths.iter().any(|path| is_ignored(Path::new(path), &everywhere, &mut complaints));
        if is_named != projects::is_ignored(writer.conn(), project.row)? {
            changed.push((project.row, is_named));
        }
    }
    complaints.dedup();
    if !changed.is_empty() {
        let tx = writer.begin()?;
        for (row, ignored) in changed {
            projects::set_ignored(&tx, row, ignored)?;
        }
        tx.commit()?;
    }
    Ok(complaints)
}

fn is_ignored(folder: &Path, everywhere: &Gitignore, complaints: &mut Vec<Complaint>) -> bool {
    if !folder.is_absolute() {
        return false;
    }
    if everywhere.matched_path_or_any_parents(folder, true).is_ignore() {
        return true;
    }
    // The nearest file that speaks of it decides, as with git.
    for above in folder.ancestors() {
        let file = above.join(FILE);
        let Ok(text) = fs::read_to_string(&file) else { continue };
        if above == folder {
            if text.lines().any(|line| ITSELF.contains(&line.trim())) {
                return true;
            }
            continue;
        }
        let said = patterns(&file, above, complaints);
        match said.matched_path_or_any_parents(folder, true) {
            ignore::Match::Ignore(_) => return true,
            ignore::Match::Whitelist(_) => return false,
            ignore::Match::None => {}
        }
    }
    false
}

/// The patterns of a file, of folders below `root`; none without it.
fn patterns(file: &Path, root: &Path, complaints: &mut Vec<Complaint>) -> Gitignore {
    let mut builder = GitignoreBuilder::new(root);
    match fs::read_to_string(file) {
        Ok(text) => {
            for (number, line) in text.lines().enumerate() {
                if let Err(error) = builder.add_line(Some(PathBuf::from(file)), line) {
                    complaints.push(format!("{}:{}: {error}", file.display(), number + 1));
                }
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => complaints.push(format!("{}: {error}", file.display())),
    }
    builder.build().unwrap_or_else(|error| {
        complaints.push(format!("{}: {error}", file.display()));
        Gitignore::empty()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(root: &Path, settings: &str, folder: &str) -> bool {
        let file = root.join("settings");
        fs::write(&file, settings).unwrap();
        let everywhere = patterns(&file, Path::new("/"), &mut Vec::new());
        is_ignored(&root.join(folder), &everywhere, &mut Vec::new())
    }

    #[test]
    fn a_folder_is_named_by_the_settings_by_files_above_it_and_by_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("work/secret/deep")).unwrap();
        fs::create_dir_all(root.join("work/open")).unwrap();
        assert!(!named(root, "", "work/secret"));
        assert!(named(root, "secret", "work/secret"));
        assert!(named(root, "secret", "work/secret/deep"));
        assert!(!named(root, "# secret\n", "work/secret"));
        fs::write(root.join("work").join(FILE), "/secret/\n").unwrap();
        assert!(named(root, "", "work/secret/deep"));
        assert!(!named(root, "", "work/open"));
        fs::write(root.join("work/secret").join(FILE), "!deep\n").unwrap();
        assert!(!named(root, "", "work/secret/deep"));
        fs::write(root.join("work/open").join(FILE), "node_modules\n").unwrap();
        assert!(!named(root, "", "work/open"));
        fs::write(root.join("work/open").join(FILE), "*\n").unwrap();
        assert!(named(root, "", "work/open"));
    }

    #[test]
    fn a_line_that_is_no_pattern_is_told_with_its_place_and_the_others_hold() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("settings");
        fs::write(&file, "a{b\nsecret\n").unwrap();
        let mut complaints = Vec::new();
        let said = patterns(&file, Path::new("/"), &mut complaints);
        assert!(said.matched_path_or_any_parents("/x/secret", true).is_ignore());
        assert_eq!(complaints.len(), 1);
        assert!(complaints[0].starts_with(&format!("{}:1: ", file.display())), "{complaints:?}");
    }
}
