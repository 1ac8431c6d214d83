"""Stock clients of SLIM in different domains: their messages cross through gateways where a segment lets them."""

import asyncio
import base64
import json
import os
import socket

import pytest
from conftest import wait_for

slim = pytest.importorskip("slim")
from slim import Peer, get, say  # noqa: E402
from test_slim import Line, Node, exchange  # noqa: E402

SETTLE_SECONDS_MAX = 60


def free():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return "127.0.0.1:%d" % taken.getsockname()[1]


class World:
    """A hub, which leads, and two customers."""

    def __init__(self, folder):
        self.folder, self.nodes = folder, {}
        self.hub = self.start("hub", "--controller")
        for domain in ("a", "b"):
            secret = self.secret(domain)
            self.apply({"kind": "Domain", "metadata": {"name": domain}, "spec": {"secretFile": str(secret)}})
            self.start(domain, "--join", self.nodes["hub"].mesh)
        self.a, self.b = self.nodes["a"], self.nodes["b"]

    def secret(self, domain):
        path = self.folder / f"{domain}.secret"
        if not path.exists():
            path.write_text(base64.b64encode(os.urandom(32)).decode())
            path.chmod(0o600)
        return path

    def start(self, domain, *more):
        folder, mesh = self.folder / domain, free()
        folder.mkdir()
        given = ["--node", f"{domain}1", "--domain", domain, "--domain-secret-file", str(self.secret(domain))]
        node = Node(folder, *given, "--mesh", mesh, "--mesh-external", mesh, *more)
        node.mesh = mesh
        self.nodes[domain] = node
        return node

    def apply(self, document):
        path = self.folder / "document.json"
        path.write_text(json.dumps({"apiVersion": "tidings.dev/v1", **document}))
        self.hub.run("apply", "-f", str(path))

    def topology(self, **spec):
        self.apply({"kind": "Topology", "metadata": {"name": "main"}, "spec": spec})

    def reach(self, here, there, expected=True):
        said = lambda: self.hub.run("segment", "explain", here, there)
        wait_for(lambda: ("does not reach" not in said()) == expected, SETTLE_SECONDS_MAX, said)

    def end(self):
        for node in self.nodes.values():
            node.kill()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    running = World(tmp_path_factory.mktemp("slim-mesh"))
    running.topology(links=[{"domain": "hub", "neighbors": ["a", "b"]}])
    running.reach("a", "b")
    yield running
    running.end()


@pytest.mark.parametrize("mls", [False, True], ids=["plain", "mls"])
def test_two_in_different_domains_exchange_messages(world, mls):
    async def story():
        prefix = f"mesh/two{mls}"
        near = await Peer("near", prefix).connect(world.a.url)
        far = await Peer("far", prefix).connect(world.b.url)
        # The name travels to the other domain within a moment.
        await asyncio.sleep(2)
        await exchange(near, far, mls=mls)

    slim.run(story())


@pytest.mark.parametrize("mls", [False, True], ids=["plain", "mls"])
def test_a_group_over_three_domains_hears_all(world, mls):
    async def story():
        prefix = f"mesh/group{mls}"
        moderator = await Peer("moderator", prefix).connect(world.hub.url)
        members = [await Peer("one", prefix).connect(world.a.url), await Peer("two", prefix).connect(world.b.websocket)]
        await asyncio.sleep(2)
        joining = [asyncio.create_task(member.hear()) for member in members]
        session = await moderator.found("channel", ["one", "two"], mls)
        sessions = await asyncio.gather(*joining)
        await asyncio.sleep(2)
        for number in range(5):
            await say(session, b"%d" % number)
        for each in sessions:
            assert [await get(each) for _ in range(5)] == [b"%d" % number for number in range(5)]
        await say(sessions[0], b"from one")
        for each in (session, sessions[1]):
            assert await get(each) == b"from one"

    slim.run(story())


def kept(node):
    return sum(each["messages"] for each in json.loads(node.run("inbox", "ls", "--json"))["inboxes"])


@pytest.mark.parametrize("returns", ["b", "a", "hub"])
def test_an_inbox_at_one_node_keeps_what_is_published_at_another_for_an_owner_of_a_third(world, returns):
    """The owner's link is cut, and it comes back at any node: it has all of it, once and in order."""
    prefix = f"mesh/away{returns}"
    name = f"{prefix}/owner"
    world.hub.run("inbox", "keep", name, "--for", "7d")
    at = {"node": world.b}
    line = Line(lambda: at["node"].slim)

    async def story():
        sender = await Peer("sender", prefix).connect(world.a.url)
        owner = await Peer("owner", prefix).connect(f"http://{line.address}")
        await asyncio.sleep(2)
        joining = asyncio.create_task(owner.hear())
        session = await sender.open("owner", reliable=False)
        hearing = await joining
        for number in range(50):
            await session.publish_async(b"before-%d" % number, None, None)
        for number in range(50):
            assert await get(hearing) == b"before-%d" % number
        assert kept(world.hub) == 0, "who is there is not kept for"
        links = world.b.count("tidings_slim_links")
        line.take_away()
        while world.b.count("tidings_slim_links") >= links:
            await asyncio.sleep(0.05)
        # That nobody is there any more travels to the sender's node.
        await asyncio.sleep(1)
        for number in range(100):
            await session.publish_async(b"%d" % number, None, None)
        deadline = asyncio.get_running_loop().time() + 20
        while kept(world.hub) < 100:
            assert asyncio.get_running_loop().time() < deadline, (world.hub.run("inbox", "ls"), world.hub.log.read_text()[-2000:])
            await asyncio.sleep(0.1)
        at["node"] = world.nodes[returns]
        line.bring_back()
        for number in range(100):
            assert await get(hearing, 60) == b"%d" % number
        for number in range(50):
            await session.publish_async(b"after-%d" % number, None, None)
        for number in range(50):
            assert await get(hearing) == b"after-%d" % number
        await asyncio.sleep(1)
        assert kept(world.hub) == 0

    slim.run(story())
    world.hub.run("inbox", "forget", name, "--yes")


def test_customers_of_different_segments_do_not_meet(world):
    segments = [{"name": "to-$domain", "links": [{"domain": "hub", "neighbors": ["$domain"]}]}]
    world.topology(segments=segments)
    world.reach("a", "b", False)

    async def story():
        prefix = "mesh/apart"
        one = await Peer("one", prefix).connect(world.a.url)
        two = await Peer("two", prefix).connect(world.b.url)
        hub = await Peer("middle", prefix).connect(world.hub.url)
        await asyncio.sleep(2)
        await exchange(hub, one)
        before = world.a.count("tidings_slim_unroutable")
        with pytest.raises(slim.slim_bindings.SlimError):
            await asyncio.wait_for(one.open("two", interval=0.2), 60)
        assert world.a.count("tidings_slim_unroutable") > before
        await exchange(hub, two)

    slim.run(story())
