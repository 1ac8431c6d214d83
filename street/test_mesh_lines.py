"""Three domains whose gateways are far from each other: their lines are slow, uneven and narrow, and swallow everything
for a while. `a` and `b` are each linked with `hub`, which leads, by a line of its own; what they say to the controller
goes over another.
"""

import contextlib
import os
import threading
import time

import pytest
import requests
from conftest import wait_for
from mesh import Listener
from sites import Proxy
from test_cluster import free_ports
from test_mesh_controllers import Node, document

SETTLE_SECONDS_MAX = 60
# There, and as long back: half of the way around the world, twice.
FAR_SECONDS = 0.15


class Site(Node):
    """A node with clients."""

    def __init__(self, folder, domain, *more):
        super().__init__(folder, domain, f"{domain}1", "--monitor", "off", *more)
        (self.nats_port,) = free_ports(1)
        self.nats = f"127.0.0.1:{self.nats_port}"
        self.inside = contextlib.nullcontext

    def publish(self, subject, payload):
        answer = requests.post(self.url(f"/v1/publish/{subject}"), data=payload, timeout=20)
        assert answer.status_code in (200, 201, 202, 204, 404), (answer.status_code, answer.text)

    def count(self, name):
        """The sum of a metric."""
        text = requests.get(self.url("/metrics"), timeout=10).text
        lines = [line for line in text.splitlines() if line.split("{")[0].split(" ")[0] in (name, f"{name}_total")]
        assert lines, f"{name} is not among the metrics"
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def stream(self, name, subject):
        answer = requests.put(self.url(f"/v1/streams/{name}"), json={"subjects": [subject]}, timeout=20)
        assert answer.status_code in (200, 201), answer.text

    def kept(self, name):
        """What a stream holds, in its order."""
        answer = requests.get(self.url(f"/v1/streams/{name}/messages"), params={"from": 1, "limit": 1000}, timeout=20)
        return [each["data"] for each in answer.json()["messages"]] if answer.status_code == 200 else []


class World:
    def __init__(self, folder):
        self.hub = Site(folder, "hub", "--controller")
        self.a, self.b = Site(folder, "a"), Site(folder, "b")
        self.hub.external = None
        self.nodes = [self.hub, self.a, self.b]
        self.lines, self.listeners = {}, []
        self.hub.start()
        self.hub.apply(*(document("Domain", node.domain, secretFile=str(node.secret)) for node in (self.a, self.b)))
        for node in (self.a, self.b):
            line, control = (Proxy(lambda port=at.mesh: f"127.0.0.1:{port}") for at in (node, self.hub))
            self.lines[node.domain] = (line, control)
            node.external = line.address
            node.start(control.address)
        self.hub.apply(document("Segment", "default", links=[{"domain": "hub", "neighbors": ["a", "b"]}]))
        self.linked("a", "b")

    def links(self):
        listed = self.hub.get("/v1/mesh/links")["links"]
        ends = lambda link: {link["from"].split("/")[0], link["to"].split("/")[0]} - {"hub"}
        return {ends(link).pop(): link for link in listed if link["kind"] == "remote" and link.get("serves")}

    def linked(self, *domains):
        there = lambda: all(self.links().get(domain, {}).get("state") == "applied" for domain in domains)
        wait_for(there, SETTLE_SECONDS_MAX, self.told)

    def listen(self, node, pattern):
        listener = Listener(node, pattern)
        self.listeners.append(listener)
        return listener

    def reach(self, near, far, subject, listener):
        """Waits until a message of one comes to the other; whatever came is forgotten."""

        def heard():
            near.publish(subject, b"probe")
            return bool(listener.heard)

        wait_for(heard, SETTLE_SECONDS_MAX, lambda: f"{near.name} does not reach {far.name}\n{self.told()}")
        near.publish(subject, b"last probe")
        wait_for(lambda: "last probe" in listener.heard, SETTLE_SECONDS_MAX, self.told)
        listener.heard.clear()

    def connected(self):
        return [node.count("tidings_mesh_connected") for node in self.nodes]

    def heal(self):
        for each in self.lines.values():
            for line in each:
                line.heal()

    def told(self):
        return "\n".join(node.tail() for node in self.nodes) + f"\n{self.links()}"

    def end(self):
        for listener in self.listeners:
            listener.close()
        for node in self.nodes:
            node.end()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("lines"))
    yield world
    world.end()


@pytest.fixture
def world(running):
    yield running
    running.heal()
    running.linked("a", "b")


def test_links_hold_over_slow_and_uneven_lines_and_messages_come_once_in_order(world):
    before = world.connected()
    for line, control in world.lines.values():
        line.delay(FAR_SECONDS, jitter=FAR_SECONDS)
        control.delay(FAR_SECONDS, jitter=FAR_SECONDS)
    far = world.listen(world.b, "far.>")
    world.reach(world.a, world.b, "far.probe", far)
    began = time.monotonic()
    for number in range(200):
        world.a.publish("far.x", str(number))
    expected = [str(number) for number in range(200)]
    wait_for(lambda: len(far.heard) >= 200, SETTLE_SECONDS_MAX, world.told)
    assert far.heard == expected
    # Several times what a silent link is given.
    time.sleep(max(0.0, began + 8 - time.monotonic()))
    assert world.connected() == before, f"links were made anew\n{world.told()}"
    assert {link["state"] for link in world.links().values()} == {"applied"}, world.told()


def test_a_change_of_segments_converges_over_slow_lines(world):
    for line, control in world.lines.values():
        line.delay(2 * FAR_SECONDS)
        control.delay(2 * FAR_SECONDS)
    heard = world.listen(world.b, "change.>")
    world.reach(world.a, world.b, "change.probe", heard)
    requests.delete(world.hub.url("/v1/resources/Segment/default"), timeout=20)
    apart = [{"domain": "hub", "neighbors": ["$domain"]}]
    world.hub.apply(document("Segment", "to-$domain", links=apart))
    try:
        world.linked("a", "b")
        near = world.listen(world.hub, "change.>")
        world.reach(world.a, world.hub, "change.probe", near)
        heard.heard.clear()
        for number in range(10):
            world.a.publish("change.x", str(number))
        wait_for(lambda: len(near.heard) == 10, SETTLE_SECONDS_MAX, world.told)
        time.sleep(1)
        assert heard.heard == [], "b hears nothing of a any more"
    finally:
        requests.delete(world.hub.url("/v1/resources/Segment/to-$domain"), timeout=20)
        world.hub.apply(document("Segment", "default", links=[{"domain": "hub", "neighbors": ["a", "b"]}]))
        world.linked("a", "b")
    world.reach(world.a, world.b, "change.probe", heard)


def test_a_line_that_swallows_everything_is_noticed_and_nothing_that_is_kept_is_lost(world):
    world.a.stream("KEPT", "kept.>")
    world.b.apply(document("Mirror", "let-in", stream="KEPT_A", accept=["a"]))
    world.a.apply(document("Mirror", "kept", stream="KEPT", to=["b"], **{"as": "KEPT_A"}))
    heard = world.listen(world.b, "live.>")
    world.reach(world.a, world.b, "live.probe", heard)
    told = 0

    def say(count):
        nonlocal told
        for _ in range(count):
            world.a.publish("kept.x", str(told))
            told += 1

    say(100)
    line, control = world.lines["a"]
    line.cut()
    control.cut()
    began = time.monotonic()
    state = lambda: world.links().get("a", {}).get("state")
    wait_for(lambda: state() != "applied", 20, world.told)
    noticed = time.monotonic() - began
    assert noticed < 5, f"noticed after {noticed:.1f} s"
    say(100)
    time.sleep(max(0.0, began + 5 - time.monotonic()))
    line.heal()
    control.heal()
    began = time.monotonic()
    world.linked("a")
    assert time.monotonic() - began < 15, world.told()
    say(100)
    expected = [str(number) for number in range(told)]
    wait_for(lambda: len(world.b.kept("KEPT_A")) >= told, SETTLE_SECONDS_MAX, world.told)
    assert world.b.kept("KEPT_A") == expected
    world.reach(world.a, world.b, "live.probe", heard)


def test_a_narrow_line_holds_up_nobody_else_and_keeps_its_link(world):
    before = world.connected()
    line, _ = world.lines["a"]
    line.delay(0.05, rate=200_000)
    wide, narrow = world.listen(world.b, "wide.>"), world.listen(world.a, "narrow.>")
    world.reach(world.hub, world.b, "wide.probe", wide)
    world.reach(world.hub, world.a, "narrow.probe", narrow)
    over = threading.Event()

    def flood():
        session, payload = requests.Session(), os.urandom(200_000).hex().encode()
        while not over.is_set():
            session.post(world.hub.url("/v1/publish/narrow.x"), data=payload, timeout=20)

    flooding = [threading.Thread(target=flood) for _ in range(2)]
    for thread in flooding:
        thread.start()
    try:
        slowest, number, end = 0.0, 0, time.monotonic() + 10
        while time.monotonic() < end:
            began = time.monotonic()
            world.hub.publish("wide.x", str(number))
            wait_for(lambda: len(wide.heard) > number, SETTLE_SECONDS_MAX, world.told)
            slowest = max(slowest, time.monotonic() - began)
            number += 1
    finally:
        over.set()
        for thread in flooding:
            thread.join()
    assert wide.heard == [str(each) for each in range(number)]
    assert slowest < 3, f"one took {slowest:.1f} s"
    assert world.hub.count("tidings_mesh_dropped") > 0, "more came than the line carries"
    line.heal()
    world.reach(world.hub, world.a, "after.probe", world.listen(world.a, "after.>"))
    assert world.connected() == before, f"links were made anew\n{world.told()}"
