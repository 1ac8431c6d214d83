//! Any bytes, as anybody may send them, are judged without panic.

use std::time::Duration;

use door_consul::codec::{Fields, Params, duration, json, parse, route};

#[test]
fn any_query_and_path_is_judged() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let params = Params::parse(&text);
        let (reading, _) = (params.reading(), params.flag("passing"));
        if let Ok(reading) = reading {
            assert!(reading.wait.is_none_or(|wait| !wait.is_zero()));
        }
        let _ = (params.node_meta(), params.number("cas"));
        for method in ["GET", "PUT", "OPTIONS"] {
            let _ = (route(method, &text), route(method, &format!("/v1/kv/{text}")));
        }
        if let Some(nanos) = duration::parse(&text) {
            let span = Duration::from_nanos(nanos.unsigned_abs());
            let again = duration::parse(&duration::print(span));
            assert_eq!(
                again.map(i64::unsigned_abs),
                u64::try_from(span.as_nanos()).ok().filter(|n| *n <= i64::MAX as u64)
            );
        }
    });
}

#[test]
fn any_body_is_judged_and_any_text_written_is_json() {
    bolero::check!().for_each(|bytes: &[u8]| {
        if let Ok(value) = parse(bytes) {
            if let Ok(mut fields) = Fields::of(&value) {
                let _ = (fields.text("Name"), fields.texts("Tags"), fields.map("Meta"), fields.span("TTL"));
                let _ = (fields.whole("Port"), fields.unsigned("Flags"), fields.flag("a"), fields.list("Checks"));
                let _ = fields.end();
            }
            let indented = json::indented(&value.to_string());
            assert_eq!(parse(indented.as_bytes()), Ok(value));
        }
        let text = String::from_utf8_lossy(bytes);
        let mut out = String::new();
        json::text(&mut out, &text);
        assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
    });
}
