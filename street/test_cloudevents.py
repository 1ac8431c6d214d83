"""The CloudEvents SDK for Python sends in every mode, and reads back what it sent."""

import datetime
import json
import uuid

import pytest
import requests
from cloudevents.core.bindings import http as core_http
from cloudevents.core.bindings.http import HTTPMessage
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent as CoreEvent
from cloudevents.v1.conversion import to_binary, to_structured
from cloudevents.v1.http import CloudEvent as OldEvent
from cloudevents.v1.http import from_http

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
TIME = datetime.datetime(2026, 2, 28, 23, 59, 59, 123456, tzinfo=datetime.timezone.utc)

# Name, further attributes, data.
EVENTS = [
    ("json object", {"datacontenttype": "application/json"}, {"b": 1, "a": [2.5, None, "é"], "c": {}}),
    ("text", {"datacontenttype": "text/plain; charset=utf-8"}, "line one\r\nline two\tÄ €"),
    ("bytes", {"datacontenttype": "application/octet-stream"}, bytes(range(256))),
    ("no data", {}, None),
    ("all attributes", {
        "datacontenttype": "application/json",
        "dataschema": "https://example.com/schema/1.json?x=%20",
        "subject": "a subject/with spaces, \"quotes\", 100 % and é € 😀",
        "time": TIME,
    }, {"x": 1}),
    ("extensions", {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "x1": "ö \"%41\""}, None),
]
NAMES = [name for name, _, _ in EVENTS]


def attributes(further):
    base = {"id": str(uuid.uuid4()), "source": "/street/übung?x=1", "type": "street.sdk.tried", "specversion": "1.0"}
    return {**base, **further}


def post(node, headers, body, path="/v1/events"):
    answer = requests.post(node.url(path), headers=dict(headers), data=body, timeout=30)
    assert answer.status_code == 201, answer.text
    return answer.json()


def message(node, seq, accept=None, raw=False):
    headers = {"accept": accept} if accept else {}
    path = f"/v1/streams/EVENTS/messages/{seq}" + ("?raw=true" if raw else "")
    answer = requests.get(node.url(path), headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer


def as_it_is(data):
    """Data as bytes: text as UTF-8, and only what is neither as JSON."""
    if isinstance(data, str):
        return data.encode()
    return json.dumps(data).encode() if isinstance(data, dict) else data


def text_time(values):
    """Attributes with the time as an instant, however it is written."""
    def instant(value):
        if isinstance(value, str):
            return datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
        return value
    return {name: instant(value) if name == "time" else value for name, value in values.items() if value is not None}


@pytest.mark.parametrize("mode", ["binary", "structured"])
@pytest.mark.parametrize("name,further,data", EVENTS, ids=NAMES)
def test_an_event_of_the_new_interface_comes_back_in_both_modes(node, mode, name, further, data):
    event = CoreEvent({"time": TIME, **attributes(further)}, data)
    send = {"binary": core_http.to_binary_event, "structured": core_http.to_structured_event}[mode]
    sent = send(event)
    receipt = post(node, sent.headers, sent.body)
    assert receipt["stream"] == "EVENTS" and receipt["subject"] == "events.street.sdk.tried"
    assert receipt["duplicate"] is False

    structured = message(node, receipt["seq"], accept=STRUCTURED)
    assert structured.headers["content-type"].split(";")[0] == STRUCTURED
    read = core_http.from_structured_event(HTTPMessage({}, structured.content))
    assert text_time(read.get_attributes()) == text_time(event.get_attributes())
    assert read.get_data() == data

    binary = message(node, receipt["seq"], raw=True)
    ours = {key: value for key, value in binary.headers.items() if key.lower().startswith("ce-")}
    if "datacontenttype" in further:
        ours["content-type"] = binary.headers["content-type"]
    read = core_http.from_binary_event(HTTPMessage(ours, binary.content))
    assert text_time(read.get_attributes()) == text_time(event.get_attributes())
    assert binary.content == core_http.to_binary_event(event).body or mode == "structured"
    if isinstance(data, bytes):
        assert binary.content == data
    elif data is not None:
        assert read.get_data() == data


@pytest.mark.parametrize("mode", ["binary", "structured"])
@pytest.mark.parametrize("name,further,data", EVENTS, ids=NAMES)
def test_an_event_of_the_old_interface_comes_back_in_both_modes(node, mode, name, further, data):
    # The old interface puts attributes into headers as they are: no way for what HTTP does not take.
    ascii_only = {k: v for k, v in further.items() if isinstance(v, str) and v.isascii() and "%" not in v}
    event = OldEvent({**attributes(ascii_only), "source": "/street/old", "time": TIME.isoformat()}, data)
    # Left to itself it writes a text as a JSON string in one mode and not in the other.
    headers, body = to_binary(event, as_it_is) if mode == "binary" else to_structured(event)
    receipt = post(node, headers, body)

    structured = message(node, receipt["seq"], accept=STRUCTURED)
    read = from_http(dict(structured.headers), structured.content)
    assert text_time(read.get_attributes()) == text_time(event.get_attributes())
    assert read.get_data() == data

    binary = message(node, receipt["seq"], raw=True)
    if mode == "binary":
        assert binary.content == (body or b"")
    elif isinstance(data, dict):
        assert json.loads(binary.content) == data
    else:
        assert binary.content == (as_it_is(data) or b"")


def test_a_batch_is_recorded_in_its_order_and_comes_back_as_one(node):
    events = [CoreEvent(attributes({"time": TIME, **further}), data) for _, further, data in EVENTS]
    body = b"[" + b",".join(JSONFormat().write(event) for event in events) + b"]"
    receipts = post(node, {"content-type": BATCH}, body)["events"]
    first = receipts[0]["seq"]
    assert [receipt["seq"] for receipt in receipts] == list(range(first, first + len(events)))

    path = f"/v1/streams/EVENTS/messages?from={first}&limit={len(events)}"
    answer = requests.get(node.url(path), headers={"accept": BATCH}, timeout=30)
    assert answer.status_code == 200 and answer.headers["content-type"].split(";")[0] == BATCH, answer.text
    read = [JSONFormat().read(None, json.dumps(item)) for item in answer.json()]
    assert [text_time(event.get_attributes()) for event in read] == [text_time(e.get_attributes()) for e in events]
    assert [event.get_data() for event in read] == [event.get_data() for event in events]


@pytest.mark.parametrize("data", [
    '{"b" : 1,\t"a":2.50,  "b": 1e2, "\\u00e9": "\\/"}', "[ ]", "1.0", '"\\ud83d\\ude00"', "null", "12345678901234567890123",
])
def test_json_data_keeps_its_bytes_in_every_mode(node, data):
    kept = []
    names = attributes({"datacontenttype": "application/json", "source": "/street/bytes"})
    headers = {f"ce-{name}": value for name, value in names.items() if name != "datacontenttype"}
    kept.append(post(node, {**headers, "content-type": "application/json"}, data))
    for wrap in ("%s", "[%s]"):
        names["id"] = str(uuid.uuid4())
        body = wrap % (json.dumps(names)[:-1] + ', "data" : ' + data + " }")
        said = post(node, {"content-type": STRUCTURED if wrap == "%s" else BATCH}, body.encode())
        kept.append(said["events"][0] if "events" in said else said)
    for receipt in kept[:1] if data == "null" else kept:
        assert message(node, receipt["seq"], raw=True).content == data.encode()
        assert json.loads(message(node, receipt["seq"], accept=STRUCTURED).content)["data"] == json.loads(data)


def test_a_second_event_of_the_same_source_and_id_is_a_duplicate(node):
    event = CoreEvent(attributes({"time": TIME}), {"x": 1})
    binary, structured = core_http.to_binary_event(event), core_http.to_structured_event(event)
    first, second = post(node, binary.headers, binary.body), post(node, structured.headers, structured.body)
    assert (first["duplicate"], second["duplicate"]) == (False, True)
    assert first["seq"] == second["seq"]


@pytest.mark.parametrize("missing", ["id", "source", "type", "specversion"])
def test_a_missing_attribute_is_named(node, missing):
    names = attributes({})
    del names[missing]
    for headers, body in [
        ({f"ce-{name}": value.encode("ascii", "replace") for name, value in names.items()}, b""),
        ({"content-type": STRUCTURED}, json.dumps(names).encode()),
        ({"content-type": BATCH}, json.dumps([names]).encode()),
    ]:
        if missing == "specversion" and not body:
            continue  # Without it, it is no event in binary mode; what that means is the next test's.
        answer = requests.post(node.url("/v1/events"), headers=headers, data=body, timeout=30)
        assert answer.status_code == 400 and missing in answer.text, (headers, answer.text)
        assert answer.headers["content-type"].startswith("application/problem+json")


@pytest.mark.parametrize("body,content_type", [
    (b"{", STRUCTURED), (b"[]x", BATCH), (b"{}", BATCH), (b"[1]", BATCH), (b"\xff", STRUCTURED), (b"", "text/plain"),
])
def test_what_is_no_event_is_refused_and_recorded_nowhere(node, body, content_type):
    before = requests.get(node.url("/v1/streams/EVENTS"), timeout=30).json()["state"]["last_seq"]
    answer = requests.post(node.url("/v1/events"), headers={"content-type": content_type}, data=body, timeout=30)
    assert answer.status_code in (400, 415), answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert requests.get(node.url("/v1/streams/EVENTS"), timeout=30).json()["state"]["last_seq"] == before


def test_events_survive_a_kill(own_node):
    event = CoreEvent(attributes({"time": TIME}), {"x": 1})
    sent = core_http.to_binary_event(event)
    receipt = post(own_node, sent.headers, sent.body)
    own_node.kill()
    own_node.start()
    read = core_http.from_structured_event(HTTPMessage({}, message(own_node, receipt["seq"], STRUCTURED).content))
    assert text_time(read.get_attributes()) == text_time(event.get_attributes())
    assert post(own_node, sent.headers, sent.body)["duplicate"] is True
