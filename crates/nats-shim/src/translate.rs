//! From what nats-server is told to what a Tidings node is told.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};

use crate::conf::{Value, get};
use crate::flags::Flags;

/// What a node does not speak: better not started than started open to everyone.
const REFUSED: &[&str] = &["leafnodes", "leaf", "gateway", "mqtt"];

/// What is meant.
#[derive(Debug)]
pub struct Settings {
    host: IpAddr,
    port: u16,
    monitor: Option<(IpAddr, u16)>,
    websocket: Option<(IpAddr, u16)>,
    name: Option<String>,
    log_file: Option<PathBuf>,
    /// Where the process id is written.
    pub pid_file: Option<PathBuf>,
    debug: bool,
    jetstream: bool,
    store_dir: Option<PathBuf>,
    payload_max: Option<i64>,
    /// The section `nats` of the node's configuration, as far as it does not follow from the rest.
    nats: Map<String, Json>,
    /// Its section `jetstream`.
    limits: Map<String, Json>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            host: Ipv4Addr::UNSPECIFIED.into(),
            port: 4222,
            monitor: None,
            websocket: None,
            name: None,
            log_file: None,
            pid_file: None,
            debug: false,
            jetstream: false,
            store_dir: None,
            payload_max: None,
            nats: Map::new(),
            limits: Map::new(),
        }
    }
}

impl Settings {
    /// What a configuration file says.
    pub fn of_file(fields: &[(String, Value)]) -> Result<Self, String> {
        let mut settings = Settings::default();
        for (key, value) in fields {
            let key = key.to_ascii_lowercase();
            if REFUSED.contains(&key.as_str()) {
                return Err(format!("'{key}' is not spoken here"));
            }
            settings.set(&key, value).map_err(|reason| format!("{key}: {reason}"))?;
        }
        Ok(settings)
    }

    fn set(&mut self, key: &str, value: &Value) -> Result<(), String> {
        match key {
            "port" => self.port = port(value)?,
            "host" | "net" => self.host = host(value.text().unwrap_or_default())?,
            "listen" => (self.host, self.port) = address(value, self.host)?,
            "http" | "http_port" | "monitor_port" => self.monitor = Some(address(value, self.host)?),
            "server_name" => self.name = value.text().map(str::to_string),
            "log_file" | "logfile" => self.log_file = value.text().map(PathBuf::from),
            "pid_file" | "pidfile" => self.pid_file = value.text().map(PathBuf::from),
            "debug" => self.debug = value.truth().unwrap_or(false),
            "tls" => self.set_tls("tls", value)?,
            "websocket" | "ws" => self.set_websocket(value)?,
            "authorization" => self.set_authorization(value)?,
            "accounts" => self.set_accounts(value)?,
            "jetstream" => self.set_jetstream(value)?,
            "operator" | "operators" => self.set_operator("jwt", json!(value.text()))?,
            "resolver" if value.text().is_some_and(|text| text.eq_ignore_ascii_case("memory")) => {}
            "resolver" => return Err(String::from("only MEMORY is spoken here")),
            "resolver_preload" => {
                let accounts: Vec<_> = value.fields().iter().filter_map(|(_, account)| account.text()).collect();
                self.set_operator("accounts", json!(accounts))?;
            }
            "no_auth_user" => self.put("no_auth_user", json!(value.text())),
            "max_payload" => self.payload_max = Some(count(value)?),
            "max_control_line" | "max_pending" => self.put(key, json!(count(value)?.to_string())),
            "max_connections" | "max_conn" => self.put("max_connections", json!(count(value)?)),
            "max_subscriptions" | "max_subs" => self.put("max_subscriptions", json!(count(value)?)),
            "ping_max" => self.put(key, json!(count(value)?)),
            "ping_interval" | "write_deadline" | "lame_duck_duration" => self.put(key, json!(span(value)?)),
            // The rest has no meaning for a lone server under test.
            _ => {}
        }
        Ok(())
    }

    fn put(&mut self, key: &str, value: Json) {
        self.nats.insert(key.to_string(), value);
    }

    fn set_operator(&mut self, key: &str, value: Json) -> Result<(), String> {
        let operator = self.nats.entry("operator").or_insert_with(|| json!({}));
        operator.as_object_mut().ok_or("operator twice")?.insert(key.to_string(), value);
        Ok(())
    }

    fn set_tls(&mut self, place: &str, value: &Value) -> Result<(), String> {
        let fields = value.fields();
        let file = |name: &str| get(fields, name).and_then(Value::text).map(absolute);
        let (Some(certificate), Some(key)) = (file("cert_file"), file("key_file")) else {
            return Err(String::from("needs cert_file and key_file"));
        };
        let truth = |name: &str| get(fields, name).and_then(Value::truth).unwrap_or(false);
        let first = match get(fields, "handshake_first") {
            None => String::from("never"),
            Some(value) => match value.truth() {
                Some(true) => String::from("always"),
                Some(false) => String::from("never"),
                None => value.text().unwrap_or_default().to_string(),
            },
        };
        let mut tls =
            json!({"certificate": certificate, "key": key, "verify": truth("verify"), "handshake_first": first});
        if let Some(ca) = file("ca_file") {
            tls["ca"] = json!(ca);
        }
        self.put(place, tls);
        Ok(())
    }

    fn set_websocket(&mut self, value: &Value) -> Result<(), String> {
        let fields = value.fields();
        let mut at = (self.host, 0);
        if let Some(listen) = get(fields, "listen") {
            at = address(listen, self.host)?;
        }
        if let Some(name) = get(fields, "host").or_else(|| get(fields, "net")).and_then(Value::text) {
            at.0 = host(name)?;
        }
        if let Some(given) = get(fields, "port") {
            at.1 = port(given)?;
        }
        self.websocket = Some(at);
        match get(fields, "tls") {
            Some(tls) => self.set_tls("websocket_tls", tls)?,
            None => self.put("websocket_plain", json!(true)),
        }
        Ok(())
    }

    fn set_authorization(&mut self, value: &Value) -> Result<(), String> {
        let fields = value.fields();
        if let Some(timeout) = get(fields, "timeout") {
            self.put("auth_timeout", json!(span(timeout)?));
        }
        if let Some(token) = get(fields, "token").and_then(Value::text) {
            self.put("token", json!(token));
        }
        let shared = get(fields, "default_permissions");
        if get(fields, "user").is_some() {
            self.add_user(value, shared)?;
        }
        self.add_users(get(fields, "users"), shared)
    }

    /// Users of all accounts: their names tell them apart, and they share one space of subjects.
    fn set_accounts(&mut self, value: &Value) -> Result<(), String> {
        for (_, account) in value.fields() {
            let fields = account.fields();
            self.add_users(get(fields, "users"), get(fields, "default_permissions"))?;
            if let Some(limits) = get(fields, "jetstream") {
                self.set_limits(limits)?;
            }
        }
        Ok(())
    }

    fn add_users(&mut self, users: Option<&Value>, shared: Option<&Value>) -> Result<(), String> {
        if let Some(Value::List(users)) = users {
            users.iter().try_for_each(|user| self.add_user(user, shared))?;
        }
        Ok(())
    }

    fn add_user(&mut self, user: &Value, shared: Option<&Value>) -> Result<(), String> {
        let fields = user.fields();
        let mut json = Map::new();
        let text = |names: [&str; 2]| names.iter().find_map(|name| get(fields, name)).and_then(Value::text);
        for (name, value) in [
            ("user", text(["user", "username"])),
            ("password", text(["password", "pass"])),
            ("nkey", text(["nkey", "nkey"])),
        ] {
            if let Some(value) = value {
                json.insert(name.to_string(), json!(value));
            }
        }
        if let Some(permissions) = get(fields, "permissions").or(shared) {
            for (name, other) in [("publish", "pub"), ("subscribe", "sub")] {
                let given = get(permissions.fields(), name).or_else(|| get(permissions.fields(), other));
                if let Some(given) = given {
                    json.insert(name.to_string(), subjects(given)?);
                }
            }
        }
        let users = self.nats.entry("users").or_insert_with(|| json!([]));
        users.as_array_mut().ok_or("users twice")?.push(Json::Object(json));
        Ok(())
    }

    fn set_jetstream(&mut self, value: &Value) -> Result<(), String> {
        if let Value::Map(fields) = value {
            self.jetstream = get(fields, "enabled").and_then(Value::truth).unwrap_or(true);
            if let Some(folder) = get(fields, "store_dir").or_else(|| get(fields, "store")).and_then(Value::text) {
                self.store_dir = Some(folder.into());
            }
            if let Some(strict) = get(fields, "strict").and_then(Value::truth) {
                self.limits.insert(String::from("strict"), json!(strict));
            }
            return self.set_limits(value);
        }
        let enabled = matches!(value.text(), Some("enabled" | "enable"));
        self.jetstream = enabled || value.truth().ok_or("is neither a truth nor a map")?;
        Ok(())
    }

    fn set_limits(&mut self, value: &Value) -> Result<(), String> {
        let memory = ["max_mem_store", "max_memory_store", "max_memory", "max_mem"];
        let file = ["max_file_store", "max_file", "max_storage", "max_store"];
        for (name, names) in [("max_memory_store", memory), ("max_file_store", file)] {
            let given = names.iter().find_map(|name| get(value.fields(), name));
            if let Some(given) = given.map(count).transpose()?.filter(|bytes| *bytes >= 0) {
                self.limits.insert(name.to_string(), json!(given.to_string()));
            }
        }
        Ok(())
    }

    /// What the flags say, over the file.
    pub fn set_flags(&mut self, flags: &Flags) -> Result<(), String> {
        let word = |name: &str| flags.get(name).map(|text| Value::Word(text.to_string()));
        for (flag, key) in [
            ("addr", "host"),
            ("port", "port"),
            ("http_port", "http_port"),
            ("name", "server_name"),
            ("log", "log_file"),
            ("pid", "pid_file"),
            ("max_control_line", "max_control_line"),
        ] {
            if let Some(value) = word(flag) {
                self.set(key, &value).map_err(|reason| format!("-{flag}: {reason}"))?;
            }
        }
        self.debug |= flags.has("debug") || flags.has("trace");
        self.jetstream |= flags.has("jetstream");
        if let Some(folder) = flags.get("store_dir") {
            self.store_dir = Some(folder.into());
        }
        if let Some(token) = flags.get("auth") {
            self.put("token", json!(token));
        }
        if let Some(user) = flags.get("user") {
            let password = flags.get("pass").unwrap_or_default();
            self.put("users", json!([{"user": user, "password": password}]));
        }
        if flags.has("tls") || flags.has("tlsverify") {
            let file = |name: &str| flags.get(name).map(|text| Value::Text(text.to_string()));
            let named = [("cert_file", file("tlscert")), ("key_file", file("tlskey")), ("ca_file", file("tlscacert"))];
            let mut fields: Vec<_> =
                named.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?))).collect();
            fields.push((String::from("verify"), Value::Word(flags.has("tlsverify").to_string())));
            self.set_tls("tls", &Value::Map(fields))?;
        }
        Ok(())
    }

    /// Where the data is: in JetStream's folder; without JetStream in one that nobody keeps.
    pub fn data(&self) -> PathBuf {
        let temporary = std::env::temp_dir();
        if !self.jetstream {
            return temporary.join(format!("tidings-{}", std::process::id()));
        }
        let folder = self.store_dir.clone().unwrap_or_else(|| temporary.join("nats"));
        PathBuf::from(absolute(&folder.join("jetstream").to_string_lossy()))
    }

    /// The node's configuration. JSON, which is YAML too.
    pub fn to_yaml(&self, data: &Path) -> io::Result<String> {
        // Everywhere is everywhere: nats-server's 0.0.0.0 listens to IPv6 too, where there is any.
        let everywhere: IpAddr = if UdpSocket::bind("[::1]:0").is_ok() {
            Ipv6Addr::UNSPECIFIED.into()
        } else {
            Ipv4Addr::UNSPECIFIED.into()
        };
        let at = |(ip, port): (IpAddr, u16)| {
            SocketAddr::new(if ip.is_unspecified() { everywhere } else { ip }, port).to_string()
        };
        let off = || String::from("off");
        let mut nats = self.nats.clone();
        nats.insert("listen".into(), json!(at((self.host, self.port))));
        nats.insert("monitor".into(), json!(self.monitor.map_or_else(off, at)));
        nats.insert("websocket".into(), json!(self.websocket.map_or_else(off, at)));
        // A server that is told to stop does, and says nothing before.
        nats.insert("lame_duck_on_stop".into(), json!(false));
        if let Some(name) = &self.name {
            nats.insert("name".into(), json!(name));
        }
        let mut jetstream = self.limits.clone();
        jetstream.insert("enabled".into(), json!(self.jetstream));
        nats.insert("jetstream".into(), Json::Object(jetstream));
        let mut config = json!({
            "data": data,
            "engine": if self.jetstream { "disk" } else { "memory" },
            "http": "off",
            "hub": "off",
            "open": true,
            "default_stream": false,
            "log": if self.debug { "debug" } else { "info" },
            "log_format": "nats",
        });
        if let Some(file) = &self.log_file {
            config["log_file"] = json!(absolute(&file.to_string_lossy()));
        }
        if let Some(bytes) = self.payload_max {
            config["limits"] = json!({"payload_max": bytes.to_string()});
        }
        config["nats"] = Json::Object(nats);
        serde_json::to_string_pretty(&config).map_err(io::Error::other)
    }
}

/// A list, or one, or `{allow, deny}` of them.
fn subjects(value: &Value) -> Result<Json, String> {
    let list = |value: Option<&Value>| -> Vec<String> {
        match value {
            None => Vec::new(),
            Some(Value::List(values)) => values.iter().filter_map(Value::text).map(str::to_string).collect(),
            Some(one) => one.text().map(str::to_string).into_iter().collect(),
        }
    };
    match value {
        Value::Map(fields) => Ok(json!({"allow": list(get(fields, "allow")), "deny": list(get(fields, "deny"))})),
        Value::List(_) | Value::Text(_) | Value::Word(_) => Ok(json!({"allow": list(Some(value)), "deny": []})),
    }
}

/// A port; `-1` takes a free one.
fn port(value: &Value) -> Result<u16, String> {
    match value.number() {
        Some(-1) => Ok(0),
        Some(number) => u16::try_from(number).map_err(|_| format!("{number} is no port")),
        None => Err(String::from("is no port")),
    }
}

fn host(name: &str) -> Result<IpAddr, String> {
    match name {
        "" => Ok(Ipv4Addr::UNSPECIFIED.into()),
        "localhost" => Ok(Ipv4Addr::LOCALHOST.into()),
        other => other.trim_matches(['[', ']']).parse().map_err(|_| format!("'{other}' is not an address")),
    }
}

/// `PORT`, `:PORT` or `HOST:PORT`.
fn address(value: &Value, otherwise: IpAddr) -> Result<(IpAddr, u16), String> {
    let text = value.text().unwrap_or_default();
    match text.rsplit_once(':') {
        Some((name, number)) => Ok((host(name)?, port(&Value::Word(number.to_string()))?)),
        None => Ok((otherwise, port(value)?)),
    }
}

fn count(value: &Value) -> Result<i64, String> {
    value.number().ok_or_else(|| String::from("is not a number"))
}

/// A duration as text, or seconds as a number.
fn span(value: &Value) -> Result<String, String> {
    let text = value.text().unwrap_or_default();
    match text.parse::<f64>() {
        Ok(seconds) if seconds >= 0.0 => Ok(format!("{:.0}ms", seconds * 1000.0)),
        Ok(_) => Err(String::from("is less than nothing")),
        Err(_) => Ok(text.to_string()),
    }
}

fn absolute(path: &str) -> String {
    std::path::absolute(path).map_or_else(|_| path.to_string(), |path| path.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{conf, flags};

    fn translate(file: &str, line: &str) -> Result<Json, String> {
        let mut settings = Settings::of_file(&conf::parse(file)?)?;
        settings.set_flags(&flags::parse(&line.split_whitespace().map(str::to_string).collect::<Vec<_>>())?)?;
        let text = settings.to_yaml(Path::new("/data")).map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_bare_server_listens_everywhere_without_jetstream() {
        let config = translate("", "").unwrap();
        let listen = config["nats"]["listen"].as_str().unwrap();
        assert!(["0.0.0.0:4222", "[::]:4222"].contains(&listen), "{listen}");
        assert_eq!((&config["engine"], &config["nats"]["monitor"]), (&json!("memory"), &json!("off")));
        assert_eq!(config["nats"]["jetstream"]["enabled"], false);
    }

    #[test]
    fn flags_are_stronger_than_the_file() {
        let file =
            "port: 4224\njetstream: { strict: true, max_file_store: 1KiB }\nwebsocket { port: -1, no_tls: true }\n";
        let config = translate(file, "-p -1 -a 127.0.0.1 -m 8222 --user u --pass p").unwrap();
        assert_eq!(config["nats"]["listen"], "127.0.0.1:0");
        assert_eq!(config["nats"]["monitor"], "127.0.0.1:8222");
        assert_eq!(config["nats"]["users"], json!([{"user": "u", "password": "p"}]));
        assert_eq!(config["nats"]["jetstream"], json!({"strict": true, "max_file_store": "1024", "enabled": true}));
        assert_eq!((&config["nats"]["websocket_plain"], &config["engine"]), (&json!(true), &json!("disk")));
    }

    #[test]
    fn users_of_accounts_become_users_and_seconds_become_spans() {
        let file = "accounts { a { users = [{user: x, pass: y, permissions {publish: {allow: [a], deny: b}}}] } }\n\
                    no_auth_user = x\nauthorization { timeout: 1.5 }\nping_interval: \"100ms\"\n";
        let config = translate(file, "").unwrap();
        let user = json!({"user": "x", "password": "y", "publish": {"allow": ["a"], "deny": ["b"]}});
        assert_eq!(config["nats"]["users"], json!([user]));
        assert_eq!(
            (&config["nats"]["auth_timeout"], &config["nats"]["ping_interval"]),
            (&json!("1500ms"), &json!("100ms"))
        );
    }

    #[test]
    fn an_operator_and_its_accounts_are_handed_on() {
        let config =
            translate("operator: a.b.c\nresolver = MEMORY\nresolver_preload = { AX : \"d.e.f\" }\n", "").unwrap();
        assert_eq!(config["nats"]["operator"], json!({"jwt": "a.b.c", "accounts": ["d.e.f"]}));
    }

    #[test]
    fn what_is_not_spoken_is_refused() {
        assert!(translate("resolver: URL(x)", "").unwrap_err().contains("MEMORY"));
        assert!(translate("leafnodes { port: 1 }", "").unwrap_err().contains("not spoken"));
        assert!(translate("port: x", "").unwrap_err().contains("port"));
        assert!(translate("tls { cert_file: a }", "").unwrap_err().contains("key_file"));
    }
}
