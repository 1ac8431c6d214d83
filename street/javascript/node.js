// The JavaScript client in Node: subjects, requests, JetStream, key-value. Prints "passed", or what failed.

const assert = require("node:assert");
const { connect, AckPolicy, StringCodec, headers } = require("nats");

async function main(server) {
  const text = StringCodec();
  const connection = await connect({ servers: server });
  const worker = connection.subscribe("js.work.*", { queue: "workers" });
  (async () => {
    for await (const message of worker) message.respond(text.encode(text.decode(message.data).toUpperCase()));
  })();
  const reply = await connection.request("js.work.1", text.encode("hi"), { timeout: 10000 });
  assert.equal(text.decode(reply.data), "HI");
  await assert.rejects(connection.request("js.nobody", undefined, { timeout: 10000 }), { code: "503" });

  const manager = await connection.jetstreamManager();
  await manager.streams.add({ name: "JS", subjects: ["js.kept.>"] });
  const stream = connection.jetstream();
  const own = headers();
  own.append("Kind", "a");
  own.append("Kind", "b");
  for (let number = 1; number <= 50; number++) {
    const ack = await stream.publish("js.kept.x", text.encode(String(number)), { msgID: `m${number}`, headers: own });
    assert.deepEqual([ack.stream, ack.seq, ack.duplicate], ["JS", number, false]);
  }
  assert.equal((await stream.publish("js.kept.x", text.encode("1"), { msgID: "m1" })).duplicate, true);
  await manager.consumers.add("JS", { durable_name: "worker", ack_policy: AckPolicy.Explicit });
  const consumer = await stream.consumers.get("JS", "worker");
  let expected = 1;
  for await (const message of await consumer.fetch({ max_messages: 50, expires: 10000 })) {
    assert.equal(text.decode(message.data), String(expected++));
    assert.deepEqual(message.headers.values("Kind"), ["a", "b"]);
    assert.equal(await message.ackAck(), true);
  }
  assert.equal(expected, 51);
  assert.equal((await consumer.info()).ack_floor.stream_seq, 50);

  let ordered = 0;
  for await (const message of await (await stream.consumers.get("JS")).consume()) {
    assert.equal(message.seq, ++ordered);
    if (ordered === 50) break;
  }

  const bucket = await stream.views.kv("JSKV", { history: 3 });
  const revision = await bucket.create("k", text.encode("1"));
  await bucket.update("k", text.encode("2"), revision);
  await assert.rejects(bucket.update("k", text.encode("3"), revision));
  assert.equal((await bucket.get("k")).string(), "2");
  const store = await stream.views.os("JSOBJECTS");
  const data = new Uint8Array(500000).map((_, place) => place % 251);
  await store.putBlob({ name: "blob" }, data);
  assert.deepEqual(await store.getBlob("blob"), data);
  await connection.drain();
}

main(process.argv[2]).then(
  () => console.log("passed"),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
