"""Imports 20,000 sessions of 250 messages, mounts them and walks the tree: what it takes in time, memory and disk.

Made-up Claude Code logs, each session in a file of its own, some 250 bytes a message, a git commit at the end of every
second session. Prints one line a step, and with --json one object.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import bench_corpus

START = datetime(2025, 1, 6, 8, tzinfo=timezone.utc)
SOUP_BYTES = 4 << 20
PROJECTS = 200


def write_logs(directory, sessions, messages):
    rng = random.Random(20_260_106)
    soup = bench_corpus.Soup(rng).text[:SOUP_BYTES].replace('"', "'")
    for number in range(sessions):
        project = number % PROJECTS
        path = directory / f"-w-project-{project:03}" / f"{number:08x}-0000-4000-8000-{number:012x}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(session_lines(rng, soup, project, number, messages)), encoding="utf-8")


def session_lines(rng, soup, project, number, messages):
    session = f"{number:08x}-0000-4000-8000-{number:012x}"
    at = START + timedelta(minutes=37 * number)
    parent = "null"
    record = (
        '{"parentUuid":%s,"isSidechain":false,"userType":"external","cwd":"/w/project-%03d","sessionId":"%s",'
        '"version":"2.1.37","gitBranch":"main","type":"%s","message":%s,"uuid":"%s","timestamp":"%s"}\n'
    )

    def line(n, kind, message):
        nonlocal parent, at
        uuid = f"{session[:23]}-{n:012x}"
        at += timedelta(seconds=5)
        text = record % (parent, project, session, kind, message, uuid, at.strftime("%Y-%m-%dT%H:%M:%S.000Z"))
        parent = f'"{uuid}"'
        return text

    def piece():
        length = min(int(rng.lognormvariate(5.2, 0.8)) + 1, 20_000)
        start = rng.randrange(len(soup) - length)
        return json.dumps(soup[start : start + length].strip() or "yes")

    def block(n, content):
        return (
            '{"id":"msg_%x_%d","type":"message","role":"assistant","model":"claude-opus-4-5-20251101","content":[%s],'
            '"usage":{"input_tokens":3,"output_tokens":40,"cache_read_input_tokens":9000}}'
        ) % (number, n, content)

    def result(call, text):
        return '{"role":"user","content":[{"type":"tool_result","tool_use_id":"%s","content":%s}]}' % (call, text)

    def shell(n, command, output):
        call = f"toolu_{number:x}_{n}"
        use = '{"type":"tool_use","id":"%s","name":"Bash","input":{"command":%s}}' % (call, json.dumps(command))
        return [line(2 * n, "assistant", block(n, use)), line(2 * n + 1, "user", result(call, output))]

    for n in range(1, messages):
        if n % 10 == 1:
            yield line(2 * n, "user", '{"role":"user","content":%s}' % piece())
        elif n % 5 < 2:
            yield from shell(n, f"sed -n {n},+40p src/part-{n % 40}.rs", piece())
        else:
            yield line(2 * n, "assistant", block(n, '{"type":"text","text":%s}' % piece()))
    if number % 2:
        yield from shell(messages, "git commit -qam change && git log -1", json.dumps(f"[main {number:07x}] Change {number}"))
    else:
        yield line(2 * messages, "user", '{"role":"user","content":%s}' % piece())


def say(text):
    print(text, file=sys.stderr, flush=True)


def weighed(command, env):
    """Output, seconds, and the most resident memory in MiB."""
    began = time.perf_counter()
    child = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise SystemExit(f"{command} ended with {child.returncode}")
    return output, time.perf_counter() - began, usage.ru_maxrss / 1024


def anonymous_mib(mount):
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.path.basename(os.readlink(process / "exe")) == "cogfs" and str(mount).encode() in (process / "cmdline").read_bytes():
                line = next(s for s in (process / "status").read_text().splitlines() if s.startswith("RssAnon"))
                return int(line.split()[1]) / 1024
        except OSError:
            continue
    raise SystemExit("the server of the mount is gone")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=20_000)
    parser.add_argument("--messages", type=int, default=250, help="of each session (default 250)")
    parser.add_argument("--dir", default="/var/tmp/cogfs-scale", help="some 20 GB are written here, and kept (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--cogfs", default="target/release/cogfs", help=argparse.SUPPRESS)
    args = parser.parse_args()
    base = Path(args.dir).resolve()
    logs, home, mount = base / f"logs-{args.sessions}-{args.messages}", base / "home", base / "mnt"
    env = os.environ | {"COGFS_HOME": str(home), "HOME": str(base / "nobody")}
    cogfs = os.path.realpath(args.cogfs)
    facts = {"sessions": args.sessions, "messages": args.sessions * args.messages}

    def fact(name, value):
        facts[name] = round(value, 3) if isinstance(value, float) else value
        if not args.json:
            print(f"{name}: {facts[name]:,}", flush=True)

    if not (logs / "written").exists():
        say("writing the logs")
        shutil.rmtree(logs, ignore_errors=True)
        write_logs(logs, args.sessions, args.messages)
        (logs / "written").touch()
    fact("log bytes", sum(path.stat().st_size for path in logs.rglob("*.jsonl")))
    say("importing")
    shutil.rmtree(home, ignore_errors=True)
    output, seconds, peak = weighed([cogfs, "import", "--json", str(logs)], env)
    summary = json.loads(output)
    fact("turns", summary["turns"])
    fact("import seconds until everything can be seen", summary["seconds"])
    fact("import seconds behind that for the search index", summary["index_seconds"])
    fact("import peak MiB", peak)
    fact("database bytes", (home / "data/cogfs.db").stat().st_size)
    fact("search index bytes", (home / "data/search.db").stat().st_size)
    _, seconds, peak = weighed([cogfs, "import", "--json", str(logs)], env)
    fact("second import seconds", seconds)
    mount.mkdir(exist_ok=True)
    began = time.perf_counter()
    subprocess.run([cogfs, "mount", str(mount)], env=env, check=True, stdout=subprocess.DEVNULL)
    try:
        subprocess.run(["ls", str(mount)], check=True, stdout=subprocess.DEVNULL)
        fact("mount until ls answers seconds", time.perf_counter() - began)
        output, seconds, _ = weighed(["sh", "-c", f"find {mount}/projects -type f | wc -l"], env)
        fact("find: files", int(output))
        fact("find seconds", seconds)
        fact("mount anonymous MiB after find", anonymous_mib(mount))
        output, seconds, _ = weighed(["sh", "-c", f"find {mount}/projects -type f -printf '%s\\n' | wc -l"], env)
        fact("stat of all seconds", seconds)
        project = next((mount / "projects").iterdir())
        output, seconds, _ = weighed(["sh", "-c", f"grep -rc sed {project} | wc -l"], env)
        fact("grep of one project: files", int(output))
        fact("grep of one project seconds", seconds)
        fact("mount anonymous MiB after grep", anonymous_mib(mount))
        _, seconds, peak = weighed([cogfs, "stats", "--json"], env)
        fact("stats seconds", seconds)
    finally:
        subprocess.run([cogfs, "unmount", str(mount)], env=env, stdout=subprocess.DEVNULL)
    if args.json:
        print(json.dumps(facts, indent=2))


if __name__ == "__main__":
    main()
