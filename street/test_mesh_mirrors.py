"""Streams that are kept in other domains, brought and fetched, across a hub domain: cables are cut, nodes at either end and
gateways between killed. Everything is there in the end, once and in order.
"""

import json
import threading

import pytest
import requests
from conftest import wait_for
from mesh import World, document, links, refused

pytestmark = pytest.mark.skipif(refused is not None, reason=f"network namespaces: {refused}")

DOMAINS = {"hub": ["h1", "h2"], "a": ["a1", "a2"], "b": ["b1", "b2"]}
KEPT_SECONDS_MAX = 90


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    running = World(tmp_path_factory.mktemp("mirrors"), DOMAINS)
    running.leader.declare(document("Topology", "main", links=links(a=["hub"], hub=["b"])))
    running.await_links(("a", "hub"), ("hub", "b"))
    assert running.a1.ask("PUT", "/v1/streams/KEPT", json={"subjects": ["kept.>"]}).status_code in (200, 201)
    # Brought to one node of b, and fetched by the other.
    running.a1.declare(document("Mirror", "bring", stream="KEPT", to=["b/b1"], **{"as": "BROUGHT"}))
    running.b1.declare(document("Mirror", "let-in", stream="BROUGHT", accept=["a"]))
    running.b2.declare(document("Mirror", "fetch", stream="KEPT", **{"from": "a/a1", "as": "FETCHED"}))
    yield running
    running.end()


class Writer:
    """Publishes numbers at a node, one after the other, until it is told to stop."""

    def __init__(self, world):
        self.world, self.count, self.ends = world, len(subjects(world.a1, "KEPT")), threading.Event()
        self.thread = threading.Thread(target=self._write, daemon=True)
        self.thread.start()

    def _write(self):
        while not self.ends.wait(0.002):
            try:
                # What is not answered is recorded or not, and published again: the stream may have it twice.
                answer = self.world.a1.ask("POST", f"/v1/publish/kept.{self.count}", data=b"x")
            except requests.RequestException:
                continue
            if answer.status_code in (200, 201):
                self.count += 1

    def stop(self):
        self.ends.set()
        self.thread.join(30)
        return self.count


def subjects(node, stream):
    """What a stream holds, in order."""
    found, start = [], 1
    while True:
        answer = node.ask("GET", f"/v1/streams/{stream}/messages", params={"from": start, "limit": 10_000})
        if answer.status_code == 404:
            return []
        page = answer.json()
        found += [message["subject"] for message in page["messages"]]
        if page["next"] > page["last"]:
            return found
        start = page["next"]


def mirrors(world):
    told = {node.id: node.get("/v1/mesh/mirrors")["mirrors"] for node in (world.a1, world.b1, world.b2)}
    return json.dumps(told, indent=1)


def await_kept(world):
    """Waits until both copies have what the stream has: each of its messages once, in its order."""
    whole = subjects(world.a1, "KEPT")
    for node, stream in ((world.b1, "BROUGHT"), (world.b2, "FETCHED")):
        there = lambda: len(subjects(node, stream)) >= len(whole)
        wait_for(there, KEPT_SECONDS_MAX, lambda: f"{stream}: {len(subjects(node, stream))} of {len(whole)}\n{mirrors(world)}\n{world.told()}")
        assert subjects(node, stream) == whole, stream
    return len(whole)


def holder(world, domain, neighbor):
    """The node of a domain that holds its link to another."""
    for link in world.leader.get("/v1/mesh/links")["links"]:
        ends = {link["from"].split("/")[0]: link["from"], link["to"].split("/")[0]: link["to"]}
        if link["kind"] == "remote" and link.get("serves") and set(ends) == {domain, neighbor}:
            return world.nodes[ends[domain].split("/")[1]]
    raise AssertionError(f"{domain} and {neighbor} are not linked")


def during(world, happens):
    """Does something while the stream is written to; then both copies are complete."""
    before = len(subjects(world.a1, "KEPT"))
    writer = Writer(world)
    try:
        wait_for(lambda: writer.count > before + 50, 60, world.told)
        happens()
        after = writer.count
        wait_for(lambda: writer.count > after + 50, 60, world.told)
    finally:
        writer.stop()
    assert await_kept(world) > before


def test_both_copies_are_complete_and_people_see_it(world):
    during(world, lambda: None)
    told = world.b2.run("mesh", "mirror")
    assert told.returncode == 0 and "FETCHED" in told.stdout and "keeping" in told.stdout, told
    told = world.a1.run("mesh", "mirror")
    assert told.returncode == 0 and "b/b1" in told.stdout and "(b/b2 asks) fetch" in told.stdout, told


def test_a_link_that_is_cut_and_restored_loses_and_doubles_nothing(world):
    def happens():
        near, far = holder(world, "a", "hub"), holder(world, "hub", "a")
        near.unplug()
        near.plug()
        near.cut(far)
        near.heal(far)

    during(world, happens)
    world.await_nodes(world.nodes)


@pytest.mark.parametrize("name", ["b1", "b2", "a1"])
def test_a_node_at_either_end_that_is_killed_loses_and_doubles_nothing(world, name):
    def happens():
        world.nodes[name].kill()
        world.nodes[name].start().await_ready()
        world.await_nodes(world.nodes)

    during(world, happens)


@pytest.mark.parametrize("domain", ["a", "b"])
def test_a_gateway_that_changes_loses_and_doubles_nothing(world, domain):
    lost = holder(world, domain, "hub")

    def happens():
        lost.kill()
        wait_for(lambda: holder(world, domain, "hub") is not lost, 30, world.told)
        lost.start().await_ready()
        world.await_nodes(world.nodes)

    during(world, happens)


def test_what_nobody_lets_in_is_refused_in_words(world):
    world.a1.declare(document("Mirror", "unasked", stream="KEPT", to=["hub/h1"]))

    def why():
        rows = world.a1.get("/v1/mesh/mirrors")["mirrors"]
        return next((row["why"] for row in rows if row["name"] == "unasked"), None) or ""

    try:
        wait_for(lambda: "nobody at hub/h1 accepts it" in why() and "accept: [a]" in why(), 30, lambda: mirrors(world))
        assert world.h1.ask("GET", "/v1/streams/KEPT").status_code == 404
    finally:
        world.a1.remove("Mirror", "unasked")
