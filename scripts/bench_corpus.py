"""Logs as Claude Code writes them, made up, for `scripts/bench`: the same ones every time for the same number of files.

Per 100,000 files of the mounted tree: 16 projects of 50 commits, on each of which three sessions worked side by side; some
38 turns a session, of 1.5 KB each on average (log-normal), two in five of them shell commands with their output.
"""

import json
import random
from datetime import datetime, timedelta, timezone
from pathlib import Path

VERSION = 1
NEEDLE = "needle"
COMMITS_PER_PROJECT = 50
SESSIONS_PER_COMMIT = 3
# Commits in one log: it is cut there, so a log becomes as many session parts.
COMMITS_PER_LOG = 10
COMMITS_PER_FILE = 800 / 100_000
# meta.md, meta.json and transcript.md of a commit; transcript.md, meta.json and raw.jsonl of a session.
FILES_PER_COMMIT = 3 + 3 * SESSIONS_PER_COMMIT
NEEDLE_IN_TURNS = 1_000
# exp(MU + SIGMA² / 2) = 1,400 bytes; a header of some 100 is added when it is rendered.
MU, SIGMA = 6.74, 1.0
LONGEST = 60_000
SOUP_WORDS = 2_000_000
START = datetime(2026, 1, 5, 8, tzinfo=timezone.utc)


def vocabulary(rng):
    """20,000 pronounceable words, none of which is the needle, and how often each is used (Zipf)."""
    onsets, vowels = "b c d f g h k l m n p r s t v w st tr pl".split(), "a e i o u ai ou".split()
    words = set()
    while len(words) < 20_000:
        words.add("".join(rng.choice(onsets) + rng.choice(vowels) for _ in range(rng.randint(1, 4))))
    words = sorted(words)
    rng.shuffle(words)
    return words, [1 / (rank + 10) for rank in range(len(words))]


class Soup:
    """A long made-up text, of which every turn takes a piece."""

    def __init__(self, rng):
        self.rng = rng
        words, weights = vocabulary(rng)
        text, line = rng.choices(words, weights, k=SOUP_WORDS), 0
        for at in range(0, SOUP_WORDS, 12):
            line += 1
            text[at] = ("\n\n" if line % 8 == 0 else "\n") + text[at]
        self.text = " ".join(text)

    def piece(self):
        length = min(int(self.rng.lognormvariate(MU, SIGMA)) + 1, LONGEST)
        at = self.rng.randrange(len(self.text) - length)
        text = self.text[at : at + length].strip() or "yes"
        if self.rng.randrange(NEEDLE_IN_TURNS) == 0:
            text += f" {NEEDLE}"
        return text


class Log:
    """The records of one log."""

    def __init__(self, soup, project, number, start):
        self.soup, self.rng, self.time, self.lines, self.parent = soup, soup.rng, start, [], None
        self.session = f"{number:08x}-0000-4000-8000-{number:012x}"
        self.cwd = f"/w/project-{project:03}"

    def record(self, kind, extra):
        self.time += timedelta(seconds=7)
        uuid = f"{self.session[:23]}-{len(self.lines) + 1:012x}"
        record = {
            "parentUuid": self.parent, "isSidechain": False, "userType": "external", "cwd": self.cwd,
            "sessionId": self.session, "version": "2.1.37", "gitBranch": "main", "type": kind, **extra, "uuid": uuid,
            "timestamp": self.time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }  # fmt: skip
        self.parent = uuid
        self.lines.append(json.dumps(record, ensure_ascii=False, separators=(",", ":")))

    def block(self, block):
        number = f"{self.session[:8]}_{len(self.lines)}"
        usage = {"input_tokens": 9, "cache_creation_input_tokens": 700, "cache_read_input_tokens": 9700, "output_tokens": 55}
        message = {
            "model": "claude-opus-4-5-20251101", "id": f"msg_{number}", "type": "message", "role": "assistant",
            "content": [block], "stop_reason": None, "stop_sequence": None, "usage": usage,
        }  # fmt: skip
        self.record("assistant", {"message": message, "requestId": f"req_{number}"})

    def bash(self, command, output):
        call = f"toolu_{self.session[:8]}_{len(self.lines)}"
        self.block({"type": "tool_use", "id": call, "name": "Bash", "input": {"command": command, "description": "Look"}})
        result = {"tool_use_id": call, "type": "tool_result", "content": output, "is_error": False}
        told = {"stdout": output, "stderr": "", "interrupted": False, "isImage": False}
        self.record("user", {"message": {"role": "user", "content": [result]}, "toolUseResult": told})

    def turn(self, number):
        """One turn: every tenth the user's, and of ten others four shell commands and two thoughts."""
        kind = self.rng.randrange(10)
        if number % 10 == 0:
            self.record("user", {"message": {"role": "user", "content": self.soup.piece()}})
        elif kind < 4:
            self.bash(f"cat src/{self.rng.randrange(400)}.rs | head -n 40", self.soup.piece())
        elif kind < 6:
            self.block({"type": "thinking", "thinking": self.soup.piece(), "signature": "ZXhhbXBsZQ=="})
        else:
            self.block({"type": "text", "text": self.soup.piece()})

    def git_commit(self, commit):
        subject = f"Change number {commit}"
        self.bash(f"git commit -am '{subject}'", f"[main {0xA000000 + commit * 97:07x}] {subject}\n 2 files changed")


def write(directory, files):
    """Writes the logs of a tree of about `files` files below `directory`."""
    rng = random.Random(20_260_105)
    soup = Soup(rng)
    commits = max(1, round(files * COMMITS_PER_FILE))
    turns = max(2, (files - commits * FILES_PER_COMMIT) // (commits * SESSIONS_PER_COMMIT))
    for number, first in enumerate(range(0, commits, COMMITS_PER_LOG)):
        project = first // COMMITS_PER_PROJECT
        last = min(first + COMMITS_PER_LOG, commits)
        for beside in range(SESSIONS_PER_COMMIT):
            start = START + timedelta(hours=2 * number, seconds=beside)
            log = Log(soup, project, number * SESSIONS_PER_COMMIT + beside + 1, start)
            for commit in range(first, last):
                # As many more in one session as fewer in another; the last turn is the commit.
                for turn in range(turns - 1 + rng.randint(-turns // 2, turns // 2)):
                    log.turn(turn)
                log.git_commit(commit)
            path = Path(directory, "projects", log.cwd.replace("/", "-"), f"{log.session}.jsonl")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(log.lines) + "\n", encoding="utf-8")
