"""Views: declared, read, waited for, followed, over a node that is killed."""

import http.client
import json
import threading
import uuid

import requests

from conftest import wait_for


class Watcher:
    """One connection that follows a view."""

    def __init__(self, node, view, query="", last_id=None):
        self.connection = http.client.HTTPConnection(node.address, timeout=30)
        headers = {"accept": "text/event-stream"}
        if last_id is not None:
            headers["last-event-id"] = last_id
        self.connection.request("GET", f"/v1/views/{view}{query}", headers=headers)
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200, self.answer.read()

    def __iter__(self):
        """Gives the name, the id and the data of each event."""
        name, event_id, data = None, None, None
        while line := self.answer.readline():
            field, _, value = line.decode().rstrip("\n").partition(":")
            value = value.removeprefix(" ")
            if field == "id":
                event_id = value
            elif field == "event":
                name = value
            elif field == "data":
                data = json.loads(value)
            elif not field and data is not None:
                yield name, event_id, data
                name, event_id, data = None, None, None

    def until(self, wanted):
        """The events up to the first of a name."""
        seen = []
        for name, event_id, data in self:
            seen.append((name, event_id, data))
            if name == wanted:
                return seen
        raise AssertionError(f"the body ended: {seen}")

    def close(self):
        self.answer.close()
        self.connection.close()


def declare(node, **spec):
    """A view of a stream of its own, folded by the second token; both are called by the name that is given."""
    name = f"v{uuid.uuid4().hex}"
    stream = spec.pop("stream", name)
    body = {"subjects": [f"{stream}.>"]}
    assert requests.put(node.url(f"/v1/streams/{stream}"), json=body, timeout=30).status_code in (200, 201)
    spec = {"stream": stream, "key": {"tokens": [2]}, "remove": {"subjects": [f"{stream}.*.deleted"]}, **spec}
    resource = {"apiVersion": "tidings.dev/v1", "kind": "View", "metadata": {"name": name}, "spec": spec}
    answer = requests.post(node.url("/v1/resources"), json=resource, timeout=30)
    assert answer.status_code == 200, answer.text
    wait_for(lambda: state(node, name) == "ready", 30, lambda: "not ready")
    return name


def state(node, view):
    listed = requests.get(node.url("/v1/views"), timeout=30).json()["views"]
    return next((one["state"] for one in listed if one["name"] == view), None)


def publish(node, view, key, value, session=requests):
    action, body = ("deleted", b"x") if value is None else ("changed", json.dumps(value).encode())
    answer = session.post(node.url(f"/v1/publish/{view}.{key}.{action}"), data=body, timeout=60)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()["seq"]


def rows(node, view):
    """What a view holds, once it is folded: values by key."""
    answer = requests.get(node.url(f"/v1/views/{view}"), params={"limit": 100000}, timeout=30)
    assert answer.status_code == 200, answer.text
    return {row["key"]: row["value"] for row in answer.json()["rows"]}


def position(node, view):
    listed = requests.get(node.url("/v1/views"), timeout=30).json()["views"]
    return next(one["position"] for one in listed if one["name"] == view)


def test_a_row_is_waited_for_and_nothing_else_wakes_its_reader(node):
    view = declare(node)
    publish(node, view, "ann", 1)
    at = publish(node, view, "bob", 1)
    wait_for(lambda: position(node, view) == at, 30, lambda: "not folded")
    answers = {}

    def wait(key):
        params = {"index": at, "wait": "20s"}
        answers[key] = requests.get(node.url(f"/v1/views/{view}/{key}"), params=params, timeout=60)

    threads = [threading.Thread(target=wait, args=(key,)) for key in ("ann", "eve")]
    [thread.start() for thread in threads]
    publish(node, view, "bob", 2)
    threads[0].join(0.3)
    assert not answers
    publish(node, view, "ann", 2)
    threads[0].join(10)
    assert answers["ann"].json()["value"] == 2 and "eve" not in answers
    publish(node, view, "eve", None)
    publish(node, view, "eve", 3)
    threads[1].join(10)
    assert answers["eve"].json()["value"] == 3
    late = requests.get(node.url(f"/v1/views/{view}/ann"), params={"index": position(node, view), "wait": "100ms"}, timeout=30)
    assert late.status_code == 200 and late.headers["tidings-index"].startswith(f"{position(node, view)}-")


def test_a_view_is_followed_over_a_kill_without_gap_or_double(own_node):
    view = declare(own_node)
    for number in range(50):
        at = publish(own_node, view, f"k{number % 10}", number)
    watcher = Watcher(own_node, view)
    snapshot = watcher.until("end")
    assert snapshot[0][0] == "snapshot" and len(snapshot) == 12
    held = {data["key"]: data["value"] for name, _, data in snapshot if name == "put"}
    last = snapshot[-1][1]
    assert last.startswith(f"{at}-")
    for round_ in range(3):
        wait_for(lambda: position(own_node, view) == at, 30, lambda: "not folded")
        before = rows(own_node, view)
        own_node.kill()
        watcher.close()
        own_node.start()
        wait_for(lambda: state(own_node, view) == "ready", 30, lambda: "not ready")
        assert rows(own_node, view) == before
        publish(own_node, view, "k1", None)
        at = publish(own_node, view, "k2", f"round {round_}")
        watcher = Watcher(own_node, view, last_id=last)
        for name, event_id, data in watcher:
            assert name != "snapshot", "the checkpoint lost the history"
            if name == "put":
                held[data["key"]] = data["value"]
            elif name == "remove":
                held.pop(data["key"], None)
            last = event_id or last
            if last.startswith(f"{at}-"):
                break
        assert held == rows(own_node, view)
        at = publish(own_node, view, "k1", "again")
    watcher.close()


def test_a_stream_that_is_not_there_is_told_and_one_that_is_made_anew_is_folded_anew(node):
    view = declare(node)
    publish(node, view, "ann", 1)
    wait_for(lambda: rows(node, view) == {"ann": 1}, 30, lambda: rows(node, view))
    watcher = Watcher(node, view)
    watcher.until("end")
    assert requests.delete(node.url(f"/v1/streams/{view}"), timeout=30).status_code == 204
    wait_for(lambda: state(node, view) == "ailing", 30, lambda: state(node, view))
    told = node.run("view", "ls")
    assert f"the stream {view} is not there" in told.stdout, told
    # What it held is there meanwhile.
    assert rows(node, view) == {"ann": 1}
    requests.put(node.url(f"/v1/streams/{view}"), json={"subjects": [f"{view}.>"]}, timeout=30)
    publish(node, view, "bob", 2)
    wait_for(lambda: rows(node, view) == {"bob": 2}, 30, lambda: rows(node, view))
    anew = watcher.until("snapshot") + watcher.until("put")
    assert anew[-1][2]["key"] == "bob"
    watcher.close()


def test_rows_end_by_themselves_and_the_oldest_go_beyond_a_bound(node):
    short = declare(node, ttl="1s")
    publish(node, short, "ann", 1)
    watcher = Watcher(node, short)
    watcher.until("put")
    removed = watcher.until("remove")
    assert removed[-1][2]["key"] == "ann" and "." in removed[-1][1], removed
    assert rows(node, short) == {}
    watcher.close()
    small = declare(node, limits={"rows": 2})
    for key in ("a", "b", "c"):
        publish(node, small, key, 1)
    wait_for(lambda: sorted(rows(node, small)) == ["b", "c"], 30, lambda: rows(node, small))


def test_the_command_line_declares_reads_and_watches(node):
    name = f"v{uuid.uuid4().hex}"
    requests.put(node.url(f"/v1/streams/{name}"), json={"subjects": [f"{name}.>"]}, timeout=30)
    added = node.run("view", "add", name, "--stream", name, "--key", "token:2", "--remove-subject", f"{name}.*.deleted")
    assert added.returncode == 0 and "created" in added.stdout, added
    again = node.run("view", "add", name, "--stream", name, "--key", "token:2", "--remove-subject", f"{name}.*.deleted")
    assert "unchanged" in again.stdout, again
    publish(node, name, "ann", {"n": 1})
    wait_for(lambda: rows(node, name) == {"ann": {"n": 1}}, 30, lambda: rows(node, name))
    assert '{"n":1}' in node.run("view", "get", name).stdout
    assert json.loads(node.run("view", "get", name, "ann", "--json").stdout)["value"] == {"n": 1}
    assert node.run("view", "get", name, "ann", "--raw").stdout == '{"n": 1}'
    missing = node.run("view", "get", name, "bob")
    assert missing.returncode == 4 and "no row 'bob'" in missing.stderr, missing
    watch = node.spawn("view", "watch", name, "--json")
    lines = [json.loads(watch.stdout.readline()) for _ in range(3)]
    assert [line["event"] for line in lines] == ["snapshot", "put", "end"], lines
    publish(node, name, "ann", None)
    line = json.loads(watch.stdout.readline())
    assert (line["event"], line["data"]["key"]) == ("remove", "ann")
    watch.kill()
    for wrong in (["--key", "nowhere:1"], ["--key", "path:a..b"], ["--ttl", "soon"], ["--filter", "a..b"]):
        refused = node.run("view", "add", "w", "--stream", "S", *wrong)
        assert refused.returncode in (1, 2) and refused.stderr, wrong
    assert node.run("view", "rm", name).returncode == 0
    assert node.run("view", "get", name).returncode == 4


def test_what_is_wrong_with_a_question_is_named(node):
    view = declare(node)
    for query, named in [
        ("?index=x", "index"),
        ("?index=-1", "index"),
        ("?index=1&wait=-5s", "wait"),
        ("?wait=5s", "index"),
        ("?limit=0", "limit"),
        ("?perfix=a", "perfix"),
    ]:
        answer = requests.get(node.url(f"/v1/views/{view}{query}"), timeout=30)
        assert answer.status_code == 400 and named in answer.json()["detail"], (query, answer.text)
    # An index larger than any: nothing is known of it, so it is answered, and not waited for.
    ahead = requests.get(node.url(f"/v1/views/{view}?index=17592186044415&wait=60s"), timeout=10)
    assert ahead.status_code == 200
    assert requests.get(node.url("/v1/views/nobody"), timeout=30).status_code == 404
    assert requests.get(node.url(f"/v1/views/{view}/" + "k" * 5000), timeout=30).status_code == 404
