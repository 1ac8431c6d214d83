//! The routing address: subjects and patterns, in NATS's grammar.
//!
//! A subject is one or more tokens joined by `.`. A token is not empty and holds no `.`, white
//! space or control character. A **subject** names one address, so no whole token is `*` or `>`.
//! A **pattern** may have `*` (exactly one token) anywhere and `>` (one or more tokens) at its end.
//! A token such as `a*` is literal. Source: NATS, "Subject-Based Messaging".

use alloc::string::String;
use core::fmt;

use bytes::Bytes;
use thiserror::Error;

use crate::limits::{SUBJECT_BYTES_MAX, SUBJECT_TOKENS_MAX};

/// A literal address. Cheap to clone; compares and hashes as its text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject(Bytes);

/// A set of addresses: a subject in which `*` and `>` stand for tokens.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Bytes);

/// Why a text is not a subject or pattern. Never worth trying again unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SubjectError {
    /// The text is empty.
    #[error("a subject cannot be empty")]
    Empty,
    /// Two dots in a row, or one at an end.
    #[error("a subject cannot have an empty token (a dot at an end, or two in a row)")]
    EmptyToken,
    /// White space, a control character, or bytes that are not UTF-8.
    #[error("a subject cannot hold white space, control characters or bytes that are not UTF-8")]
    Character,
    /// `*` or `>` as a whole token where one address is needed.
    #[error("'*' and '>' stand for other tokens: they belong in a pattern, not in a subject")]
    Wildcard,
    /// `>` before the last token.
    #[error("'>' can only be the last token of a pattern")]
    TailNotLast,
    /// Over [`SUBJECT_BYTES_MAX`].
    #[error("a subject can have at most {SUBJECT_BYTES_MAX} bytes")]
    TooLong,
    /// Over [`SUBJECT_TOKENS_MAX`].
    #[error("a subject can have at most {SUBJECT_TOKENS_MAX} tokens")]
    TooManyTokens,
}

/// What the grammar found in a text that is well formed.
struct Shape {
    wildcard: bool,
}

fn examine(text: &[u8]) -> Result<Shape, SubjectError> {
    if text.is_empty() {
        return Err(SubjectError::Empty);
    }
    if text.len() > SUBJECT_BYTES_MAX {
        return Err(SubjectError::TooLong);
    }
    let (mut wildcard, mut tail, mut tokens, mut start, mut ascii) = (false, false, 0, 0, true);
    for end in 0..=text.len() {
        let byte = text.get(end).copied().unwrap_or(b'.');
        if byte != b'.' {
            if byte <= b' ' || byte == 0x7f {
                return Err(SubjectError::Character);
            }
            ascii &= byte < 0x80;
            continue;
        }
        if tail {
            return Err(SubjectError::TailNotLast);
        }
        match text.get(start..end) {
            None | Some([]) => return Err(SubjectError::EmptyToken),
            Some(b"*") => wildcard = true,
            Some(b">") => (wildcard, tail) = (true, true),
            Some(_) => {}
        }
        tokens += 1;
        start = end + 1;
    }
    if tokens > SUBJECT_TOKENS_MAX {
        return Err(SubjectError::TooManyTokens);
    }
    if !ascii {
        let text = core::str::from_utf8(text).map_err(|_| SubjectError::Character)?;
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(SubjectError::Character);
        }
    }
    Ok(Shape { wildcard })
}

fn text(bytes: &Bytes) -> &str {
    // Both types hold only what `examine` took for UTF-8; an empty text shows if that ever breaks.
    core::str::from_utf8(bytes).unwrap_or_default()
}

impl Subject {
    /// Takes a subject without copying it.
    ///
    /// # Errors
    /// [`SubjectError`] where the text breaks the grammar or holds a wildcard.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, SubjectError> {
        let bytes = bytes.into();
        if examine(&bytes)?.wildcard {
            return Err(SubjectError::Wildcard);
        }
        Ok(Subject(bytes))
    }

    /// Copies a subject from a text.
    ///
    /// # Errors
    /// As [`Subject::new`].
    pub fn parse(text: &str) -> Result<Self, SubjectError> {
        Subject::new(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        text(&self.0)
    }

    /// The bytes of the text.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The tokens, in order.
    pub fn tokens(&self) -> impl Iterator<Item = &str> + Clone {
        self.as_str().split('.')
    }
}

impl Pattern {
    /// Takes a pattern without copying it.
    ///
    /// # Errors
    /// [`SubjectError`] where the text breaks the grammar.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, SubjectError> {
        let bytes = bytes.into();
        examine(&bytes)?;
        Ok(Pattern(bytes))
    }

    /// Copies a pattern from a text.
    ///
    /// # Errors
    /// As [`Pattern::new`].
    pub fn parse(text: &str) -> Result<Self, SubjectError> {
        Pattern::new(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// The pattern `>`, which matches every subject.
    pub fn all() -> Self {
        Pattern(Bytes::from_static(b">"))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        text(&self.0)
    }

    /// The tokens, in order.
    pub fn tokens(&self) -> impl Iterator<Item = &str> + Clone {
        self.as_str().split('.')
    }

    /// The one subject that this pattern matches, if it has no wildcard.
    pub fn literal(&self) -> Option<Subject> {
        let wild = self.tokens().any(|token| token == "*" || token == ">");
        (!wild).then(|| Subject(self.0.clone()))
    }

    /// Whether the subject is in the set. Costs one pass over both; allocates nothing.
    pub fn matches(&self, subject: &str) -> bool {
        let mut tokens = subject.split('.');
        for wanted in self.tokens() {
            if wanted == ">" {
                return tokens.next().is_some();
            }
            match tokens.next() {
                Some(token) if wanted == "*" || wanted == token => {}
                _ => return false,
            }
        }
        tokens.next().is_none()
    }

    /// Whether some subject is in both sets.
    pub fn overlaps(&self, other: &Pattern) -> bool {
        let (mut ours, mut theirs) = (self.tokens(), other.tokens());
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return true,
                (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
                (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
                _ => return false,
            }
        }
    }

    /// Whether every subject of `other` is in this set.
    pub fn contains(&self, other: &Pattern) -> bool {
        let (mut ours, mut theirs) = (self.tokens(), other.tokens());
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return true,
                (Some(">"), Some(_)) => return true,
                (_, Some(">")) | (None, _) | (_, None) => return false,
                (Some("*"), Some(_)) => {}
                (Some(a), Some(b)) if a == b => {}
                _ => return false,
            }
        }
    }
}

impl From<Subject> for Pattern {
    fn from(subject: Subject) -> Self {
        Pattern(subject.0)
    }
}

macro_rules! shown_as_text {
    ($type:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }
    };
}
shown_as_text!(Subject);
shown_as_text!(Pattern);

/// Makes one token of any text: `.`, `*`, `>`, `%`, white space and control characters are
/// percent-encoded (DESIGN, section 6). An empty text becomes `%`, which no other text does.
pub fn encode_token(text: &str) -> String {
    if text.is_empty() {
        return String::from("%");
    }
    let mut token = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '.' | '*' | '>' | '%') || c.is_whitespace() || c.is_control() {
            let mut buffer = [0; 4];
            for byte in c.encode_utf8(&mut buffer).bytes() {
                token.push('%');
                token.push(char::from(b"0123456789ABCDEF"[usize::from(byte >> 4)]));
                token.push(char::from(b"0123456789ABCDEF"[usize::from(byte & 15)]));
            }
        } else {
            token.push(c);
        }
    }
    token
}

/// The text that [`encode_token`] made the token of; `None` where it made no such token.
pub fn decode_token(token: &str) -> Option<String> {
    if token == "%" {
        return Some(String::new());
    }
    let text = percent_encoding::percent_decode_str(token).decode_utf8().ok()?.into_owned();
    (encode_token(&text) == token).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn the_grammar_of_subjects() {
        for good in ["a", "a.b", "events.com.example.made", "a*.b>", "é.ü", "$JS.API", "a.b*c"] {
            assert!(Subject::parse(good).is_ok(), "{good}");
        }
        for (bad, error) in [
            ("", SubjectError::Empty),
            (".", SubjectError::EmptyToken),
            ("a..b", SubjectError::EmptyToken),
            (".a", SubjectError::EmptyToken),
            ("a.", SubjectError::EmptyToken),
            ("a b", SubjectError::Character),
            ("a\tb", SubjectError::Character),
            ("a\u{a0}b", SubjectError::Character),
            ("a.*", SubjectError::Wildcard),
            ("a.>", SubjectError::Wildcard),
        ] {
            assert_eq!(Subject::parse(bad), Err(error), "{bad:?}");
        }
        assert_eq!(Subject::new(Bytes::from_static(&[0xff, 0xfe])), Err(SubjectError::Character));
        assert_eq!(Subject::parse(&"a".repeat(SUBJECT_BYTES_MAX + 1)), Err(SubjectError::TooLong));
        assert_eq!(Subject::parse(&"a.".repeat(SUBJECT_TOKENS_MAX + 1)[..129]), Err(SubjectError::TooManyTokens));
    }

    #[test]
    fn the_grammar_of_patterns() {
        for good in ["*", ">", "a.*.b", "a.>", "*.>", "a.b"] {
            assert!(Pattern::parse(good).is_ok(), "{good}");
        }
        for bad in ["a.>.b", ">.a", "a..*", "* "] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }

    fn check(pattern: &str, subject: &str, expected: bool) {
        assert_eq!(Pattern::parse(pattern).unwrap().matches(subject), expected, "{pattern} on {subject}");
    }

    #[test]
    fn matching() {
        check("a.b", "a.b", true);
        check("a.b", "a.b.c", false);
        check("a.*", "a.b", true);
        check("a.*", "a", false);
        check("a.*", "a.b.c", false);
        check("a.>", "a.b.c", true);
        check("a.>", "a", false);
        check(">", "a", true);
        check("*.b.*", "a.b.c", true);
        check("a*", "ab", false);
    }

    #[test]
    fn overlap_and_containment() {
        let p = |text| Pattern::parse(text).unwrap();
        for (a, b, overlaps, contains) in [
            ("a.>", "a.*", true, true),
            ("a.*", "a.>", true, false),
            ("a.*.c", "a.b.*", true, false),
            ("a.b", "a.c", false, false),
            ("a.>", "a", false, false),
            (">", "a.>", true, true),
            ("*.*", "a.b", true, true),
            ("*", "a.b", false, false),
        ] {
            assert_eq!(p(a).overlaps(&p(b)), overlaps, "{a} overlaps {b}");
            assert_eq!(p(b).overlaps(&p(a)), overlaps, "{b} overlaps {a}");
            assert_eq!(p(a).contains(&p(b)), contains, "{a} contains {b}");
        }
    }

    fn token() -> impl Strategy<Value = &'static str> {
        prop_oneof![Just("a"), Just("b"), Just("*")]
    }

    fn pattern() -> impl Strategy<Value = Pattern> {
        (proptest::collection::vec(token(), 0..4), any::<bool>()).prop_filter_map("empty", |(mut tokens, tail)| {
            if tail {
                tokens.push(">");
            }
            Pattern::parse(&tokens.join(".")).ok()
        })
    }

    proptest! {
        #[test]
        fn a_token_comes_back(text: String) {
            let token = encode_token(&text);
            prop_assert_eq!(decode_token(&token), Some(text));
            if token.len() <= SUBJECT_BYTES_MAX {
                prop_assert!(Subject::parse(&token).is_ok());
            }
        }

        #[test]
        fn any_bytes_are_judged_without_panic(bytes: Vec<u8>) {
            let _ = Pattern::new(bytes.clone());
            if let Ok(subject) = Subject::new(bytes) {
                prop_assert!(Pattern::parse(&subject.to_string()).unwrap().matches(subject.as_str()));
            }
        }

        #[test]
        fn sets_agree_with_their_members(a in pattern(), b in pattern(), s in "[ab](\\.[ab]){0,4}") {
            if a.matches(&s) && b.matches(&s) {
                prop_assert!(a.overlaps(&b));
            }
            if a.contains(&b) && b.matches(&s) {
                prop_assert!(a.matches(&s));
            }
        }
    }
}
