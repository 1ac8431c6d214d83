//! A link that can be cut: a TCP proxy on the loopback.
//!
//! Cut *silent*, it holds every byte and every new connection and says nothing, as a network that drops
//! packets does; what it holds goes on when it heals. Cut *closed*, it closes what is open and what comes.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Bytes that are passed on at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// How the link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything passes.
    Whole,
    /// Nothing passes, and nothing is said.
    Silent,
    /// Connections are closed.
    Closed,
    /// For good.
    Over,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    /// Both ends of each connection; some may be closed.
    open: Vec<TcpStream>,
}

#[derive(Debug)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the link is silent; whether it is whole then.
    fn pass(&self) -> bool {
        let mut state = self.state();
        while state.mode == Mode::Silent {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.mode == Mode::Whole
    }
}

/// A link.
pub struct Link {
    address: SocketAddr,
    gate: Arc<Gate>,
}

impl Link {
    /// A whole link to an address.
    pub fn to(target: SocketAddr) -> Result<Link, String> {
        let failed = |error: std::io::Error| format!("the link cannot listen: {error}");
        let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let state = Mutex::new(State { mode: Mode::Whole, open: Vec::new() });
        let gate = Arc::new(Gate { state, changed: Condvar::new() });
        let shared = Arc::clone(&gate);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if shared.state().mode == Mode::Over {
                    return;
                }
                let gate = Arc::clone(&shared);
                thread::spawn(move || join(&gate, near, target));
            }
        });
        Ok(Link { address, gate })
    }

    /// Where its near end listens.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Cuts or heals it.
    pub fn set(&self, mode: Mode) {
        let mut state = self.gate.state();
        state.mode = mode;
        if matches!(mode, Mode::Closed | Mode::Over) {
            for stream in state.open.drain(..) {
                let _closed = stream.shutdown(Shutdown::Both);
            }
        }
        self.gate.changed.notify_all();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.set(Mode::Over);
        // Wakes the listener, which then ends.
        let _woken = TcpStream::connect(self.address);
    }
}

/// Passes bytes on in both directions until one end closes.
fn join(gate: &Arc<Gate>, near: TcpStream, target: SocketAddr) {
    if !gate.pass() {
        return;
    }
    let Ok(far) = TcpStream::connect(target) else { return };
    let Ok([near_read, far_write, near_kept, far_kept]) = ends(&near, &far) else { return };
    {
        let mut state = gate.state();
        state.open.retain(|stream| stream.peer_addr().is_ok());
        state.open.extend([near_kept, far_kept]);
    }
    let there = Arc::clone(gate);
    thread::spawn(move || pass_on(&there, near_read, far_write));
    pass_on(gate, far, near);
}

/// More hands on both ends: one that reads, one that writes, and two that close.
fn ends(near: &TcpStream, far: &TcpStream) -> std::io::Result<[TcpStream; 4]> {
    Ok([near.try_clone()?, far.try_clone()?, near.try_clone()?, far.try_clone()?])
}

fn pass_on(gate: &Gate, mut from: TcpStream, mut to: TcpStream) {
    let _slower = to.set_nodelay(true);
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(bytes) = from.read(&mut chunk) {
        if !gate.pass() || bytes == 0 || to.write_all(&chunk[..bytes]).is_err() {
            break;
        }
    }
    let _closed = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes back of `sent` through a link to who says everything back.
    fn echo() -> (Link, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let link = Link::to(listener.local_addr().unwrap()).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
            }
        });
        let near = TcpStream::connect(link.address).unwrap();
        (link, near)
    }

    fn said(near: &mut TcpStream, sent: &[u8]) -> Vec<u8> {
        near.write_all(sent).unwrap();
        let mut back = vec![0; sent.len()];
        near.read_exact(&mut back).unwrap();
        back
    }

    #[test]
    fn a_silent_cut_holds_what_is_said_until_it_heals() {
        let (link, mut near) = echo();
        assert_eq!(said(&mut near, b"one"), b"one");
        link.set(Mode::Silent);
        near.write_all(b"two").unwrap();
        near.set_read_timeout(Some(std::time::Duration::from_millis(50))).unwrap();
        assert!(near.read(&mut [0; 3]).is_err(), "nothing passes");
        near.set_read_timeout(None).unwrap();
        link.set(Mode::Whole);
        let mut back = [0; 3];
        near.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"two");
    }

    #[test]
    fn a_closed_cut_closes_what_is_open_and_what_comes() {
        let (link, mut near) = echo();
        assert_eq!(said(&mut near, b"one"), b"one");
        link.set(Mode::Closed);
        assert_eq!(near.read(&mut [0; 3]).unwrap_or(0), 0);
        let mut again = TcpStream::connect(link.address).unwrap();
        assert_eq!(again.read(&mut [0; 3]).unwrap_or(0), 0);
        link.set(Mode::Whole);
        let mut healed = TcpStream::connect(link.address).unwrap();
        assert_eq!(said(&mut healed, b"three"), b"three");
    }
}
