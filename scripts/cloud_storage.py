"""Stands for Supabase's storage behind the gateway of `scripts/cloud-stack`: the bucket `visuals` with the policies of
migrations/cloud/0009_supabase.sql, as files. Refusals have its shape: the status 400, and the true one as text in the body."""

import base64
import binascii
import hashlib
import hmac
import json
import os
import re
import secrets
import threading
import time
import urllib.parse

BUCKET = "visuals"
LARGEST = 20 * 1024 * 1024
NAME = re.compile(r"[^/]+/[0-9a-f]{64}\.[a-z]+")
VALID = re.compile(r"[\w/!\-.*'() &$@=;:+,?]+", re.ASCII)


class Refusal(Exception):
    def __init__(self, status, error, message, code):
        super().__init__(message)
        self.body = {"statusCode": str(status), "error": error, "message": message, "code": code}


def missing():
    return Refusal(404, "not_found", "Object not found", "NoSuchKey")


def forbidden(message="new row violates row-level security policy"):
    return Refusal(403, "Unauthorized", message, "AccessDenied")


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Storage:
    def __init__(self, directory, secret, answer):
        self.dir, self.secret, self.make = directory, secret.encode(), answer
        self.lock = threading.Lock()
        self.signed = {}

    def answer(self, request, body):
        split = urllib.parse.urlsplit(request.path)
        path = urllib.parse.unquote(split.path.removeprefix("/storage/v1/"))
        try:
            return self.dispatch(request, path, dict(urllib.parse.parse_qsl(split.query)), body)
        except Refusal as refusal:
            return self.make(400, refusal.body)
        except (ValueError, KeyError, TypeError):
            return self.make(400, Refusal(400, "Bad Request", "body is not valid", "InvalidRequest").body)

    def user(self, request):
        """Whom the token names; None: nobody, as the key of all says."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        if not token:
            raise Refusal(400, "Error", "headers must have required property 'authorization'", "InvalidRequest")
        try:
            head, claims, signature = token.split(".")
            good = hmac.new(self.secret, f"{head}.{claims}".encode(), hashlib.sha256).digest()
            if not hmac.compare_digest(good, decode(signature)):
                raise forbidden("signature verification failed")
            claims = json.loads(decode(claims))
        except (ValueError, binascii.Error) as error:
            raise forbidden("Invalid Compact JWS") from error
        if claims.get("exp", 0) < time.time():
            raise forbidden('"exp" claim timestamp check failed')
        return claims.get("sub") if claims.get("role") == "authenticated" else None

    def dispatch(self, request, path, query, body):
        method = request.command
        if path.startswith("object/sign/") and method == "GET":
            name, until = self.signed.get(query.get("token"), (None, 0))
            if name is None or until < time.time():
                raise Refusal(400, "InvalidJWT", "jwt expired", "InvalidJWT")
            return self.download(request, name)
        if path.startswith("object/public/"):
            raise Refusal(404, "Bucket not found", "Bucket not found", "NoSuchBucket")
        user = self.user(request)
        if path.startswith("object/list/") and method == "POST":
            return self.list(user, path.removeprefix("object/list/"), json.loads(body))
        if path.startswith("object/sign/") and method == "POST":
            name = self.readable(user, path.removeprefix("object/sign/"))
            token = secrets.token_urlsafe(24)
            self.signed[token] = (name, time.time() + json.loads(body)["expiresIn"])
            return self.make(200, {"signedURL": f"/object/sign/{BUCKET}/{name}?token={token}"})
        for prefix in ("object/info/authenticated/", "object/info/", "object/authenticated/", "object/"):
            if path.startswith(prefix):
                return self.object(request, method, user, path.removeprefix(prefix), body, "info" in prefix)
        raise Refusal(404, "Not Found", f"Route {method}:/{path} not found", "NotFound")

    def object(self, request, method, user, path, body, info):
        if method == "DELETE" and "/" not in path:
            return self.remove(user, path, json.loads(body)["prefixes"])
        if method == "DELETE":
            name = self.split(path)
            if not self.remove(user, BUCKET, [name]).body.strip(b"[]"):
                raise missing()
            return self.make(200, {"message": "Successfully deleted"})
        if method in ("POST", "PUT"):
            return self.upload(request, method, user, self.split(path), body)
        name = self.readable(user, path)
        if info:
            size = os.path.getsize(self.file(name))
            return self.make(200, {"name": name, "bucket_id": BUCKET, "size": size, "etag": self.meta(name)["etag"],
                                   "content_type": self.meta(name)["type"], "cache_control": self.meta(name)["cache"]})
        return self.download(request, name)

    def split(self, path):
        bucket, _, name = path.partition("/")
        if bucket != BUCKET:
            raise Refusal(404, "Bucket not found", "Bucket not found", "NoSuchBucket")
        if not VALID.fullmatch(name) or ".." in name.split("/"):
            raise Refusal(400, "InvalidKey", f"Invalid key: {name}", "InvalidKey")
        return name

    def file(self, name):
        # Names of the policy's form alone become files; any other is one that is not there.
        return os.path.join(self.dir, name if NAME.fullmatch(name) else "none")

    def meta(self, name):
        with open(self.file(name) + ".json") as file:
            return json.load(file)

    def readable(self, user, path):
        name = self.split(path)
        if user is None or not name.startswith(user + "/") or not os.path.exists(self.file(name)):
            raise missing()
        return name

    def upload(self, request, method, user, name, body):
        kind = request.headers.get("Content-Type", "application/octet-stream")
        cache = request.headers.get("cache-control", "no-cache")
        if kind.startswith("multipart/form-data"):
            kind, body = form_file(kind, body)
        if len(body) > LARGEST:
            raise Refusal(413, "Payload too large", "The object exceeded the maximum allowed size", "EntityTooLarge")
        if user is None or not name.startswith(user + "/") or not NAME.fullmatch(name):
            raise forbidden()
        with self.lock:
            if method == "PUT" or os.path.exists(self.file(name)):
                # No policy lets anybody update.
                if method == "PUT" or request.headers.get("x-upsert") == "true":
                    raise missing() if method == "PUT" else forbidden()
                raise Refusal(409, "Duplicate", "The resource already exists", "KeyAlreadyExists")
            os.makedirs(os.path.dirname(self.file(name)), exist_ok=True)
            etag = '"' + hashlib.md5(body, usedforsecurity=False).hexdigest() + '"'
            with open(self.file(name) + ".json", "w") as file:
                json.dump({"type": kind, "cache": cache, "etag": etag}, file)
            with open(self.file(name) + ".new", "wb") as file:
                file.write(body)
            os.rename(self.file(name) + ".new", self.file(name))
        return self.make(200, {"Key": f"{BUCKET}/{name}", "Id": hashlib.sha256(name.encode()).hexdigest()[:32]})

    def download(self, request, name):
        with open(self.file(name), "rb") as file:
            data = file.read()
        meta = self.meta(name)
        headers = {"Content-Type": meta["type"], "ETag": meta["etag"], "Cache-Control": meta["cache"], "Accept-Ranges": "bytes"}
        if request.headers.get("If-None-Match") == meta["etag"]:
            return self.make(304, b"", headers)
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        if span and int(span[1]) < len(data):
            last = min(int(span[2] or len(data)), len(data) - 1)
            headers["Content-Range"] = f"bytes {span[1]}-{last}/{len(data)}"
            return self.make(206, data[int(span[1]):last + 1], headers)
        return self.make(200, data, {**headers, **({"Content-Length": str(len(data))} if request.command == "HEAD" else {})})

    def remove(self, user, bucket, names):
        gone = []
        for name in names[:1000]:
            name = self.split(f"{bucket}/{name}")
            if user is not None and name.startswith(user + "/") and os.path.exists(self.file(name)):
                os.remove(self.file(name))
                os.remove(self.file(name) + ".json")
                gone.append({"name": name, "bucket_id": BUCKET})
        return self.make(200, gone)

    def list(self, user, bucket, wanted):
        prefix = wanted.get("prefix", "").strip("/")
        self.split(f"{bucket}/{prefix or 'x'}")
        if user is None or prefix not in ("", user):
            return self.make(200, [])
        folder = os.path.join(self.dir, user)
        names = sorted(n for n in os.listdir(folder) if NAME.fullmatch(f"{user}/{n}")) if os.path.isdir(folder) else []
        if not prefix:
            return self.make(200, [{"name": user, "id": None, "metadata": None}] if names else [])
        start = wanted.get("offset", 0)
        return self.make(200, [{"name": n, "id": n[:32], "metadata": {"size": os.path.getsize(os.path.join(folder, n))}}
                               for n in names[start:start + wanted.get("limit", 100)]])


def form_file(kind, body):
    """The file of a form: what supabase-js sends of a Blob."""
    boundary = b"--" + re.search(r'boundary="?([^";]+)', kind)[1].encode()
    for part in body.split(boundary)[1:-1]:
        head, _, data = part[2:].partition(b"\r\n\r\n")
        if b"filename=" in head:
            found = re.search(rb"content-type: *([^\r\n]+)", head, re.IGNORECASE)
            return (found[1].decode() if found else "application/octet-stream"), data[:-2]
    raise ValueError("no file in the form")
