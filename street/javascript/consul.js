// The client `consul` of npm: register, watch, keys, sessions and locks, transactions, events. Prints "passed", or what
// failed.

const assert = require("node:assert");
const Consul = require("consul");

function next(watch) {
  return new Promise((resolve, reject) => {
    watch.once("change", resolve);
    watch.once("error", reject);
  });
}

async function main(host, port) {
  const consul = new Consul({ host, port });
  await consul.agent.service.register({
    name: "njs",
    id: "service:njs1",
    port: 3000,
    tags: ["a"],
    check: { ttl: "30s", status: "passing" },
  });
  const [found] = await consul.health.service({ service: "njs", passing: true });
  assert.deepEqual([found.Service.ID, found.Service.Port, found.Service.Tags], ["service:njs1", 3000, ["a"]]);

  const watch = consul.watch({ method: consul.health.service, options: { service: "njs", wait: "20s" } });
  let instances = await next(watch);
  assert.equal(instances.length, 1);
  const second = next(watch);
  await consul.agent.service.register({ name: "njs", id: "njs2", port: 3001 });
  instances = await second;
  assert.deepEqual(instances.map((each) => each.Service.Port).sort(), [3000, 3001]);
  const third = next(watch);
  await consul.agent.service.deregister("service:njs1");
  instances = await third;
  assert.deepEqual(instances.map((each) => each.Service.ID), ["njs2"]);
  watch.end();
  await consul.agent.service.deregister("njs2");
  assert.deepEqual(await consul.catalog.service.nodes("njs"), []);

  assert.equal(await consul.kv.set("njs/a", "1"), true);
  assert.equal((await consul.kv.get("njs/a")).Value, "1");
  assert.equal(await consul.kv.get("njs/none"), undefined);
  assert.deepEqual(await consul.kv.keys("njs/"), ["njs/a"]);
  const { ModifyIndex } = await consul.kv.get("njs/a");
  assert.equal(await consul.kv.set({ key: "njs/a", value: "2", cas: ModifyIndex }), true);
  // The client itself gives nothing in place of false.
  assert.ok(!(await consul.kv.set({ key: "njs/a", value: "3", cas: ModifyIndex })));

  const session = await consul.session.create({ name: "njs", ttl: "60s", lockdelay: "0s" });
  assert.equal(await consul.kv.set({ key: "njs/lock", value: "x", acquire: session.ID }), true);
  assert.equal((await consul.kv.get("njs/lock")).Session, session.ID);
  await consul.session.renew(session.ID);
  await consul.session.destroy(session.ID);
  assert.equal((await consul.kv.get("njs/lock")).Session, undefined);

  const done = await consul.transaction.create([{ KV: { Verb: "set", Key: "njs/txn", Value: "MQ==" } }]);
  assert.equal(done.Results[0].KV.Key, "njs/txn");
  await consul.kv.del({ key: "njs/", recurse: true });
  assert.equal(await consul.kv.get("njs/a"), undefined);

  const event = await consul.event.fire("njs-deploy", "now");
  const events = await consul.event.list("njs-deploy");
  assert.equal(events.at(-1).ID, event.ID);
  assert.match(await consul.status.leader(), /^.+:\d+$/);
  assert.ok((await consul.agent.self()).Config.NodeName);
}

const [host, port] = process.argv[2].split(":");
main(host, port).then(
  () => {
    console.log("passed");
    process.exit(0);
  },
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
