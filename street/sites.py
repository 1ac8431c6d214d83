"""Sites that tell each other facts: real processes, and links between them that can be cut, delayed and restored.

A link is a TCP proxy on the loopback, or, where network namespaces are permitted, a pair of virtual cards whose
packets vanish while it is cut.
"""

import contextlib
import ctypes
import hashlib
import hmac
import itertools
import json
import os
import pathlib
import queue
import random
import socket
import subprocess
import threading
import time

import requests
from conftest import wait_for

START_SECONDS_MAX = 30
STOP_SECONDS_MAX = 30
REQUEST_SECONDS_MAX = 10
# What an exchange between nodes may take on a machine that is busy with other tests.
ARRIVES_SECONDS_MAX = 20
KIND = "street.address.observed"
CLONE_NEWNET = 0x40000000
# A hardware address that no card has: what is sent to it vanishes.
NOWHERE = "02:00:00:00:00:01"


class Proxy:
    """A link through this process."""

    def __init__(self, target):
        """Leads to what `target()` says at the time of each connection."""
        self.target, self.mode, self.open = target, "whole", []
        self.delay(0.0)
        self.changed = threading.Condition()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, closed=False):
        """Holds every byte and says nothing; or closes every connection."""
        self._turn("closed" if closed else "silent")

    def heal(self):
        self.delay(0.0)
        self._turn("whole")

    def delay(self, seconds, jitter=0.0, rate=None):
        """Bytes come so much later, and by up to so much more, in their order; at most so many a second each way."""
        self.seconds, self.jitter, self.rate = seconds, jitter, rate

    def _turn(self, mode):
        with self.changed:
            self.mode = mode
            ends, self.open = (self.open, []) if mode in ("closed", "over") else ([], self.open)
            self.changed.notify_all()
        for end in ends:
            close(end)

    def _passes(self):
        with self.changed:
            self.changed.wait_for(lambda: self.mode != "silent")
            return self.mode == "whole"

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near):
        try:
            if not self._passes():
                raise OSError("cut")
            host, port = self.target().split(":")
            far = socket.create_connection((host, int(port)))
        except (OSError, AttributeError):
            close(near)
            return
        with self.changed:
            self.open += [near, far]
        threading.Thread(target=self._pass_on, args=(near, far), daemon=True).start()
        self._pass_on(far, near)

    def _pass_on(self, source, sink):
        line = queue.SimpleQueue()
        threading.Thread(target=self._put_out, args=(line, source, sink), daemon=True).start()
        due = 0.0
        with contextlib.suppress(OSError):
            while chunk := source.recv(min(65536, self.rate // 50) if self.rate else 65536):
                due = max(due, time.monotonic() + self.seconds + random.uniform(0.0, self.jitter))
                due += len(chunk) / self.rate if self.rate else 0.0
                line.put((due, chunk))
                if self.rate:
                    # Who sends more than that waits.
                    time.sleep(max(0.0, due - self.seconds - self.jitter - time.monotonic()))
        line.put((0.0, b""))

    def _put_out(self, line, source, sink):
        with contextlib.suppress(OSError):
            while True:
                due, chunk = line.get()
                time.sleep(max(0.0, due - time.monotonic()))
                if not chunk or not self._passes():
                    break
                sink.sendall(chunk)
        close(source)
        close(sink)

    def end(self):
        self._turn("over")
        close(self.listener)


def close(end):
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


class Card:
    """A link through a pair of virtual cards, as its sender sees it."""

    def __init__(self, namespace, device, there, port):
        self.namespace, self.device, self.there = namespace, device, there
        self.address = f"{there}:{port}"

    def cut(self, closed=False):
        """What is sent vanishes. A card cannot close connections."""
        entry = ["neigh", "replace", self.there, "lladdr", NOWHERE, "dev", self.device, "nud", "permanent"]
        ip("-n", self.namespace, *entry)

    def heal(self):
        ip("-n", self.namespace, "neigh", "del", self.there, "dev", self.device)

    def end(self):
        pass


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Inside:
    """This thread, inside a network namespace."""

    libc = ctypes.CDLL(None, use_errno=True)

    def __init__(self, name):
        self.path = f"/run/netns/{name}"

    def __enter__(self):
        self.before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(self.path, os.O_RDONLY)
        self._go(there)
        os.close(there)

    def __exit__(self, *_):
        self._go(self.before)
        os.close(self.before)

    def _go(self, namespace):
        if self.libc.setns(namespace, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


class Site:
    """A node with a data folder of its own."""

    def __init__(self, name, folder, namespace=None, port=0):
        self.name, self.folder, self.namespace = name, folder / name, namespace
        self.folder.mkdir()
        self.data, self.log = self.folder / "data", self.folder / "node.log"
        self.listen = f"0.0.0.0:{port}" if namespace else f"127.0.0.1:{port}"
        self.process, self.address = None, None
        self.start()

    def start(self):
        ports = self.data / "ports.json"
        ports.unlink(missing_ok=True)
        command = ["ip", "netns", "exec", self.namespace] if self.namespace else []
        command += [os.environ["TIDINGS_BINARY"], "serve", "--node", self.name, "--data", str(self.data)]
        command += ["--http", self.listen, "--nats", "off", "--hub", "off", "--consul", "off", "--dns", "off", "--slim", "off"]
        command += ["--open"] if self.namespace else []
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(lambda: self._ready(ports), START_SECONDS_MAX, lambda: f"{self.name} is not ready:\n{self.tail()}")

    def _ready(self, ports):
        assert self.process.poll() is None, f"{self.name} ended:\n{self.tail()}"
        try:
            self.address = json.loads(ports.read_text())["http"].replace("0.0.0.0", "127.0.0.1")
            return self.ask("GET", "/readyz").status_code == 200
        except (FileNotFoundError, json.JSONDecodeError, requests.RequestException):
            return False

    def kill(self):
        """As a power cut does."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        assert self.process.wait(STOP_SECONDS_MAX) == 0, self.tail()

    def tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])

    def inside(self):
        return Inside(self.namespace) if self.namespace else contextlib.nullcontext()

    def ask(self, method, path, **options):
        """Any request."""
        with self.inside():
            url = f"http://{self.address}{path}"
            return requests.request(method, url, timeout=REQUEST_SECONDS_MAX, **options)

    def get(self, path, **query):
        answer = self.ask("GET", path, params=query)
        assert answer.status_code == 200, (path, answer.status_code, answer.text, self.tail())
        return answer.json()

    def run(self, *arguments):
        """A command of the binary against the node."""
        command = ["ip", "netns", "exec", self.namespace] if self.namespace else []
        command += [os.environ["TIDINGS_BINARY"], *arguments]
        environment = {**os.environ, "TIDINGS_SERVER": f"http://{self.address}", "NO_COLOR": "1"}
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)

    def declare(self, *documents):
        answer = self.ask("POST", "/v1/resources", json={"resources": list(documents)})
        assert answer.status_code == 200, (self.name, answer.text)
        for each in documents:
            wait_for(lambda: self._stands(each), ARRIVES_SECONDS_MAX, lambda: f"{each} does not stand:\n{self.tail()}")

    def _stands(self, document):
        """Whether a group or a peer that was declared is at work."""
        kind, name, spec = document["kind"], document["metadata"]["name"], document["spec"]
        if kind == "EventGroup":
            return self.ask("GET", f"/v1/streams/FED_{name}").status_code == 200
        if kind == "EventPeer":
            listed = self.get("/v1/federation/peers", group=spec["groupRef"])["peers"]
            return spec["nodeName"] in [each["peer"] for each in listed]
        return True

    def remove(self, kind, name):
        answer = self.ask("DELETE", f"/v1/resources/{kind}/{name}")
        assert answer.status_code in (200, 204), answer.text

    def emit(self, identity, group="sites", **fields):
        """States a fact, and answers when it is on disk."""
        answer = self.ask("POST", f"/v1/federation/{group}/events", json=fact(identity, **fields))
        assert answer.status_code in (200, 201), (identity, answer.text, self.tail())
        return answer.json()

    def facts(self, group="sites", **query):
        """Facts by their ids."""
        listed = self.get("/v1/federation/events", group=group, **query)["events"]
        return {each["id"]: each for each in listed}

    def has(self, identity, group="sites"):
        return identity in self.facts(group)

    def arrives(self, identity, group="sites", seconds_max=ARRIVES_SECONDS_MAX):
        """Waits until a fact is there; the seconds it took."""
        began = time.monotonic()
        complaint = lambda: f"{identity} does not come to {self.name}:\n{self.tail()}"
        wait_for(lambda: self.has(identity, group), seconds_max, complaint)
        return time.monotonic() - began

    def recorded(self, group="sites"):
        """The id of every record of the group's stream, in order."""
        ids, start = [], 1
        while True:
            page = self.get(f"/v1/streams/FED_{group}/messages", **{"from": start, "limit": 10_000})
            ids += [message["event"]["id"] for message in page["messages"]]
            if page["next"] > page["last"]:
                return ids
            start = page["next"]

    def count(self, group="sites"):
        return self.get(f"/v1/streams/FED_{group}")["state"]["messages"]

    def peer(self, name, group="sites"):
        """What the node says of a peer."""
        found = [each for each in self.get("/v1/federation/peers", group=group)["peers"] if each["peer"] == name]
        assert len(found) == 1, found
        return found[0]

    def delivery(self, identity, peer, group="sites"):
        """What became of a fact towards a peer; nothing where it was not tried."""
        query = {"group": group, "event": identity, "peer": peer}
        found = self.get("/v1/federation/deliveries", **query)["deliveries"]
        return found[0] if found else {}

    def doctor(self):
        return self.get("/v1/federation/doctor")

    def verdict(self, code):
        """The worst that the doctor says under a code."""
        found = [check["status"] for check in self.doctor()["checks"] if check.get("code") == code]
        return max(found, key=["skip", "pass", "warn", "fail"].index, default=None)

    def push(self, secret, body, offset=0, **headers):
        """Pushes bytes as a peer does, by the specification alone; `offset` seconds off the clock."""
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        timestamp = str(int(time.time()) + offset)
        signature = hmac.new(secret.encode(), timestamp.encode() + b"\n" + body, hashlib.sha256).hexdigest()
        signed = {"X-Routerd-Timestamp": timestamp, "X-Routerd-Signature": signature, **headers}
        signed = {name: value for name, value in signed.items() if value is not None}
        return self.ask("POST", "/v1/events", data=body, headers={"Content-Type": "application/json", **signed})

    def end(self):
        if self.process and self.process.poll() is None:
            self.kill()


def moment(seconds=0):
    """A moment so many seconds from now."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


def fact(identity, **fields):
    return {
        "id": identity, "type": KIND, "subject": "10.88.60.9/32", "payload": {"address": "10.88.60.9/32"},
        "observedAt": moment(), "ttl": "600s", **fields,
    }


def envelope(identity, group="sites", source="elsewhere", **fields):
    """A fact as it is on the wire."""
    return {
        "id": identity, "group": group, "sourceNode": source, "type": KIND, "subject": "10.88.60.9/32",
        "dedupeKey": identity, "payload": {"address": "10.88.60.9/32"},
        "observedAt": moment(), "expiresAt": moment(600), **fields,
    }


def document(kind, name, **spec):
    return {"apiVersion": "tidings.dev/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def group(node, secret_file, name="sites", **more):
    auth = {"mode": "hmac", "secretFile": str(secret_file)} if secret_file else {}
    auth.update(more.pop("auth", {}))
    return document("EventGroup", name, nodeName=node, auth=auth, **more)


def peer(node, address, group="sites", **more):
    name = node if group == "sites" else f"{node}-{group}"
    return document("EventPeer", name, groupRef=group, nodeName=node, endpoint=f"http://{address}", **more)


class World:
    """Sites of which each tells every other, and the link from each to each."""

    def __init__(self, folder, names, namespaces=False):
        self.folder, self.sites, self.links, self.namespaces = folder, {}, {}, []
        self.secret = "0123456789abcdef0123456789abcdef"
        self.secret_file = folder / "secret"
        self.secret_file.write_text(self.secret + "\n")
        self.secret_file.chmod(0o600)
        try:
            (self._in_namespaces if namespaces else self._on_loopback)(names)
            for name, site in self.sites.items():
                others = [peer(other, self.links[name, other].address) for other in names if other != name]
                site.declare(group(name, self.secret_file), *others)
        except BaseException:
            self.end()
            raise

    def _on_loopback(self, names):
        for name in names:
            self.sites[name] = Site(name, self.folder)
        for source, sink in itertools.permutations(names, 2):
            self.links[source, sink] = Proxy(lambda sink=sink: self.sites[sink].address)

    def _in_namespaces(self, names):
        port = 7070
        for name in names:
            namespace = f"tidings-{os.getpid()}-{name}"
            ip("netns", "add", namespace)
            self.namespaces.append(namespace)
            ip("-n", namespace, "link", "set", "lo", "up")
        inside = dict(zip(names, self.namespaces))
        for number, (one, other) in enumerate(itertools.combinations(names, 2)):
            ends = {one: f"10.231.{number}.1", other: f"10.231.{number}.2"}
            cards = {one: f"to-{other}"[:15], other: f"to-{one}"[:15]}
            device = ["link", "add", cards[one], "type", "veth", "peer", "name", cards[other]]
            ip("-n", inside[one], *device, "netns", inside[other])
            for name, far in ((one, other), (other, one)):
                ip("-n", inside[name], "address", "add", f"{ends[name]}/30", "dev", cards[name])
                ip("-n", inside[name], "link", "set", cards[name], "up")
                self.links[name, far] = Card(inside[name], cards[name], ends[far], port)
        for name in names:
            self.sites[name] = Site(name, self.folder, inside[name], port)

    def __getattr__(self, name):
        try:
            return self.__dict__["sites"][name]
        except KeyError:
            raise AttributeError(name) from None

    def end(self):
        for site in self.sites.values():
            site.end()
        for link in self.links.values():
            link.end()
        for namespace in self.namespaces:
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True)


def namespaces_refused():
    """Why network namespaces cannot be had; nothing where they can."""
    name = f"tidings-{os.getpid()}-try"
    try:
        ip("netns", "add", name)
        with Inside(name):
            pass
        ip("netns", "del", name)
    except (OSError, subprocess.CalledProcessError) as error:
        return str(getattr(error, "stderr", None) or error).strip()
    return None


class Traffic(threading.Thread):
    """States facts at a node at an even pace, each until it is acknowledged, and knows which were."""

    def __init__(self, site, per_second):
        super().__init__(daemon=True)
        self.site, self.pace, self.stopped, self.acknowledged = site, 1 / per_second, False, []

    def run(self):
        for number in itertools.count():
            if self.stopped:
                return
            began = time.monotonic()
            # One body for all tries: whether a fact without an answer was recorded is not known.
            body = fact(f"{self.site.name}-{number}")
            while not self._took(body):
                time.sleep(0.05)
            self.acknowledged.append(body["id"])
            time.sleep(max(0.0, self.pace - (time.monotonic() - began)))

    def _took(self, body):
        try:
            answer = self.site.ask("POST", "/v1/federation/sites/events", json=body)
        except requests.RequestException:
            return False
        assert answer.status_code in (200, 201, 404, 503), (body["id"], answer.status_code, answer.text)
        return answer.status_code in (200, 201)

    def advances(self, count=10):
        """Waits until so many more are acknowledged."""
        goal = len(self.acknowledged) + count
        complaint = lambda: f"{self.site.name} acknowledges nothing any more:\n{self.site.tail()}"
        wait_for(lambda: len(self.acknowledged) >= goal or not self.is_alive(), START_SECONDS_MAX, complaint)
        assert self.is_alive(), complaint()

    def finish(self):
        self.stopped = True
        self.join(START_SECONDS_MAX)
        assert not self.is_alive()
        return self.acknowledged


def script(path: pathlib.Path, text):
    path.write_text(text)
    path.chmod(0o755)
    return path
