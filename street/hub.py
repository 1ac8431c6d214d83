"""Nodes with a hub door, and clients of it: `websockets` as its authors publish it, and plain sockets where the
bytes themselves are looked at."""

import atexit
import contextlib
import json
import os
import secrets
import socket
import struct
import subprocess
import threading

import requests
from conftest import wait_for
from websockets.sync.client import connect

START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 30
# What an exchange may take on a machine that is busy with other tests.
PATIENCE = 10
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
# What an original messenger sends to connect, as recorded; its key is the example of RFC 6455.
UPGRADE = (
    "GET /connect/{kind} HTTP/1.1\r\n"
    "Host: {host}\r\n"
    "User-Agent: Go-http-client/1.1\r\n"
    "Connection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Version: 13\r\n"
    "Upgrade: websocket\r\n\r\n"
)
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


class Hub:
    """The binary, running with its hub door and its repeater on ports of their own."""

    def __init__(self, folder, name="hub", *arguments, config="", token=None):
        self.name, self.folder, self.token = name, folder / name, token
        self.folder.mkdir()
        self.data, self.log = self.folder / "data", self.folder / "node.log"
        self.config = self.folder / "tidings.yaml"
        self.config.write_text(config or "{}\n")
        self.arguments = list(arguments)
        self.process = self.http = self.nats = self.hub = self.repeater = None
        # A test that fails leaves nobody behind.
        atexit.register(self.kill)
        self.start()

    def start(self):
        ports = self.data / "ports.json"
        ports.unlink(missing_ok=True)
        command = [os.environ["TIDINGS_BINARY"], "serve", "--node", self.name, "--data", str(self.data)]
        command += ["--config", str(self.config), "--http", "127.0.0.1:0", "--monitor", "off"]
        # Who comes back finds the node where it was.
        command += ["--nats", self.nats or "127.0.0.1:0", "--hub", self.hub or "127.0.0.1:0", "--consul", "off", "--dns", "off", "--slim", "off"]
        command += ["--repeater", self.repeater or "127.0.0.1:0", *self.arguments]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(lambda: self._ready(ports), START_SECONDS_MAX, lambda: f"{self.name} is not ready:\n{self.tail()}")

    def _ready(self, ports):
        assert self.process.poll() is None, f"{self.name} ended:\n{self.tail()}"
        try:
            there = json.loads(ports.read_text())
            self.http, self.nats, self.hub, self.repeater = (there[d] for d in ("http", "nats", "hub", "repeater"))
            return requests.get(f"http://{self.http}/readyz", timeout=5).status_code == 200
        except (FileNotFoundError, json.JSONDecodeError, requests.RequestException):
            return False

    def tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:]) if self.log.exists() else ""

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        assert self.process.wait(STOP_SECONDS_MAX) == 0, self.tail()

    def url(self, path=""):
        """The HTTP door."""
        return f"http://{self.http}{path}"

    def ask(self, method, path, door="hub", **options):
        """A request to the hub door, or to the one that is named."""
        return requests.request(method, f"http://{getattr(self, door)}{path}", timeout=PATIENCE, **options)

    def nexus(self):
        answer = self.ask("GET", "/status")
        assert answer.status_code == 200, answer.text
        return answer.json()["info"]["nexus"]

    def headers(self):
        return {"authorization": f"Bearer {self.token}"} if self.token else {}

    def counts(self):
        """The hub's metrics, by name with labels."""
        text = requests.get(self.url("/metrics"), timeout=PATIENCE, headers=self.headers()).text
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("tidings_hub_")]
        return {name: float(value) for name, value in lines}

    def counted(self, *words):
        """The sum of the metrics whose names and labels hold all of these words."""
        return sum(value for name, value in self.counts().items() if all(word in name for word in words))

    def resident(self):
        """Bytes of memory."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:"))

    def declare(self, *resources):
        answer = requests.post(
            self.url("/v1/resources"), json={"resources": list(resources)}, timeout=PATIENCE, headers=self.headers()
        )
        assert answer.status_code == 200, answer.text
        links = {one["spec"]["address"] for one in resources if one["kind"] == "HubLink"}
        targets = {(one["metadata"]["name"], *one["spec"]["rooms"]) for one in resources if one["kind"] != "HubLink"}

        def stands():
            there = self.listing()
            return links <= {one["address"] for one in there["links"]} and targets <= {
                (one["name"], *one["rooms"]) for one in there["targets"]
            }

        wait_for(stands, PATIENCE, lambda: str(self.listing()))

    def withdraw(self, kind, name):
        answer = requests.delete(self.url(f"/v1/resources/{kind}/{name}"), timeout=PATIENCE, headers=self.headers())
        assert answer.status_code == 200, answer.text
        gone = lambda: all(one["name"] != name for part in ("links", "targets") for one in self.listing()[part])
        wait_for(gone, PATIENCE, lambda: str(self.listing()))

    def listing(self):
        """Connections, links and targets, one by one."""
        return requests.get(self.url("/v1/hub"), timeout=PATIENCE, headers=self.headers()).json()

    def keep(self, stream, *rooms):
        """A stream over rooms."""
        subjects = ["room.>"] if rooms == ("*",) else [f"room.{room}" for room in rooms]
        answer = requests.put(
            self.url(f"/v1/streams/{stream}"), json={"subjects": subjects}, timeout=PATIENCE, headers=self.headers()
        )
        assert answer.status_code in (200, 201), answer.text

    def publish(self, subject, body):
        """A message by the HTTP door."""
        return requests.post(
            self.url(f"/v1/publish/{subject}"), data=body, timeout=PATIENCE, headers=self.headers()
        )

    def run(self, *arguments):
        """A command of the binary against the node."""
        environment = {**os.environ, "TIDINGS_SERVER": self.url(), "NO_COLOR": "1"}
        command = [os.environ["TIDINGS_BINARY"], *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)

    def connect(self, kind="messenger", query="", **options):
        return Client(f"ws://{self.hub}/connect/{kind}{query}", **options)

    def messenger(self, *rooms, query=""):
        client = self.connect(query=query)
        client.subscribe(*rooms)
        return client

    def raw(self, kind="messenger"):
        return Raw(self.hub, f"/connect/{kind}")

    def until_linked(self, count):
        def complaint():
            return f"{self.name}: {self.nexus()['hubs']}, not {count} hubs\n{self.tail()}"

        wait_for(lambda: len(self.nexus()["hubs"]) == count, PATIENCE, complaint)


class Client:
    """A connection of `websockets`."""

    def __init__(self, address, **options):
        options = {"compression": None, "open_timeout": PATIENCE, "ping_interval": None, "proxy": None, **options}
        self.opened = contextlib.ExitStack()
        self.wire = self.opened.enter_context(connect(address, max_size=None, max_queue=None, **options))

    def subscribe(self, *rooms):
        self.change({"rooms": list(rooms), "create": True})

    def unsubscribe(self, *rooms):
        self.change({"rooms": list(rooms), "create": False})

    def change(self, change):
        """Sends a change of subscriptions, and waits until it stands."""
        self.wire.send(change if isinstance(change, str) else json.dumps(change, separators=(",", ":")))
        self.settle()

    def settle(self):
        """Behind the pong, the hub has taken what was sent before; and what it sent before is here."""
        assert self.wire.ping().wait(PATIENCE), "no pong"

    def send(self, room, body=b"{}"):
        """An event; it is on its way to everybody when this returns."""
        self.post(room, body)
        self.settle()

    def post(self, room, body=b"{}"):
        """An event, without a wait."""
        self.wire.send(room.encode() + b"\n" + body)

    def receive(self, seconds=PATIENCE):
        message = self.wire.recv(timeout=seconds)
        assert isinstance(message, bytes), f"a text frame: {message}"
        return message

    def everything(self):
        """What has come, and nothing that is still to come."""
        self.settle()
        heard = []
        with contextlib.suppress(TimeoutError):
            while True:
                heard.append(self.receive(0))
        return heard

    def closed(self, seconds=PATIENCE):
        """Waits until the other side has closed; gives the code, and why."""
        from websockets.exceptions import ConnectionClosed

        try:
            while True:
                self.wire.recv(timeout=seconds)
        except ConnectionClosed as end:
            return (end.rcvd.code, end.rcvd.reason) if end.rcvd else (1006, "")

    def close(self):
        self.opened.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Raw:
    """A socket, and frames by hand."""

    def __init__(self, address, path, receive_bytes=None):
        host, port = address.split(":")
        self.socket = socket.socket()
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(PATIENCE)
        self.socket.connect((host, int(port)))
        kind = path.removeprefix("/connect/")
        self.socket.sendall(UPGRADE.format(kind=kind, host=address).encode())
        self.head = b""
        while not self.head.endswith(b"\r\n\r\n"):
            more = self.socket.recv(1)
            assert more, self.head
            self.head += more
        self.head = self.head.decode()
        assert self.head.startswith("HTTP/1.1 101 "), self.head

    def frame(self, opcode, payload=b"", final=True, length=None):
        """Sends a frame, masked as a client must; `length` says another one than it has."""
        length = len(payload) if length is None else length
        head = bytes([(0x80 if final else 0) | opcode])
        if length < 126:
            head += bytes([0x80 | length])
        elif length < 65536:
            head += bytes([0x80 | 126]) + struct.pack(">H", length)
        else:
            head += bytes([0x80 | 127]) + struct.pack(">Q", length)
        mask = secrets.token_bytes(4)
        body = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
        self.socket.sendall(head + mask + body)

    def exactly(self, count):
        read = b""
        while len(read) < count:
            more = self.socket.recv(count - len(read))
            assert more, f"closed after {read!r}"
            read += more
        return read

    def until_closed(self, seconds):
        """Reads to the end; gives what came."""
        self.socket.settimeout(seconds)
        read = b""
        with contextlib.suppress(ConnectionError):
            while more := self.socket.recv(65536):
                read += more
        return read

    def close(self):
        self.socket.close()


class Listener:
    """Events of a subject, live over HTTP with server-sent events."""

    def __init__(self, node, path):
        self.messages, self.arrived = [], threading.Condition()
        self.response = requests.get(
            node.url(path), stream=True, timeout=60, headers={"accept": "text/event-stream", **node.headers()}
        )
        assert self.response.status_code == 200, self.response.text
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        with contextlib.suppress(requests.RequestException, AttributeError, OSError):
            for line in self.response.iter_lines(chunk_size=1):
                if line.startswith(b"data:"):
                    with self.arrived:
                        self.messages.append(json.loads(line.removeprefix(b"data:")))
                        self.arrived.notify_all()

    def wait(self, count, seconds=PATIENCE):
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.messages) >= count, seconds), self.messages
            return self.messages[:count]


def event(room="ITB-1101", value="on", **fields):
    """A v2 event as an original writes it."""
    building = room.split("-")[0]
    whole = {
        "generating-system": f"{room}-CP1", "timestamp": "2026-11-21T12:00:00.123456789-07:00",
        "event-tags": ["core-state"],
        "target-device": {"buildingID": building, "roomID": room, "deviceID": f"{room}-D1"},
        "affected-room": {"buildingID": building, "roomID": room}, "key": "power", "value": value, "user": "",
        **fields,
    }
    return json.dumps(whole, separators=(",", ":")).encode()


def resource(kind, name, **spec):
    return {"apiVersion": "tidings.dev/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def link(to, name=None, **spec):
    return resource("HubLink", name or to.name, address=f"ws://{to.hub}", **spec)
