"""The examples that PyPI's `slim-bindings` brings, run as they are: two applications and groups, plain and encrypted
between their ends; against one node, across two domains, over WebSockets and over TLS; and its remote calls.
"""

import json
import os
import pathlib
import pty
import signal
import subprocess
import sys
import threading
import time

import pytest
from conftest import wait_for
from test_federation import certificates

pytest.importorskip("slim")
pytest.importorskip("prompt_toolkit")
from test_slim import Node  # noqa: E402
from test_slim_mesh import World  # noqa: E402

PATIENCE = 60
# Their own default is shorter than their library takes.
SECRET = "a-secret-that-all-of-a-group-share-of-more-than-32-bytes"
SCRIPTS = pathlib.Path(sys.executable).parent


class Example:
    """One of the scripts, at a terminal of its own, and what it has said."""

    def __init__(self, name, *arguments):
        self.name, self.said = name, ""
        self.terminal, inner = pty.openpty()
        environment = {**os.environ, "TERM": "dumb", "PYTHONUNBUFFERED": "1", "RUST_LOG": "off"}
        self.process = subprocess.Popen(
            [str(SCRIPTS / name), *arguments], stdin=inner, stdout=inner, stderr=inner, env=environment, close_fds=True
        )
        os.close(inner)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            while chunk := os.read(self.terminal, 4096):
                self.said += chunk.decode(errors="replace")
        except OSError:
            return

    def type(self, text):
        os.write(self.terminal, f"{text}\r".encode())

    def says(self, text, times=1):
        wait_for(lambda: self.said.count(text) >= times, PATIENCE, lambda: f"{self.name} says no {text!r}:\n{self.said}")

    def ends(self):
        self.process.wait(PATIENCE)
        assert self.process.returncode == 0, self.said

    def kill(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        os.close(self.terminal)


class Stage:
    """Nodes, and examples at them."""

    def __init__(self, folder):
        self.folder, self.running = folder, []

    def example(self, name, where, local, *arguments):
        given = ["--local", local, "--shared-secret", SECRET]
        given += ["--slim-config", str(where)] if isinstance(where, pathlib.Path) else ["--slim", where]
        running = Example(name, *given, *arguments)
        self.running.append(running)
        return running

    def config(self, **fields):
        """A file as the examples take it, for what their command line does not say."""
        path = self.folder / f"client-{len(list(self.folder.glob('client-*')))}.json"
        path.write_text(json.dumps(fields))
        return path

    def talk(self, near, far, mls):
        """One says something three times, the other answers each."""
        prefix = f"org/{'mls' if mls else 'plain'}"
        more = ["--enable-mls"] if mls else []
        bob = self.example("slim-bindings-p2p", far, f"{prefix}/bob", *more)
        bob.says("waiting for new session")
        # In another domain the name is known within a moment.
        time.sleep(2)
        message = ["--remote", f"{prefix}/bob", "--message", "hey there", "--iterations", "3"]
        alice = self.example("slim-bindings-p2p", near, f"{prefix}/alice", *message, *more)
        alice.says("hey there from", 3)
        alice.ends()
        assert "error" not in alice.said.lower(), alice.said
        bob.says("received: hey there", 3)

    def group(self, moderator, members, mls):
        """A moderator founds a group; each says something, which all others hear."""
        prefix = f"org/{'secret' if mls else 'open'}"
        more = ["--enable-mls"] if mls else []
        names = [f"{prefix}/member{number}" for number in range(len(members))]
        joined = [
            self.example("slim-bindings-group", where, name, *more) for where, name in zip(members, names, strict=True)
        ]
        for each in joined:
            each.says("Waiting for session")
        time.sleep(2)
        invites = [part for name in names for part in ("--invites", name)]
        chair = self.example("slim-bindings-group", moderator, f"{prefix}/chair", "--remote", f"{prefix}/room", *invites, *more)
        everyone = [*joined, chair]
        for each in everyone:
            each.says("Welcome to the group")
        for number, speaker in enumerate(everyone):
            speaker.type(f"line {number} of all")
            for each in everyone:
                if each is not speaker:
                    each.says(f"> line {number} of all")
            speaker.says("message received by", len(joined))
        chair.type("exit")
        chair.ends()

    def end(self):
        for each in self.running:
            each.kill()
        self.running.clear()


@pytest.fixture
def stage(tmp_path):
    stage = Stage(tmp_path)
    yield stage
    stage.end()


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    running = Node(tmp_path_factory.mktemp("examples"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    running = World(tmp_path_factory.mktemp("examples-mesh"))
    running.topology(links=[{"domain": "hub", "neighbors": ["a", "b"]}])
    running.reach("a", "b")
    yield running
    running.end()


both = pytest.mark.parametrize("mls", [False, True], ids=["plain", "mls"])


@both
def test_two_talk_at_one_node(stage, node, mls):
    stage.talk(node.url, node.url, mls)


@both
def test_a_group_talks_at_one_node(stage, node, mls):
    stage.group(node.url, [node.url, node.url], mls)


@both
def test_two_talk_across_domains(stage, world, mls):
    stage.talk(world.a.url, world.b.url, mls)


@both
def test_a_group_talks_across_domains(stage, world, mls):
    stage.group(world.hub.url, [world.a.url, world.b.url], mls)


@both
def test_two_talk_over_websockets(stage, node, mls):
    stage.talk(node.websocket, node.url, mls)
    stage.end()
    stage.talk(node.websocket, node.websocket, mls)


@both
def test_a_group_talks_over_websockets(stage, node, mls):
    stage.group(node.websocket, [node.url, node.websocket], mls)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """A node whose doors speak TLS."""
    folder = tmp_path_factory.mktemp("examples-tls")
    certificates(folder)
    given = ["--tls-cert", str(folder / "node.pem"), "--tls-key", str(folder / "node.key")]
    running = Sealed(folder, *given)
    yield running
    running.kill()


class Sealed(Node):
    """Its HTTP door speaks TLS too: it is ready when it says where it listens."""

    def _ready(self, ports):
        assert self.process.poll() is None, f"the node ended:\n{self.log.read_text()}"
        try:
            self.slim = json.loads(ports.read_text())["slim"]
            return True
        except (FileNotFoundError, json.JSONDecodeError):
            return False

    def config(self, stage, authority):
        tls = {"ca_source": {"type": "file", "path": str(self.data.parent / authority)}, "include_system_ca_certs_pool": False}
        return stage.config(endpoint=f"https://{self.slim}", tls=tls)


@both
def test_two_talk_over_tls(stage, sealed, mls):
    where = sealed.config(stage, "ca.pem")
    stage.talk(where, where, mls)


def test_a_group_talks_over_tls(stage, sealed):
    where = sealed.config(stage, "ca.pem")
    stage.group(where, [where, where], True)


def test_remote_calls_are_answered(stage, node):
    def run(name, *arguments):
        running = Example(name, "--server", node.url, *arguments)
        stage.running.append(running)
        return running

    for instance in ("server", "server1", "server2"):
        run("slim-bindings-simple-rpc-server", "--instance", instance).says("SLIM_RPC_SERVER_READY")
    time.sleep(1)
    client = run("slim-bindings-simple-rpc-client")
    client.says("SLIM_RPC_CLIENT_DONE")
    client.ends()
    assert "Stream Stream completed" in client.said and "Traceback" not in client.said, client.said
    group = run("slim-bindings-simple-rpc-client-group")
    group.says("SLIM_RPC_GROUP_CLIENT_DONE")
    group.ends()
    assert "Traceback" not in group.said, group.said
