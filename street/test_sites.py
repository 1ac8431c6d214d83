"""Three nodes, two sites and a cloud, as real processes, with links between them that fail.

Also the eight cases of routerd's own qualification, each carried to its end: the security case reaches the HMAC,
and the second group carries facts.
"""

import json
import time

import pytest
import sites
from conftest import wait_for
from sites import ARRIVES_SECONDS_MAX, Traffic, World, document, envelope, fact, group, peer

NAMES = ("a", "b", "cloud")
# What a partition may leave behind for, after it healed.
CONVERGES_SECONDS_MAX = 5
MINUTES_10 = 600


def networks():
    refused = sites.namespaces_refused()
    skip = pytest.mark.skipif(bool(refused), reason=f"network namespaces are not permitted here: {refused}")
    return ["proxies", pytest.param("namespaces", marks=skip)]


@pytest.fixture(params=networks())
def world(request, tmp_path):
    """Two sites and a cloud, each of which tells every other."""
    made = World(tmp_path, NAMES, request.param == "namespaces")
    yield made
    made.end()


@pytest.fixture
def pair(tmp_path):
    """A site and a cloud, on the loopback."""
    made = World(tmp_path, ("a", "cloud"))
    yield made
    made.end()


def nothing_is_lost_or_doubled(world, traffic, group="sites"):
    stated = [identity for each in traffic for identity in each.finish()]
    assert len(stated) == len(set(stated))
    for site in world.sites.values():
        complaint = lambda: f"{site.name} has {site.count()} of {len(stated)}:\n{site.tail()}"
        wait_for(lambda: site.count() >= len(stated), ARRIVES_SECONDS_MAX, complaint)
        recorded = site.recorded()
        assert set(recorded) == set(stated), (site.name, set(recorded) ^ set(stated))
        assert len(recorded) == len(stated), f"{site.name} recorded something twice"


def begin(world, per_second=40):
    traffic = [Traffic(site, per_second) for site in world.sites.values()]
    for each in traffic:
        each.start()
    return traffic


@pytest.mark.timeout(60)
def test_each_node_is_killed_in_turn_and_nothing_is_lost_or_doubled(world):
    traffic = begin(world)
    for name, site in world.sites.items():
        for each in traffic:
            each.advances()
        site.kill()
        # The others go on meanwhile.
        for each in traffic:
            if each.site is not site:
                each.advances()
        site.start()
    for each in traffic:
        each.advances()
    nothing_is_lost_or_doubled(world, traffic)


@pytest.mark.timeout(60)
def test_links_are_cut_and_restored_and_nothing_is_lost_or_doubled(world):
    traffic = begin(world)
    for closed in (False, True):
        for each in traffic:
            each.advances()
        link = world.links["a", "cloud"]
        link.cut(closed)
        wait_for(lambda: world.a.peer("cloud")["queue"] >= 20, ARRIVES_SECONDS_MAX, lambda: str(world.a.peer("cloud")))
        # Whom the link does not lead to is told as before.
        world.b.arrives(traffic[0].acknowledged[-1])
        missed = traffic[0].acknowledged[-1]
        assert not world.cloud.has(missed)
        link.heal()
        took = world.cloud.arrives(missed, seconds_max=CONVERGES_SECONDS_MAX)
        print(f"cut {'closed' if closed else 'silent'}: converged {took:.2f} s after it healed")
    nothing_is_lost_or_doubled(world, traffic)


@pytest.mark.timeout(60)
def test_a_slow_link_slows_nobody_else(tmp_path):
    world = World(tmp_path, NAMES)
    try:
        world.links["a", "cloud"].delay(0.2)
        traffic = begin(world)
        for each in traffic:
            each.advances(40)
        world.a.emit("measured")
        fast, slow = world.b.arrives("measured"), world.cloud.arrives("measured")
        print(f"over a link of 0 ms after {fast:.3f} s, over one of 200 ms after {slow:.3f} s")
        assert world.a.peer("b")["lagSeconds"] < 1
        world.links["a", "cloud"].heal()
        traffic[0].acknowledged.append("measured")
        nothing_is_lost_or_doubled(world, traffic)
    finally:
        world.end()


@pytest.mark.timeout(60)
def test_a_clock_that_is_ten_minutes_off_is_refused_with_the_reason(pair):
    for offset in (-MINUTES_10, MINUTES_10):
        answer = pair.cloud.push(pair.secret, envelope(f"off{offset}"), offset)
        assert (answer.status_code, answer.text) == (403, "stale timestamp\n")
    assert pair.cloud.count() == 0
    assert pair.cloud.push(pair.secret, envelope("right")).status_code == 200
    assert pair.cloud.recorded() == ["right"]


@pytest.mark.timeout(60)
def test_who_is_refused_for_its_clock_says_why_and_recovers(pair):
    """The site's requests come later than the cloud's window allows, as if its clock were behind."""
    pair.cloud.declare(group("cloud", pair.secret_file, replayWindow="1s"))
    pair.links["a", "cloud"].delay(3)
    pair.a.emit("late")
    refused = lambda: "stale timestamp" in json.dumps([pair.a.delivery("late", "cloud"), pair.a.peer("cloud")])
    wait_for(refused, ARRIVES_SECONDS_MAX, lambda: f"{pair.a.peer('cloud')} {pair.a.delivery('late', 'cloud')}")
    assert not pair.cloud.has("late")
    pair.links["a", "cloud"].heal()
    pair.cloud.arrives("late")
    assert pair.cloud.recorded() == ["late"]


@pytest.mark.timeout(60)
def test_a_key_is_rotated_under_traffic_without_a_refusal(pair):
    for name in ("old", "new"):
        (pair.folder / name).write_text(f"the {name} key of these sites")
    keys = {name: {"name": name, "secretFile": str(pair.folder / name)} for name in ("old", "new")}

    def rotate(accepted, signing):
        auth = {"mode": "hmac", "keys": [keys[name] for name in accepted], "signingKey": signing}
        for name, site in pair.sites.items():
            site.declare(group(name, None, auth=auth))

    rotate(["old"], "old")
    traffic = begin(pair)
    steps = [(["old", "new"], "old"), (["old", "new"], "new"), (["new"], "new")]
    for accepted, signing in steps:
        for each in traffic:
            each.advances()
        # What was signed before has arrived before its key goes.
        for each in traffic:
            for site in pair.sites.values():
                site.arrives(each.acknowledged[-1])
        rotate(accepted, signing)
    for each in traffic:
        each.advances()
    nothing_is_lost_or_doubled(pair, traffic)
    answer = pair.cloud.push("the old key of these sites", envelope("by-the-old-key"))
    assert (answer.status_code, answer.text) == (401, "bad signature\n")
    assert pair.cloud.push("the new key of these sites", envelope("by-the-new-key")).status_code == 200


@pytest.mark.timeout(60)
def test_a_key_that_changes_in_its_file_is_taken_up(tmp_path):
    """Each node has a file of its own: while one has the new key and the other the old, pushes are refused."""
    world = World(tmp_path, ("a", "cloud"))
    try:
        files = {name: tmp_path / f"key-{name}" for name in world.sites}
        for name, site in world.sites.items():
            files[name].write_text("first")
            site.declare(group(name, files[name]))
        world.a.emit("before")
        world.cloud.arrives("before")
        files["a"].write_text("second")
        refused = lambda: world.a.emit(f"between-{time.monotonic()}") and "bad signature" in json.dumps(
            world.a.get("/v1/federation/deliveries", peer="cloud")
        )
        wait_for(refused, ARRIVES_SECONDS_MAX, lambda: str(world.a.peer("cloud")))
        files["cloud"].write_text("second")
        world.a.emit("after")
        world.cloud.arrives("after")
        wait_for(
            lambda: sorted(world.cloud.recorded()) == sorted(world.a.recorded()), ARRIVES_SECONDS_MAX,
            lambda: f"{world.a.peer('cloud')}",
        )
    finally:
        world.end()


def slo(group, warn, fail, soon, pending, failed):
    return document(
        "FederationSLO", group, groupRef=group,
        delivery={"lagWarnSeconds": warn, "lagFailSeconds": fail, "expiresSoonSeconds": soon},
        subscription={"maxPendingRuns": pending, "maxFailedRuns": failed},
    )


def is_healthy(site):
    said = site.doctor()
    bad = [check for check in said["checks"] if check["status"] in ("warn", "fail")]
    violations = [each for group in said["federation"]["slo"]["groups"] for each in group["violations"]]
    return (bad, violations, said["remediationPlan"]["actions"]) == ([], [], [])


def becomes_healthy(site):
    wait_for(lambda: is_healthy(site), ARRIVES_SECONDS_MAX, lambda: json.dumps(site.doctor(), indent=1))


@pytest.mark.timeout(60)
def test_qualification_1_healthy(pair):
    pair.a.declare(slo("sites", 30, 120, 60, 5, 3))
    pair.a.emit("healthy")
    took = pair.cloud.arrives("healthy")
    becomes_healthy(pair.a)
    said = pair.a.doctor()
    assert said["summary"]["overall"] == "pass" and said["summary"]["fail"] == 0
    assert said["federation"]["totalDelivered"] == 1
    assert said["federation"]["maxDeliveryLagSeconds"] <= 9, "the original's"
    print(f"delivered after {took:.3f} s")


@pytest.mark.timeout(60)
def test_qualification_2_partition(pair):
    pair.a.declare(slo("sites", 30, 120, 60, 5, 3))
    pair.a.emit("before")
    pair.cloud.arrives("before")
    becomes_healthy(pair.a)
    pair.links["a", "cloud"].cut(closed=True)
    pair.a.emit("partitioned")
    codes = ("pending-deliveries", "failed-deliveries")
    worried = lambda: any(pair.a.verdict(code) in ("warn", "fail") for code in codes)
    wait_for(worried, ARRIVES_SECONDS_MAX, lambda: str(pair.a.doctor()))
    assert pair.a.doctor()["remediationPlan"]["actions"], "what is to be done is said"
    assert not pair.cloud.has("partitioned")
    pair.links["a", "cloud"].heal()
    took = pair.cloud.arrives("partitioned", seconds_max=CONVERGES_SECONDS_MAX)
    print(f"recovered after {took:.2f} s (the original: 3 and 4 s)")
    becomes_healthy(pair.a)


@pytest.mark.timeout(60)
def test_qualification_3_a_refresh_during_a_partition(pair):
    pair.a.emit("refreshed", ttl="120s")
    pair.cloud.arrives("refreshed")
    def behind():
        """Facts of which the peer has an earlier expiry: found so, or tried in vain since."""
        said = pair.a.doctor()["federation"]
        return said["staleTTLCount"] + said["failedDeliveryCount"] + said["pendingDeliveryCount"]

    def becomes(count):
        wait_for(lambda: behind() == count, ARRIVES_SECONDS_MAX, lambda: f"not {count}: {pair.a.doctor()}")

    becomes(0)
    first = pair.cloud.facts()["refreshed"]["expiresAt"]
    pair.links["a", "cloud"].cut(closed=True)
    pair.a.emit("refreshed", ttl="600s")
    becomes(1)
    pair.links["a", "cloud"].heal()
    becomes(0)
    assert pair.cloud.facts()["refreshed"]["expiresAt"] == pair.a.facts()["refreshed"]["expiresAt"] > first
    assert len(pair.cloud.facts()) == 1


@pytest.mark.timeout(60)
def test_qualification_4_restart(pair):
    for name, restarted in enumerate((pair.a, pair.cloud)):
        for way in (restarted.stop, restarted.kill):
            before = restarted.process.pid
            way()
            restarted.start()
            assert restarted.process.pid != before
            identity = f"after-{name}-{way.__name__}"
            pair.a.emit(identity)
            pair.cloud.arrives(identity)
    assert sorted(pair.cloud.recorded()) == sorted(pair.a.recorded())


PLUGIN = """#!/bin/sh
cat >/dev/null
echo '{"apiVersion": "plugin.routerd.net/v1alpha1", "kind": "PluginResult", "status": {"ttl": "10m", "resources": [
  {"apiVersion": "tidings.dev/v1", "kind": "AddressClaim", "metadata": {"name": "made"},
   "spec": {"address": "10.88.60.9", "node": "cloud"}}]}}'
"""


@pytest.mark.timeout(60)
def test_qualification_5_subscription(pair):
    program = sites.script(pair.folder / "plugin", PLUGIN)
    pair.cloud.declare(
        slo("sites", 30, 120, 60, 0, 0),
        document("Plugin", "claims", executable=str(program), capabilities=["propose.dynamicConfig"]),
        document(
            "EventSubscription", "claims", groupRef="sites", match={"types": [sites.KIND]},
            trigger={"pluginRef": "claims", "retry": {"maxAttempts": 3, "backoff": "50ms", "maxBackoff": "100ms"}},
        ),
    )
    run = lambda identity: next(
        (each for each in pair.cloud.get("/v1/federation/runs")["runs"] if identity in each["eventIds"]), {}
    )
    program.chmod(0o644)
    pair.a.emit("fails")
    over = lambda: run("fails").get("attempts") == 3 and run("fails")["status"] in ("failed", "dead")
    wait_for(over, ARRIVES_SECONDS_MAX, lambda: f"{run('fails')}\n{pair.cloud.tail()}")
    assert len(run("fails")["history"]) == 3 and run("fails")["error"]
    assert pair.cloud.verdict("subscription-runs") == "fail", "the doctor of the node that runs it"
    program.chmod(0o755)
    pair.a.emit("works", subject="10.88.60.10/32")
    wait_for(lambda: run("works").get("status") == "succeeded", ARRIVES_SECONDS_MAX, lambda: f"{run('works')}")
    assert run("works")["attempts"] == 1
    derived = [each for each in resources(pair.cloud) if each["kind"] == "AddressClaim"]
    assert [each["metadata"]["name"] for each in derived] == ["made"]


def resources(site):
    return site.get("/v1/dynamic/effective")["config"]["spec"]["resources"]


@pytest.mark.timeout(60)
def test_qualification_6_a_fault_in_the_configuration(pair):
    nodes = {
        "apiVersion": "mobility.routerd.net/v1alpha1", "kind": "SAMNodeSet", "metadata": {"name": "nodes"},
        "spec": {"nodes": [{"nodeRef": "nowhere", "site": "x", "role": "onprem"}]},
    }
    pair.a.declare(nodes, group("a", pair.secret_file, peersFrom=[{"resource": "SAMNodeSet/nodes"}]))
    pair.a.emit("to-nowhere")
    pair.cloud.arrives("to-nowhere")
    said = lambda: [check.get("code") for check in pair.a.doctor()["checks"] if check["status"] != "pass"]
    wait_for(lambda: "expected-delivery-no-endpoint" in said(), ARRIVES_SECONDS_MAX, lambda: str(pair.a.doctor()))
    actions = [each for each in pair.a.doctor()["remediationPlan"]["actions"] if each["targetPeer"] == "nowhere"]
    wanted = ("configure-peer-endpoint", False, True)
    assert wanted in [(each["action"], each["safe"], each["requiresOperatorApproval"]) for each in actions], actions
    # A document that cannot be is refused with the field's name, and changes nothing.
    before = pair.a.get("/v1/federation/peers")["peers"]
    answer = pair.a.ask("POST", "/v1/resources", json=peer("cloud", "x") | {"spec": {"groupRef": "sites"}})
    assert answer.status_code == 400
    assert {"spec.nodeName", "spec.endpoint"} & {each["path"] for each in answer.json()["faults"]}, answer.text
    assert [each["peer"] for each in pair.a.get("/v1/federation/peers")["peers"]] == [each["peer"] for each in before]


@pytest.mark.timeout(60)
def test_qualification_7_security(pair):
    good = envelope("good")
    cases = [
        ("no timestamp", {"X-Routerd-Timestamp": None}, good, 400, "bad timestamp\n"),
        ("no number", {"X-Routerd-Timestamp": "1.5"}, good, 400, "bad timestamp\n"),
        ("no signature", {"X-Routerd-Signature": None}, good, 401, "bad signature\n"),
        ("zeros", {"X-Routerd-Signature": "0" * 64}, good, 401, "bad signature\n"),
        ("no JSON", {}, b"{", 400, "bad event body\n"),
        ("no type", {}, envelope("x", type=""), 400, "invalid event: federation event type is required\n"),
    ]
    for what, headers, body, status, text in cases:
        answer = pair.cloud.push(pair.secret, body, **headers)
        assert (answer.status_code, answer.text) == (status, text), what
    # A key that is another's, and a body that is another than was signed.
    answer = pair.cloud.push("another key", good)
    assert (answer.status_code, answer.text) == (401, "bad signature\n")
    assert pair.cloud.push(pair.secret, envelope("x", group="another")).status_code >= 400
    assert pair.cloud.push(pair.secret, envelope("x", source="cloud")).status_code >= 400, "in our own name"
    assert pair.cloud.push(pair.secret, b" " * (1024 * 1024 + 1)).status_code == 413
    assert pair.cloud.count() == 0
    answer = pair.cloud.push(pair.secret, good)
    assert (answer.status_code, answer.json()) == (200, {"accepted": True, "duplicate": False, "id": "good"})
    again = pair.cloud.push(pair.secret, good)
    assert (again.status_code, again.json()["duplicate"]) == (200, True)
    assert pair.cloud.recorded() == ["good"]
    # What was received is not told on in our own name.
    pair.cloud.emit("own")
    pair.a.arrives("own")
    assert not pair.a.has("good")
    metrics = pair.cloud.ask("GET", "/metrics").text
    for reason in ("bad_timestamp", "bad_signature", "bad_body", "validation"):
        assert f'reason="{reason}"' in metrics, reason


@pytest.mark.timeout(60)
def test_qualification_8_two_groups(pair):
    second = pair.folder / "second"
    second.write_text("the second group's own key")
    for name, other in (("a", "cloud"), ("cloud", "a")):
        site, address = pair.sites[name], pair.links[name, other].address
        site.declare(
            group(name, second, "second"), peer(other, address, "second"),
            slo("sites", 30, 120, 60, 5, 3), slo("second", 60, 240, 120, 10, 5),
        )
    # One id in both groups: two facts.
    pair.a.emit("same", payload={"of": "sites"})
    pair.a.emit("same", "second", payload={"of": "second"})
    pair.cloud.emit("back", "second")
    pair.cloud.arrives("same")
    pair.cloud.arrives("same", "second")
    pair.a.arrives("back", "second")
    for name in ("sites", "second"):
        assert pair.cloud.facts(name)["same"]["payload"] == {"of": name}
    becomes_healthy(pair.a)
    said = {each["group"]: each["thresholds"] for each in pair.a.doctor()["federation"]["slo"]["groups"]}
    assert set(said) == {"sites", "second"} and said["sites"] != said["second"]
    # The key of one group writes into no other.
    answer = pair.cloud.push(pair.secret, envelope("foreign", group="second"))
    assert answer.status_code in (401, 403), answer.text
    assert not pair.cloud.has("foreign", "second") and not pair.cloud.has("foreign")
