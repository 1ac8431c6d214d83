"""The DNS door with dig, and with plain sockets where the bytes are wrong."""

import random
import re
import socket
import struct
import subprocess
import time

import pytest
from catalogue import PATIENCE, needed
from conftest import wait_for


class Answer:
    """What dig printed."""

    def __init__(self, text):
        self.text = text
        self.status = re.search(r"status: (\w+)", text)[1]
        self.flags = re.search(r"flags: ([\w ]*);", text)[1].split()
        self.size = int(re.search(r"MSG SIZE +rcvd: (\d+)", text)[1])

    def section(self, name):
        part = re.search(rf"^;; {name} SECTION:\n(.*?)(?:\n\n|\Z)", self.text, re.S | re.M)
        return [line.split() for line in part[1].splitlines()] if part else []

    def data(self, name="ANSWER"):
        return sorted(" ".join(line[4:]) for line in self.section(name))


@pytest.fixture(scope="module")
def dig(catalogue):
    program = needed("dig", "dnsutils")

    def ask(name, kind="A", *options):
        command = [program, "@127.0.0.1", "-p", str(catalogue.port("dns")), name, kind, "+norecurse", "+nocookie", "+time=5", *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stdout + done.stderr
        return Answer(done.stdout)

    return ask


@pytest.fixture(scope="module", autouse=True)
def registered(catalogue):
    for number in range(1, 4):
        node, address = f"dns-{number}", f"192.0.2.{number}"
        catalogue.register_at(node, address, "dns-web", ID=f"w{number}", Port=8000 + number, Tags=[f"v{number}"])
    own = {"ID": "own", "Address": "10.1.1.1", "Port": 9, "Weights": {"Passing": 7, "Warning": 2}}
    catalogue.register_at("dns-1", "192.0.2.1", "dns-own", **own)
    for number in range(60):
        catalogue.register_at(f"dns-many-{number}", f"198.51.100.{number}", "dns-many", ID=f"m{number}", Port=80)


def test_addresses_of_a_service(dig):
    found = dig("dns-web.service.consul")
    assert found.status == "NOERROR" and "aa" in found.flags and "ra" not in found.flags and "tc" not in found.flags
    assert found.data() == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    assert {line[1] for line in found.section("ANSWER")} == {"0"}
    assert dig("DNS-Web.Service.DC1.Consul").section("ANSWER")[0][0] == "DNS-Web.Service.DC1.Consul."
    assert dig("v2.dns-web.service.consul").data() == ["192.0.2.2"]
    assert dig("_dns-web._v3.service.consul").data() == ["192.0.2.3"]


def test_srv(dig):
    found = dig("_dns-web._tcp.service.consul", "SRV")
    assert found.data() == [f"1 1 800{n} dns-{n}.node.dc1.consul." for n in (1, 2, 3)]
    extra = {(line[0], line[3], line[4]) for line in found.section("ADDITIONAL")}
    assert extra == {(f"dns-{n}.node.dc1.consul.", "A", f"192.0.2.{n}") for n in (1, 2, 3)}
    assert dig("dns-own.service.consul", "SRV").data() == ["1 7 9 0a010101.addr.dc1.consul."]
    assert dig("0a010101.addr.dc1.consul").data() == ["10.1.1.1"]


def test_nodes_and_who_has_an_address(dig):
    assert dig("dns-2.node.consul").data() == ["192.0.2.2"]
    assert dig("dns-2.node.dc1.consul", "ANY", "+notcp").data() == ["192.0.2.2"]
    found = dig("2.2.0.192.in-addr.arpa", "PTR")
    assert found.data() == ["dns-2.node.dc1.consul."]


def test_what_there_is_not(dig):
    for name, status in [
        ("dns-none.service.consul", "NXDOMAIN"), ("dns-none.node.consul", "NXDOMAIN"), ("x.consul", "NXDOMAIN"),
        ("dns-web.service.dc9.consul", "NXDOMAIN"), ("service.consul", "NOERROR"), ("www.example.com", "REFUSED"),
    ]:
        found = dig(name)
        assert (found.status, found.data()) == (status, []), name
        if status != "REFUSED":
            assert found.section("AUTHORITY")[0][3:6] == ["SOA", "ns.consul.", "hostmaster.consul."]
    found = dig("dns-web.service.consul", "AAAA")
    assert (found.status, found.data()) == ("NOERROR", []) and found.section("AUTHORITY")
    assert dig("consul", "SOA").data()[0].startswith("ns.consul. hostmaster.consul. ")
    assert dig("consul", "NS").data() == ["ns.consul."]


def test_an_answer_is_as_large_as_the_client_takes_and_says_what_it_lacks(dig):
    plain = dig("dns-many.service.consul", "SRV", "+noedns", "+ignore")
    assert "tc" in plain.flags and plain.size <= 512 and 3 <= len(plain.data()) < 60
    larger = dig("dns-many.service.consul", "SRV", "+bufsize=1232", "+ignore")
    assert "tc" in larger.flags and 512 < larger.size <= 1232 and len(larger.data()) > len(plain.data())
    # Told so, dig asks again over TCP.
    whole = dig("dns-many.service.consul", "SRV", "+noedns")
    assert "tc" not in whole.flags and len(whole.data()) == 60 and len(whole.section("ADDITIONAL")) == 60
    assert len(dig("dns-many.service.consul", "A", "+tcp").data()) == 60
    assert len(dig("dns-many.service.consul", "A", "+bufsize=4096").data()) == 60


def test_answers_are_shuffled(dig):
    first = {dig("dns-web.service.consul", "A").section("ANSWER")[0][4] for _ in range(40)}
    assert len(first) == 3


def test_dns_follows_what_is_registered_and_how_it_is(dig, catalogue):
    catalogue.register("dns-live", ID="l1", Address="10.2.2.1", Port=1, Check={"TTL": "1m", "Status": "passing"})
    assert dig("dns-live.service.consul").data() == ["10.2.2.1"]
    catalogue.ask("PUT", "/v1/agent/check/warn/service:l1")
    assert dig("dns-live.service.consul").data() == ["10.2.2.1"]
    catalogue.ask("PUT", "/v1/agent/check/fail/service:l1")
    assert dig("dns-live.service.consul").status == "NXDOMAIN"
    catalogue.ask("PUT", "/v1/agent/check/pass/service:l1")
    assert dig("dns-live.service.consul").data() == ["10.2.2.1"]
    catalogue.register("dns-live", ID="l1", Address="db.example.com", Port=1)
    assert dig("dns-live.service.consul").section("ANSWER")[0][3:] == ["CNAME", "db.example.com."]
    catalogue.ask("PUT", "/v1/agent/service/deregister/l1")
    assert dig("dns-live.service.consul").status == "NXDOMAIN"


def test_zone_transfers_are_not_implemented(catalogue):
    program = needed("dig", "dnsutils")
    command = [program, "@127.0.0.1", "-p", str(catalogue.port("dns")), "consul", "AXFR", "+time=5"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=30).stdout
    assert "Transfer failed" in said


def question(name="dns-web.service.consul", kind=1, flags=0x0100, count=1):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">6H", 77, flags, count, 0, 0, 0) + (labels + b"\0" + struct.pack(">2H", kind, 1)) * count


def sent(catalogue, packet, seconds=2.0):
    """What comes back over UDP; None: nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.settimeout(seconds)
        wire.sendto(packet, ("127.0.0.1", catalogue.port("dns")))
        try:
            return wire.recv(65_535)
        except socket.timeout:
            return None


def code(answer):
    return answer[3] & 15


def test_packets_that_are_none(catalogue):
    good = question()
    assert code(sent(catalogue, good)) == 0
    for cut in (0, 5, 11):
        assert sent(catalogue, good[:cut], 0.2) is None
    for cut in (12, 20, len(good) - 1):
        assert code(sent(catalogue, good[:cut])) == 1
    assert sent(catalogue, question(flags=0x8100), 0.2) is None
    assert code(sent(catalogue, question(count=50))) == 1
    assert code(sent(catalogue, question(flags=0x2900))) == 4
    looping = good[:12] + b"\xc0\x0c" + good[-4:]
    assert code(sent(catalogue, looping)) == 1
    assert code(sent(catalogue, good + bytes(60_000))) == 1
    chance = random.Random(7)
    for _ in range(500):
        packet = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            packet[chance.randrange(len(packet))] = chance.randrange(256)
        sent(catalogue, bytes(packet[: chance.randint(0, len(packet))]), 0.001)
    assert code(sent(catalogue, good)) == 0


def is_given_up(stream):
    try:
        return stream.recv(10) == b""
    except ConnectionResetError:
        # What was sent was not read to its end.
        return True


def test_connections_that_do_not_keep_to_it_are_given_up(catalogue):
    address, good = ("127.0.0.1", catalogue.port("dns")), question()
    idle = [socket.create_connection(address) for _ in range(200)]
    long = socket.create_connection(address)
    long.settimeout(PATIENCE)
    long.sendall(b"\xff\xff" + bytes(1000))
    assert is_given_up(long)
    with socket.create_connection(address) as wire:
        wire.settimeout(PATIENCE)
        framed = struct.pack(">H", len(good)) + good
        # Two at once, cut in the middle.
        wire.sendall((framed * 2)[:30])
        time.sleep(0.05)
        wire.sendall((framed * 2)[30:])
        for _ in range(2):
            length = struct.unpack(">H", wire.recv(2, socket.MSG_WAITALL))[0]
            assert code(wire.recv(length, socket.MSG_WAITALL)) == 0
    slow = socket.create_connection(address)
    slow.settimeout(30)
    slow.sendall(b"\0\x20ab")
    assert is_given_up(slow)
    for stream in idle + [long, slow]:
        stream.close()


def test_haproxy_follows_instances(catalogue, tmp_path):
    """A service behind HAProxy: its servers come and go with the SRV records."""
    import http.server
    import threading

    import requests

    program = needed("haproxy", "haproxy")

    def backend(name):
        class Named(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("content-length", str(len(name)))
                self.end_headers()
                self.wfile.write(name.encode())

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Named)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    servers = {name: backend(name) for name in ("one", "two")}

    def register(name):
        port = servers[name].server_address[1]
        catalogue.register("dns-backend", ID=name, Address="127.0.0.1", Port=port)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        front = free.getsockname()[1]
    config = tmp_path / "haproxy.cfg"
    config.write_text(f"""
global
    log stderr local0 err
defaults
    mode http
    timeout connect 1s
    timeout client 5s
    timeout server 5s
resolvers tidings
    nameserver local 127.0.0.1:{catalogue.port("dns")}
    accepted_payload_size 8192
    resolve_retries 3
    timeout resolve 200ms
    timeout retry 200ms
    hold valid 200ms
    hold obsolete 200ms
    hold nx 200ms
frontend in
    bind 127.0.0.1:{front}
    default_backend all
backend all
    balance roundrobin
    server-template web 4 _dns-backend._tcp.service.consul resolvers tidings resolve-prefer ipv4 init-addr none
""")
    register("one")
    with (tmp_path / "haproxy.log").open("wb") as log:
        process = subprocess.Popen([program, "-db", "-f", str(config)], stdout=log, stderr=log)

    def served():
        names = set()
        for _ in range(6):
            try:
                answer = requests.get(f"http://127.0.0.1:{front}/", timeout=5)
            except requests.ConnectionError:
                return "no HAProxy"
            names.add(answer.text if answer.status_code == 200 else str(answer.status_code))
        return names

    def becomes(*names):
        wait_for(lambda: served() == set(names), 30, lambda: f"{served()}, not {names}:\n{(tmp_path / 'haproxy.log').read_text()}")

    try:
        becomes("one")
        register("two")
        becomes("one", "two")
        catalogue.ask("PUT", "/v1/agent/service/deregister/one")
        becomes("two")
        catalogue.ask("PUT", "/v1/agent/service/maintenance/two?enable=true")
        becomes("503")
        catalogue.ask("PUT", "/v1/agent/service/maintenance/two?enable=false")
        becomes("two")
    finally:
        process.kill()
        process.wait()
        for server in servers.values():
            server.shutdown()


def test_dnsperf_is_answered(catalogue, tmp_path):
    program = needed("dnsperf", "dnsperf")
    questions = tmp_path / "questions"
    questions.write_text("dns-web.service.consul A\ndns-web.service.consul SRV\ndns-none.service.consul A\n")
    command = [program, "-s", "127.0.0.1", "-p", str(catalogue.port("dns")), "-d", str(questions), "-l", "2", "-c", "4"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    assert re.search(r"Queries lost: +0 ", said), said
    assert float(re.search(r"Queries per second: +([\d.]+)", said)[1]) > 500, said
