"""Stands in for GitHub and Google in the gateway of `scripts/cloud-stack`: what sign-in asks of them, and the page that asks the user.

/__github, /__google   GET shows as whom one is logged in there; POST {"login": NAME} changes it, {"deny": true} refuses all.
A browser, which asks for HTML, gets a page with the buttons "Authorize" and "Cancel"; any other caller is sent back at once.
"""

import base64
import html
import json
import urllib.parse

# Where @supabase/lite sends browsers for Google: it cannot be told another place, as it can for GitHub.
GOOGLE_PAGE = "https://accounts.google.com/"

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{name}</title></head>
<body><h1>{name} of this stack</h1><p>{login}, let cogfs know who you are?</p>
<p><a id="authorize" href="{yes}">Authorize</a> <a id="cancel" href="{no}">Cancel</a></p></body></html>
"""


class Provider:
    """One of them, by the paths that sign-in uses."""

    def __init__(self, name, login, paths, described):
        self.name, self.paths, self.described = name, paths, described
        self.state = {"login": login}

    def answer(self, answer, where, query, asked):
        """`answer` makes one: status, body, headers. `asked` has the request's method, headers and body."""
        if where in ("", "/"):
            if asked.command == "POST":
                self.state.update(json.loads(asked.body))
            return answer(200, self.state)
        what = self.paths.get(where)
        if what == "page":
            return self.page(answer, query, "text/html" in asked.headers.get("Accept", ""))
        if what == "token":
            text = asked.body.decode()
            code = (json.loads(text) if text.startswith("{") else dict(urllib.parse.parse_qsl(text))).get("code", "")
            return answer(200, {"access_token": "stack_" + code, "token_type": "bearer", "scope": "user:email"})
        token = asked.headers.get("Authorization", "").split(" ")[-1]
        known = token.startswith("stack_")
        login = base64.urlsafe_b64decode(token[len("stack_"):] + "==").decode() if known else self.state["login"]
        told = self.described(login).get(what)
        return answer(404, {"message": "Not Found"}) if told is None else answer(200, told)

    def page(self, answer, query, is_browser):
        def back(**what):
            return query["redirect_uri"] + "?" + urllib.parse.urlencode({**what, "state": query.get("state", "")})

        yes = back(code=base64.urlsafe_b64encode(self.state["login"].encode()).decode().rstrip("="))
        no = back(error="access_denied", error_description="The user has denied your application access.")
        if not is_browser:
            return answer(302, b"", {"Location": no if self.state.get("deny") else yes})
        told = {"name": self.name, "login": self.state["login"], "yes": yes, "no": no}
        page = PAGE.format(**{key: html.escape(value) for key, value in told.items()})
        return answer(200, page.encode(), {"Content-Type": "text/html; charset=utf-8"})


def number(login):
    return sum(login.encode()) * 1000 + len(login)


def of_github(login):
    email = f"{login}@example.test"
    return {"user": {"id": number(login), "login": login, "name": login.title(), "email": email,
                     "avatar_url": f"https://example.test/{login}.png"},
            "emails": [{"email": email, "primary": True, "verified": True, "visibility": "public"}]}


def of_google(login):
    return {"user": {"id": str(number(login)), "name": login.title(), "email": f"{login}@example.test", "verified_email": True}}


PROVIDERS = {
    "/__github": Provider("GitHub", "octocat", {
        "/login/oauth/authorize": "page", "/login/oauth/access_token": "token", "/user": "user", "/api/v3/user": "user",
        "/user/emails": "emails", "/api/v3/user/emails": "emails"}, of_github),
    "/__google": Provider("Google", "ada", {
        "/o/oauth2/v2/auth": "page", "/token": "token", "/userinfo/v2/me": "user"}, of_google),
}
