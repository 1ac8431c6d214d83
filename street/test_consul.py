"""The Consul door with py-consul: register, watch, keys, sessions and locks, transactions, events."""

import base64
import http.server
import threading
import time

import consul
import pytest
from catalogue import PATIENCE, index_of, meanwhile
from conftest import wait_for


def names(nodes):
    return sorted(instance["Service"]["ID"] for instance in nodes)


def test_a_service_is_registered_found_and_taken_out(catalogue):
    client = catalogue.client()
    assert client.agent.service.register(
        "py-web", service_id="py-web-1", address="10.0.0.1", port=8080, tags=["v1", "Blue"], meta={"version": "7"},
        check=consul.Check.ttl("30s"),
    )
    _, [instance] = client.health.service("py-web")
    service = instance["Service"]
    assert (service["ID"], service["Address"], service["Port"]) == ("py-web-1", "10.0.0.1", 8080)
    assert (service["Tags"], service["Meta"]) == (["v1", "Blue"], {"version": "7"})
    assert service["Weights"] == {"Passing": 1, "Warning": 1}
    assert service["TaggedAddresses"]["lan_ipv4"] == {"Address": "10.0.0.1", "Port": 8080}
    [check] = [check for check in instance["Checks"] if check["ServiceID"] == "py-web-1"]
    assert (check["CheckID"], check["Name"], check["Status"]) == ("service:py-web-1", "Service 'py-web' check", "critical")

    assert client.health.service("py-web", passing=True)[1] == []
    client.agent.check.ttl_pass("service:py-web-1", "all is well")
    _, [instance] = client.health.service("py-web", passing=True)
    assert instance["Node"]["Node"] == catalogue.name
    assert client.health.service("py-web", tag="blue")[1] and not client.health.service("py-web", tag="green")[1]
    _, services = client.catalog.services()
    assert sorted(services["py-web"]) == ["Blue", "v1"] and services["consul"] == []
    assert client.agent.services()["py-web-1"]["Service"] == "py-web"
    assert client.agent.checks()["service:py-web-1"]["Output"] == "all is well"
    _, [flat] = client.catalog.service("py-web")
    assert (flat["ServiceID"], flat["ServiceAddress"], flat["ServicePort"]) == ("py-web-1", "10.0.0.1", 8080)

    client.agent.check.ttl_warn("service:py-web-1", "slow")
    assert client.health.state("warning")[1][0]["Output"] == "slow"
    client.agent.check.ttl_fail("service:py-web-1")
    assert [check["Status"] for check in client.health.checks("py-web")[1]] == ["critical"]
    assert client.agent.service.deregister("py-web-1")
    assert client.health.service("py-web")[1] == []
    assert "py-web" not in client.catalog.services()[1]


def test_who_watches_a_service_is_woken_by_it_alone(catalogue):
    client = catalogue.client()
    catalogue.register("py-watched", Port=1)
    catalogue.register("py-other", Port=1)
    index, _ = client.health.service("py-watched")
    with meanwhile(lambda: catalogue.register("py-other", Port=2)):
        begun = time.monotonic()
        same, _ = client.health.service("py-watched", index=index, wait="1s")
        assert time.monotonic() - begun >= 1 and same == index
    with meanwhile(lambda: catalogue.register("py-watched", Port=2)):
        begun = time.monotonic()
        later, [instance] = client.health.service("py-watched", index=index, wait="30s")
        assert time.monotonic() - begun < 5 and int(later) > int(index)
    assert instance["Service"]["Port"] == 2
    # Registered again as it is, it did not change.
    catalogue.register("py-watched", Port=2)
    assert client.health.service("py-watched")[0] == later


def test_an_index_that_is_too_high_is_answered_at_the_end_of_the_wait(catalogue):
    client = catalogue.client()
    catalogue.register("py-high")
    index, _ = client.health.service("py-high")
    begun = time.monotonic()
    answer = catalogue.ask("GET", f"/v1/health/service/py-high?index={2**64 - 1}&wait=500ms")
    assert 0.5 <= time.monotonic() - begun < 5
    assert index_of(answer) == int(index) and len(answer.json()) == 1


def test_nodes_of_others_come_with_their_services_and_go(catalogue):
    client = catalogue.client()
    # The client puts metadata of a node elsewhere than the API takes them.
    body = {
        "Node": "outside", "Address": "192.0.2.7", "NodeMeta": {"rack": "7"},
        "Service": {"Service": "py-far", "ID": "far-1", "Port": 5},
        "Check": {"CheckID": "far", "Name": "far", "Status": "passing", "ServiceID": "far-1"},
    }
    assert catalogue.ask("PUT", "/v1/catalog/register", json=body).json() is True
    _, nodes = client.catalog.nodes(node_meta={"rack": "7"})
    assert [node["Node"] for node in nodes] == ["outside"]
    _, node = client.catalog.node("outside")
    assert list(node["Services"]) == ["far-1"] and node["Node"]["Meta"] == {"rack": "7"}
    assert client.catalog.node("nowhere")[1] is None
    assert names(client.health.service("py-far", filter_expr='Node.Meta.rack == 7 and Checks.Status == passing')[1]) == ["far-1"]
    assert [check["CheckID"] for check in client.health.node("outside")[1]] == ["far"]
    assert client.catalog.deregister("outside")
    assert client.health.service("py-far")[1] == [] and client.catalog.node("outside")[1] is None


def test_keys(catalogue):
    kv = catalogue.client().kv
    assert kv.get("py/none")[1] is None
    assert kv.put("py/one", b"\x00\xff") and kv.put("py/two", "2", flags=2**63) and kv.put("py/deep/three", None)
    index, one = kv.get("py/one")
    assert (one["Value"], one["ModifyIndex"], one["LockIndex"]) == (b"\x00\xff", int(index), 0)
    assert kv.get("py/two")[1]["Flags"] == 2**63
    assert [pair["Key"] for pair in kv.get("py/", recurse=True)[1]] == ["py/deep/three", "py/one", "py/two"]
    assert kv.get("py/", keys=True, separator="/")[1] == ["py/deep/", "py/one", "py/two"]
    assert not kv.put("py/one", "x", cas=0) and not kv.put("py/one", "x", cas=one["ModifyIndex"] - 1)
    assert kv.put("py/one", "x", cas=one["ModifyIndex"]) and kv.put("py/new", "x", cas=0)
    assert kv.get("py/one")[1]["CreateIndex"] == one["CreateIndex"]
    assert kv.delete("py/new") and kv.get("py/new")[1] is None
    prefix, _ = kv.get("py/", recurse=True)
    assert kv.delete("py/deep/", recurse=True)
    after, rest = kv.get("py/", recurse=True)
    assert int(after) > int(prefix) and len(rest) == 2


def test_a_key_that_is_not_there_is_watched_alone(catalogue):
    kv = catalogue.client().kv
    index, none = kv.get("py-awaited")
    assert none is None
    with meanwhile(lambda: kv.put("py-somewhere-else", "1")):
        assert kv.get("py-awaited", index=index, wait="1s")[0] == index
    with meanwhile(lambda: kv.put("py-awaited", "here")):
        begun = time.monotonic()
        assert kv.get("py-awaited", index=index, wait="30s")[1]["Value"] == b"here"
        assert time.monotonic() - begun < 5


def test_sessions_hold_keys_until_they_end(catalogue):
    client = catalogue.client()
    first = client.session.create(name="first", ttl=600, lock_delay=0)
    other = client.session.create(name="other", behavior="delete", lock_delay=0)
    assert client.kv.put("py-lock", "1", acquire=first)
    assert not client.kv.put("py-lock", "2", acquire=other)
    _, held = client.kv.get("py-lock")
    assert (held["Session"], held["LockIndex"], held["Value"]) == (first, 1, b"1")
    assert {session["Name"] for session in client.session.list()[1]} >= {"first", "other"}
    assert client.session.info(first)[1]["TTL"] == "600s" and client.session.renew(first)["ID"] == first
    assert client.kv.put("py-lock", "1", release=first)
    assert client.kv.put("py-lock", "2", acquire=other)
    assert client.kv.get("py-lock")[1]["LockIndex"] == 2
    index, _ = client.kv.get("py-lock")
    with meanwhile(lambda: client.session.destroy(other)):
        # It deletes what it holds.
        assert client.kv.get("py-lock", index=index, wait="30s")[1] is None
    assert client.session.info(other)[1] is None
    assert client.session.destroy(first)


def test_a_lock_delay_keeps_others_away(catalogue):
    client = catalogue.client()
    session = client.session.create(lock_delay=2)
    assert client.kv.put("py-delayed", "", acquire=session)
    client.session.destroy(session)
    other = client.session.create(lock_delay=0)
    assert not client.kv.put("py-delayed", "", acquire=other)
    wait_for(lambda: client.kv.put("py-delayed", "", acquire=other), PATIENCE, lambda: "the delay does not end")


def test_a_transaction_is_done_whole_or_not_at_all(catalogue):
    client = catalogue.client()
    value = base64.b64encode(b"1").decode()
    done = client.txn.put([{"KV": {"Verb": "set", "Key": f"py-txn/{key}", "Value": value}} for key in "ab"])
    assert done["Errors"] is None or done["Errors"] == []
    assert [result["KV"]["Key"] for result in done["Results"]] == ["py-txn/a", "py-txn/b"]
    bad = [{"KV": {"Verb": "set", "Key": "py-txn/c", "Value": value}},
           {"KV": {"Verb": "cas", "Key": "py-txn/a", "Value": value, "Index": 1}}]
    answer = catalogue.ask("PUT", "/v1/txn", json=bad)
    assert answer.status_code == 409 and answer.json()["Errors"][0]["OpIndex"] == 1
    assert client.kv.get("py-txn/c")[1] is None


def test_events_are_kept_in_order(catalogue):
    client = catalogue.client()
    fired = client.event.fire("py-deploy", "1.2.3")
    client.event.fire("py-deploy", "1.2.4")
    index, events = client.event.list("py-deploy")
    assert [event["Payload"] for event in events] == [b"1.2.3", b"1.2.4"]
    assert events[0]["ID"] == (fired["ID"] if isinstance(fired, dict) else fired)
    with meanwhile(lambda: client.event.fire("py-deploy", "1.2.5")):
        later, events = client.event.list("py-deploy", index=index, wait="30s")
    assert len(events) == 3 and int(later) > int(index)


class Answers(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self):
        if Answers.status == 0:
            # It hangs.
            time.sleep(5)
            return
        self.send_response(Answers.status)
        self.end_headers()
        self.wfile.write(b"as it is")

    def log_message(self, *_):
        pass


def test_the_node_runs_the_checks_itself(catalogue):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port, client = server.server_address[1], catalogue.client()
    url = f"http://127.0.0.1:{port}/health"
    client.agent.service.register("py-http", port=port, check=consul.Check.http(url, "1s", timeout="500ms"))
    client.agent.service.register("py-tcp", port=port, check=consul.Check.tcp("127.0.0.1", port, "1s"))

    def status(service):
        return [check["Status"] for check in client.health.checks(service)[1]]

    def becomes(service, *expected):
        wait_for(lambda: status(service) == list(expected), PATIENCE, lambda: f"{service}: {client.health.checks(service)}")

    becomes("py-http", "passing")
    becomes("py-tcp", "passing")
    Answers.status = 429
    becomes("py-http", "warning")
    Answers.status = 0
    becomes("py-http", "critical")
    Answers.status = 200
    becomes("py-http", "passing")
    server.shutdown()
    server.server_close()
    becomes("py-tcp", "critical")
    client.agent.service.deregister("py-http")
    client.agent.service.deregister("py-tcp")


def test_what_is_not_heard_of_in_time_is_critical(catalogue):
    client = catalogue.client()
    client.agent.service.register("py-ttl", check=consul.Check.ttl("2s"))
    client.agent.check.ttl_pass("service:py-ttl")
    index, [check] = client.health.checks("py-ttl")
    assert check["Status"] == "passing"
    index, [check] = client.health.checks("py-ttl", index=index, wait="15s")
    assert check["Status"] == "critical" and "TTL expired" in check["Output"]
    client.agent.service.deregister("py-ttl")


def test_maintenance_takes_an_instance_out_for_a_while(catalogue):
    client = catalogue.client()
    catalogue.register("py-mended")
    client.agent.service.maintenance("py-mended", True, "new disk")
    assert client.health.service("py-mended", passing=True)[1] == []
    [check] = client.health.checks("py-mended")[1]
    assert check["CheckID"] == "_service_maintenance:py-mended" and check["Notes"] == "new disk"
    client.agent.service.maintenance("py-mended", False)
    assert len(client.health.service("py-mended", passing=True)[1]) == 1


def test_indexes_go_on_across_a_restart(own_catalogue):
    node, seen = own_catalogue, []
    paths = ["health/service/web", "catalog/services", "catalog/nodes", "kv/k", "kv/?recurse", "health/state/any", "kv/none"]

    def look():
        seen.append([index_of(node.ask("GET", f"/v1/{path}")) for path in paths])
        assert all(index >= 1 for index in seen[-1])

    for number in range(3):
        node.register("web", Port=number)
        assert node.ask("PUT", "/v1/kv/k", data=str(number)).json() is True
        look()
        node.kill()
        node.start()
        look()
        assert node.ask("GET", "/v1/kv/k?raw").text == str(number)
        [instance] = node.ask("GET", "/v1/health/service/web").json()
        assert instance["Service"]["Port"] == number
    for before, after in zip(seen, seen[1:]):
        assert all(one <= other for one, other in zip(before, after)), seen


def test_what_was_there_before_a_restart_wakes_nobody(own_catalogue):
    node = own_catalogue
    node.register("web", Port=1)
    index = index_of(node.ask("GET", "/v1/health/service/web"))
    node.kill()
    node.start()
    begun = time.monotonic()
    answer = node.ask("GET", f"/v1/health/service/web?index={index}&wait=1s")
    assert time.monotonic() - begun >= 1 and index_of(answer) == index


def test_the_node_is_one_of_a_datacenter(catalogue):
    client = catalogue.client()
    me = client.agent.self()
    assert (me["Config"]["NodeName"], me["Config"]["Datacenter"]) == (catalogue.name, "dc1")
    assert "Member" in me and "Stats" in me
    assert client.catalog.datacenters() == ["dc1"]
    assert client.agent.members()[0]["Name"] == catalogue.name
    assert ":" in client.status.leader() and len(client.status.peers()) == 1
    with pytest.raises(consul.ConsulException):
        client.health.service("x", dc="elsewhere")
