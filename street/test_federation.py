"""The wire between nodes, line by line: a sender and a receiver with the standard library alone, from the specification.

The node takes pushes at two places: the HTTP door, which tells them from CloudEvents by their signature, and the
listener of a group. Both are held to the same table.
"""

import hashlib
import hmac
import http.client
import http.server
import json
import socket
import ssl
import subprocess
import threading
import time

import pytest
from conftest import wait_for
from sites import ARRIVES_SECONDS_MAX, Site, document, moment, peer

SECRET = "0123456789abcdef0123456789abcdef"
LAB_SECRET = "the key of another group"
SITE_B_SECRET = "the key of site b alone"
VECTOR_TIME = 1748600000
VECTOR = (
    b'{"id":"evt-1","group":"cloudedge","sourceNode":"onprem","type":"routerd.client.ipv4.observed",'
    b'"subject":"10.88.60.9/32","dedupeKey":"evt-1","payload":{"address":"10.88.60.9/32","mac":"aa:bb:cc:dd:ee:ff"},'
    b'"observedAt":"2025-05-30T10:13:10Z","expiresAt":"2025-05-30T10:43:10Z"}'
)
VECTOR_SIGNATURE = "6fde03d99d8be7a39efbf1d168737c46675c8a48940354efd5c6d05fc7df585d"
BODY_BYTES_MAX = 1024 * 1024
ANSWER_SECONDS_MAX = 20


def sign(secret, timestamp, body):
    return hmac.new(secret.encode(), b"%d\n" % timestamp + body, hashlib.sha256).hexdigest()


def send(address, method, path, headers, body, context=None):
    """A request with these headers and no others but the length: status, content type and body."""
    host, port = address.rsplit(":", 1)
    kind = http.client.HTTPSConnection if context else http.client.HTTPConnection
    connection = kind(host, int(port), timeout=ANSWER_SECONDS_MAX, **({"context": context} if context else {}))
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Content-Type"), answer.read()
    finally:
        connection.close()


def push(address, body, secret=SECRET, offset=0, path="/v1/events", context=None, **changes):
    """A signed push; `changes` are headers to set, or to leave out where they are None."""
    timestamp = int(time.time()) + offset
    headers = {
        "Content-Type": "application/json",
        "X-Routerd-Timestamp": str(timestamp),
        "X-Routerd-Signature": sign(secret, timestamp, body),
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    headers = {name: value for name, value in headers.items() if value is not None}
    return send(address, "POST", path, headers, body, context)


def fact(identity, group="cloudedge", source="onprem", **fields):
    """A fact as it is pushed."""
    return json.dumps({
        "id": identity, "group": group, "sourceNode": source, "type": "street.observed",
        "observedAt": moment(), "expiresAt": moment(600), **fields,
    }).encode()


def taken(identity, duplicate=False):
    told = f'{{"accepted":true,"duplicate":{str(duplicate).lower()},"id":"{identity}"}}\n'
    return 200, "application/json", told.encode()


def refused(status, text):
    return status, "text/plain; charset=utf-8", text.encode() + b"\n"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Receiver:
    """Takes one fact a request, as the original does, and keeps every request as it came."""

    def __init__(self):
        self.requests, self.facts, self.behave = [], {}, None
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.requests.append((self.command, self.path, dict(self.headers.items()), body))
                status, headers, text = outer.answer(self.command, self.path, self.headers, body)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(text))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            do_POST = do_GET = do_OPTIONS = do_HEAD = handle_any

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = "127.0.0.1:%d" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, method, path, headers, body):
        if (method, path) != ("POST", "/v1/events"):
            return 404, {}, b"404 page not found\n"
        if self.behave:
            return self.behave(body)
        timestamp = int(headers["X-Routerd-Timestamp"])
        if headers["X-Routerd-Signature"] != sign(SECRET, timestamp, body):
            return 401, {}, b"bad signature\n"
        told = json.loads(body)
        duplicate, self.facts[told["id"]] = told["id"] in self.facts, told
        answer = {"accepted": True, "duplicate": duplicate, "id": told["id"]}
        return 200, {"Content-Type": "application/json"}, json.dumps(answer, separators=(",", ":")).encode() + b"\n"

    def pushes(self):
        return [request for request in self.requests if request[1] == "/v1/events"]

    def arrives(self, *identities):
        wait_for(lambda: set(identities) <= set(self.facts), ARRIVES_SECONDS_MAX, lambda: f"{self.facts}")

    def end(self):
        self.server.shutdown()
        self.server.server_close()


class Cloud(Site):
    """The node `cloud`, which takes facts of two groups, at its door and at a listener of the first."""

    def __init__(self, folder, **listen):
        super().__init__("cloud", folder)
        self.files = {}
        for name, secret in (("default", SECRET), ("lab", LAB_SECRET), ("site-b", SITE_B_SECRET), ("next", "next")):
            self.files[name] = folder / f"{name}.secret"
            self.files[name].write_text(secret + "\n")
        self.listener = f"127.0.0.1:{free_port()}"
        self.listen_spec = {"address": "127.0.0.1", "port": int(self.listener.split(":")[1]), **listen}
        self.accept("default", "site-b")
        self.declare(document("EventGroup", "lab", nodeName="cloud", auth={"secretFile": str(self.files["lab"])}))
        self.listens()

    def accept(self, *names, **auth):
        keys = [{"name": name, "secretFile": str(self.files[name])} for name in names]
        for key in keys:
            if key["name"] == "site-b":
                key["sourceNodes"] = ["site-b"]
        auth = {"keys": keys, "signingKey": names[0], **auth}
        self.declare(document("EventGroup", "cloudedge", nodeName="cloud", auth=auth, listen=self.listen_spec))

    def listens(self):
        def answers():
            try:
                socket.create_connection(self.listener.split(":"), timeout=1).close()
                return True
            except OSError:
                return False

        wait_for(answers, ARRIVES_SECONDS_MAX, lambda: f"nobody listens at {self.listener}:\n{self.tail()}")

    def ids(self):
        return sorted(self.facts("cloudedge"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One node for all who only push: they use ids of their own."""
    node = Cloud(tmp_path_factory.mktemp("federation"))
    yield node
    node.end()


@pytest.fixture(params=["door", "listener"])
def place(shared, request):
    """Where to push."""
    return shared.address if request.param == "door" else shared.listener


@pytest.fixture
def cloud(tmp_path):
    node = Cloud(tmp_path)
    yield node
    node.end()


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.end()


def test_the_worked_vector_is_old_and_fresh_when_signed_now(place, shared):
    assert sign(SECRET, VECTOR_TIME, VECTOR) == VECTOR_SIGNATURE
    old = {"X_Routerd_Timestamp": str(VECTOR_TIME), "X_Routerd_Signature": VECTOR_SIGNATURE}
    assert push(place, VECTOR, **old) == refused(403, "stale timestamp")
    # A fact that has expired is taken, and does not hold.
    answer = push(place, VECTOR)
    assert answer in (taken("evt-1"), taken("evt-1", True)), answer
    assert "evt-1" not in shared.facts("cloudedge")


def test_timestamps(place):
    for text in (None, "", "x", "1.5", "1e9", "99999999999999999999", f"{int(time.time())} 0"):
        # Without either header the door sees a CloudEvent, so the signature stays.
        answer = push(place, fact("never"), X_Routerd_Timestamp=text)
        assert answer == refused(400, "bad timestamp"), text
    for offset in (-330, 330, -(2**40), 2**62):
        assert push(place, fact("never"), offset=offset) == refused(403, "stale timestamp"), offset
        # Freshness is tested before the signature.
        assert push(place, fact("never"), "wrong", offset) == refused(403, "stale timestamp"), offset
    for number, offset in enumerate((-290, 290)):
        assert push(place, fact(f"fresh-{place}-{number}"), offset=offset) == taken(f"fresh-{place}-{number}")
    for prefix in ("+", "000"):
        body, now = fact(f"prefix-{place}-{prefix}"), int(time.time())
        answer = push(place, body, X_Routerd_Timestamp=f"{prefix}{now}", X_Routerd_Signature=sign(SECRET, now, body))
        assert answer == taken(f"prefix-{place}-{prefix}")


def test_signatures(place):
    body, now = fact("never"), int(time.time())
    right = sign(SECRET, now, body)
    wrong = (None, "", "0" * 64, right.upper(), right[:-1], right + "0", sign(SECRET, now + 1, body),
             sign(SECRET, now, body + b" "), sign("wrong", now, body), sign(SECRET + "\n", now, body))
    for signature in wrong:
        answer = push(place, body, X_Routerd_Timestamp=str(now), X_Routerd_Signature=signature)
        assert answer == refused(401, "bad signature"), signature


def test_bodies(place):
    for body in (b"", b"garbage", b"[]", b'"text"', b"{} {}", b'{"id":1}', fact("x") + b"x",
                 fact("x", payload={"a": 1}), fact("x", observedAt=""), fact("x", observedAt=5)):
        assert push(place, body) == refused(400, "bad event body"), body
    for body, missing in ((b"{}", "id"), (b'{"events":[]}', "id"), (b"null", "id"), (fact(" \t"), "id"),
                          (fact("x", group=""), "group"), (fact("x", type=" "), "type")):
        assert push(place, body) == refused(400, f"invalid event: federation event {missing} is required"), body


def test_what_go_would_read_is_read(place, shared):
    name = f"lenient-{place}"
    body = b'{"ID":"first","Id":"%s","GROUP":"cloudedge","type":" t ","unknown":[{}],"payload":{"a":null,"b":"\xff"}}'
    assert push(place, body % name.encode()) == taken(name)
    there = shared.facts("cloudedge")[name]
    assert (there["type"], there["payload"], there["dedupeKey"]) == ("t", {"a": "", "b": "\ufffd"}, name)
    assert "expiresAt" not in there and "sourceNode" not in there
    escaped = f"<{place}>&"
    told = json.dumps(escaped).translate({ord(c): "\\u%04x" % ord(c) for c in "<>&"})
    answer = push(place, fact(escaped))
    assert answer == (200, "application/json", b'{"accepted":true,"duplicate":false,"id":%s}\n' % told.encode())


def test_a_body_of_a_mebibyte_and_one_more_byte(place, shared):
    def sized(name, size):
        bare = fact(name, payload={"x": ""})
        return bare.replace(b'"x": ""', b'"x": "' + b"x" * (size - len(bare)) + b'"')

    whole, more = f"whole-{place}", f"more-{place}"
    assert push(place, sized(whole, BODY_BYTES_MAX)) == taken(whole)
    assert push(place, sized(more, BODY_BYTES_MAX + 1)) == refused(413, "body too large")
    assert push(place, sized(more, 3 * BODY_BYTES_MAX)) == refused(413, "body too large")
    assert len(shared.facts("cloudedge")[whole]["payload"]["x"]) > BODY_BYTES_MAX - 1000


def test_a_request_that_comes_again_is_a_duplicate(place, shared):
    name, body, now = f"again-{place}", fact(f"again-{place}"), int(time.time())
    request = {"X_Routerd_Timestamp": str(now), "X_Routerd_Signature": sign(SECRET, now, body)}
    assert push(place, body, **request) == taken(name)
    assert push(place, body, **request) == taken(name, True)
    assert push(place, body, offset=1) == taken(name, True)
    assert shared.recorded("cloudedge").count(name) == 1


def test_a_fact_taken_back_is_not_brought_back_by_a_replay(place, shared):
    name, body, now = f"back-{place}", fact(f"back-{place}", observedAt=moment(-60)), int(time.time())
    request = {"X_Routerd_Timestamp": str(now), "X_Routerd_Signature": sign(SECRET, now, body)}
    assert push(place, body, **request) == taken(name)
    assert shared.has(name, "cloudedge")
    back = fact(name, observedAt=moment(), expiresAt=moment(), withdrawn=True)
    assert push(place, back)[0] == 200
    wait_for(lambda: not shared.has(name, "cloudedge"), ARRIVES_SECONDS_MAX, lambda: str(shared.facts("cloudedge")))
    assert push(place, body, **request) == taken(name, True)
    assert not shared.has(name, "cloudedge")


def test_a_key_is_for_its_group_and_its_sources(shared):
    cases = [
        (shared.address, SECRET, fact("k1", "lab"), "foreign group"),
        (shared.listener, SECRET, fact("k1", "lab"), "foreign group"),
        (shared.address, LAB_SECRET, fact("k1"), "foreign group"),
        (shared.address, SECRET, fact("k1", source="cloud"), "own source"),
        (shared.listener, SECRET, fact("k1", source="cloud"), "own source"),
        (shared.address, SITE_B_SECRET, fact("k1", source="site-c"), "foreign source"),
        (shared.listener, SITE_B_SECRET, fact("k1", source="site-c"), "foreign source"),
        (shared.listener, SITE_B_SECRET, fact("k1", source=""), "foreign source"),
    ]
    for address, secret, body, why in cases:
        status, content, text = push(address, body, secret)
        assert (status, content) == (403, "text/plain; charset=utf-8") and text.startswith(why.encode()), (body, text)
    # The listener of a group does not know the keys of another.
    assert push(shared.listener, fact("k1", "lab"), LAB_SECRET) == refused(401, "bad signature")
    assert not shared.has("k1", "cloudedge") and not shared.has("k1", "lab")
    assert push(shared.address, fact("k2", "lab"), LAB_SECRET) == taken("k2")
    assert push(shared.listener, fact("k3", source="site-b"), SITE_B_SECRET) == taken("k3")
    # An id is of its group.
    assert push(shared.address, fact("k3", "lab"), LAB_SECRET) == taken("k3")


def test_other_methods_and_paths(shared):
    body = fact("never")
    for method in ("GET", "PUT", "DELETE", "OPTIONS"):
        assert send(shared.listener, method, "/v1/events", {}, body) == (405, None, b""), method
    for path in ("/", "/v1/events/", "/v1/status/", "/metrics", "/v1/streams"):
        assert push(shared.listener, body, path=path) == refused(404, "404 page not found"), path
    # Unsigned, it is no push: the listener says what is missing, the door takes it for a CloudEvent.
    assert send(shared.listener, "POST", "/v1/events", {}, body) == refused(400, "bad timestamp")
    status, content, _ = send(shared.address, "POST", "/v1/events", {"Content-Type": "application/json"}, body)
    assert 400 <= status < 500 and content == "application/problem+json"


def test_the_status_is_for_who_is_near_or_signs(shared):
    status, content, body = send(shared.listener, "GET", "/v1/status", {}, b"")
    assert (status, content) == (200, "application/json") and body.endswith(b"}\n")
    told = json.loads(body)
    fields = ["node", "group", "received", "duplicate", "rejected", "storedEvents", "replayWindowSeconds"]
    assert list(told) == fields
    assert (told["node"], told["group"], told["replayWindowSeconds"]) == ("cloud", "cloudedge", 300)
    push(shared.listener, fact("counted"))
    push(shared.listener, fact("counted"), "wrong")
    later = json.loads(send(shared.listener, "POST", "/v1/status", {}, b"")[2])
    assert later["received"] > told["received"] and later["rejected"] > told["rejected"]
    # Whoever asks for somebody else is not near, and signs.
    proxied = {"X-Forwarded-For": "192.0.2.1"}
    assert send(shared.listener, "GET", "/v1/status", proxied, b"") == refused(400, "bad timestamp")
    now = int(time.time())
    signed = {**proxied, "X-Routerd-Timestamp": str(now), "X-Routerd-Signature": sign(SECRET, now, b"")}
    assert send(shared.listener, "GET", "/v1/status", signed, b"")[0] == 200
    signed["X-Routerd-Signature"] = sign(LAB_SECRET, now, b"")
    assert send(shared.listener, "GET", "/v1/status", signed, b"") == refused(401, "bad signature")


def test_a_batch_is_answered_fact_by_fact(place, shared):
    names = [f"batch-{place}-{number}" for number in range(3)]
    lines = [fact(names[0]), fact(names[1], "lab"), b"garbage", fact(names[0]), fact(names[2])]
    status, content, body = push(place, b"\n".join(lines), path="/v1/federation/batch")
    assert (status, content) == (200, "application/json")
    results = json.loads(body)["results"]
    assert [each["id"] for each in results] == [names[0], names[1], "", names[0], names[2]]
    assert [each.get("status") for each in results] == [None, 403, 400, None, None]
    assert [each.get("duplicate") for each in results] == [False, None, None, True, False]
    assert {names[0], names[2]} <= set(shared.ids())
    assert push(place, b"{}", "wrong", path="/v1/federation/batch") == refused(401, "bad signature")
    too_large = push(place, b" " * (4 * BODY_BYTES_MAX + 1), path="/v1/federation/batch")
    assert too_large == refused(413, "body too large")


def test_a_key_is_rotated_under_traffic(cloud):
    stop, failures, sent = threading.Event(), [], {"default": 0, "next": 0}
    accepted = {"default"}

    def pushes():
        number = 0
        while not stop.is_set():
            for name in sorted(accepted):
                number += 1
                identity = f"rotated-{name}-{number}"
                secret = SECRET if name == "default" else name
                answer = push(cloud.listener, fact(identity), secret)
                if answer != taken(identity) and name in accepted:
                    failures.append((identity, answer))
                sent[name] += answer[0] == 200
            time.sleep(0.005)

    def more():
        before = dict(sent)
        wait_for(lambda: all(sent[name] >= before[name] + 5 for name in accepted), ARRIVES_SECONDS_MAX, lambda: f"{sent} {failures}")

    traffic = threading.Thread(target=pushes, daemon=True)
    traffic.start()
    more()
    assert push(cloud.listener, fact("early"), "next") == refused(401, "bad signature")
    cloud.accept("default", "next")
    wait_for(lambda: push(cloud.listener, fact("next"), "next")[0] == 200, ARRIVES_SECONDS_MAX, cloud.tail)
    accepted.add("next")
    more()
    accepted.remove("default")
    # What was begun with the old key ends before it goes.
    more()
    cloud.accept("next")
    wait_for(lambda: push(cloud.listener, fact("late"))[0] == 401, ARRIVES_SECONDS_MAX, cloud.tail)
    more()
    stop.set()
    traffic.join()
    assert not failures, failures[:3]
    assert push(cloud.address, fact("late")) == refused(401, "bad signature")


def test_what_is_pushed_is_the_originals_byte_for_byte(cloud, receiver):
    cloud.declare(peer("onprem", receiver.address + "/", "cloudedge"))
    observed, expires = moment(), moment(1800)
    cloud.ask("POST", "/v1/federation/cloudedge/events", json={
        "id": "evt-1", "type": "routerd.client.ipv4.observed", "subject": "10.88.60.9/32",
        "payload": {"mac": "aa:bb:cc:dd:ee:ff", "address": "10.88.60.9/32"}, "observedAt": observed, "ttl": "30m",
    }).raise_for_status()
    receiver.arrives("evt-1")
    command, path, headers, body = receiver.pushes()[0]
    expires = json.loads(body)["expiresAt"]
    expected = VECTOR.replace(b"onprem", b"cloud").replace(b"2025-05-30T10:13:10Z", observed.encode())
    expected = expected.replace(b"2025-05-30T10:43:10Z", expires.encode())
    assert body == expected
    assert (command, path) == ("POST", "/v1/events")
    assert headers["Content-Type"] == "application/json"
    assert headers["Content-Length"] == str(len(body)) and "Transfer-Encoding" not in headers
    assert headers["Host"] == receiver.address
    timestamp = headers["X-Routerd-Timestamp"]
    assert str(int(timestamp)) == timestamp and abs(int(timestamp) - time.time()) < 30
    assert headers["X-Routerd-Signature"] == sign(SECRET, int(timestamp), body)
    # Times that are not said are Go's zero time.
    cloud.ask("POST", "/v1/federation/cloudedge/events", json={"id": "<&>", "type": "t"}).raise_for_status()
    receiver.arrives("<&>")
    body = receiver.pushes()[-1][3]
    assert body.startswith(b'{"id":"\\u003c\\u0026\\u003e","group":"cloudedge","sourceNode":"cloud","type":"t",')
    assert body.endswith(b'"expiresAt":"0001-01-01T00:00:00Z"}')
    # One fact a request.
    assert all(not request[3].strip().count(b"\n") for request in receiver.pushes())


def test_a_redirect_is_no_delivery(cloud, receiver):
    elsewhere = Receiver()
    delivery = lambda identity: cloud.delivery(identity, "onprem", "cloudedge")
    cloud.declare(peer("onprem", receiver.address, "cloudedge"))
    for status in (302, 307, 308):
        location = {"Location": f"http://{elsewhere.address}/v1/events"}
        receiver.behave = lambda body, status=status: (status, location, b"")
        cloud.emit(f"to-{status}", "cloudedge")
        told = f"peer returned HTTP {status}"
        tried = lambda: told in delivery(f"to-{status}").get("lastError", "")
        wait_for(tried, ARRIVES_SECONDS_MAX, lambda: f"{delivery(f'to-{status}')}\n{cloud.tail()}")
        assert delivery(f"to-{status}")["status"] != "delivered"
        receiver.behave = None
        receiver.arrives(f"to-{status}")
        delivered = lambda: delivery(f"to-{status}")["status"] == "delivered"
        wait_for(delivered, ARRIVES_SECONDS_MAX, lambda: f"{delivery(f'to-{status}')}")
    assert elsewhere.requests == []
    elsewhere.end()


def test_a_longer_life_is_pushed_again_and_a_shorter_is_not(cloud, receiver):
    cloud.declare(peer("onprem", receiver.address, "cloudedge"))
    for ttl in ("600s", "900s"):
        cloud.emit("renewed", "cloudedge", ttl=ttl)
        expires = cloud.facts("cloudedge")["renewed"]["expiresAt"]
        come = lambda: receiver.facts.get("renewed", {}).get("expiresAt") == expires
        wait_for(come, ARRIVES_SECONDS_MAX, lambda: f"{receiver.facts} {expires}")
    cloud.emit("renewed", "cloudedge", ttl="60s")
    cloud.emit("after", "cloudedge")
    receiver.arrives("after")
    bodies = [json.loads(body) for *_, body in receiver.pushes()]
    renewed = [body["expiresAt"] for body in bodies if body["id"] == "renewed"]
    assert renewed[-1] == max(renewed) == cloud.facts("cloudedge")["renewed"]["expiresAt"]


def test_a_new_peer_gets_what_holds_and_what_it_wants(cloud, receiver):
    for number in range(50):
        cloud.emit(f"own-{number}", "cloudedge", type="wanted", subject=f"10.88.{number}.1/32")
    cloud.emit("of-another-type", "cloudedge", type="unwanted", subject="10.88.1.1/32")
    cloud.emit("of-another-subject", "cloudedge", type="wanted", subject="192.0.2.1/32")
    cloud.emit("short", "cloudedge", type="wanted", subject="10.88.2.1/32", ttl="1s")
    cloud.emit("taken-back", "cloudedge", type="wanted", subject="10.88.3.1/32")
    cloud.emit("taken-back", "cloudedge", type="wanted", withdrawn=True)
    assert push(cloud.listener, fact("foreign", type="wanted", subject="10.88.4.1/32")) == taken("foreign")
    wait_for(lambda: not cloud.has("short", "cloudedge"), ARRIVES_SECONDS_MAX, lambda: str(cloud.ids()))
    cloud.declare(peer("onprem", receiver.address, "cloudedge", types=["wanted"], subjectPrefixes=["10.88."]))
    own = {f"own-{number}" for number in range(50)}
    receiver.arrives(*own)
    cloud.emit("last", "cloudedge", type="wanted", subject="10.88.5.1/32")
    receiver.arrives("last")
    assert set(receiver.facts) - own - {"last"} <= {"taken-back"}
    if "taken-back" in receiver.facts:
        assert receiver.facts["taken-back"]["expiresAt"] <= moment(1)


def certificates(folder):
    """An authority, and certificates by it for the node and for a client."""
    def run(*arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    authority = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"]
    run("req", "-x509", *key, "-days", "2", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem", *authority)
    for name, extra in (("node", "subjectAltName=IP:127.0.0.1"), ("client", "subjectAltName=DNS:onprem")):
        run("req", *key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (folder / "extra").write_text(f"{extra}\nbasicConstraints=CA:FALSE\n")
        sign_it = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "extra"]
        run("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *sign_it)


def test_both_ends_show_certificates(tmp_path):
    certificates(tmp_path)
    path = lambda name: str(tmp_path / name)
    tls = {"certFile": path("node.pem"), "keyFile": path("node.key"), "clientCaFile": path("ca.pem")}
    node = Cloud(tmp_path, tls=tls)
    try:
        known = ssl.create_default_context(cafile=path("ca.pem"))
        with pytest.raises((ssl.SSLError, OSError)):
            push(node.listener, fact("unknown"), context=known)
        known.load_cert_chain(path("client.pem"), path("client.key"))
        assert push(node.listener, fact("known"), context=known) == taken("known")
        assert push(node.listener, fact("known"), "wrong", context=known) == refused(401, "bad signature")
        with pytest.raises((OSError, http.client.HTTPException)):
            push(node.listener, fact("plain"))
        # And as the one that pushes.
        outer = Receiver()
        served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        served.load_cert_chain(path("node.pem"), path("node.key"))
        served.load_verify_locations(path("ca.pem"))
        served.verify_mode = ssl.CERT_REQUIRED
        outer.server.socket = served.wrap_socket(outer.server.socket, server_side=True)
        spec = {"caFile": path("ca.pem"), "certFile": path("client.pem"), "keyFile": path("client.key")}
        told = peer("onprem", outer.address, "cloudedge", tls=spec)
        told["spec"]["endpoint"] = f"https://{outer.address}"
        node.declare(told)
        node.emit("over-tls", "cloudedge")
        outer.arrives("over-tls")
        # The wrong name is nobody's.
        told["spec"]["tls"]["serverName"] = "elsewhere.example"
        node.declare(told)
        node.emit("to-nobody", "cloudedge")
        complains = lambda: "certificate" in node.delivery("to-nobody", "onprem", "cloudedge").get("lastError", "")
        wait_for(complains, ARRIVES_SECONDS_MAX, lambda: f"{node.delivery('to-nobody', 'onprem', 'cloudedge')}")
        assert "to-nobody" not in outer.facts
        outer.end()
    finally:
        node.end()
