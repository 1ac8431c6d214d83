//! `tidings unit`: service units for a node, that allow it what it needs and no more.
//!
//! What a unit must open is read from the configuration that it names, where that is there: ports below
//! 1024, and folders outside of the state directory that are written to.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use host::Config;
use host::config::{Engine, Layer, Listen};

use super::failure::Failure;
use super::output::Out;

const SYSTEMD_EXAMPLES: &str = "Examples:
  tidings unit systemd --config /etc/tidings/node.yaml > /etc/systemd/system/tidings.service
  tidings unit systemd --name edge --credential cloudedge:/etc/tidings/cloudedge.key
  systemctl daemon-reload && systemctl enable --now tidings";

const RCD_EXAMPLES: &str = "Examples:
  tidings unit rc.d --config /usr/local/etc/tidings/node.yaml > /usr/local/etc/rc.d/tidings
  chmod +x /usr/local/etc/rc.d/tidings && sysrc tidings_enable=YES && service tidings start";

/// Whose units.
#[derive(Debug, clap::Subcommand)]
pub enum UnitCommand {
    /// For systemd
    #[command(after_help = SYSTEMD_EXAMPLES)]
    Systemd(SystemdArgs),
    /// For FreeBSD's rc(8)
    #[command(name = "rc.d", visible_alias = "rcd", after_help = RCD_EXAMPLES)]
    Rcd(RcdArgs),
}

/// What both need.
#[derive(Debug, clap::Args)]
struct Common {
    /// The node's configuration; it need not be there yet
    #[arg(long, value_name = "FILE|DIR")]
    config: Option<PathBuf>,
    /// The unit's name, and that of its folders
    #[arg(long, default_value = "tidings", value_parser = unit_name)]
    name: String,
    /// The program [default: this one]
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

/// Flags of `tidings unit systemd`.
#[derive(Debug, clap::Args)]
pub struct SystemdArgs {
    #[command(flatten)]
    common: Common,
    /// The user to run as; one that lives as long as the service where none is named
    #[arg(long, value_name = "USER", value_parser = unit_name)]
    user: Option<String>,
    /// A secret that the node is handed although it cannot read the file: it finds it at
    /// /run/credentials/NAME.service/ID; may be repeated
    #[arg(long = "credential", value_name = "ID:FILE", value_parser = credential)]
    credentials: Vec<(String, String)>,
}

/// Flags of `tidings unit rc.d`.
#[derive(Debug, clap::Args)]
pub struct RcdArgs {
    #[command(flatten)]
    common: Common,
    /// The user to run as
    #[arg(long, value_name = "USER", default_value = "tidings", value_parser = unit_name)]
    user: String,
}

/// Prints what was asked for.
pub fn run(command: UnitCommand) -> Result<(), Failure> {
    let text = match command {
        UnitCommand::Systemd(args) => systemd(&args)?,
        UnitCommand::Rcd(args) => rcd(&args)?,
    };
    let mut out = Out::new();
    out.bytes(text.as_bytes())?;
    out.flush()
}

/// A name that neither a shell nor systemd reads anything into.
fn unit_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    if begins && text.len() <= 64 && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("letters, digits, '-', '_' and '.', 64 at most, and a letter, a digit or '_' first".to_owned())
    }
}

fn credential(text: &str) -> Result<(String, String), String> {
    let (id, file) = text.split_once(':').ok_or("write it as ID:FILE")?;
    Ok((unit_name(id)?, plain_path(Path::new(file)).map_err(|_| "the file must be an absolute, plain path")?))
}

/// An absolute path that can stand in a unit and in a shell as it is.
fn plain_path(path: &Path) -> Result<String, Failure> {
    let shown = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | '+' | '@' | ',' | '=');
    if path.is_absolute() && shown.chars().all(plain) {
        return Ok(shown);
    }
    let hint = "name an absolute path of letters, digits and -_.+@,=";
    Err(Failure::usage(format!("{shown} cannot stand in a unit"), hint))
}

/// What a unit says of the program and its configuration.
struct Needs {
    program: String,
    config: Option<String>,
    /// Whether the configuration says where the data is.
    says_data: bool,
    /// Folders that are written to beside the state directory.
    writes: BTreeSet<String>,
    /// Whether a port below 1024 is listened at.
    low_port: bool,
    /// Whether the node keeps its journal with others.
    remote: bool,
}

impl Common {
    fn needs(&self) -> Result<Needs, Failure> {
        let this = std::env::current_exe();
        let program = match (&self.program, this) {
            (Some(program), _) => program.clone(),
            (None, Ok(this)) => this,
            (None, Err(_)) => PathBuf::from("/usr/local/bin/tidings"),
        };
        let config = self.config.as_deref().map(std::path::absolute).transpose();
        let config = config.map_err(|error| Failure::usage(format!("--config: {error}"), "name a file"))?;
        let layer = match &config {
            Some(path) if path.exists() => host::file::read_config(path).map_err(|error| {
                Failure::usage(error.to_string(), "mend the configuration; docs/configuration.md says what it can hold")
            })?,
            _ => Layer::default(),
        };
        let below = |path: &Path| path.parent().map(Path::to_owned);
        let effective = layer.effective.as_deref().and_then(below);
        let log = layer.log_file.as_deref().and_then(below);
        let data = layer.data.clone();
        let written = [data.clone(), effective, log].into_iter().flatten();
        Ok(Needs {
            program: plain_path(&program)?,
            config: config.as_deref().map(plain_path).transpose()?,
            says_data: data.is_some(),
            writes: written.map(|path| plain_path(&path)).collect::<Result<_, _>>()?,
            remote: matches!(layer.engine, Some(Engine::Nats(_))),
            low_port: low_port(layer),
        })
    }
}

/// Whether a door listens at a port that only some may listen at.
fn low_port(layer: Layer) -> bool {
    let low = |listen: &Listen| matches!(listen, Listen::At(at) if (1..1024).contains(&at.port()));
    // A configuration that is not complete without flags says nothing of ports.
    let Ok(config) = Config::from_layers(layer) else { return false };
    [&config.http, &config.nats.listen, &config.nats.monitor, &config.nats.websocket].into_iter().any(low)
}

/// What no node needs, and no plugin should have.
const HARDENING: &str = "\
# Nothing is written but the folders named here; nothing is gained by a program that it runs.
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateIPC=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
LockPersonality=yes
# A plugin in a language that compiles as it runs (Java, Node.js) needs this line gone.
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
KeyringMode=private
UMask=0077
";

fn systemd(args: &SystemdArgs) -> Result<String, Failure> {
    let (needs, name) = (args.common.needs()?, &args.common.name);
    if let (None, Some(path)) = (&args.user, needs.writes.first()) {
        let what = format!("a user that is there only while the service is cannot own {path}, where the node writes");
        return Err(Failure::usage(
            what,
            "name a user who owns it with --user, or leave data, effective and log_file out",
        ));
    }
    let mut unit = format!(
        "# /etc/systemd/system/{name}.service\n[Unit]\nDescription=Tidings node ({name})\n\
         Wants=network-online.target\nAfter=network-online.target{}\n\
         # It is started again for as long as it is enabled.\nStartLimitIntervalSec=0\n\n",
        if needs.remote { " nats-server.service" } else { "" }
    );
    let config = needs.config.as_deref().map(|config| format!(" --config {config}")).unwrap_or_default();
    let data = if needs.says_data { String::new() } else { format!(" --data %S/{name}") };
    let _ = write!(
        unit,
        "[Service]\nType=exec\nExecStart={} serve{config}{data}\n\
         # Secrets, tokens, certificates, schemas and resources are read again.\nExecReload=/bin/kill -HUP $MAINPID\n\
         Restart=always\nRestartSec=1s\nTimeoutStopSec=30s\n\
         # The node ends what it runs; what is left after it is killed.\nKillMode=mixed\n\
         # A plugin that takes too much memory ends alone.\nOOMPolicy=continue\nLimitNOFILE=65536\n\n",
        needs.program
    );
    match &args.user {
        Some(user) => {
            let _ = writeln!(unit, "User={user}");
        }
        None => unit.push_str("# A user that is there while the service is: it owns the state directory and nothing else.\nDynamicUser=yes\n"),
    }
    let _ = write!(unit, "StateDirectory={name}\nStateDirectoryMode=0700\n");
    for path in &needs.writes {
        let _ = writeln!(unit, "ReadWritePaths={path}");
    }
    if args.credentials.is_empty() {
        let _ = write!(
            unit,
            "# Secrets that this user cannot read are handed over, one line each; the node finds this one at\n\
             # /run/credentials/{name}.service/key. They are copied at the start: restart after changing one.\n\
             #LoadCredential=key:/etc/tidings/key\n"
        );
    }
    for (id, file) in &args.credentials {
        let _ = write!(
            unit,
            "# At /run/credentials/{name}.service/{id}; copied at the start.\nLoadCredential={id}:{file}\n"
        );
    }
    let capability = if needs.low_port { "CAP_NET_BIND_SERVICE" } else { "" };
    let _ = write!(unit, "\nCapabilityBoundingSet={capability}\nAmbientCapabilities={capability}\n{HARDENING}");
    unit.push_str("\n[Install]\nWantedBy=multi-user.target\n");
    Ok(unit)
}

fn rcd(args: &RcdArgs) -> Result<String, Failure> {
    let (needs, name, user) = (args.common.needs()?, &args.common.name, &args.user);
    let variable: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let config = needs.config.clone().unwrap_or_default();
    let data = if needs.says_data { String::new() } else { format!("/var/db/{name}") };
    let head = rcd_head(name, &variable, &[&config, &data, user]);
    Ok(head + &rcd_body(name, &variable, &needs.program))
}

/// What a script says of itself, and what can be said in rc.conf: `defaults` are configuration, data and user.
fn rcd_head(name: &str, variable: &str, defaults: &[&str; 3]) -> String {
    let [config, data, user] = defaults;
    format!(
        r#"#!/bin/sh
# /usr/local/etc/rc.d/{name}

# PROVIDE: {variable}
# REQUIRE: LOGIN NETWORKING
# KEYWORD: shutdown

# In rc.conf:
# {variable}_enable (bool): whether it is started; NO where nothing is said.
# {variable}_config (path): the configuration, a file or a folder.
# {variable}_data (path):   where the data is; empty: where the configuration says.
# {variable}_user (user):   who it runs as.
# {variable}_args (words):  further flags of 'tidings serve'.

. /etc/rc.subr

name="{variable}"
desc="Tidings node ({name})"
rcvar="{variable}_enable"

load_rc_config "$name"

: "${{{variable}_enable:=NO}}"
: "${{{variable}_config={config}}}"
: "${{{variable}_data={data}}}"
: "${{{variable}_user:={user}}}"
: "${{{variable}_args=}}"
"#
    )
}

/// What a script does.
fn rcd_body(name: &str, variable: &str, program: &str) -> String {
    format!(
        r#"
node_user="${{{variable}_user}}"
node_pidfile="/var/run/{name}.node.pid"
pidfile="/var/run/{name}.pid"
procname="/usr/sbin/daemon"
command="/usr/sbin/daemon"
node_args="serve"
[ -z "${{{variable}_config}}" ] || node_args="$node_args --config ${{{variable}_config}}"
[ -z "${{{variable}_data}}" ] || node_args="$node_args --data ${{{variable}_data}}"
# daemon(8) starts it again when it ends, a second later, and passes SIGTERM on.
command_args="-f -r -R 1 -P $pidfile -p $node_pidfile -T {name} -u $node_user {program} $node_args ${{{variable}_args}}"
# It is daemon that takes on the user: rc.subr would do it before.
unset {variable}_user

start_precmd="{variable}_prepare"
reload_cmd="{variable}_reload"
extra_commands="reload"

{variable}_prepare()
{{
    umask 077
    if [ -n "${{{variable}_data}}" ]; then
        install -d -o "$node_user" -m 0700 "${{{variable}_data}}"
    fi
}}

# Secrets, tokens, certificates, schemas and resources are read again.
{variable}_reload()
{{
    if [ -s "$node_pidfile" ]; then
        kill -HUP "$(cat "$node_pidfile")"
    else
        echo "${{name}} is not running."
        return 1
    fi
}}

run_rc_command "$1"
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn common(config: Option<PathBuf>) -> Common {
        Common { config, name: "edge-1".into(), program: Some("/usr/local/bin/tidings".into()) }
    }

    fn unit_of(config: Option<PathBuf>, user: Option<&str>, credentials: &[(&str, &str)]) -> String {
        let credentials = credentials.iter().map(|(id, file)| ((*id).to_owned(), (*file).to_owned())).collect();
        systemd(&SystemdArgs { common: common(config), user: user.map(str::to_owned), credentials }).unwrap()
    }

    #[test]
    fn a_unit_allows_what_the_configuration_needs_and_no_more() {
        let plain = unit_of(None, None, &[]);
        for line in ["DynamicUser=yes", "CapabilityBoundingSet=", "ProtectSystem=strict", "StateDirectory=edge-1"] {
            assert!(plain.lines().any(|found| found == line), "{line} in {plain}");
        }
        assert!(plain.contains("ExecStart=/usr/local/bin/tidings serve --data %S/edge-1\n"), "{plain}");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("node.yaml");
        std::fs::write(&file, "http: 0.0.0.0:443\nopen: true\ndata: /srv/tidings\neffective: /srv/out/router.json\n")
            .unwrap();
        let nobody = SystemdArgs { common: common(Some(file.clone())), user: None, credentials: Vec::new() };
        assert!(systemd(&nobody).unwrap_err().to_string().contains("cannot own /srv/out"));
        let needing = unit_of(Some(file.clone()), Some("tidings"), &[("cloud", "/etc/tidings/cloud.key")]);
        for line in [
            "User=tidings",
            "AmbientCapabilities=CAP_NET_BIND_SERVICE",
            "ReadWritePaths=/srv/tidings",
            "ReadWritePaths=/srv/out",
            "LoadCredential=cloud:/etc/tidings/cloud.key",
        ] {
            assert!(needing.lines().any(|found| found == line), "{line} in {needing}");
        }
        assert!(needing.contains(&format!("serve --config {}\n", file.display())), "{needing}");
    }

    #[test]
    fn a_name_that_a_shell_would_read_is_refused() {
        for bad in ["", "a b", "a;b", "$(x)", "../x", "-a", "a/b", "a\"b"] {
            assert!(unit_name(bad).is_err(), "{bad}");
        }
        assert!(credential("key:relative").is_err() && credential("key").is_err());
        assert!(plain_path(Path::new("/a b")).is_err() && plain_path(Path::new("/a%n")).is_err());
    }

    #[test]
    fn the_script_is_one_that_a_shell_reads() {
        let script =
            rcd(&RcdArgs { common: common(Some("/usr/local/etc/tidings".into())), user: "tidings".into() }).unwrap();
        assert!(script.contains("edge_1_enable") && !script.contains("edge-1_enable"), "{script}");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("edge");
        std::fs::write(&file, script).unwrap();
        let checked = std::process::Command::new("sh").arg("-n").arg(&file).status().unwrap();
        assert!(checked.success());
    }
}
