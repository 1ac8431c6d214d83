"""A node with its Consul and DNS doors, and what the tests of both ask of it."""

import atexit
import contextlib
import json
import os
import shutil
import subprocess
import threading
import time

import consul
import pytest
import requests
from conftest import wait_for

START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 30
# What an exchange may take on a machine that is busy with other tests.
PATIENCE = 15
DOORS = ("http", "nats", "consul", "consul_grpc", "dns")


class Catalogue:
    """The binary, running with the doors of the catalogue on ports of their own."""

    def __init__(self, folder, *arguments, name="n1"):
        self.name, self.data, self.log = name, folder / "data", folder / "node.log"
        self.arguments = list(arguments)
        self.process = None
        self.doors = {door: "127.0.0.1:0" for door in DOORS}
        # A test that fails leaves nobody behind.
        atexit.register(self.kill)
        self.start()

    def start(self):
        ports = self.data / "ports.json"
        ports.unlink(missing_ok=True)
        command = [os.environ["TIDINGS_BINARY"], "serve", "--node", self.name, "--data", str(self.data)]
        command += ["--hub", "off", "--monitor", "off", "--slim", "off"]
        # Who comes back finds the node where it was.
        for door, address in self.doors.items():
            command += ["--" + door.replace("_", "-"), address]
        with self.log.open("ab") as log:
            command += self.arguments
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(lambda: self._ready(ports), START_SECONDS_MAX, lambda: f"not ready:\n{self.tail()}")

    def _ready(self, ports):
        assert self.process.poll() is None, f"the node ended:\n{self.tail()}"
        try:
            there = json.loads(ports.read_text())
            self.doors = {door: there[door] for door in DOORS}
            ready = requests.get(self.url("/readyz", "http"), timeout=5).status_code == 200
            return ready and self.ask("GET", "/v1/status/leader").status_code == 200
        except (FileNotFoundError, json.JSONDecodeError, requests.RequestException):
            return False

    def tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:]) if self.log.exists() else ""

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()

    def stop(self):
        self.process.terminate()
        assert self.process.wait(STOP_SECONDS_MAX) == 0, self.tail()

    def url(self, path="", door="consul"):
        return f"http://{self.doors[door]}{path}"

    def port(self, door):
        return int(self.doors[door].rsplit(":", 1)[1])

    def ask(self, method, path, door="consul", **options):
        """A request to the Consul door, or to the one that is named."""
        return requests.request(method, self.url(path, door), **{"timeout": PATIENCE, **options})

    def client(self):
        """A client by py-consul."""
        return consul.Consul(host="127.0.0.1", port=self.port("consul"))

    def register(self, service, **more):
        """Registers an instance of this node."""
        answer = self.ask("PUT", "/v1/agent/service/register", json={"Name": service, **more})
        assert (answer.status_code, answer.text) == (200, ""), answer.text

    def register_at(self, node, address, service, **more):
        """Registers an instance of another node, which passes."""
        body = {"Node": node, "Address": address, "Service": {"Service": service, **more}}
        identity = more.get("ID", service)
        body["Check"] = {"CheckID": f"alive:{identity}", "Status": "passing", "ServiceID": identity}
        answer = self.ask("PUT", "/v1/catalog/register", json=body)
        assert (answer.status_code, answer.text.strip()) == (200, "true"), answer.text

    def run(self, *arguments, **options):
        """Runs a command of the binary against the node."""
        own = {"TIDINGS_SERVER": self.url("", "http"), "CONSUL_HTTP_ADDR": self.url(), "NO_COLOR": "1"}
        options = {"capture_output": True, "text": True, "timeout": 60, "env": {**os.environ, **own}, **options}
        return subprocess.run([os.environ["TIDINGS_BINARY"], *arguments], **options)


def index_of(answer):
    return int(answer.headers["X-Consul-Index"])


@contextlib.contextmanager
def meanwhile(work, after=0.3):
    """Runs something in a moment, beside what blocks until then."""
    thread = threading.Thread(target=lambda: (time.sleep(after), work()))
    thread.start()
    yield
    thread.join()


def needed(program, package):
    """The path of a program, or why it is not here."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"there is no {program} here (on Debian: apt install {package})")
    return path
