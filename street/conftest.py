"""A running node for the tests, on a free port, in a directory of its own."""

import json
import os
import pathlib
import subprocess
import time

import pytest
import requests

START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 30


class Node:
    """The binary, running."""

    def __init__(self, folder: pathlib.Path):
        self.binary = os.environ["TIDINGS_BINARY"]
        self.data = folder / "data"
        self.data.mkdir(exist_ok=True)
        self.log = folder / "node.log"
        self.process = None
        self.address = self.nats = self.websocket = None
        self.start()

    def start(self):
        ports = self.data / "ports.json"
        ports.unlink(missing_ok=True)
        # A client that comes back finds the node where it was.
        command = [self.binary, "serve", "--http", self.address or "127.0.0.1:0", "--data", str(self.data)]
        command += ["--nats", self.nats or "127.0.0.1:0", "--monitor", "127.0.0.1:0", "--hub", "off", "--consul", "off", "--dns", "off", "--slim", "off"]
        command += ["--nats-websocket", self.websocket or "127.0.0.1:0"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(lambda: self._ready(ports), START_SECONDS_MAX, lambda: f"not ready:\n{self.log.read_text()}")

    def _ready(self, ports):
        assert self.process.poll() is None, f"the node ended:\n{self.log.read_text()}"
        try:
            listening = json.loads(ports.read_text())
            doors = ("http", "nats", "websocket", "monitor")
            self.address, self.nats, self.websocket, self.monitor = (listening[door] for door in doors)
            return requests.get(self.url("/readyz"), timeout=5).status_code == 200
        except (FileNotFoundError, json.JSONDecodeError, requests.ConnectionError):
            return False

    def url(self, path=""):
        return f"http://{self.address}{path}"

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        assert self.process.wait(STOP_SECONDS_MAX) == 0, self.log.read_text()

    def run(self, *arguments, **options):
        """Runs a command of the binary against the node."""
        environment = {**os.environ, "TIDINGS_SERVER": self.url(), "NO_COLOR": "1"}
        options = {"capture_output": True, "text": True, "timeout": 120, "env": environment, **options}
        return subprocess.run([self.binary, *arguments], **options)

    def spawn(self, *arguments, stdout=subprocess.PIPE):
        """Starts a command of the binary against the node; its output is a pipe, or what is given."""
        environment = {**os.environ, "TIDINGS_SERVER": self.url(), "NO_COLOR": "1"}
        command = [self.binary, *arguments]
        return subprocess.Popen(command, stdout=stdout, stdin=subprocess.DEVNULL, text=True, env=environment)


def wait_for(condition, seconds_max, complaint):
    """Looks at a condition until it holds, and complains after a while."""
    end = time.monotonic() + seconds_max
    while not condition():
        assert time.monotonic() < end, complaint()
        time.sleep(0.01)


@pytest.fixture(scope="session")
def node(tmp_path_factory):
    """One node for all tests: they use sources, types and streams of their own."""
    running = Node(tmp_path_factory.mktemp("node"))
    yield running
    running.stop()


@pytest.fixture
def own_node(tmp_path):
    """A node for one test that kills it."""
    running = Node(tmp_path)
    yield running
    running.kill()


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    """A node with its Consul and DNS doors, for one file of tests: they use services and keys of their own."""
    # Its clients are needed by these tests alone.
    from catalogue import Catalogue

    running = Catalogue(tmp_path_factory.mktemp("catalogue"))
    yield running
    running.stop()


@pytest.fixture
def own_catalogue(tmp_path):
    """The same for one test that kills it."""
    from catalogue import Catalogue

    running = Catalogue(tmp_path)
    yield running
    running.kill()
