"""Rooms are subjects: what enters at the hub door is read through the others, and the other way round; rooms that
are kept are replayed."""

import asyncio
import datetime
import json
import threading
import time

import nats
import pytest
import requests
from conftest import wait_for
from hub import PATIENCE, Hub, Listener, event

SUBJECT = "/v1/subscribe?subject="


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    running = Hub(tmp_path_factory.mktemp("rooms"))
    yield running
    running.stop()


def test_an_event_of_a_room_is_heard_over_http(hub):
    live = Listener(hub, SUBJECT + "room.ITB-1101")
    body = event("ITB-1101", "off")
    with hub.connect() as sender:
        sender.send("ITB-1101", body)
        sender.send("ITB-1102", body)
        sender.send("ITB-1101", b"\nnot JSON")
    first, second = live.wait(2)
    assert (first["subject"], first["data"], second["data"]) == ("room.ITB-1101", body.decode(), "\nnot JSON")
    attributes = {name: first["event"][name] for name in ("type", "source", "subject", "time", "datacontenttype")}
    assert attributes == {
        "type": "hub.power", "source": "/hub/ITB-1101-CP1", "subject": "ITB-1101-D1",
        "time": "2026-11-21T12:00:00.123456789-07:00", "datacontenttype": "application/json",
    }
    assert first["event"]["data"]["value"] == "off" and first["event"]["id"]
    assert "event" not in second


def test_an_event_of_a_room_is_heard_by_a_nats_client_and_the_other_way_round(hub):
    async def scenario():
        connection = await nats.connect(f"nats://{hub.nats}", connect_timeout=PATIENCE)
        rooms = await connection.subscribe("room.>")
        await connection.flush()
        body = event("ITB-1101")
        with await asyncio.to_thread(hub.messenger, "ITB-1101", "a.b") as messenger:
            with await asyncio.to_thread(hub.connect) as sender:
                await asyncio.to_thread(sender.send, "ITB-1101", body)
                await asyncio.to_thread(sender.send, "a.b", b"\xff")
            message = await rooms.next_msg(timeout=PATIENCE)
            assert (message.subject, message.data) == ("room.ITB-1101", body)
            headers = {name.lower(): value for name, value in message.headers.items()}
            assert (headers["hub-from"], headers["ce-type"]) == ("messenger", "hub.power")
            message = await rooms.next_msg(timeout=PATIENCE)
            assert (message.subject, message.data) == ("room.a%2Eb", b"\xff")
            await connection.publish("room.ITB-1101", b'{"from":"nats"}')
            await connection.publish("room.a%2Eb", b"dots")
            await connection.flush()
            heard = await asyncio.to_thread(lambda: [messenger.receive() for _ in range(4)])
            assert heard[2:] == [b'ITB-1101\n{"from":"nats"}', b"a.b\ndots"]
        await connection.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))


@pytest.mark.parametrize("body", [event("ITB-1101"), b"", b"two\nlines\n", b"\x00\xff"])
def test_what_is_published_over_http_comes_to_a_messenger_as_it_is(hub, body):
    with hub.messenger("ITB-1101") as listener, hub.connect("hub") as other, hub.connect("repeater") as repeater:
        for one in (other, repeater):
            one.settle()
        answer = hub.publish("room.ITB-1101", body)
        assert answer.status_code == 202, answer.text
        heard = listener.receive()
        assert heard == b"ITB-1101\n" + body
        room, _, rest = heard.partition(b"\n")
        assert (room, rest) == (b"ITB-1101", body)
        # To the whole building, as if a messenger of this hub had said it.
        assert other.everything() == [heard] and repeater.everything() == [heard]


def test_a_cloudevent_comes_to_a_messenger_as_its_data(hub):
    with hub.messenger("ITB-1101") as listener:
        headers = {
            "ce-specversion": "1.0", "ce-id": "1", "ce-source": "/street", "ce-type": "street.said",
            "content-type": "application/json",
        }
        url = hub.url("/v1/events?subject=room.ITB-1101")
        answer = requests.post(url, headers=headers, data=b'{"a":  1}', timeout=PATIENCE)
        assert answer.status_code in (201, 202), answer.text
        assert listener.receive() == b'ITB-1101\n{"a":  1}'


def test_a_room_that_is_kept_is_replayed(hub):
    kept = hub.run("room", "keep", "KEPT-1", "--for", "7d")
    assert kept.returncode == 0, kept.stderr
    with hub.messenger("KEPT-1", "LOOSE-1") as listener, hub.connect() as sender:
        for number in range(5):
            sender.send("KEPT-1", b"%d" % number)
            sender.send("LOOSE-1", b"%d" % number)
        wanted = [b"%s-1\n\n%d" % (room, number) for number in range(5) for room in (b"KEPT", b"LOOSE")]
        heard = [listener.receive() for _ in wanted]
        # Who hears a room that is kept hears it once it is recorded; the order within a room holds.
        assert sorted(heard) == sorted(wanted)
        assert [each for each in heard if each.startswith(b"KEPT")] == wanted[::2]
        after = datetime.datetime.now(datetime.timezone.utc).isoformat().replace("+00:00", "Z")
        sender.send("KEPT-1", b"5")
        assert listener.receive() == b"KEPT-1\n\n5"
        kept = [b"KEPT-1\n\n%d" % number for number in range(6)]
        for since, heard in [("1h", kept), ("1", kept), ("4", kept[3:]), (after, kept[5:]), ("7", [])]:
            with hub.messenger("KEPT-1", "LOOSE-1", query=f"?since={since.replace('+', '%2B')}") as late:
                assert [late.receive() for _ in heard] == heard, since
                sender.send("LOOSE-1", b"live")
                assert late.receive() == b"LOOSE-1\n\nlive", since
                assert late.everything() == [], since
        with hub.messenger("KEPT-1") as plain:
            sender.send("KEPT-1", b"6")
            assert plain.receive() == b"KEPT-1\n\n6"
            assert plain.everything() == []
    listed = hub.run("room", "list")
    assert listed.returncode == 0 and "KEPT-1" in listed.stdout, listed.stderr


def test_the_last_value_of_each_key(hub):
    hub.keep("LAST", "LAST-1")
    with hub.connect() as sender:
        for key, value in [("power", "on"), ("input", "hdmi1"), ("power", "off"), ("input", "hdmi2")]:
            sender.send("LAST-1", event("LAST-1", value, key=key))
        sender.send("LAST-1", event("LAST-1", "30", key="volume"))
    wait_for(lambda: last_of(hub, "LAST") == 5, PATIENCE, lambda: "not recorded")
    with hub.messenger("LAST-1", query="?last=1") as listener, hub.connect() as sender:
        heard = [json.loads(listener.receive().removeprefix(b"LAST-1\n")) for _ in range(3)]
        assert sorted((each["key"], each["value"]) for each in heard) == [
            ("input", "hdmi2"), ("power", "off"), ("volume", "30"),
        ]
        sender.send("LAST-1", event("LAST-1", "40", key="volume"))
        assert json.loads(listener.receive().removeprefix(b"LAST-1\n"))["value"] == "40"
        assert listener.everything() == []


def last_of(hub, stream):
    state = requests.get(hub.url(f"/v1/streams/{stream}"), timeout=PATIENCE).json()["state"]
    return state["messages"]


@pytest.mark.parametrize("since", ["nonsense", "-1h", "2026-13-01T00:00:00Z", ""])
def test_a_replay_from_nowhere_is_refused(hub, since):
    answer = hub.ask("GET", f"/connect/messenger?since={since}", headers={
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    })
    assert answer.status_code == 400, answer.text


def test_between_what_was_and_what_comes_nothing_is_lost_or_doubled(hub):
    hub.keep("SEAM", "SEAM-1")
    over, sent = threading.Event(), 0

    def publish():
        nonlocal sent
        with hub.connect() as sender:
            while not over.is_set() and sent < 20_000:
                sender.post("SEAM-1", b"%d" % sent)
                sent += 1
                if sent % 50 == 0:
                    sender.settle()
            sender.settle()

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        wait_for(lambda: sent > 500, PATIENCE, lambda: "nothing is sent")
        listeners = []
        for _ in range(5):
            listeners.append(hub.messenger("SEAM-1", query="?since=1h"))
            time.sleep(0.1)
    finally:
        over.set()
        publisher.join()
    for listener in listeners:
        numbers = [int(listener.receive().removeprefix(b"SEAM-1\n\n")) for _ in range(sent)]
        assert numbers == list(range(sent))
        assert listener.everything() == []
        listener.close()


def test_a_kept_room_outlives_the_node(tmp_path):
    running = Hub(tmp_path)
    running.keep("KEPT", "*")
    with running.messenger("R") as listener, running.connect() as sender:
        for number in range(100):
            sender.post("R", b"%d" % number)
        wanted = [b"R\n\n%d" % number for number in range(100)]
        # Heard is recorded.
        assert [listener.receive() for _ in wanted] == wanted
        running.kill()
    running.start()
    with running.messenger("R", query="?since=1") as listener:
        assert [listener.receive() for _ in wanted] == wanted
        assert listener.everything() == []
    running.kill()
