"""Two controllers on one engine: one leads, the other says so; what is applied at either holds at both; and when the one
that leads is killed the other does, while messages go on.
"""

import os
import subprocess
import time

import pytest
import requests
from conftest import wait_for
from test_cluster import free_ports, server_binary

WAIT_SECONDS_MAX = 60


def document(kind, name, **spec):
    return {"apiVersion": "tidings.dev/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


class Node:
    """A node on the loopback, with ports that stay."""

    def __init__(self, folder, domain, name, *more):
        self.name, self.folder, self.process = name, folder / name, None
        self.folder.mkdir()
        self.http, self.mesh = free_ports(2)
        self.external, self.nats = f"127.0.0.1:{self.mesh}", "off"
        secret = folder / f"{domain}.secret"
        secret.write_text(f"{domain}-secret-of-the-domain-0123456789abcdef\n")
        self.domain, self.secret, self.more = domain, secret, list(more)

    def start(self, *joins):
        command = [os.environ["TIDINGS_BINARY"], "serve", "--node", self.name, "--data", str(self.folder / "data")]
        command += ["--http", f"127.0.0.1:{self.http}", "--nats", self.nats, "--hub", "off", "--consul", "off", "--dns", "off"]
        command += ["--slim", "off", "--mesh", f"127.0.0.1:{self.mesh}"]
        command += ["--mesh-external", self.external] if self.external else []
        command += ["--domain", self.domain, "--domain-secret-file", str(self.secret), *self.more]
        for each in joins:
            command += ["--join", each if isinstance(each, str) else f"127.0.0.1:{each.mesh}"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(self._ready, WAIT_SECONDS_MAX, self.tail)

    def _ready(self):
        assert self.process.poll() is None, self.tail()
        try:
            return requests.get(self.url("/readyz"), timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def url(self, path):
        return f"http://127.0.0.1:{self.http}{path}"

    def get(self, path):
        answer = requests.get(self.url(path), timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def apply(self, *documents):
        answer = requests.post(self.url("/v1/resources"), json={"resources": list(documents)}, timeout=20)
        assert answer.status_code == 200, answer.text

    def leads(self):
        try:
            return self.get("/v1/mesh/nodes").get("scope") == "mesh"
        except (requests.RequestException, AssertionError):
            return False

    def connected(self):
        return {each["id"] for each in self.get("/v1/mesh/nodes")["nodes"] if each["state"] == "connected"}

    def tail(self):
        return f"--- {self.name}\n" + "\n".join((self.folder / "log").read_text().splitlines()[-30:])

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def parts(tmp_path):
    (port,) = free_ports(1)
    config = tmp_path / "nats.conf"
    config.write_text(f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{tmp_path}/jetstream" }}\n')
    with (tmp_path / "nats.log").open("ab") as log:
        server = subprocess.Popen([server_binary(), "-c", str(config)], stdout=log, stderr=log)
    engine = ["--engine", f"nats://127.0.0.1:{port}", "--controller"]
    nodes = [Node(tmp_path, "hub", "h1", *engine), Node(tmp_path, "hub", "h2", *engine), Node(tmp_path, "a", "a1")]
    yield nodes
    for node in nodes:
        node.end()
    server.kill()
    server.wait()


def test_when_the_controller_that_leads_is_killed_the_other_does(parts):
    one, two, node = parts
    told = lambda: "\n".join(each.tail() for each in parts)
    time.sleep(1)
    one.start()
    two.start(one)
    wait_for(lambda: one.leads() or two.leads(), WAIT_SECONDS_MAX, told)
    leader, other = (one, two) if one.leads() else (two, one)
    assert not other.leads()
    # What is applied at one that does not lead holds at the one that does.
    other.apply(document("Domain", "a", secretFile=str(node.secret)))
    other.apply(document("Segment", "default", links=[{"domain": "hub", "neighbors": ["a"]}]))
    node.start(other, leader)
    wait_for(lambda: leader.connected() == {"hub/h1", "hub/h2", "a/a1"}, WAIT_SECONDS_MAX, told)
    linked = lambda at: any(
        each["kind"] == "remote" and each["state"] == "applied" for each in at.get("/v1/mesh/links")["links"]
    )
    wait_for(lambda: linked(leader), WAIT_SECONDS_MAX, told)
    before = int(leader.get("/v1/mesh/nodes")["nodes"][0]["plan"].split(".")[0])
    leader.end()
    began = time.monotonic()
    wait_for(other.leads, WAIT_SECONDS_MAX, told)
    assert time.monotonic() - began < 20, told()
    gone = f"hub/{leader.name}"
    wait_for(lambda: other.connected() == {"hub/h1", "hub/h2", "a/a1"} - {gone}, WAIT_SECONDS_MAX, told)
    wait_for(lambda: linked(other), WAIT_SECONDS_MAX, told)
    epochs = lambda: [
        int(each["plan"].split(".")[0]) for each in other.get("/v1/mesh/nodes")["nodes"] if each["id"] != gone
    ]
    # No plan of the old one is taken any more.
    wait_for(lambda: all(epoch > before for epoch in epochs()), WAIT_SECONDS_MAX, lambda: f"{epochs()} {before}\n{told()}")
    leader.start(other)
    wait_for(lambda: other.connected() == {"hub/h1", "hub/h2", "a/a1"}, WAIT_SECONDS_MAX, told)
    assert other.leads() and not leader.leads()
