"""Counts that a user shares: of whole weeks, numbers of known keys, each week once, and gone when he says so."""

import datetime
import unittest

from stack import Account, CloudTest, psql

TODAY = datetime.datetime.now(datetime.timezone.utc).date()
MONDAY = TODAY - datetime.timedelta(days=TODAY.weekday())
COUNTS = {"commits": 3, "prompts": 12, "sessions_codex": 0, "tokens_input": 10 ** 12}


def weeks_ago(weeks):
    return str(MONDAY - datetime.timedelta(weeks=weeks))


class Counts(CloudTest):
    def share(self, account, week=None, counts=None, protocol=1):
        return account.rpc("share_counts", {"protocol": protocol, "week": week or weeks_ago(1), "counts": COUNTS if counts is None else counts})

    def kept(self, account):
        return account.json("GET", "/rest/v1/shared_counts?select=week,counts&order=week")[1]

    def test_a_week_is_kept_once_and_stays_as_it_came(self):
        account = Account()
        self.assertEqual(self.share(account), (200, True))
        self.assertEqual(self.share(account, counts={"commits": 9}), (200, False))
        self.assertEqual(self.share(account, weeks_ago(2), {"turns": 1}), (200, True))
        self.assertEqual(self.kept(account), [{"week": weeks_ago(2), "counts": {"turns": 1}}, {"week": weeks_ago(1), "counts": COUNTS}])
        self.assertEqual(account.pull()["rows"], [], "counts are records of nobody")
        self.assertEqual((account.status()["usage"]["bytes"], account.head()), (0, 0))

    def test_only_whole_weeks_that_are_over_are_taken(self):
        account = Account()
        for week in (weeks_ago(0), weeks_ago(-1), weeks_ago(10), str(MONDAY - datetime.timedelta(days=6)), "2026-13-01", None):
            status, _ = account.rpc("share_counts", {"protocol": 1, "week": week, "counts": COUNTS})
            self.assertEqual(status, 400, week)
        self.assertEqual(self.kept(account), [])

    def test_nothing_but_numbers_of_known_keys_is_taken(self):
        account = Account()
        self.share(account, weeks_ago(3))
        for counts in ({}, [], "text", 7, {"title": 1}, {"commits": "3"}, {"commits": None}, {"commits": -1}, {"commits": 1.5}, {"commits": [1]},
                       {"commits": {"text": 1}}, {"commits": 10 ** 12 + 1}, {"commits": 10 ** 40}, {"commits": True}, {**COUNTS, "Commits": 1}):
            self.assertEqual(self.share(account, counts=counts)[0], 400, counts)
            # The same past the function.
            row = {"user_id": account.user, "week": weeks_ago(1), "counts": counts}
            status, answer = account.json("POST", "/rest/v1/shared_counts", row)
            self.assertEqual((status, answer["code"]), (400, "23514"), counts)
        self.assertEqual(account.json("POST", "/rest/v1/shared_counts", {"user_id": account.user, "week": weeks_ago(1), "counts": COUNTS})[0], 201)

    def test_what_is_there_is_not_written_over(self):
        account = Account()
        self.share(account)
        self.assertEqual(account.json("PATCH", f"/rest/v1/shared_counts?week=eq.{weeks_ago(1)}", {"counts": {"turns": 1}})[0], 403)
        self.assertEqual(self.kept(account)[0]["counts"], COUNTS)

    def test_it_goes_when_its_user_says_so_and_nobody_else_s_does(self):
        account, other = Account(), Account()
        for week in (1, 2):
            self.share(account, weeks_ago(week))
            self.share(other, weeks_ago(week))
        self.assertEqual(account.rpc("unshare_counts", {"protocol": 1}), (200, 2))
        self.assertEqual(account.rpc("unshare_counts", {"protocol": 1}), (200, 0))
        self.assertEqual((len(self.kept(account)), len(self.kept(other))), (0, 2))

    def test_it_goes_with_its_account(self):
        account = Account()
        self.share(account)
        psql(f"delete from accounts where user_id = '{account.user}'")
        self.assertEqual(psql(f"select count(*) from shared_counts where user_id = '{account.user}'"), "0")

    def test_another_protocol_is_told_so(self):
        for name, more in (("share_counts", {"week": weeks_ago(1), "counts": COUNTS}), ("unshare_counts", {})):
            self.assertEqual(Account().rpc(name, {"protocol": 99, **more})[0], 426)


if __name__ == "__main__":
    unittest.main()
