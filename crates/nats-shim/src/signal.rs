//! `--signal NAME=PID`: tells a running server something, by its process id or the file that holds it.

use std::process::Command;

/// Sends the signal that an order such as `ldm=4242` or `stop=/run/nats.pid` names.
pub fn send(order: &str) -> Result<(), String> {
    let (name, to) = order.split_once('=').ok_or("--signal needs NAME=PID here")?;
    let signal = match name {
        "stop" | "term" => "TERM",
        "quit" => "INT",
        "reopen" => "USR1",
        "reload" => "HUP",
        "ldm" => "USR2",
        "kill" => "KILL",
        other => return Err(format!("unknown signal \"{other}\"")),
    };
    let pid = match to.parse::<u32>() {
        Ok(pid) => pid,
        Err(_) => {
            let text = std::fs::read_to_string(to).map_err(|error| format!("{to}: {error}"))?;
            text.trim().parse().map_err(|_| format!("{to} holds no process id"))?
        }
    };
    let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {pid}")]).status();
    match sent {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!("process {pid} cannot be signalled")),
        Err(error) => Err(error.to_string()),
    }
}
