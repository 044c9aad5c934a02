//! Real editors and tools save a `meta.md` on a real mount: the bytes read back as they were written, the record says what they
//! say, once, and nothing is left lying about. What each program does and leaves is told in docs/SEMANTICS.md, "Editors".

#[macro_use]
#[path = "../common/mod.rs"]
mod common;
#[macro_use]
mod desk;

mod crashes;
mod emacs;
mod graphical;
mod nano;
mod recorded;
mod terminal;
mod together;
mod tools;
mod vim;
