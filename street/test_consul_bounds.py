"""What those cost who watch and never read, and checks that hang."""

import contextlib
import socket
import threading
import time

from catalogue import PATIENCE, index_of
from conftest import wait_for
from test_bounds import many_files, resident  # noqa: F401

CONNECTIONS = 10_000
# What one costs at most in memory: its connection, in a build that is not optimised. An answer is shared by all.
BYTES_EACH_MAX = 64 * 1024
INSTANCES = 60
CHANGES = 5


def ask(node, more):
    stream = socket.socket()
    # So little that no answer fits.
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    stream.settimeout(30)
    stream.connect(("127.0.0.1", node.port("consul")))
    stream.sendall(f"GET /v1/health/service/deaf{more}\r\n\r\n".encode())
    return stream


def test_ten_thousand_that_never_read_hinder_nobody(many_files, own_catalogue):  # noqa: F811
    node = own_catalogue
    for number in range(INSTANCES):
        node.register("deaf", ID=f"d{number}", Port=1, Meta={"note": "x" * 500})
    index = index_of(node.ask("GET", "/v1/health/service/deaf"))
    before, deaf = resident(node), []
    for number in range(CONNECTIONS):
        blocked = f"?index={index}&wait=10m HTTP/1.1\r\nHost: x"
        followed = " HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream"
        deaf.append(ask(node, blocked if number % 2 else followed))
    begun = time.monotonic()
    for change in range(CHANGES):
        node.register("deaf", ID="d0", Port=2 + change, Meta={"note": "y" * 500})
        answer = node.ask("GET", f"/v1/health/service/deaf?index={index}&wait=30s")
        assert index_of(answer) > index and len(answer.json()) == INSTANCES
        index = index_of(answer)
    assert time.monotonic() - begun < PATIENCE * 2
    each = (resident(node) - before) / CONNECTIONS
    assert each < BYTES_EACH_MAX, f"{each:.0f} bytes for each that does not read"
    for stream in deaf:
        stream.close()
    wait_for(lambda: node.ask("GET", "/v1/health/service/deaf").status_code == 200, PATIENCE, lambda: "not answered")


def test_checks_that_hang_hold_up_no_other(own_catalogue):
    node = own_catalogue
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent, socket.create_server(("127.0.0.1", 0)) as good:
        # One takes connections and says nothing, the other is there.
        taken = []

        def take():
            with contextlib.suppress(OSError):
                while True:
                    taken.append(silent.accept())

        threading.Thread(target=take, daemon=True).start()
        hang = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        for number in range(50):
            check = {"HTTP": hang, "Interval": "1s", "Timeout": "60s"}
            node.register("hangs", ID=f"h{number}", Check=check)
        node.register("fine", Check={"TCP": f"127.0.0.1:{good.getsockname()[1]}", "Interval": "1s"})
        passing = lambda: len(node.ask("GET", "/v1/health/service/fine?passing").json()) == 1  # noqa: E731
        wait_for(passing, PATIENCE, lambda: node.ask("GET", "/v1/health/checks/fine").text)
        assert node.ask("GET", "/v1/health/service/hangs?passing").json() == []
        begun = time.monotonic()
        node.stop()
        assert time.monotonic() - begun < 10
