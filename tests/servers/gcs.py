"""A server of Google Cloud Storage's XML API for tests: one bucket, `weir`, in memory.

It speaks what the Rust crate `object_store` asks of Google and nothing else; what it does not know it
refuses with status 501 and says so. What it does is what Google documents below
https://cloud.google.com/storage/docs/xml-api (the pages `get-bucket-list`, `put-object*`, `post-object*`,
`get-object*`, `delete-object` and `reference-status`), `request-preconditions`, `multipart-uploads` and
`gcs429`. Where Google leaves itself a choice, this server takes the one that is harder on its client:

* pages of lists are short, as they may be at any time;
* an object that was changed less than a second ago is not changed again, whatever the request's
  conditions say: status 429. Google answers so when several writers want the same name.

Clients show a token that they sign themselves with a service account's key. The account is made at the
start and is the second word of the first line on standard output, as the JSON that Google hands out; the
first word is the port. The server ends when its standard input does. It needs `openssl`, to make a key.

Not like Google's: there is no CRC32C in `x-goog-hash`, nothing outlives the process, and there are no
object versions, access lists, encryption keys or further metadata.
"""

import base64
import binascii
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote_to_bytes
from xml.etree import ElementTree
from xml.sax.saxutils import escape

BUCKET = "weir"
PAGE_OBJECTS = 10  # Google's is 1,000 at most and may be shorter.
MAX_KEYS = 1000
BODY_MAX_BYTES = 256 << 20
NAME_MAX_BYTES = 1024
PART_MIN_BYTES = 5 << 20
PARTS_MAX = 10_000
CHANGES_APART_S = 1.0
SCOPES = {
    "https://www.googleapis.com/auth/cloud-platform",
    "https://www.googleapis.com/auth/devstorage.full_control",
    "https://www.googleapis.com/auth/devstorage.read_write",
}
XML = "<?xml version='1.0' encoding='UTF-8'?>"
NAMESPACE = "xmlns='http://doc.s3.amazonaws.com/2006-03-01'"


class Refused(Exception):
    """An answer that is an error: status, code and message of Google's list, and what was wrong."""

    def __init__(self, status, code, message, details="", headers=()):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.details, self.headers = details, dict(headers)

    def body(self):
        details = f"<Details>{escape(self.details)}</Details>" if self.details else ""
        return f"{XML}<Error><Code>{self.code}</Code><Message>{escape(self.message)}</Message>{details}</Error>"


def unknown(what):
    return Refused(501, "NotImplemented", "A header or query you provided requested a function that is "
                   "not implemented.", f"this test server does not know {what}")


def invalid(details):
    return Refused(400, "InvalidArgument", "Invalid argument.", details)


def precondition_failed(details):
    return Refused(412, "PreconditionFailed",
                   "At least one of the pre-conditions you specified did not hold.", details)


def no_such_key(name):
    return Refused(404, "NoSuchKey", "The specified key does not exist.", f"No such object: {BUCKET}/{name}")


def no_such_upload():
    return Refused(404, "NoSuchUpload", "The requested upload was not found.")


def quoted_md5(body):
    return f'"{hashlib.md5(body).hexdigest()}"'


@dataclass(frozen=True)
class Object:
    """An object as it lies. Its generation is the microsecond it was made in, or a later number."""

    body: bytes
    md5: bytes | None  # None if it was made of parts.
    content_type: str
    generation: int = 0

    @property
    def etag(self):
        if self.md5 is None:
            return f'"{base64.b64encode(self.generation.to_bytes(8, "big")).decode()}"'
        return f'"{self.md5.hex()}"'

    @property
    def updated_s(self):
        return self.generation / 1e6

    @property
    def updated(self):
        """As lists have it."""
        whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self.updated_s))
        return f"{whole}.{self.generation // 1000 % 1000:03}Z"

    def headers(self):
        headers = {
            "ETag": self.etag,
            "x-goog-generation": str(self.generation),
            "x-goog-metageneration": "1",
            "x-goog-stored-content-encoding": "identity",
            "x-goog-stored-content-length": str(len(self.body)),
            "x-goog-storage-class": "STANDARD",
        }
        if self.md5 is not None:
            headers["x-goog-hash"] = f"md5={base64.b64encode(self.md5).decode()}"
        return headers


@dataclass
class Upload:
    """A multipart upload that is under way."""

    name: str
    content_type: str
    parts: dict = field(default_factory=dict)


class Bucket:
    """The objects. Each method is one step for everybody else."""

    def __init__(self):
        self.lock = threading.Lock()
        self.objects, self.uploads, self.changed = {}, {}, {}
        self.generation = self.upload_number = 0

    def get(self, name):
        with self.lock:
            return self._get(name)

    def put(self, name, body, content_type, if_generation):
        new = Object(body, hashlib.md5(body).digest(), content_type)
        with self.lock:
            self._check_change(name, if_generation)
            return self._store(name, new)

    def delete(self, name):
        with self.lock:
            self._get(name)
            self._check_change(name, None)
            del self.objects[name]
            self.changed[name] = time.monotonic()

    def initiate(self, name, content_type):
        with self.lock:
            self.upload_number += 1
            upload_id = base64.urlsafe_b64encode(f"upload {self.upload_number}".encode()).decode()
            self.uploads[upload_id] = Upload(name, content_type)
            return upload_id

    def put_part(self, name, upload_id, number, body):
        with self.lock:
            self._upload(name, upload_id).parts[number] = body

    def abort(self, name, upload_id):
        with self.lock:
            self._upload(name, upload_id)
            del self.uploads[upload_id]

    def complete(self, name, upload_id, listed):
        """Makes an object of the parts listed, as pairs of number and ETag."""
        with self.lock:
            upload = self._upload(name, upload_id)
            numbers = [number for number, _ in listed]
            if numbers != sorted(set(numbers)):
                raise Refused(400, "InvalidPartOrder", "The list of parts was not in ascending order.")
            for number, etag in listed:
                if number not in upload.parts or quoted_md5(upload.parts[number]) != f'"{etag.strip(chr(34))}"':
                    raise Refused(400, "InvalidPart", "One or more of the specified parts could not be found.",
                                  f"part {number} with ETag {etag}")
            bodies = [upload.parts[number] for number in numbers]
            if any(len(body) < PART_MIN_BYTES for body in bodies[:-1]):
                raise Refused(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size.",
                              f"every part but the last has at least {PART_MIN_BYTES} bytes")
            self._check_change(name, None)
            del self.uploads[upload_id]
            return self._store(name, Object(b"".join(bodies), None, upload.content_type))

    def list(self, prefix, delimiter, after, max_keys):
        """A page: objects with their names, common prefixes, and the last name it covers if there are more."""
        with self.lock:
            names = sorted(name for name in self.objects if name.startswith(prefix) and name > after)
            page, prefixes, last = [], [], None
            for name in names:
                end = name.find(delimiter, len(prefix)) if delimiter else -1
                common = name[: end + len(delimiter)] if end >= 0 else None
                if common is None or prefixes[-1:] != [common]:
                    if len(page) + len(prefixes) == max_keys:
                        return page, prefixes, last
                    if common is None:
                        page.append((name, self.objects[name]))
                    else:
                        prefixes.append(common)
                last = name
            return page, prefixes, None

    def _get(self, name):
        if name not in self.objects:
            raise no_such_key(name)
        return self.objects[name]

    def _upload(self, name, upload_id):
        upload = self.uploads.get(upload_id)
        if upload is None or upload.name != name:
            raise no_such_upload()
        return upload

    def _check_change(self, name, if_generation):
        now = time.monotonic()
        if now - self.changed.get(name, -CHANGES_APART_S) < CHANGES_APART_S:
            raise Refused(429, "SlowDown", "The object exceeded the rate limit for object mutation operations "
                          "(create, update, and delete). Please reduce your request rate.", f"{BUCKET}/{name}")
        there = self.objects[name].generation if name in self.objects else 0
        if if_generation is not None and if_generation != there:
            raise precondition_failed(f"x-goog-if-generation-match is {if_generation}, the object has {there}")

    def _store(self, name, new):
        self.generation = max(self.generation + 1, time.time_ns() // 1000)
        stored = replace(new, generation=self.generation)
        self.objects[name] = stored
        now = time.monotonic()
        if len(self.changed) > 10_000:
            self.changed = {name: at for name, at in self.changed.items() if now - at < CHANGES_APART_S}
        self.changed[name] = now
        return stored


class Account:
    """A service account of its own, and whether a token is signed by it."""

    def __init__(self, base_url):
        key = openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
        modulus = openssl("rsa", "-noout", "-modulus", given=key).strip().removeprefix("Modulus=")
        self.modulus = int(modulus, 16)
        self.email, self.key_id, self.known = "weir@test.iam.gserviceaccount.com", "1", set()
        self.json = json.dumps({
            "type": "service_account",
            "client_email": self.email,
            "private_key_id": self.key_id,
            "private_key": key,
            "gcs_base_url": base_url,
        }, separators=(",", ":"))

    def check(self, authorization):
        if authorization in self.known:
            return
        try:
            word, token = (authorization or "").split(" ")
            header, claims, signature = token.split(".")
            signed = f"{header}.{claims}".encode()
            header, claims = (json.loads(unpadded(part)) for part in (header, claims))
            problem = self._problem(word, header, claims, signed, unpadded(signature))
        except (ValueError, KeyError, binascii.Error) as error:
            problem = f"the token cannot be read: {error}"
        if problem:
            raise Refused(401, "AuthenticationRequired", "Authentication required.", problem)
        self.known.add(authorization)

    def _problem(self, word, header, claims, signed, signature):
        # https://google.aip.dev/auth/4111; the signature is RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 8.2).
        digest = bytes.fromhex("3031300d060960864801650304020105000420") + hashlib.sha256(signed).digest()
        length = (self.modulus.bit_length() + 7) // 8
        expected = b"\x00\x01" + b"\xff" * (length - 3 - len(digest)) + b"\x00" + digest
        opened = pow(int.from_bytes(signature, "big"), 65537, self.modulus).to_bytes(length, "big")
        now = time.time()
        if word != "Bearer":
            return "no bearer token"
        if header["alg"] != "RS256" or header["kid"] != self.key_id or opened != expected:
            return "the signature is not of this account's key"
        if claims["iss"] != self.email or claims["sub"] != self.email:
            return "the token is of somebody else"
        if claims["scope"] not in SCOPES:
            return f"the scope {claims['scope']} does not cover writing"
        if not claims["iat"] <= now + 60 or not now < claims["exp"] <= claims["iat"] + 3600:
            return "the token is not of this hour"
        return None


def openssl(*arguments, given=""):
    return subprocess.run(["openssl", *arguments], input=given, capture_output=True, text=True, check=True).stdout


def unpadded(text):
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


class Handler(BaseHTTPRequestHandler):
    """One connection. The server has `bucket` and `account`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    # What has no meaning for an object, or is read where it belongs.
    HEADERS = {"accept", "accept-encoding", "authorization", "connection", "content-length", "content-type",
               "date", "expect", "host", "keep-alive", "user-agent"}

    def handle_request(self):
        try:
            body = self.read_body()
            self.server.account.check(self.headers.get("Authorization"))
            name, query = self.target()
            self.answer(*self.perform(name, query, body))
        except Refused as refused:
            headers = {"Content-Type": "application/xml; charset=UTF-8", **refused.headers}
            # There is no body when the resource is as the client knows it (RFC 9110, 15.4.5).
            self.answer(refused.status, headers, b"" if refused.status == 304 else refused.body().encode())

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_request

    def perform(self, name, query, body):
        """Status, headers and body of the answer."""
        if name is None:
            if self.command != "GET":
                raise unknown(f"{self.command} of a bucket")
            return self.list(query)
        if self.command in ("GET", "HEAD"):
            return self.get(name, query)
        if "uploads" in query or "uploadId" in query:
            return self.multipart(name, query, body)
        self.expect_query(query)
        if self.command == "PUT":
            self.expect_headers("x-goog-if-generation-match")
            made = self.bucket.put(name, body, self.content_type(), self.if_generation())
            return 200, made.headers(), b""
        if self.command == "DELETE":
            self.expect_headers()
            self.bucket.delete(name)
            return 204, {}, b""
        raise unknown(f"{self.command} of an object")

    def list(self, query):
        self.expect_headers()
        self.expect_query(query, "list-type", "prefix", "delimiter", "continuation-token", "start-after", "max-keys")
        if query.get("list-type") != "2":
            raise unknown("lists but those of list-type=2")
        wanted = number(query.get("max-keys", str(MAX_KEYS)), "max-keys")
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        token, start_after = query.get("continuation-token"), query.get("start-after", "")
        after = start_after if token is None else max(start_after, token_name(token))
        page = min(wanted, MAX_KEYS, PAGE_OBJECTS)
        objects, prefixes, last = self.bucket.list(prefix, delimiter, after, page)
        parts = [f"<Name>{BUCKET}</Name><Prefix>{escape(prefix)}</Prefix>"]
        for tag, value in (("Delimiter", delimiter), ("StartAfter", start_after), ("ContinuationToken", token)):
            parts.append(f"<{tag}>{escape(value)}</{tag}>" if value else "")
        parts.append(f"<MaxKeys>{wanted}</MaxKeys><KeyCount>{len(objects) + len(prefixes)}</KeyCount>")
        parts.append(f"<IsTruncated>{'false' if last is None else 'true'}</IsTruncated>")
        if last is not None:
            parts.append(f"<NextContinuationToken>{name_token(last)}</NextContinuationToken>")
        for name, stored in objects:
            parts.append(f"<Contents><Key>{escape(name)}</Key><Generation>{stored.generation}</Generation>"
                         f"<MetaGeneration>1</MetaGeneration><LastModified>{stored.updated}</LastModified>"
                         f"<ETag>{escape(stored.etag)}</ETag><Size>{len(stored.body)}</Size></Contents>")
        parts += [f"<CommonPrefixes><Prefix>{escape(common)}</Prefix></CommonPrefixes>" for common in prefixes]
        return xml(f"<ListBucketResult {NAMESPACE}>{''.join(parts)}</ListBucketResult>")

    def get(self, name, query):
        self.expect_headers("range", "if-match", "if-none-match", "x-goog-if-generation-match")
        self.expect_query(query, "generation")
        stored = self.bucket.get(name)
        if "generation" in query and number(query["generation"], "generation") != stored.generation:
            raise no_such_key(f"{name}#{query['generation']}")
        if self.if_generation() not in (None, stored.generation):
            raise precondition_failed(f"the object has generation {stored.generation}")
        if self.headers.get("If-Match", stored.etag) not in (stored.etag, "*"):
            raise precondition_failed(f"the object has ETag {stored.etag}")
        if self.headers.get("If-None-Match") in (stored.etag, "*"):
            raise Refused(304, "NotModified", "Not modified.", headers={"ETag": stored.etag})
        headers = {
            **stored.headers(),
            "Content-Type": stored.content_type,
            "Last-Modified": formatdate(stored.updated_s, usegmt=True),
            "Accept-Ranges": "bytes",
        }
        wanted = self.headers.get("Range")
        if wanted is None:
            return 200, headers, stored.body
        begin, end = byte_range(wanted, len(stored.body))
        headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(stored.body)}"
        return 206, headers, stored.body[begin:end]

    def multipart(self, name, query, body):
        self.expect_headers()  # "Preconditions are not supported."
        if self.command == "POST" and "uploads" in query:
            self.expect_query(query, "uploads")
            upload_id = self.bucket.initiate(name, self.content_type())
            return xml(f"<InitiateMultipartUploadResult {NAMESPACE}><Bucket>{BUCKET}</Bucket><Key>{escape(name)}</Key>"
                       f"<UploadId>{upload_id}</UploadId></InitiateMultipartUploadResult>")
        if self.command == "PUT":
            self.expect_query(query, "uploadId", "partNumber")
            part = number(query.get("partNumber", ""), "partNumber")
            if not 1 <= part <= PARTS_MAX:
                raise invalid(f"partNumber is not one of 1 to {PARTS_MAX}")
            self.bucket.put_part(name, query.get("uploadId", ""), part, body)
            return 200, {"ETag": quoted_md5(body)}, b""
        self.expect_query(query, "uploadId")
        if self.command == "DELETE":
            self.bucket.abort(name, query.get("uploadId", ""))
            return 204, {}, b""
        if self.command != "POST":
            raise unknown(f"{self.command} of an upload")
        made = self.bucket.complete(name, query.get("uploadId", ""), parts_of(body))
        status, headers, body = xml(f"<CompleteMultipartUploadResult {NAMESPACE}><Bucket>{BUCKET}</Bucket>"
                                    f"<Key>{escape(name)}</Key><ETag>{escape(made.etag)}</ETag>"
                                    "</CompleteMultipartUploadResult>")
        return status, {"x-goog-generation": str(made.generation), **headers}, body

    @property
    def bucket(self):
        return self.server.bucket

    def read_body(self):
        if "Transfer-Encoding" in self.headers:
            self.close_connection = True
            raise unknown("a body without Content-Length")
        length = self.headers.get("Content-Length")
        if length is None and self.command in ("PUT", "POST"):
            self.close_connection = True
            raise Refused(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
        try:
            length = number(length or "0", "Content-Length")
            if length > BODY_MAX_BYTES:
                raise Refused(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed object size.")
        except Refused:
            self.close_connection = True
            raise
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            raise Refused(400, "IncompleteBody", "The request ended before its body did.")
        return body

    def target(self):
        """The object's name, or none for the bucket; and the query."""
        path, _, query = self.path.partition("?")
        bucket, _, name = path.removeprefix("/").partition("/")
        if decode(bucket) != BUCKET:
            raise no_such_bucket(decode(bucket))
        name = decode(name)
        if len(name.encode()) > NAME_MAX_BYTES or "\r" in name or "\n" in name:
            raise Refused(400, "InvalidObjectName", "The specified object name is not valid.")
        try:
            pairs = parse_qsl(query, keep_blank_values=True, errors="strict")
        except ValueError:
            raise Refused(400, "InvalidURI", "Couldn't parse the specified URI.", "the query") from None
        if len(dict(pairs)) < len(pairs):
            raise invalid("a query parameter is there twice")
        return name or None, dict(pairs)

    def expect_headers(self, *known):
        for name in self.headers:
            if name.lower() not in self.HEADERS and name.lower() not in known:
                raise unknown(f"the header {name} of {self.command} {self.path}")

    def expect_query(self, query, *known):
        for name in query:
            if name not in known:
                raise unknown(f"the query parameter {name} of {self.command} {self.path}")

    def if_generation(self):
        wanted = self.headers.get("x-goog-if-generation-match")
        return None if wanted is None else number(wanted, "x-goog-if-generation-match")

    def content_type(self):
        return self.headers.get("Content-Type", "application/octet-stream")

    def answer(self, status, headers, body):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def xml(text):
    return 200, {"Content-Type": "application/xml; charset=UTF-8"}, (XML + text).encode()


def no_such_bucket(bucket):
    return Refused(404, "NoSuchBucket", "The specified bucket does not exist.", bucket)


def number(text, what):
    if not re.fullmatch("[0-9]{1,19}", text):
        raise invalid(f"{what} is not a number")
    return int(text)


def decode(text):
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise Refused(400, "InvalidURI", "Couldn't parse the specified URI.", "names are UTF-8") from None


def byte_range(header, length):
    """Begin and end of what a header `Range` asks for."""
    found = re.fullmatch("bytes=([0-9]{0,19})-([0-9]{0,19})", header)
    first, last = found.groups() if found else ("", "")
    if not first and not last:
        raise unknown(f"the range {header}")
    if first:
        begin, end = int(first), min(int(last) + 1 if last else length, length)
        if last and int(last) < begin:
            raise unknown(f"the range {header}")
    else:
        begin, end = max(length - int(last), 0), length
    if begin >= end:
        raise Refused(416, "InvalidRange", "The requested range cannot be satisfied.", header,
                      headers={"Content-Range": f"bytes */{length}"})
    return begin, end


def name_token(name):
    return base64.urlsafe_b64encode(name.encode()).decode()


def token_name(token):
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise invalid("continuation-token is none of ours") from None


def parts_of(body):
    """Pairs of number and ETag of a request to complete an upload."""
    malformed = Refused(400, "MalformedCompleteMultipartUploadRequest", "The XML you provided was not well formed.")
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        raise malformed from None
    parts = []
    for part in root:
        parts.append((number(part.findtext("PartNumber", ""), "PartNumber"), part.findtext("ETag", "")))
    if root.tag != "CompleteMultipartUpload" or not parts:
        raise malformed
    return parts


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    server = Server(("127.0.0.1", 0), Handler)
    port = server.server_address[1]
    server.bucket, server.account = Bucket(), Account(f"http://127.0.0.1:{port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(port, server.account.json, flush=True)
    sys.stdin.read()
    os._exit(0)


main()
