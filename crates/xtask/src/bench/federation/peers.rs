//! Receivers that cost next to nothing: they answer one-event pushes as the original does, know no other
//! path, check no signature, and record when each fact came. And one that answers nothing, ever.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Instant;

use serde_json::Value;

/// Largest body that is taken in, in bytes: the original's.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// A fact that came.
#[derive(Debug)]
pub struct Came {
    /// Its id.
    pub id: String,
    /// When all of it was there.
    pub at: Instant,
}

/// A listening receiver.
pub struct Peer {
    address: SocketAddr,
    over: Arc<AtomicBool>,
}

impl Peer {
    /// One that answers, and tells what came.
    pub fn light(told: Sender<Came>) -> Result<Peer, String> {
        Peer::listen(move |stream, over| {
            let told = told.clone();
            thread::spawn(move || while !over.load(Ordering::Relaxed) && answer(&stream, &told).is_ok() {});
        })
    }

    /// One that accepts and never answers.
    pub fn hole() -> Result<Peer, String> {
        let mut held = Vec::new();
        Peer::listen(move |stream, _| held.push(stream))
    }

    fn listen(mut take: impl FnMut(TcpStream, Arc<AtomicBool>) + Send + 'static) -> Result<Peer, String> {
        let failed = |error: std::io::Error| format!("a receiver cannot listen: {error}");
        let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let _slower = stream.set_nodelay(true);
                take(stream, Arc::clone(&ended));
            }
        });
        Ok(Peer { address, over })
    }

    /// Where it is pushed to.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Wakes the listener, which then ends.
        let _woken = TcpStream::connect(self.address);
    }
}

/// Answers the requests of one connection, until it is closed.
fn answer(stream: &TcpStream, told: &Sender<Came>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? <= 2 {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or_default();
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; usize::min(length, BODY_BYTES_MAX)];
        reader.read_exact(&mut body)?;
        let at = Instant::now();
        let (status, text) = if first.starts_with("POST /v1/events ") {
            let fact: Value = serde_json::from_slice(&body).unwrap_or_default();
            let id = fact["id"].as_str().unwrap_or_default().to_string();
            let text = format!("{{\"accepted\":true,\"duplicate\":false,\"id\":\"{id}\"}}\n");
            let _nobody = told.send(Came { id, at });
            ("200 OK", text)
        } else {
            ("404 Not Found", "404 page not found\n".to_string())
        };
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", text.len());
        writer.write_all((head + &text).as_bytes())?;
    }
}
