//! Figures of several rounds: the median, with the least and the greatest beside it.

use std::time::Duration;

use crate::bench::{figure, percentile, spell};

/// One figure of every round.
#[derive(Debug, Default, Clone)]
pub struct Spread(Vec<f64>);

impl Spread {
    /// Takes the figure of a round.
    pub fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Takes a percentile of a round, in seconds.
    pub fn add_percentile(&mut self, times: &mut [Duration], percent: usize) {
        self.add(percentile(times, percent).as_secs_f64());
    }

    /// Median, least, greatest; zeros where there was no round.
    pub fn three(&self) -> [f64; 3] {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = |place: usize| sorted.get(place).copied().unwrap_or_default();
        [at(sorted.len().saturating_sub(1) / 2), at(0), at(sorted.len().saturating_sub(1))]
    }

    /// The median.
    pub fn median(&self) -> f64 {
        self.three()[0]
    }

    /// Prints it; `spelt` writes one value.
    fn print(&self, name: &str, spelt: fn(f64) -> String, asked: Option<(&str, bool)>) {
        let [median, least, greatest] = self.three();
        let value = match self.0.len() {
            0 | 1 => spelt(median),
            _ => format!("{} ({} to {})", spelt(median), spelt(least), spelt(greatest)),
        };
        figure(name, &value, asked);
    }

    /// Prints bytes, held to a most.
    pub fn print_bytes(&self, name: &str, most: Option<f64>) {
        let asked = most.map(|most| (format!("under {:.0} KiB", most / 1024.0), self.median() < most));
        let asked = asked.as_ref().map(|(words, met)| (words.as_str(), *met));
        self.print(name, |bytes| format!("{:.1} KiB", bytes / 1024.0), asked);
    }

    /// Prints how many, held to nothing.
    pub fn print_count(&self, name: &str) {
        self.print(name, |count| format!("{count:.0}"), None);
    }

    /// Prints a share of something, held to a most.
    pub fn print_percent(&self, name: &str, most: Option<f64>) {
        let asked = most.map(|most| (format!("at most {most:.0} %"), self.median() <= most));
        let asked = asked.as_ref().map(|(words, met)| (words.as_str(), *met));
        self.print(name, |percent| format!("{percent:.1} %"), asked);
    }

    /// Prints seconds, held to a most.
    pub fn print_time(&self, name: &str, most: Option<Duration>) {
        let asked = most.map(|most| (format!("under {}", spell(most)), self.median() < most.as_secs_f64()));
        let asked = asked.as_ref().map(|(words, met)| (words.as_str(), *met));
        self.print(name, |seconds| spell(Duration::from_secs_f64(seconds.max(0.0))), asked);
    }

    /// Prints so many in a second, held to a least.
    pub fn print_rate(&self, name: &str, least: Option<f64>) {
        let asked = least.map(|least| (format!("at least {least:.0}/s"), self.median() >= least));
        let asked = asked.as_ref().map(|(words, met)| (words.as_str(), *met));
        self.print(name, |rate| format!("{rate:.0}/s"), asked);
    }

    /// Prints how many times something else it is, held to a most.
    pub fn print_ratio(&self, name: &str, most: f64) {
        let asked = format!("at most {most} times");
        self.print(name, |ratio| format!("{ratio:.2} times"), Some((asked.as_str(), self.median() <= most)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_rounds_is_one_of_them() {
        let check = |values: &[f64], expected: [f64; 3]| assert_eq!(Spread(values.to_vec()).three(), expected);
        check(&[], [0.0; 3]);
        check(&[2.0], [2.0, 2.0, 2.0]);
        check(&[3.0, 1.0, 2.0], [2.0, 1.0, 3.0]);
        check(&[4.0, 1.0], [1.0, 1.0, 4.0]);
    }
}
