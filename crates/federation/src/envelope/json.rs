//! JSON as Go's decoder reads it and its encoder writes it.
//!
//! Not a JSON library: it reads the few shapes that an envelope has, and passes over the rest after
//! judging its grammar. It never recurses, so nesting costs no stack. Sources: RFC 8259; the package
//! `encoding/json` of Go, for what it takes beyond it.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use crate::limits::DEPTH_MAX;

/// Reads values from a text. Every method is `None` where the text is not what was asked for; what was
/// read until then is not to be used.
pub struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader of a whole text.
    pub fn new(text: &'a [u8]) -> Self {
        Reader { text, at: 0 }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// The next byte that is not white space, which stays.
    fn token(&mut self) -> Option<u8> {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
        self.peek()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.token()? == byte).then(|| self.at += 1)
    }

    fn word(&mut self, word: &str) -> bool {
        self.token();
        let found = self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word.as_bytes()));
        if found {
            self.at += word.len();
        }
        found
    }

    /// Takes a `null`, if that is next.
    pub fn null(&mut self) -> bool {
        self.word("null")
    }

    /// A boolean.
    pub fn boolean(&mut self) -> Option<bool> {
        if self.word("true") {
            return Some(true);
        }
        self.word("false").then_some(false)
    }

    /// Nothing but white space.
    pub fn end(&mut self) -> Option<()> {
        self.token().is_none().then_some(())
    }

    /// An object: `member` is called with each name, and takes the value.
    pub fn object(&mut self, mut member: impl FnMut(&str, &mut Self) -> Option<()>) -> Option<()> {
        self.take(b'{')?;
        if self.take(b'}').is_some() {
            return Some(());
        }
        loop {
            let name = self.string()?;
            self.take(b':')?;
            member(&name, self)?;
            if self.take(b'}').is_some() {
                return Some(());
            }
            self.take(b',')?;
        }
    }

    /// A string. What is not UTF-8, and a surrogate without its other half, become U+FFFD.
    pub fn string(&mut self) -> Option<String> {
        self.take(b'"')?;
        let mut out = String::new();
        loop {
            let rest = self.text.get(self.at..)?;
            let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
            push_lossy(&mut out, rest.get(..plain)?);
            self.at += plain + 1;
            match rest.get(plain)? {
                b'"' => return Some(out),
                b'\\' => self.escape(&mut out)?,
                _ => return None,
            }
        }
    }

    fn escape(&mut self, out: &mut String) -> Option<()> {
        let byte = self.peek()?;
        self.at += 1;
        out.push(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => self.unicode()?,
            _ => return None,
        });
        Some(())
    }

    fn unicode(&mut self) -> Option<char> {
        let first = self.hex()?;
        if let Some(c) = char::from_u32(first) {
            return Some(c);
        }
        // A high half and a low half are one character; anything else is passed over as U+FFFD alone.
        let behind = self.at;
        if (0xd800..0xdc00).contains(&first) && self.text.get(behind..behind + 2) == Some(b"\\u") {
            self.at += 2;
            let second = self.hex()?;
            if (0xdc00..0xe000).contains(&second) {
                return char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00));
            }
            self.at = behind;
        }
        Some(char::REPLACEMENT_CHARACTER)
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        digits.iter().try_fold(0, |so_far, digit| Some(so_far * 16 + char::from(*digit).to_digit(16)?))
    }

    /// Any value.
    pub fn pass_over(&mut self) -> Option<()> {
        // What is open: true for an object, false for an array.
        let mut open: Vec<bool> = Vec::new();
        loop {
            match self.token()? {
                opening @ (b'{' | b'[') => {
                    self.at += 1;
                    open.push(opening == b'{');
                    if open.len() >= DEPTH_MAX {
                        return None;
                    }
                    if self.token()? != (if opening == b'{' { b'}' } else { b']' }) {
                        self.name_of(&open)?;
                        continue;
                    }
                }
                b'"' => drop(self.string()?),
                b'-' | b'0'..=b'9' => self.number()?,
                _ => (self.null() || self.boolean().is_some()).then_some(())?,
            }
            if !self.behind_value(&mut open)? {
                return Some(());
            }
        }
    }

    /// Behind a value: closes what ends, and goes to the next value; false where none is awaited.
    fn behind_value(&mut self, open: &mut Vec<bool>) -> Option<bool> {
        while let Some(object) = open.last() {
            if self.take(if *object { b'}' } else { b']' }).is_some() {
                open.pop();
                continue;
            }
            self.take(b',')?;
            self.name_of(open)?;
            return Some(true);
        }
        Some(false)
    }

    /// In an object, the name before the next value.
    fn name_of(&mut self, open: &[bool]) -> Option<()> {
        if open.last() == Some(&true) {
            self.string()?;
            self.take(b':')?;
        }
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        let digits = |reader: &mut Self| {
            let from = reader.at;
            while reader.peek().is_some_and(|byte| byte.is_ascii_digit()) {
                reader.at += 1;
            }
            (reader.at > from).then_some(())
        };
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            digits(self)?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            digits(self)?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            digits(self)?;
        }
        Some(())
    }
}

/// Appends bytes; each that is not part of UTF-8 as one U+FFFD, as Go counts them.
fn push_lossy(out: &mut String, mut bytes: &[u8]) {
    loop {
        match core::str::from_utf8(bytes) {
            Ok(text) => return out.push_str(text),
            Err(error) => {
                let (good, rest) = bytes.split_at_checked(error.valid_up_to()).unwrap_or((bytes, &[]));
                out.push_str(core::str::from_utf8(good).unwrap_or_default());
                out.push(char::REPLACEMENT_CHARACTER);
                bytes = rest.get(1..).unwrap_or_default();
            }
        }
    }
}

/// Whether a name found is a field's: equal when case is folded, as Go folds it.
pub fn same_name(field: &str, found: &str) -> bool {
    let fold = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    field.chars().map(fold).eq(found.chars().map(fold))
}

/// Writes a string as Go does, which also spares HTML: `<`, `>`, `&`, U+2028 and U+2029.
pub fn write(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\x1f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                // Writing to a String does not fail.
                let _infallible = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
