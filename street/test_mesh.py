"""Three domains, six nodes, each in a network namespace of its own: who reaches whom by which topology, and what is
left of it when cables are cut, nodes killed and stopped, and the controller is away.
"""

import json
import time
import uuid

import pytest
from conftest import wait_for
from mesh import SETTLE_SECONDS_MAX, World, document, links, refused

pytestmark = pytest.mark.skipif(refused is not None, reason=f"network namespaces: {refused}")

DOMAINS = {"hub": ["h1", "h2"], "a": ["a1", "a2"], "b": ["b1", "b2"]}
HUB, A, B = {"h1", "h2"}, {"a1", "a2"}, {"b1", "b2"}
ALL = HUB | A | B


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    running = World(tmp_path_factory.mktemp("mesh"), DOMAINS)
    running.listen_everywhere()
    yield running
    running.end()


def topology(world, *pairs, **spec):
    """Puts a topology in force, and waits until the mesh has it."""
    world.leader.declare(document("Topology", "main", **spec))
    world.await_links(*pairs)


def reaches(world, **expected):
    """Who hears what each of these nodes publishes, exactly."""
    for name, heard in expected.items():
        world.await_reach(world.nodes[name], heard)


def test_without_a_topology_a_domain_reaches_itself_alone(world):
    world.await_links()
    reaches(world, h1=HUB, a1=A, a2=A, b1=B)


def test_a_chain_carries_from_one_end_to_the_other(world):
    topology(world, ("a", "hub"), ("hub", "b"), links=links(a=["hub"], hub=["b"]))
    reaches(world, a1=ALL, a2=ALL, h2=ALL, b1=ALL)


def test_a_full_mesh_carries_each_once(world):
    topology(world, ("a", "hub"), ("hub", "b"), ("a", "b"), links=links(_=["_"]))
    reaches(world, a2=ALL, h1=ALL, b2=ALL)


def test_a_star_of_templates_keeps_its_spokes_apart(world):
    segments = [{"name": "to-$domain", "links": [{"domain": "hub", "neighbors": ["$domain"]}]}]
    topology(world, ("a", "hub"), ("hub", "b"), segments=segments)
    reaches(world, a1=HUB | A, b2=HUB | B, h1=ALL, h2=ALL)
    told = world.leader.run("segment", "explain", "a", "b")
    assert told.returncode == 0 and "a does not reach b" in told.stdout, told.stdout + told.stderr
    told = world.leader.run("segment", "explain", "a", "hub")
    assert "a reaches hub" in told.stdout and "a - hub" in told.stdout, told.stdout


def test_a_group_takes_each_message_once_and_near_members_first(world):
    topology(world, ("a", "hub"), ("hub", "b"), links=links(a=["hub"], hub=["b"]))
    far = [world.b1.listen("work.>", "crew"), world.h2.listen("work.>", "crew")]
    time.sleep(1)
    for number in range(20):
        world.a1.publish("work.do", f"far-{number}")
    time.sleep(1)
    heard = [text for listener in far for text in listener.heard]
    assert sorted(heard) == sorted(f"far-{number}" for number in range(20)), [listener.heard for listener in far]
    near = world.a1.listen("work.>", "crew")
    time.sleep(1)
    for number in range(20):
        world.a1.publish("work.do", f"near-{number}")
    time.sleep(1)
    assert len(near.heard) == 20, (near.heard, [listener.heard for listener in far])
    for listener in [*far, near]:
        listener.close()


def test_a_declared_invariant_forbids_what_would_break_it(world):
    segments = [{"name": "to-$domain", "links": [{"domain": "hub", "neighbors": ["$domain"]}]}]
    topology(world, ("a", "hub"), ("hub", "b"), segments=segments)
    world.leader.declare(document("Topology", "rules", never=[{"from": "a", "to": "b"}]))
    chain = document("Topology", "main", links=links(a=["hub"], hub=["b"]))
    answer = world.leader.apply(chain)
    assert answer.status_code == 400 and "forbids it" in answer.text, answer.text
    told = world.leader.run("segment", "check", "-f", "-", input=json.dumps(chain))
    assert told.returncode == 1 and "+ a reaches b  by a - hub - b in segment default" in told.stdout, told
    assert "forbidden: " in told.stdout, told.stdout
    reaches(world, a1=HUB | A)
    world.leader.remove("Topology", "rules")
    told = world.leader.run("segment", "check", "-f", "-", input=json.dumps(chain))
    assert told.returncode == 0 and "forbidden" not in told.stdout, told


def test_names_are_closed_to_domains_that_a_rule_does_not_name(world):
    topology(world, ("a", "hub"), ("hub", "b"), links=links(a=["hub"], hub=["b"]))
    reaches(world, a1=ALL)
    rule = document("NameAcl", "secret", subjects=["street.secret.>"], publish=["domain:a"], subscribe=["domain:hub", "domain:a"])
    world.leader.declare(rule)
    world.await_nodes(world.nodes)
    inside = {name: node for name, node in world.nodes.items() if node.domain != "b"}
    heard = {name: node.listen("street.secret.*") for name, node in inside.items()}
    try:
        told = lambda: f"not closed as declared:\n{world.told()}"
        secret = lambda name: world.reached(world.nodes[name], "street.secret.x", listeners=heard)
        wait_for(lambda: secret("a1") == HUB | A, SETTLE_SECONDS_MAX, told)
        # Who may not publish there is refused at its own node, and who may not listen hears nothing.
        for name in ("b1", "h2"):
            assert world.nodes[name].ask("POST", "/v1/publish/street.secret.x", data=b"x").status_code == 403, name
        outside = world.b1.ask("GET", "/v1/subscribe", params={"subject": "street.secret.x"})
        assert outside.status_code == 403, outside.text
    finally:
        world.leader.remove("NameAcl", "secret")
        may = lambda node: node.ask("POST", "/v1/publish/street.secret.x", data=b"x").status_code != 403
        wait_for(lambda: all(map(may, world.nodes.values())), SETTLE_SECONDS_MAX, world.told)
        for listener in [*heard.values(), *world.hearing.values()]:
            listener.close()
        # A client whose rights changed is told to come anew, soon after they have.
        time.sleep(1)
        world.listen_everywhere()


def test_the_graph_and_the_trace_show_the_way(world):
    topology(world, ("a", "hub"), ("hub", "b"), links=links(a=["hub"], hub=["b"]))
    reaches(world, a1=ALL)
    drawn = world.leader.run("mesh", "graph")
    assert drawn.returncode == 0 and "a --- hub" in drawn.stdout and "b --- hub" in drawn.stdout, drawn
    assert world.leader.run("mesh", "graph", "--as", "dot").stdout.startswith("graph mesh {")
    assert "</svg>" in world.leader.run("mesh", "graph", "--as", "svg").stdout
    told = world.leader.run("trace", "street.ping", "--from", "a/a2")
    assert told.returncode == 0 and "to b, in segment default" in told.stdout, told
    assert "to hub, in segment default" in told.stdout and "-> hub/" in told.stdout and "-> b/" in told.stdout, told.stdout
    told = world.leader.run("trace", "nobody.wants.this", "--from", "a/a2")
    assert "nobody beyond this node who can be reached wants it" in told.stdout, told
    assert world.leader.run("trace", "street.ping", "--from", "a/a9").returncode == 4
    for what in ("nodes", "links", "routes", "domains", "mirror"):
        assert world.leader.run("mesh", what).returncode == 0, what
    own = world.b1.run("mesh", "links")
    assert own.returncode == 0 and "what b/b1 knows" in own.stderr, own


def test_the_path_that_a_message_took_is_shown_beside_the_one_that_it_would_take(world):
    topology(world, ("a", "hub"), ("hub", "b"), links=links(a=["hub"], hub=["b"]))
    reaches(world, a1=ALL)
    told = world.leader.run("trace", "street.probe", "--from", "a/a2", "--send", "--json")
    assert told.returncode == 0, told
    told = json.loads(told.stdout)
    assert told["complete"] and told["scope"] == "mesh", told
    noted = lambda told: {note["node"].split("/")[1] for note in told["notes"]}
    assert noted(told["took"]) == ALL, told["took"]
    shown = world.leader.run("trace", "street.probe", "--from", "a/a2", "--send").stdout
    assert "came after" in shown and "did not come" not in shown and "entered at" in shown, shown
    # One that a publisher of its own accord has traced, on a message of many.
    trace = uuid.uuid4().hex
    parent = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    world.b1.ask("POST", "/v1/publish/street.traced", data=b"x", headers=parent)
    took = lambda: world.leader.ask("GET", "/v1/mesh/trace", params={"id": trace})
    wait_for(lambda: took().status_code == 200 and noted(took().json()) == ALL, SETTLE_SECONDS_MAX, lambda: took().text)
    shown = world.leader.run("trace", "--id", trace)
    assert shown.returncode == 0 and "street.traced" in shown.stdout and "in segment default" in shown.stdout, shown
    own = world.b1.run("trace", "--id", trace)
    assert own.returncode == 0 and "what b/b1 knows" in own.stderr and "a/a1" not in own.stdout, own
    assert world.leader.run("trace", "--id", uuid.uuid4().hex).returncode == 4
    rows = world.leader.get("/v1/mesh/routes")["routes"]
    wants = {row["by"].split("/")[1] for row in rows if row["pattern"] == "street.>"}
    assert wants == ALL, rows


def test_a_secret_that_changes_counts_without_a_restart(world):
    topology(world, ("a", "hub"), ("hub", "b"), links=links(a=["hub"], hub=["b"]))
    reaches(world, b1=ALL)
    world.secret("b").write_text("another-secret-of-the-domain-0123456789abcdef\n")
    anew = "a node of it must prove itself anew"
    wait_for(lambda: anew in world.leader.log.read_text(errors="replace"), SETTLE_SECONDS_MAX, world.told)
    world.await_nodes(world.nodes)
    world.hearing.pop("b2")
    world.b2.kill()
    world.b2.start().await_ready()
    world.await_nodes(world.nodes)
    world.hearing["b2"] = world.b2.listen("street.>")
    reaches(world, b1=ALL)


def gateway(world, domain, neighbor):
    """The node of a domain that holds its link to another, and the link."""
    for link in world.leader.get("/v1/mesh/links")["links"]:
        ends = {link["from"].split("/")[0]: link["from"], link["to"].split("/")[0]: link["to"]}
        if link["kind"] == "remote" and link.get("serves") and set(ends) == {domain, neighbor}:
            return world.nodes[ends[domain].split("/")[1]]
    raise AssertionError(f"{domain} and {neighbor} are not linked")


def test_a_sibling_takes_the_place_of_a_gateway_that_is_killed(world):
    topology(world, ("a", "hub"), ("hub", "b"), links=links(a=["hub"], hub=["b"]))
    reaches(world, b1=ALL)
    lost = gateway(world, "a", "hub")
    left = "a2" if lost.name == "a1" else "a1"
    lost.kill()
    world.hearing.pop(lost.name)
    began = time.monotonic()
    world.await_reach(world.b1, ALL - {lost.name})
    assert time.monotonic() - began < 15
    assert gateway(world, "a", "hub").name == left
    lost.start().await_ready()
    world.await_nodes(world.nodes)
    world.hearing[lost.name] = lost.listen("street.>")
    world.await_reach(world.b1, ALL)


def test_a_sibling_takes_the_place_of_a_gateway_that_hangs(world):
    topology(world, ("a", "hub"), ("hub", "b"), links=links(a=["hub"], hub=["b"]))
    reaches(world, a1=ALL)
    lost = gateway(world, "b", "hub")
    began = time.monotonic()
    lost.hang()
    heard = world.hearing.pop(lost.name)
    try:
        world.await_reach(world.a1, ALL - {lost.name})
        assert time.monotonic() - began < 15
    finally:
        lost.resume()
    world.hearing[lost.name] = heard
    world.await_nodes(world.nodes)
    world.await_reach(world.a1, ALL)


def test_a_link_that_is_cut_is_held_by_others(world):
    topology(world, ("a", "hub"), ("hub", "b"), links=links(a=["hub"], hub=["b"]))
    reaches(world, a1=ALL)
    near, far = gateway(world, "a", "hub"), gateway(world, "hub", "a")
    near.cut(far)
    try:
        if not far.controller:
            world.await_reach(world.b1, ALL)
    finally:
        near.heal(far)
    world.await_nodes(world.nodes)
    world.await_reach(world.a1, ALL)


def test_the_mesh_goes_on_while_its_controller_is_away(world):
    topology(world, ("a", "hub"), ("hub", "b"), links=links(a=["hub"], hub=["b"]))
    reaches(world, a1=ALL)
    over = gateway(world, "hub", "a").name == "h1" or gateway(world, "hub", "b").name == "h1"
    world.h1.kill()
    world.hearing.pop("h1")
    if not over:
        world.await_reach(world.a1, ALL - {"h1"}, 10)
    else:
        # What does not need the controller's node goes on.
        world.await_reach(world.a1, A, 10) if gateway_was(world, "a") else world.await_reach(world.b1, B, 10)
    world.h1.start().await_ready()
    world.await_nodes(world.nodes)
    world.hearing["h1"] = world.h1.listen("street.>")
    world.await_links(("a", "hub"), ("hub", "b"))
    world.await_reach(world.b2, ALL)


def gateway_was(world, domain):
    """Whether the nodes of a domain reach each other: they do whatever happens elsewhere."""
    return bool(world.nodes[f"{domain}1"].get("/v1/mesh/links")["links"])


def test_a_node_goes_on_with_its_plan_when_it_starts_without_a_controller(world):
    topology(world, ("a", "hub"), ("hub", "b"), links=links(a=["hub"], hub=["b"]))
    reaches(world, a1=ALL)
    world.h1.hang()
    try:
        world.a2.kill()
        world.a2.start().await_ready()
        world.hearing["a2"] = world.a2.listen("street.>")
        world.hearing.pop("h1")
        told = world.a2.get("/v1/mesh/nodes")
        assert told["scope"] == "node" and told["nodes"][0]["state"] == "away", told
        plan = world.a2.data / "mesh" / "plan"
        assert plan.stat().st_mode & 0o777 == 0o600
        wait_for(lambda: world.reached(world.a1) >= A, 20, lambda: f"a1 does not reach a2:\n{world.a2.tail()}")
    finally:
        world.h1.resume()
    world.await_nodes(world.nodes)
    world.hearing["h1"] = world.h1.listen("street.>")
    world.await_reach(world.a1, ALL)


def test_a_node_without_the_secret_of_its_domain_is_not_taken(world):
    topology(world, ("a", "hub"), ("hub", "b"), links=links(a=["hub"], hub=["b"]))
    world.a2.stop()
    world.hearing.pop("a2")
    wrong = world.folder / "wrong.secret"
    wrong.write_text("x" * 40 + "\n")
    world.a2.start(secret=wrong).await_ready()
    wait_for(lambda: "another key" in world.a2.tail(), 20, world.a2.tail)
    assert world.a2.get("/v1/mesh/nodes")["nodes"][0]["state"] == "away"
    listed = {each["id"]: each["state"] for each in world.leader.get("/v1/mesh/nodes")["nodes"]}
    assert listed.get("a/a2") != "connected", listed
    world.a2.stop()
    world.a2.start().await_ready()
    world.await_nodes(world.nodes)
    world.hearing["a2"] = world.a2.listen("street.>")
    reaches(world, a2=ALL)
