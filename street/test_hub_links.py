"""Hubs that are linked, with each other and with an original by its specification; and the repeater's role."""

import http.server
import threading
import time

import pytest
from conftest import wait_for
from hub import PATIENCE, Client, Hub, event, link, resource
from sites import Proxy
from websockets.sync.server import serve


@pytest.fixture
def hubs(tmp_path):
    """What starts hubs; none outlives the test."""
    running = []

    def start(*names, config=""):
        started = [Hub(tmp_path, name, config=config) for name in names]
        running.extend(started)
        return started if len(names) > 1 else started[0]

    yield start
    for one in running:
        one.kill()


def bodies(heard, room="R"):
    """Bodies of events of a room, without the newlines of hops."""
    parts = [message.partition(b"\n") for message in heard]
    assert all(part[0] == room.encode() for part in parts), heard
    return [part[2].lstrip(b"\n") for part in parts]


def each_once(running):
    """An event entering anywhere comes once to each messenger; at linked hubs none is lost."""
    listeners = [one.messenger("R") for one in running] + [one.messenger("*", "R") for one in running]
    for number, one in enumerate(running):
        with one.connect() as sender:
            for again in range(10):
                sender.send("R", b"%d-%d" % (number, again))
        one.ask("POST", "/event", data=event("R", f"posted at {one.name}"))
    wanted = len(running) * 11
    for listener in listeners:
        heard = bodies([listener.receive() for _ in range(wanted)])
        assert len(set(heard)) == wanted
    # Whatever would have come twice has had its time: each hub was asked again.
    for listener in listeners:
        assert listener.everything() == []
        listener.close()


def test_two_hubs_that_both_dial_have_one_link(hubs):
    a, b = hubs("a", "b")
    a.declare(link(b))
    b.declare(link(a))
    for one in (a, b):
        one.until_linked(1)
    each_once([a, b])
    for one in (a, b):
        one.until_linked(1)


def test_one_side_that_dials_is_enough(hubs):
    a, b = hubs("a", "b")
    a.declare(link(b))
    for one in (a, b):
        one.until_linked(1)
    each_once([a, b])


def test_hubs_are_linked_on_demand(hubs):
    a, b = hubs("a", "b")
    answer = a.ask("POST", f"/interconnect/{b.hub}")
    assert answer.status_code == 200, answer.text
    for one in (a, b):
        one.until_linked(1)
    each_once([a, b])
    wrong = a.ask("POST", "/interconnect/127.0.0.1:1")
    assert wrong.status_code >= 400 and wrong.text
    with a.messenger("R") as listener, a.connect() as sender:
        sender.send("R", b"x")
        assert bodies(listener.everything()) == [b"x"]


def test_a_link_to_oneself_comes_to_nothing(hubs):
    a = hubs("a")
    a.declare(link(a, "myself"))
    a.ask("POST", f"/interconnect/{a.hub}")
    time.sleep(1)
    assert a.nexus()["hubs"] == []
    each_once([a])


def test_three_hubs_in_a_triangle(hubs):
    a, b, c = hubs("a", "b", "c")
    a.declare(link(b), link(c))
    b.declare(link(c), link(a))
    c.declare(link(a), link(b))
    for one in (a, b, c):
        one.until_linked(2)
    each_once([a, b, c])


def test_hubs_do_not_relay(hubs):
    a, b, c = hubs("a", "b", "c")
    b.declare(link(a), link(c))
    b.until_linked(2)
    with a.connect() as sender, b.messenger("R") as near, c.messenger("R") as far:
        sender.send("R", b"x")
        assert bodies([near.receive()]) == [b"x"]
        assert far.everything() == []


def test_a_link_can_be_of_some_rooms_and_can_be_withdrawn(hubs):
    a, b = hubs("a", "b")
    a.declare(link(b, rooms=["A"]))
    b.until_linked(1)
    with b.messenger("*") as listener, a.connect() as sender:
        for room in "BAB":
            sender.send(room, b"x")
        assert bodies([listener.receive()], "A") == [b"x"]
        a.withdraw("HubLink", "b")
        for one in (a, b):
            one.until_linked(0)
        sender.send("A", b"y")
        assert listener.everything() == []


@pytest.mark.parametrize("closed", [True, False])
def test_a_hub_that_was_away_gets_what_it_missed_of_a_kept_room(hubs, closed):
    a, b = hubs("a", "b", config="hub: {ping_interval: 1s}\n")
    a.keep("KEPT", "K")
    proxy = Proxy(lambda: b.hub)
    a.declare(resource("HubLink", "b", address=f"ws://{proxy.address}"))
    b.until_linked(1)
    with b.messenger("K", "L") as listener, a.connect() as sender:
        sender.send("K", b"before")
        assert bodies([listener.receive()], "K") == [b"before"]
        proxy.cut(closed)
        for number in range(50):
            sender.send("K", b"%d" % number)
            sender.send("L", b"%d" % number)
        a.until_linked(0)
        for number in range(50, 100):
            sender.send("K", b"%d" % number)
        proxy.heal()
        missed = []
        while len(missed) < 100:
            message = listener.receive(90)
            if message.startswith(b"K\n"):
                missed.append(int(bodies([message], "K")[0]))
        assert missed == list(range(100))
        sender.send("K", b"after")
        assert bodies([listener.receive()], "K") == [b"after"]
        assert [message for message in listener.everything() if message.startswith(b"K\n")] == []
    proxy.end()


def test_a_hub_that_was_killed_gets_what_it_missed(hubs):
    a, b = hubs("a", "b")
    for one in (a, b):
        one.keep("KEPT", "K")
    a.declare(link(b))
    b.declare(link(a))
    for one in (a, b):
        one.until_linked(1)
    with a.connect() as sender:
        sender.send("K", b"0")
        with b.messenger("K", query="?since=1") as listener:
            assert bodies([listener.receive()], "K") == [b"0"]
        b.kill()
        for number in range(1, 100):
            sender.send("K", b"%d" % number)
        b.start()
        with b.messenger("K", query="?since=1") as listener:
            heard = [int(body) for body in bodies([listener.receive(90) for _ in range(100)], "K")]
            assert heard == list(range(100))
            assert listener.everything() == []
    # And what a restarts with goes on where it was.
    a.kill()
    a.start()
    for one in (a, b):
        one.until_linked(1)
    with a.connect() as sender, b.messenger("K") as listener:
        sender.send("K", b"100")
        assert bodies([listener.receive()], "K") == [b"100"]
        assert listener.everything() == []


@pytest.mark.parametrize("declared, kept", [("up", "up"), ("up", "down"), ("down", "down")])
def test_what_a_declared_link_is_owed_does_not_wait_for_it_to_be_up(hubs, declared, kept):
    a, b = hubs("a", "b")
    b.keep("KEPT", "K")
    for state in ("up", "down"):
        if state == "down":
            b.stop()
        if declared == state:
            a.declare(link(b))
        if declared == state == "up":
            a.until_linked(1)
        if kept == state:
            a.keep("KEPT", "K")
            # The link's consumer is made soon after the stream.
            path = "/v1/streams/KEPT/consumers"
            wait_for(lambda: "hub-b" in a.ask("GET", path, "http").text, PATIENCE, lambda: a.ask("GET", path, "http").text)
    with a.connect() as sender:
        for number in range(3):
            sender.send("K", b"%d" % number)
    b.start()
    with b.messenger("K", query="?since=1") as listener:
        assert bodies([listener.receive(60) for _ in range(3)], "K") == [b"0", b"1", b"2"]


class Original:
    """A hub that is not ours, as the specification has it: no header of ours, and it echoes pings."""

    def __init__(self):
        self.paths, self.headers, self.heard, self.arrived = [], [], [], threading.Condition()
        self.wires = []
        self.server = serve(self._serve, "127.0.0.1", 0, compression=None, max_size=None)
        self.address = "127.0.0.1:%d" % self.server.socket.getsockname()[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _serve(self, wire):
        with self.arrived:
            self.paths.append(wire.request.path)
            self.headers.append(dict(wire.request.headers.raw_items()))
            self.wires.append(wire)
            self.arrived.notify_all()
        for message in wire:
            with self.arrived:
                self.heard.append(message)
                self.arrived.notify_all()

    def wait(self, what, seconds=PATIENCE):
        with self.arrived:
            assert self.arrived.wait_for(what, seconds), (self.paths, self.heard)

    def end(self):
        self.server.shutdown()


@pytest.fixture
def original():
    running = Original()
    yield running
    running.end()


def test_an_original_hub_is_dialled_as_an_original_does(hubs, original):
    a = hubs("a")
    a.declare(resource("HubLink", "old", address=original.address))
    original.wait(lambda: original.wires)
    assert original.paths == ["/connect/hub"]
    a.until_linked(1)
    with a.messenger("R") as listener, a.connect() as sender:
        sender.send("R", b'{"k":1}')
        original.wait(lambda: original.heard)
        assert original.heard == [b'R\n\n{"k":1}'] == [listener.receive()]
        original.wires[0].send(b"R\n\nfrom the old one")
        assert listener.receive() == b"R\n\n\nfrom the old one"
        original.wires[0].close()
        original.wait(lambda: len(original.wires) == 2)
        a.until_linked(1)
        sender.send("R", b"again")
        original.wait(lambda: len(original.heard) == 2)
    assert original.heard[1] == b"R\n\nagain"


def test_an_original_hub_gets_what_it_missed_of_a_kept_room(hubs, original):
    a = hubs("a", config="hub: {ping_interval: 1s}\n")
    a.keep("KEPT", "K")
    proxy = Proxy(lambda: original.address)
    a.declare(resource("HubLink", "old", address=f"ws://{proxy.address}"))
    original.wait(lambda: original.wires)
    with a.connect() as sender:
        sender.send("K", b"0")
        original.wait(lambda: original.heard)
        # What was heard and not yet known to be may come again.
        time.sleep(2.5)
        proxy.cut(closed=True)
        a.until_linked(0)
        for number in range(1, 20):
            sender.send("K", b"%d" % number)
        proxy.heal()
        original.wait(lambda: len(original.heard) >= 20, 60)
    assert bodies(original.heard, "K") == [b"%d" % number for number in range(20)]
    proxy.end()


class Service:
    """A web service that fails as often as it is told to, and then takes."""

    def __init__(self, failures=0):
        service, self.failures, self.asked, self.taken, self.arrived = self, failures, [], [], threading.Condition()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with service.arrived:
                    service.asked.append((self.path, self.headers["Content-Type"], body))
                    fails, service.failures = service.failures > 0, max(0, service.failures - 1)
                    if not fails:
                        service.taken.append(body)
                    service.arrived.notify_all()
                self.send_response(503 if fails else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/sink"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    wait = Original.wait
    paths = property(lambda self: self.asked)
    heard = property(lambda self: self.taken)

    def end(self):
        self.server.shutdown()


@pytest.fixture
def service():
    running = Service()
    yield running
    running.end()


def target(name, address, *rooms, **spec):
    return resource("RepeaterTarget", name, address=address, rooms=list(rooms), **spec)


def test_a_service_that_fails_twice_gets_every_event_once(hubs, service):
    a = hubs("a")
    service.failures = 2
    a.declare(target("sink", service.address, "R", retry={"backoff": "50ms"}))
    with a.connect() as sender:
        for number in range(3):
            sender.send("R", event("R", str(number)))
        sender.send("S", b"{}")
        service.wait(lambda: len(service.taken) == 3)
    assert [body.lstrip(b"\n") for body in service.taken] == [event("R", str(number)) for number in range(3)]
    assert {(path, kind) for path, kind, _ in service.asked} == {("/sink", "application/json")}
    assert len(service.asked) == 5
    assert a.counted("retries") == 2


def test_a_service_that_never_takes_is_given_up_and_delays_nobody(hubs, service):
    a = hubs("a")
    broken = Service(failures=1_000_000)
    retry = {"maxAttempts": 2, "backoff": "10ms"}
    a.declare(target("broken", broken.address, "*", retry=retry), target("sink", service.address, "*"))
    with a.connect() as sender:
        for number in range(20):
            sender.send("R", b"%d" % number)
        service.wait(lambda: len(service.taken) == 20)
        broken.wait(lambda: len(broken.asked) == 40)
    wait_for(lambda: a.counted("dropped") == 20, PATIENCE, lambda: str(a.counts()))
    broken.end()


def test_a_device_gets_its_rooms_over_a_websocket_that_is_closed_when_idle(hubs, original):
    a = hubs("a")
    a.declare(target("device", f"ws://{original.address}", "R", "S", idle="1s"))
    with a.connect() as sender:
        sender.send("R", b"one")
        original.wait(lambda: original.heard)
        assert original.paths == ["/connect/R/a"]
        assert bodies(original.heard) == [b"one"]
        sender.send("T", b"not for it")
        wait_for(lambda: original.wires[0].close_code is not None, 20, lambda: "never closed")
        assert original.wires[0].close_code == 1001
        sender.send("R", b"two")
        original.wait(lambda: len(original.heard) == 2)
        assert len(original.wires) == 2


def test_the_send_list_changes_without_a_restart(hubs, service):
    a = hubs("a")
    with a.connect() as sender:
        sender.send("R", b"0")
        a.declare(target("sink", service.address, "R"))
        sender.send("R", b"1")
        service.wait(lambda: len(service.taken) == 1)
        a.declare(target("sink", service.address, "S"))
        sender.send("R", b"2")
        sender.send("S", b"3")
        service.wait(lambda: len(service.taken) == 2)
        a.withdraw("RepeaterTarget", "sink")
        sender.send("S", b"4")
        sender.settle()
    time.sleep(0.5)
    assert [body.lstrip(b"\n") for body in service.taken] == [b"1", b"3"]


def test_repeaters_share_and_the_nodes_own_is_one_of_them(hubs, service):
    a = hubs("a")
    a.declare(target("sink", service.address, "*"))
    with a.connect("repeater") as other, a.connect() as sender:
        other.settle()
        for number in range(10):
            sender.send("R", b"%d" % number)
        service.wait(lambda: len(service.taken) == 5)
        taken = {int(body) for body in service.taken}
        heard = {int(body) for body in bodies(other.everything())}
        assert taken | heard == set(range(10)) and not taken & heard


def test_what_is_sent_to_the_repeater_comes_to_messengers_and_hubs(hubs):
    a = hubs("a")
    with a.messenger("R") as listener, a.connect("hub") as other, a.connect("repeater") as repeater:
        other.settle()
        repeater.settle()
        answer = a.ask("POST", "/send", "repeater", data=event("R"), headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.text.strip().strip('"')) == (200, "ok")
        assert bodies([listener.receive()]) == [event("R")]
        assert bodies([other.receive()]) == [event("R")]
        plain = a.ask("POST", "/send", "repeater", data=event("R"))
        assert plain.status_code == 400 and "code=415" in plain.text
        assert listener.everything() == [] and repeater.everything() == []
        # A device; the room is the message's, whatever the address says.
        with Client(f"ws://{a.repeater}/connect/ELSEWHERE/R-D1") as device:
            device.send("R", b"from a device")
            assert bodies([listener.receive()]) == [b"from a device"]
        assert a.ask("GET", "/status", "repeater").status_code == 200
