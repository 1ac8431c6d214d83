"""Nodes under a controller that speaks the original's control protocol: what their applications subscribe is reached from
other domains over the links that they are told, and goes on while the controller is away."""

import asyncio
import base64
import json
import os
import socket

import pytest
from conftest import wait_for

slim = pytest.importorskip("slim")
from slim import Peer, get, say  # noqa: E402
from test_slim import Node, exchange  # noqa: E402

SETTLE_SECONDS_MAX = 60


def free():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return "127.0.0.1:%d" % taken.getsockname()[1]


class Led(Node):
    """A node whose SLIM door is at an address that others are told."""

    def __init__(self, folder, at, *arguments):
        self.at = at
        super().__init__(folder, *arguments)

    def start(self):
        self.slim = self.at
        super().start()


class World:
    """A controller without a data plane of SLIM, and nodes that it leads: m lies between a and b."""

    def __init__(self, folder):
        self.folder, self.south = folder, free()
        self.controller = Node(self.place("hub"), "--controller", "--domain", "hub", "--mesh", free(), "--slim-south", self.south)
        # One comes before its domain is declared, and is to come again.
        self.nodes = {"a": self.start("a")}
        for domain in ("a", "b", "m"):
            self.apply({"kind": "Domain", "metadata": {"name": domain}, "spec": {"secretFile": str(self.secret(domain))}})
        self.nodes |= {domain: self.start(domain) for domain in ("b", "m")}
        links = [{"domain": "m", "neighbors": ["a", "b"]}]
        self.apply({"kind": "Topology", "metadata": {"name": "main"}, "spec": {"links": links}})
        wait_for(lambda: all(self.is_led(each) for each in self.nodes), SETTLE_SECONDS_MAX, self.shown)
        self.a, self.b = self.nodes["a"], self.nodes["b"]

    def place(self, name):
        folder = self.folder / name
        folder.mkdir()
        return folder

    def secret(self, domain):
        path = self.folder / f"{domain}.secret"
        if not path.exists():
            path.write_text(base64.b64encode(os.urandom(32)).decode())
            path.chmod(0o600)
        return path

    def start(self, domain):
        at = free()
        given = ["--node", f"{domain}1", "--domain", domain, "--domain-secret-file", str(self.secret(domain))]
        # The node in the middle is dialled, the others dial it.
        external = ["--slim-external", at] if domain == "m" else []
        return Led(self.place(domain), at, *given, "--slim-controller", self.south, *external)

    def apply(self, document):
        path = self.folder / "document.json"
        path.write_text(json.dumps({"apiVersion": "tidings.dev/v1", **document}))
        self.controller.run("apply", "-f", str(path))

    def is_led(self, domain):
        return self.nodes[domain].count("tidings_slim_led") == 1

    def shown(self):
        return self.controller.run("mesh", "links") + "".join(node.log.read_text() for node in self.nodes.values())

    def end(self):
        for node in (*self.nodes.values(), self.controller):
            node.kill()


@pytest.fixture
def world(tmp_path):
    running = World(tmp_path)
    yield running
    running.end()


def linked(world):
    """Both links are up: the node between them has two."""
    wait_for(lambda: world.nodes["m"].count("tidings_slim_links") == 2, SETTLE_SECONDS_MAX, world.shown)


async def both_ways(world, prefix):
    near, far = await Peer("near", prefix).connect(world.a.url), await Peer("far", prefix).connect(world.b.url)
    # Names travel to the other domain within a moment.
    await asyncio.sleep(2)
    await exchange(near, far)
    await exchange(far, near)


def test_applications_in_domains_that_are_not_neighbours_reach_each_other(world):
    linked(world)
    slim.run(both_ways(world, "led/two"))


def test_a_session_goes_on_while_the_controller_is_away_and_nodes_that_were_killed_come_back(world):
    linked(world)

    async def story():
        near = await Peer("near", "led/away").connect(world.a.url)
        far = await Peer("far", "led/away").connect(world.b.url)
        await asyncio.sleep(2)
        hearing = asyncio.create_task(far.hear())
        session = await near.open(far.label)
        heard = await hearing
        world.controller.kill()
        for number in range(5):
            await say(session, b"%d" % number)
            assert await get(heard) == b"%d" % number
        for each in (near, far):
            await each.close()

    slim.run(story())
    world.controller.start()
    for domain in ("m", "a"):
        world.nodes[domain].kill()
        world.nodes[domain].start()
    wait_for(lambda: all(world.is_led(each) for each in world.nodes), SETTLE_SECONDS_MAX, world.shown)
    linked(world)
    slim.run(both_ways(world, "led/back"))
