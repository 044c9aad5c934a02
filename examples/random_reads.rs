//! Opens, reads and closes the files named on standard input, below a folder, from as many threads as told; prints the seconds
//! it took. A program of its own, because an interpreter would take longer than the reads it is to measure.
//!
//! `random_reads FOLDER THREADS < PATHS`. Used by `scripts/bench`; must not use the library.

use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::thread;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let usage = "usage: random_reads FOLDER THREADS < PATHS";
    let folder = PathBuf::from(args.next().ok_or(usage)?);
    let threads: usize = args.next().ok_or(usage)?.parse()?;
    let names = std::io::read_to_string(std::io::stdin())?;
    let paths: Vec<PathBuf> = names.lines().map(|name| folder.join(name)).collect();
    let start = Instant::now();
    thread::scope(|scope| {
        let chunks = paths.chunks(paths.len().div_ceil(threads.max(1)).max(1));
        let readers: Vec<_> = chunks.map(|chunk| scope.spawn(|| read_all(chunk))).collect();
        readers.into_iter().try_for_each(|reader| reader.join().map_err(|_| std::io::Error::other("a reader died"))?)
    })?;
    println!("{}", start.elapsed().as_secs_f64());
    Ok(())
}

fn read_all(paths: &[PathBuf]) -> std::io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    for path in paths {
        let mut file = File::open(path)?;
        while file.read(&mut buffer)? > 0 {}
    }
    Ok(())
}
