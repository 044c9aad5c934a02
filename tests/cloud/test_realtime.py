"""The doorbell's double: Supabase's own client gets on with it, and it looks at keys and tokens as Realtime does."""

import json
import os
import shutil
import subprocess
import unittest

from stack import ROOT, Caller, CloudTest, psql


class OfficialClient(CloudTest):
    def test_it_hears_its_own_head_in_both_versions_of_the_form(self):
        own_node = os.path.join(os.environ["COGFS_STACK_PACKAGES"], "node_modules", ".bin", "node")
        node = own_node if os.path.exists(own_node) else shutil.which("node")
        # Node 20 has a WebSocket, and hides it.
        command = [node, "--experimental-websocket", "--no-warnings", os.path.join(ROOT, "tests", "cloud", "official_doorbell.mjs")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        for version, told in json.loads(done.stdout).items():
            self.assertEqual(told["states"], ["SUBSCRIBED", "SUBSCRIBED", "CLOSED", "CLOSED"], version)
            self.assertEqual((told["system"]["status"], told["system"]["message"]), ("ok", "Subscribed to PostgreSQL"), version)
            self.assertEqual([(e["type"], e["table"], e["errors"]) for e in told["events"]],
                             [("INSERT", "sync_heads", None), ("UPDATE", "sync_heads", None)], version)
            self.assertEqual([e["new"] for e in told["events"]], [{"user_id": told["user"], "seq": seq, "min_seq": 0} for seq in (1, 2)])
            self.assertEqual(told["left"], "ok", version)


class Handshake(CloudTest):
    def status(self, query, **headers):
        return Caller().json("GET", "/realtime/v1/websocket" + query, headers={"apikey": None, "Authorization": None, **headers})

    def test_only_with_a_key_and_as_a_websocket(self):
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
        self.assertEqual(self.status("?vsn=1.0.0", **upgrade), (401, {"error": "Missing API key"}))
        self.assertEqual(self.status("?apikey=wrong&vsn=1.0.0", **upgrade), (401, {"error": "Invalid API key"}))
        self.assertEqual(self.status("?apikey=wrong")[0], 400)

    def test_the_head_is_all_that_is_published(self):
        tables = psql("select schemaname, tablename from pg_publication_tables where pubname = 'supabase_realtime'")
        self.assertEqual(tables, "public|sync_heads")


if __name__ == "__main__":
    unittest.main()
