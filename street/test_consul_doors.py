"""The catalogue is messages: what another door publishes is a registration, and what is registered is read by others."""

import asyncio
import json
import subprocess
import sys

import nats
import requests
from catalogue import PATIENCE, needed
from conftest import wait_for

HERE = __file__.rsplit("/", 1)[0]


def instance(service, node, identity, address, port):
    return {
        "Node": node, "Service": {"ID": identity, "Service": service, "Address": address, "Port": port, "Tags": ["far"]},
        "Checks": [{"CheckID": "c", "Name": "c", "Status": "passing", "ServiceID": identity}],
    }


def found(catalogue, service):
    answer = catalogue.ask("GET", f"/v1/health/service/{service}?passing").json()
    return [(each["Service"]["ID"], each["Service"]["Address"], each["Service"]["Port"]) for each in answer]


def test_a_message_over_nats_is_a_registration(catalogue):
    async def publish(subject, body):
        connection = await nats.connect(f"nats://{catalogue.doors['nats']}")
        await connection.jetstream().publish(subject, body)
        await connection.close()

    body = json.dumps(instance("web-nats", "n9", "web1", "10.9.9.9", 99)).encode()
    asyncio.run(publish("catalog.dc1.web-nats.n9.web1", body))
    wait_for(lambda: found(catalogue, "web-nats") == [("web1", "10.9.9.9", 99)], PATIENCE, lambda: "it is not found")
    dig = [needed("dig", "dnsutils"), "@127.0.0.1", "-p", str(catalogue.port("dns")), "+short", "web-nats.service.consul"]
    assert subprocess.run(dig, capture_output=True, text=True, timeout=30).stdout.split() == ["10.9.9.9"]
    # What cannot be read as a registration changes nothing.
    asyncio.run(publish("catalog.dc1.web-nats.n9.web1", b"{"))
    assert found(catalogue, "web-nats") == [("web1", "10.9.9.9", 99)]


def test_a_message_over_http_is_a_registration(catalogue):
    body = instance("web-http", "n9", "web1", "10.9.9.8", 98)
    answer = requests.post(catalogue.url("/v1/publish/catalog.dc1.web-http.n9.web1", "http"), json=body, timeout=PATIENCE)
    assert answer.status_code in (200, 201), answer.text
    wait_for(lambda: found(catalogue, "web-http") == [("web1", "10.9.9.8", 98)], PATIENCE, lambda: "it is not found")


def test_a_registration_is_heard_and_read_over_nats(catalogue):
    async def listen():
        connection = await nats.connect(f"nats://{catalogue.doors['nats']}")
        live = await connection.subscribe("catalog.>")
        await connection.flush()
        await asyncio.to_thread(catalogue.register, "web-heard", Port=5, Check={"TTL": "60s", "Status": "passing"})
        heard = await live.next_msg(timeout=PATIENCE)
        stream = connection.jetstream()
        kept = await stream.get_last_msg("CATALOG", heard.subject)
        await asyncio.to_thread(catalogue.ask, "PUT", "/v1/agent/service/deregister/web-heard")
        gone = await live.next_msg(timeout=PATIENCE)
        await connection.close()
        return heard, kept, gone

    heard, kept, gone = asyncio.run(listen())
    assert heard.subject == f"catalog.dc1.web-heard.{catalogue.name}.web-heard"
    assert heard.headers["ce-type"] == "catalog.instance.registered"
    told = json.loads(heard.data)
    assert (told["Service"]["Service"], told["Service"]["Port"]) == ("web-heard", 5)
    assert [check["Status"] for check in told["Checks"]] == ["passing"]
    assert kept.data == heard.data
    assert (gone.subject, gone.data) == (heard.subject, b"") and gone.headers["ce-type"].endswith(".removed")


def test_a_key_is_read_over_nats_as_it_is(catalogue):
    async def last(subject):
        connection = await nats.connect(f"nats://{catalogue.doors['nats']}")
        message = await connection.jetstream().get_last_msg("CATALOG", subject)
        await connection.close()
        return message

    catalogue.ask("PUT", "/v1/kv/doors-key?flags=3", data=b"\x00raw")
    message = asyncio.run(last("catalog.dc1.%kv.doors-key"))
    assert message.data == b"\x00raw" and message.headers["Catalog-Flags"] == "3"


def compiled(folder):
    """The messages of the subscription service, from the schema that was written from the specification's numbers."""
    import grpc_tools.protoc

    arguments = ["protoc", f"-I{HERE}", f"--python_out={folder}", f"--grpc_python_out={folder}", "consul_subscribe.proto"]
    assert grpc_tools.protoc.main(arguments) == 0
    sys.path.insert(0, str(folder))
    import consul_subscribe_pb2
    import consul_subscribe_pb2_grpc

    return consul_subscribe_pb2, consul_subscribe_pb2_grpc


def test_a_subscriber_over_grpc_sees_a_snapshot_then_changes(catalogue, tmp_path):
    import grpc

    messages, service = compiled(tmp_path)
    catalogue.register("grpc-web", ID="g1", Port=1)
    channel = grpc.insecure_channel(catalogue.doors["consul_grpc"])
    stub = service.StateChangeSubscriptionStub(channel)

    def subscribe(topic, index=0, key=None):
        request = messages.SubscribeRequest(Topic=topic, Index=index)
        if key:
            request.NamedSubject.Key = key
        else:
            request.WildcardSubject = True
        return stub.Subscribe(request, timeout=PATIENCE * 2)

    health = messages.Topic.Value("ServiceHealth")
    stream = subscribe(health, key="GRPC-web")
    first, end = next(stream), next(stream)

    def told(event):
        batch = list(event.EventBatch.Events) if event.HasField("EventBatch") else [event]
        return [(each.ServiceHealth.Op, each.ServiceHealth.CheckServiceNode.Service.ID,
                 each.ServiceHealth.CheckServiceNode.Service.Port) for each in batch]

    assert told(first) == [(0, "g1", 1)] and end.EndOfSnapshot and end.Index >= 1
    catalogue.register("grpc-web", ID="g1", Port=2)
    changed = next(stream)
    assert told(changed) == [(0, "g1", 2)] and changed.Index > end.Index
    catalogue.ask("PUT", "/v1/agent/service/deregister/g1")
    gone = next(stream)
    assert [(op, identity) for op, identity, _ in told(gone)] == [(1, "g1")]
    # From a position that is not the newest, only what came after it.
    resumed = subscribe(health, index=end.Index, key="grpc-web")
    again = next(resumed)
    assert not again.NewSnapshotToFollow and again.Index in (changed.Index, gone.Index)

    names, stream = set(), subscribe(messages.Topic.Value("ServiceList"))
    for event in stream:
        if event.EndOfSnapshot:
            break
        batch = list(event.EventBatch.Events) if event.HasField("EventBatch") else [event]
        names |= {each.Service.Name for each in batch}
    assert "consul" in names
    for request in (messages.SubscribeRequest(Topic=health), messages.SubscribeRequest(Topic=99, WildcardSubject=True)):
        try:
            next(stub.Subscribe(request, timeout=PATIENCE))
            raise AssertionError("it was taken")
        except grpc.RpcError as refused:
            assert refused.code() == grpc.StatusCode.INVALID_ARGUMENT
    channel.close()
