"""The stack itself: Supabase's own client gets on with it, and its faults are the ones asked for."""

import http.client
import json
import os
import shutil
import subprocess
import time
import unittest
import urllib.parse

from stack import ROOT, URL, Account, Caller, CloudTest, new_id, project


class OfficialClient(CloudTest):
    def test_it_gets_what_cogfs_gets(self):
        own_node = os.path.join(os.environ["COGFS_STACK_PACKAGES"], "node_modules", ".bin", "node")
        node = own_node if os.path.exists(own_node) else shutil.which("node")
        done = subprocess.run([node, os.path.join(ROOT, "tests", "cloud", "official_client.mjs")], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        told = json.loads(done.stdout)
        account = Account(told["user"])
        account.token = told["token"]
        self.assertEqual([o["status"] for o in told["push"]["data"]], ["applied"] * 3)
        self.assertEqual(told["pull"]["data"]["rows"][-1]["fields"], {"title": "By hand"})
        self.assertEqual(told["fetch"]["data"], {"sessions": [], "next": None})
        self.assertEqual(told["status"]["data"]["usage"]["commits"], 1)
        self.assertEqual((told["refused"]["status"], told["refused"]["error"]["code"]), (426, "PT426"))
        self.assertEqual(told["select"]["data"], [{"title": "By hand", "project": {"name": "x"}}])
        self.assertEqual(told["update"]["data"], [{"version": 2}])
        # The same by our own requests, with the token that the sign-in gave.
        self.assertEqual([row["version"] for row in account.pull()["rows"]], [0, 2])
        self.assertIsNone(told["upload"]["error"])
        self.assertEqual((told["again"]["statusCode"], told["over"]["statusCode"]), ("409", "403"))
        self.assertEqual((told["download"], told["signed"], told["list"], told["remove"]), ("a picture", "a picture", 1, 1))
        self.assertIsNotNone(told["gone"])


class Faults(CloudTest):
    def setUp(self):
        self.account = Account()
        self.addCleanup(self.rules)
        self.rules()
        Caller().json("DELETE", "/__requests")

    def rules(self, *rules):
        Caller().json("POST", "/__faults", list(rules))

    def status(self):
        return self.account.send("POST", "/rest/v1/rpc/sync_status", {"protocol": 1})

    def fresh(self):
        """A connection that a fault may break."""
        connection = http.client.HTTPConnection(URL.removeprefix("http://"), timeout=20)
        self.account.connection = lambda: connection
        self.addCleanup(connection.close)

    def test_statuses_meet_the_requests_they_are_for(self):
        self.rules({"path": "/rest/v1", "nth": 2, "count": 2, "fault": "status", "status": 429, "retry_after": 7})
        answers = [self.status() for _ in range(4)]
        self.assertEqual([a[0] for a in answers], [200, 429, 429, 200])
        self.assertEqual([a[1].get("Retry-After") for a in answers], [None, "7", "7", None])
        self.assertEqual(Caller().json("GET", "/__requests")[1]["by"], {"POST /rest/v1/rpc/sync_status": 4})

    def test_answers_break_as_asked(self):
        self.rules({"fault": "truncate"})
        with self.assertRaises(ValueError):
            json.loads(self.status()[2])
        self.rules({"fault": "content_type"})
        status, headers, _ = self.status()
        self.assertEqual((status, headers["Content-Type"]), (200, "text/html"))
        for fault in ("drip", "delay"):
            self.rules({"fault": fault, "seconds": 0.3})
            start = time.monotonic()
            self.assertEqual(json.loads(self.status()[2])["head"], 0)
            self.assertGreater(time.monotonic() - start, 0.25)
        self.rules({"fault": "reset"})
        self.fresh()
        with self.assertRaises((http.client.IncompleteRead, ConnectionError)):
            self.status()

    def test_a_lost_answer_is_of_a_change_that_was_made(self):
        self.rules({"path": "/rest/v1/rpc/sync_push", "fault": "drop"})
        self.fresh()
        id = new_id()
        with self.assertRaises((http.client.HTTPException, ConnectionError)):
            self.account.push(project(id))
        del self.account.connection
        self.assertIn(id, self.account.rows())

    def test_keys_and_tokens_are_looked_at(self):
        for key, status in ((None, 401), ("wrong", 401), (os.environ["COGFS_STACK_PUBLISHABLE_KEY"], 200)):
            self.assertEqual(self.account.send("POST", "/rest/v1/rpc/sync_status", {"protocol": 1}, {"apikey": key})[0], status)
        expired = subprocess.run([os.path.join(ROOT, "scripts", "cloud-stack"), "token", self.account.user, "--expires", "-60", "--dir",
                                  os.environ["COGFS_STACK_DIR"]], capture_output=True, text=True, check=True).stdout.strip()
        status, answer = Caller(expired).rpc("sync_status", {"protocol": 1})
        self.assertEqual((status, answer["code"]), (401, "PGRST301"))
        status, answer = Caller(expired).json("GET", f"/storage/v1/object/visuals/{self.account.user}/x.png")
        self.assertEqual((status, answer["statusCode"]), (400, "403"))
        self.assertIn('"exp" claim', answer["message"])

    def test_github_lets_in_whoever_it_is_told(self):
        Caller().json("POST", "/__github", {"login": "mona"})
        verifier = "v" * 50
        challenge = subprocess.run(["python3", "-c", "import base64,hashlib,sys; print(base64.urlsafe_b64encode("
                                    "hashlib.sha256(sys.argv[1].encode()).digest()).rstrip(b'=').decode())", verifier],
                                   capture_output=True, text=True, check=True).stdout.strip()
        where = "/auth/v1/authorize?" + urllib.parse.urlencode({
            "provider": "github", "redirect_to": "http://127.0.0.1:9/callback", "code_challenge": challenge, "code_challenge_method": "s256"})
        for _ in range(4):
            status, headers, _ = Caller().send("GET", where, headers={"apikey": None, "Authorization": None})
            self.assertIn(status, (302, 303))
            where = headers["Location"].removeprefix(URL)
            if where.startswith("http://127.0.0.1:9/"):
                break
        code = urllib.parse.parse_qs(urllib.parse.urlsplit(where).query)["code"][0]
        status, session = Caller().json("POST", "/auth/v1/token?grant_type=pkce", {"auth_code": code, "code_verifier": verifier})
        self.assertEqual((status, session["user"]["user_metadata"]["user_name"]), (200, "mona"))
        self.assertEqual(Caller(session["access_token"]).rpc("sync_status", {"protocol": 1})[1]["user"], session["user"]["id"])


if __name__ == "__main__":
    unittest.main()
