"""Measures the mount against the same files on the disk, and the import against bare JSON parsing plus bare SQLite inserts.

Everything is compared within one run, because times of two runs on a shared machine say little: take the ratios, not the
seconds. `pinned` has the client and the server on one CPU, which takes the scheduler's whims out; `free` lets them run
where they like. Needs Linux, /dev/fuse and Python 3; started by `scripts/bench`, which builds what is measured.
`scripts/bench --writes` measures what is written instead.
"""

import argparse
import functools
import hashlib
import json
import os
import platform
import random
import resource
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import bench_corpus
import bench_peers

MIB = 1 << 20
# Of the requests, those that are not about the tree: the kernel keeps no answer to statfs, and nobody waits for a forget.
NOT_ABOUT_THE_TREE = {"statfs", "forget"}
RANDOM_READS = 20_000
# What a command prints is counted, not thrown away: grep stops at the first match when it writes to /dev/null.
WALKS = {
    "find": "find . -type f | wc -l",
    "stat": "find . -printf '%s\\n' | wc -l",
    "grep": f"grep -r -c {bench_corpus.NEEDLE} . | wc -l",
    "rg": f"rg --no-ignore -c {bench_corpus.NEEDLE} | wc -l",
    "tar": "tar cf - . | wc -c",
}
READS = {"rr1": 1, "rr8": 8}
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
NAMES = ["import", *WALKS, *READS, "mount", "memory"]
# The most a pass over the mount may take, in passes over the disk, warm; and the first after a mount; and with nothing in
# the page cache, in passes over the disk with nothing in the page cache.
WARM = {"find": 1.1, "tar": 1.1, "stat": 1.15, "grep": 1.15, "rg": 1.25, "rr1": 1.25, "rr8": 1.25}
FIRST = {"grep": 3.5, "rg": 5.0, "tar": 3.0, "find": 5.0, "stat": 5.0}
COLD = {"grep": 0.35, "rg": 0.35, "tar": 0.35}
# The first after a mount in passes over libfuse's passthrough_ll, which shows the files on the disk; and a mount in mounts of
# the least there can be in one.
PASSTHROUGH = 0.35
HELLO = 3
COLD_REPEAT = 3
IMPORT_REPEAT = 3
MOUNTS = 9
WARM_PASSES = 4
NOT_MEASURED = ["the import against CogCommit's on the same logs (at least 10 times its rate): another program, not fetched here"]


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(command, cwd=None, cpu=None, env=None, stdin=None):
    """Runs a command that must succeed; its output, and the seconds it took."""
    pin = (lambda: os.sched_setaffinity(0, {cpu})) if cpu is not None else None
    start = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, env=env, preexec_fn=pin, input=stdin, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        raise SystemExit(f"{command} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout, seconds


def cpu_of_children():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


# Runs its arguments; the last line of its errors is the exit status, the seconds, and the most memory in KiB.
WEIGH = """import os, sys, time
start = time.perf_counter()
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
sys.stderr.write(f"\\n{os.waitstatus_to_exitcode(status)} {time.perf_counter() - start} {usage.ru_maxrss}")
"""


def run_and_weigh(command, env):
    """Runs a command that must succeed; its output, the seconds, and the most memory it had."""
    # By a process that is small itself: what its parent had before exec counts as a child's most memory, too.
    child = subprocess.Popen([sys.executable, "-S", "-c", WEIGH, *command], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    output, said = child.communicate()
    status, seconds, most = said.rpartition("\n")[2].split()
    if int(status) != 0:
        raise SystemExit(f"{command[0]} ended with {status}: {said}")
    return output, float(seconds), int(most) * 1024


def stat_fields(process):
    """What /proc says of a process, from its state on (the third field of proc(5))."""
    return (process / "stat").read_text().rpartition(")")[2].split()


class Mount:
    """A mount with a new server, gone at the end of the `with`."""

    def __init__(self, bench, home, cpu=None):
        self.bench, self.home, self.pin = bench, home, cpu
        self.dir = bench.dir / "mnt"
        self.log = bench.dir / "requests.json"

    def __enter__(self):
        self.log.unlink(missing_ok=True)
        self.dir.mkdir(exist_ok=True)
        env = self.bench.env(self.home) | {"COGFS_REQUEST_LOG": str(self.log)}
        start = time.perf_counter()
        run([self.bench.cogfs, "mount", str(self.dir)], cpu=self.pin, env=env)
        run(["ls", str(self.dir)], cpu=self.pin)
        self.seconds_to_ls = time.perf_counter() - start
        return self

    def __exit__(self, *_):
        run([self.bench.cogfs, "unmount", str(self.dir)], env=self.bench.env(self.home))

    @property
    def tree(self):
        return self.dir / "projects"

    def requests(self):
        """The counters, once they rest: the server writes them every 0.2 s, and stores ahead when nobody waits any more."""
        last, since = None, time.monotonic()
        while last is None or time.monotonic() - since < 0.6:
            time.sleep(0.05)
            now = json.loads(self.log.read_text()) if self.log.exists() else None
            if now != last:
                last, since = now, time.monotonic()
        return {kind: count for kind, count in last.items() if kind not in NOT_ABOUT_THE_TREE}

    def requests_of(self, work):
        before = self.requests()
        work()
        return {kind: n - before.get(kind, 0) for kind, n in self.requests().items() if n != before.get(kind, 0)}

    @functools.cached_property
    def server(self):
        """The server's folder in /proc: the process of our binary that has the directory among its arguments, and began last:
        that of the mount before may not have ended yet."""
        binary = os.path.realpath(self.bench.cogfs)
        servers = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                ours = os.readlink(process / "exe") == binary
                if ours and str(self.dir).encode() in (process / "cmdline").read_bytes().split(b"\0"):
                    servers.append((int(stat_fields(process)[19]), process))
            except OSError:
                continue
        if not servers:
            raise SystemExit("the server of the mount is not there any more")
        return max(servers)[1]

    def anonymous_memory(self):
        line = next(s for s in (self.server / "status").read_text().splitlines() if s.startswith("RssAnon"))
        return int(line.split()[1]) * 1024

    def cpu(self):
        """Seconds of CPU that the server has used."""
        fields = stat_fields(self.server)
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


class Bench:
    """One run: its data, and what was measured."""

    def __init__(self, args):
        self.args = args
        self.names = args.only
        self.target = Path(args.target).resolve()
        self.cogfs = str(self.target / "cogfs")
        self.dir = Path(args.dir).resolve()
        self.logs, self.disk = self.dir / f"logs-{args.files}", self.dir / f"disk-{args.files}"
        self.home, self.empty = self.dir / f"home-{args.files}", self.dir / "home-empty"
        self.rows, self.requests, self.facts, self.not_measured = [], {}, {}, list(NOT_MEASURED)
        self.passthrough = None
        first = min(os.sched_getaffinity(0))
        self.modes = {"pinned": first, "free": None}
        if args.pin != "both":
            self.modes = {args.pin: self.modes[args.pin]}

    def env(self, home):
        kept = {key: value for key, value in os.environ.items() if key not in ("COGFS_REQUEST_LOG", "RUST_LOG")}
        # Without the logs of whoever measures: a mount would follow them.
        return kept | {"COGFS_HOME": str(home), "HOME": str(self.dir / "nobody")}

    def row(self, what, measured, unit="×", target=None, least=False, **more):
        """One line of the table; `least`: the target is a lower bound."""
        met = None if target is None else (measured >= target if least else measured <= target)
        verdict = "" if met is None else ("ok" if met else "MISS")
        self.rows.append(
            {"what": what, "measured": measured, "unit": unit, "target": target, "least": least, "verdict": verdict, **more}
        )
        say("  " + " ".join(cell for cell in cells(self.rows[-1]) if cell))

    # -- data --

    def prepare(self):
        self.dir.mkdir(parents=True, exist_ok=True)
        self.make_logs()
        if "import" in self.names:
            self.measure_import()
        self.make_home()
        if set(self.names) & {*WALKS, *READS, "memory"}:
            self.make_disk()

    def make_logs(self):
        done = self.logs / f"version-{bench_corpus.VERSION}"
        if not done.exists():
            say(f"writing logs for {self.args.files:,} files")
            shutil.rmtree(self.logs, ignore_errors=True)
            bench_corpus.write(self.logs, self.args.files)
            done.touch()
        self.log_files = sorted(str(path) for path in self.logs.rglob("*.jsonl"))
        self.facts["log bytes"] = sum(os.path.getsize(path) for path in self.log_files)

    def state(self):
        """What the database and the files on the disk depend on."""
        binary = hashlib.sha256(Path(self.cogfs).read_bytes()).hexdigest()
        return f"{bench_corpus.VERSION} {self.args.files} {binary}"

    def make_home(self):
        done = self.home / "bench"
        if not done.exists() or done.read_text() != self.state():
            say("importing")
            self.import_once()
        if not (self.empty / "data").exists():
            nothing = self.dir / "nothing"
            nothing.mkdir(exist_ok=True)
            run([self.cogfs, "import", "--quiet", str(nothing)], env=self.env(self.empty))
        self.facts["database bytes"] = (self.home / "data/cogfs.db").stat().st_size
        read_through(self.home / "data/cogfs.db")

    def make_disk(self):
        done = self.disk / "bench"
        if not done.exists() or done.read_text() != self.state():
            say("writing the same files to the disk")
            shutil.rmtree(self.disk, ignore_errors=True)
            self.disk.mkdir()
            with Mount(self, self.home) as mount:
                run(["cp", "-a", str(mount.tree), str(self.disk)])
            os.sync()
            done.write_text(self.state())
        files, size, directories = 0, 0, 0
        turns = []
        for path, _, names in os.walk(self.disk / "projects"):
            relative = os.path.relpath(path, self.disk / "projects")
            files, directories = files + len(names), directories + 1
            size += sum(os.lstat(os.path.join(path, name)).st_size for name in names)
            if os.path.basename(path) == "turns":
                turns += [f"{relative}/{name}" for name in names]
        turns.sort()
        random.Random(1).shuffle(turns)
        self.random_turns = "\n".join(turns[:RANDOM_READS])
        self.facts |= {"files": files, "directories": directories, "turns": len(turns), "bytes of all files": size}

    # -- import --

    def import_once(self):
        shutil.rmtree(self.home, ignore_errors=True)
        os.sync()
        command = [self.cogfs, "import", "--json", str(self.logs)]
        output, seconds, memory = run_and_weigh(command, self.env(self.home))
        (self.home / "bench").write_text(self.state())
        return json.loads(output), seconds, memory

    def bare_once(self, *more):
        database = self.dir / "bare.db"
        for path in self.dir.glob("bare.db*"):
            path.unlink()
        os.sync()
        _, seconds, _ = run_and_weigh([str(self.target / "examples/bare_import"), *more, str(database), *self.log_files], None)
        return seconds

    def measure_import(self):
        """The search index is made behind the import, when everything can be seen already: both times are told."""
        say("import")
        read_through(*self.log_files)
        shown, whole, bare, texts, memory = [], [], [], [], 0
        for _ in range(min(self.args.repeat, IMPORT_REPEAT)):
            bare.append(self.bare_once())
            texts.append(self.bare_once("--turns-alone"))
            summary, seconds, peak = self.import_once()
            shown.append(seconds - summary["index_seconds"])
            whole.append(seconds)
            memory = max(memory, peak)
        seconds, bare_seconds = statistics.median(shown), statistics.median(bare)
        rate = bare_seconds / seconds
        self.row("import: rate / bare parsing and inserts of the same rows", rate, target=0.5, least=True, seconds=shown, bare_seconds=bare)
        self.row("import: rate / bare parsing and inserts of the turns alone", statistics.median(texts) / seconds, bare_seconds=texts)
        self.row("import with its search index: rate / bare", bare_seconds / statistics.median(whole), seconds=whole)
        self.row("import", summary["records"] / seconds, "records/s")
        self.row("import", self.facts["log bytes"] / 1e6 / seconds, "MB/s")
        self.row("bare parsing and inserts", summary["records"] / bare_seconds, "records/s")
        self.row("bare parsing and inserts", self.facts["log bytes"] / 1e6 / bare_seconds, "MB/s")
        self.row("import: most memory", memory / MIB, "MiB", target=200)

    # -- mount --

    def seconds(self, name, tree, cpu):
        """One pass over a tree."""
        if name in WALKS:
            return run(["bash", "-o", "pipefail", "-c", WALKS[name]], cwd=tree, cpu=cpu)[1]
        reader = [str(self.target / "examples/random_reads"), str(tree), str(READS[name])]
        return float(run(reader, cpu=cpu, stdin=self.random_turns)[0])

    def first_pass(self, name, mount, cpu):
        """One pass over a mount; its seconds, and the seconds of CPU of both sides."""
        before = cpu_of_children() + mount.cpu()
        seconds = self.seconds(name, mount.tree, cpu)
        return seconds, cpu_of_children() + mount.cpu() - before

    def warm_disk(self, name, cpu):
        """A pass over the disk that found everything in the page cache; another program may just have emptied it."""
        for _ in range(WARM_PASSES):
            before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_inblock
            seconds = self.seconds(name, self.disk / "projects", cpu)
            read = (resource.getrusage(resource.RUSAGE_CHILDREN).ru_inblock - before) * 512
            if read < self.facts["bytes of all files"] / 20:
                return seconds
        self.facts["disturbed"] = "the files did not stay in the page cache: ratios to the disk warm are not to be trusted"
        return seconds

    def measure_walks(self, mode, cpu):
        disk = self.disk / "projects"
        say(f"{mode}: warm")
        warm_disk = {}
        names = [name for name in (*WALKS, *READS) if name in self.names]
        with Mount(self, self.home, cpu) as mount:
            for name in names:
                self.seconds(name, disk, cpu)
                self.seconds(name, mount.tree, cpu)
                pairs = [(self.warm_disk(name, cpu), self.seconds(name, mount.tree, cpu)) for _ in range(self.args.repeat)]
                on_disk, on_mount = (statistics.median(side) for side in zip(*pairs))
                warm_disk[name] = on_disk
                self.row(f"warm {name}, {mode}", on_mount / on_disk, target=WARM[name], **both(on_mount, on_disk))
                if name in WALKS and name not in self.requests.get("warm", {}):
                    asked = self.fewest_requests(mount, name, cpu)
                    self.requests.setdefault("warm", {})[name] = asked
                    self.row(f"warm {name}: requests", sum(asked.values()), "", target=0, **asked)
        say(f"{mode}: first after a mount")
        for name in names:
            self.measure_first(name, mode, cpu, warm_disk[name])

    def fewest_requests(self, mount, name, cpu):
        """What a warm pass asks, in the best of some: a machine short of memory forgets pages, and asks for them again."""
        passes = []
        while len(passes) < WARM_PASSES and (not passes or passes[-1]):
            passes.append(mount.requests_of(lambda: self.seconds(name, mount.tree, cpu)))
        return min(passes, key=lambda asked: sum(asked.values()))

    def measure_first(self, name, mode, cpu, on_disk):
        times, beside = [], []
        for _ in range(self.args.repeat):
            with Mount(self, self.home, cpu) as mount:
                if name not in self.requests.setdefault("first", {}):
                    asked = mount.requests_of(lambda: times.append(self.first_pass(name, mount, cpu)))
                    self.requests["first"][name] = asked
                else:
                    times.append(self.first_pass(name, mount, cpu))
            if name in FIRST and self.passthrough:
                with bench_peers.Passthrough(*self.passthrough, cpu) as peer:
                    beside.append(self.seconds(name, peer.dir, cpu))
        on_mount, used = (statistics.median(side) for side in zip(*times))
        row = both(on_mount, on_disk) | {"cpu_seconds": used}
        self.row(f"first {name}, {mode}", on_mount / on_disk, target=FIRST.get(name), **row)
        if beside:
            peer = statistics.median(beside)
            row = {"mount_seconds": on_mount, "disk_seconds": peer}
            self.row(f"first {name} / passthrough_ll, {mode}", on_mount / peer, target=PASSTHROUGH, **row)

    def make_passthrough(self):
        """What `bench_peers.Passthrough` needs but the CPU; None when it cannot be measured, which is told."""
        program, missing = bench_peers.build_passthrough(self.dir)
        descriptors = bench_peers.descriptors_for(self.facts["files"] + self.facts["directories"])
        if program and not descriptors:
            missing = "it keeps every file open, more than this user may"
        if missing:
            self.not_measured.append(f"libfuse's passthrough_ll, of which a first pass should take {PASSTHROUGH}: {missing}")
            return None
        return program, self.disk / "projects", self.dir / "mnt-passthrough", descriptors

    def judge_first_grep(self):
        asked = self.requests.get("first", {}).get("grep")
        if asked is not None:
            directories = self.facts["directories"]
            self.row("first grep: READ a file", asked.get("read", 0) / self.facts["files"], "", target=0.25)
            listings = asked.get("readdirplus", 0) + asked.get("readdir", 0)
            self.row("first grep: READDIR and READDIRPLUS a directory", listings / directories, "", target=2)

    def measure_cold(self, mode, cpu):
        names = [name for name in COLD if name in self.names]
        if not names or self.args.no_cold:
            return
        if not drop_caches():
            self.facts["left out"] = "nothing in the page cache: emptying it takes root"
            return
        say(f"{mode}: nothing in the page cache")
        for name in names:
            pairs = [self.cold_pair(name, cpu) for _ in range(min(self.args.repeat, COLD_REPEAT))]
            on_disk, on_mount = (statistics.median(side) for side in zip(*pairs))
            self.row(f"cold {name}, {mode}", on_mount / on_disk, target=COLD[name], **both(on_mount, on_disk))

    def cold_pair(self, name, cpu):
        drop_caches()
        on_disk = self.seconds(name, self.disk / "projects", cpu)
        with Mount(self, self.home, cpu) as mount:
            drop_caches()
            return on_disk, self.seconds(name, mount.tree, cpu)

    def measure_mounting(self):
        say("mounting")
        read_through(self.home / "data/cogfs.db")
        times = {self.home: [], self.empty: []}
        hello, program = [], str(self.target / "examples/hello_mount")
        for _ in range(max(self.args.repeat, MOUNTS)):
            for home, seconds in times.items():
                with Mount(self, home) as mount:
                    seconds.append(mount.seconds_to_ls)
            hello.append(bench_peers.hello_seconds(program, self.dir / "mnt-hello"))
        full, empty = (statistics.median(times[home]) for home in (self.home, self.empty))
        least = statistics.median(hello)
        self.row("mount until ls answers, this database", full * 1000, "ms")
        self.row("mount until ls answers, empty database", empty * 1000, "ms")
        self.row("mount until ls answers, fuser's hello", least * 1000, "ms")
        self.row("mount until ls answers: this / hello", full / least, target=HELLO)
        self.row("mount until ls answers: this / empty", full / empty)

    def measure_memory(self):
        say("memory of the server")
        for name in (*WALKS, *READS):
            with Mount(self, self.home) as mount:
                self.seconds(name, mount.tree, None)
                target = 30 if name == "find" else None
                self.row(f"server: anonymous memory after {name}", mount.anonymous_memory() / MIB, "MiB", target=target)

    def run(self):
        self.facts["load before"] = os.getloadavg()[0]
        refaults = pages_read_again()
        self.prepare()
        if "mount" in self.names:
            self.measure_mounting()
        if "memory" in self.names:
            self.measure_memory()
        if set(self.names) & {*WALKS, *READS}:
            self.passthrough = self.make_passthrough()
            for mode, cpu in self.modes.items():
                self.measure_walks(mode, cpu)
            self.judge_first_grep()
            for mode, cpu in self.modes.items():
                self.measure_cold(mode, cpu)
        self.facts["load after"] = os.getloadavg()[0]
        self.facts["pages forgotten and read again"] = pages_read_again() - refaults

    def clean_up(self):
        """Takes away a mount that a failed run left."""
        subprocess.run([self.cogfs, "unmount", str(self.dir / "mnt")], env=self.env(self.home), capture_output=True)
        for peer in ("mnt-hello", "mnt-passthrough"):
            subprocess.run(["fusermount3", "-uz", str(self.dir / peer)], capture_output=True)


def both(on_mount, on_disk):
    return {"mount_seconds": on_mount, "disk_seconds": on_disk}


def read_through(*paths):
    """Brings files into the page cache."""
    for path in paths:
        with open(path, "rb") as file:
            while file.read(4 * MIB):
                pass


def pages_read_again():
    """How often a page of a file was needed again after the kernel had let it go: with more than a few, the page cache was
    too small for a measurement of it."""
    for line in Path("/proc/vmstat").read_text().splitlines():
        if line.startswith("workingset_refault_file "):
            return int(line.split()[1])
    return 0


def drop_caches():
    """Empties the page cache, if we may."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True


def machine():
    model, memory = "?", "?"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // MIB
    return {"kernel": platform.release(), "cpu": model, "cpus": os.cpu_count(), "memory GiB": memory}


def number(value):
    if isinstance(value, int) or value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def cells(row):
    """What, target, measured, verdict, the seconds behind it, and those of CPU."""
    unit = f" {row['unit']}" if row["unit"] else ""
    target = "" if row["target"] is None else f"{'≥' if row['least'] else '≤'} {row['target']:g}"
    seconds = ""
    if "mount_seconds" in row:
        seconds = f"{row['mount_seconds']:.2f} s / {row['disk_seconds']:.2f} s"
    cpu = f"{row['cpu_seconds']:.2f} s" if "cpu_seconds" in row else ""
    return [row["what"], target, number(row["measured"]) + unit, row["verdict"], seconds, cpu]


def print_table(head, rows):
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, ["-" * width for width in widths], *rows]:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |")


def print_report(bench):
    for key, value in (machine() | bench.facts).items():
        print(f"{key}: {number(value) if isinstance(value, (int, float)) else value}")
    print()
    print_table(["what", "target", "measured", "", "mount / other", "CPU"], [cells(row) for row in bench.rows])
    for phase, walks in bench.requests.items():
        kinds = sorted({kind for asked in walks.values() for kind in asked})
        if kinds:
            print(f"\nRequests of a {phase} pass (without statfs and forget):\n")
            counts = [[name, *(f"{asked.get(kind, 0):,}" for kind in kinds)] for name, asked in walks.items()]
            print_table(["pass", *kinds], counts)
    print("\nNot measured here:")
    for line in bench.not_measured:
        print(f"- {line}")


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000, help="about how many files the mounted tree has (default: 100000)")
    parser.add_argument("--repeat", type=int, default=5, help="how often each is measured; medians are shown (default: 5)")
    parser.add_argument("--pin", choices=["pinned", "free", "both"], default="both", help="one CPU, all, or each (default: both)")
    parser.add_argument("--only", default=",".join(NAMES), metavar="NAMES", help=f"some of {','.join(NAMES)}")
    parser.add_argument("--no-cold", action="store_true", help="leave the page cache of this machine alone")
    parser.add_argument("--dir", default="target/bench", help="where the data lies, on a disk; kept (default: target/bench)")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    parser.add_argument("--target", default="target/release", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.only = args.only.split(",")
    unknown = set(args.only) - set(NAMES)
    if unknown or args.repeat < 1 or args.files < 100:
        parser.error(f"--only takes some of {','.join(NAMES)}; --repeat at least 1; --files at least 100")
    return args


def main():
    args = arguments()
    bench = Bench(args)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    command = shlex.join(["scripts/bench", *(a for a in sys.argv[1:] if a != "--target" and a != args.target)])
    try:
        bench.run()
    finally:
        bench.clean_up()
    if args.json:
        run_of = {"command": command, "machine": machine(), "facts": bench.facts}
        print(json.dumps(run_of | {"rows": bench.rows, "requests": bench.requests, "not_measured": bench.not_measured}, indent=1))
    else:
        print(f"\n{command}")
        print_report(bench)


if __name__ == "__main__":
    main()
