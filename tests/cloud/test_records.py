"""Records through sync_push and sync_pull: facts, fields, mergers, what is forgotten."""

import threading
import unittest

from stack import (Account, CloudTest, World, commit, everything, facts, fields, forget, merged, new_id, project, psql, session,
                   stub, turns, visual)

ROW = {"kind", "id", "seq", "version", "fields_at", "fields_by", "facts_by", "rank", "facts", "fields", "turn", "merged_into", "forgotten"}


class Records(CloudTest):
    def test_what_was_pushed_is_pulled(self):
        world = World()
        pulled = world.account.pull()
        rows = {row["id"]: row for row in pulled["rows"]}
        for change in world.changes:
            if change["op"] == "facts" and change["facts"]:
                row = rows[change["id"]]
                self.assertEqual(set(row), ROW)
                self.assertEqual(row["facts"], change["facts"])
                self.assertEqual((row["kind"], row["rank"], row["version"], row["facts_by"]),
                                 (change["kind"], change["rank"], 0, world.account.machine))
        self.assertEqual(len(rows), 4)
        self.assertEqual(set(pulled), {"protocol", "rows", "next", "head", "min_seq", "now"})
        self.assertEqual((pulled["protocol"], pulled["next"], pulled["min_seq"]), ({"min": 1, "max": 1}, pulled["head"], 0))

    def test_a_replay_changes_nothing(self):
        world = World()
        edit = fields("commit", world.commit, 0, title="New", tags=["a"])
        deletion = fields("turn", world.turns[1]["id"], 0, turn=[world.session, 2], deleted_at=5)
        first = world.account.push(edit, deletion)
        before = everything(world.account)
        again = world.account.push(*world.changes, edit, deletion)
        self.assertEqual(everything(world.account), before)
        self.assertEqual([o["status"] for o in again], ["applied"] * len(again))
        self.assertEqual(again[-2:], first)

    def test_facts_of_the_higher_rank_stay_and_equal_ones_are_no_news(self):
        world = World()
        account, head = world.account, world.account.head()
        older = account.push_one(commit(world.commit, world.project, "older", rank=0))
        self.assertEqual((older["status"], older["row"]["facts"]["title"], account.head()), ("conflict", "Watering", head))
        account.push(commit(world.commit, world.project, rank=1), commit(world.commit, world.project, rank=2))
        self.assertEqual(account.head(), head)
        account.push(commit(world.commit, world.project, rank=2, updated_at=9))
        self.assertEqual(account.head(), head, "a time alone is no news")
        account.push(commit(world.commit, world.project, "of the old rank", rank=1))
        self.assertEqual(account.row(world.commit)["facts"]["title"], "Watering")
        outcome = account.push_one(commit(world.commit, world.project, "later", rank=2))
        self.assertEqual((outcome["seq"], outcome["version"]), (head + 1, 0))
        self.assertEqual(account.row(world.commit)["facts"]["title"], "later")

    def push_at(self, account, machine, as_of, *changes):
        return account.rpc("sync_push", {"protocol": 1, "machine": machine, "as_of": as_of, "changes": list(changes)})

    def test_of_equal_ranks_what_was_read_later_holds_and_an_overtaken_push_is_not_made(self):
        account, id, a, b = Account(), new_id(), new_id(), new_id()
        title = lambda: account.row(id)["facts"]["name"]
        for machine, as_of, name in ((a, 2000, "later"), (b, 1500, "read before"), (b, 2500, "again"), (b, 2500, "again")):
            self.assertEqual(self.push_at(account, machine, as_of, project(id, name))[0], 200)
        self.assertEqual(title(), "again")
        head = account.head()
        # Of a's, the one of 2000 may come again; one from before it never.
        self.assertEqual(self.push_at(account, a, 2000, project(id, "later"))[0], 200)
        status, said = self.push_at(account, a, 1000, project(id, "given up"), project(new_id(), "another"))
        self.assertEqual((status, said["code"]), (503, "PT503"))
        self.assertEqual((title(), account.head()), ("again", head))
        # No clock is ahead of the server's.
        self.push_at(account, a, 1 << 52, project(id, "from the future"))
        account.push(project(id, "now"))
        self.assertEqual(title(), "now")

    def test_a_session_without_facts_is_told_to_nobody(self):
        world = World()
        head, id = world.account.head(), new_id()
        world.account.push(stub(id, world.commit), turns(id, *world.turns))
        self.assertEqual(world.account.head(), head)
        self.assertNotIn(id, world.account.rows())
        self.assertEqual(world.account.fetch(id), {"sessions": [], "next": None})

    def test_a_stale_version_is_a_conflict_and_tells_the_row(self):
        world = World()
        account = world.account
        self.assertEqual(account.push_one(fields("commit", world.commit, 0, title="Mine"))["version"], 1)
        other = account.another_machine()
        outcome = other.push_one(fields("commit", world.commit, 0, title="Yours", hidden=True))
        self.assert_status(outcome, "conflict")
        row = outcome["row"]
        self.assertEqual(set(row), ROW)
        self.assertEqual((row["version"], row["fields"], row["fields_by"]), (1, {"title": "Mine"}, account.machine))
        # What it says already is no conflict, whatever it was made on.
        self.assertEqual(other.push_one(fields("commit", world.commit, 0, title="Mine")),
                         {"status": "applied", "version": 1, "seq": row["seq"]})
        self.assertEqual(other.push_one(fields("commit", world.commit, 1, title="Yours"))["version"], 2)
        # Facts never conflict, and change no version.
        self.assertEqual(account.push_one(commit(world.commit, world.project, "found", rank=9))["version"], 2)
        self.assertEqual(account.row(world.commit)["fields"], {"title": "Yours"})

    def test_a_change_that_is_wrong_costs_that_change(self):
        world = World()
        outcomes = world.account.push(
            fields("commit", world.commit, 0, title=5), fields("commit", world.commit, 0, colour="red"),
            fields("commit", world.commit, 0, project=new_id()), fields("commit", new_id(), 0, title="x"), {"op": "fly"}, 7,
            facts("commit", new_id(), project="no id"), commit(new_id(), new_id()), stub(new_id(), new_id()), turns(new_id()),
            turns(world.session, {"number": 1, "id": "x"}), {"op": "facts", "kind": "cat", "id": new_id(), "facts": {}},
            {**commit(new_id(), world.project), "id": "x"}, fields("commit", world.commit, 0, title="right"))
        self.assertEqual([o.get("code", o["status"]) for o in outcomes], [
            "invalid", "invalid", "unknown_parent", "unknown_parent", "invalid", "invalid", "invalid", "unknown_parent", "unknown_parent",
            "unknown_parent", "invalid", "invalid", "invalid", "applied"])
        self.assertEqual(world.account.row(world.commit)["fields"], {"title": "right"})

    def test_a_deletion_and_its_end_are_versions(self):
        world = World()
        account = world.account
        # Never deleted: to restore it is no change.
        self.assertEqual(account.push_one(fields("session", world.session, 0, deleted_at=None))["version"], 0)
        self.assertEqual(account.push_one(fields("session", world.session, 0, deleted_at=1700000000123))["version"], 1)
        self.assertEqual(account.row(world.session)["fields"], {"deleted_at": 1700000000123})
        self.assertEqual(account.push_one(fields("session", world.session, 1, deleted_at=None))["version"], 2)
        self.assertEqual(account.row(world.session)["fields"], {"deleted_at": None})

    def test_a_turn_is_a_record_once_it_is_marked(self):
        world = World()
        mark, id = [world.session, 2], world.turns[1]["id"]
        self.assertNotIn(id, world.account.rows())
        self.assertEqual(world.account.push_one(fields("turn", id, 0, turn=mark, deleted_at=5))["version"], 1)
        row = world.account.row(id)
        self.assertEqual((row["kind"], row["turn"], row["fields"], row["facts"]), ("turn", mark, {"deleted_at": 5}, None))
        self.assert_status(world.account.push_one(fields("turn", id, 0, turn=mark, deleted_at=6)), "conflict")
        # Marked before its contents came: they fill it, and the mark stays.
        early = {"number": 7, "id": new_id(), "role": 1, "at": 1, "text": "late"}
        world.account.push(fields("turn", early["id"], 0, turn=[world.session, 7], deleted_at=5), turns(world.session, early))
        self.assertEqual(world.account.row(early["id"])["fields"], {"deleted_at": 5})
        self.assertIn("late", [t["text"] for t in world.account.fetch(world.session)["sessions"][0]["turns"]])

    def test_of_a_merged_commit_the_sessions_move(self):
        world = World()
        account, target, last = world.account, new_id(), new_id()
        account.push(commit(target, world.project), commit(last, world.project))
        since = account.head()
        self.assert_status(account.push_one(merged("commit", world.commit, target)), "applied")
        rows = account.rows(since)
        self.assertEqual(set(rows), {world.commit, target, world.session})
        self.assertEqual(rows[world.commit]["merged_into"], target)
        self.assertEqual(rows[world.session]["facts"]["commit"], target)
        head = account.head()
        self.assert_status(account.push_one(merged("commit", world.commit, target)), "applied")
        self.assert_status(account.push_one(merged("commit", target, world.commit)), "applied")
        # Who does not know yet sends the session as it was for him: it is where it belongs.
        self.assert_status(account.push_one(session(world.session, world.commit, account.machine)), "applied")
        self.assertEqual(account.head(), head)
        for change in (fields("commit", world.commit, 0, title="x"), commit(world.commit, world.project, rank=9), forget("commit", world.commit)):
            self.assertEqual(account.push_one(change), {"status": "merged", "into": target})
        account.push(merged("commit", target, last))
        self.assertEqual(account.push_one(fields("commit", world.commit, 0, title="x")), {"status": "merged", "into": last})
        self.assertEqual(account.row(world.session)["facts"]["commit"], last)
        self.assert_status(account.push_one(merged("commit", last, new_id())), "refused", "unknown_parent")
        self.assert_status(account.push_one(merged("session", world.session, new_id())), "refused", "invalid")

    def test_of_a_merged_project_the_commits_move(self):
        world = World()
        account, target, moved = world.account, new_id(), new_id()
        account.push(project(target, "other"), commit(moved, target), fields("commit", moved, 0, project=world.project))
        self.assert_status(account.push_one(merged("project", world.project, target)), "applied")
        rows = account.rows()
        self.assertEqual(rows[world.project]["merged_into"], target)
        self.assertEqual(rows[world.commit]["facts"]["project"], target)
        self.assertEqual(rows[moved]["fields"]["project"], target)
        self.assertEqual(psql(f"select distinct project_id from cognitive_commits where user_id = '{account.user}'"), target)
        self.assert_status(account.push_one(fields("commit", world.commit, 0, project=world.project)), "applied")
        self.assertEqual(account.row(world.commit)["fields"]["project"], target)

    def test_what_is_forgotten_is_gone_and_stays_so(self):
        for kind in ("session", "commit", "project"):
            with self.subTest(kind):
                world = World(visuals=[visual("a.png")])
                account, since = world.account, world.account.head()
                id = {"session": world.session, "commit": world.commit, "project": world.project}[kind]
                outcome = account.push_one(forget(kind, id))
                self.assertEqual(outcome["unused"], [f"{account.user}/{visual('a.png')['sha256']}.png"])
                rows = account.rows(since)
                below = {"session": [world.session], "commit": [world.session, world.commit],
                         "project": [world.session, world.commit, world.project]}[kind]
                self.assertEqual(set(rows), set(below))
                for row in rows.values():
                    self.assertEqual((row["forgotten"], row["facts"], row["fields"]), (True, None, {}))
                for table in ("turns", "raw_chunks", "message_usage", "visuals"):
                    self.assertEqual(psql(f"select count(*) from {table} where user_id = '{account.user}'"), "0", table)
                before = everything(account)
                for change in world.changes:
                    change_id = change.get("id") or change["session"]
                    if change_id in below:
                        self.assertEqual(account.push_one(change), {"status": "forgotten"})
                self.assertEqual(account.push_one(fields(kind, id, 0, deleted_at=5) if kind != "project"
                                                  else fields(kind, id, 0, name="x")), {"status": "forgotten"})
                # Asked again, it names what there is to remove again.
                self.assertEqual(account.push_one(forget(kind, id)), outcome)
                self.assertEqual(everything(account), before)
                self.assertEqual(account.fetch(world.session), {"sessions": [], "next": None})

    def test_a_forgotten_turn_is_not_filled_again(self):
        world = World()
        account = world.account
        account.push(fields("turn", world.turns[1]["id"], 0, turn=[world.session, 2], deleted_at=5))
        self.assert_status(account.push_one(forget("turn", world.turns[1]["id"])), "applied")
        account.push(world.changes[4])
        self.assertEqual([(t["role"], t["text"], t["tool_output"]) for t in account.fetch(world.session)["sessions"][0]["turns"]],
                         [(1, "hello", None), (0, "", None)])
        self.assertTrue(account.row(world.turns[1]["id"])["forgotten"])
        self.assertEqual(account.push_one(fields("turn", world.turns[1]["id"], 9, turn=[world.session, 2], deleted_at=6)),
                         {"status": "forgotten"})
        # The session's facts are less without it, and taken all the same.
        account.push(session(world.session, world.commit, account.machine, rank=0, turns=1))
        self.assertEqual(account.row(world.session)["facts"]["turns"], 1)

    def test_what_was_never_pushed_can_be_forgotten(self):
        account, id = Account(), new_id()
        self.assert_status(account.push_one(forget("commit", id)), "applied")
        self.assertEqual(account.push_one(commit(id, new_id())), {"status": "forgotten"})

    def test_pictures_are_as_the_facts_say(self):
        world = World(visuals=[visual("a.png"), visual("b.png")])
        account, other = world.account, new_id()
        account.push(session(other, world.commit, account.machine, visuals=[visual("b.png")]))
        outcome = account.push_one(session(world.session, world.commit, account.machine, rank=2, visuals=[visual("c.png")]))
        self.assertEqual(outcome["unused"], [f"{account.user}/{visual('a.png')['sha256']}.png"])
        self.assertEqual(psql(f"select string_agg(file_name, ' ' order by file_name) from visuals where user_id = '{account.user}'"), "b.png c.png")
        # Shown again it is used again, and counts again.
        account.push(session(world.session, world.commit, account.machine, rank=3, visuals=[visual("a.png")]))
        self.assertEqual(psql(f"select count(*) from visual_objects where user_id = '{account.user}' and unused_at is null"), "2")
        for name in ("../../x", "A" * 64):
            bad = {**visual("a.png"), "sha256": name}
            self.assert_status(account.push_one(session(new_id(), world.commit, account.machine, visuals=[bad])), "refused", "invalid")

    def test_a_program_of_another_protocol_is_told_so(self):
        account = Account()
        for name, arguments in (("sync_push", {"machine": account.machine, "changes": []}), ("sync_pull", {"since": 0, "max": 1}),
                                ("fetch_contents", {"ids": [], "after": None}), ("sync_status", {})):
            for protocol in (0, 2):
                status, answer = account.rpc(name, {"protocol": protocol, **arguments})
                self.assertEqual((status, answer["code"]), (426, "PT426"), name)
                self.assertIn("versions 1 to 1", answer["message"])

    def test_pages_of_a_pull_have_each_record_once(self):
        world = World()
        account = world.account
        commits = [new_id() for _ in range(25)]
        account.push(*[commit(id, world.project) for id in commits])
        account.push(fields("commit", commits[0], 0, title="changed later"))
        since, seen, pages = 0, [], 0
        while True:
            page = account.pull(since, 7)
            self.assertLessEqual(len(page["rows"]), 7)
            seen += page["rows"]
            since, pages = page["next"], pages + 1
            if since == page["head"]:
                break
        self.assertEqual(pages, 5)
        self.assertEqual(len({row["id"] for row in seen}), len(seen))
        self.assertEqual([row["seq"] for row in seen], sorted(row["seq"] for row in seen))
        self.assertEqual({row["id"] for row in seen} & set(commits), set(commits))
        self.assertEqual(account.pull(since)["rows"], [])

    def test_a_page_of_large_facts_is_cut_by_its_size(self):
        world = World()
        ids = [new_id() for _ in range(6)]
        for id in ids:
            world.account.push(session(id, world.commit, world.account.machine, turn_index="A" * 2_000_000))
        page = world.account.pull()
        self.assertLess(len(page["rows"]), 9)
        self.assertLess(page["next"], page["head"])
        rest = world.account.pull(page["next"])
        self.assertEqual(len(page["rows"]) + len(rest["rows"]), 10)
        self.assertEqual(rest["next"], rest["head"])


class AtOnce(CloudTest):
    def test_of_eight_machines_no_record_is_missed_by_a_cursor(self):
        world = World(Account().on_plan())
        pushed, seen, done, failures = [set() for _ in range(8)], [set() for _ in range(3)], threading.Event(), []

        def push(number):
            account = world.account.another_machine()
            for _ in range(12):
                ids = [new_id() for _ in range(5)]
                outcomes = account.push(*[commit(id, world.project) for id in ids], fields("commit", ids[0], 0, title="x"),
                                        *[session(new_id(), ids[1], account.machine)])
                failures.extend(o for o in outcomes if o["status"] != "applied")
                pushed[number] |= set(ids)

        def read(number):
            account, since = world.account.another_machine(), 0
            while True:
                last = done.is_set()
                page = account.pull(since, 50)
                seen[number] |= {row["id"] for row in page["rows"]}
                since = page["next"]
                if last and since == page["head"]:
                    return

        readers = [threading.Thread(target=read, args=(n,)) for n in range(3)]
        writers = [threading.Thread(target=push, args=(n,)) for n in range(8)]
        for thread in readers + writers:
            thread.start()
        for thread in writers:
            thread.join()
        done.set()
        for thread in readers:
            thread.join()
        self.assertEqual(failures, [])
        everything = set.union(*pushed)
        self.assertEqual(len(everything), 8 * 12 * 5)
        for reader in seen:
            self.assertEqual(everything - reader, set())

    def test_of_changes_of_one_version_one_is_made_whoever_makes_them(self):
        world = World()
        applied = []

        def push(number):
            account = world.account.another_machine()
            for version in range(5):
                outcome = account.push_one(fields("commit", world.commit, version, title=f"{number}-{version}"))
                if outcome["status"] == "applied":
                    applied.append(outcome["version"])

        def write(number):
            # The web, meanwhile: it locks rows before it gives them numbers.
            account = world.account.another_machine()
            for count in range(10):
                status, answer = account.json("PATCH", f"/rest/v1/sessions?id=eq.{world.session}", {"deleted_at": f"2026-01-0{count % 9 + 1}"})
                if status >= 300:
                    applied.append(answer)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(6) for work in ((push,) if n < 4 else (write,))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(applied), sorted(set(applied)), "a version was given twice")
        self.assertEqual(world.account.row(world.commit)["version"], len(applied))


if __name__ == "__main__":
    unittest.main()
