"""Stock clients of SLIM at a node: two of them, groups, WebSockets, one that stops, one that is away."""

import asyncio
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading

import pytest
import requests
from conftest import START_SECONDS_MAX, STOP_SECONDS_MAX, wait_for
from sites import Proxy

slim = pytest.importorskip("slim")
from slim import Peer, echo, get, say  # noqa: E402


class Line(Proxy):
    """A link that can be taken away: whoever dials is refused, as stock clients want it to dial again."""

    def take_away(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut(closed=True)

    def bring_back(self):
        host, port = self.address.split(":")
        self.listener = socket.create_server((host, int(port)))
        self.heal()
        threading.Thread(target=self._accept, daemon=True).start()


class Node:
    """A node with its SLIM door."""

    def __init__(self, folder: pathlib.Path, *arguments):
        self.binary, self.data, self.log = os.environ["TIDINGS_BINARY"], folder / "data", folder / "node.log"
        self.data.mkdir(exist_ok=True)
        self.arguments, self.http, self.slim = arguments, "127.0.0.1:0", "127.0.0.1:0"
        self.start()

    def start(self):
        ports = self.data / "ports.json"
        ports.unlink(missing_ok=True)
        command = [self.binary, "serve", "--data", str(self.data), "--http", self.http, "--slim", self.slim]
        for door in ("nats", "hub", "consul", "dns"):
            command += [f"--{door}", "off"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*command, *self.arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(lambda: self._ready(ports), START_SECONDS_MAX, lambda: f"not ready:\n{self.log.read_text()}")

    def _ready(self, ports):
        assert self.process.poll() is None, f"the node ended:\n{self.log.read_text()}"
        try:
            listening = json.loads(ports.read_text())
            self.http, self.slim = listening["http"], listening["slim"]
            return requests.get(f"http://{self.http}/readyz", timeout=5).status_code == 200
        except (FileNotFoundError, json.JSONDecodeError, requests.ConnectionError):
            return False

    @property
    def url(self):
        return f"http://{self.slim}"

    @property
    def websocket(self):
        return f"ws://{self.slim}/"

    def run(self, *arguments):
        environment = {**os.environ, "TIDINGS_SERVER": f"http://{self.http}", "NO_COLOR": "1"}
        done = subprocess.run(
            [self.binary, *arguments], capture_output=True, text=True, timeout=60, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def count(self, name):
        """The sum of a metric."""
        text = requests.get(f"http://{self.http}/metrics", timeout=10).text
        lines = [line for line in text.splitlines() if line.split("{")[0].split(" ")[0] in (name, f"{name}_total")]
        assert lines, f"{name} is not among the metrics"
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def stop(self):
        self.process.terminate()
        assert self.process.wait(STOP_SECONDS_MAX) == 0, self.log.read_text()

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """One node for all tests: they use names of their own."""
    running = Node(tmp_path_factory.mktemp("slim"))
    yield running
    running.stop()


@pytest.fixture
def own_node(tmp_path):
    running = Node(tmp_path)
    yield running
    running.kill()


async def exchange(near, far, **how):
    """Ten messages there and back, in order."""
    answering = asyncio.create_task(echo(far))
    session = await near.open(far.label, **how)
    for number in range(10):
        payload = b"message %d" % number
        await session.publish_async(payload, None, None)
        assert await get(session) == payload
    answering.cancel()
    return session


@pytest.mark.parametrize("mls", [False, True], ids=["plain", "mls"])
@pytest.mark.parametrize("reliable", [False, True], ids=["unreliable", "reliable"])
@pytest.mark.parametrize("ways", ["gg", "ww", "gw"])
def test_two_exchange_messages(node, ways, reliable, mls):
    async def story():
        urls = [{"g": node.url, "w": node.websocket}[way] for way in ways]
        prefix = f"two/{ways}{reliable}{mls}"
        near = await Peer("near", prefix).connect(urls[0])
        far = await Peer("far", prefix).connect(urls[1])
        await exchange(near, far, reliable=reliable, mls=mls)

    slim.run(story())


@pytest.mark.parametrize("mls", [False, True], ids=["plain", "mls"])
def test_a_group_hears_its_moderator_and_each_other(node, mls):
    async def story():
        prefix = f"group/{mls}"
        labels = ["one", "two", "three"]
        moderator = await Peer("moderator", prefix).connect(node.url)
        members = [
            await Peer(label, prefix).connect(node.websocket if label == "two" else node.url) for label in labels
        ]
        joining = [asyncio.create_task(member.hear()) for member in members]
        session = await moderator.found("channel", labels, mls)
        sessions = await asyncio.gather(*joining)
        await asyncio.sleep(1)
        for number in range(5):
            await say(session, b"from the moderator %d" % number)
        for each in sessions:
            assert [await get(each) for _ in range(5)] == [b"from the moderator %d" % n for n in range(5)]
        await say(sessions[0], b"from one")
        for each in (session, sessions[1], sessions[2]):
            assert await get(each) == b"from one"

    slim.run(story())


def test_a_round_trip_does_not_wait_for_acknowledgements_of_the_network(node):
    """Stock clients leave Nagle's algorithm on: with a node that does nothing about it, half of all reliable round
    trips take more than 80 ms."""

    async def story():
        said = await slim.round_trips(node.url, 200, 128, reliable=True)
        assert said["p50_us"] < 20_000, said

    slim.run(story())


def test_a_message_that_is_too_large_leaves_the_link_as_it_was(node):
    async def story():
        near, far = await Peer("near", "large/a").connect(node.url), await Peer("far", "large/a").connect(node.url)
        answering = asyncio.create_task(echo(far))
        session = await near.open("far", reliable=False)
        before = node.count("tidings_slim_dropped")
        await session.publish_async(b"x" * (5 * 1024 * 1024), None, None)
        await session.publish_async(b"small", None, None)
        assert await get(session) == b"small"
        assert node.count("tidings_slim_dropped") == before + 1
        for size in (100_000, 1_000_000, 4_000_000):
            await session.publish_async(b"x" * size, None, None)
            assert len(await get(session)) == size
        answering.cancel()

    slim.run(story())


def test_what_nobody_takes_is_counted_and_the_sender_goes_on(node):
    async def story():
        near, far = await Peer("near", "nobody/a").connect(node.url), await Peer("far", "nobody/a").connect(node.url)
        before = node.count("tidings_slim_unroutable")
        with pytest.raises(slim.slim_bindings.SlimError):
            await asyncio.wait_for(near.open("nobody", interval=0.2), 60)
        assert node.count("tidings_slim_unroutable") > before
        await exchange(near, far)

    slim.run(story())


def test_one_that_stops_freezes_nobody(node, tmp_path):
    """A member that stops reading costs the publisher and the others nothing."""
    script = tmp_path / "member.py"
    script.write_text(
        "import asyncio, sys\nimport slim\nfrom slim import Peer, get\n"
        "async def story():\n"
        "    member = await Peer('stopped', 'stop/a').connect(sys.argv[1])\n"
        "    print('here', flush=True)\n"
        "    session = await member.hear()\n"
        "    print('joined', flush=True)\n"
        "    while True:\n"
        "        await get(session)\n"
        "slim.run(story())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(slim.__file__).parent)}
    stopped = subprocess.Popen(
        [sys.executable, str(script), node.url], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert stopped.stdout.readline() == "here\n"

        async def story():
            sender, member = await Peer("sender", "stop/a").connect(node.url), await Peer("member", "stop/a").connect(
                node.url
            )
            joining = asyncio.create_task(member.hear())
            quick = slim.config("GROUP", reliable=False)
            session = await sender.app.create_session_and_wait_async(quick, slim.name("stop/a", "channel"))
            for label in ("member", "stopped"):
                await session.invite_and_wait_async(await sender.reach(label))
            hearing = await joining
            await asyncio.sleep(1)
            stopped.send_signal(signal.SIGSTOP)
            # The original froze after 380 of these.
            payload = b"x" * 16_384
            for number in range(2000):
                await session.publish_async(payload, None, None)
                if number % 50 == 49:
                    for _ in range(50):
                        assert await get(hearing, 10) == payload

        slim.run(story())
    finally:
        stopped.kill()
        stopped.wait()


def test_an_inbox_keeps_what_comes_while_its_owner_is_away(node):
    """The owner's link is cut; it knows of nothing, and has all of it when it is back."""
    node.run("inbox", "keep", "away/a/owner", "--for", "7d")
    assert "away/a/owner" in node.run("inbox", "ls")
    line = Line(lambda: node.slim)

    async def story():
        sender = await Peer("sender", "away/a").connect(node.url)
        owner = await Peer("owner", "away/a").connect(f"http://{line.address}")
        joining = asyncio.create_task(owner.hear())
        session = await sender.open("owner", reliable=False)
        hearing = await joining
        await session.publish_async(b"before", None, None)
        assert await get(hearing) == b"before"
        links = node.count("tidings_slim_links")
        line.take_away()
        deadline = asyncio.get_running_loop().time() + 20
        while node.count("tidings_slim_links") >= links:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.05)
        for number in range(100):
            await session.publish_async(b"%d" % number, None, None)
        while json.loads(node.run("inbox", "ls", "--json"))["inboxes"][0]["messages"] < 100:
            assert asyncio.get_running_loop().time() < deadline, node.run("inbox", "ls")
            await asyncio.sleep(0.1)
        line.bring_back()
        for number in range(100):
            assert await get(hearing, 60) == b"%d" % number
        await session.publish_async(b"after", None, None)
        assert await get(hearing) == b"after"

    slim.run(story())
    node.run("inbox", "forget", "away/a/owner", "--yes")


def test_clients_come_back_to_a_node_that_was_killed(own_node):
    """Through a line that refuses meanwhile: who reaches a socket that is just dying gives up for ever."""
    line = Line(lambda: own_node.slim)
    url = f"http://{line.address}"

    async def story():
        near, far = await Peer("near", "back/a").connect(url), await Peer("far", "back/a").connect(url)
        answering = asyncio.create_task(echo(far))
        session = await near.open("far", reliable=True)
        await session.publish_async(b"before", None, None)
        assert await get(session) == b"before"
        line.take_away()
        own_node.kill()
        own_node.start()
        line.bring_back()
        deadline = asyncio.get_running_loop().time() + 60
        while own_node.count("tidings_slim_subscriptions") < 2:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.1)
        await session.publish_async(b"after", None, None)
        assert await get(session) == b"after"
        answering.cancel()

    slim.run(story())
