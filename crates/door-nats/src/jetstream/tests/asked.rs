//! Requests to the API: what they are answered.

use super::*;
use serde_json::{Value, json};

impl Table {
    /// Asks, and gives the answer.
    async fn ask(&self, subject: &str, body: &str) -> Value {
        let (inbox, _) = self.listen("asked", None);
        let request = Request {
            subject: format!("$JS.API.{subject}"),
            reply: Some(Subject::parse("asked").unwrap()),
            headers: Headers::EMPTY,
            payload: Bytes::copy_from_slice(body.as_bytes()),
        };
        Arc::clone(&self.jetstream).request(Principal::anyone(), request).await;
        let lines = inbox.taken();
        let text = lines.last().map_or("null", |line| line.trim_start_matches("asked").trim());
        if text.starts_with("503 ") {
            return json!({ "type": text });
        }
        serde_json::from_str(text).unwrap()
    }

    /// Asks for something that is refused, and gives code and text.
    async fn refused(&self, subject: &str, body: &str) -> (u64, String) {
        let answer = self.ask(subject, body).await;
        let error = &answer["error"];
        (error["err_code"].as_u64().unwrap(), error["description"].as_str().unwrap().to_owned())
    }

    /// Publishes with headers, and gives what is answered.
    async fn tell(&self, subject: &str, headers: &[(&str, &str)], body: &str) -> Value {
        let (inbox, _) = self.listen("told", None);
        let message = Message {
            subject: Subject::parse(subject).unwrap(),
            reply: Some(Subject::parse("told").unwrap()),
            headers: Headers::from_pairs(headers.iter().copied()).unwrap(),
            payload: Bytes::copy_from_slice(body.as_bytes()),
        };
        let way = self.jetstream.port.fabric().way(subject);
        self.jetstream.publish(&Principal::anyone(), &way, door::NOBODY, message, None);
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
        let lines = inbox.taken();
        let text = lines.last().map_or("null", |line| line.trim_start_matches("told").trim());
        serde_json::from_str(if text.is_empty() { "\"\"" } else { text }).unwrap()
    }
}

/// The body that a Go client sends for a stream of Edd-cloud's.
const AUTH: &str = r#"{"name":"AUTH","subjects":["auth.\u003e"],"retention":"limits","max_consumers":0,"max_msgs":1000000,
    "max_bytes":1073741824,"discard":"old","max_age":604800000000000,"max_msgs_per_subject":0,"storage":"file",
    "num_replicas":0,"compression":"none","allow_direct":false,"mirror_direct":false,"consumer_limits":{}}"#;

#[tokio::test(start_paused = true)]
async fn zeros_of_a_stream_are_filled_as_nats_fills_them() {
    let table = Table::new().await;
    assert_eq!(table.refused("STREAM.UPDATE.AUTH", AUTH).await, (10059, "stream not found".into()));
    let made = table.ask("STREAM.CREATE.AUTH", AUTH).await;
    let config = &made["config"];
    assert_eq!(made["did_create"], json!(true), "{made}");
    assert_eq!(config["num_replicas"], 1);
    assert_eq!(config["max_consumers"], -1);
    assert_eq!(config["max_msgs_per_subject"], -1);
    assert_eq!(config["max_msg_size"], -1);
    assert_eq!(config["duplicate_window"], 120_000_000_000_u64);
    assert_eq!(config["subjects"], json!(["auth.>"]));
    assert_eq!(config["metadata"]["_nats.req.level"], "0");
    assert_eq!(made["state"]["first_ts"], "0001-01-01T00:00:00Z");
    assert_eq!(table.ask("STREAM.INFO.AUTH", "").await["cluster"]["leader"], "test");
    let again = table.ask("STREAM.CREATE.AUTH", AUTH).await;
    assert_eq!(again["error"], Value::Null, "{again}");
    let other = AUTH.replace("1000000,", "5,");
    let exists = (10058, "stream name already in use with a different configuration".to_owned());
    assert_eq!(table.refused("STREAM.CREATE.AUTH", &other).await, exists);
    assert_eq!(table.ask("STREAM.UPDATE.AUTH", &other).await["config"]["max_msgs"], 5);
}

#[tokio::test(start_paused = true)]
async fn what_only_nats_knows_of_a_stream_comes_back_and_is_hidden_from_its_metadata() {
    let table = Table::new().await;
    let body = r#"{"name":"X","subjects":["x"],"compression":"s2","no_ack":true,"max_msg_size":10,
        "consumer_limits":{"max_ack_pending":7},"metadata":{"k":"v"},"storage":"memory"}"#;
    let config = table.ask("STREAM.CREATE.X", body).await["config"].clone();
    let info = table.ask("STREAM.INFO.X", "").await;
    assert_eq!(config, info["config"]);
    assert_eq!(config["compression"], "s2");
    assert_eq!(config["max_msg_size"], 10);
    assert_eq!(config["consumer_limits"]["max_ack_pending"], 7);
    assert_eq!(config["metadata"]["k"], "v");
    assert_eq!(config["metadata"].as_object().unwrap().len(), 4);
    assert_eq!(table.tell("x", &[], "").await, Value::Null);
}

#[tokio::test(start_paused = true)]
async fn bad_streams_are_refused_in_the_words_of_nats() {
    let table = Table::new().await;
    for (name, body, code, text) in [
        ("X", r#"{"name":"Y"}"#, 10056, "stream name in subject does not match request"),
        ("X", r#"{"name":"X","foo":1}"#, 10025, "invalid JSON: json: unknown field \"foo\""),
        ("X", r#"{"name":"X","retention":"no"}"#, 10025, "invalid JSON: can not unmarshal \"no\""),
        ("X", r#"{"name":"X","subjects":["a.b"]}"#, 10065, "subjects overlap with an existing stream"),
        ("X", r#"{"name":"X","subjects":["x..y"]}"#, 10052, "invalid subject"),
        ("X", r#"{"name":"X","subjects":[">"]}"#, 10052, "capturing all subjects requires no-ack to be true"),
        ("X", r#"{"name":"X","num_replicas":3}"#, 10074, "replicas > 1 not supported in non-clustered mode"),
        ("X", r#"{"name":"X","max_age":5}"#, 10052, "max age needs to be >= 100ms"),
        (
            "X",
            r#"{"name":"X","mirror":{"name":"S"},"subjects":["x"]}"#,
            10034,
            "stream mirrors can not contain subjects",
        ),
        ("X", r#"{"name":"X","sealed":true}"#, 10052, "stream configuration for create can not be sealed"),
    ] {
        let found = table.refused(&format!("STREAM.CREATE.{name}"), body).await;
        assert_eq!(found, (code, text.to_owned()), "{body}");
    }
    let wrong = table.refused("STREAM.CREATE.X", r#"{"name":"X","max_msgs":"5"}"#).await;
    assert!(wrong.0 == 10025 && wrong.1.contains("max_msgs"), "{wrong:?}");
    table.ask("STREAM.CREATE.D", r#"{"name":"D","subjects":["d"],"deny_delete":true}"#).await;
    let cancel = "stream configuration update can not cancel deny message deletes".to_owned();
    assert_eq!(table.refused("STREAM.UPDATE.D", r#"{"name":"D","subjects":["d"]}"#).await, (10052, cancel));
    assert_eq!(table.refused("STREAM.MSG.DELETE.D", r#"{"seq":1}"#).await.0, 10057);
    assert_eq!(table.ask("NO.SUCH", "").await, Value::Null);
}

#[tokio::test(start_paused = true)]
async fn a_durable_consumer_of_a_filter_in_the_subject() {
    let table = Table::new().await;
    let body = r#"{"stream_name":"S","config":{"durable_name":"sfs","deliver_policy":"all","ack_policy":"explicit",
        "ack_wait":30000000000,"max_deliver":5,"filter_subject":"a.user.>","replay_policy":"instant","num_replicas":0},
        "action":""}"#;
    let made = table.ask("CONSUMER.CREATE.S.sfs.a.user.>", body).await;
    let config = &made["config"];
    assert_eq!((made["name"].as_str(), made["stream_name"].as_str()), (Some("sfs"), Some("S")), "{made}");
    assert_eq!(config["max_waiting"], 512);
    assert_eq!(config["max_ack_pending"], 1000);
    assert_eq!(config["filter_subject"], "a.user.>");
    assert_eq!(config["inactive_threshold"], Value::Null);
    assert_eq!(made["delivered"], json!({"consumer_seq": 0, "stream_seq": 0}));
    assert_eq!(table.ask("CONSUMER.CREATE.S.sfs.a.user.>", body).await["error"], Value::Null);
    let create = body.replace("\"action\":\"\"", "\"action\":\"create\"").replace("_deliver\":5", "_deliver\":6");
    let refused = table.refused("CONSUMER.CREATE.S.sfs.a.user.>", &create).await;
    assert_eq!(refused, (10148, "consumer already exists".into()));
    let other = table.refused("CONSUMER.CREATE.S.sfs.a.other", body).await;
    assert_eq!(other.0, 10131);
    assert_eq!(table.ask("CONSUMER.NAMES.S", "").await["consumers"], json!(["sfs"]));
    assert_eq!(table.ask("CONSUMER.DELETE.S.sfs", "").await["success"], true);
    assert_eq!(table.refused("CONSUMER.INFO.S.sfs", "").await, (10014, "consumer not found".into()));
}

#[tokio::test(start_paused = true)]
async fn consumers_without_a_name_are_given_one_and_five_seconds() {
    let table = Table::new().await;
    let made = table.ask("CONSUMER.CREATE.S", r#"{"stream_name":"S","config":{"deliver_subject":"in.x"}}"#).await;
    assert_eq!(made["name"].as_str().map(str::len), Some(8), "{made}");
    assert_eq!(made["config"]["inactive_threshold"], 5_000_000_000_u64);
    assert_eq!(made["config"]["deliver_subject"], "in.x");
    assert_eq!(made["config"]["ack_policy"], "none");
    for (config, code) in [
        (r#"{"durable_name":"d"}"#, 10020),
        (r#"{"flow_control":true}"#, 10089),
        (r#"{"idle_heartbeat":5000000000}"#, 10088),
        (r#"{"deliver_subject":"x.*"}"#, 10079),
        (r#"{"deliver_subject":"a.b"}"#, 10081),
        (r#"{"deliver_subject":"x","flow_control":true}"#, 10108),
        (r#"{"opt_start_seq":3}"#, 10094),
        (r#"{"filter_subject":"a.b","filter_subjects":["a.c"]}"#, 10136),
        (r#"{"filter_subjects":["a.>","a.c"]}"#, 10138),
        (r#"{"filter_subjects":[""]}"#, 10139),
        (r#"{"priority_groups":["g"]}"#, 10196),
        (r#"{"priority_policy":"overflow"}"#, 10159),
        (r#"{"backoff":[1000000000,2000000000],"max_deliver":1,"ack_policy":"explicit"}"#, 10116),
    ] {
        let body = format!(r#"{{"stream_name":"S","config":{config}}}"#);
        assert_eq!(table.refused("CONSUMER.CREATE.S", &body).await.0, code, "{config}");
    }
    let body = r#"{"stream_name":"S","config":{"durable_name":"d"}}"#;
    assert_eq!(table.refused("CONSUMER.CREATE.S.e", body).await.0, 10017);
    assert_eq!(table.refused("CONSUMER.DURABLE.CREATE.S.d", &body.replace("\"d\"", "\"\"")).await.0, 10018);
    let update = r#"{"stream_name":"S","config":{"durable_name":"d"},"action":"update"}"#;
    assert_eq!(table.refused("CONSUMER.CREATE.S.d", update).await.0, 10149);
}

#[tokio::test(start_paused = true)]
async fn publishes_are_answered_with_their_place_or_their_fault() {
    let table = Table::new().await;
    assert_eq!(table.tell("a.b", &[("Nats-Msg-Id", "1")], "x").await, json!({"stream": "S", "seq": 1}));
    let again = table.tell("a.b", &[("Nats-Msg-Id", "1")], "x").await;
    assert_eq!(again, json!({"stream": "S", "seq": 1, "duplicate": true}));
    for (headers, code, text) in [
        ([("Nats-Expected-Last-Sequence", "7")], 10071, "wrong last sequence: 1"),
        ([("Nats-Expected-Last-Subject-Sequence", "0")], 10071, "wrong last sequence: 1"),
        ([("Nats-Expected-Stream", "T")], 10060, "expected stream does not match"),
        ([("Nats-Expected-Last-Msg-Id", "9")], 10070, "wrong last msg ID: 1"),
        ([("Nats-TTL", "soon")], 10165, "invalid per-message TTL"),
        (
            [("Nats-Expected-Last-Subject-Sequence-Subject", "a.b")],
            10193,
            "missing sequence for expected last sequence per subject",
        ),
    ] {
        let answer = table.tell("a.b", &headers, "x").await;
        assert_eq!(answer["error"]["err_code"], code, "{answer}");
        assert_eq!(answer["error"]["description"], text);
        assert_eq!((&answer["stream"], &answer["seq"]), (&json!("S"), &json!(0)));
    }
}

#[tokio::test(start_paused = true)]
async fn counters_add_up_and_batches_are_recorded_whole() {
    let table = Table::new().await;
    let body = r#"{"name":"N","subjects":["n.>"],"allow_msg_counter":true}"#;
    table.ask("STREAM.CREATE.N", body).await;
    assert_eq!(table.tell("n.a", &[("Nats-Incr", "+2")], "").await["val"], "2");
    assert_eq!(table.tell("n.a", &[("Nats-Incr", "-5")], "").await["val"], "-3");
    assert_eq!(table.tell("n.a", &[], "").await["error"]["err_code"], 10169);
    table.ask("STREAM.CREATE.B", r#"{"name":"B","subjects":["b.>"],"allow_atomic":true}"#).await;
    let batch = |seq| [("Nats-Batch-Id", "x"), ("Nats-Batch-Sequence", seq)];
    assert_eq!(table.tell("b.1", &batch("1"), "one").await, "");
    let commit = [batch("2").as_slice(), &[("Nats-Batch-Commit", "1")]].concat();
    assert_eq!(table.tell("b.2", &commit, "two").await, json!({"stream": "B", "seq": 2, "batch": "x", "count": 2}));
    assert_eq!(table.tell("a.x", &batch("1"), "").await["error"]["err_code"], 10174);
}

#[tokio::test(start_paused = true)]
async fn single_messages_are_got_by_place_and_by_subject() {
    let table = Table::new().await;
    table.tell("a.b", &[("K", "v")], "one").await;
    table.tell("a.c", &[], "two").await;
    let got = table.ask("STREAM.MSG.GET.S", r#"{"seq":1}"#).await;
    assert_eq!(got["message"]["data"], "b25l");
    assert_eq!(got["message"]["hdrs"], "TkFUUy8xLjANCks6IHYNCg0K");
    assert_eq!(table.ask("STREAM.MSG.GET.S", r#"{"last_by_subj":"a.*"}"#).await["message"]["seq"], 2);
    assert_eq!(table.ask("STREAM.MSG.GET.S", r#"{"seq":1,"next_by_subj":"a.c"}"#).await["message"]["seq"], 2);
    assert_eq!(table.refused("STREAM.MSG.GET.S", r#"{"seq":9}"#).await, (10037, "no message found".into()));
    assert_eq!(table.refused("STREAM.MSG.GET.S", "").await.0, 10003);
    let info = table.ask("STREAM.INFO.S", r#"{"subjects_filter":">"}"#).await;
    assert_eq!(info["state"]["subjects"], json!({"a.b": 1, "a.c": 1}));
    assert_eq!(table.ask("STREAM.PURGE.S", r#"{"filter":"a.b"}"#).await["purged"], 1);
    assert_eq!(table.refused("STREAM.PURGE.S", r#"{"seq":1,"keep":1}"#).await.0, 10003);
}

#[tokio::test(start_paused = true)]
async fn a_mirror_and_a_source_take_over_what_there_is_and_what_comes() {
    let table = Table::new().await;
    table.tell("a.b", &[], "one").await;
    table.ask("STREAM.CREATE.M", r#"{"name":"M","mirror":{"name":"S"}}"#).await;
    table.ask("STREAM.CREATE.T", r#"{"name":"T","sources":[{"name":"S","filter_subject":"a.b"}]}"#).await;
    table.pass(10).await;
    table.tell("a.c", &[], "two").await;
    table.tell("a.b", &[], "three").await;
    table.pass(10).await;
    let mirror = table.ask("STREAM.INFO.M", "").await;
    assert_eq!(mirror["state"]["last_seq"], 3, "{mirror}");
    assert_eq!(mirror["mirror"]["lag"], 0);
    let sourced = table.ask("STREAM.INFO.T", "").await;
    assert_eq!(sourced["state"]["messages"], 2, "{sourced}");
    let stored = table.journal.get("T", 2).await.unwrap();
    assert_eq!(stored.message.headers.get("Nats-Stream-Source"), Some("S 3 a.b > a.b"));
}

/// Every verb with a body, against any body.
const VERBS: [&str; 14] = [
    "STREAM.CREATE.S",
    "STREAM.UPDATE.S",
    "STREAM.INFO.S",
    "STREAM.NAMES",
    "STREAM.LIST",
    "STREAM.PURGE.S",
    "STREAM.MSG.GET.S",
    "STREAM.MSG.DELETE.S",
    "CONSUMER.CREATE.S",
    "CONSUMER.CREATE.S.c.a.>",
    "CONSUMER.DURABLE.CREATE.S.d",
    "CONSUMER.PAUSE.S.c",
    "CONSUMER.RESET.S.c",
    "CONSUMER.UNPIN.S.c",
];

/// Bodies that mean something, for a fuzzer to begin with.
const BODIES: [&str; 6] = [
    AUTH,
    r#"{"stream_name":"S","config":{"durable_name":"d","backoff":[1],"priority_groups":["g"]},"action":"create"}"#,
    r#"{"seq":18446744073709551615,"last_by_subj":">","up_to_time":"2026-01-01T00:00:00Z"}"#,
    r#"{"name":"S","mirror":{"name":"S"},"sources":[{"name":"S","subject_transforms":[{"src":"*","dest":"{{partition(9,1)}}"}]}]}"#,
    r#"{"pause_until":"0001-01-01T00:00:00Z","group":"g","offset":-9}"#,
    r#"[[[[null,1e999,"\ud800"]]]]"#,
];

#[test]
fn any_body_is_answered_and_nothing_panics() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let table = runtime.block_on(Table::new());
    let ask = |body: &[u8]| {
        let body = String::from_utf8_lossy(body);
        runtime.block_on(async {
            for verb in VERBS {
                let answer = table.ask(verb, &body).await;
                assert!(answer["type"].is_string(), "{verb} {body} {answer}");
            }
            for subject in ["$JS.API.DIRECT.GET.S", "$JS.API.DIRECT.GET.S.a.b"] {
                assert!(table.request(subject, "in.x", &body).is_none());
            }
        });
    };
    BODIES.iter().for_each(|body| ask(body.as_bytes()));
    let ask = std::panic::AssertUnwindSafe(ask);
    bolero::check!().with_max_len(512).for_each(|body: &[u8]| {
        let ask = &ask;
        ask.0(body);
    });
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_for_others_is_told_again_and_limits_hold_for_consumers_that_there_are() {
    let table = Table::new().await;
    let body = r#"{"name":"T","sources":[{"name":"S","consumer":{"name":"c","deliver_subject":"t.x"}}]}"#;
    let made = table.ask("STREAM.CREATE.T", body).await;
    let consumer = &made["config"]["sources"][0]["consumer"];
    assert_eq!(*consumer, json!({"name": "c", "deliver_subject": "t.x"}), "{made}");
    table.ask("STREAM.CREATE.L", r#"{"name":"L","subjects":["l.>"],"allow_msg_schedules":true}"#).await;
    let schedule = |target| [("Nats-Schedule", "@at 2030-01-01T00:00:00Z"), ("Nats-Schedule-Target", target)];
    assert_eq!(table.tell("l.a", &schedule("l.a"), "").await["error"]["err_code"], 10190);
    assert_eq!(table.tell("l.a", &schedule("l.b"), "").await["seq"], 1);
    let body = r#"{"stream_name":"L","config":{"durable_name":"c","ack_policy":"explicit"}}"#;
    table.ask("CONSUMER.CREATE.L.c", body).await;
    let limits =
        r#"{"name":"L","subjects":["l.>"],"allow_msg_schedules":true,"consumer_limits":{"max_ack_pending":10}}"#;
    assert_eq!(table.refused("STREAM.UPDATE.L", limits).await.0, 10121);
}

#[tokio::test(start_paused = true)]
async fn what_happens_is_told_to_who_listens_and_republished() {
    let table = Table::new().await;
    let (events, _) = table.listen("$JS.EVENT.ADVISORY.>", None);
    let (again, _) = table.listen("again.>", None);
    let body = r#"{"name":"R","subjects":["r.>"],"republish":{"src":"r.>","dest":"again.>"}}"#;
    table.ask("STREAM.CREATE.R", body).await;
    table.tell("r.a", &[], "one").await;
    table.tell("r.a", &[], "two").await;
    table.pass(10).await;
    let told = events.taken();
    assert!(told.iter().any(|line| line.starts_with("$JS.EVENT.ADVISORY.STREAM.CREATED.R")), "{told:?}");
    assert!(told.iter().any(|line| line.starts_with("$JS.EVENT.ADVISORY.API")), "{told:?}");
    let lines = again.taken();
    let second = lines.get(1).map(String::as_str).unwrap_or_default();
    let place = "again.a Nats-Stream: R|Nats-Subject: r.a|Nats-Sequence: 2|Nats-Time-Stamp: ";
    assert!(second.starts_with(place) && second.ends_with("|Nats-Last-Sequence: 1| two"), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn messages_are_got_directly_alone_and_many_at_a_time() {
    let table = Table::new().await;
    table.ask("STREAM.CREATE.K", r#"{"name":"K","subjects":["k.>"],"allow_direct":true}"#).await;
    for (subject, body) in [("k.a", "1"), ("k.b", "2"), ("k.a", "3")] {
        table.tell(subject, &[], body).await;
    }
    let (inbox, _) = table.listen("in.x", None);
    let get = |subject: &str, body: &str| assert!(table.request(subject, "in.x", body).is_none());
    get("$JS.API.DIRECT.GET.K.k.a", "");
    let place = "in.x Nats-Stream: K|Nats-Subject: k.a|Nats-Sequence: 3|Nats-Time-Stamp: 1970-01-01T00:00:01Z|";
    assert_eq!(inbox.taken(), [format!("{place} 3")]);
    get("$JS.API.DIRECT.GET.K", r#"{"seq":9}"#);
    get("$JS.API.DIRECT.GET.K", "");
    get("$JS.API.DIRECT.GET.S", r#"{"seq":1}"#);
    let nobody = "in.x 503 Nats-Subject: $JS.API.DIRECT.GET.S|";
    assert_eq!(inbox.taken(), ["in.x 404 Message Not Found", "in.x 408 Empty Request", nobody]);
    get("$JS.API.DIRECT.GET.K", r#"{"seq":1,"batch":2}"#);
    let lines = inbox.taken();
    assert_eq!((lines.len(), lines[0].contains("Nats-Num-Pending: 2")), (3, true), "{lines:?}");
    assert_eq!(lines[2], "in.x 204 EOB Nats-Num-Pending: 1|Nats-Last-Sequence: 2|");
    get("$JS.API.DIRECT.GET.K", r#"{"multi_last":["k.>"]}"#);
    let lines = inbox.taken();
    assert_eq!(lines[2], "in.x 204 EOB Nats-Num-Pending: 0|Nats-Last-Sequence: 3|Nats-UpTo-Sequence: 3|", "{lines:?}");
}
