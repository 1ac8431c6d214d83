//! The demonstration, with a real node; and the check of the data that it leaves behind.

use std::path::PathBuf;

use crate::stub::run;
use serde_json::{Value, json};

/// The directory that the demonstration kept, gone at the end.
struct Kept(PathBuf);

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.parent().map(std::fs::remove_dir_all);
    }
}

fn verified(line: &[&str], code: i32) -> Value {
    let ran = run(line, "");
    serde_json::from_str(&ran.expect(code).out).unwrap_or_default()
}

#[test]
fn nothing_acknowledged_is_lost_and_damage_is_named() {
    let ran = run(&["demo", "--keep"], "");
    ran.expect(0).says(&["each once, in order", "delivery 2"]);
    // How much of the request under way at the kill was recorded is open; what was acknowledged is not.
    let again = ran.out.lines().find_map(|line| line.split_once("200 events: ").map(|(_, told)| told));
    let numbers: Vec<u32> = again.unwrap_or_default().split(' ').filter_map(|word| word.parse().ok()).collect();
    assert!(matches!(numbers[..], [there, new] if there >= 100 && there + new == 200), "{}", ran.out);
    let place = ran.out.lines().find_map(|line| line.strip_prefix("The data is kept: in "));
    let kept = Kept(place.map(PathBuf::from).unwrap_or_default());
    let directory = kept.0.to_str().unwrap_or_default();

    let report = verified(&["verify", directory, "--json"], 0);
    assert_eq!((&report["healthy"], &report["streams"][0]["name"]), (&Value::Bool(true), &Value::from("EVENTS")));

    let log = kept.0.join("wal/0000000000000000.wal");
    let mut bytes = std::fs::read(&log).unwrap_or_default();
    let marks: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b"demo.counted-1234")).collect();
    let mark = *marks.first().expect("the log holds event 1234");
    bytes[mark] ^= 1;
    assert!(std::fs::write(&log, bytes).is_ok());
    let report = verified(&["verify", directory, "--json"], 1);
    let finding = &report["findings"][0];
    assert_eq!((&report["loss"], &finding["part"]), (&Value::Bool(true), &Value::from("log_records")));
    assert_eq!(finding["lost"], json!([[1235, 1235]]));
    run(&["verify", directory], "").expect(1).says(&["lost: position 1235", "--repair"]);

    let report = verified(&["verify", directory, "--repair", "--json"], 1);
    assert!(report["findings"][0]["repaired"].is_string(), "{report}");
    assert!(kept.0.join("damaged").is_dir());
    assert_eq!(verified(&["verify", directory, "--json"], 0)["healthy"], Value::Bool(true));
}
