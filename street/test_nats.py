"""The NATS door with nats-py: JetStream, key-value, object store, and one record for every door."""

import asyncio
import contextlib
import json
import uuid

import nats
import pytest
import requests
from nats.js import api, errors

PATIENCE = 10


def run(scenario):
    """Runs a coroutine, at most for as long as a test may take."""
    asyncio.run(asyncio.wait_for(scenario, 90))


@contextlib.asynccontextmanager
async def client(node, **options):
    connection = await nats.connect(f"nats://{node.nats}", connect_timeout=PATIENCE, **options)
    try:
        yield connection
    finally:
        await connection.close()


def name():
    return "T" + uuid.uuid4().hex[:10]


def test_subjects_queues_and_requests(node):
    async def scenario():
        async with client(node) as a, client(node) as b:
            prefix = name()
            answers = []

            async def answer(message):
                answers.append(message.subject)
                await message.respond(message.data.upper())

            await a.subscribe(f"{prefix}.*", queue="workers", cb=answer)
            await b.subscribe(f"{prefix}.>", queue="workers", cb=answer)
            await a.flush()
            await b.flush()
            for number in range(20):
                reply = await b.request(f"{prefix}.{number}", b"hi", timeout=PATIENCE)
                assert reply.data == b"HI"
            assert len(answers) == 20
            with pytest.raises(nats.errors.NoRespondersError):
                await a.request(f"nobody.{prefix}", b"", timeout=PATIENCE)

    run(scenario())


def test_key_value_and_object_store(node):
    async def scenario():
        async with client(node) as connection:
            stream = connection.jetstream()
            bucket = await stream.create_key_value(bucket=name(), history=5)
            first = await bucket.put("color", b"red")
            second = await bucket.update("color", b"blue", last=first)
            with pytest.raises(errors.KeyWrongLastSequenceError):
                await bucket.update("color", b"green", last=first)
            assert (await bucket.get("color")).value == b"blue"
            assert [entry.revision for entry in await bucket.history("color")] == [first, second]
            watcher = await bucket.watchall()
            assert (await watcher.updates()).value == b"blue"
            assert await watcher.updates() is None
            await bucket.delete("color")
            assert (await watcher.updates(timeout=PATIENCE)).operation == "DEL"
            with pytest.raises(errors.KeyNotFoundError):
                await bucket.get("color")
            store = await stream.create_object_store(bucket=name())
            data = bytes(range(256)) * 4096
            await store.put("file", data)
            assert (await store.get("file")).data == data
            await store.delete("file")
            with pytest.raises(errors.ObjectNotFoundError):
                await store.get("file")

    run(scenario())


def test_an_event_posted_over_http_is_a_cloudevent_for_a_nats_subscriber(node):
    kind = f"street.{name()}"
    attributes = {
        "id": "1", "source": "/street", "type": kind, "specversion": "1.0", "datacontenttype": "application/json",
        "subject": "door", "extra": "7",
    }

    async def scenario():
        async with client(node) as connection:
            live = await connection.subscribe(f"events.{kind}")
            await connection.flush()
            headers = {f"ce-{key}": value for key, value in attributes.items() if key != "datacontenttype"}
            headers["content-type"] = attributes["datacontenttype"]
            posted = await asyncio.to_thread(
                requests.post, node.url("/v1/events"), headers=headers, data=b'{"a":  1}', timeout=PATIENCE
            )
            assert posted.status_code == 201
            message = await live.next_msg(timeout=PATIENCE)
            assert message.data == b'{"a":  1}'
            heard = {key.lower(): value for key, value in message.headers.items()}
            for key, value in attributes.items():
                name_there = "content-type" if key == "datacontenttype" else f"ce-{key}"
                assert heard.get(name_there, heard.get(f"ce-{key}")) == value, (key, heard)

    run(scenario())


def test_a_cloudevent_published_over_nats_is_an_event_over_http(node):
    identity, kind = uuid.uuid4().hex, f"street.{name()}"

    async def scenario():
        async with client(node) as connection:
            headers = {
                "ce-specversion": "1.0", "ce-id": identity, "ce-source": "/nats", "ce-type": kind,
                "content-type": "application/json",
            }
            ack = await connection.jetstream().publish(f"events.{kind}", b'{"b": 2}', headers=headers)
            assert ack.stream == "EVENTS"

    run(scenario())
    found = requests.get(node.url(f"/v1/events/{identity}"), timeout=PATIENCE)
    assert found.status_code == 200, found.text
    listed = node.run("event", "list", "--json", "--limit", "1000")
    assert listed.returncode == 0, listed.stderr
    assert identity in listed.stdout


def test_a_consumer_of_one_door_is_a_consumer_of_the_other(node):
    stream = name()

    async def scenario():
        async with client(node) as connection:
            jetstream = connection.jetstream()
            await jetstream.add_stream(name=stream, subjects=[f"{stream}.>"])
            await jetstream.publish(f"{stream}.a", b"one")
            await jetstream.add_consumer(stream, durable_name="both", ack_policy=api.AckPolicy.EXPLICIT)
            fetched = await asyncio.to_thread(node.run, "consumer", "next", stream, "both", "--json")
            assert fetched.returncode == 0, fetched.stderr
            token = json.loads(fetched.stdout.splitlines()[0])["token"]
            acked = await asyncio.to_thread(node.run, "consumer", "ack", stream, "both", token)
            assert acked.returncode == 0, acked.stderr
            info = await jetstream.consumer_info(stream, "both")
            assert (info.num_ack_pending, info.ack_floor.stream_seq) == (0, 1)

    run(scenario())


def test_nothing_acknowledged_is_lost_when_the_node_is_killed_under_load(own_node):
    """Two publishers and a worker go through five kills; the clients reconnect by themselves."""
    acknowledged, worked = set(), set()

    async def publish(connection, publisher, stop):
        jetstream = connection.jetstream(timeout=2)
        number = 0
        while not stop.is_set():
            text = f"{publisher}-{number}"
            try:
                # The same id: whether a publish without an answer was recorded is not known.
                await jetstream.publish("load.x", text.encode(), headers={"Nats-Msg-Id": text})
            except (nats.errors.Error, asyncio.TimeoutError):
                await asyncio.sleep(0.05)
                continue
            acknowledged.add(text)
            number += 1

    async def work(connection, published):
        worker = await connection.jetstream(timeout=2).pull_subscribe("load.>", "worker", stream="LOAD")
        while not (published.is_set() and acknowledged <= worked):
            try:
                for message in await worker.fetch(50, timeout=1):
                    worked.add(message.data.decode())
                    await message.ack()
            except (nats.errors.Error, asyncio.TimeoutError):
                await asyncio.sleep(0.05)

    async def scenario():
        options = {"max_reconnect_attempts": -1, "reconnect_time_wait": 0.05}
        async with client(own_node, **options) as a, client(own_node, **options) as b, client(own_node, **options) as c:
            await a.jetstream().add_stream(name="LOAD", subjects=["load.>"])
            await a.jetstream().add_consumer("LOAD", durable_name="worker", ack_policy=api.AckPolicy.EXPLICIT)
            stop, published = asyncio.Event(), asyncio.Event()
            publishers = [asyncio.create_task(each) for each in (publish(a, "a", stop), publish(b, "b", stop))]
            worker = asyncio.create_task(work(c, published))
            for _ in range(5):
                before = len(acknowledged)
                while len(acknowledged) < before + 100:
                    await asyncio.sleep(0.01)
                own_node.kill()
                await asyncio.to_thread(own_node.start)
            stop.set()
            # What is under way may still be acknowledged; only then is it known what the worker must have seen.
            await asyncio.gather(*publishers)
            published.set()
            await worker
            state = (await a.jetstream().stream_info("LOAD")).state
            stored = []
            for sequence in range(state.first_seq, state.last_seq + 1):
                stored.append((await a.jetstream().get_msg("LOAD", sequence)).data.decode())
        assert len(stored) == len(set(stored)), "something was recorded twice"
        assert acknowledged <= set(stored)
        assert acknowledged <= worked
        for publisher in "ab":
            numbers = [int(text.split("-")[1]) for text in stored if text.startswith(publisher)]
            assert numbers == sorted(numbers)

    run(scenario())


def test_tools_find_the_node_where_they_look(node):
    for path in ("varz", "connz", "subsz", "jsz", "healthz"):
        answer = requests.get(f"http://{node.monitor}/{path}", timeout=PATIENCE)
        assert answer.status_code == 200, path
        assert isinstance(answer.json(), dict)
    assert requests.get(f"http://{node.monitor}/varz", timeout=PATIENCE).json()["version"].startswith("2.")


def test_what_is_wrong_is_answered_and_harms_nobody(node):
    async def scenario():
        async with client(node) as connection:
            for subject, body, code in [
                ("STREAM.CREATE.X", b"{", 10025),
                ("STREAM.CREATE.X", b"\xff\xfe", 10025),
                ("STREAM.CREATE.X", b'{"name": "X", "nonsense": 1}', 10025),
                ("STREAM.CREATE.X", b'{"name": "Y"}', 10056),
                ("STREAM.INFO.NOTHING", b"", 10059),
            ]:
                reply = await connection.request(f"$JS.API.{subject}", body, timeout=PATIENCE)
                assert json.loads(reply.data)["error"]["err_code"] == code, (subject, body, reply.data)
            await connection.publish("$JS.ACK.EVENTS.nobody.1.1.1.1.1", b"+ACK")
            await connection.publish("$JS.ACK.x", b"\xff")
            await connection.flush(timeout=PATIENCE)

    run(scenario())
