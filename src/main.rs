//! The `cogfs` program: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    cogfs::cli::main()
}
