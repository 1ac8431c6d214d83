//! As much of an HTTP/1.1 client as the broom needs: one connection, one request at a time, bodies by
//! length or in chunks, and server-sent events line by line. Written by hand so that a killed node
//! shows as the socket error that it is, and nothing is retried behind our back.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long a node may stay silent: far beyond what any request takes.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Largest body that is taken in, in bytes: four times a page of the journal, in JSON.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A connection.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

/// A response.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as JSON; `null` where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Connection {
    /// Connects.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, SILENCE_MAX)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.set_write_timeout(Some(SILENCE_MAX))?;
        Ok(Connection { stream: BufReader::new(stream) })
    }

    /// Sends a request and reads the whole response.
    pub fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Response> {
        self.send(method, path, headers, body)?;
        let mut response = self.head()?;
        let length = response.header("content-length").and_then(|value| value.parse::<usize>().ok());
        let chunked = response.header("transfer-encoding").is_some_and(|value| value.contains("chunked"));
        let bodiless = method == "HEAD" || response.status == 204 || response.status == 304;
        match length {
            _ if bodiless => {}
            _ if chunked => while self.chunk(&mut response.body)? {},
            Some(length) => self.exactly(length, &mut response.body)?,
            None => drop(self.stream.read_to_end(&mut response.body)?),
        }
        Ok(response)
    }

    /// Sends a GET without a body.
    pub fn get(&mut self, path: &str) -> Result<Response> {
        self.request("GET", path, &[], b"")
    }

    fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<()> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        self.stream.get_mut().write_all(&bytes)
    }

    fn head(&mut self) -> Result<Response> {
        let first = self.line()?;
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| strange(format!("no status line: '{first}'")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(Response { status, headers, body: Vec::new() });
            }
            let (name, value) = line.split_once(':').ok_or_else(|| strange(format!("no header: '{line}'")))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_string()));
        }
    }

    /// Reads one chunk; `false` after the last.
    fn chunk(&mut self, body: &mut Vec<u8>) -> Result<bool> {
        let line = self.line()?;
        let size = line.split(';').next().and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
        let size = size.ok_or_else(|| strange(format!("no chunk size: '{line}'")))?;
        self.exactly(size, body)?;
        self.line()?;
        Ok(size > 0)
    }

    fn exactly(&mut self, length: usize, body: &mut Vec<u8>) -> Result<()> {
        if body.len() + length > BODY_BYTES_MAX {
            return Err(strange(format!("a body of more than {BODY_BYTES_MAX} bytes")));
        }
        let from = body.len();
        body.resize(from + length, 0);
        self.stream.read_exact(&mut body[from..])
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 || !line.ends_with('\n') {
            return Err(Error::new(ErrorKind::UnexpectedEof, "the node closed the connection"));
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_string())
    }
}

fn strange(what: String) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

/// One request on a connection of its own.
pub fn once(address: SocketAddr, method: &str, path: &str, body: &[u8]) -> Result<Response> {
    Connection::open(address)?.request(method, path, &[("content-type", "application/json")], body)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn check(answer: &'static str) -> Result<Response> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let server = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
        });
        let response = Connection::open(address)?.get("/x");
        server.join().unwrap();
        response
    }

    #[test]
    fn bodies_come_by_length_in_chunks_or_up_to_the_end() {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\nhello",
        ] {
            let response = check(answer).unwrap();
            assert_eq!((response.status, response.text().as_str()), (200, "hello"), "{answer}");
        }
    }

    #[test]
    fn a_connection_that_ends_early_is_an_error() {
        for answer in ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", "nonsense\r\n\r\n"] {
            assert!(check(answer).is_err(), "{answer}");
        }
    }
}
