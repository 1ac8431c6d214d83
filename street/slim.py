"""Stock clients of SLIM, by its own bindings from PyPI; as a program, a load that `cargo xtask bench mesh` measures.

As a program it says what it measured on standard output, as JSON:
    python slim.py rtt URL [--count N] [--size N] [--unreliable]
    python slim.py oneway URL [--count N] [--size N] [--members N]
    python slim.py node ADDRESS     # an original node, until standard input ends
"""

import argparse
import asyncio
import datetime
import json
import os
import sys
import time

os.environ.setdefault("RUST_LOG", "off")

import slim_bindings

# The examples' own secret is shorter than the library takes.
SECRET = "a secret that all of a group share, of more than thirty-two bytes"
PATIENCE = 30


def seconds(count):
    return datetime.timedelta(seconds=count)


def name(text, application):
    return slim_bindings.Name(*text.split("/"), application)


class Peer:
    """An application with a link of its own."""

    def __init__(self, label, prefix="org/ns"):
        self.label, self.prefix = label, prefix

    async def connect(self, url):
        self.service = slim_bindings.Service(f"{self.label}-{time.monotonic_ns()}")
        self.connection = await self.service.connect_async(slim_bindings.new_insecure_client_config(url))
        self.app = self.service.create_app_with_secret(name(self.prefix, self.label), SECRET)
        await self.app.subscribe_async(self.app.name(), self.connection)
        return self

    async def reach(self, label):
        """The name of another, which is found through the own link."""
        other = name(self.prefix, label)
        await self.app.set_route_async(other, self.connection)
        return other

    async def open(self, label, reliable=True, mls=False, interval=1):
        """A session with another."""
        other = await self.reach(label)
        return await self.app.create_session_and_wait_async(config("POINT_TO_POINT", reliable, mls, interval), other)

    async def found(self, channel, members, mls=False):
        """A group with others."""
        session = await self.app.create_session_and_wait_async(config("GROUP", True, mls), name(self.prefix, channel))
        for member in members:
            await session.invite_and_wait_async(await self.reach(member))
        return session

    async def hear(self):
        """A session that another opened."""
        return await self.app.listen_for_session_async(seconds(PATIENCE))

    async def close(self):
        await self.service.shutdown_async()


def config(kind, reliable=True, mls=False, interval=1):
    return slim_bindings.SessionConfig(
        session_type=getattr(slim_bindings.SessionType, kind),
        max_retries=10 if reliable else None,
        interval=seconds(interval) if reliable else None,
        metadata={},
        mls_settings=slim_bindings.MlsSettings(
            header_integrity_validation_percent=100, max_seen_control_message_ids_size=None
        )
        if mls
        else None,
    )


async def say(session, payload):
    """Sends a message, and waits until a reliable session has it acknowledged."""
    handle = await session.publish_async(payload, None, None)
    await handle.wait_async()


async def get(session, patience=PATIENCE):
    message = await session.get_message_async(seconds(patience))
    return message.payload


async def echo(peer):
    """Answers everything of one session, until there is nothing more."""
    session = await peer.hear()
    while True:
        message = await session.get_message_async(seconds(PATIENCE))
        await session.publish_to_async(message.context, message.payload, None, None)


def run(story):
    """Runs a story to its end."""
    slim_bindings.initialize_with_defaults()
    asyncio.run(asyncio.wait_for(story, 100))


async def round_trips(url, count, size, reliable):
    near, far = await Peer("near").connect(url), await Peer("far").connect(url)
    answering = asyncio.create_task(echo(far))
    session = await near.open("far", reliable)
    times, payload = [], b"x" * size
    for _ in range(count):
        begun = time.perf_counter()
        await session.publish_async(payload, None, None)
        await get(session)
        times.append(time.perf_counter() - begun)
    answering.cancel()
    times.sort()
    part = lambda percent: times[min(len(times) - 1, len(times) * percent // 100)] * 1e6
    return {"count": count, "p50_us": part(50), "p99_us": part(99), "max_us": times[-1] * 1e6}


async def one_way(url, count, size, members):
    """A publisher and those who listen; how many messages a second came to each."""
    sender = await Peer("sender").connect(url)
    labels = [f"member{place}" for place in range(members)]
    receivers = [await Peer(label).connect(url) for label in labels]

    async def receive(peer):
        session = await peer.hear()
        for _ in range(count):
            await get(session)

    receiving = [asyncio.create_task(receive(peer)) for peer in receivers]
    if members == 1:
        session = await sender.open(labels[0], reliable=False)
    else:
        quick = config("GROUP", reliable=False)
        session = await sender.app.create_session_and_wait_async(quick, name("org/ns", "channel"))
        for label in labels:
            await session.invite_and_wait_async(await sender.reach(label))
    await asyncio.sleep(1)
    payload, begun = b"x" * size, time.perf_counter()
    print(json.dumps({"began": True}), flush=True)
    for _ in range(count):
        await session.publish_async(payload, None, None)
    await asyncio.gather(*receiving)
    taken = time.perf_counter() - begun
    return {"count": count, "members": members, "seconds": taken}


async def original(address):
    """A node of the bindings' own."""
    service = slim_bindings.Service("original")
    await service.run_server_async(slim_bindings.new_insecure_server_config(address))
    print(json.dumps({"listening": address}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("rtt", "oneway", "node"))
    parser.add_argument("address")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--unreliable", action="store_true")
    given = parser.parse_args()
    slim_bindings.initialize_with_defaults()
    story = {
        "rtt": lambda: round_trips(given.address, given.count, given.size, not given.unreliable),
        "oneway": lambda: one_way(given.address, given.count, given.size, given.members),
        "node": lambda: original(given.address),
    }[given.what]
    said = asyncio.run(story())
    if said is not None:
        print(json.dumps(said), flush=True)
    # Its threads need not end one by one.
    os._exit(0)


if __name__ == "__main__":
    main()
