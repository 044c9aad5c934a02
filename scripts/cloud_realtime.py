"""Stands for Supabase's Realtime behind the gateway of `scripts/cloud-stack`: a WebSocket (RFC 6455) with channels (versions 1.0.0
and 2.0.0 of the form, text alone) that tell of changes of `sync_heads`, to the user whose row it is. As the real one it looks every
100 ms, tells each change at most once and nothing of what was before.

Its steps are met by the gateway's rules (POST /__faults) under paths of their own, beside /realtime/v1/websocket, which is the
handshake ("status", "delay" and the others work there):
    /realtime/v1/join, /realtime/v1/subscribe (before it says that it listens), /realtime/v1/heartbeat, /realtime/v1/access_token,
    /realtime/v1/event
with these faults:
    delay (seconds)    the answer, or the event, comes later; what comes behind it is not held up
    lose               no answer, or no event
    double             twice
    refuse (reason)    the reply is an error with this reason
    cut, garbage, binary, large, close, error, expire, flood    what POST /__realtime does, in place of the answer
POST /__realtime {"fault": ...}    to all sockets that are open, at once:
    cut                the connection ends without a goodbye
    goodbye (code)     the socket is closed as the protocol has it
    garbage, binary, large    a text that is no message; bytes; a text of 6 MB
    close, error       phx_close, phx_error: the channel is over
    system (message)   a system message of the status error; the channel stays
    expire             as if the token had run out: a system message, then phx_close
    flood (count, rate)    so many events, so many a second
What was counted stands in GET /__requests under "realtime": connections, open, and the steps.
"""

import base64
import binascii
import hashlib
import hmac
import itertools
import json
import socket
import struct
import subprocess
import threading
import time
import urllib.parse

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
LARGEST = 5 * 1024 * 1024
POLL = 0.1


def claims(token, secret):
    """What a token says, or why it is not taken: the words of Realtime."""
    try:
        head, body, signature = token.split(".")
        good = hmac.new(secret, f"{head}.{body}".encode(), hashlib.sha256).digest()
        decode = lambda text: base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if not hmac.compare_digest(good, decode(signature)):
            return None, "JwtSignatureError: Failed to validate JWT signature"
        found = json.loads(decode(body))
    except (ValueError, AttributeError, binascii.Error):
        return None, "MalformedJWT: The token provided is not a valid JWT"
    late = int(time.time() - found.get("exp", 0))
    if late >= 0:
        return None, f"InvalidJWTToken: Token has expired {late} seconds ago"
    return found, None


class Heads:
    """The rows of `sync_heads`, by a psql that stays. It is asked by one thread."""

    def __init__(self, state):
        self.state, self.process = state, None

    def start(self):
        command = ["psql", "-X", "-q", "-A", "-t", "-h", self.state["socket"], "-p", str(self.state["ports"]["postgres"]), "-U", "postgres", "-d", "cogfs"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def query(self, sql):
        if self.process is None or self.process.poll() is not None:
            self.start()
        self.process.stdin.write(sql + ";\n\\echo .\n")
        self.process.stdin.flush()
        rows = []
        while (line := self.process.stdout.readline()) != ".\n":
            if not line:
                raise OSError("psql ended")
            rows.append(line.rstrip("\n").split("|"))
        return rows

    def published(self):
        """As the real one: a table that is not published tells nothing."""
        return bool(self.query("select 1 from pg_publication_tables where pubname = 'supabase_realtime' and tablename = 'sync_heads'"))

    def rows(self):
        return {user: (int(seq), int(least)) for user, seq, least in self.query("select user_id, seq, min_seq from public.sync_heads")}


class Realtime:
    def __init__(self, state, rules, answer):
        self.state, self.secret, self.rules, self.answer = state, state["secret"].encode(), rules, answer
        self.lock = threading.Lock()
        self.sockets, self.counts, self.poller = set(), {}, None
        self.numbers = itertools.count(1)

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def told(self):
        with self.lock:
            return {**self.counts, "open": len(self.sockets)}

    def reset(self):
        with self.lock:
            self.counts = {}

    def serve(self, request):
        """A handshake, and all that follows it. An answer: it was refused."""
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(request.path).query))
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return self.answer(400, {"error": "Not a WebSocket"})
        key = request.headers.get("x-api-key") or query.get("apikey")
        if key not in (self.state["anon_key"], self.state["publishable_key"]):
            return self.answer(401, {"error": "Invalid API key" if key else "Missing API key"})
        version = query.get("vsn", "1.0.0")
        if version not in ("1.0.0", "2.0.0"):
            return self.answer(400, {"error": "Unsupported version"})
        proof = base64.b64encode(hashlib.sha1(request.headers["Sec-WebSocket-Key"].encode() + GUID).digest()).decode()
        request.connection.sendall(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {proof}\r\n\r\n".encode())
        opened = Socket(self, request, version, key)
        with self.lock:
            self.counts["connections"] = self.counts.get("connections", 0) + 1
            self.sockets.add(opened)
            if self.poller is None:
                self.poller = threading.Thread(target=self.poll, daemon=True)
                self.poller.start()
        try:
            opened.run()
        except (OSError, EOFError, struct.error):
            pass
        finally:
            with self.lock:
                self.sockets.discard(opened)
            request.close_connection = True
            opened.cut()

    def poll(self):
        """What the replication slot is to the real one."""
        heads, known, listens = Heads(self.state), None, False
        while True:
            with self.lock:
                sockets = list(self.sockets)
            if not sockets:
                # What happens while nobody listens is told to nobody.
                known = None
            else:
                try:
                    listens = listens or heads.published()
                    rows = heads.rows()
                except OSError:
                    rows = known
                for opened in sockets:
                    opened.expire()
                    for channel in list(opened.channels.values()):
                        self.look(opened, channel, rows, known, listens)
                known = rows
            time.sleep(POLL)

    def look(self, opened, channel, rows, known, listens):
        if channel.wanted and not channel.subscribed:
            # From these rows on.
            channel.subscribed = True
            ok = ("ok", "Subscribed to PostgreSQL")
            none = ("error", "Unable to subscribe to changes with given parameters. Please check Realtime is enabled for the given connect parameters")
            opened.step("subscribe", lambda: channel.system("postgres_changes", *(ok if listens else none)), channel)
            return
        if not channel.subscribed or known is None or not listens:
            return
        for user in channel.users():
            if rows.get(user) not in (None, known.get(user)):
                event = channel.event(user, *rows[user], kind="UPDATE" if user in known else "INSERT")
                opened.step("event", lambda event=event: opened.send(*event), channel)

    def control(self, fault):
        with self.lock:
            sockets = list(self.sockets)
        for opened in sockets:
            opened.do(fault)
        return self.answer(200, {"sockets": len(sockets)})


class Channel:
    def __init__(self, opened, topic, join, found, config):
        self.opened, self.topic, self.join, self.claims = opened, topic, join, found
        self.wanted = [{"id": next(opened.home.numbers), **change} for change in config.get("postgres_changes") or []]
        self.subscribed = False

    def system(self, extension, status, message):
        channel = self.topic.removeprefix("realtime:")
        self.opened.send(self.topic, "system", {"extension": extension, "status": status, "message": message, "channel": channel}, None, self.join)

    def over(self, event="phx_close"):
        self.opened.channels.pop(self.topic, None)
        self.opened.send(self.topic, event, {}, self.join, self.join)

    def users(self):
        """Whose rows are wanted and may be seen: row security is asked for each."""
        own = self.claims.get("sub") if self.claims.get("role") == "authenticated" else None
        fits = lambda change: change.get("schema") == "public" and change.get("table") in ("sync_heads", "*", None) and change.get(
            "filter") in (None, f"user_id=eq.{own}") and change.get("event") in ("*", "UPDATE", "INSERT")
        return [own] if own and any(map(fits, self.wanted)) else []

    def event(self, user, seq, least, kind="UPDATE"):
        columns = [{"name": "user_id", "type": "uuid"}, {"name": "seq", "type": "int8"}, {"name": "min_seq", "type": "int8"}]
        record = {"user_id": user, "seq": seq, "min_seq": least}
        data = {"schema": "public", "table": "sync_heads", "type": kind, "commit_timestamp": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()),
                "columns": columns, "record": record, "errors": None, **({"old_record": {"user_id": user}} if kind == "UPDATE" else {})}
        return self.topic, "postgres_changes", {"ids": [change["id"] for change in self.wanted], "data": data}, None, self.join


class Socket:
    def __init__(self, home, request, version, key):
        self.home, self.version, self.key = home, version, key
        self.connection, self.rfile = request.connection, request.rfile
        self.channels, self.writing = {}, threading.Lock()

    # Frames.

    def exactly(self, length):
        data = self.rfile.read(length)
        if len(data) < length:
            raise EOFError
        return data

    def frame(self):
        first, second = self.exactly(2)
        length = second & 127
        if length > 125:
            length = struct.unpack(">H" if length == 126 else ">Q", self.exactly(2 if length == 126 else 8))[0]
        # A client masks (RFC 6455, 5.1).
        if not second & 128 or length > LARGEST:
            raise EOFError
        mask = self.exactly(4)
        data = self.exactly(length)
        key = (mask * (length // 4 + 1))[:length]
        return first, (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(length, "big")

    def write(self, kind, data):
        size = len(data)
        head = bytes([128 | kind, size]) if size < 126 else struct.pack(">BBH", 128 | kind, 126, size) if size < 65536 else struct.pack(
            ">BBQ", 128 | kind, 127, size)
        with self.writing:
            self.connection.sendall(head + data)

    def cut(self):
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def run(self):
        parts = b""
        while True:
            first, data = self.frame()
            kind = first & 15
            if kind == CLOSE:
                return self.write(CLOSE, data[:2])
            if kind == PING:
                self.write(PONG, data)
            elif kind in (0, TEXT):
                parts += data
                if first & 128:
                    self.message(parts.decode())
                    parts = b""

    # Messages.

    def send(self, topic, event, payload, number, join):
        if self.version == "1.0.0":
            said = {"topic": topic, "event": event, "payload": payload, "ref": number}
        else:
            said = [join, number, topic, event, payload]
        try:
            self.write(TEXT, json.dumps(said).encode())
        except OSError:
            self.cut()

    def reply(self, topic, number, join, response, status="ok"):
        self.send(topic, "phx_reply", {"status": status, "response": response}, number, join)

    def message(self, text):
        said = json.loads(text)
        if self.version == "1.0.0":
            topic, event, payload, number, join = (said.get(name) for name in ("topic", "event", "payload", "ref", "join_ref"))
        else:
            join, number, topic, event, payload = said
        channel = self.channels.get(topic)
        if event == "heartbeat" and topic == "phoenix":
            self.step("heartbeat", lambda: self.reply(topic, number, None, {}))
        elif event == "phx_join":
            self.joins(topic, number, join, payload)
        elif event == "phx_leave":
            self.reply(topic, number, join, {})
            if channel:
                channel.over()
        elif event == "access_token" and channel:
            self.step("access_token", lambda: self.takes(channel, payload.get("access_token")), channel)

    def joins(self, topic, number, join, payload):
        refuse = lambda reason: self.reply(topic, number, join, {"reason": reason}, "error")
        # Without a token of the user it is the key's.
        token = payload.get("access_token") or (payload.get("user_token") or self.key)
        found, why = ({"role": "anon", "exp": time.time() + 3600}, None) if token.startswith("sb_") else claims(token, self.home.secret)
        if not topic.startswith("realtime:"):
            why = "TopicNameRequired: You must provide a topic name"
        if topic in self.channels:
            self.channels[topic].over()
        if why:
            self.home.count("join")
            return refuse(why)
        channel = Channel(self, topic, join or number, found, payload.get("config") or {})

        def joined():
            self.reply(topic, number, join, {"postgres_changes": channel.wanted})
            self.send(topic, "presence_state", {}, None, channel.join)
            self.channels[topic] = channel

        self.step("join", joined, channel, refuse)

    def takes(self, channel, token):
        if not token or token.startswith("sb_"):
            return
        found, why = claims(token, self.home.secret)
        if why:
            channel.system("system", "error", why.split(": ", 1)[1])
            channel.over()
        else:
            channel.claims = found

    def expire(self):
        """Ends the channels whose tokens ran out."""
        for channel in list(self.channels.values()):
            late = time.time() - channel.claims.get("exp", 0)
            if late >= 0:
                channel.system("system", "error", f"Token has expired {int(late)} seconds ago")
                channel.over()

    # Faults.

    def step(self, name, do, channel=None, refuse=None):
        """Does a step, unless a rule has it otherwise."""
        self.home.count(name)
        rule = self.home.rules.meet_step(f"/realtime/v1/{name}") or {}
        fault = rule.get("fault")
        if fault == "delay":
            timer = threading.Timer(rule.get("seconds", 1), do)
            timer.daemon = True
            timer.start()
        elif fault == "double":
            do()
            do()
        elif fault == "refuse" and refuse:
            refuse(rule.get("reason", "UnknownErrorOnChannel: fault"))
        elif fault is None:
            do()
        elif fault != "lose":
            self.do(rule, channel)

    def do(self, rule, channel=None):
        fault = rule.get("fault")
        channels = [channel] if channel else list(self.channels.values())
        try:
            if fault == "cut":
                self.cut()
            elif fault == "goodbye":
                self.write(CLOSE, struct.pack(">H", rule.get("code", 1001)) + b"going away")
            elif fault == "garbage":
                self.write(TEXT, b'{"topic": "realtime:')
            elif fault == "binary":
                self.write(BINARY, b"\x03\x00\x01\x02")
            elif fault == "large":
                self.write(TEXT, b'"' + b"x" * (6 << 20) + b'"')
            elif fault == "flood":
                threading.Thread(target=self.flood, args=(channels, rule.get("count", 1000), rule.get("rate", 1000)), daemon=True).start()
            for each in channels:
                if fault in ("close", "error"):
                    each.over("phx_" + fault)
                elif fault == "system":
                    each.system("postgres_changes", "error", rule.get("message", "fault"))
                elif fault == "expire":
                    each.system("system", "error", "Token has expired 0 seconds ago")
                    each.over()
        except OSError:
            self.cut()

    def flood(self, channels, count, rate):
        start = time.monotonic()
        for number in range(count):
            for channel in channels:
                for user in channel.users():
                    self.home.count("event")
                    self.send(*channel.event(user, number, 0))
            if (ahead := number / rate - (time.monotonic() - start)) > 0.01:
                time.sleep(ahead)
