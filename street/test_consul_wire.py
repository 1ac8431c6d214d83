"""The Consul door by its bytes: each row of the errors that the original gives, headers, odd requests, bad input."""

import base64
import gzip
import json
import socket
import time

import pytest
import requests
from catalogue import PATIENCE, index_of

ERRORS = [
    ("GET", "/v1/health/service/x?index=abc", None, 400, "Invalid index"),
    ("GET", "/v1/health/service/x?index=1&wait=xyz", None, 400, "Invalid wait time"),
    ("GET", "/v1/health/service/x?index=1&wait=5", None, 400, "Invalid wait time"),
    ("GET", "/v1/health/service/x?passing=foo", None, 400, "Invalid value for ?passing"),
    ("GET", "/v1/health/service/x?stale&consistent", None, 400,
     "Cannot specify ?stale with ?consistent, conflicting semantics."),
    ("GET", "/v1/health/service/x?max_stale=zz", None, 400, 'Invalid max_stale value "zz"'),
    ("GET", "/v1/health/service/x?ns=x", None, 400,
     'Bad request: Invalid query parameter: "ns" - Namespaces are a Consul Enterprise feature'),
    ("GET", "/v1/health/service/x?dc=other", None, 500, "No path to datacenter"),
    ("GET", "/v1/health/service/", None, 400, "Missing service name"),
    ("GET", "/v1/catalog/service/", None, 400, "Missing service name"),
    ("GET", "/v1/catalog/node/", None, 400, "Missing node name"),
    ("GET", "/v1/health/node/", None, 400, "Missing node name"),
    ("GET", "/v1/health/state/", None, 400, "Missing check state"),
    ("GET", "/v1/kv/", None, 400, "Missing key name"),
    ("POST", "/v1/catalog/services", None, 405, "method POST not allowed"),
    ("HEAD", "/v1/catalog/services", None, 405, ""),
    ("PUT", "/v1/agent/service/register", {"Name": "x", "Tagss": []}, 400,
     'Request decode failed: json: unknown field "Tagss"'),
    ("PUT", "/v1/agent/service/register", {"Port": 1}, 400, "Missing service name"),
    ("PUT", "/v1/agent/service/register", {"Name": "x", "Address": "0.0.0.0"}, 400, "Invalid service address"),
    ("PUT", "/v1/agent/service/register", {"Name": "x", "Weights": {"Passing": 0, "Warning": 1}}, 400,
     "Invalid Weights: Passing must be greater than 0"),
    ("PUT", "/v1/agent/service/register", {"Name": "x", "Check": {"TTL": "5s", "Status": "fine"}}, 400,
     "Status for checks must 'passing', 'warning', 'critical'"),
    ("PUT", "/v1/agent/service/register", {"Name": "x", "Check": {"HTTP": "http://x"}}, 400,
     "Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks"),
    ("PUT", "/v1/agent/check/update/nothing", {"Status": "bad"}, 400, "Invalid check status: 'bad'"),
    ("PUT", "/v1/agent/check/pass/nothing", None, 500, 'CheckID "nothing" does not have associated TTL'),
    ("PUT", "/v1/catalog/register", {"Address": "1.2.3.4"}, 500, "Must provide node"),
    ("PUT", "/v1/catalog/register", {"Node": "x"}, 500, "Must provide address if SkipNodeUpdate is not set"),
]


@pytest.mark.parametrize("method,path,body,status,text", ERRORS)
def test_errors_are_the_originals_word_for_word(catalogue, method, path, body, status, text):
    answer = catalogue.ask(method, path, json=body) if body is not None else catalogue.ask(method, path)
    assert (answer.status_code, answer.text.strip()) == (status, text)
    if status == 405:
        assert {part.strip() for part in answer.headers["Allow"].split(",")} >= {"OPTIONS", "GET"}


def test_errors_that_name_what_they_met(catalogue):
    answer = catalogue.ask("GET", "/v1/health/service/x", params={"filter": "Service.Tags ="})
    assert answer.status_code == 500 and answer.text.startswith("Failed to create boolean expression evaluator: ")
    body = {"Node": "x", "Address": "1.2.3.4", "ID": "no-uuid"}
    answer = catalogue.ask("PUT", "/v1/catalog/register", json=body)
    assert answer.status_code == 500 and answer.text.startswith("Bad node ID: ")
    body = {"Node": "y", "Address": "1.2.3.4", "Check": {"CheckID": "c", "Name": "c", "ServiceID": "none"}}
    answer = catalogue.ask("PUT", "/v1/catalog/register", json=body)
    assert (answer.status_code, answer.text) == (500, 'failed inserting check: Missing service registration on node "y"')
    assert catalogue.ask("GET", "/v1/no/such").status_code == 404
    assert catalogue.ask("OPTIONS", "/v1/catalog/services").status_code == 200


def test_headers_of_an_answer(catalogue):
    catalogue.register("wire-head")
    answer = catalogue.ask("GET", "/v1/health/service/wire-head?stale")
    assert index_of(answer) >= 1 and answer.headers["X-Consul-KnownLeader"] == "true"
    assert "X-Consul-LastContact" in answer.headers and answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Consul-Effective-Consistency"] == "stale"
    plain = catalogue.ask("GET", "/v1/health/service/wire-head", headers={"Accept-Encoding": "identity"})
    assert "\n" not in plain.text and "Content-Encoding" not in plain.headers
    pretty = catalogue.ask("GET", "/v1/health/service/wire-head?pretty").text
    assert pretty.startswith("[\n    {") and pretty.endswith("\n") and json.loads(pretty) == plain.json()
    zipped = catalogue.ask("GET", "/v1/health/service/wire-head", headers={"Accept-Encoding": "gzip"}, stream=True)
    if zipped.headers.get("Content-Encoding") == "gzip":
        assert json.loads(gzip.decompress(zipped.raw.read(decode_content=False))) == plain.json()
    cached = catalogue.ask("GET", "/v1/health/service/wire-head?cached")
    assert cached.headers["X-Cache"] in ("HIT", "MISS")


def test_shapes_are_never_null_where_clients_do_not_bear_it(catalogue):
    catalogue.register("wire-shape")
    [instance] = catalogue.ask("GET", "/v1/health/service/wire-shape").json()
    assert instance["Service"]["Tags"] == [] and isinstance(instance["Checks"], list)
    assert set(instance["Node"]) >= {"ID", "Node", "Address", "Datacenter", "TaggedAddresses", "Meta", "CreateIndex", "ModifyIndex"}
    expected = {"ID", "Service", "Tags", "Address", "Meta", "Port", "Weights", "EnableTagOverride", "CreateIndex", "ModifyIndex"}
    assert set(instance["Service"]) >= expected
    assert catalogue.ask("GET", "/v1/health/service/none").json() == []
    assert catalogue.ask("GET", "/v1/health/state/whatever").json() == []
    assert catalogue.ask("GET", "/v1/catalog/node/none").json() is None


def test_odd_requests_that_clients_make(catalogue):
    # Names in lower case, percent-encoded segments, a bare question mark, an empty Basic header.
    answer = catalogue.ask("PUT", "/v1/agent/service/register?", data='{"name":"wire:odd","port":-5}')
    assert answer.status_code == 200, answer.text
    basic = {"Authorization": "Basic Og=="}
    [instance] = catalogue.ask("GET", "/v1/health/service/wire%3Aodd?", headers=basic).json()
    assert instance["Service"]["Port"] == -5
    assert catalogue.ask("PUT", "/v1/agent/service/deregister/wire%3Aodd").status_code == 200
    assert catalogue.ask("GET", "/v1/health/service/wire%3Aodd").json() == []
    for passing in ("", "=1", "=t", "=true"):
        assert catalogue.ask("GET", f"/v1/health/service/wire-odd?passing{passing}").status_code == 200


def test_waits_that_are_none_end_at_once_or_are_the_usual(catalogue):
    index = index_of(catalogue.ask("GET", "/v1/catalog/services"))
    begun = time.monotonic()
    assert catalogue.ask("GET", "/v1/catalog/services?index=0&wait=10m").status_code == 200
    assert time.monotonic() - begun < 2
    with pytest.raises(requests.Timeout):
        # The usual wait is minutes.
        catalogue.ask("GET", f"/v1/health/service/wire-never?index={index + 1000}&wait=-5s", timeout=1)


def test_keys_by_their_bytes(catalogue):
    value = bytes(range(256))
    assert catalogue.ask("PUT", "/v1/kv/wire%2Fbytes?flags=7", data=value).text.strip() == "true"
    answer = catalogue.ask("GET", "/v1/kv/wire/bytes?raw")
    assert answer.content == value and answer.headers["Content-Type"] == "text/plain"
    assert answer.headers["X-Content-Type-Options"] == "nosniff" and answer.headers["Content-Security-Policy"] == "sandbox"
    [pair] = catalogue.ask("GET", "/v1/kv/wire/bytes").json()
    assert base64.b64decode(pair["Value"]) == value and pair["Flags"] == 7 and "Session" not in pair
    missing = catalogue.ask("GET", "/v1/kv/wire/none")
    assert (missing.status_code, missing.text) == (404, "") and index_of(missing) >= 1
    assert catalogue.ask("PUT", "/v1/kv/wire/large", data=b"x" * 524_288).status_code == 200
    assert catalogue.ask("PUT", "/v1/kv/wire/large", data=b"x" * 524_289).status_code == 413


def test_a_registration_of_odd_size(catalogue):
    long = "a" * 10_000
    answer = catalogue.ask("PUT", "/v1/agent/service/register", json={"Name": "wire-long", "Address": long})
    assert (answer.status_code, answer.text) == (400, "Invalid service address")
    answer = catalogue.ask("PUT", "/v1/agent/service/register", json={"Name": long})
    assert 400 <= answer.status_code < 500, answer.text
    huge = catalogue.ask("PUT", "/v1/agent/service/register", data=b'{"Name":"' + b"x" * 20_000_000 + b'"}')
    assert huge.status_code in (400, 413)
    deep = catalogue.ask("PUT", "/v1/agent/service/register", data=b"[" * 100_000)
    assert deep.status_code == 400
    nested = "(" * 20_000 + "a == b" + ")" * 20_000
    answer = catalogue.ask("PUT", "/v1/agent/service/register", json={"Name": "wire-ok"})
    assert answer.status_code == 200
    try:
        assert catalogue.ask("GET", "/v1/health/service/wire-ok", params={"filter": nested}).status_code in (400, 414, 431, 500)
    except requests.ConnectionError:
        # A head that is too long may end the connection.
        pass


def test_watchers_that_never_read_cost_little_and_hinder_nobody(catalogue):
    for number in range(50):
        catalogue.register("wire-deaf", ID=f"deaf-{number}", Meta={"note": "x" * 400})
    address = ("127.0.0.1", catalogue.port("consul"))
    deaf = []
    for _ in range(500):
        stream = socket.create_connection(address)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stream.sendall(b"GET /v1/health/service/wire-deaf HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        deaf.append(stream)
    begun = time.monotonic()
    catalogue.register("wire-deaf", ID="deaf-0", Meta={"note": "changed"})
    assert time.monotonic() - begun < PATIENCE
    assert len(catalogue.ask("GET", "/v1/health/service/wire-deaf").json()) == 50
    for stream in deaf:
        stream.close()
    for number in range(50):
        catalogue.ask("PUT", f"/v1/agent/service/deregister/deaf-{number}")


def events(stream):
    """Server-sent events as (name, id, data), as they come."""
    name = identity = data = None
    # Byte by byte: the client would wait for a block to be full.
    for line in stream.iter_lines(chunk_size=1, decode_unicode=True):
        if line.startswith("event:"):
            name = line[6:].strip()
        elif line.startswith("id:"):
            identity = int(line[3:])
        elif line.startswith("data:"):
            data = line[5:].strip()
        elif not line and name:
            yield name, identity, data
            name = data = None


def follow(catalogue, service, after=None):
    headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"} | ({"Last-Event-ID": str(after)} if after else {})
    return events(catalogue.ask("GET", f"/v1/health/service/{service}", headers=headers, stream=True))


def test_a_stream_is_a_snapshot_then_changes_and_goes_on_from_any_position(catalogue):
    catalogue.register("wire-sse", ID="a", Port=1)
    catalogue.register("wire-sse", ID="b", Port=1)
    stream, seen = follow(catalogue, "wire-sse"), []
    for event in stream:
        seen.append(event)
        if event[0] == "end":
            break
    assert [name for name, _, _ in seen] == ["snapshot", "put", "put", "end"]
    end = seen[-1][1]
    catalogue.register("wire-sse", ID="a", Port=2)
    catalogue.ask("PUT", "/v1/agent/service/deregister/b")
    first, second = next(stream), next(stream)
    assert (first[0], second[0]) == ("put", "remove") and end < first[1] < second[1]
    assert json.loads(first[2])["Service"]["Port"] == 2 and "b" in second[2]
    # From each position, what came after it and nothing else.
    resumed = follow(catalogue, "wire-sse", after=end)
    assert [next(resumed), next(resumed)] == [first, second]
    assert next(follow(catalogue, "wire-sse", after=first[1])) == second
