"""Nobody sees, changes, counts or hangs anything on what is another's, whatever ids he knows and whatever way he takes."""

import hashlib
import unittest

from stack import (OWNED, TABLES, Account, Caller, CloudTest, World, chunk, commit, everything, fields, forget, merged, new_id, project, psql, raw, session,
                   stub, turns, usage, visual)

FUNCTIONS = {"sync_push": {"protocol": 1, "machine": new_id(), "changes": []}, "sync_pull": {"protocol": 1, "since": 0, "max": 10},
             "fetch_contents": {"protocol": 1, "ids": []}, "sync_status": {"protocol": 1}, "purge_tombstones": {},
             "share_counts": {"protocol": 1, "week": "2026-01-05", "counts": {"turns": 1}}, "unshare_counts": {"protocol": 1}}


class Rows(CloudTest):
    @classmethod
    def setUpClass(cls):
        cls.world = World(visuals=[visual("a.png")])
        cls.victim = cls.world.account
        cls.victim.push(fields("commit", cls.world.commit, 0, title="Mine"),
                        fields("turn", cls.world.turns[1]["id"], 0, turn=[cls.world.session, 2], deleted_at=5))
        psql(f"insert into shared_counts values ('{cls.victim.user}', '2026-01-05', '{{\"turns\": 1}}')")
        cls.thief = Account()
        cls.own = World(cls.thief)

    def setUp(self):
        self.before = everything(self.victim)

    def tearDown(self):
        self.assertEqual(everything(self.victim), self.before, "the other's rows changed")

    def test_tables_show_nobody_else_s_rows(self):
        for table in OWNED:
            for caller in (self.thief, Account()):
                status, rows = caller.json("GET", f"/rest/v1/{table}?user_id=eq.{self.victim.user}")
                self.assertEqual((status, rows), (200, []), table)
                status, headers, _ = caller.send("HEAD", f"/rest/v1/{table}?user_id=eq.{self.victim.user}", headers={"Prefer": "count=exact"})
                self.assertEqual(headers["Content-Range"], "*/0", table)
        status, rows = self.thief.json("GET", "/rest/v1/cognitive_commits?select=user_id,sessions(user_id,turns(user_id),visuals(user_id))")
        self.assertEqual(status, 200)
        self.assertNotIn(self.victim.user, str(rows))

    def test_tables_let_nobody_write_another_s_rows(self):
        where = f"user_id=eq.{self.victim.user}"
        change = {"machines": {"rank": 9}, "projects": {"name": "x"}, "cognitive_commits": {"title": "x"}, "sessions": {"deleted_at": None},
                  "turns": {"text": "x"}, "raw_chunks": {"start": 1}, "message_usage": {"input": 0}, "visual_objects": {"size": 0},
                  "visuals": {"turn": 9}, "shared_counts": {"counts": {"turns": 2}}, "accounts": {"plan": "unlimited"}, "sync_heads": {"seq": 0}}
        for table in OWNED:
            for method, body in (("PATCH", change[table]), ("DELETE", None)):
                status, rows = self.thief.json(method, f"/rest/v1/{table}?{where}", body, {"Prefer": "return=representation"})
                self.assertIn((status, rows if status == 200 else None), ((200, []), (403, None)), f"{method} {table}")
        # His own rows under the other's name, and over the other's keys.
        for table, rows in (("machines", {"id": new_id()}), ("projects", {"id": self.world.project}), ("cognitive_commits", {"id": new_id()}),
                            ("sessions", {"id": new_id(), "commit_id": self.world.commit}),
                            ("turns", {"session_id": self.world.session, "number": 1, "id": new_id()}),
                            ("raw_chunks", {"session_id": self.world.session, "number": 9, "start": 0, "length": 1, "data": "\\x00"}),
                            ("visual_objects", {"name": "a" * 64 + ".png", "size": 1}),
                            ("shared_counts", {"week": "2026-01-05", "counts": {"turns": 2}})):
            for prefer in ("return=minimal", "resolution=merge-duplicates"):
                status, _ = self.thief.json("POST", f"/rest/v1/{table}", {"user_id": self.victim.user, **rows}, {"Prefer": prefer})
                self.assertEqual(status, 403, table)
            status, _ = self.thief.json("PATCH", f"/rest/v1/{table}", {"user_id": self.victim.user},
                                        {"Prefer": "return=minimal"}) if table != "visual_objects" else (403, None)
            self.assertIn(status, (400, 403), table)

    def test_nothing_is_hung_below_another_s_row(self):
        for table, row in (("sessions", {"id": new_id(), "commit_id": self.world.commit}),
                           ("cognitive_commits", {"id": new_id(), "project_id": self.world.project}),
                           ("turns", {"session_id": self.world.session, "number": 9, "id": new_id()}),
                           ("raw_chunks", {"session_id": self.world.session, "number": 9, "start": 0, "length": 1, "data": "\\x00"}),
                           ("message_usage", {"session_id": self.world.session, "key": new_id(), "input": 0, "output": 0,
                                              "cache_read": 0, "cache_write": 0})):
            status, answer = self.thief.json("POST", f"/rest/v1/{table}", {"user_id": self.thief.user, **row})
            self.assertEqual((status, answer["code"]), (409, "23503"), table)
        status, _ = self.thief.json("PATCH", f"/rest/v1/cognitive_commits?id=eq.{self.own.commit}", {"project_id": self.world.project})
        self.assertEqual(status, 409)

    def test_functions_reach_nobody_else_s_records(self):
        w, turn = self.world, self.world.turns[1]
        codes = [o.get("code", o["status"]) for o in self.thief.push(
            fields("commit", w.commit, 1, title="x"), fields("session", w.session, 0, deleted_at=5), fields("project", w.project, 0, name="x"),
            fields("turn", turn["id"], 1, turn=[w.session, 2], deleted_at=5), fields("commit", self.own.commit, 0, project=w.project),
            turns(w.session, turn), raw(w.session, chunk(0, 0, 1)), usage(w.session, new_id()), stub(new_id(), w.commit),
            session(new_id(), w.commit, self.thief.machine), commit(new_id(), w.project), merged("commit", self.own.commit, w.commit),
            merged("project", self.own.project, w.project))]
        self.assertEqual(codes, ["unknown_parent"] * 13)
        # What only he has, under ids that the other has too.
        mine = Account()
        mine.push(project(w.project), commit(w.commit, w.project), session(w.session, w.commit, mine.machine, visuals=[visual("a.png")]),
                  turns(w.session, turn), fields("commit", w.commit, 0, title="his"))
        mine.push(forget("turn", turn["id"]), forget("project", w.project))
        self.assertEqual(self.thief.fetch(w.session), {"sessions": [], "next": None})
        self.assertNotIn(w.commit, self.thief.rows())
        self.assertNotIn(self.victim.user, str(self.thief.pull()))
        self.assertEqual(self.thief.rpc("unshare_counts", {"protocol": 1}), (200, 0))

    def test_without_a_login_there_is_nothing(self):
        for caller in (Caller(), Caller("x.y.z")):
            for table in TABLES:
                for method, body in (("GET", None), ("POST", {}), ("PATCH", {}), ("DELETE", None)):
                    status, _ = caller.json(method, f"/rest/v1/{table}", body)
                    self.assertEqual(status, 401, f"{method} {table}")
            for name, arguments in FUNCTIONS.items():
                self.assertEqual(caller.rpc(name, arguments)[0], 401, name)

    def test_what_is_not_the_api_cannot_be_reached(self):
        for name in ("next_seq", "add_usage", "lock_head", "raise_min_seq", "find", "push_forget"):
            self.assertEqual(self.thief.rpc(name, {})[0], 404)
            status, _ = self.thief.json("POST", f"/rest/v1/rpc/{name}", {}, {"Content-Profile": "cogfs"})
            self.assertEqual(status, 406)

    def test_every_table_has_row_security_and_a_policy_for_users_alone(self):
        self.assertEqual(psql("select count(*) from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' and not relrowsecurity"),
                         "0")
        self.assertEqual(psql("select string_agg(distinct roles::text, ' ') from pg_policies where schemaname = 'public'"), "{authenticated}")
        self.assertEqual(psql("""select count(*) from pg_class c, pg_roles r where c.relnamespace = 'public'::regnamespace
            and c.relkind in ('r', 'S', 'v') and r.rolname = 'anon' and has_table_privilege(r.oid, c.oid, 'select, insert, update, delete')"""),
                         "0")
        self.assertEqual(psql("""select string_agg(p.proname, ' ' order by p.proname) from pg_proc p where p.pronamespace = 'public'::regnamespace
            and has_function_privilege('authenticated', p.oid, 'execute') and not p.prosecdef"""), " ".join(sorted(FUNCTIONS)))


class Pictures(CloudTest):
    def test_each_user_has_his_folder(self):
        victim, thief, data = Account(), Account(), b"\x89PNG a picture"
        name = f"{victim.user}/{hashlib.sha256(data).hexdigest()}.png"
        png = {"Content-Type": "image/png"}
        self.assertEqual(victim.send("POST", f"/storage/v1/object/visuals/{name}", data, png)[0], 200)
        for caller in (thief, Caller()):
            for method, path, body, status in (
                ("GET", f"object/visuals/{name}", None, "404"), ("GET", f"object/authenticated/visuals/{name}", None, "404"),
                ("GET", f"object/info/visuals/{name}", None, "404"), ("POST", f"object/sign/visuals/{name}", {"expiresIn": 60}, "404"),
                ("GET", f"object/public/visuals/{name}", None, "404"), ("DELETE", f"object/visuals/{name}", None, "404"),
                ("POST", f"object/visuals/{name}", b"x", "403"), ("PUT", f"object/visuals/{name}", b"x", "403"),
                ("POST", f"object/visuals/{victim.user}/{'b' * 64}.png", b"x", "403"),
                ("POST", f"object/visuals/{thief.user}/../{name}", b"x", "400"),
            ):
                answer = caller.json(method, f"/storage/v1/{path}", body, png if isinstance(body, bytes) else None)
                self.assertEqual((answer[0], answer[1]["statusCode"]), (400, status), f"{method} {path}")
            self.assertEqual(caller.json("DELETE", "/storage/v1/object/visuals", {"prefixes": [name]}), (200, []))
            self.assertEqual(caller.json("POST", "/storage/v1/object/list/visuals", {"prefix": victim.user}), (200, []))
        status, headers, got = victim.send("GET", f"/storage/v1/object/visuals/{name}")
        self.assertEqual((status, headers["Content-Type"], got), (200, "image/png", data))
        # A name says what is in it: it is never written again.
        answer = victim.json("POST", f"/storage/v1/object/visuals/{name}", data, png)
        self.assertEqual((answer[0], answer[1]["statusCode"], answer[1]["code"]), (400, "409", "KeyAlreadyExists"))
        answer = victim.json("POST", f"/storage/v1/object/visuals/{name}", b"other", {**png, "x-upsert": "true"})
        self.assertEqual((answer[0], answer[1]["statusCode"]), (400, "403"))
        self.assertEqual(len(victim.json("DELETE", "/storage/v1/object/visuals", {"prefixes": [name]})[1]), 1)
        self.assertEqual(victim.json("GET", f"/storage/v1/object/visuals/{name}")[1]["statusCode"], "404")


if __name__ == "__main__":
    unittest.main()
