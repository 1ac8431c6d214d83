//! What was measured beside what is asked: as a table, as JSON, as Markdown.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use super::Values;
use super::server::Kind;

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// So many in a second.
    Rate,
    /// Nanoseconds.
    Nanos,
    /// Bytes.
    Bytes,
    /// Of a hundred.
    Percent,
}

/// What our figure is held to.
#[derive(Debug, Clone, Copy)]
pub enum Asked {
    /// A value.
    AtLeast(f64),
    /// A value.
    AtMost(f64),
    /// So many times what the other has, or more.
    Times(Kind, f64),
    /// What the other has.
    NotAbove(Kind),
}

/// A figure of a row.
#[derive(Debug)]
pub struct Figure {
    /// Its name among the values of a run, and in JSON.
    pub key: &'static str,
    /// Its name for people.
    pub name: &'static str,
    /// Its unit.
    pub unit: Unit,
    /// What it is held to; nothing where it is only told.
    pub asked: &'static [Asked],
}

/// What a row came to.
#[derive(Debug)]
pub struct Verdict {
    name: &'static str,
    title: &'static str,
    figures: &'static [Figure],
    values: BTreeMap<(Kind, &'static str), Vec<f64>>,
    /// Which server failed, and how.
    pub failures: Vec<(Kind, String)>,
}

impl Verdict {
    /// Nothing yet.
    pub fn new(name: &'static str, title: &'static str, figures: &'static [Figure]) -> Verdict {
        Verdict { name, title, figures, values: BTreeMap::new(), failures: Vec::new() }
    }

    /// Takes what one run measured. One that failed takes the values of the server's other runs with it.
    pub fn add(&mut self, kind: Kind, result: Result<Values, String>) {
        match result {
            Ok(values) => {
                for (key, value) in values {
                    self.values.entry((kind, key)).or_default().push(value);
                }
            }
            Err(reason) => {
                self.values.retain(|(known, _), _| *known != kind);
                self.failures.push((kind, reason));
            }
        }
    }

    /// Median, least and greatest.
    fn spread(&self, kind: Kind, key: &'static str) -> Option<(f64, f64, f64)> {
        let mut values = self.values.get(&(kind, key))?.clone();
        values.sort_unstable_by(f64::total_cmp);
        Some((*values.get((values.len() - 1) / 2)?, *values.first()?, *values.last()?))
    }

    fn median(&self, kind: Kind, key: &'static str) -> Option<f64> {
        self.spread(kind, key).map(|(median, _, _)| median)
    }

    /// Whether one thing that is asked is met; nothing where it cannot be told.
    fn met(&self, figure: &Figure, asked: Asked) -> Option<bool> {
        let ours = self.median(Kind::Ours, figure.key)?;
        Some(match asked {
            Asked::AtLeast(bound) => ours >= bound,
            Asked::AtMost(bound) => ours <= bound,
            Asked::Times(kind, times) => ours >= times * self.median(kind, figure.key)?,
            Asked::NotAbove(kind) => ours <= self.median(kind, figure.key)?,
        })
    }

    fn asked(figure: &Figure) -> String {
        let one = |asked: &Asked| match asked {
            Asked::AtLeast(bound) => format!("at least {}", spell(figure.unit, *bound)),
            Asked::AtMost(bound) => format!("at most {}", spell(figure.unit, *bound)),
            Asked::Times(kind, 1.0) => format!("level with {}", kind.name()),
            Asked::Times(kind, times) => format!("{times} times {}", kind.name()),
            Asked::NotAbove(kind) => format!("not above {}", kind.name()),
        };
        figure.asked.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    fn judged(&self, figure: &Figure) -> String {
        let word = |asked: &Asked| match self.met(figure, *asked) {
            None => "?",
            Some(true) => "met",
            Some(false) => "MISSED",
        };
        figure.asked.iter().map(word).collect::<Vec<_>>().join("; ")
    }

    fn cell(&self, kind: Kind, figure: &Figure) -> String {
        let Some((median, least, greatest)) = self.spread(kind, figure.key) else {
            let failed = self.failures.iter().any(|(known, _)| *known == kind);
            return if failed { "FAILED".to_string() } else { String::new() };
        };
        if least == greatest {
            return spell(figure.unit, median);
        }
        let (least, greatest) = (spell(figure.unit, least), spell(figure.unit, greatest));
        format!("{} ({least} to {greatest})", spell(figure.unit, median))
    }
}

/// All of a run.
#[derive(Debug)]
pub struct Report {
    /// What the figures depend on, by name.
    pub machine: Vec<(&'static str, String)>,
    /// Whether the machine was busy at the start.
    pub busy: bool,
    /// How often each row ran.
    pub rounds: u64,
    /// The rows.
    pub verdicts: Vec<Verdict>,
    /// What the machine itself allows.
    pub limits: Vec<(&'static str, String)>,
}

const KINDS: [Kind; 3] = [Kind::Ours, Kind::Nats, Kind::NatsSynced];
const NOT_VALID: &str = "NOT VALID: the machine was busy when this began; run it again on a quiet one";

impl Report {
    /// For a terminal.
    pub fn table(&self) -> String {
        let mut out = String::new();
        for (name, value) in &self.machine {
            let _always = writeln!(out, "{name:<9} {value}");
        }
        let _always = writeln!(out, "\nmedians of {} (least to greatest)", self.rounds);
        let heads = KINDS.map(Kind::name);
        let _always = writeln!(out, "  {:<30} {:<34} {:<34} {:<30} held to", "", heads[0], heads[1], heads[2]);
        for verdict in &self.verdicts {
            let _always = writeln!(out, "\n{}: {}", verdict.name, verdict.title);
            for figure in verdict.figures {
                let [ours, nats, synced] = KINDS.map(|kind| verdict.cell(kind, figure));
                let (asked, judged) = (Verdict::asked(figure), verdict.judged(figure));
                let _always =
                    writeln!(out, "  {:<30} {ours:<34} {nats:<34} {synced:<30} {asked} {judged}", figure.name);
            }
            for (kind, reason) in &verdict.failures {
                let _always = writeln!(out, "  FAILED with {}: {reason}", kind.name());
            }
        }
        if !self.limits.is_empty() {
            let _always = writeln!(out, "\nwhat the machine allows");
        }
        for (name, value) in &self.limits {
            let _always = writeln!(out, "  {name:<62} {value}");
        }
        if self.busy {
            let _always = writeln!(out, "\n{NOT_VALID}");
        }
        out
    }

    /// For `docs/benchmarks.md`.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        if self.busy {
            let _always = writeln!(out, "{NOT_VALID}\n");
        }
        for (name, value) in &self.machine {
            let _always = writeln!(out, "- {name}: {value}");
        }
        let heads = "| load | figure | tidings | nats-server | the same, synced | held to | |";
        let _always = writeln!(
            out,
            "\nMedians of {} (least to greatest).\n\n{heads}\n|---|---|---|---|---|---|---|",
            self.rounds
        );
        for verdict in &self.verdicts {
            for (place, figure) in verdict.figures.iter().enumerate() {
                let [ours, nats, synced] = KINDS.map(|kind| verdict.cell(kind, figure));
                let (asked, judged) = (Verdict::asked(figure), verdict.judged(figure).replace("MISSED", "**missed**"));
                let title = if place == 0 { verdict.title } else { "" };
                let _always =
                    writeln!(out, "| {title} | {} | {ours} | {nats} | {synced} | {asked} | {judged} |", figure.name);
            }
        }
        if !self.limits.is_empty() {
            let _always = writeln!(out, "\n| what the machine allows | |\n|---|---|");
        }
        for (name, value) in &self.limits {
            let _always = writeln!(out, "| {name} | {value} |");
        }
        out
    }

    /// For programs: nanoseconds, bytes, counts in a second, percent.
    pub fn json(&self) -> Value {
        let one = |verdict: &Verdict| {
            let figures: Vec<Value> = verdict.figures.iter().map(|figure| figure_json(verdict, figure)).collect();
            let failures: Vec<Value> = verdict
                .failures
                .iter()
                .map(|(kind, reason)| json!({"server": kind.name(), "reason": reason}))
                .collect();
            json!({"name": verdict.name, "title": verdict.title, "figures": figures, "failures": failures})
        };
        let rows: Vec<Value> = self.verdicts.iter().map(one).collect();
        let pairs = |pairs: &[(&str, String)]| -> Value {
            pairs.iter().map(|(name, value)| ((*name).to_string(), Value::from(value.as_str()))).collect()
        };
        json!({"machine": pairs(&self.machine), "valid": !self.busy, "rounds": self.rounds, "rows": rows,
            "limits": pairs(&self.limits)})
    }
}

fn figure_json(verdict: &Verdict, figure: &Figure) -> Value {
    let mut servers = serde_json::Map::new();
    for kind in KINDS {
        if let Some((median, least, greatest)) = verdict.spread(kind, figure.key) {
            let values = json!({"median": median, "least": least, "greatest": greatest});
            servers.insert(kind.name().to_string(), values);
        }
    }
    let met: Vec<Option<bool>> = figure.asked.iter().map(|asked| verdict.met(figure, *asked)).collect();
    json!({"key": figure.key, "name": figure.name, "unit": format!("{:?}", figure.unit).to_lowercase(),
        "servers": servers, "asked": Verdict::asked(figure), "met": met})
}

/// All values of one run, for a line of progress.
pub fn spell_all(figures: &[Figure], values: &Values) -> String {
    let one = |(key, value): &(&str, f64)| {
        let unit = figures.iter().find(|figure| figure.key == *key).map(|figure| figure.unit)?;
        Some(format!("{key} {}", spell(unit, *value)))
    };
    values.iter().filter_map(one).collect::<Vec<_>>().join(", ")
}

/// A value for people, three digits of it.
pub fn spell(unit: Unit, value: f64) -> String {
    let steps: &[(f64, &str)] = match unit {
        Unit::Rate => &[(1e6, " M/s"), (1e3, " k/s"), (1.0, "/s")],
        Unit::Nanos => &[(1e9, " s"), (1e6, " ms"), (1e3, " µs"), (1.0, " ns")],
        Unit::Bytes => &[(1_048_576.0, " MiB"), (1024.0, " KiB"), (1.0, " B")],
        Unit::Percent => &[(1.0, " %")],
    };
    let (step, name) = steps.iter().find(|(step, _)| value >= *step).or(steps.last()).copied().unwrap_or((1.0, ""));
    let scaled = value / step;
    let digits = if scaled.fract() == 0.0 || scaled >= 100.0 { 0 } else { usize::from(scaled < 10.0) + 1 };
    format!("{scaled:.digits$}{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIGURES: &[Figure] = &[Figure {
        key: "rate",
        name: "messages",
        unit: Unit::Rate,
        asked: &[Asked::AtLeast(100.0), Asked::Times(Kind::Nats, 1.5)],
    }];

    #[test]
    fn a_median_is_held_to_what_is_asked_of_it_and_a_failure_hides_the_figures() {
        let mut verdict = Verdict::new("row", "a row", FIGURES);
        for (kind, value) in [(Kind::Ours, 90.0), (Kind::Ours, 200.0), (Kind::Ours, 140.0), (Kind::Nats, 100.0)] {
            verdict.add(kind, Ok(vec![("rate", value)]));
        }
        assert_eq!(verdict.cell(Kind::Ours, &FIGURES[0]), "140/s (90/s to 200/s)");
        assert_eq!(verdict.judged(&FIGURES[0]), "met; MISSED");
        verdict.add(Kind::Nats, Err("lost one".to_string()));
        assert_eq!(verdict.cell(Kind::Nats, &FIGURES[0]), "FAILED");
        assert_eq!(verdict.judged(&FIGURES[0]), "met; ?");
    }

    #[test]
    fn values_are_spelt_with_three_digits() {
        for (unit, value, expected) in [
            (Unit::Rate, 2_412_345.0, "2.41 M/s"),
            (Unit::Rate, 287_400.0, "287 k/s"),
            (Unit::Nanos, 265.0, "265 ns"),
            (Unit::Nanos, 3_840.0, "3.84 µs"),
            (Unit::Bytes, 14.5 * 1_048_576.0, "14.5 MiB"),
            (Unit::Percent, 0.0, "0 %"),
        ] {
            assert_eq!(spell(unit, value), expected);
        }
    }
}
