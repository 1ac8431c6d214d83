"""What strangers may cost: idle connections, slow senders, endless heads."""

import pathlib
import resource
import socket

import pytest
import requests
from conftest import Node, wait_for

CONNECTIONS = 10_000
# One connection's buffers and task: 7 KiB where it is silent and 14 KiB once served, in an optimised build.
BYTES_EACH_MAX = 32 * 1024


def resident(node):
    status = pathlib.Path(f"/proc/{node.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def connect(node):
    host, port = node.address.split(":")
    return socket.create_connection((host, int(port)), timeout=30)


@pytest.fixture
def many_files():
    """Room for this process's and the node's sockets."""
    wanted = CONNECTIONS + 1_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"this machine allows {hard} open files, and {wanted} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_ten_thousand_idle_connections_cost_little_and_others_are_served(many_files, tmp_path):
    node = Node(tmp_path)
    before, open_ones = resident(node), []
    try:
        for number in range(CONNECTIONS):
            open_ones.append(connect(node))
            if number % 2:
                open_ones[-1].sendall(b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\n")
        answer = requests.post(node.url("/v1/publish/events.idle"), data=b"served", timeout=10)
        assert answer.status_code in (200, 201), answer.text
        each = (resident(node) - before) / CONNECTIONS
        assert each < BYTES_EACH_MAX, f"{each:.0f} bytes for each idle connection"
    finally:
        for connection in open_ones:
            connection.close()
    wait_for(lambda: requests.get(node.url("/readyz"), timeout=10).status_code == 200, 30, lambda: "not ready")
    node.stop()


def test_a_head_without_end_is_cut_off(node):
    with connect(node) as connection:
        connection.sendall(b"GET /v1/streams HTTP/1.1\r\nHost: localhost\r\n")
        answer = b""
        try:
            for number in range(100_000):
                connection.sendall(f"x-{number}: {'y' * 1000}\r\n".encode())
        except OSError:
            pass
        try:
            answer = connection.recv(4096)
        except ConnectionError:
            pass
    assert not answer or b" 431 " in answer.split(b"\r\n")[0] or b" 400 " in answer.split(b"\r\n")[0], answer


def test_a_body_that_is_too_large_is_refused_before_it_is_read(node):
    with connect(node) as connection:
        connection.sendall(b"POST /v1/publish/events.large HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999999\r\n\r\n")
        assert b" 413 " in connection.recv(4096).split(b"\r\n")[0]
