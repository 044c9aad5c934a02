"""Measures writes on a mount against the same work on the disk: `scripts/bench --writes`.

A database of 20,000 sessions (`--sessions`), and a few commits of 1,000 turns. Each piece of work is done on the mount and on
the disk in turns, and medians are compared: take the ratios, not the seconds. What is asked of both is that it is on the disk
when the call returns: on the mount it is by itself, on the disk it takes an fsync. `pinned` has the client and the server on one
CPU, which takes the scheduler's whims out; `free` lets them run where they like.
"""

import argparse
import json
import os
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

SAVE, RENAME, REMOVE = 3, 3, 3
COMMITS_PER_PROJECT = 400
LONG_TURNS = 1_000


def write_logs(directory, sessions, long_ones):
    """One commit a session: most of three turns, some of a thousand."""
    soup = bench_corpus.Soup(bench_corpus.random.Random(20_260_106))
    for number in range(sessions + long_ones):
        project = number // COMMITS_PER_PROJECT
        log = bench_corpus.Log(soup, project, number + 1, bench_corpus.START + timedelta(minutes=number))
        for turn in range(3 if number < sessions else LONG_TURNS):
            log.turn(turn)
        path = Path(directory, "projects", log.cwd.replace("/", "-"), f"{log.session}.jsonl")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(log.lines) + "\n", encoding="utf-8")


def timed(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def save(path, data):
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
    try:
        os.write(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_directory(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Writes:
    def __init__(self, args):
        self.args = args
        self.cogfs = str(Path(args.target).resolve() / "cogfs")
        self.dir = Path(args.dir).resolve()
        self.home, self.mnt, self.disk = self.dir / "home", self.dir / "mnt", self.dir / "disk"
        self.rows = []
        self.cpus = os.sched_getaffinity(0)
        self.modes = {"pinned": {min(self.cpus)}, "free": self.cpus}
        self.long_ones = args.repeat * len(self.modes)

    def env(self):
        return dict(os.environ) | {"COGFS_HOME": str(self.home), "HOME": str(self.dir / "nobody")}

    def prepare(self):
        logs = self.dir / f"logs-{self.args.sessions}-{self.long_ones}"
        if not logs.exists():
            say(f"writing {self.args.sessions:,} logs")
            shutil.rmtree(self.dir, ignore_errors=True)
            write_logs(logs, self.args.sessions, self.long_ones)
        for path in (self.home, self.disk):
            shutil.rmtree(path, ignore_errors=True)
        say("importing")
        run([self.cogfs, "import", str(logs)], env=self.env())
        self.disk.mkdir()
        self.mnt.mkdir(exist_ok=True)
        run([self.cogfs, "mount", "--no-watch", str(self.mnt)], env=self.env())

    def pin(self, mode):
        """Client and server, all threads of it, on the CPUs of a mode."""
        os.sched_setaffinity(0, self.modes[mode])
        for pid in Path("/proc").iterdir():
            try:
                if pid.name.isdigit() and str(self.mnt) in (pid / "cmdline").read_text().split("\0"):
                    for task in (pid / "task").iterdir():
                        os.sched_setaffinity(int(task.name), self.modes[mode])
            except (FileNotFoundError, ProcessLookupError):
                pass

    def row(self, what, mode, target, mount, disk):
        what = f"{what}, {mode}"
        mount, disk = statistics.median(mount), statistics.median(disk)
        ratio = mount / disk
        self.rows.append({
            "what": what, "measured": ratio, "unit": "×", "target": target, "least": False,
            "verdict": "ok" if ratio <= target else "MISS", "mount_ms": mount * 1e3, "disk_ms": disk * 1e3,
        })  # fmt: skip
        say(f"  {what}: {ratio:.2f} × ({mount * 1e3:.2f} ms / {disk * 1e3:.2f} ms)")

    def commits(self, project):
        tree = self.mnt / "projects" / f"project-{project:03}"
        return sorted(path for path in tree.iterdir() if path.is_dir() and not path.is_symlink() and path.name != "hidden")

    def saves(self, mode):
        commit = self.commits(list(self.modes).index(mode))[0]
        document, copy = commit / "meta.md", self.disk / "meta.md"
        text = document.read_bytes()
        copy.write_bytes(text)
        mount, disk = [], []
        for number in range(self.args.saves):
            data = text + f"\nNote number {number:04}.\n".encode()
            mount.append(timed(lambda: save(document, data)))
            disk.append(timed(lambda: save(copy, data)))
        assert document.read_bytes() == data
        self.row("save of meta.md, fsynced", mode, SAVE, mount, disk)

    def renames(self, mode):
        mount, disk = [], []
        for number, commit in enumerate(self.commits(2 + list(self.modes).index(mode))[: self.args.saves]):
            twin = self.disk / commit.name
            twin.mkdir()
            name = f"Title number {number:04}"
            mount.append(timed(lambda: os.rename(commit, commit.with_name(name))))

            def on_disk():
                os.rename(twin, twin.with_name(name))
                sync_directory(self.disk)

            disk.append(timed(on_disk))
        self.row("rename of a commit", mode, RENAME, mount, disk)

    def removals(self, mode):
        projects = range(self.args.sessions // COMMITS_PER_PROJECT, 10_000)
        long_ones = [c for project in projects if (self.mnt / "projects" / f"project-{project:03}").exists() for c in self.commits(project)]
        long_ones = [c for c in long_ones if len(list((next((c / "sessions").iterdir()) / "turns").iterdir())) >= LONG_TURNS // 2]
        mount, disk = [], []
        for number, commit in enumerate(long_ones[: self.args.repeat]):
            twin = self.disk / f"commit-{mode}-{number}"
            shutil.copytree(commit, twin)
            os.sync()
            for path in (commit, twin):
                run(["find", str(path), "-newer", "/"])
            mount.append(timed(lambda: run(["rm", "-r", str(commit)])))
            disk.append(timed(lambda: run(["rm", "-rf", str(twin)])))
        self.row(f"rm -r of a commit of {LONG_TURNS:,} turns", mode, REMOVE, mount, disk)

    def clean_up(self):
        subprocess.run([self.cogfs, "unmount", str(self.mnt)], env=self.env(), capture_output=True, check=False)


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench --writes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=20_000, help="sessions in the database (default: 20000)")
    parser.add_argument("--saves", type=int, default=100, help="saves and renames measured (default: 100)")
    parser.add_argument("--repeat", type=int, default=9, help="commits removed (default: 9)")
    parser.add_argument("--dir", default="target/bench-writes", help="where the data lies, on a disk; kept (default: target/bench-writes)")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    parser.add_argument("--target", default="target/release", help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    args = arguments()
    bench = Writes(args)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    command = shlex.join(["scripts/bench", "--writes", *(a for a in sys.argv[1:] if a != "--target" and a != args.target)])
    try:
        bench.prepare()
        for mode in bench.modes:
            bench.pin(mode)
            bench.saves(mode)
            bench.renames(mode)
            bench.removals(mode)
    finally:
        bench.clean_up()
    if args.json:
        print(json.dumps({"command": command, "machine": machine(), "rows": bench.rows}, indent=1))
        return
    print(f"\n{command}")
    for key, value in machine().items():
        print(f"{key}: {value}")
    print()
    rows = [[*cells(row)[:4], f"{row['mount_ms']:.2f} ms / {row['disk_ms']:.2f} ms"] for row in bench.rows]
    print_table(["what", "target", "measured", "", "mount / disk"], rows)


if __name__ == "__main__":
    main()
