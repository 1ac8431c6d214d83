"""The hub door with strangers: bad frames, those that do not read, those that come and go, tokens."""

import contextlib
import socket
import threading
import time

import pytest
from conftest import wait_for
from hub import BINARY, PATIENCE, PING, TEXT, UPGRADE, Hub, Raw
from websockets.exceptions import InvalidStatus

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    running = Hub(tmp_path_factory.mktemp("bounds"))
    yield running
    running.stop()


def lives(hub):
    """Others are served as before."""
    with hub.messenger("R") as listener, hub.connect() as sender:
        sender.send("R", b"x")
        assert listener.everything() == [b"R\n\nx"]


def drops(hub):
    return hub.counted("dropped")


@pytest.mark.parametrize("opcode, payload", [
    (BINARY, b"no newline"),
    (BINARY, b""),
    (BINARY, b"R" * 10_000 + b"\nx"),
    (TEXT, b"not JSON"),
    # As an original, whose library does not look whether text is UTF-8.
    (TEXT, b'{"rooms":["\xff"],"create":true}'),
    (TEXT, b'{"rooms":["' + b"R" * 10_000 + b'"],"create":true}'),
    (TEXT, b"[" * 100_000),
])
def test_a_frame_that_means_nothing_harms_nobody_and_the_connection_stays(hub, opcode, payload):
    wire, before = hub.raw(), drops(hub)
    with hub.messenger("*") as listener:
        wire.frame(opcode, payload)
        wire.frame(PING, b"still")
        assert wire.exactly(7) == b"\x8a\x05still"
        assert listener.everything() == []
        if opcode == BINARY:
            assert drops(hub) == before + 1
    wire.close()
    lives(hub)


@pytest.mark.parametrize("send, code", [
    (lambda wire: wire.frame(3, b"reserved"), 1002),
    (lambda wire: wire.frame(0x40 | BINARY, b"R\nextended"), 1002),
    (lambda wire: wire.frame(0, b"a continuation of nothing"), 1002),
    (lambda wire: wire.frame(PING, b"x" * 126), 1002),
    (lambda wire: wire.socket.sendall(b"\x82\x03R\nx"), 1002),
    (lambda wire: wire.frame(BINARY, b"R\n", length=64 * MIB), 1009),
    (lambda wire: wire.frame(BINARY, b"R\n", length=2**63 - 1), 1009),
])
def test_what_is_no_websocket_or_too_large_ends_the_connection_with_a_reason(hub, send, code):
    wire, before = hub.raw(), hub.resident()
    send(wire)
    read = wire.until_closed(PATIENCE)
    assert read[:1] == b"\x88" and int.from_bytes(read[2:4], "big") == code, read
    assert hub.resident() < before + 8 * MIB
    lives(hub)


@pytest.mark.parametrize("piece", [b"R\n" + b"x" * 60_000, b"x", b""])
def test_fragments_that_never_end_are_bounded(hub, piece):
    wire, before = hub.raw(), hub.resident()
    wire.socket.settimeout(2)
    with contextlib.suppress(OSError):
        wire.frame(BINARY, piece, final=False)
        # As much as would be four times the largest frame, or as many pieces.
        for _ in range(max(70 if len(piece) > 1 else 20_000, 1)):
            wire.frame(0, piece, final=False)
    assert hub.resident() < before + 16 * MIB
    wire.close()
    lives(hub)


def test_who_does_not_read_is_cut_off_and_delays_nobody(tmp_path):
    hub = Hub(tmp_path, config="hub: {write_deadline: 2s}\n")
    sleepers = [Raw(hub.hub, f"/connect/{kind}", 4096) for kind in ("messenger", "hub", "repeater")]
    sleepers[0].frame(TEXT, b'{"rooms":["*"],"create":true}')
    large = b"x" * 65536
    took = []
    with hub.messenger("R") as listener, hub.connect() as sender:
        wait_for(lambda: len(hub.nexus()["repeaters"]) == 1, PATIENCE, lambda: str(hub.nexus()))
        for number in range(600):
            begun = time.monotonic()
            sender.post("R", b"%d " % number + large)
            assert listener.receive().startswith(b"R\n\n%d " % number)
            took.append(time.monotonic() - begun)

        def gone():
            nexus = hub.nexus()
            return not nexus["hubs"] and not nexus["repeaters"] and len(nexus["messengers"]) == 2

        wait_for(gone, PATIENCE, lambda: str(hub.nexus()))
        assert sorted(took)[-10] < 1, sorted(took)[-10:]
        assert hub.counted("disconnected") >= 3
        assert "messenger" in hub.log.read_text() and "hub" in hub.log.read_text()
    for sleeper in sleepers:
        sleeper.close()
    # If the repeater that was chosen takes nothing, the next one does.
    lives(hub)
    hub.kill()


def test_ten_thousand_come_and_go_in_a_minute(hub):
    lives(hub)
    ask = UPGRADE.format(kind="messenger", host=hub.hub).encode()
    host, port = hub.hub.split(":")

    def some(count):
        for number in range(count):
            with socket.create_connection((host, int(port)), timeout=PATIENCE) as wire:
                if number % 10 == 0:
                    continue
                wire.sendall(ask if number % 10 > 1 else ask[:50])
                if number % 10 > 2:
                    assert wire.recv(1024).startswith(b"HTTP/1.1 101 ")

    some(1000)
    before, begun = hub.resident(), time.monotonic()
    threads = [threading.Thread(target=some, args=(2500,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - begun < 60
    wait_for(lambda: not hub.nexus()["messengers"], PATIENCE, lambda: str(hub.nexus()))
    assert hub.resident() < before + 24 * MIB
    lives(hub)


def test_heads_that_never_end_are_cut_off(hub):
    host, port = hub.hub.split(":")
    wires = [socket.create_connection((host, int(port))) for _ in range(50)]
    for wire in wires:
        wire.sendall(b"GET /connect/messenger HTTP/1.1\r\nHost: x\r\nX-Endless: ")
    lives(hub)
    for wire in wires:
        wire.settimeout(40)
        with contextlib.suppress(ConnectionError):
            while wire.recv(4096):
                pass
        wire.close()


TOKENS = """
tokens:
  - {name: panel, token: panel-0123456789abcdef, publish: [room.A], read: [room.A, room.B]}
  - {name: building, token: building-0123456789abcdef, publish: [room.>], read: [room.>]}
  - {name: admin, token: admin-0123456789abcdef, admin: true}
"""
PANEL, BUILDING, ADMIN = (f"{name}-0123456789abcdef" for name in ("panel", "building", "admin"))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "tokens.yaml").write_text(TOKENS)
    running = Hub(folder, "guarded", "--tokens", str(folder / "tokens.yaml"), token=ADMIN)
    yield running
    running.stop()


def bearer(token):
    return {"additional_headers": {"Authorization": f"Bearer {token}"}} if token else {}


@pytest.mark.parametrize("kind, token, status", [
    ("messenger", None, 401), ("messenger", "nobody-0123456789", 401), ("messenger", PANEL, 101),
    ("hub", None, 401), ("hub", PANEL, 403), ("hub", BUILDING, 101),
    ("repeater", None, 401), ("repeater", PANEL, 403), ("repeater", BUILDING, 101),
])
def test_who_may_connect_with_tokens(guarded, kind, token, status):
    for query, options in ((f"?token={token}", {}), ("", bearer(token))) if token else (("", {}),):
        try:
            with guarded.connect(kind, query, **options) as client:
                client.settle()
                assert status == 101
        except InvalidStatus as refused:
            assert refused.response.status_code == status
            assert b"0123456789" not in refused.response.body
    answer = guarded.ask("POST", "/event", data=b"{}")
    assert answer.status_code == 401


def test_rights_are_those_of_rooms(guarded):
    with guarded.connect(**bearer(BUILDING)) as building, guarded.connect(**bearer(PANEL)) as panel:
        building.subscribe("*")
        panel.subscribe("A", "B", "C")
        for room in "ABC":
            building.send(room, b"x")
        assert panel.everything() == [b"A\n\nx", b"B\n\nx"]
        for room in "ABC":
            panel.send(room, b"y")
        assert building.everything() == [b"A\n\ny"]
        panel.unsubscribe()
        # "*" is every room that may be read, or nothing; never a room that may not.
        panel.subscribe("*")
        for room in "ABC":
            building.send(room, b"z")
        assert b"C\n\nz" not in panel.everything()
        headers = {"Authorization": f"Bearer {PANEL}"}
        body = b'{"affected-room":{"roomID":"%s"}}'
        assert guarded.ask("POST", "/event", data=body % b"A", headers=headers).status_code == 200
        assert guarded.ask("POST", "/event", data=body % b"C", headers=headers).status_code == 403
        assert building.everything() == [b"A\n" + body % b"A"]
    log = guarded.log.read_text()
    assert "0123456789abcdef" not in log
