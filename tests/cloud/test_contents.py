"""Contents of sessions through sync_push and fetch_contents; what an account may hold; what is purged; the web's own writing."""

import json
import threading
import unittest

from stack import (Account, CloudTest, World, chunk, commit, fields, forget, machine, merged, new_id, project, psql, raw, session, stub, turn,
                   turns, usage, visual)

MARK = {"session", "turn", "chunk"}


class Contents(CloudTest):
    def test_contents_come_back_as_they_were_sent(self):
        world = World()
        fetched = world.account.fetch(world.session, new_id(), world.session)
        self.assertEqual((set(fetched), fetched["next"], len(fetched["sessions"])), ({"sessions", "next"}, None, 1))
        got = fetched["sessions"][0]
        self.assertEqual(set(got), {"row", "turns", "raw", "usage"})
        self.assertEqual(got["row"], world.account.row(world.session))
        nothing = {"model": None, "label": None, "images": 0, "tool_name": None, "tool_call_id": None, "tool_status": 0, "text": "",
                   "tool_input": None, "tool_output": None}
        self.assertEqual(got["turns"], [{**nothing, **t} for t in world.turns])
        self.assertEqual(got["raw"], [chunk(0, 0, 100)])
        self.assertEqual([u["tokens"] for u in got["usage"]], [[1, 2, 3, 4]])

    def test_a_turn_that_is_sent_anew_is_revised(self):
        world = World()
        world.account.push(turns(world.session, {**world.turns[0], "text": "revised", "label": "a label"}, turn(3, "more")))
        got = world.account.fetch(world.session)["sessions"][0]["turns"]
        self.assertEqual([(t["number"], t["text"], t["label"]) for t in got], [(1, "revised", "a label"), (2, "there", None), (3, "more", None)])

    def test_records_that_are_cut_anew_leave_nothing_of_the_old_cut(self):
        world = World()
        world.account.push(raw(world.session, chunk(0, 0, 100), chunk(1, 100, 80), chunk(2, 180, 80)))
        world.account.push(raw(world.session, chunk(0, 0, 120, b"new")), raw(world.session, chunk(1, 120, 120, b"cut")))
        self.assertEqual(world.account.fetch(world.session)["sessions"][0]["raw"], [chunk(0, 0, 120, b"new"), chunk(1, 120, 120, b"cut")])
        world.account.push(session(world.session, world.commit, world.account.machine, rank=2, raw_bytes=120))
        self.assertEqual(world.account.fetch(world.session)["sessions"][0]["raw"], [chunk(0, 0, 120, b"new")])

    def test_long_contents_come_in_parts_that_make_the_whole(self):
        world = World(Account().on_plan())
        account = world.account
        second, third, empty = new_id(), new_id(), new_id()
        sent = {second: [turn(n, chr(64 + n) * 900_000) for n in range(1, 15)], third: [turn(1, "small")], empty: []}
        chunks = [chunk(n, n * 10, 10, bytes(700_000)) for n in range(12)]
        key = new_id()
        for id, contents in sent.items():
            account.push(stub(id, world.commit), turns(id, *contents))
        account.push(raw(second, *chunks), usage(second, key), *[session(id, world.commit, account.machine) for id in sent])

        got, after, answers = {}, None, 0
        wanted = [world.session, second, empty, third]
        while True:
            status, _, data = account.send("POST", "/rest/v1/rpc/fetch_contents",
                                           {"protocol": 1, "ids": wanted, "after": after})
            self.assertEqual(status, 200)
            self.assertLess(len(data), 8.5 * 1024 * 1024)
            fetched = json.loads(data)
            for part in fetched["sessions"]:
                whole = got.setdefault(part["row"]["id"], {"turns": [], "raw": [], "usage": []})
                for kind in whole:
                    whole[kind] += part[kind]
            after, answers = fetched["next"], answers + 1
            if after is None:
                break
            self.assertEqual(set(after), MARK)
        self.assertGreater(answers, 2)
        self.assertLess(answers, 9)
        self.assertEqual(list(got), wanted)
        self.assertEqual([(t["number"], t["id"], t["text"]) for t in got[second]["turns"]],
                         [(t["number"], t["id"], t["text"]) for t in sent[second]])
        self.assertEqual(got[second]["raw"], chunks)
        self.assertEqual([u["key"] for u in got[second]["usage"]], [key])
        self.assertEqual([t["text"] for t in got[third]["turns"]], ["small"])

    def test_a_turn_larger_than_an_answer_comes_alone(self):
        world = World(Account().on_plan())
        world.account.push(turns(world.session, turn(3, "x" * 9_000_000), turn(4, "behind")))
        after, numbers = None, []
        while True:
            fetched = world.account.fetch(world.session, after=after)
            numbers.append([t["number"] for t in fetched["sessions"][0]["turns"]] if fetched["sessions"] else [])
            after = fetched["next"]
            if after is None:
                break
        self.assertEqual(sum(numbers, []), [1, 2, 3, 4])
        self.assertIn([3], numbers)

    def test_a_place_that_is_in_none_of_the_sessions_is_refused(self):
        world = World()
        status, _ = world.account.rpc("fetch_contents", {"protocol": 1, "ids": [world.session],
                                                         "after": {"session": new_id(), "turn": 1, "chunk": 0}})
        self.assertEqual(status, 400)


class Quotas(CloudTest):
    def test_what_fits_is_taken_and_the_rest_refused(self):
        account = Account().on_plan(commits=2)
        p, ids, below = new_id(), [new_id() for _ in range(4)], new_id()
        outcomes = account.push(machine(account.machine), project(p), *[commit(id, p) for id in ids],
                                session(below, ids[3], account.machine), session(new_id(), ids[1], account.machine))
        self.assertEqual([o.get("code", o["status"]) for o in outcomes],
                         ["applied"] * 4 + ["quota_commits"] * 2 + ["unknown_parent", "applied"])
        self.assertEqual(account.status()["usage"]["commits"], 2)
        self.assertEqual(account.status()["limits"], {"commits": 2, "bytes": None})
        # More of what is there is no new commit; one in the trash makes room, and to take it out again needs some.
        self.assert_status(account.push_one(commit(ids[0], p, "again", rank=5)), "applied")
        self.assert_status(account.push_one(fields("commit", ids[0], 0, deleted_at=5)), "applied")
        self.assert_status(account.push_one(commit(ids[2], p)), "applied")
        self.assert_status(account.push_one(fields("commit", ids[0], 1, deleted_at=None)), "refused", "quota_commits")
        self.assert_status(account.push_one(forget("commit", ids[2])), "applied")
        self.assert_status(account.push_one(fields("commit", ids[0], 1, deleted_at=None)), "applied")

    def test_bytes_are_counted_and_given_back(self):
        world = World(Account().on_plan(size=100_000), visuals=[{**visual("a.png"), "bytes": 30_000}])
        account = world.account
        used = account.status()["usage"]["bytes"]
        self.assertGreater(used, 30_000)
        self.assert_status(account.push_one(turns(world.session, turn(3, "x" * 80_000))), "refused", "quota_bytes")
        self.assertEqual(account.status()["usage"]["bytes"], used)
        outcomes = account.push(turns(world.session, turn(3, "x" * 50_000)), raw(world.session, chunk(1, 100, 5, bytes(50_000))),
                                turns(world.session, turn(4, "y" * 5_000)))
        self.assertEqual([o.get("code", o["status"]) for o in outcomes], ["applied", "quota_bytes", "applied"])
        # Less is always taken.
        psql(f"update limits set bytes = 10 where plan = '{account.user}'")
        self.assert_status(account.push_one(turns(world.session, turn(3, "x"))), "applied")
        self.assert_status(account.push_one(turns(world.session, turn(5, "x"))), "refused", "quota_bytes")
        account.push(forget("project", world.project))
        self.assertLess(account.status()["usage"]["bytes"], 1000)

    def test_what_is_counted_is_what_is_there(self):
        world = World(visuals=[visual("a.png"), {**visual("a.png"), "id": new_id()}])
        world.account.push(turns(world.session, turn(3, "more"), {**world.turns[0], "text": "longer than it was"}),
                           fields("commit", world.commit, 0, note="n" * 500), session(new_id(), world.commit, world.account.machine))
        there = psql("select " + " + ".join(
            f"(select coalesce(sum(bytes), 0) from {table} where user_id = '{world.account.user}')"
            for table in ("machines", "projects", "cognitive_commits", "sessions", "turns", "raw_chunks", "message_usage", "visual_objects")))
        self.assertEqual(world.account.status()["usage"], {"commits": 1, "bytes": int(there)})

    def test_a_session_whose_contents_found_no_room_is_not_shown_without_them(self):
        world = World(Account().on_plan(size=60_000))
        account, id = world.account, new_id()
        outcomes = account.push(stub(id, world.commit), turns(id, turn(1, "x" * 70_000)), session(id, world.commit, account.machine))
        self.assertEqual([o.get("code", o["status"]) for o in outcomes], ["applied", "quota_bytes", "quota_bytes"])
        self.assertNotIn(id, account.rows())

    def test_two_machines_at_once_do_not_get_more_than_one(self):
        account = Account().on_plan(commits=20)
        p = new_id()
        account.push(machine(account.machine), project(p))
        taken = []

        def push():
            other = account.another_machine()
            for _ in range(10):
                taken.extend(o["status"] for o in other.push(commit(new_id(), p)))

        threads = [threading.Thread(target=push) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(taken.count("applied"), 20)
        self.assertEqual(psql(f"select count(*) from cognitive_commits where user_id = '{account.user}'"), "20")

    def test_what_a_user_writes_past_sync_push_counts_as_well(self):
        world = World(Account().on_plan(commits=1, size=20_000))
        account = world.account
        row = {"user_id": account.user, "session_id": world.session, "number": 9, "id": new_id(), "role": 1, "text": "x" * 30_000}
        self.assertEqual(account.json("POST", "/rest/v1/turns", row)[0], 413)
        self.assertEqual(account.json("POST", "/rest/v1/turns", {**row, "text": "", "tool_call_id": "x" * 30_000})[0], 413)
        self.assertEqual(account.json("POST", "/rest/v1/cognitive_commits",
                                      {"user_id": account.user, "id": new_id(), "project_id": world.project})[0], 413)
        # Nor can he write down what he used, or what he may.
        for table, change in (("accounts", {"bytes": 0}), ("accounts", {"plan": "unlimited"}), ("sync_heads", {"seq": 0}),
                              ("limits", {"bytes": None})):
            where = "plan=eq.free" if table == "limits" else f"user_id=eq.{account.user}"
            self.assertEqual(account.json("PATCH", f"/rest/v1/{table}?{where}", change)[0], 403, table)
            self.assertEqual(account.json("DELETE", f"/rest/v1/{table}?{where}")[0], 403, table)
            self.assertEqual(account.json("POST", f"/rest/v1/{table}", change)[0], 403, table)
        self.assertEqual(account.json("PATCH", f"/rest/v1/cognitive_commits?id=eq.{world.commit}", {"counted": False})[0], 400)
        before = account.status()["usage"]
        account.json("PATCH", f"/rest/v1/sessions?id=eq.{world.session}", {"bytes": 0})
        self.assertEqual(account.status()["usage"], before)


class TheWeb(CloudTest):
    def test_a_column_that_is_written_is_a_field_with_version_and_number(self):
        world = World()
        account, other = world.account, new_id()
        account.push(project(other, "other"))
        head = account.head()
        change = {"title": "By the web", "hidden": True, "published": True, "display_order": 3, "tags": ["a", "b"], "note": "a note",
                  "project_id": other}
        status, rows = account.json("PATCH", f"/rest/v1/cognitive_commits?id=eq.{world.commit}", change, {"Prefer": "return=representation"})
        self.assertEqual((status, {k: rows[0][k] for k in change}), (200, change))
        row = account.row(world.commit)
        self.assertEqual((row["version"], row["seq"], row["fields_by"]), (1, head + 1, None))
        self.assertEqual(row["fields"], {"title": "By the web", "hidden": True, "published": True, "order": 3, "tags": ["a", "b"],
                                         "note": "a note", "project": other})
        self.assert_status(account.push_one(fields("commit", world.commit, 0, title="Mine")), "conflict")
        account.push(fields("commit", world.commit, 1, title=None, tags=["c"]))
        status, rows = account.json("GET", f"/rest/v1/cognitive_commits?id=eq.{world.commit}&select=title,tags,closed_at,git_hash")
        self.assertEqual(rows, [{"title": "Watering", "tags": ["c"], "closed_at": "2023-11-14T22:15:00+00:00", "git_hash": "a1b2c3d"}])
        status, _ = account.json("PATCH", f"/rest/v1/projects?id=eq.{other}", {"name": "renamed"})
        self.assertEqual((status, account.row(other)["fields"]), (204, {"name": "renamed"}))

    def test_number_and_version_are_nobody_s_to_write(self):
        world = World()
        before = world.account.row(world.commit)
        world.account.json("PATCH", f"/rest/v1/cognitive_commits?id=eq.{world.commit}",
                           {"seq": 9999, "version": 77, "fields_by": new_id(), "fields_at": "2020-01-01", "updated_at": "2020-01-01"})
        self.assertEqual(world.account.row(world.commit), before)
        world.account.json("PATCH", f"/rest/v1/turns?id=eq.{world.turns[0]['id']}", {"seq": 9999, "version": 5})
        self.assertNotIn(world.turns[0]["id"], world.account.rows())
        status, _ = world.account.json("PATCH", f"/rest/v1/cognitive_commits?id=eq.{world.commit}", {"id": new_id()})
        self.assertEqual(status, 400)

    def test_what_is_deleted_leaves_a_tombstone(self):
        world = World()
        account = world.account
        for table, id in (("turns", world.turns[0]["id"]), ("sessions", world.session), ("cognitive_commits", world.commit)):
            head = account.head()
            self.assertEqual(account.json("DELETE", f"/rest/v1/{table}?id=eq.{id}")[0], 204)
            row = account.row(id)
            self.assertEqual((row["seq"], row["version"]), (head + 1, 1))
            self.assertIsInstance(row["fields"]["deleted_at"], int)
        self.assertEqual(account.json("DELETE", f"/rest/v1/projects?id=eq.{world.project}")[0], 403)
        account.push(fields("commit", world.commit, 1, deleted_at=None))
        self.assertEqual(account.json("GET", "/rest/v1/cognitive_commits?select=deleted_at")[1], [{"deleted_at": None}])


class Purge(CloudTest):
    def age(self, account, days=31):
        for table in ("cognitive_commits", "sessions", "turns"):
            psql(f"set session_replication_role = replica; update {table} set fields_at = fields_at - interval '{days} days'"
                 f" where user_id = '{account.user}'")

    def test_after_thirty_days_what_is_deleted_goes_and_old_cursors_are_told(self):
        world = World(visuals=[visual("a.png")])
        account, kept, gone = world.account, new_id(), new_id()
        account.push(commit(kept, world.project), commit(gone, world.project), session(new_id(), kept, account.machine))
        # A deletion that a wrong clock dates back is as young as it is here.
        account.push(fields("commit", world.commit, 0, deleted_at=1), forget("commit", gone))
        tombstone = account.row(world.commit)["seq"]
        self.assertEqual(account.rpc("purge_tombstones"), (200, 0))
        self.assertEqual(account.pull()["min_seq"], 0)
        self.age(account, 29)
        self.assertEqual(account.rpc("purge_tombstones"), (200, 0))
        self.age(account, 2)
        before = account.status()["usage"]["bytes"]
        self.assertEqual(account.rpc("purge_tombstones"), (200, 1))
        page = account.pull()
        self.assertEqual(page["min_seq"], tombstone)
        rows = {row["id"]: row for row in page["rows"]}
        self.assertNotIn(world.commit, rows)
        self.assertNotIn(world.session, rows)
        self.assertIn(kept, rows)
        self.assertTrue(rows[gone]["forgotten"])
        self.assertLess(account.status()["usage"]["bytes"], before)
        self.assertEqual(account.status()["min_seq"], tombstone)
        self.assertEqual(psql(f"select count(*) from turns where user_id = '{account.user}'"), "0")
        self.assert_status(account.push_one(fields("commit", world.commit, 1, deleted_at=None)), "refused", "unknown_parent")

    def test_a_purge_brings_nothing_back_that_was_forgotten(self):
        world = World()
        account, part, alone = world.account, new_id(), new_id()
        account.push(commit(part, world.project), merged("commit", part, world.commit), session(alone, world.commit, account.machine),
                     forget("session", world.session), fields("commit", world.commit, 0, deleted_at=5))
        self.age(account)
        self.assertEqual(account.rpc("purge_tombstones"), (200, 1))
        rows = account.rows()
        self.assertEqual({world.commit, part, alone} & set(rows), set())
        self.assertTrue(rows[world.session]["forgotten"])
        # Begun again, a commit is one that was never here; what was forgotten in it stays so.
        self.assertEqual([o["status"] for o in account.push(commit(world.commit, world.project), commit(part, world.project),
                                                            session(world.session, part, account.machine))],
                         ["applied", "applied", "forgotten"])

    def test_what_is_sent_anew_after_a_purge_counts_on_from_there(self):
        world = World()
        account = world.account
        account.push(fields("commit", world.commit, 0, title="Before"), fields("commit", world.commit, 1, deleted_at=5))
        self.age(account)
        self.assertEqual(account.rpc("purge_tombstones"), (200, 1))
        life = account.pull()["min_seq"] << 20
        self.assertGreater(life, 0)
        account.push(commit(world.commit, world.project), session(world.session, world.commit, account.machine))
        self.assertEqual([account.row(id)["version"] for id in (world.commit, world.session)], [life, life])
        # Nobody changed it yet: a change of it is made on whatever was known of it. From then on it has to be the newest.
        self.assertEqual(account.push_one(fields("commit", world.commit, 0, title="Behind"))["version"], life + 1)
        for stale in (0, 1, life, life + 2):
            self.assert_status(account.push_one(fields("commit", world.commit, stale, title=f"Stale {stale}")), "conflict")
        self.assertEqual(account.push_one(fields("commit", world.commit, life + 1, title="Last"))["version"], life + 2)

    def test_of_a_deleted_turn_the_mark_stays(self):
        world = World()
        account, id = world.account, world.turns[1]["id"]
        account.push(fields("turn", id, 0, turn=[world.session, 2], deleted_at=5))
        self.age(account)
        self.assertEqual(account.rpc("purge_tombstones"), (200, 1))
        self.assertEqual(account.rpc("purge_tombstones"), (200, 0))
        self.assertEqual(account.row(id)["fields"], {"deleted_at": 5})
        self.assertEqual([(t["number"], t["role"], t["text"] == "") for t in account.fetch(world.session)["sessions"][0]["turns"]],
                         [(1, 1, False), (2, 0, True)])

    def test_it_is_the_caller_s_alone(self):
        world = World()
        world.account.push(fields("commit", world.commit, 0, deleted_at=5))
        self.age(world.account)
        self.assertEqual(Account().rpc("purge_tombstones"), (200, 0))
        self.assertIn(world.commit, world.account.rows())


if __name__ == "__main__":
    unittest.main()
