// `ws` of Node as a messenger, a repeater and a hub. Prints "passed", or what failed.

const assert = require("node:assert");
const WebSocket = require("ws");

const server = process.argv[2];

// A connection, what came on it, and a wait for the hub to have taken what was said.
async function connect(kind) {
  const wire = new WebSocket(`${server}/connect/${kind}`);
  const heard = [];
  wire.on("message", (data, binary) => heard.push([binary, data.toString()]));
  await new Promise((resolve, reject) => wire.once("open", resolve).once("error", reject));
  const settled = () => new Promise((resolve) => (wire.once("pong", resolve), wire.ping()));
  return { wire, heard, settled, say: async (what) => (wire.send(what), settled()) };
}

async function main() {
  const listener = await connect("messenger");
  assert.equal(listener.wire.extensions, "");
  assert.equal(listener.wire.protocol, "");
  await listener.say(JSON.stringify({ rooms: ["NODE-1", "NODE-2"], create: true }));
  const sender = await connect("messenger");
  await sender.say(Buffer.from('NODE-1\n{"k":1}'));
  await sender.say(Buffer.from("NODE-2\n" + "x".repeat(100000)));
  await sender.say(Buffer.from("NODE-3\nnot for it"));
  await listener.settled();
  assert.deepEqual(listener.heard, [[true, 'NODE-1\n\n{"k":1}'], [true, "NODE-2\n\n" + "x".repeat(100000)]]);

  // Fragments are put together.
  listener.heard.length = 0;
  sender.wire.send(Buffer.from("NODE-"), { fin: false });
  sender.wire.send(Buffer.from("1\nin "), { fin: false });
  sender.wire.send(Buffer.from("pieces"), { fin: true });
  await sender.settled();
  await listener.settled();
  assert.deepEqual(listener.heard, [[true, "NODE-1\n\nin pieces"]]);

  // A repeater's event comes once to a hub; a hub's goes to messengers alone.
  const [hub, repeater] = [await connect("hub"), await connect("repeater")];
  listener.heard.length = 0;
  await repeater.say("NODE-1\nfrom a repeater");
  await hub.say("NODE-1\nfrom a hub");
  for (const one of [listener, hub, repeater]) await one.settled();
  assert.deepEqual(listener.heard, [[true, "NODE-1\n\nfrom a repeater"], [true, "NODE-1\n\nfrom a hub"]]);
  assert.deepEqual(hub.heard, [[true, "NODE-1\n\nfrom a repeater"]]);
  assert.deepEqual(repeater.heard, []);

  await listener.say(JSON.stringify({ rooms: ["NODE-1"], create: false }));
  listener.heard.length = 0;
  await sender.say(Buffer.from("NODE-1\nnot any more"));
  await listener.settled();
  assert.deepEqual(listener.heard, []);

  for (const one of [listener, sender, hub, repeater]) {
    const code = await new Promise((resolve) => (one.wire.once("close", resolve), one.wire.close(1000)));
    assert.equal(code, 1000);
  }
  const refused = new WebSocket(`${server}/connect/toaster`);
  const error = await new Promise((resolve) => refused.once("error", resolve));
  assert.match(error.message, /400/);
}

main().then(
  () => console.log("passed"),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
