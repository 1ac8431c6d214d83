"""Three linked hubs under load that are killed and stopped: what one has recorded comes to each other once, in order."""

import contextlib
import random
import threading
import time

import requests
from conftest import wait_for
from hub import Hub, link

KILLS = 6
ROOMS = 5
SETTLED_SECONDS_MAX = 60


def publish(hub, over):
    """Numbered events into rooms, until it is over; connects again whenever the hub was away."""
    number = 0
    while not over.is_set():
        with contextlib.suppress(Exception), hub.connect() as client:
            while not over.is_set():
                for _ in range(20):
                    client.post(f"R{number % ROOMS}", b"%s-%d" % (hub.name.encode(), number))
                    number += 1
                client.settle()
        time.sleep(0.05)


def recorded(hub):
    """Rooms, bodies, and whether another hub brought them, in the order of the stream."""
    found, position = [], 1
    while True:
        page = requests.get(hub.url(f"/v1/streams/KEPT/messages?from={position}&limit=5000"), timeout=60).json()
        for message in page["messages"]:
            headers = {name.lower(): values[0] for name, values in message["headers"].items()}
            found.append((message["subject"], message["data"].lstrip("\n"), headers["hub-from"] == "hub"))
        if page["next"] > page["last"]:
            return found
        position = page["next"]


def test_hubs_that_are_killed_under_load_lose_and_double_nothing(tmp_path):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance, over = random.Random(seed), threading.Event()
    hubs = [Hub(tmp_path, name, config="hub: {ping_interval: 1s}\n") for name in "abc"]
    for hub in hubs:
        hub.keep("KEPT", "*")
    for hub in hubs:
        hub.declare(*[link(other) for other in hubs if other is not hub])
    for hub in hubs:
        hub.until_linked(2)
    publishers = [threading.Thread(target=publish, args=(hub, over)) for hub in hubs]
    for publisher in publishers:
        publisher.start()
    try:
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.3, 1.5))
            hub = chance.choice(hubs)
            hub.kill() if chance.random() < 0.7 else hub.stop()
            time.sleep(chance.choice([0, 0, chance.uniform(0, 2)]))
            hub.start()
    finally:
        over.set()
        for publisher in publishers:
            publisher.join()

    def own(found):
        return {body for _, body, brought in found if not brought}

    def complete():
        streams = [recorded(hub) for hub in hubs]
        everything = set().union(*map(own, streams))
        return all({body for _, body, _ in found} == everything for found in streams)

    wait_for(complete, SETTLED_SECONDS_MAX, lambda: str([(hub.name, len(recorded(hub)), hub.counts()) for hub in hubs]))
    # Whatever would come twice has its time.
    time.sleep(3)
    for hub in hubs:
        found = recorded(hub)
        assert len({body for _, body, _ in found}) == len(found), f"something was doubled at {hub.name}"
        for other in hubs:
            for room in range(ROOMS):
                bodies = [body for subject, body, _ in found if subject == f"room.R{room}"]
                numbers = [int(body.split("-")[1]) for body in bodies if body.startswith(other.name)]
                assert numbers == sorted(numbers), f"room R{room} of {other.name} is out of order at {hub.name}"
        hub.until_linked(2)
    for hub in hubs:
        hub.kill()
