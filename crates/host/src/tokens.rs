//! The file of tokens: who may publish and read what.
//!
//! ```yaml
//! tokens:
//!   - name: orders
//!     token_file: /run/secrets/orders   # or token: TEXT, or token_sha256: HEX
//!     publish: [events.orders.>]
//!     read: [events.>]
//!   - name: operator
//!     token_file: operator.token
//!     admin: true
//! ```
//!
//! # Invariants
//! - A token's text lives only while the file is read; what is kept is its hash.
//! - No error, log line or `Debug` output quotes anything of the file but names of fields and of tokens.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use door::{Access, Token, TokenHash};
use event::Pattern;
use serde::Deserialize;
use tracing::warn;

use crate::config::PatternText;
use crate::error::{FileFault, StartError};
use crate::file::{parse, read_text};

/// Shortest token that passes without a warning, in bytes: 128 bits in hexadecimal are 32, a shorter
/// one of 16 may still be random enough.
const TOKEN_BYTES_GOOD: usize = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokensFile {
    tokens: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    token: Option<Secret>,
    token_file: Option<PathBuf>,
    token_sha256: Option<Secret>,
    #[serde(default)]
    publish: Vec<PatternText>,
    #[serde(default)]
    read: Vec<PatternText>,
    #[serde(default)]
    admin: bool,
}

/// A text that is never shown.
#[derive(Deserialize)]
#[serde(transparent)]
struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Reads the file of tokens, and the files that it names.
///
/// # Errors
/// [`StartError`] naming the file and line, or the token by its name.
pub fn read_tokens(path: &Path) -> Result<Access, StartError> {
    let text = read_text(path).map_err(|error| StartError::Unreadable { path: path.to_owned(), error })?;
    warn_if_shared(path);
    let file: TokensFile = parse(&text).map_err(|fault| {
        StartError::File(FileFault {
            path: path.to_owned(),
            line: fault.line,
            column: fault.column,
            reason: fault.reason_without_values,
            text: None,
        })
    })?;
    if file.tokens.is_empty() {
        return Err(refused(path, "it lists no token".into()));
    }
    let mut names = BTreeSet::new();
    let base = path.parent().unwrap_or(Path::new(""));
    let mut tokens = Vec::with_capacity(file.tokens.len());
    for entry in file.tokens {
        if !names.insert(entry.name.clone()) {
            return Err(refused(path, format!("two tokens have the name '{}'", entry.name)));
        }
        tokens.push(token(path, base, entry)?);
    }
    Ok(Access::tokens(tokens))
}

fn token(path: &Path, base: &Path, entry: Entry) -> Result<Token, StartError> {
    let hash = match (entry.token, entry.token_file, entry.token_sha256) {
        (Some(Secret(text)), None, None) => hash_of(path, &entry.name, &text)?,
        (None, Some(file), None) => {
            let file = base.join(file);
            let text = read_text(&file).map_err(|error| StartError::Unreadable { path: file.clone(), error })?;
            warn_if_shared(&file);
            hash_of(path, &entry.name, text.trim())?
        }
        (None, None, Some(Secret(hex))) => TokenHash::from_hex(&hex).ok_or_else(|| {
            refused(path, format!("the token_sha256 of '{}' must be 64 hexadecimal digits", entry.name))
        })?,
        _ => {
            let reason = format!("'{}' needs one of token, token_file and token_sha256", entry.name);
            return Err(refused(path, reason));
        }
    };
    // Who administers everything may read and publish everything, where nothing narrower is said.
    let patterns = |given: Vec<PatternText>| -> Vec<Pattern> {
        let given: Vec<Pattern> = given.into_iter().map(|pattern| pattern.0).collect();
        if given.is_empty() && entry.admin { vec![Pattern::all()] } else { given }
    };
    Ok(Token {
        publish: patterns(entry.publish),
        read: patterns(entry.read),
        name: entry.name,
        hash,
        admin: entry.admin,
    })
}

fn hash_of(path: &Path, name: &str, text: &str) -> Result<TokenHash, StartError> {
    if text.is_empty() {
        return Err(refused(path, format!("the token of '{name}' is empty")));
    }
    if text.len() < TOKEN_BYTES_GOOD {
        warn!(token = name, "this token is short enough to be guessed; use at least {TOKEN_BYTES_GOOD} random bytes");
    }
    Ok(TokenHash::of(text))
}

fn refused(path: &Path, reason: String) -> StartError {
    StartError::File(FileFault { path: path.to_owned(), line: 0, column: 0, reason, text: None })
}

#[cfg(unix)]
fn warn_if_shared(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let shared = std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0);
    if shared {
        warn!(file = %path.display(), "every user of this machine can read these tokens; chmod o-r the file");
    }
}

#[cfg(not(unix))]
fn warn_if_shared(_path: &Path) {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Access, StartError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.yaml");
        std::fs::write(&path, text).unwrap();
        std::fs::write(dir.path().join("b.token"), "s3cret-of-b-long-enough\n").unwrap();
        read_tokens(&path)
    }

    #[track_caller]
    fn check_refused(text: &str, part: &str) {
        let error = read(text).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(part), "{shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn tokens_come_as_text_as_a_file_or_as_a_hash() {
        let access = read(concat!(
            "tokens:\n",
            "  - {name: a, token: s3cret-of-a-long-enough, publish: [a.>]}\n",
            "  - {name: b, token_file: b.token, admin: true}\n",
            "  - {name: c, token_sha256: 7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed}\n",
        ))
        .unwrap();
        let a = access.authenticate(Some("s3cret-of-a-long-enough")).unwrap();
        assert!(a.may_publish("a.b") && !a.may_publish("b") && !a.may_read("a.b") && !a.is_admin());
        let b = access.authenticate(Some("s3cret-of-b-long-enough")).unwrap();
        assert!(b.is_admin() && b.may_read("x") && b.may_publish("x"));
        assert_eq!(&**access.authenticate(Some("one")).unwrap().name(), "c");
    }

    #[test]
    fn what_is_wrong_is_named_and_no_secret_is_quoted() {
        check_refused("tokens:\n  - {name: a, secret: s3cret}\n", "there is no field 'secret'");
        check_refused("tokens:\n  - {name: a, secret: s3cret}\n", "tokens.yaml:2");
        check_refused("tokens: [s3cret]\n", "tokens.yaml:1");
        check_refused("s3cret", "tokens.yaml");
        check_refused("tokens: []\n", "no token");
        check_refused("tokens:\n  - {name: a}\n", "'a' needs one of");
        check_refused("tokens:\n  - {name: a, token: s3cret, token_file: b.token}\n", "'a' needs one of");
        check_refused("tokens:\n  - {name: a, token: ''}\n", "empty");
        check_refused("tokens:\n  - {name: a, token_sha256: s3cret}\n", "64 hexadecimal digits");
        check_refused("tokens:\n  - {name: a, token: s3cret1}\n  - {name: a, token: s3cret2}\n", "two tokens");
        check_refused("tokens:\n  - {name: a, token: s3cret, read: [a..b]}\n", "tokens.yaml:2");
    }
}
