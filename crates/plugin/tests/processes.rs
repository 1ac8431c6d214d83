//! Plugins that are real processes: the good, the bad, and what they leave behind.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use plugin::{Call, Fault, Limits, Ran, RunError, run};
use serde_json::{Value, json};

/// Longer than anything here takes, shorter than anybody waits.
const SOON: Duration = Duration::from_secs(20);

fn script(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("plugin");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[derive(Default)]
struct Case {
    limits: Limits,
    env: BTreeMap<String, String>,
    request: Value,
}

impl Case {
    fn within(time: Duration) -> Self {
        Case { limits: Limits { time, ..Limits::default() }, ..Case::default() }
    }

    #[tokio::main(flavor = "current_thread")]
    async fn run(&self, path: &Path) -> Result<Ran, RunError> {
        let call = Call { name: "derive", executable: path, env: &self.env, limits: self.limits };
        run(&call, &self.request).await
    }

    /// Runs a shell script.
    fn sh(&self, text: &str) -> Result<Ran, RunError> {
        let folder = tempfile::tempdir().unwrap();
        self.run(&script(folder.path(), &format!("#!/bin/sh\n{text}\n")))
    }
}

#[track_caller]
fn check(found: Result<Ran, RunError>, fault: impl Fn(&Fault) -> bool, parts: &[&str]) {
    let error = found.unwrap_err();
    assert!(fault(&error.fault), "{error:?}");
    let text = error.to_string();
    for part in ["'derive'"].iter().chain(parts) {
        assert!(text.contains(part), "{text}: {part}");
    }
}

fn is_alive(number: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", number.trim())).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// Waits until a process is gone: the kernel takes a moment to end what was killed.
fn gone(number: &str) -> bool {
    let began = Instant::now();
    while is_alive(number) {
        if began.elapsed() > SOON {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

#[test]
fn the_request_goes_in_and_a_result_in_yaml_or_json_comes_out() {
    let case = Case { request: json!({"spec": {"events": [{"id": "evt-1"}]}}), ..Case::default() };
    let echoed = case.sh("cat").unwrap();
    assert_eq!(echoed.result, case.request);
    let yaml = "cat >/dev/null; echo note >&2; printf 'kind: PluginResult\\nstatus:\\n  ttl: 10m\\n  observedAt: 2026-01-01T00:00:00Z\\n  resources: [{a: 1}]\\n'";
    let ran = case.sh(yaml).unwrap();
    let expected = json!({"kind": "PluginResult",
        "status": {"ttl": "10m", "observedAt": "2026-01-01T00:00:00Z", "resources": [{"a": 1}]}});
    assert_eq!((ran.result, ran.stderr.as_str()), (expected, "note\n"));
}

#[test]
fn a_request_that_nobody_reads_stops_nothing() {
    let large = Case { request: json!({"filler": "x".repeat(1 << 20)}), ..Case::default() };
    assert_eq!(large.sh("exec 0<&-; echo '{}'").unwrap().result, json!({}));
    assert_eq!(large.sh("echo '{}'").unwrap().result, json!({}));
}

#[test]
fn it_has_path_and_its_own_variables_and_an_empty_folder_that_goes() {
    let env = BTreeMap::from([(String::from("REGION"), String::from("eu 1"))]);
    let case = Case { env, ..Case::default() };
    // What the kernel gave the shell, before the shell and others add to it.
    let text = r#"env=$(tr '\0' ';' </proc/$$/environ)
printf '{"env": "%s", "cwd": "%s", "in": "%s", "args": %d}' "$env" "$(pwd)" "$(ls -A)" $#
touch left"#;
    let ran = case.sh(text).unwrap();
    let mut env: Vec<&str> = ran.result["env"].as_str().unwrap().split_terminator(';').collect();
    env.sort_unstable();
    assert_eq!(env, [format!("PATH={}", std::env::var("PATH").unwrap()), String::from("REGION=eu 1")]);
    assert_eq!((&ran.result["in"], &ran.result["args"]), (&json!(""), &json!(0)));
    assert!(!Path::new(ran.result["cwd"].as_str().unwrap()).exists());
}

#[test]
fn one_that_prints_nothing_or_no_mapping_is_told_what_to_print() {
    check(Case::default().sh("exit 0"), |fault| *fault == Fault::Nothing, &["wrote nothing", "PluginResult"]);
    check(Case::default().sh("echo; echo"), |fault| *fault == Fault::Nothing, &[]);
    let is_shape = |fault: &Fault| matches!(fault, Fault::NotYaml(_));
    for (text, part) in [
        ("echo done", "a text, not a mapping"),
        ("echo '[1]'", "a list, not a mapping"),
        ("printf 'a: 1\\na: 2\\n'", "line 2"),
        ("printf 'a: [1\\n'", "line "),
        ("printf 'a: 1\\n---\\nb: 2\\n'", "no result"),
        ("printf 'a: \\377\\n'", "UTF-8"),
    ] {
        check(Case::default().sh(text), is_shape, &[part, "PluginResult"]);
    }
}

#[test]
fn one_that_prints_too_much_is_killed() {
    let case = Case::within(SOON);
    let five = "head -c 5242880 /dev/zero | tr '\\0' x";
    let out = |fault: &Fault| *fault == Fault::StdoutTooLong(4 * 1024 * 1024);
    check(case.sh(five), out, &["4194304", "spec.limits.stdoutBytes"]);
    check(case.sh("yes"), out, &[]);
    let err = |fault: &Fault| *fault == Fault::StderrTooLong(64 * 1024);
    check(case.sh("yes >&2"), err, &["65536", "spec.limits.stderrBytes"]);
    check(case.sh("head -c 65537 /dev/zero >&2; echo '{}'"), err, &[]);
    let exact = case.sh("head -c 65536 /dev/zero >&2; echo '{}'").unwrap();
    assert_eq!(exact.stderr.len(), plugin::STDERR_KEPT_BYTES_MAX);
    let mut small = Case::within(SOON);
    small.limits.stdout_bytes = 3;
    assert_eq!(small.sh("printf '{}\\n'").unwrap().result, json!({}));
    check(small.sh("printf '{ }\\n'"), |fault| *fault == Fault::StdoutTooLong(3), &[]);
}

#[test]
fn one_that_never_ends_is_killed_at_its_deadline_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let numbers = folder.path().join("numbers");
    let text = format!("sleep 600 & echo $! $$ > {}; echo started >&2; trap '' TERM; sleep 600", numbers.display());
    let began = Instant::now();
    let found = Case::within(Duration::from_millis(400)).sh(&text);
    assert!(began.elapsed() < SOON);
    assert_eq!(found.clone().unwrap_err().stderr, "started\n");
    check(found, |fault| matches!(fault, Fault::Timeout(_)), &["400ms", "spec.timeout"]);
    for number in fs::read_to_string(numbers).unwrap().split_whitespace() {
        assert!(gone(number), "{number}");
    }
}

#[test]
fn what_it_leaves_running_is_killed_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let number = folder.path().join("number");
    let case = Case::within(Duration::from_secs(60));
    let began = Instant::now();
    // The child holds both pipes open.
    let ran = case.sh(&format!("sleep 600 & echo $! > {}; echo '{{\"a\": 1}}'", number.display())).unwrap();
    assert!(began.elapsed() < SOON);
    assert_eq!(ran.result, json!({"a": 1}));
    assert!(gone(&fs::read_to_string(&number).unwrap()));
    // One that left the group holds them too. It ends by itself.
    let began = Instant::now();
    let ran = case.sh("setsid sleep 25 & echo '{\"b\": 2}'").unwrap();
    assert!(began.elapsed() < SOON);
    assert_eq!(ran.result, json!({"b": 2}));
}

#[test]
fn one_that_dies_or_fails_is_quoted() {
    let folder = |text| Case::default().sh(text);
    let by = |number| move |fault: &Fault| matches!(fault, Fault::Signal { signal, .. } if *signal == number);
    check(folder("echo '{}'; kill -9 $$"), by(9), &["signal 9", "SIGKILL"]);
    check(folder("echo why >&2; kill -11 $$"), by(11), &["SIGSEGV", "'why'"]);
    let found = folder("echo '{}'; echo first >&2; echo 'no such pool' >&2; exit 3");
    assert_eq!(found.clone().unwrap_err().stderr, "first\nno such pool\n");
    check(found, |fault| matches!(fault, Fault::Exit { status: 3, .. }), &["status 3", "'no such pool'"]);
}

#[test]
fn what_cannot_be_run_is_said_before_it_is_tried() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    fs::write(&plain, "#!/bin/sh\n").unwrap();
    let run = |path: &Path| Case::default().run(path);
    let refused = |fault: &Fault| matches!(fault, Fault::NotExecutable(_));
    check(run(&plain), refused, &["chmod +x", plain.to_str().unwrap()]);
    check(run(folder.path()), refused, &["not a regular file"]);
    check(run(&folder.path().join("none")), refused, &["cannot be found", "spec.executable"]);
    check(run(Path::new("bin/derive")), refused, &["absolute"]);
    let unknown = script(folder.path(), "#!/no/such/interpreter\n");
    check(run(&unknown), |fault| matches!(fault, Fault::Spawn { .. }), &["could not be started", "by hand"]);
}

#[test]
fn a_bomb_of_aliases_ends_before_it_is_large() {
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let below = level - 1;
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{below}"); 10].join(",")));
    }
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 1000].join(","));
    let deep = format!("a: {}\n", "[".repeat(20_000));
    let json = format!("{{\"a\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    for text in [bomb, long, deep, json] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bomb");
        fs::write(&path, text).unwrap();
        let began = Instant::now();
        let found = Case::default().sh(&format!("cat {}", path.display()));
        check(found, |fault| matches!(fault, Fault::NotYaml(_)), &[]);
        assert!(began.elapsed() < SOON);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn its_memory_and_its_processor_time_have_limits() {
    let mut case = Case::within(SOON);
    case.limits.cpu = Some(Duration::from_millis(500));
    check(case.sh("while :; do :; done"), |fault| matches!(fault, Fault::Signal { .. }), &["signal"]);
    let mut case = Case::within(SOON);
    case.limits.memory_bytes = Some(64 << 20);
    let folder = tempfile::tempdir().unwrap();
    let python = "#!/usr/bin/env python3\nimport sys\nsys.stdin.read()\nbytearray(1 << 28)\nprint('{}')\n";
    let failed = |fault: &Fault| matches!(fault, Fault::Exit { .. } | Fault::Signal { .. });
    check(case.run(&script(folder.path(), python)), failed, &[]);
}

#[test]
fn a_declaration_says_what_is_run_and_within_what() {
    let spec = json!({"executable": "/bin/true", "timeout": "3s", "env": {"A": "b"},
        "limits": {"stdoutBytes": 10, "memoryBytes": 1048576, "cpu": "2s"}});
    let spec: plan::PluginSpec = serde_json::from_value(spec).unwrap();
    let call = Call::of("derive", &spec);
    assert_eq!((call.executable, call.env["A"].as_str()), (Path::new("/bin/true"), "b"));
    let expected = Limits {
        time: Duration::from_secs(3),
        stdout_bytes: 10,
        memory_bytes: Some(1 << 20),
        cpu: Some(Duration::from_secs(2)),
        ..Limits::default()
    };
    assert_eq!(call.limits, expected);
}

#[tokio::test]
async fn a_run_that_is_dropped_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let number = folder.path().join("number");
    let path = script(folder.path(), &format!("#!/bin/sh\necho $$ > {}\nsleep 600\n", number.display()));
    let (env, request) = (BTreeMap::new(), json!({}));
    let limits = Limits { time: Duration::from_secs(60), ..Limits::default() };
    let call = Call { name: "derive", executable: &path, env: &env, limits };
    tokio::select! {
        found = run(&call, &request) => panic!("{found:?}"),
        () = async {
            while !fs::read_to_string(&number).is_ok_and(|text| text.ends_with('\n')) {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    let number = fs::read_to_string(&number).unwrap();
    assert!(tokio::task::spawn_blocking(move || gone(&number)).await.unwrap());
}
