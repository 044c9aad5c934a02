"""Measures searches against ripgrep over the same text: `scripts/bench --search`.

A database of a million turns (`--turns`), and the text of each in a file of its own on the disk, in directories as a mount has
them; once more with a file a session, which suits ripgrep best. Each search is made by `cogfs search`, by `ls search/QUERY/` on a
mount (each time by another spelling: what was found is remembered), and by `rg -l`, in turns; medians are compared, everything in
the page cache. Take the ratios, not the seconds. Beside that: listing a directory of each view in by/ that holds `--entries`
commits, right after a mount and once more, and plain directories of as many links; with the seconds of CPU of `ls` and the server
together, which tell more where other programs run.
"""

import argparse
import hashlib
import json
import os
import random
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import bench_corpus
from bench import cells, machine, print_table, run, say
from bench_listings import Listings

VERSION = 1
TURNS_OF_SESSION = 40
SESSIONS_OF_PROJECT = 400
# The most a search may take, in passes of rg over the files.
SEARCH = 1 / 100
RARE, COMMON, FIRST, SECOND = "quokkanaut", "halfword", "amberglow", "lanternfish"
SEARCHES = {
    "rare word": (RARE, f"rg -l -i {RARE} ."),
    "word in half of all turns": (COMMON, f"rg -l -i {COMMON} ."),
    "phrase": (f'"{FIRST} {SECOND}"', f"rg -l -i '{FIRST} {SECOND}' ."),
    "two words": (f"{COMMON} AND {FIRST}", f"rg -l -0 -i {FIRST} . | xargs -0 -r rg -l -i {COMMON}"),
}


def texts(turns):
    """The text of each turn: `RARE` in ten, `COMMON` in half, the phrase in one of 500 and its words in one of 50."""
    rng = random.Random(20_260_107)
    soup = bench_corpus.Soup(rng)
    every = max(1, turns // 10)
    for number in range(turns):
        text = soup.piece()
        text += f" {COMMON}" if number % 2 == 0 else ""
        text += f" {RARE}" if number % every == every // 2 else ""
        if number % 500 == 7:
            text += f" {FIRST} {SECOND}"
        elif number % 50 == 8:
            text += f" {FIRST} and a {SECOND}"
        yield number, text


class Searches:
    def __init__(self, args):
        self.args = args
        self.dir = Path(args.dir).resolve()
        self.cogfs = str(Path(args.target).resolve() / "cogfs")
        self.logs, self.home, self.mnt = (self.dir / f"{name}-{args.turns}" for name in ("logs", "home", "mnt"))
        self.files, self.sessions = self.dir / f"files-{args.turns}", self.dir / f"sessions-{args.turns}"
        self.rows, self.facts = [], {"turns": args.turns}

    def env(self):
        kept = {key: value for key, value in os.environ.items() if key not in ("COGFS_REQUEST_LOG", "RUST_LOG")}
        return kept | {"COGFS_HOME": str(self.home), "HOME": str(self.dir / "nobody")}

    def row(self, what, measured, other, target, cpu=None):
        ratio = measured / other
        verdict = "" if target is None else ("ok" if ratio <= target else "MISS")
        row = {"what": what, "measured": ratio, "unit": "×", "target": target, "least": False, "verdict": verdict}
        if cpu is not None:
            row |= {"cogfs_cpu_ms": cpu[0] * 1e3, "other_cpu_ms": cpu[1] * 1e3}
        self.rows.append(row | {"cogfs_ms": measured * 1e3, "other_ms": other * 1e3})
        said = "" if cpu is None else f"; CPU {cpu[0] * 1e3:.1f} ms / {cpu[1] * 1e3:.1f} ms = {cpu[0] / cpu[1]:.4f}"
        say(f"  {what}: {measured * 1e3:.1f} ms / {other * 1e3:.1f} ms = {ratio:.4f}{said}")

    def prepare(self):
        self.dir.mkdir(parents=True, exist_ok=True)
        done = self.logs / f"version-{VERSION}"
        if not done.exists():
            say(f"writing {self.args.turns:,} turns, as logs and as text")
            for path in (self.logs, self.files, self.sessions):
                shutil.rmtree(path, ignore_errors=True)
            self.write()
            done.touch()
        binary = hashlib.sha256(Path(self.cogfs).read_bytes()).hexdigest()
        done = self.home / "bench"
        if not done.exists() or done.read_text() != binary:
            say("importing")
            shutil.rmtree(self.home, ignore_errors=True)
            _, seconds = run([self.cogfs, "import", "--quiet", str(self.logs)], env=self.env())
            self.facts["import seconds"] = seconds
            done.write_text(binary)
        self.facts["index bytes"] = (self.home / "data/search.db").stat().st_size
        self.facts["text bytes"] = sum(path.stat().st_size for path in self.sessions.iterdir())

    def write(self):
        self.sessions.mkdir(parents=True)
        log, whole = None, []
        for number, text in texts(self.args.turns):
            session, turn = divmod(number, TURNS_OF_SESSION)
            if turn == 0:
                self.end(log, whole)
                project = session // SESSIONS_OF_PROJECT
                log = self.log(project, session)
                whole = []
                folder = self.files / f"project-{project:03}" / f"session-{session:06}" / "turns"
                folder.mkdir(parents=True)
            if turn % 4 == 0:
                log.record("user", {"message": {"role": "user", "content": text}})
            else:
                log.block({"type": "text", "text": text})
            (folder / f"{turn + 1:04}.md").write_text(text + "\n", encoding="utf-8")
            whole.append(text)
        self.end(log, whole)

    @staticmethod
    def log(project, session):
        class NoSoup:
            rng = None

        return bench_corpus.Log(NoSoup, project, session + 1, bench_corpus.START + timedelta(minutes=session))

    def end(self, log, whole):
        if log is None:
            return
        path = Path(self.logs, "projects", log.cwd.replace("/", "-"), f"{log.session}.jsonl")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(log.lines) + "\n", encoding="utf-8")
        (self.sessions / f"{log.session}.md").write_text("\n\n".join(whole) + "\n", encoding="utf-8")

    def mount(self):
        self.mnt.mkdir(exist_ok=True)
        run([self.cogfs, "mount", "--no-watch", str(self.mnt)], env=self.env())

    def unmount(self):
        run([self.cogfs, "unmount", str(self.mnt)], env=self.env())

    def search(self):
        run(["bash", "-c", f"rg -l -i {RARE} . | wc -l"], cwd=self.files)
        self.mount()
        for name, (query, rg) in SEARCHES.items():
            times = {"cogfs": [], "ls": [], "rg": [], "rg sessions": []}
            for number in range(self.args.repeat):
                # Blanks behind it make another name of the same search.
                spelling = self.mnt / "search" / (query + " " * number)
                for key, command, cwd in [
                    ("cogfs", [self.cogfs, "search", query], None),
                    ("ls", ["ls", str(spelling)], None),
                    ("rg", ["bash", "-c", f"{rg} | wc -l"], self.files),
                    ("rg sessions", ["bash", "-c", f"{rg} | wc -l"], self.sessions),
                ]:
                    output, seconds = run(command, cwd=cwd, env=self.env())
                    assert output.strip() not in ("", "0"), f"{command} found nothing"
                    times[key].append(seconds)
            median = {key: statistics.median(seconds) for key, seconds in times.items()}
            self.row(f"{name}: cogfs search / rg, a file a turn", median["cogfs"], median["rg"], SEARCH)
            self.row(f"{name}: ls search/QUERY/ / rg, a file a turn", median["ls"], median["rg"], SEARCH)
            self.row(f"{name}: cogfs search / rg, a file a session", median["cogfs"], median["rg sessions"], None)
            self.row(f"{name}: ls search/QUERY/ / rg, a file a session", median["ls"], median["rg sessions"], None)
        self.unmount()

    def clean_up(self):
        subprocess.run([self.cogfs, "unmount", str(self.mnt)], env=self.env(), capture_output=True, check=False)


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench --search", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=1_000_000, help="turns in the database (default: 1000000)")
    parser.add_argument("--entries", type=int, default=100_000, help="commits in the directories of by/ that are listed (default: 100000)")
    parser.add_argument("--repeat", type=int, default=5, help="how often each is measured; medians are shown (default: 5)")
    parser.add_argument("--only", choices=["searches", "listings"], help="the one without the other")
    parser.add_argument("--dir", default="target/bench-search", help="where the data lies, on a disk; kept (default: target/bench-search)")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    parser.add_argument("--target", default="target/release", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.turns < 1000 or args.repeat < 1 or not 1 <= args.entries <= 150_000:
        parser.error("--turns at least 1000, --repeat at least 1, --entries 1 to 150000")
    return args


def main():
    args = arguments()
    bench = Searches(args)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    command = shlex.join(["scripts/bench", "--search", *(a for a in sys.argv[1:] if a != "--target" and a != args.target)])
    bench.facts["load before"] = os.getloadavg()[0]
    try:
        if args.only != "listings":
            bench.prepare()
            bench.search()
        if args.only != "searches":
            bench.dir.mkdir(parents=True, exist_ok=True)
            Listings(bench).measure()
    finally:
        bench.clean_up()
    bench.facts["load after"] = os.getloadavg()[0]
    if args.json:
        print(json.dumps({"command": command, "machine": machine(), "facts": bench.facts, "rows": bench.rows}, indent=1))
        return
    print(f"\n{command}")
    for key, value in (machine() | bench.facts).items():
        print(f"{key}: {value:,.1f}" if isinstance(value, float) else f"{key}: {value:,}" if isinstance(value, int) else f"{key}: {value}")
    print()
    rows = []
    for row in bench.rows:
        cpu = f"{row['cogfs_cpu_ms']:.0f} ms / {row['other_cpu_ms']:.0f} ms" if "cogfs_cpu_ms" in row else ""
        rows.append([row["what"], *cells(row)[1:2], f"{row['measured']:.4f} ×", row["verdict"], f"{row['cogfs_ms']:.1f} ms / {row['other_ms']:.1f} ms", cpu])
    print_table(["what", "target", "measured", "", "cogfs / other", "CPU"], rows)


if __name__ == "__main__":
    main()
