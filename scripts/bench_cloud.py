"""Measures push, pull and fetch against the bare operation on the same server: `scripts/bench --cloud`.

The server is scripts/cloud-stack on loopback, with its gateway in between for both. What is bare: the same rows in bulk (turns, pieces
of raw records, what messages cost), 5,000 a request or 8 MiB, into tables with a primary key and nothing else; the same records as JSON by plain SELECTs through PostgREST, a thousand a
request; a session's rows by plain GETs. Compared within one run: take the ratios, not the seconds.
"""

import argparse
import http.client
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import time
import urllib.parse
from datetime import timedelta
from pathlib import Path

import bench_corpus
from bench import MIB, machine, print_table, run, run_and_weigh, say

PER_SESSION = 200
ROWS_A_REQUEST = 5_000
PAGE = 1_000
PUSH_RATE, PULL_RATE, FETCH_TIME, MEMORY_MIB = 0.5, 0.5, 2, 150
# What a push sends of a session's contents: tables with their columns and the last of their key.
CONTENTS = {
    "turns": ("number, id, role, at, model, label, images, tool_name, tool_call_id, tool_status, text, tool_input, tool_output", "number"),
    "raw_chunks": ("number, start, length, data", "number"),
    "message_usage": ("key, model, input, output, cache_read, cache_write", "key"),
}
IDLE_SECONDS = 60
IDLE_CPU = 0.1
HERE = Path(__file__).resolve().parent


def write_logs(directory, sessions, turns):
    soup = bench_corpus.Soup(bench_corpus.random.Random(20_261_121))
    for number in range(sessions):
        log = bench_corpus.Log(soup, number // 400, number + 1, bench_corpus.START + timedelta(minutes=number))
        for turn in range(turns):
            log.turn(turn)
        path = Path(directory, "projects", log.cwd.replace("/", "-"), f"{log.session}.jsonl")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(log.lines) + "\n", encoding="utf-8")


class User:
    """An account of the stack, with the requests that need no cogfs."""

    def __init__(self, bench, name):
        self.bench = bench
        made = json.loads(bench.stack("user", name))
        self.id, self.email, self.password = made["id"], made["email"], made["password"]
        self.token = bench.stack("token", self.id, "--expires", "100000").strip()
        bench.sql(f"insert into public.accounts(user_id, plan) values ('{self.id}', 'unlimited') "
                  "on conflict (user_id) do update set plan = 'unlimited'")
        where = urllib.parse.urlsplit(bench.shown["url"])
        self.connection = http.client.HTTPConnection(where.hostname, where.port)

    def ask(self, method, path, body=None):
        headers = {"apikey": self.bench.shown["anon_key"], "Authorization": f"Bearer {self.token}", "Content-Type": "application/json",
                   "Prefer": "return=minimal"}
        self.connection.request(method, "/rest/v1" + path, body, headers)
        answer = self.connection.getresponse()
        data = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {data[:300]!r}")
        return data

    def machine(self, name):
        """A home that is logged in."""
        home = self.bench.dir / name
        shutil.rmtree(home, ignore_errors=True)
        env = self.bench.env(home)
        run([self.bench.cogfs, "login", "--email", self.email, "--password-stdin"], env=env, stdin=self.password + "\n")
        return env


class Cloud:
    def __init__(self, args):
        self.args, self.rows = args, []
        self.cogfs = str(Path(args.target).resolve() / "cogfs")
        self.dir = Path(args.dir).resolve()
        self.dir.mkdir(parents=True, exist_ok=True)
        self.stack("up")
        self.shown = json.loads(self.stack("status"))

    def stack(self, *arguments):
        return run([str(HERE / "cloud-stack"), *arguments, "--dir", str(self.dir / "stack")])[0]

    def sql(self, statement):
        return run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", self.shown["database"], "-c", statement])[0].strip()

    def env(self, home):
        return dict(os.environ) | {"COGFS_HOME": str(home), "HOME": str(self.dir / "nobody"), "COGFS_SYNC_URL": self.shown["url"],
                                   "COGFS_SYNC_KEY": self.shown["anon_key"], "COGFS_SYNC_REDACT": "false" if self.args.no_redact else "true"}

    def requests(self):
        where = urllib.parse.urlsplit(self.shown["url"])
        counts = []
        for method in ("GET", "DELETE"):
            connection = http.client.HTTPConnection(where.hostname, where.port)
            connection.request(method, "/__requests")
            counts.append(json.loads(connection.getresponse().read())["total"])
        return counts[0]

    def row(self, what, measured, target, least, behind, unit="×"):
        is_met = measured >= target if least else measured <= target
        shown = f"{measured:.2f} {unit}" if unit in ("×", "%") else f"{measured:,.0f} {unit}".strip()
        self.rows.append({"what": what, "measured": measured, "unit": unit, "target": target, "verdict": "ok" if is_met else "MISS",
                          "behind": behind, "cells": [what, f"{'≥' if least else '≤'} {target:g}", shown, "ok" if is_met else "MISS", behind]})
        say("  " + ", ".join(self.rows[-1]["cells"]))

    def imported(self, user, name, sessions, turns):
        logs = self.dir / f"logs-{sessions}-{turns}"
        if not logs.exists():
            say(f"writing {sessions:,} logs of {turns} turns")
            write_logs(logs, sessions, turns)
        env = user.machine(name)
        say(f"importing {sessions:,} sessions")
        run([self.cogfs, "import", "--quiet", str(logs)], env=env)
        return env

    def push(self):
        sessions = max(1, self.args.turns // PER_SESSION)
        user = User(self, f"push-{os.getpid()}")
        env = self.imported(user, "push", sessions, PER_SESSION)
        self.requests()
        out, seconds, memory = run_and_weigh([self.cogfs, "push", "--json"], env)
        sent, requests = json.loads(out), self.requests()
        turns = int(self.sql(f"select count(*) from public.turns where user_id = '{user.id}'"))
        bare, rows = self.bare_insert(user)
        rates = f"{rows / seconds:,.0f} / {rows / bare:,.0f} rows/s"
        self.row(f"push of {turns:,} turns: rate by a bare bulk insert's of the same rows", bare / seconds, PUSH_RATE, True, rates)
        self.row("push: most memory", memory / MIB, MEMORY_MIB, False, "", "MiB")
        # A record's share, and what the bytes need: 4 MiB a request.
        most = -(-sent["pushed"] // 100) + -(-sent["bytes"] // (4 * MIB)) + 3
        self.row("push: requests", requests, most, False, f"{sent['pushed']:,} records, {sent['bytes'] / MIB:,.0f} MiB", "")
        return user

    def bare_insert(self, user):
        """The seconds that the rows of the user's contents take, and how many they are."""
        seconds, count = 0, 0
        for table, (columns, key) in CONTENTS.items():
            bare = f"bench_{table}"
            self.sql(f"drop table if exists public.{bare}; create table public.{bare} as select user_id, session_id, {columns} "
                     f"from public.{table} limit 0; alter table public.{bare} add primary key (user_id, session_id, {key});"
                     f"grant all on public.{bare} to authenticated; notify pgrst, 'reload schema'")
            rows, size = (int(n) for n in self.sql(f"select count(*), coalesce(sum(bytes), 0) from public.{table} where user_id = '{user.id}'").split("|"))
            a_request = max(1, min(ROWS_A_REQUEST, rows * 8 * MIB // max(1, size)))
            bodies = self.pages(self.sql(
                f"select json_agg(t) from (select user_id, session_id, {columns}, (row_number() over (order by session_id, {key}) - 1)"
                f" / {a_request} as page from public.{table} where user_id = '{user.id}') t group by page"))
            # The schema is read anew by itself, a moment later.
            for _ in range(200):
                try:
                    user.ask("GET", f"/{bare}?limit=1")
                    break
                except SystemExit:
                    time.sleep(0.05)
            start = time.perf_counter()
            for body in bodies:
                user.ask("POST", f"/{bare}", body)
            seconds += time.perf_counter() - start
            count += rows
            self.sql(f"drop table public.{bare}; notify pgrst, 'reload schema'")
        return seconds, count

    @staticmethod
    def pages(text):
        """json_agg breaks lines between rows."""
        decoder, at, pages = json.JSONDecoder(), 0, []
        while at < len(text):
            rows, end = decoder.raw_decode(text, at)
            pages.append(json.dumps([{k: v for k, v in row.items() if k != "page"} for row in rows]).encode())
            at = end + 1
        return pages

    def fetch(self, user):
        env = user.machine("fetch")
        run([self.cogfs, "pull", "--json"], env=env)
        mnt = self.dir / "mnt"
        mnt.mkdir(exist_ok=True)
        found = self.sql(f"select id from public.sessions where user_id = '{user.id}' order by seq").split()
        run([self.cogfs, "mount", "--no-watch", "--no-sync", str(mnt)], env=env)
        ours, bare = [], []
        try:
            paths = sorted(mnt.glob("projects/*/*/sessions/*/raw.jsonl"))[:: max(1, len(found) // self.args.fetches)]
            for path in paths[: self.args.fetches]:
                id = json.loads((path.parent / "meta.json").read_text())["id"]
                start = time.perf_counter()
                size = len(path.read_bytes())
                ours.append(time.perf_counter() - start)
                assert size > 0
                start = time.perf_counter()
                user.ask("GET", f"/turns?session_id=eq.{id}&order=number")
                user.ask("GET", f"/raw_chunks?session_id=eq.{id}&order=number")
                user.ask("GET", f"/message_usage?session_id=eq.{id}")
                bare.append(time.perf_counter() - start)
        finally:
            subprocess.run([self.cogfs, "unmount", str(mnt)], env=env, capture_output=True, check=False)
        mine, theirs = statistics.median(ours), statistics.median(bare)
        self.row(f"first read of a session of {PER_SESSION} turns: time by bare GETs'", mine / theirs, FETCH_TIME, False,
                 f"{mine * 1e3:.1f} / {theirs * 1e3:.1f} ms")

    def pull(self):
        user = User(self, f"pull-{os.getpid()}")
        env = self.imported(user, "many", self.args.sessions, 3)
        say("pushing them")
        self.requests()
        sent = json.loads(run([self.cogfs, "push", "--json"], env=env)[0])
        requests = self.requests()
        self.row("push of small sessions: requests", requests, -(-sent["pushed"] // 100) + -(-sent["bytes"] // (4 * MIB)) + 3, False,
                 f"{sent['pushed']:,} records, {sent['bytes'] / MIB:,.0f} MiB", "")
        self.row("then an idle cycle: requests", (run([self.cogfs, "sync", "--json"], env=env), self.requests())[1], 1, False, "", "")
        reader = user.machine("reader")
        self.requests()
        out, seconds, memory = run_and_weigh([self.cogfs, "pull", "--json"], reader)
        requests, pulled = self.requests(), json.loads(out)["pulled"]
        start, rows = time.perf_counter(), 0
        for table in ("projects", "cognitive_commits", "sessions"):
            since = 0
            while True:
                page = user.ask("GET", f"/{table}?select=id,seq,version,rank,facts,fields&seq=gt.{since}&order=seq&limit={PAGE}")
                page = json.loads(page)
                rows += len(page)
                if len(page) < PAGE:
                    break
                since = page[-1]["seq"]
        bare = time.perf_counter() - start
        rates = f"{pulled / seconds:,.0f} / {rows / bare:,.0f} records/s"
        self.row(f"pull of {self.args.sessions:,} sessions: rate by a bare SELECT's", (pulled / seconds) / (rows / bare), PULL_RATE, True, rates)
        self.row("pull: most memory", memory / MIB, MEMORY_MIB, False, f"{requests} requests for {pulled:,} records", "MiB")

        self.idle(env)

    def idle(self, env):
        """A mount that follows the logs of all these sessions and syncs, while nothing happens."""
        home, mnt = self.dir / "idle", self.dir / "mnt"
        shutil.rmtree(home, ignore_errors=True)
        (home / ".claude").mkdir(parents=True)
        (home / ".claude/projects").symlink_to(self.dir / f"logs-{self.args.sessions}-3/projects")
        mnt.mkdir(exist_ok=True)
        env = env | {"HOME": str(home)}
        env.pop("COGFS_SYNC_CONTINUOUS", None)
        say(f"a mount that follows {self.args.sessions:,} files, {IDLE_SECONDS} s of nothing")
        pid = json.loads(run([self.cogfs, "mount", "--json", str(mnt)], env=env)[0])["pid"]
        try:
            # What it has to do when it begins is done when it has not worked for a while.
            before, quiet = None, 0
            for _ in range(120):
                time.sleep(1)
                now = self.spent(pid)
                quiet = quiet + 1 if before and now[0] - before[0] < 0.02 else 0
                before = now
                if quiet >= 15:
                    break
            state = json.loads((mnt / ".cogfs/status.json").read_text())["sync"]
            start = self.spent(pid)
            time.sleep(IDLE_SECONDS)
            end = self.spent(pid)
        finally:
            subprocess.run([self.cogfs, "unmount", str(mnt)], env=env, capture_output=True, check=False)
        how = f"{state['state']}, doorbell {state['doorbell']}"
        self.row("an idle minute: CPU", (end[0] - start[0]) / IDLE_SECONDS * 100, IDLE_CPU, False, how, "%")
        self.row("an idle minute: written to disk", end[1] - start[1], 0, False, how, "bytes")

    @staticmethod
    def spent(pid):
        """Seconds of CPU, and bytes that went to the disk."""
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        written = next(line for line in Path(f"/proc/{pid}/io").read_text().splitlines() if line.startswith("write_bytes"))
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), int(written.split()[1])

    def end(self):
        self.stack("down")


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench --cloud", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=125_000, help=f"turns pushed, {PER_SESSION} a session (default: 125000)")
    parser.add_argument("--sessions", type=int, default=20_000, help="sessions pulled, of three turns (default: 20000)")
    parser.add_argument("--fetches", type=int, default=21, help="sessions read (default: 21)")
    parser.add_argument("--no-redact", action="store_true", help="do not look for secrets in what is sent")
    parser.add_argument("--dir", default="target/bench-cloud", help="where the data lies; logs are kept (default: target/bench-cloud)")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    parser.add_argument("--target", default="target/release", help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    args = arguments()
    command = shlex.join(["scripts/bench", "--cloud", *(a for a in sys.argv[1:] if a not in ("--target", args.target))])
    load = [os.getloadavg()[0]]
    cloud = Cloud(args)
    try:
        cloud.fetch(cloud.push())
        cloud.pull()
    finally:
        cloud.end()
    load.append(os.getloadavg()[0])
    facts = machine() | {"load": f"{load[0]:.1f} to {load[1]:.1f}"}
    if args.json:
        print(json.dumps({"command": command, "machine": facts, "rows": cloud.rows}, indent=1))
        return
    print(f"\n{command}")
    for key, value in facts.items():
        print(f"{key}: {value}")
    print()
    print_table(["what", "target", "measured", "", "cogfs / bare"], [row["cells"] for row in cloud.rows])


if __name__ == "__main__":
    main()
