"""A node and an original daemon of routerd, which is written here from the specification with the standard library."""

import hashlib
import hmac
import http.server
import json
import threading
import time

import pytest
import sites
from conftest import wait_for
from sites import ARRIVES_SECONDS_MAX, Site, envelope, group, peer

SECRET = "0123456789abcdef0123456789abcdef"
VECTOR = (
    '{"id":"evt-1","group":"cloudedge","sourceNode":"onprem","type":"routerd.client.ipv4.observed",'
    '"subject":"10.88.60.9/32","dedupeKey":"evt-1","payload":{"address":"10.88.60.9/32","mac":"aa:bb:cc:dd:ee:ff"},'
    '"observedAt":"2025-05-30T10:13:10Z","expiresAt":"2025-05-30T10:43:10Z"}'
)
WINDOW_SECONDS = 300


def sign(secret, timestamp, body):
    return hmac.new(secret.encode(), str(timestamp).encode() + b"\n" + body, hashlib.sha256).hexdigest()


def as_go_prints(fact):
    """A fact as the original's encoder writes it."""
    order = ("id", "group", "sourceNode", "type", "subject", "dedupeKey", "payload", "observedAt", "expiresAt")
    ordered = {name: fact[name] for name in order if name in fact}
    if "payload" in ordered:
        ordered["payload"] = dict(sorted(ordered["payload"].items()))
    text = json.dumps(ordered, separators=(",", ":"), ensure_ascii=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, "\\u%04x" % ord(letter))
    return text.encode()


class Original:
    """Receives one fact a request, as `routerd-eventd` does. What else it may do first is in `behaviours`."""

    def __init__(self):
        self.facts, self.bodies, self.paths, self.behaviours = {}, [], [], []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.paths.append(self.path)
                if self.path == "/v1/events" and outer.behaviours:
                    return outer.behaviours.pop(0)(self)
                self.answer(*outer.receive(self.path, self.headers, body))

            do_HEAD = do_OPTIONS = do_GET = lambda self: self.answer(404, b"404 page not found\n")

            def answer(self, status, body, **headers):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = "127.0.0.1:%d" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def receive(self, path, headers, body):
        if path != "/v1/events":
            return 404, b"404 page not found\n"
        try:
            timestamp = int(headers["X-Routerd-Timestamp"])
        except (TypeError, ValueError):
            return 400, b"bad timestamp\n"
        if abs(time.time() - timestamp) > WINDOW_SECONDS:
            return 403, b"stale timestamp\n"
        if headers["X-Routerd-Signature"] != sign(SECRET, timestamp, body):
            return 401, b"bad signature\n"
        fact = json.loads(body)
        duplicate = fact["id"] in self.facts
        self.facts[fact["id"]] = fact
        self.bodies.append(body)
        return 200, json.dumps({"accepted": True, "duplicate": duplicate, "id": fact["id"]}).encode() + b"\n"

    def arrives(self, identity):
        wait_for(lambda: identity in self.facts, ARRIVES_SECONDS_MAX, lambda: f"{identity}: {self.facts} {self.paths}")

    def end(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def pair(tmp_path):
    """A node, and an original that is its peer."""
    node, original = Site("node", tmp_path), Original()
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    node.declare(group("node", secret), peer("original", original.address))
    yield node, original
    node.end()
    original.end()


def test_the_signature_is_the_specifications():
    for secret, body, expected in [
        (SECRET, VECTOR, "6fde03d99d8be7a39efbf1d168737c46675c8a48940354efd5c6d05fc7df585d"),
        ("shared-key", '{"id":"evt-1","type":"routerd.client.ipv4.observed"}',
         "feaf85c8afb7fabd6ce806146c34e30f2088092f9a88a0a192ed3f9613dee5dc"),
        (SECRET, "", "4e0a881ae943a24e8a902ab0452ce3d214ad3012969faaeca2ad5ab4dd90b013"),
    ]:
        assert sign(secret, 1748600000, body.encode()) == expected
    assert as_go_prints(json.loads(VECTOR)) == VECTOR.encode()


@pytest.mark.timeout(60)
def test_an_original_receives_what_the_node_states(pair):
    node, original = pair
    node.emit("one", subject="<a>&b", payload={"z": "ä", "a": "1 < 2"}, dedupeKey="key")
    node.emit("two")
    for identity in ("one", "two"):
        original.arrives(identity)
    for body in original.bodies:
        assert body == as_go_prints(json.loads(body)), body
    one = original.facts["one"]
    assert (one["sourceNode"], one["group"], one["dedupeKey"]) == ("node", "sites", "key")
    assert one["payload"] == {"a": "1 < 2", "z": "ä"} and one["subject"] == "<a>&b"
    # A refresh is pushed again.
    before = original.facts["two"]["expiresAt"]
    node.emit("two", ttl="900s")
    wait_for(lambda: original.facts["two"]["expiresAt"] > before, ARRIVES_SECONDS_MAX, lambda: str(original.facts))
    # What takes no batches is not asked each time.
    assert len([path for path in original.paths if path != "/v1/events"]) <= 2, original.paths


@pytest.mark.timeout(60)
def test_an_original_that_misbehaves_loses_nothing(pair):
    node, original = pair
    node.emit("first")
    original.arrives("first")
    elsewhere = Original()

    def redirect(status):
        return lambda handler: handler.answer(status, b"", Location=f"http://{elsewhere.address}/v1/events")

    def closes(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"{")
        handler.close_connection = True

    def says_nothing(handler):
        handler.close_connection = True

    for number, behaviour in enumerate(
        [redirect(302), redirect(307), says_nothing, lambda handler: handler.answer(500, b"store error\n")]
    ):
        original.behaviours.append(behaviour)
        node.emit(f"after-{number}")
        original.arrives(f"after-{number}")
        assert node.delivery(f"after-{number}", "original")["attempts"] >= 1
    assert elsewhere.paths == [], "a redirect was followed"
    elsewhere.end()

    # Any 2xx is a delivery, slow or strange: the original's body is not read by its own sender.
    def slow(handler):
        time.sleep(1)
        handler.answer(200, b"{}")

    delivered = lambda identity: node.delivery(identity, "original").get("status") == "delivered"
    for identity, behaviour in [("slow", slow), ("garbage", lambda handler: handler.answer(204, b""))]:
        original.behaviours.append(behaviour)
        node.emit(identity)
        wait_for(lambda: delivered(identity), ARRIVES_SECONDS_MAX, lambda: str(node.delivery(identity, "original")))
    original.behaviours.append(closes)
    node.emit("cut off")
    wait_for(lambda: delivered("cut off"), ARRIVES_SECONDS_MAX, lambda: str(node.delivery("cut off", "original")))


@pytest.mark.timeout(60)
def test_the_node_receives_what_an_original_states(pair):
    node, _ = pair
    fact = envelope("from-original", source="original", payload={"b": "2", "a": "<1>"})
    answer = node.push(SECRET, as_go_prints(fact))
    assert (answer.status_code, answer.text) == (200, '{"accepted":true,"duplicate":false,"id":"from-original"}\n')
    there = node.facts()["from-original"]
    for name in ("id", "group", "sourceNode", "type", "subject", "dedupeKey", "payload"):
        assert there[name] == fact[name], name
    # No times: none.
    timeless = envelope("timeless", source="original", observedAt="0001-01-01T00:00:00Z",
                        expiresAt="0001-01-01T00:00:00Z")
    assert node.push(SECRET, as_go_prints(timeless)).status_code == 200
    assert "expiresAt" not in node.facts()["timeless"]
    # As lenient as the original.
    lenient = b'{"ID":"lenient","Group":"sites","TYPE":"x","unknown":1,"payload":{"a":null},"id":"lenient"}'
    assert node.push(SECRET, lenient).status_code == 200
    assert node.facts()["lenient"]["payload"] == {"a": ""}
    for body, text in [
        (b"[]", "bad event body\n"),
        (b'{"id":"x","group":"sites","type":"x"} x', "bad event body\n"),
        (b'{"id":"x","group":"sites","type":"x","payload":{"a":1}}', "bad event body\n"),
        (b'{"events":[]}', "invalid event: federation event id is required\n"),
    ]:
        answer = node.push(SECRET, body)
        assert (answer.status_code, answer.text) == (400, text), body
    assert sorted(node.facts()) == ["from-original", "lenient", "timeless"]
    assert sites.KIND in {each["type"] for each in node.facts().values()}
