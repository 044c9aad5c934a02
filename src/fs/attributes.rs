//! Extended attributes, of a mount that has them (`--xattr`). They are asked for in every `ls -l` and kept by nobody, which is why
//! most mounts have none.

use std::ffi::OsStr;

use super::overlay::Role;
use super::{CogFs, Result};
use crate::tree::{self, Node};

/// All names begin so; of another namespace there are none, which is known without a query.
const NAMESPACE: &[u8] = b"user.cogfs.";

impl CogFs {
    /// The value of an attribute; `None` where the node has none of that name.
    ///
    /// # Errors
    /// When there is no such node or the database cannot be read.
    pub fn getxattr(&self, ino: u64, name: &OsStr) -> Result<Option<Vec<u8>>> {
        if !name.as_encoded_bytes().starts_with(NAMESPACE) {
            return Ok(None);
        }
        let found = self.attributes(ino)?.into_iter().find(|(known, _)| *known == name);
        Ok(found.map(|(_, value)| value.into_bytes()))
    }

    /// The names of a node's attributes, each with a NUL behind it.
    ///
    /// # Errors
    /// As [`Self::getxattr`].
    pub fn listxattr(&self, ino: u64) -> Result<Vec<u8>> {
        let found = self.attributes(ino)?;
        Ok(found.iter().flat_map(|(name, _)| name.bytes().chain([0])).collect())
    }

    fn attributes(&self, ino: u64) -> Result<Vec<tree::Attribute>> {
        let node = match self.role(ino)? {
            Role::Tree(node) => node,
            Role::Meta(row) => Node::CommitMetaMd(row),
            Role::Scratch(_) | Role::Orphan => return Ok(Vec::new()),
        };
        self.query(|conn| tree::attributes(conn, node))
    }
}
