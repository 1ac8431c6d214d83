"""An original SLIM node and one of ours as replicas of each other: applications at either reach those at the other."""

import asyncio
import pathlib
import socket
import subprocess
import sys

import pytest
from conftest import STOP_SECONDS_MAX, wait_for

slim = pytest.importorskip("slim")
from slim import Peer, get, say  # noqa: E402
from test_slim import Node, exchange  # noqa: E402

LOOK_SECONDS_MAX = 30


class Original:
    """A node of the bindings, in a process of its own."""

    def __init__(self, address):
        self.address, self.url = address, f"http://{address}"
        program = pathlib.Path(slim.__file__)
        self.process = subprocess.Popen([sys.executable, str(program), "node", address], stdin=subprocess.PIPE)
        wait_for(self._listens, LOOK_SECONDS_MAX, lambda: f"nobody listens at {address}")

    def _listens(self):
        assert self.process.poll() is None, "the original ended"
        host, port = self.address.split(":")
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex((host, int(port))) == 0

    def stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def free():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return "127.0.0.1:%d" % taken.getsockname()[1]


@pytest.fixture
def pair(tmp_path):
    """Ours, which dials since its name is the smaller, and the original."""
    original = Original(free())
    ours = Node(tmp_path, "--node", "a", "--slim-peer", f"z={original.address}")
    yield ours, original
    ours.kill()
    original.stop()


def test_applications_at_one_reach_those_at_the_other(pair):
    ours, original = pair

    async def both():
        here, there = await Peer("here").connect(ours.url), await Peer("there").connect(original.url)
        await exchange(here, there)
        await exchange(there, here)
        await exchange(here, there, mls=True)
        for each in (here, there):
            await each.close()

    slim.run(both())


def test_a_group_has_members_at_both(pair):
    ours, original = pair

    async def group():
        members = [await Peer("m1").connect(ours.url), await Peer("m2").connect(original.url)]
        founder = await Peer("founder").connect(ours.url)
        hearing = [asyncio.create_task(member.hear()) for member in members]
        session = await founder.found("channel", ["m1", "m2"])
        sessions = [await heard for heard in hearing]
        for number in range(5):
            payload = b"to all %d" % number
            await say(session, payload)
            for member in sessions:
                assert await get(member) == payload
        for each in (founder, *members):
            await each.close()

    slim.run(group())


def test_an_original_that_comes_back_is_told_everything_again(pair):
    ours, original = pair

    async def again():
        here = await Peer("stays").connect(ours.url)
        original.stop()
        back = Original(original.address)
        try:
            there = await Peer("comes").connect(back.url)
            wait_for(lambda: ours.count("tidings_slim_links") == 2, LOOK_SECONDS_MAX, lambda: "the link is not back")
            await exchange(there, here)
            for each in (here, there):
                await each.close()
        finally:
            back.stop()

    slim.run(again())
