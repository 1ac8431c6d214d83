"""Domains of a mesh: real processes, each in a network namespace of its own, joined by one switch whose cables can be
cut, delayed and restored; and listeners at every node that count what they hear.
"""

import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

import requests
from conftest import wait_for
from sites import Inside, ip, namespaces_refused

START_SECONDS_MAX = 60
REQUEST_SECONDS_MAX = 15
# What the mesh may take to come to rest on a machine that is busy with other tests.
SETTLE_SECONDS_MAX = 45
HTTP, NATS, MESH = 7070, 4222, 7200
NOWHERE = "02:00:00:00:00:01"

refused = namespaces_refused()


def document(kind, name, **spec):
    return {"apiVersion": "tidings.dev/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def links(**neighbors):
    """Rows of an adjacency list; `_` stands for `*`."""
    star = lambda name: "*" if name == "_" else name
    return [{"domain": star(domain), "neighbors": [star(name) for name in names]} for domain, names in neighbors.items()]


class Listener:
    """A NATS subscription at a node, and what it has heard."""

    def __init__(self, node, pattern, queue=""):
        self.node, self.heard = node, []
        with node.inside():
            self.socket = socket.create_connection(("127.0.0.1", node.nats_port), timeout=10)
        self.file = self.socket.makefile("rb")
        self.file.readline()
        self.socket.sendall(b'CONNECT {"verbose":false,"pedantic":false,"headers":false}\r\n')
        self.socket.sendall(f"SUB {pattern} {queue} 1\r\nPING\r\n".encode())
        self.socket.settimeout(None)
        self.ready = threading.Event()
        self.refused = None
        threading.Thread(target=self._read, daemon=True).start()
        assert self.ready.wait(10), f"{node.name} does not answer"

    def _read(self):
        try:
            while line := self.file.readline():
                word = line.split(b" ", 1)[0].strip()
                if word == b"MSG":
                    size = int(line.split()[-1])
                    self.heard.append(self.file.read(size + 2)[:-2].decode())
                elif word == b"PING":
                    self.socket.sendall(b"PONG\r\n")
                elif word == b"PONG":
                    self.ready.set()
                elif word == b"-ERR":
                    self.refused = line.decode()
        except OSError:
            return

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()


class Node:
    """A process in a namespace of its own."""

    def __init__(self, world, number, domain, name, controller=False, external=True):
        self.world, self.domain, self.name, self.id = world, domain, name, f"{domain}/{name}"
        self.ip, self.namespace = f"10.232.0.{number}", f"tm{os.getpid()}-{name}"[:15]
        self.card = f"v{os.getpid() % 100000}-{number}"
        self.controller, self.external, self.nats_port = controller, external, NATS
        self.folder = world.folder / name
        self.folder.mkdir()
        self.data, self.log, self.process = self.folder / "data", self.folder / "node.log", None
        ip("netns", "add", self.namespace)
        ip("-n", self.namespace, "link", "set", "lo", "up")
        ip("-n", world.switch, "link", "add", self.card, "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        ip("-n", world.switch, "link", "set", self.card, "master", "br0", "up")
        ip("-n", self.namespace, "address", "add", f"{self.ip}/24", "dev", "eth0")
        ip("-n", self.namespace, "link", "set", "eth0", "up")

    def start(self, secret=None):
        command = ["ip", "netns", "exec", self.namespace, os.environ["TIDINGS_BINARY"], "serve"]
        command += ["--node", self.name, "--data", str(self.data), "--open", "--http", f"0.0.0.0:{HTTP}"]
        command += ["--nats", f"0.0.0.0:{NATS}", "--hub", "off", "--consul", "off", "--dns", "off", "--slim", "off"]
        command += ["--mesh", f"0.0.0.0:{MESH}", "--domain", self.domain, "--mesh-advertise", f"{self.ip}:{MESH}"]
        command += ["--domain-secret-file", str(secret or self.world.secret(self.domain))]
        command += ["--mesh-external", f"{self.ip}:{MESH}"] if self.external else []
        command += ["--controller"] if self.controller else []
        for each in self.world.nodes.values():
            if each.controller and each is not self:
                command += ["--join", f"{each.ip}:{MESH}"]
        (self.data / "ports.json").unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def await_ready(self):
        wait_for(self._ready, START_SECONDS_MAX, lambda: f"{self.name} is not ready:\n{self.tail()}")

    def _ready(self):
        assert self.process.poll() is None, f"{self.name} ended:\n{self.tail()}"
        try:
            return self.ask("GET", "/readyz").status_code == 200
        except requests.RequestException:
            return False

    def inside(self):
        return Inside(self.namespace)

    def ask(self, method, path, **options):
        with self.inside():
            url = f"http://127.0.0.1:{HTTP}{path}"
            return requests.request(method, url, timeout=REQUEST_SECONDS_MAX, **options)

    def get(self, path, **query):
        answer = self.ask("GET", path, params=query)
        assert answer.status_code == 200, (path, answer.status_code, answer.text, self.tail())
        return answer.json()

    def run(self, *arguments, **options):
        """A command of the binary against the node."""
        command = ["ip", "netns", "exec", self.namespace, os.environ["TIDINGS_BINARY"], *arguments]
        environment = {**os.environ, "TIDINGS_SERVER": f"http://127.0.0.1:{HTTP}", "NO_COLOR": "1"}
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, **options)

    def apply(self, *documents):
        return self.ask("POST", "/v1/resources", json={"resources": list(documents)})

    def declare(self, *documents):
        answer = self.apply(*documents)
        assert answer.status_code == 200, answer.text

    def remove(self, kind, name):
        answer = self.ask("DELETE", f"/v1/resources/{kind}/{name}")
        assert answer.status_code in (200, 204), answer.text

    def publish(self, subject, text):
        answer = self.ask("POST", f"/v1/publish/{subject}", data=text.encode())
        assert answer.status_code in (200, 201, 202, 204, 404), (answer.status_code, answer.text)

    def listen(self, pattern, queue=""):
        listener = Listener(self, pattern, queue)
        self.world.listeners.append(listener)
        return listener

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        assert self.process.wait(START_SECONDS_MAX) == 0, self.tail()

    def hang(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def cut(self, other):
        """What either sends to the other vanishes."""
        for near, far in ((self, other), (other, self)):
            entry = ["neigh", "replace", far.ip, "lladdr", NOWHERE, "dev", "eth0", "nud", "permanent"]
            ip("-n", near.namespace, *entry)

    def heal(self, other):
        for near, far in ((self, other), (other, self)):
            ip("-n", near.namespace, "neigh", "del", far.ip, "dev", "eth0")

    def unplug(self):
        ip("-n", self.world.switch, "link", "set", self.card, "down")

    def plug(self):
        ip("-n", self.world.switch, "link", "set", self.card, "up")

    def tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-25:]) if self.log.exists() else ""

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        subprocess.run(["ip", "netns", "del", self.namespace], capture_output=True)


class World:
    """Domains and their nodes; the first node is the controller."""

    def __init__(self, folder: pathlib.Path, domains, controllers=1, internal=()):
        self.folder, self.nodes, self.listeners = folder, {}, []
        self.switch = f"tm{os.getpid()}-switch"[:15]
        ip("netns", "add", self.switch)
        try:
            ip("-n", self.switch, "link", "add", "br0", "type", "bridge")
            ip("-n", self.switch, "link", "set", "br0", "up")
            number = 0
            for domain, names in domains.items():
                for name in names:
                    number += 1
                    controller = number <= controllers
                    self.nodes[name] = Node(self, number, domain, name, controller, name not in internal)
            self.domains = list(domains)
            self.leader = next(iter(self.nodes.values()))
            for node in self.nodes.values():
                node.start()
            self.leader.await_ready()
            others = [domain for domain in self.domains if domain != self.leader.domain]
            self.leader.declare(*(document("Domain", name, secretFile=str(self.secret(name))) for name in others))
            for node in self.nodes.values():
                node.await_ready()
            self.await_nodes(self.nodes)
        except BaseException:
            self.end()
            raise

    def secret(self, domain):
        path = self.folder / f"{domain}.secret"
        if not path.exists():
            path.write_text(f"{domain}-secret-of-the-domain-0123456789abcdef\n")
            path.chmod(0o600)
        return path

    def __getattr__(self, name):
        try:
            return self.__dict__["nodes"][name]
        except KeyError:
            raise AttributeError(name) from None

    def told(self):
        """The logs of all nodes, for a complaint."""
        return "\n".join(f"--- {node.id}\n{node.tail()}" for node in self.nodes.values())

    def await_nodes(self, names):
        """Waits until these are connected, and have the newest plan."""
        wanted = {self.nodes[name].id for name in names}

        def there():
            listed = self.leader.get("/v1/mesh/nodes")["nodes"]
            return {each["id"] for each in listed if each["state"] == "connected" and not each.get("wanted")} >= wanted

        wait_for(there, SETTLE_SECONDS_MAX, lambda: f"{wanted} are not all there:\n{self.leader.get('/v1/mesh/nodes')}\n{self.told()}")

    def await_links(self, *pairs):
        """Waits until exactly these pairs of domains are linked, and all links between peers are up."""
        wanted = {frozenset(pair) for pair in pairs}

        def linked():
            listed = self.leader.get("/v1/mesh/links")["links"]
            remote = [each for each in listed if each["kind"] == "remote"]
            ends = {frozenset((each["from"].split("/")[0], each["to"].split("/")[0])) for each in remote if each.get("serves")}
            return ends == wanted and all(each["state"] == "applied" for each in listed)

        wait_for(linked, SETTLE_SECONDS_MAX, lambda: f"not linked as {pairs}:\n{json.dumps(self.leader.get('/v1/mesh/links'), indent=1)}\n{self.told()}")

    def reached(self, node, subject="street.ping", seconds=0.6, listeners=None):
        """Which nodes hear what is published at a node; whoever hears it twice is told of."""
        listeners = listeners if listeners is not None else self.hearing
        text = f"{node.id}-{time.monotonic_ns()}"
        node.publish(subject, text)
        time.sleep(seconds)
        counts = {name: listener.heard.count(text) for name, listener in listeners.items()}
        assert all(count <= 1 for count in counts.values()), (text, counts)
        return {name for name, count in counts.items() if count}

    def listen_everywhere(self, pattern="street.>"):
        self.hearing = {name: node.listen(pattern) for name, node in self.nodes.items() if node.process.poll() is None}

    def await_reach(self, node, expected, seconds_max=SETTLE_SECONDS_MAX):
        """Waits until a message of a node comes to exactly these nodes, and never to one twice."""
        last = []

        def as_expected():
            last[:] = [self.reached(node)]
            return last[0] == set(expected)

        wait_for(as_expected, seconds_max, lambda: f"{node.id} reaches {last}, not {sorted(expected)}:\n{self.told()}")

    def end(self):
        for listener in self.listeners:
            listener.close()
        for node in self.nodes.values():
            node.end()
        subprocess.run(["ip", "netns", "del", self.switch], capture_output=True)
