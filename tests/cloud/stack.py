"""What the tests of the cloud share: accounts that call PostgREST through the gateway of `scripts/cloud-stack`, and records made up
for them."""

import base64
import hashlib
import http.client
import json
import os
import subprocess
import sys
import threading
import unittest
import uuid

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "scripts"))
import cloud_stack  # noqa: E402

URL = os.environ["COGFS_STACK_URL"]
ANON = os.environ["COGFS_STACK_ANON_KEY"]
CONNECTIONS = threading.local()
TABLES = ["limits", "accounts", "sync_heads", "machines", "projects", "cognitive_commits", "sessions", "turns", "raw_chunks",
          "message_usage", "visual_objects", "visuals", "shared_counts"]
OWNED = [table for table in TABLES if table != "limits"]


def psql(sql, database=None):
    """What a query gives, run by the server's owner."""
    where = os.environ["COGFS_STACK_DATABASE"]
    if database:
        where = where.rsplit("dbname=", 1)[0] + "dbname=" + database
    done = subprocess.run(["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", where], input=sql, text=True, capture_output=True)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return done.stdout.strip()


def everything(account):
    """All that is kept of an account."""
    return psql("\n".join(f"select to_jsonb(t) from {table} t where user_id = '{account.user}' order by to_jsonb(t)::text;" for table in OWNED))


def new_id():
    return str(uuid.uuid4())


class Caller:
    """Somebody with a connection to the gateway, with a token or without."""

    def __init__(self, token=None):
        self.token = token

    def send(self, method, path, body=None, headers=None):
        """(status, headers, bytes)"""
        given = {"apikey": ANON, "Authorization": f"Bearer {self.token or ANON}", "Content-Type": "application/json", **(headers or {})}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        connection = self.connection()
        connection.request(method, path, body, {k: v for k, v in given.items() if v is not None})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()

    def connection(self):
        """The thread's: kept from test to test."""
        if not hasattr(CONNECTIONS, "kept"):
            CONNECTIONS.kept = http.client.HTTPConnection(URL.removeprefix("http://"), timeout=60)
        return CONNECTIONS.kept

    def json(self, method, path, body=None, headers=None):
        status, _, data = self.send(method, path, body, headers)
        return status, (json.loads(data) if data else None)

    def rpc(self, name, arguments=None):
        return self.json("POST", f"/rest/v1/rpc/{name}", arguments or {})


class Account(Caller):
    """A user at one of his machines."""

    def __init__(self, user=None, machine=None):
        self.user = user or new_id()
        self.machine = machine or new_id()
        super().__init__(cloud_stack.access_token(os.environ["COGFS_STACK_SECRET"], self.user))

    def another_machine(self):
        return Account(self.user)

    def push(self, *changes):
        status, outcomes = self.rpc("sync_push", {"protocol": 1, "machine": self.machine, "changes": changes})
        assert status == 200, (status, outcomes)
        assert len(outcomes) == len(changes), outcomes
        return outcomes

    def push_one(self, change):
        return self.push(change)[0]

    def pull(self, since=0, most=1000):
        status, pulled = self.rpc("sync_pull", {"protocol": 1, "since": since, "max": most})
        assert status == 200, (status, pulled)
        return pulled

    def rows(self, since=0):
        return {row["id"]: row for row in self.pull(since)["rows"]}

    def row(self, id):
        return self.rows()[id]

    def status(self):
        status, answer = self.rpc("sync_status", {"protocol": 1})
        assert status == 200, (status, answer)
        return answer

    def head(self):
        return self.status()["head"]

    def fetch(self, *ids, after=None):
        status, fetched = self.rpc("fetch_contents", {"protocol": 1, "ids": ids, "after": after})
        assert status == 200, (status, fetched)
        return fetched

    def on_plan(self, commits="null", size="null"):
        """Gives the account a plan of its own."""
        self.push()
        psql(f"""insert into limits(plan, commits, bytes) values ('{self.user}', {commits}, {size});
                 update accounts set plan = '{self.user}' where user_id = '{self.user}';""")
        return self


# Changes.

def facts(kind, id, rank=1, parent=None, **values):
    change = {"op": "facts", "kind": kind, "id": id, "rank": rank, "facts": values or None}
    return {**change, "parent": parent} if parent else change


def fields(kind, id, base, turn=None, **values):
    change = {"op": "fields", "kind": kind, "id": id, "base_version": base, "fields": values}
    return {**change, "turn": turn} if turn else change


def machine(id, name="thinkpad"):
    return facts("machine", id, name=name, dir_name=name)


def project(id, name="plantshop", rank=1):
    return facts("project", id, rank, identity=f"git:example.test/{name}", name=name, dir_name=name, remote=None, paths=[f"/src/{name}"],
                 created_at=1700000000000, updated_at=1700000000000)


def commit(id, of, title="Watering", rank=1, updated_at=1700000100000):
    return facts("commit", id, rank, project=of, dir_name="2026-08-19T14-03-22Z_watering", title=title, title_rank=2,
                 git_hash="a1b2c3d", git_subject="Watering", closed_by="git_commit", started_at=1700000000000, closed_at=1700000100000,
                 parallel=False, git_commits=[], updated_at=updated_at)


def visual(name, turn=1, data=None):
    data = data or name.encode()
    return {"id": str(uuid.uuid5(uuid.NAMESPACE_URL, name)), "turn": turn, "ordinal": 1, "file_name": name,
            "sha256": hashlib.sha256(data).hexdigest(), "mime": "image/png", "bytes": len(data), "captured_at": 1700000000000}


def session(id, of, by, rank=1, **more):
    values = dict(agent="claude_code", native_id=id, machine=by, part=0, commit=of, parent=None, subagent_kind=None, ordinal=1,
                  dir_name="01_claude-code", title=None, title_rank=0, cwd="/src", git_branch="main", git_remote=None,
                  agent_version="2.0.1", models=["claude-x"], closed=True, started_at=1700000000000, ended_at=1700000100000,
                  updated_at=1700000100000, last_turn=2, turns=2, prompts=1, tool_calls=0, images=0, tokens=[1, 2, 3, 4],
                  sections=[1, 0, 0, 1, 0], raw_bytes=1 << 40, raw_records=2, render_version=1, tool_names=[], turn_index="", files=["a.rs"],
                  visuals=[])
    return facts("session", id, rank, **{**values, **more})


def stub(id, of):
    return facts("session", id, 99, parent=of)


def turn(number, text="hello", **more):
    return {"number": number, "id": new_id(), "role": 1, "at": 1700000000000 + number, "text": text, **more}


def turns(id, *contents):
    return {"op": "turns", "session": id, "turns": contents}


def chunk(number, start, length, data=b"zstd"):
    return {"number": number, "start": start, "length": length, "data": base64.b64encode(data).decode()}


def raw(id, *chunks):
    return {"op": "raw", "session": id, "chunks": chunks}


def usage(id, *keys):
    return {"op": "usage", "session": id, "usage": [{"key": key, "model": "claude-x", "tokens": [1, 2, 3, 4]} for key in keys]}


def merged(kind, id, into):
    return {"op": "merged", "kind": kind, "id": id, "into": into}


def forget(kind, id):
    return {"op": "forget", "kind": kind, "id": id}


class World:
    """A machine, a project, a commit in it and a session in that, pushed."""

    def __init__(self, account=None, **more):
        self.account = account or Account()
        self.project, self.commit, self.session = new_id(), new_id(), new_id()
        self.turns = [turn(1), turn(2, "there", tool_input="in", tool_output="out", tool_name="Bash")]
        self.changes = [machine(self.account.machine), project(self.project), commit(self.commit, self.project),
                        stub(self.session, self.commit), turns(self.session, *self.turns), raw(self.session, chunk(0, 0, 100)),
                        usage(self.session, new_id()), session(self.session, self.commit, self.account.machine, **more)]
        self.outcomes = self.account.push(*self.changes)
        assert all(o["status"] == "applied" for o in self.outcomes), self.outcomes


class CloudTest(unittest.TestCase):
    maxDiff = 4000

    def assert_status(self, outcome, status, code=None):
        self.assertEqual(outcome["status"], status, outcome)
        if code:
            self.assertEqual(outcome["code"], code, outcome)
