"""The hub door with clients of its protocol that we did not write, driving what was recorded from originals."""

import json
import os
import shutil
import subprocess
import threading

import pytest
from conftest import wait_for
from hub import ACCEPT, BINARY, CLOSE, PATIENCE, PING, TEXT, Client, Hub, event
from test_javascript import HERE, in_browser, installed
from websockets.exceptions import InvalidStatus

# A v2 event with nothing in it, as an original writes it.
ZERO = (
    b'{"generating-system":"","timestamp":"0001-01-01T00:00:00Z","event-tags":null,'
    b'"target-device":{},"affected-room":{},"key":"","value":"","user":""}'
)


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    running = Hub(tmp_path_factory.mktemp("hub"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    running = Hub(tmp_path_factory.mktemp("strict"), "strict", "--strict-compat")
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def nobody_is_left(request):
    """Each test begins at a hub on which nobody is."""
    yield
    for name in ("hub", "strict"):
        if name in request.fixturenames:
            running = request.getfixturevalue(name)
            gone = lambda: not any(running.nexus()[kind] for kind in ("hubs", "messengers", "repeaters"))
            wait_for(gone, PATIENCE, lambda: f"somebody stayed: {running.nexus()}")


def test_the_bytes_of_an_original_messenger(hub):
    a, b = hub.raw(), hub.raw()
    try:
        head = a.head.lower()
        assert ACCEPT.lower() in head
        assert "sec-websocket-protocol" not in head and "sec-websocket-extensions" not in head
        a.frame(TEXT, b'{"rooms":["ITB-1101","ITB-1108"],"create":true}')
        a.frame(PING, b"standing?")
        assert a.exactly(11) == b"\x8a\x09standing?"
        b.frame(BINARY, b'ITB-1101\n{"k":1}')
        assert a.exactly(19) == b'\x82\x11ITB-1101\n\n{"k":1}'
        long = b"ITB-1108\n" + event("ITB-1108")
        b.frame(BINARY, long)
        length = len(long) + 1
        assert a.exactly(4) == b"\x82\x7e" + length.to_bytes(2, "big")
        assert a.exactly(length) == b"ITB-1108\n\n" + event("ITB-1108")
        # In two pieces, with a ping between them.
        b.frame(BINARY, b"ITB-11", final=False)
        b.frame(PING)
        b.frame(0, b"01\nx")
        assert b.exactly(2) == b"\x8a\x00"
        assert a.exactly(13) == b"\x82\x0bITB-1101\n\nx"
        a.frame(CLOSE, b"\x03\xe8")
        assert a.exactly(4) == b"\x88\x02\x03\xe8"
        assert a.until_closed(PATIENCE) == b""
    finally:
        a.close()
        b.close()


@pytest.mark.parametrize("frame, received", [
    (b'ITB-1101\n{"k":1}', b'ITB-1101\n\n{"k":1}'),
    (b"ITB-1101\n", b"ITB-1101\n\n"),
    (b"ITB-1101\n\n\nx\n", b"ITB-1101\n\n\n\nx\n"),
    (b"ITB-1101\n" + ZERO, b"ITB-1101\n\n" + ZERO),
    (b"\nno room", b"\n\nno room"),
    ("Büro 7\n{}".encode(), "Büro 7\n\n{}".encode()),
    (b"A.B.>\nx", b"A.B.>\n\nx"),
    (b"A*\nx", b"A*\n\nx"),
    (b"A\r\nx", b"A\r\n\nx"),
    (b"ITB-1101\n\xff\xfe\x00", b"ITB-1101\n\n\xff\xfe\x00"),
    (b"\xff\xfe\nx", b"\xff\xfe\n\nx"),
    (b"*\nstar", b"*\n\nstar"),
    (b"R" * 1000 + b"\nx", b"R" * 1000 + b"\n\nx"),
])
def test_a_frame_goes_on_with_one_newline_more(hub, frame, received):
    with hub.messenger("*") as everyone, hub.connect() as sender:
        sender.wire.send(frame)
        sender.settle()
        assert everyone.everything() == [received]


def test_rooms_are_matched_exactly(hub):
    rooms = ["", "A", "A\r", " A", "a", "A.B", "A.*", "%", "%2A", "Büro", "A B", "room.A", "x" * 500]
    listeners = {room: hub.messenger(room) for room in rooms}
    with hub.connect() as sender:
        for room in rooms:
            sender.send(room, room.encode())
        for room, listener in listeners.items():
            assert listener.everything() == [room.encode() + b"\n\n" + room.encode()], room
            listener.close()


# Who sends, how, and what comes to: a messenger in the room, one in *, a hub, two repeaters together.
MATRIX = [
    ("messenger", b"R\n\nx", [1, 1, 1, 1]),
    ("event", None, [1, 1, 1, 1]),
    ("repeater", b"R\n\nx", [1, 1, 1, 0]),
    ("hub", b"R\n\nx", [1, 1, 0, 0]),
]


def matrix(running, source):
    """What came to each, and what the event was as `/event` had it."""
    kinds = ["messenger", "messenger", "hub", "repeater", "repeater"]
    places = [running.connect(kind) for kind in kinds]
    places[0].subscribe("R")
    places[1].subscribe("*")
    for place in places:
        place.settle()
    body = event("R")
    if source == "event":
        answer = running.ask("POST", "/event", data=body)
        assert (answer.status_code, answer.text.strip()) == (200, "Processing event")
    else:
        with running.connect(source) as sender:
            sender.send("R", b"x")
            assert sender.everything() == [], "an event came back"
    heard = [place.everything() for place in places]
    for place in places:
        place.close()
    return [*heard[:3], heard[3] + heard[4]], b"R\n" + body


@pytest.mark.parametrize("source, received, counts", MATRIX)
def test_who_reaches_whom(hub, source, received, counts):
    heard, posted = matrix(hub, source)
    assert [len(each) for each in heard] == counts
    assert {message for each in heard for message in each} == {received or posted}


@pytest.mark.parametrize("source, received, counts", MATRIX)
def test_who_reaches_whom_strictly(strict, source, received, counts):
    heard, posted = matrix(strict, source)
    wanted = [count * 2 if place == 2 and source == "repeater" else count for place, count in enumerate(counts)]
    assert [len(each) for each in heard] == wanted
    assert {message for each in heard for message in each} == {received or posted}


@pytest.mark.parametrize("changes, copies", [
    ([["R"], ["R"]], 1),
    ([["R", "R"]], 1),
    ([["R", "*"]], 1),
    ([["*"], ["R", "S"]], 1),
    ([["S"]], 0),
])
def test_one_copy_for_each_connection(hub, changes, copies):
    with hub.connect() as listener, hub.connect() as sender:
        for rooms in changes:
            listener.subscribe(*rooms)
        sender.send("R", b"x")
        assert listener.everything() == [b"R\n\nx"] * copies


@pytest.mark.parametrize("changes, copies", [
    ([(True, "R"), (True, "R")], 2),
    ([(True, "R", "*")], 2),
    ([(True, "R"), (True, "R"), (False, "R")], 1),
    ([(True, "R"), (True, "R"), (False, "R"), (False, "R")], 0),
    ([(True, "R", "*"), (False,)], 0),
])
def test_copies_of_an_original_where_it_is_asked_for(strict, changes, copies):
    with strict.connect() as listener, strict.connect() as sender:
        for create, *rooms in changes:
            listener.change({"rooms": rooms, "create": create})
        sender.send("R", b"x")
        assert listener.everything() == [b"R\n\nx"] * copies


def test_the_room_star_is_heard_twice_as_an_original_has_it(strict):
    with strict.messenger("*") as listener, strict.connect() as sender:
        sender.send("*", b"x")
        assert listener.everything() == [b"*\n\nx"] * 2


def test_a_messenger_does_not_hear_itself(hub):
    with hub.messenger("R", "*") as both:
        both.send("R", b"x")
        assert both.everything() == []


@pytest.mark.parametrize("change, rooms", [
    ('{"rooms":["B"],"create":true}', "AB"),
    ('{"Rooms":["B"],"CREATE":true}', "AB"),
    ('{"rooms":["B"],"create":true,"type":"hub","id":"x","more":[1]}', "AB"),
    ('{"rooms":["A"]}', ""),
    ('{"rooms":["A"],"create":false}', ""),
    ('{"rooms":["B"],"create":false}', "A"),
    ('{"rooms":[],"create":true}', "A"),
    ('{"rooms":null,"create":true}', "A"),
    ("{}", ""),
    ('{"create":false}', ""),
    ('{"rooms":"B","create":true}', "A"),
    ('{"rooms":["B"],"create":"yes"}', "A"),
    ('{"rooms":["B",7],"create":true}', "A"),
    ("not JSON", "A"),
    ("", "A"),
    ("[]", "A"),
    ('{"rooms":["B"],"create":true', "A"),
])
def test_changes_are_read_as_an_original_reads_them(hub, change, rooms):
    with hub.messenger("A") as listener, hub.connect() as sender:
        listener.change(change)
        for room in "AB":
            sender.send(room, b"x")
        assert listener.everything() == [f"{room}\n\nx".encode() for room in rooms]


def test_text_is_an_event_where_a_repeater_or_a_hub_sends_it(hub):
    with hub.messenger("*") as listener:
        for kind in ("repeater", "hub"):
            with hub.connect(kind) as sender:
                sender.wire.send("R\ntext")
                sender.wire.send(b"R\nbinary")
                sender.settle()
                assert listener.everything() == [b"R\n\ntext", b"R\n\nbinary"], kind


def test_repeaters_take_turns_and_the_second_begins(tmp_path):
    hub = Hub(tmp_path)
    with hub.connect("repeater") as first, hub.connect("repeater") as second, hub.connect() as sender:
        first.settle()
        second.settle()
        for number in range(4):
            sender.send("R", b"%d" % number)
        assert second.everything() == [b"R\n\n0", b"R\n\n2"]
        assert first.everything() == [b"R\n\n1", b"R\n\n3"]
        second.close()
        wait_for(lambda: len(hub.nexus()["repeaters"]) == 1, PATIENCE, lambda: str(hub.nexus()))
        for number in range(4, 7):
            sender.send("R", b"%d" % number)
        assert first.everything() == [b"R\n\n4", b"R\n\n5", b"R\n\n6"]
    hub.kill()


@pytest.mark.parametrize("body, room", [
    (event("ITB-1101"), "ITB-1101"),
    (b'{"affected-room": {"roomID": "ITB-1101"},  "key": "a"}', "ITB-1101"),
    (b"{}", ""),
    (ZERO, ""),
    (b'{"affected-room":{"roomID":"ITB-1101"},"value":"\\u003c"}', "ITB-1101"),
])
def test_a_posted_event_goes_on_byte_for_byte(hub, body, room):
    with hub.messenger(room) as listener:
        answer = hub.ask("POST", "/event", data=body)
        assert (answer.status_code, answer.text.strip()) == (200, "Processing event")
        assert listener.everything() == [room.encode() + b"\n" + body]


@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b'"x"', b'{"timestamp":"yesterday"}', b'{"timestamp":7}', b'{"key":7}', b'{"event-tags":"x"}',
])
def test_a_posted_event_that_cannot_be_read_is_refused(hub, body):
    with hub.messenger("*") as listener:
        answer = hub.ask("POST", "/event", data=body)
        assert answer.status_code == 400
        assert answer.text.startswith("unable to unmarshal body: ") or "unable to unmarshal body: " in answer.text
        assert listener.everything() == []


def test_what_the_door_says_of_itself(hub):
    with hub.messenger("ITB-1101") as messenger, hub.connect("hub") as other, hub.connect("repeater") as repeater:
        other.settle()
        repeater.settle()
        status = hub.ask("GET", "/status/").json()
        assert {"bin", "statuscode", "version", "uptime", "info"} <= status.keys()
        assert status["statuscode"] == "healthy"
        nexus = status["info"]["nexus"]
        assert [len(nexus[kind]) for kind in ("hubs", "messengers", "repeaters")] == [1, 1, 1]
        port = messenger.wire.socket.getsockname()[1]
        [mapped] = nexus["messenger-mapping"]["ITB-1101"]
        assert mapped["id"] == f"127.0.0.1:{port}messenger"
        for buffer in (mapped, nexus["registration-buffer"], nexus["distribution-buffer"]):
            assert buffer["id"] and buffer["buffer-capacity"] >= 0 and buffer["buffer-utilization"] >= 0


def test_the_small_endpoints(hub):
    health = hub.ask("GET", "/health")
    assert health.status_code == 200 and isinstance(health.json(), str)
    assert health.headers["access-control-allow-origin"] == "*"
    assert hub.ask("GET", "/health/").status_code == 200
    before = hub.ask("GET", "/log-level").json()["log-level"]
    assert hub.ask("PUT", "/log-level/warn").status_code == 200
    assert hub.ask("GET", "/log-level").json() == {"log-level": "warn"}
    assert hub.ask("PUT", f"/log-level/{before}").status_code == 200
    for method, path, status in [
        ("POST", "/status", 405), ("POST", "/connect/messenger", 405), ("GET", "/event", 405),
        ("GET", "/nothing", 404), ("GET", "/interconnect/x", 405),
    ]:
        assert hub.ask(method, path).status_code == status, (method, path)
    plain = hub.ask("GET", "/connect/messenger")
    assert (plain.status_code, plain.headers["sec-websocket-version"]) == (400, "13")


@pytest.mark.parametrize("path, headers, status", [
    ("/connect/messenger/", {}, 101),
    ("/connect/Messenger", {}, 400),
    ("/connect/device", {}, 400),
    ("/connect/messenger", {"Origin": "http://elsewhere.example"}, 403),
    ("/connect/messenger", {"Origin": "null"}, 403),
    ("/connect/messenger", {"Origin": "http://{host}"}, 101),
])
def test_who_may_connect(hub, path, headers, status):
    headers = {name: value.format(host=hub.hub) for name, value in headers.items()}
    try:
        with Client(f"ws://{hub.hub}{path}", additional_headers=headers) as client:
            client.settle()
            assert status == 101
    except InvalidStatus as refused:
        assert refused.response.status_code == status
        if status == 400:
            assert b"invalid connection type" in refused.response.body


def test_who_answers_no_ping_is_cut_off_and_who_sends_data_alone_too(tmp_path):
    running = Hub(tmp_path, config="hub: {ping_interval: 1s}\n")
    begun = threading.Event()
    try:
        with running.connect() as awake:
            awake.subscribe("R")
            silent = running.raw()
            busy = running.raw()

            def chatter():
                try:
                    while not begun.wait(0.2):
                        busy.frame(BINARY, b"elsewhere\nx")
                except OSError:
                    pass

            threading.Thread(target=chatter, daemon=True).start()
            # Empty pings, and at the end no close frame of an original's reading side, or one that says why.
            assert silent.exactly(2) == b"\x89\x00"
            read = silent.until_closed(90)
            assert set(read[:2]) <= {0x89, 0x00, 0x88}, read
            read = busy.until_closed(90)
            begun.set()
            awake.settle()
            with running.connect() as sender:
                sender.send("R", b"x")
            assert awake.receive() == b"R\n\nx"
            assert running.counted("disconnected") >= 2
    finally:
        begun.set()
        running.kill()


@pytest.fixture(scope="module")
def modules():
    return installed("hub", ["ws@8.23.0"])


def test_the_client_of_node(hub, modules):
    environment = {**os.environ, "NODE_PATH": str(modules)}
    command = [shutil.which("node"), str(HERE / "hub.js"), f"ws://{hub.hub}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment)
    assert done.stdout.strip() == "passed", done.stdout + done.stderr


def test_a_page_in_a_browser_is_a_messenger(tmp_path):
    page = HERE / "hub.html"
    # A page comes from elsewhere: its origin has to be allowed.
    with in_browser({"/": page}, tmp_path) as (origin, run):
        running = Hub(tmp_path, config=f"hub: {{origins: ['{origin}']}}\n")
        refusing = Hub(tmp_path, "refusing")
        try:
            with running.messenger("ITB-1101") as listener:
                results = run(f"/?server=ws://{running.hub}&refusing=ws://{refusing.hub}", 60)
                assert results == ["passed"]
                assert json.loads(listener.receive().removeprefix(b"ITB-1101\n\n"))["value"] == "from the page"
        finally:
            running.kill()
            refusing.kill()
