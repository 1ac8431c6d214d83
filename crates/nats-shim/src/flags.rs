//! The flags of nats-server: one dash or two, `-name value` or `-name=value`, each by any of its names.

use std::collections::BTreeMap;

/// Flags with a value: the name that is kept, and the others.
const VALUED: &[(&str, &[&str])] = &[
    ("port", &["p"]),
    ("addr", &["a", "net"]),
    ("http_port", &["m"]),
    ("config", &["c"]),
    ("user", &[]),
    ("pass", &[]),
    ("auth", &[]),
    ("log", &["l"]),
    ("pid", &["P"]),
    ("store_dir", &["sd"]),
    ("name", &["n", "server_name"]),
    ("signal", &["sl"]),
    ("tlscert", &[]),
    ("tlskey", &[]),
    ("tlscacert", &[]),
    ("max_control_line", &[]),
    // Of clusters, and of what is not measured here: taken, and without meaning.
    ("cluster", &["cluster_listen"]),
    ("cluster_name", &[]),
    ("cluster_advertise", &[]),
    ("connect_retries", &[]),
    ("routes", &[]),
    ("client_advertise", &[]),
    ("https_port", &["ms"]),
    ("http_base_path", &[]),
    ("profile", &[]),
    ("remote_syslog", &["r"]),
    ("log_size_limit", &[]),
    ("ports_file_dir", &[]),
];

/// Flags without one.
const BARE: &[(&str, &[&str])] = &[
    ("jetstream", &["js"]),
    ("debug", &["D"]),
    ("trace", &["V", "DV", "DVV", "VV", "trace_verbose"]),
    ("tls", &[]),
    ("tlsverify", &[]),
    ("version", &["v"]),
    ("check", &["t"]),
    ("logtime", &["T"]),
    ("logtime_utc", &[]),
    ("syslog", &["s"]),
    ("no_advertise", &[]),
];

/// What was given.
#[derive(Debug, Default)]
pub struct Flags(BTreeMap<&'static str, String>);

impl Flags {
    /// The value of a flag.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Whether a flag is given, and not as `=false`.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value != "false")
    }
}

/// Reads the words behind the program's name.
pub fn parse(words: &[String]) -> Result<Flags, String> {
    let (mut flags, mut words) = (Flags::default(), words.iter());
    while let Some(word) = words.next() {
        let bare = word.strip_prefix("--").or_else(|| word.strip_prefix('-'));
        let bare = bare.ok_or_else(|| format!("unrecognized command: \"{word}\""))?;
        let (name, value) = match bare.split_once('=') {
            Some((name, value)) => (name, Some(value.to_string())),
            None => (bare, None),
        };
        let (kept, value) = match (find(VALUED, name), find(BARE, name)) {
            (Some(kept), _) => {
                let value = value.or_else(|| words.next().cloned());
                (kept, value.ok_or_else(|| format!("flag needs an argument: -{name}"))?)
            }
            (None, Some(kept)) => (kept, value.unwrap_or_default()),
            (None, None) => return Err(format!("flag provided but not defined: -{name}")),
        };
        flags.0.insert(kept, value);
    }
    Ok(flags)
}

fn find(known: &[(&'static str, &[&str])], name: &str) -> Option<&'static str> {
    known.iter().find(|(kept, others)| *kept == name || others.contains(&name)).map(|(kept, _)| *kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Flags, String> {
        parse(&line.split_whitespace().map(str::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn flags_have_one_dash_or_two_and_several_names() {
        let flags = read("-p 4222 --addr=127.0.0.1 -js -sd=/data/x --tlsverify -DV --cluster_listen nats://a").unwrap();
        assert_eq!((flags.get("port"), flags.get("addr")), (Some("4222"), Some("127.0.0.1")));
        assert_eq!(flags.get("store_dir"), Some("/data/x"));
        assert!(flags.has("jetstream") && flags.has("tlsverify") && flags.has("trace") && !flags.has("tls"));
        assert_eq!(read("--port -1").unwrap().get("port"), Some("-1"));
        assert!(!read("-js=false").unwrap().has("jetstream"));
    }

    #[test]
    fn what_is_no_flag_is_refused() {
        for (line, part) in [("-nope", "-nope"), ("word", "word"), ("-p", "argument")] {
            assert!(read(line).unwrap_err().contains(part), "{line}");
        }
    }
}
