"""The gateway of `scripts/cloud-stack`: one port for sign-in, PostgREST, pictures and the doorbell, as Supabase's has it; with faults
on demand.
`cloud_gateway.py STACK.JSON --own` is one more of a running stack, whose faults and counts are its own: its address is printed.

POST /__faults    a list of rules, each used up by the requests it meets; [] takes all back. GET shows them.
    {"path": "/rest/v1/rpc/sync_push", "method": "POST", "nth": 2, "count": 1, "fault": "status", ...}
    path: the beginning of the path; nth: the first request it meets (1); count: how many (1; 0: all that follow)
    fault: status (status, retry_after, body)   an answer instead of the server's
           delay (seconds)                      before the request is passed on
           reset                                the answer breaks off in its middle, with a reset
           truncate                             an answer of half the bytes, which looks whole
           content_type                         a page of HTML instead of JSON, status 200
           drip (seconds)                       the answer takes so long
           drop                                 the request is done and its answer lost
GET /__requests   how many of each kind came, and the last of them; DELETE begins at 0.
POST /__realtime  what is done to open sockets; their faults are told in cloud_realtime.py.
/__github, /__google   stand for them: cloud_providers.py
"""

import http.client
import http.server
import json
import socket
import socketserver
import struct
import sys
import threading
import time
import urllib.parse

import cloud_providers
import cloud_realtime
import cloud_storage

HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-authorization", "content-length", "host"}


class Rules:
    """The faults that wait, and what came."""

    def __init__(self):
        self.lock = threading.Lock()
        self.rules = []
        self.reset_counts()

    def reset_counts(self):
        self.counts, self.log = {}, []

    def set(self, rules):
        with self.lock:
            self.rules = [{"nth": 1, "count": 1, **rule, "seen": 0} for rule in rules]

    def meet(self, method, path):
        """Counts a request; the rule that it meets, if any."""
        with self.lock:
            key = f"{method} {path.split('?')[0]}"
            self.counts[key] = self.counts.get(key, 0) + 1
            self.log = self.log[-999:] + [f"{method} {path}"]
            return self.met([rule for rule in self.rules if path.startswith(rule.get("path", "/")) and rule.get("method", method) == method])

    def meet_step(self, path):
        """The rule that a step of Realtime meets: of those for this step alone."""
        with self.lock:
            return self.met([rule for rule in self.rules if rule.get("path") == path])

    def met(self, rules):
        met = None
        for rule in rules:
            rule["seen"] += 1
            late = rule["seen"] - rule["nth"]
            if met is None and late >= 0 and (rule["count"] == 0 or late < rule["count"]):
                met = rule
        return met


class Answer:
    def __init__(self, status, body=b"", headers=None):
        self.status = status
        self.body = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        self.headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            self.headers.setdefault("Content-Type", "application/json")


class Gateway(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    state = {}
    rules = Rules()
    storage = None
    realtime = None

    def log_message(self, *_):
        pass

    def read_body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def handle_any(self):
        body = self.read_body()
        if self.path.startswith("/__"):
            return self.send(self.control(body))
        rule = self.rules.meet(self.command, self.path) or {}
        fault = rule.get("fault")
        if fault == "status":
            return self.send(self.fault_status(rule))
        if fault == "delay":
            time.sleep(rule.get("seconds", 1))
        answer = self.route(body)
        if answer is None:
            return
        if fault == "drop":
            return self.cut(reset=False)
        if fault == "content_type":
            answer = Answer(200, b"<html><body>Welcome to nginx!</body></html>", {"Content-Type": "text/html"})
        elif fault == "truncate":
            answer.body = answer.body[: len(answer.body) // 2]
        self.send(answer, half=fault == "reset", seconds=rule.get("seconds", 3) if fault == "drip" else 0)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = handle_any

    def fault_status(self, rule):
        status = rule.get("status", 503)
        body = rule.get("body", {"message": f"fault {status}", "code": f"FAULT{status}"})
        if isinstance(body, str):
            body = body.encode()
        return Answer(status, body, {"Retry-After": str(rule["retry_after"])} if "retry_after" in rule else {})

    def send(self, answer, half=False, seconds=0):
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in HOP:
                self.send_header(name, value)
        length = answer.headers.get("Content-Length") if self.command == "HEAD" else None
        if answer.status not in (204, 304):
            self.send_header("Content-Length", length or str(len(answer.body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if half:
            self.wfile.write(answer.body[: len(answer.body) // 2])
            self.wfile.flush()
            return self.cut(reset=True)
        if seconds:
            step = max(len(answer.body) // 20, 1)
            for at in range(0, len(answer.body), step):
                self.wfile.write(answer.body[at:at + step])
                self.wfile.flush()
                time.sleep(seconds / 20)
            return
        self.wfile.write(answer.body)

    def cut(self, reset):
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.wfile = open("/dev/null", "wb")
        self.connection.close() if reset else self.connection.shutdown(socket.SHUT_RDWR)

    def route(self, body):
        path = urllib.parse.urlsplit(self.path).path
        if path.startswith("/storage/v1/"):
            return self.storage.answer(self, body)
        if path == "/realtime/v1/websocket":
            return self.realtime.serve(self)
        if not path.startswith(("/rest/v1", "/auth/v1/")):
            return Answer(404, {"message": "no Route matched with those values"})
        # Where a browser is sent to there is no key: as on Supabase.
        open_paths = ("/auth/v1/authorize", "/auth/v1/callback", "/auth/v1/verify")
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        key = self.headers.get("apikey") or query.get("apikey", [None])[0]
        if key not in (self.state["anon_key"], self.state["publishable_key"]) and not path.startswith(open_paths):
            message = "No API key found in request" if not key else "Invalid API key"
            return Answer(401, {"message": message, "hint": "No `apikey` request header or url param was found."})
        if path.startswith("/rest/v1"):
            return self.pass_on(self.state["ports"]["postgrest"], self.path[len("/rest/v1"):] or "/", body, key)
        answer = self.pass_on(self.state["ports"]["auth"], self.path, body, key)
        for name, value in answer.headers.items():
            if name.lower() == "location" and value.startswith(cloud_providers.GOOGLE_PAGE):
                answer.headers[name] = self.state["url"] + "/__google/" + value.removeprefix(cloud_providers.GOOGLE_PAGE)
        return answer

    def pass_on(self, port, path, body, key):
        headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP | {"apikey"}}
        # A publishable key is no JWT: it stands for nobody.
        if headers.get("Authorization", "").removeprefix("Bearer ") in (key, "") and (key or "").startswith("sb_"):
            headers.pop("Authorization", None)
        headers["Host"] = self.headers.get("Host", "127.0.0.1")
        headers["Content-Length"] = str(len(body))
        connections = self.__dict__.setdefault("connections", {})
        for fresh in (False, True):
            connection = connections.get(port)
            if connection is None or fresh:
                connection = connections[port] = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
            try:
                connection.request(self.command, path, body, headers)
                answer = connection.getresponse()
                return Answer(answer.status, answer.read(), answer.getheaders())
            except (http.client.RemoteDisconnected, ConnectionError):
                # Only a connection that was kept may have ended meanwhile; then nothing was done.
                connection.close()
                if fresh:
                    break
        return Answer(502, {"message": "An invalid response was received from the upstream server"})

    def control(self, body):
        path = urllib.parse.urlsplit(self.path)
        if path.path == "/__faults":
            if self.command == "POST":
                self.rules.set(json.loads(body))
            return Answer(200, self.rules.rules)
        if path.path == "/__requests":
            if self.command == "DELETE":
                self.rules.reset_counts()
                self.realtime.reset()
            return Answer(200, {"total": sum(self.rules.counts.values()), "by": self.rules.counts, "log": self.rules.log,
                                "realtime": self.realtime.told()})
        if path.path == "/__realtime":
            return self.realtime.control(json.loads(body))
        for prefix, provider in cloud_providers.PROVIDERS.items():
            if path.path.startswith(prefix):
                self.body = body
                return provider.answer(Answer, path.path.removeprefix(prefix), dict(urllib.parse.parse_qsl(path.query)), self)
        return Answer(404, {"message": "no such control"})


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], (ConnectionError, BrokenPipeError, ValueError)):
            super().handle_error(request, client_address)


def main():
    with open(sys.argv[1]) as file:
        Gateway.state = json.load(file)
    Gateway.storage = cloud_storage.Storage(Gateway.state["dir"] + "/storage", Gateway.state["secret"], Answer)
    Gateway.realtime = cloud_realtime.Realtime(Gateway.state, Gateway.rules, Answer)
    if sys.argv[2:] != ["--own"]:
        Server(("127.0.0.1", Gateway.state["ports"]["gateway"]), Gateway).serve_forever()
    # Another gateway of the same stack, with faults and counts of its own, until its standard input ends.
    server = Server(("127.0.0.1", 0), Gateway)
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
