"""The largest directories of by/ that there can be, for `scripts/bench --search`: a database in which every commit has the same
day, agent, model, machine, tool, file, tag and status, so that each view has one directory with all of them."""

import hashlib
import os
import shutil
import sqlite3
import statistics
import subprocess
import time
from datetime import timedelta
from pathlib import Path

import bench_corpus
from bench import Mount, cpu_of_children, run, say

VERSION = 1
COMMITS_OF_LOG = 100
TAG, FILE, STATUS, TOOL = "bench", "src/main.rs", "published", "write"
# The most a listing may take, in listings of a plain directory.
LISTING = 1.5
LONG_LISTED = ("by/id", "by/git")
SUBJECTS = "Parse dates", "Retry on a lost connection", "Keep the order of columns", "Say which file was refused", "Sort names by locale"
# Numbers of store::facets::FacetKind.
KIND_TAG, KIND_STATUS = 7, 8


class NoSoup:
    rng = None


def write(directory, commits):
    """Writes logs of one project, all on one day: for each git commit the same file is written."""
    for first in range(0, commits, COMMITS_OF_LOG):
        number = first // COMMITS_OF_LOG
        log = bench_corpus.Log(NoSoup, 0, number + 1, bench_corpus.START + timedelta(seconds=30 * number))
        path = f"{log.cwd}/{FILE}"
        for commit in range(first, min(first + COMMITS_OF_LOG, commits)):
            subject = f"{SUBJECTS[commit % len(SUBJECTS)]}, part {commit}"
            call = f"toolu_{log.session[:8]}_w{commit}"
            log.record("user", {"message": {"role": "user", "content": f"{subject}, please."}})
            log.block({"type": "tool_use", "id": call, "name": "Write", "input": {"file_path": path, "content": "fn main() {}\n"}})
            result = {"tool_use_id": call, "type": "tool_result", "content": f"File created successfully at: {path}"}
            log.record("user", {"message": {"role": "user", "content": [result]}})
            log.bash(f"git commit -am '{subject}'", f"[main {0x10000000 + commit * 97:07x}] {subject}\n 1 file changed")
        folder = Path(directory, "projects", log.cwd.replace("/", "-"))
        folder.mkdir(parents=True, exist_ok=True)
        Path(folder, f"{log.session}.jsonl").write_text("\n".join(log.lines) + "\n", encoding="utf-8")


def mark(database):
    """Gives all commits a tag and a status, as edits would: 100,000 edits would be measured for hours."""
    with sqlite3.connect(database) as conn:
        last = conn.execute("SELECT max(row) FROM cognitive_commits").fetchone()[0]
        for kind, name in ((KIND_TAG, TAG), (KIND_STATUS, STATUS)):
            facet = conn.execute("INSERT INTO facets(kind, parent, name, depth, latest) VALUES (?, 0, ?, 0, ?) RETURNING row", (kind, name, last))
            row = facet.fetchone()[0]
            conn.execute("INSERT INTO facet_links(facet_row, commit_row) SELECT ?, row FROM cognitive_commits", (row,))
    conn.close()


class Listings:
    """Lists each of them right after a mount and once more, beside a plain directory of as many links of the same names."""

    def __init__(self, bench):
        self.args, self.row, self.facts, self.cogfs = bench.args, bench.row, bench.facts, bench.cogfs
        self.dir = bench.dir
        self.logs, self.home = (self.dir / f"listing-{name}-{self.args.entries}" for name in ("logs", "home"))
        self.plain, self.names_of_plain = self.dir / "plain", None

    @staticmethod
    def env(home):
        kept = {key: value for key, value in os.environ.items() if key != "RUST_LOG"}
        return kept | {"COGFS_HOME": str(home), "HOME": str(home / "nobody")}

    def prepare(self):
        done = self.logs / f"version-{VERSION}"
        if not done.exists():
            say(f"writing logs of {self.args.entries:,} commits")
            shutil.rmtree(self.logs, ignore_errors=True)
            write(self.logs, self.args.entries)
            done.touch()
        binary = hashlib.sha256(Path(self.cogfs).read_bytes()).hexdigest()
        done = self.home / "bench"
        if not done.exists() or done.read_text() != binary:
            say("importing them")
            shutil.rmtree(self.home, ignore_errors=True)
            run([self.cogfs, "import", "--quiet", str(self.logs)], env=self.env(self.home))
            mark(self.home / "data/cogfs.db")
            done.write_text(binary)

    def views(self, mnt):
        """The largest directory of each view."""

        def only(view):
            (name,) = os.listdir(mnt / view)
            return f"{view}/{name}"

        fixed = f"by/tool/{TOOL}", f"{only('by/file')}/{FILE}", f"by/tag/{TAG}", f"by/status/{STATUS}"
        return ["by/id", "by/git", *(only(f"by/{view}") for view in ("date", "agent", "model", "machine")), *fixed]

    def measure(self):
        self.prepare()
        with Mount(self, self.home) as mount:
            views = {view: os.listdir(mount.dir / view) for view in self.views(mount.dir)}
        for view, names in views.items():
            self.make_plain(names)
            what = f"ls {view}, {len(names):,} entries"
            self.compare(view, what, ["ls", "-U"], LISTING, self.args.repeat)
        for view in LONG_LISTED:
            self.make_plain(views[view])
            # A request a link: minutes.
            self.compare(view, f"ls -l {view}, {len(views[view]):,} entries", ["ls", "-lU"], None, 1)
        shutil.rmtree(self.plain)

    def make_plain(self, names):
        if set(names) == self.names_of_plain:
            return
        shutil.rmtree(self.plain, ignore_errors=True)
        self.plain.mkdir()
        for name in names:
            os.symlink(f"../../projects/project-000/{name}", self.plain / name)
        self.names_of_plain = set(names)

    def compare(self, view, what, command, target, repeat):
        first, again, plain = [], [], []
        # What was just written is on its way to the disk.
        os.sync()
        self.listed(command, self.plain)
        for _ in range(repeat):
            with Mount(self, self.home) as mount:
                first.append(self.listed(command, mount.dir / view, mount))
                again.append(self.listed(command, mount.dir / view, mount))
                self.facts["server anonymous bytes"] = max(self.facts.get("server anonymous bytes", 0), mount.anonymous_memory())
            # It ends a moment behind its mount, and would be taken for the next one.
            while mount.server.exists():
                time.sleep(0.01)
            plain.append(self.listed(command, self.plain))
        (first, first_cpu), (again, again_cpu), (plain, plain_cpu) = (map(statistics.median, zip(*taken)) for taken in (first, again, plain))
        self.row(f"{what}, first / a plain directory", first, plain, target, (first_cpu, plain_cpu))
        self.row(f"{what}, again / a plain directory", again, plain, target, (again_cpu, plain_cpu))

    @staticmethod
    def listed(command, path, mount=None):
        """Seconds of the clock, and of CPU: of the command and the server."""
        before = cpu_of_children() + (mount.cpu() if mount else 0)
        start = time.perf_counter()
        subprocess.run([*command, str(path)], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        return seconds, cpu_of_children() + (mount.cpu() if mount else 0) - before
