//! Answers, field by field, as the original writes them.

use serde_json::{Value, json};

use crate::support::{Served, serve};

async fn with_web() -> Served {
    let node = serve().await;
    let check = json!({"CheckID": "alive", "Name": "Alive <&>", "Status": "warning", "Output": "so so"});
    let body = json!({
        "Node": "n1", "Address": "10.0.0.1", "NodeMeta": {"rack": "r1"}, "Check": check,
        "Service": {"ID": "web1", "Service": "web", "Tags": ["a", "B"], "Address": "10.0.0.9", "Port": 80},
    });
    assert_eq!(node.put("/v1/catalog/register", &body.to_string()).await.text(), "true");
    node
}

/// Without the positions, which are what they are.
fn shape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("Index\":") {
        let (before, behind) = rest.split_at(at + "Index\":".len());
        out.push_str(before);
        out.push('#');
        rest = behind.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    out + rest
}

#[tokio::test]
async fn health_of_a_service_byte_for_byte() {
    let node = with_web().await;
    let reply = node.get("/v1/health/service/web").await;
    let expected = concat!(
        r#"[{"Node":{"ID":"","Node":"n1","Address":"10.0.0.1","Datacenter":"dc1","TaggedAddresses":null,"#,
        r#""Meta":{"rack":"r1"},"CreateIndex":#,"ModifyIndex":#},"Service":{"ID":"web1","Service":"web","#,
        r#""Tags":["a","B"],"Address":"10.0.0.9","Meta":null,"Port":80,"Weights":{"Passing":1,"Warning":1},"#,
        r#""EnableTagOverride":false,"Proxy":{"MeshGateway":{},"Expose":{}},"Connect":{},"CreateIndex":#,"#,
        r#""ModifyIndex":#},"Checks":[{"Node":"n1","CheckID":"alive","Name":"Alive \u003c\u0026\u003e","#,
        r#""Status":"warning","Notes":"","Output":"so so","ServiceID":"","ServiceName":"","ServiceTags":[],"#,
        r#""Type":"","Definition":{},"CreateIndex":#,"ModifyIndex":#}]}]"#
    );
    assert_eq!(shape(&reply.text()), expected);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("vary"), Some("Accept-Encoding"));
    assert_eq!(reply.header("x-consul-knownleader"), Some("true"));
    assert_eq!(reply.header("x-consul-lastcontact"), Some("0"));
    assert_eq!(reply.header("x-consul-effective-consistency"), Some("leader"));
    assert_eq!(reply.header("x-consul-default-acl-policy"), Some("allow"));
    assert_eq!(reply.header("x-consul-results-filtered-by-acls"), None);
    let stale = node.get("/v1/health/service/web?stale&cached").await;
    assert_eq!(stale.header("x-consul-effective-consistency"), Some("stale"));
    assert_eq!(stale.header("x-cache"), Some("MISS"));
}

#[tokio::test]
async fn what_is_asked_for_is_what_comes() {
    let node = with_web().await;
    for (query, count) in [
        ("", 1),
        ("?tag=a", 1),
        ("?tag=A&tag=b", 1),
        ("?tag=a&tag=c", 0),
        ("?tag=", 0),
        ("?passing", 0),
        ("?passing=0", 1),
        ("?passing=false", 1),
        ("?near=nobody", 1),
        ("?near=_agent", 1),
        ("?node-meta=rack:r1", 1),
        ("?node-meta=rack:r2", 0),
        ("?dc=DC1", 1),
        ("?filter=Service.Port%20%3D%3D%2080", 1),
        ("?filter=Service.Port%20%3D%3D%2081", 0),
        ("?filter=Checks.Status%20%3D%3D%20warning%20and%20%22a%22%20in%20Service.Tags", 1),
    ] {
        let reply = node.get(&format!("/v1/health/service/web{query}")).await;
        assert_eq!(
            (reply.status, reply.json().as_array().map(Vec::len)),
            (200, Some(count)),
            "{query} {}",
            reply.text()
        );
    }
    assert_eq!(node.get("/v1/health/service/WEB").await.json().as_array().unwrap().len(), 1);
    assert_eq!(node.get("/v1/health/service/nothing").await.text(), "[]");
}

#[tokio::test]
async fn the_catalogue_and_its_lists() {
    let node = with_web().await;
    assert_eq!(node.get("/v1/catalog/services").await.text(), r#"{"consul":[],"web":["B","a"]}"#);
    assert_eq!(node.get("/v1/catalog/services?node-meta=rack:r2").await.text(), "{}");
    assert_eq!(node.get("/v1/catalog/datacenters").await.text(), r#"["dc1"]"#);
    let expected = concat!(
        r#"[{"ID":"","Node":"n1","Address":"10.0.0.1","Datacenter":"dc1","TaggedAddresses":null,"#,
        r#""Meta":{"rack":"r1"},"CreateIndex":#,"ModifyIndex":#}]"#
    );
    assert_eq!(shape(&node.get("/v1/catalog/nodes").await.text()), expected);
    let flat = node.get("/v1/catalog/service/web").await.json();
    for (field, value) in [
        ("Node", json!("n1")),
        ("NodeMeta", json!({"rack": "r1"})),
        ("ServiceID", json!("web1")),
        ("ServiceName", json!("web")),
        ("ServiceTags", json!(["a", "B"])),
        ("ServicePort", json!(80)),
        ("ServiceWeights", json!({"Passing": 1, "Warning": 1})),
    ] {
        assert_eq!(flat[0][field], value, "{field}");
    }
    let of_node = node.get("/v1/catalog/node/n1").await.json();
    assert_eq!(of_node["Services"]["web1"]["Port"], 80);
    assert_eq!(node.get("/v1/catalog/node/nobody").await.text(), "null");
    assert_eq!(node.get("/v1/catalog/node-services/n1").await.json()["Services"][0]["ID"], "web1");
    for (path, count) in [("any", 1), ("warning", 1), ("passing", 0), ("bogus", 0)] {
        let checks = node.get(&format!("/v1/health/state/{path}")).await.json();
        assert_eq!(checks.as_array().unwrap().len(), count, "{path}");
    }
    assert_eq!(node.get("/v1/health/node/n1").await.json()[0]["CheckID"], "alive");
    assert_eq!(node.get("/v1/health/checks/web").await.text(), "[]");
}

#[tokio::test]
async fn the_agent_of_the_node() {
    let node = serve().await;
    let body = json!({"name": "web", "id": "service:web 1", "port": 80, "check": {"ttl": "30s", "notes": "n"}});
    let reply = node.put("/v1/agent/service/register", &body.to_string()).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, ""));
    let services = node.get("/v1/agent/services").await.json();
    assert_eq!(services["service:web 1"]["Service"], "web");
    assert_eq!(services["service:web 1"]["Meta"], json!({}));
    let checks = node.get("/v1/agent/checks").await.json();
    let check = &checks["service:service:web 1"];
    assert_eq!((&check["Status"], &check["Name"]), (&json!("critical"), &json!("Service 'web' check")));
    let health = node.get("/v1/agent/health/service/id/service%3Aweb%201").await;
    assert_eq!((health.status, &health.json()["AggregatedStatus"]), (503, &json!("critical")));
    assert_eq!(node.put("/v1/agent/check/pass/service:service%3Aweb%201?note=fine", "").await.status, 200);
    let health = node.get("/v1/agent/health/service/name/web?format=text").await;
    assert_eq!((health.status, health.text().as_str()), (200, "passing"));
    assert_eq!(node.get("/v1/health/service/web?passing").await.json()[0]["Checks"][0]["Output"], "fine");
    let update = json!({"Status": "warning", "Output": "hm"}).to_string();
    assert_eq!(node.put("/v1/agent/check/update/service:service%3Aweb%201", &update).await.status, 200);
    assert_eq!(node.get("/v1/health/state/warning").await.json()[0]["Output"], "hm");
    let path = "/v1/agent/service/maintenance/service%3Aweb%201?enable=true&reason=r";
    assert_eq!(node.put(path, "").await.status, 200);
    let checks = node.get("/v1/agent/checks").await.json();
    assert_eq!(checks["_service_maintenance:service:web 1"]["Status"], "critical");
    assert_eq!(node.put("/v1/agent/maintenance", "").await.text(), "Missing value for enable");
    assert_eq!(node.put("/v1/agent/service/deregister/service%3Aweb%201", "").await.status, 200);
    assert_eq!(node.get("/v1/agent/services").await.text(), "{}");
    assert_eq!(node.get("/v1/agent/service/x").await.status, 404);
    let itself = node.get("/v1/agent/self").await.json();
    assert_eq!(itself["Config"]["Datacenter"], "dc1");
    assert_eq!(itself["Member"]["Name"], "tidings");
    assert!(itself["Stats"].is_object());
    assert_eq!(node.get("/v1/agent/members?segment=_all").await.json()[0]["Status"], 1);
    assert_eq!(node.get("/v1/status/peers").await.text(), r#"["127.0.0.1:8300"]"#);
}

#[tokio::test]
async fn pretty_and_compressed() {
    let node = with_web().await;
    let pretty = node.get("/v1/health/service/web?pretty").await;
    assert!(pretty.text().starts_with("[\n    {\n        \"Node\": {\n") && pretty.text().ends_with("]\n"));
    let mut client = node.client().await;
    client.send("GET", "/v1/catalog/services", "Accept-Encoding: gzip\r\n", b"").await;
    assert_eq!(client.reply().await.header("content-encoding"), None, "too small to be worth it");
    for id in 0..20 {
        node.register("many", "n2", &format!("m{id}"), 1000).await;
    }
    client.send("GET", "/v1/health/service/many", "Accept-Encoding: br, gzip;q=0.5\r\n", b"").await;
    let packed = client.reply().await;
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    let read = flate2::read::GzDecoder::new(&packed.body[..]);
    let read: Value = serde_json::from_reader(read).unwrap();
    assert_eq!(read.as_array().unwrap().len(), 20);
    client.send("GET", "/v1/health/service/many", "Accept-Encoding: gzip;q=0\r\n", b"").await;
    assert_eq!(client.reply().await.header("content-encoding"), None);
}

#[tokio::test]
async fn a_service_is_reached_by_mesh_through_its_proxies() {
    let node = serve().await;
    let proxy = json!({
        "Name": "web-sidecar-proxy", "Kind": "connect-proxy", "Port": 20000,
        "Proxy": {"DestinationServiceName": "web", "DestinationServiceID": "web"},
    });
    assert_eq!(
        node.put("/v1/agent/service/register", &json!({"Name": "web", "Port": 80}).to_string()).await.status,
        200
    );
    assert_eq!(node.get("/v1/health/connect/web").await.text(), "[]");
    let reply = node.put("/v1/agent/service/register", &proxy.to_string()).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, ""));
    let found = node.get("/v1/health/connect/web").await.json();
    assert_eq!(found[0]["Service"]["Service"], "web-sidecar-proxy");
    assert_eq!(found.as_array().unwrap().len(), 1);
}
