//! Chance, from the operating system.

use std::io;

use ring::rand::{SecureRandom, SystemRandom};

/// Bytes that nobody can guess.
pub(crate) fn seed() -> io::Result<[u64; 2]> {
    let mut words = [0; 2];
    for word in &mut words {
        let mut bytes = [0; 8];
        SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random bytes"))?;
        *word = u64::from_le_bytes(bytes);
    }
    Ok(words)
}
