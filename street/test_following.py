"""Server-sent events, read with nothing but Python's own HTTP client."""

import http.client
import random
import threading
import uuid

import requests

SEED = 20260228


class Follower:
    """One connection that follows a stream."""

    def __init__(self, node, stream, query="", last_id=None):
        self.connection = http.client.HTTPConnection(node.address, timeout=30)
        headers = {"accept": "text/event-stream"}
        if last_id is not None:
            headers["last-event-id"] = last_id
        self.connection.request("GET", f"/v1/streams/{stream}/messages{query}", headers=headers)
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200, self.answer.read()
        assert self.answer.getheader("content-type").startswith("text/event-stream")

    def __iter__(self):
        """Gives the id and the data of each event; comments and other events pass."""
        event_id, data = None, []
        while line := self.answer.readline():
            line = line.decode().rstrip("\r\n")
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "id":
                event_id = value
            elif field == "data":
                data.append(value)
            elif not line and data:
                yield event_id, "\n".join(data)
                data = []

    def close(self):
        self.answer.close()
        self.connection.close()


def declare(node):
    name = f"S{uuid.uuid4().hex}"
    body = {"subjects": [f"{name}.>"]}
    assert requests.put(node.url(f"/v1/streams/{name}"), json=body, timeout=30).status_code in (200, 201)
    return name


def publish(node, stream, number, size=0, session=requests):
    body = f"message-{number}-".encode() + b"x" * size
    answer = session.post(node.url(f"/v1/publish/{stream}.{number}"), data=body, timeout=60)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()["seq"]


def test_a_follower_that_is_cut_off_again_and_again_sees_each_message_once(node):
    stream, count, chance = declare(node), 400, random.Random(SEED)

    def publisher():
        with requests.Session() as session:
            for number in range(count):
                publish(node, stream, number, session=session)

    publishing = threading.Thread(target=publisher)
    publishing.start()
    seen, last_id = [], None
    while len(seen) < count:
        follower = Follower(node, stream, "?from=1", last_id)
        for event_id, data in follower:
            last_id = event_id
            seen.append((event_id, data))
            if len(seen) == count or chance.random() < 0.05:
                break
        follower.close()
    publishing.join()
    ids = [event_id for event_id, _ in seen]
    assert len(set(ids)) == count
    subjects = [number for number in range(count) if f"{stream}.{number}\"" not in seen[number][1]]
    assert not subjects, (subjects[0], seen[subjects[0]])


def test_a_follower_resumes_across_a_kill(own_node):
    stream = declare(own_node)
    for number in range(5):
        publish(own_node, stream, number)
    follower = Follower(own_node, stream, "?from=1")
    last_id = [event_id for event_id, _ in zip_first(follower, 3)][-1]
    follower.close()
    own_node.kill()
    own_node.start()
    publish(own_node, stream, 5)
    follower = Follower(own_node, stream, "", last_id)
    rest = [data for _, data in zip_first(follower, 3)]
    follower.close()
    assert [f"{stream}.{number}\"" in data for number, data in zip((3, 4, 5), rest)] == [True] * 3


def zip_first(follower, count):
    found = []
    for item in follower:
        found.append(item)
        if len(found) == count:
            return found
    raise AssertionError(f"the stream ended after {len(found)}")


def test_a_follower_that_stands_still_slows_nobody_and_misses_nothing(node):
    stream, count, size = declare(node), 300, 64 * 1024
    publish(node, stream, 0)
    standing = Follower(node, stream, "?from=1")
    with requests.Session() as session:
        for number in range(1, count):
            # A publisher that was held up by the one who does not read would run into its timeout.
            publish(node, stream, number, size, session)
    seen = zip_first(standing, count)
    standing.close()
    assert [f"{stream}.{number}\"" in data for number, (_, data) in enumerate(seen)] == [True] * count
