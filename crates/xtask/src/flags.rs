//! Flags of a command: `--name` or `--name value`, each taken once and none left over.

/// Flags that stand alone.
const ALONE: &[&str] = &["json", "long", "markdown", "noisy", "quick", "release"];

/// The flags that were given and not yet taken.
#[derive(Debug, Default)]
pub struct Flags(Vec<(String, Option<String>)>);

impl Flags {
    /// Reads the words behind a command.
    pub fn parse(words: &[String]) -> Result<Self, String> {
        let (mut flags, mut words) = (Vec::new(), words.iter());
        while let Some(word) = words.next() {
            let Some(name) = word.strip_prefix("--") else {
                flags.push((String::new(), Some(word.clone())));
                continue;
            };
            let value = match name.split_once('=') {
                Some((name, value)) => (name.to_string(), Some(value.to_string())),
                None if ALONE.contains(&name) => (name.to_string(), None),
                None => (name.to_string(), Some(words.next().ok_or(format!("--{name} needs a value"))?.clone())),
            };
            flags.push(value);
        }
        Ok(Flags(flags))
    }

    /// Takes a flag that stands alone.
    pub fn has(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|(known, _)| known != name);
        self.0.len() < before
    }

    /// Takes all values of a flag; with the empty name, the words that are no flags.
    pub fn all(&mut self, name: &str) -> Vec<String> {
        let found = self.0.iter().filter(|(known, _)| known == name).filter_map(|(_, value)| value.clone()).collect();
        self.has(name);
        found
    }

    /// Takes a number.
    pub fn number(&mut self, name: &str) -> Result<Option<u64>, String> {
        let last = self.all(name).pop();
        last.map(|value| value.parse().map_err(|_| format!("--{name} {value} is not a number"))).transpose()
    }

    /// Refuses what nobody took.
    pub fn nothing_left(&self) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some((name, Some(word))) if name.is_empty() => Err(format!("nothing is to stand there: '{word}'")),
            Some((name, _)) => Err(format!("there is no flag --{name} here")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Flags, String> {
        Flags::parse(&line.split_whitespace().map(str::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn flags_are_taken_once_and_none_is_left_over() {
        let mut flags = parse("journal --long --only a --only=b --seed 7").unwrap();
        assert!(flags.has("long") && !flags.has("long"));
        assert_eq!(flags.all("only"), ["a", "b"]);
        assert_eq!(flags.number("seed"), Ok(Some(7)));
        assert!(flags.nothing_left().unwrap_err().contains("'journal'"));
        assert_eq!(flags.all(""), ["journal"]);
        assert_eq!(flags.nothing_left(), Ok(()));
    }

    #[test]
    fn a_flag_without_its_value_or_with_a_wrong_one_is_refused() {
        assert!(parse("--seed").unwrap_err().contains("needs a value"));
        assert!(parse("--seed x").unwrap().number("seed").unwrap_err().contains("not a number"));
        assert!(parse("--what x").unwrap().nothing_left().unwrap_err().contains("--what"));
    }
}
