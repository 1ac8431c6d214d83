"""Eight consumers and four streams of services that run on JetStream, as they use them: in Python, step for step.

The messages are those of the services: JSON for accounts, protobuf for the rest, written here field by field.
"""

import asyncio
import json
import struct
import time
import uuid

import nats
import pytest
from nats.js import api, errors
from test_nats import PATIENCE, client, run

DAY = 24 * 60 * 60
STREAMS = {"AUTH": "auth.>", "NOTIFICATIONS": "notify.>", "CLUSTER": "cluster.>", "LOGS": "log.error.>"}
CONSUMERS = [
    ("AUTH", "sfs-backend", "auth.user.>", "all", 10),
    ("AUTH", "edd-compute", "auth.user.>", "all", 10),
    ("AUTH", "sfs-identity", "auth.identity.>", "all", 10),
    ("AUTH", "compute-identity", "auth.identity.>", "all", 10),
    ("NOTIFICATIONS", "notification-service", "notify.>", "all", 10),
    ("CLUSTER", "alerting-metrics", "cluster.metrics", "last", 1),
    ("CLUSTER", "alerting-pods", "cluster.pods", "last", 1),
    ("LOGS", "alerting-logs", "log.error.>", "new", 10),
]


def field(number, value):
    """A protobuf field: text, message, double or integer."""
    if isinstance(value, float):
        return bytes([number << 3 | 1]) + struct.pack("<d", value)
    if isinstance(value, int):
        return bytes([number << 3]) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return bytes([number << 3 | 2]) + varint(len(value)) + value


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + bytes([value]))


def metadata(source, entity):
    moment = field(1, int(time.time())) + field(2, 1)
    return field(1, field(1, str(uuid.uuid4())) + field(2, entity) + field(3, moment) + field(4, source))


def user(event, identity):
    about = {"event_id": str(uuid.uuid4()), "entity_id": identity, "timestamp": int(time.time()), "source": "auth-service"}
    return json.dumps({"metadata": about, "user_id": identity, "username": f"u-{identity}", "event": event}).encode()


async def ensure_streams(connection):
    """Update first; where there is nothing to update, create. Zeros stand for defaults."""
    for name, subject in STREAMS.items():
        declared = {
            "name": name, "subjects": [subject], "retention": "limits", "max_consumers": 0, "max_msgs": 1_000_000,
            "max_bytes": 1 << 30, "discard": "old", "max_age": 7 * DAY * 10**9, "max_msgs_per_subject": 0,
            "storage": "file", "num_replicas": 0, "compression": "none", "allow_direct": False,
            "mirror_direct": False, "consumer_limits": {},
        }
        body = json.dumps(declared).encode()
        for verb in ("UPDATE", "CREATE"):
            reply = json.loads((await connection.request(f"$JS.API.STREAM.{verb}.{name}", body, timeout=5)).data)
            if "error" not in reply:
                break
            assert (reply["error"]["code"], reply["error"]["err_code"]) == (404, 10059)
        config = reply["config"]
        assert (config["num_replicas"], config["duplicate_window"]) == (1, 120_000_000_000)
        assert (config["max_consumers"], config["max_msgs_per_subject"], config["max_msg_size"]) == (-1, -1, -1)


async def consumer(connection, stream, durable, filtered, policy):
    config = {
        "durable_name": durable, "name": durable, "deliver_policy": policy, "ack_policy": "explicit",
        "ack_wait": 30 * 10**9, "max_deliver": 5, "filter_subject": filtered, "replay_policy": "instant",
    }
    body = json.dumps({"stream_name": stream, "config": config, "action": ""}).encode()
    subject = f"$JS.API.CONSUMER.CREATE.{stream}.{durable}.{filtered}"
    reply = json.loads((await connection.request(subject, body, timeout=5)).data)
    assert "error" not in reply, reply
    assert (reply["config"]["filter_subject"], reply["config"]["max_ack_pending"]) == (filtered, 1000)
    return await connection.jetstream().pull_subscribe_bind(consumer=durable, stream=stream)


async def everything(pull, batch):
    heard = []
    while True:
        try:
            messages = await pull.fetch(batch, timeout=0.5)
        except asyncio.TimeoutError:  # the client's own kind of it too
            return heard
        for message in messages:
            heard.append(message)
            await message.ack()


def test_the_services_find_what_they_rely_on(own_node):
    async def scenario():
        async with client(own_node) as connection:
            await ensure_streams(connection)
            await ensure_streams(connection)
            jetstream = connection.jetstream()
            for number in range(3):
                metrics = metadata("cluster-monitor", "n") + field(2, field(1, "node") + field(2, float(number)))
                await jetstream.publish("cluster.metrics", metrics)
            old = metadata("log-service", "x") + field(2, "gateway") + field(3, "before") + field(4, "ERROR")
            await jetstream.publish("log.error.gateway", old)
            pulls = {}
            for stream, durable, filtered, policy, batch in CONSUMERS:
                pulls[durable] = (await consumer(connection, stream, durable, filtered, policy), batch)
            await publish_all(jetstream)
            heard = {durable: await everything(*pull) for durable, pull in pulls.items()}
            judge(heard)

    run(scenario())


async def publish_all(jetstream):
    for event in ("created", "deleted"):
        await jetstream.publish(f"auth.user.Ab12cd.{event}", user(event, "Ab12cd"))
    scopes = {"service_account_id": "Sa0001", "user_id": "Ab12cd", "scopes": {"compute.x": ["read"]}, "version": 1}
    await jetstream.publish("auth.identity.Sa0001.updated", json.dumps(scopes).encode())
    notification = metadata("edd-compute", "c") + field(2, "Ab12cd") + field(3, "Container Ready") + field(6, "compute")
    await jetstream.publish("notify.Ab12cd", notification)
    pod = field(1, "web") + field(2, "core") + field(3, 2) + field(4, 1)
    await jetstream.publish("cluster.pods", metadata("cluster-monitor", "n") + field(2, pod))
    new = metadata("log-service", "x") + field(2, "gateway") + field(3, "after") + field(4, "ERROR")
    await jetstream.publish("log.error.gateway", new)
    with pytest.raises(errors.NoStreamResponseError):
        await jetstream.publish("compute.nothing", b"")


def judge(heard):
    subjects = {durable: [message.subject for message in messages] for durable, messages in heard.items()}
    assert subjects["sfs-backend"] == subjects["edd-compute"] == ["auth.user.Ab12cd.created", "auth.user.Ab12cd.deleted"]
    assert subjects["sfs-identity"] == subjects["compute-identity"] == ["auth.identity.Sa0001.updated"]
    assert subjects["notification-service"] == ["notify.Ab12cd"]
    assert subjects["alerting-metrics"] == ["cluster.metrics"], "the last there was"
    assert struct.pack("<d", 2.0) in heard["alerting-metrics"][0].data
    assert subjects["alerting-pods"] == ["cluster.pods"]
    assert len(heard["alerting-logs"]) == 1 and b"after" in heard["alerting-logs"][0].data
    assert all(message.metadata.num_delivered == 1 for messages in heard.values() for message in messages)


def test_a_message_that_is_refused_comes_five_times_at_once_and_then_no_more(own_node):
    async def scenario():
        async with client(own_node) as connection:
            await ensure_streams(connection)
            pull = await consumer(connection, "AUTH", "sfs-backend", "auth.user.>", "all")
            await connection.jetstream().publish("auth.user.Ab12cd.created", b"not json")
            begun, deliveries = time.monotonic(), []
            while len(deliveries) < 5:
                for message in await pull.fetch(10, timeout=5):
                    deliveries.append(message.metadata.num_delivered)
                    await message.nak()
            assert deliveries == [1, 2, 3, 4, 5]
            assert time.monotonic() - begun < PATIENCE
            with pytest.raises(nats.errors.TimeoutError):
                await pull.fetch(1, timeout=1)
            info = await connection.jetstream().consumer_info("AUTH", "sfs-backend")
            assert info.num_pending == 0

    run(scenario())


def test_a_fetch_that_finds_nothing_ends_with_what_was_left(own_node):
    async def scenario():
        async with client(own_node) as connection:
            await ensure_streams(connection)
            await consumer(connection, "NOTIFICATIONS", "notification-service", "notify.>", "all")
            inbox = connection.new_inbox()
            heard = await connection.subscribe(inbox)
            request = b'{"expires":300000000,"batch":10}'
            subject = "$JS.API.CONSUMER.MSG.NEXT.NOTIFICATIONS.notification-service"
            await connection.publish(subject, request, reply=inbox)
            status = await heard.next_msg(timeout=PATIENCE)
            assert status.headers["Status"] == "408"
            assert status.headers["Nats-Pending-Messages"] == "10"
            assert status.headers["Nats-Pending-Bytes"] == "0"

    run(scenario())


def test_streams_made_by_the_script_cannot_have_their_denials_taken_back(own_node):
    async def scenario():
        async with client(own_node) as connection:
            config = api.StreamConfig(name="AUTH", subjects=["auth.>"], deny_delete=True, deny_purge=True)
            await connection.jetstream().add_stream(config)
            body = json.dumps({"name": "AUTH", "subjects": ["auth.>"], "retention": "limits", "storage": "file"}).encode()
            reply = json.loads((await connection.request("$JS.API.STREAM.UPDATE.AUTH", body, timeout=5)).data)
            assert reply["error"]["err_code"] == 10052
            expected = "stream configuration update can not cancel deny message deletes"
            assert reply["error"]["description"] == expected

    run(scenario())
