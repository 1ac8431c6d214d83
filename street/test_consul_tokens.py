"""The Consul door where tokens are in force: who may do what, and what becomes of streams when that changes."""

import hashlib
import json
import signal
import subprocess

import pytest
import requests
from catalogue import PATIENCE, Catalogue, needed
from conftest import wait_for

WEB = ["catalog.dc1.web.>", "catalog.dc1.%kv.web", "catalog.dc1.%node.>", "catalog.dc1.%session.>"]


def token(name, patterns, admin=False):
    return {
        "name": name, "token_sha256": hashlib.sha256(name.encode()).hexdigest(),
        "publish": patterns, "read": patterns, "admin": admin,
    }


class Closed(Catalogue):
    """A node with tokens, whose own questions are those of its operator."""

    def __init__(self, folder, *arguments):
        self.tokens = folder / "tokens.yaml"
        self.allow(token("operator", [">"], True), token("web", WEB))
        super().__init__(folder, "--tokens", str(self.tokens), *arguments)

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


def test_dns_asks_in_the_name_of_its_token_and_answers_are_kept_as_a_file_says(tmp_path):
    program = needed("dig", "dnsutils")
    secret, config = tmp_path / "dns.token", tmp_path / "tidings.yaml"
    secret.write_text("web\nthe token of the resolvers\n")
    # Beside the file that names it.
    told = {"token_file": "dns.token", "node_ttl": "3s", "service_ttl": {"web": "10s", "w*": "5s", "*": "1s"}}
    config.write_text(json.dumps({"dns": told}))
    running = Closed(tmp_path, "--config", str(config))

    def answers(name):
        command = [program, "@127.0.0.1", "-p", str(running.port("dns")), name, "A", "+noall", "+answer", "+time=5"]
        lines = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.splitlines()
        return [(line.split()[1], line.split()[4]) for line in lines]

    try:
        for service in ("web", "db"):
            running.register(service, Address="10.0.0.1", Port=1)
        wait_for(lambda: answers("web.service.consul") == [("10", "10.0.0.1")], PATIENCE, lambda: answers("web.service.consul"))
        assert answers("db.service.consul") == [], "the token may not read it"
        assert [ttl for ttl, _ in answers(f"{running.name}.node.consul")] == ["3"]
        running.stop()
        told["service_ttl"] = {"we*": "5s", "*": "1s"}
        config.write_text(json.dumps({"dns": told}))
        running.start()
        assert answers("web.service.consul") == [("5", "10.0.0.1")]
        running.stop()
        secret.write_text("\nweb\n")
        with pytest.raises(AssertionError, match="dns.token_file"):
            running.start()
    finally:
        running.kill()
