//! What a command shows: lines, tables for people, JSON for machines.
//!
//! Everything goes through one buffered [`Out`], so that a reader which goes away ends the command
//! quietly, and so that text from strangers cannot move the terminal's cursor. Colour only where
//! standard output is a terminal and `NO_COLOR` is not set.

use std::io::{BufWriter, IsTerminal, Stdout, Write};

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table, presets};

use super::failure::Failure;

/// How a command shows what it found.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Show {
    /// JSON for machines, in place of text for people
    #[arg(long)]
    pub json: bool,
}

/// Standard output.
pub struct Out {
    to: BufWriter<Stdout>,
    coloured: bool,
}

/// A colour of the terminal.
#[derive(Debug, Clone, Copy)]
pub enum Colour {
    /// What stands back: times, positions.
    Faint,
    /// What names.
    Bold,
    /// What is fine.
    Green,
    /// What wants a look.
    Yellow,
}

impl Out {
    /// Standard output, plain where it is not a terminal.
    pub fn new() -> Self {
        let stdout = std::io::stdout();
        let coloured = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Out { to: BufWriter::new(stdout), coloured }
    }

    /// Writes a line.
    pub fn line(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        self.bytes(text.as_ref().as_bytes())?;
        self.bytes(b"\n")
    }

    /// Writes bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.to.write_all(bytes).map_err(Failure::output)
    }

    /// Writes a JSON document as the node sent it, on lines of its own.
    pub fn document(&mut self, json: &[u8]) -> Result<(), Failure> {
        self.bytes(json.trim_ascii_end())?;
        self.bytes(b"\n")
    }

    /// Lets the reader see what was written so far.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.to.flush().map_err(Failure::output)
    }

    /// The text in a colour, where colours are shown.
    pub fn paint(&self, colour: Colour, text: &str) -> String {
        if !self.coloured {
            return text.to_owned();
        }
        let code = match colour {
            Colour::Faint => "2",
            Colour::Bold => "1",
            Colour::Green => "32",
            Colour::Yellow => "33",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Writes a table. `right` names the columns of numbers.
    pub fn table(&mut self, header: &[&str], right: &[usize], rows: Vec<Vec<String>>) -> Result<(), Failure> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).force_no_tty();
        if self.coloured {
            table.enforce_styling();
            if let Some(width) = terminal_width() {
                table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
            }
        }
        let bold = |name: &&str| Cell::new(*name).add_attribute(Attribute::Bold);
        table.set_header(header.iter().map(bold).collect::<Vec<_>>());
        table.add_rows(rows);
        for index in right {
            if let Some(column) = table.column_mut(*index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        if let Some(column) = table.column_mut(0) {
            column.set_padding((0, 1));
        }
        for line in table.lines() {
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    /// Writes names and values, one pair a line; empty values are left out.
    pub fn fields(&mut self, fields: &[(&str, String)]) -> Result<(), Failure> {
        let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
            let name = self.paint(Colour::Faint, &format!("{name:width$}"));
            self.line(format!("{name}  {value}"))?;
        }
        Ok(())
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        // A command that ended well has flushed; what is left of another one is not worth a failure.
        let _ = self.to.flush();
    }
}

fn terminal_width() -> Option<u16> {
    Table::new().width()
}

/// A text that a stranger wrote, fit for a terminal: control characters are shown, not obeyed.
pub fn safe(text: &str) -> String {
    let direction = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if c.is_control() || direction(c) { '\u{fffd}' } else { c }).collect()
}

/// A text on one line, cut at `chars` characters.
pub fn preview(text: &str, chars: usize) -> String {
    let flat: String = text.chars().take(chars + 1).map(|c| if c.is_whitespace() { ' ' } else { c }).collect();
    match flat.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", safe(&flat[..end])),
        None => safe(&flat),
    }
}

/// A time of the node as people read it, in UTC: `2026-01-31 12:00:00.250`.
pub fn date(time: &str) -> String {
    let Some((day, clock)) = time.trim_end_matches('Z').split_once('T') else { return safe(time) };
    let clock = match clock.split_once('.') {
        Some((clock, fraction)) => format!("{clock}.{}", fraction.chars().take(3).collect::<String>()),
        None => clock.to_owned(),
    };
    format!("{} {}", safe(day), safe(&clock))
}

/// A number with its thousands apart.
pub fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes as people read it.
pub fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_cannot_move_the_cursor() {
        assert_eq!(safe("a\x1b[2Jb\u{202e}c"), "a\u{fffd}[2Jb\u{fffd}c");
        assert_eq!(preview("one\ntwo three", 7), "one two…");
        assert_eq!(preview("é\tü", 7), "é ü");
    }

    #[test]
    fn figures_are_readable() {
        assert_eq!(number(1_234_567), "1,234,567");
        assert_eq!(number(999), "999");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(12), "12 B");
        assert_eq!(date("2026-01-31T12:00:00.123456Z"), "2026-01-31 12:00:00.123");
        assert_eq!(date("2026-01-31T12:00:00Z"), "2026-01-31 12:00:00");
    }
}
