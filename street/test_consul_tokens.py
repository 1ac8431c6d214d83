"""The Consul door where tokens are in force: who may do what, and what becomes of streams when that changes."""

import hashlib
import json
import signal

import pytest
import requests
from catalogue import PATIENCE, Catalogue
from conftest import wait_for

WEB = ["catalog.dc1.web.>", "catalog.dc1.%kv.web", "catalog.dc1.%node.>", "catalog.dc1.%session.>"]


def token(name, patterns, admin=False):
    return {
        "name": name, "token_sha256": hashlib.sha256(name.encode()).hexdigest(),
        "publish": patterns, "read": patterns, "admin": admin,
    }


class Closed(Catalogue):
    """A node with tokens, whose own questions are those of its operator."""

    def __init__(self, folder):
        self.tokens = folder / "tokens.yaml"
        self.allow(token("operator", [">"], True), token("web", WEB))
        super().__init__(folder, "--tokens", str(self.tokens))

    def allow(self, *tokens):
        # JSON is YAML, too.
        self.tokens.write_text(json.dumps({"tokens": tokens}))

    def ask(self, method, path, door="consul", **options):
        options.setdefault("headers", {"X-Consul-Token": "operator", "Authorization": "Bearer operator"})
        return super().ask(method, path, door, **options)


@pytest.fixture
def closed(tmp_path):
    running = Closed(tmp_path)
    yield running
    running.kill()


def test_who_may_do_what(closed):
    closed.register("web", Port=1)
    closed.register("db", Port=2)
    assert closed.ask("GET", "/v1/health/service/web", headers={}).status_code in (401, 403)
    unknown = closed.ask("GET", "/v1/health/service/web", headers={"X-Consul-Token": "nobody"})
    assert (unknown.status_code, unknown.text) == (403, "ACL not found")
    for headers, query in [({"X-Consul-Token": "web"}, ""), ({"Authorization": "Bearer web"}, ""), ({}, "?token=web")]:
        answer = closed.ask("GET", f"/v1/health/service/web{query}", headers=headers)
        assert answer.status_code == 200 and len(answer.json()) == 1
    mine = {"X-Consul-Token": "web"}
    assert closed.ask("GET", "/v1/health/service/db", headers=mine).json() == []
    services = closed.ask("GET", "/v1/catalog/services", headers=mine)
    assert set(services.json()) <= {"web", "consul"} and "db" not in services.json()
    assert services.headers["X-Consul-Results-Filtered-By-ACLs"] == "true"
    assert set(closed.ask("GET", "/v1/catalog/services").json()) >= {"web", "db"}
    put = closed.ask("PUT", "/v1/agent/service/register", headers=mine, json={"Name": "web", "ID": "w2"})
    assert put.status_code == 200, put.text
    put = closed.ask("PUT", "/v1/agent/service/register", headers=mine, json={"Name": "db", "ID": "d2"})
    assert put.status_code == 403, put.text
    assert closed.ask("PUT", "/v1/kv/other", headers=mine, data="x").status_code == 403
    assert closed.ask("GET", "/v1/kv/other", headers=mine).status_code in (403, 404)


def test_a_token_that_goes_ends_its_streams(closed):
    closed.register("web", Port=1)
    headers = {"X-Consul-Token": "web", "Accept": "text/event-stream", "Accept-Encoding": "identity"}
    stream = closed.ask("GET", "/v1/health/service/web", headers=headers, stream=True)
    lines = stream.iter_lines(chunk_size=1, decode_unicode=True)
    assert any(line == "event: end" for line in lines)
    closed.allow(token("operator", [">"], True))
    closed.process.send_signal(signal.SIGHUP)
    gone = lambda: closed.ask("GET", "/v1/health/service/web", headers={"X-Consul-Token": "web"}).status_code == 403  # noqa: E731
    wait_for(gone, PATIENCE, lambda: "the token still works")
    # The stream ends: nothing of what follows is told.
    closed.register("web", Port=2)
    try:
        rest = list(lines)
    except requests.RequestException:
        rest = []
    assert not any('"Port":2' in line for line in rest)
