//! A tree of names: what there is now, and what would survive.
//!
//! Each directory has the names that are seen (**live**) and the **durable** ones; each change
//! waits in order until its directory is synced. A crash keeps any set of waiting changes in which
//! no change is kept without the earlier ones to the same name or the same file.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::content::{Content, Fate};
use crate::chance::Chance;

/// A file's or directory's number. Never used twice.
pub type Number = u64;

const ROOT: Number = 1;

/// What a number stands for.
#[derive(Debug)]
pub enum Node {
    /// A file.
    File(Content),
    /// A directory.
    Dir(Names),
}

/// The names in one directory.
#[derive(Debug, Default)]
pub struct Names {
    live: BTreeMap<String, Number>,
    durable: BTreeMap<String, Number>,
}

/// Names that change together: directory, name, and what it stands for from then on.
type Change = Vec<(Number, String, Option<Number>)>;

/// The tree.
#[derive(Debug)]
pub struct Tree {
    nodes: BTreeMap<Number, Node>,
    waiting: Vec<Change>,
    numbers: Number,
}

fn not_found(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("simulated disk: '{path}' is not there"))
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".")
}

impl Tree {
    /// An empty root.
    pub fn new() -> Self {
        Tree { nodes: BTreeMap::from([(ROOT, Node::Dir(Names::default()))]), waiting: Vec::new(), numbers: ROOT }
    }

    fn names(&self, dir: Number) -> Option<&Names> {
        match self.nodes.get(&dir) {
            Some(Node::Dir(names)) => Some(names),
            _ => None,
        }
    }

    /// The number at a path.
    pub fn find(&self, path: &str) -> io::Result<Number> {
        parts(path).try_fold(ROOT, |at, part| {
            self.names(at).and_then(|names| names.live.get(part)).copied().ok_or_else(|| not_found(path))
        })
    }

    /// The directory that a path's last part is in, and that part.
    fn place(&self, path: &str) -> io::Result<(Number, String)> {
        let all: Vec<&str> = parts(path).collect();
        let (last, above) = all.split_last().ok_or_else(|| not_found(path))?;
        let dir = self.find(&above.join("/"))?;
        self.names(dir).ok_or_else(|| not_found(path))?;
        Ok((dir, (*last).to_string()))
    }

    fn change(&mut self, change: Change) {
        for (dir, name, number) in &change {
            if let Some(Node::Dir(names)) = self.nodes.get_mut(dir) {
                match number {
                    Some(number) => names.live.insert(name.clone(), *number),
                    None => names.live.remove(name),
                };
            }
        }
        self.waiting.push(change);
    }

    fn add(&mut self, path: &str, node: Node) -> io::Result<Number> {
        let (dir, name) = self.place(path)?;
        if self.names(dir).is_some_and(|names| names.live.contains_key(&name)) {
            let text = format!("simulated disk: '{path}' is there already");
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        self.numbers += 1;
        self.nodes.insert(self.numbers, node);
        self.change(vec![(dir, name, Some(self.numbers))]);
        Ok(self.numbers)
    }

    /// Creates a file.
    pub fn create(&mut self, path: &str) -> io::Result<Number> {
        self.add(path, Node::File(Content::default()))
    }

    /// Creates a directory and those above it, where they are not.
    pub fn make_dir(&mut self, path: &str) -> io::Result<()> {
        let mut so_far = String::new();
        for part in parts(path) {
            so_far = format!("{so_far}/{part}");
            if self.find(&so_far).is_err() {
                self.add(&so_far, Node::Dir(Names::default()))?;
            }
        }
        self.names(self.find(path)?).map(|_| ()).ok_or_else(|| not_found(path))
    }

    /// Names in a directory, sorted.
    pub fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let names = self.names(self.find(path)?).ok_or_else(|| not_found(path))?;
        Ok(names.live.keys().cloned().collect())
    }

    /// Renames, replacing a file that stands there.
    pub fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let number = self.find(from)?;
        let (from_dir, from_name) = self.place(from)?;
        let (to_dir, to_name) = self.place(to)?;
        let stands = self.names(to_dir).and_then(|names| names.live.get(&to_name)).copied();
        if stands == Some(number) {
            return Ok(());
        }
        if stands.is_some_and(|stands| self.names(stands).is_some()) {
            let text = format!("simulated disk: a directory stands at '{to}'");
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        self.change(vec![(from_dir, from_name, None), (to_dir, to_name, Some(number))]);
        Ok(())
    }

    /// Removes a file.
    pub fn remove(&mut self, path: &str) -> io::Result<()> {
        let (dir, name) = self.place(path)?;
        if self.names(self.find(path)?).is_some() {
            let text = format!("simulated disk: '{path}' is a directory");
            return Err(io::Error::new(io::ErrorKind::IsADirectory, text));
        }
        self.change(vec![(dir, name, None)]);
        Ok(())
    }

    /// Removes a directory with all in it: one change for each name, the deepest first.
    pub fn remove_dir(&mut self, path: &str) -> io::Result<()> {
        let (dir, name) = self.place(path)?;
        let number = self.find(path)?;
        for child in self.list(path)? {
            let below = format!("{path}/{child}");
            if self.names(self.find(&below)?).is_some() {
                self.remove_dir(&below)?;
            } else {
                self.change(vec![(number, child, None)]);
            }
        }
        self.change(vec![(dir, name, None)]);
        Ok(())
    }

    /// Makes a directory's names durable.
    pub fn sync_dir(&mut self, path: &str) -> io::Result<()> {
        let dir = self.find(path)?;
        self.names(dir).ok_or_else(|| not_found(path))?;
        let waiting = std::mem::take(&mut self.waiting);
        for change in waiting {
            if change.iter().any(|(each, ..)| *each == dir) {
                self.make_durable(change);
            } else {
                self.waiting.push(change);
            }
        }
        Ok(())
    }

    fn make_durable(&mut self, change: Change) {
        for (dir, name, number) in change {
            if let Some(Node::Dir(names)) = self.nodes.get_mut(&dir) {
                match number {
                    Some(number) => names.durable.insert(name, number),
                    None => names.durable.remove(&name),
                };
            }
        }
    }

    /// Loses power: names, then what the files hold.
    pub fn crash(&mut self, chance: &mut Chance) {
        let fate = Fate::draw(chance);
        let mut lost_names: BTreeSet<(Number, String)> = BTreeSet::new();
        let mut lost_numbers: BTreeSet<Number> = BTreeSet::new();
        for change in std::mem::take(&mut self.waiting) {
            let alone = change.iter().all(|(dir, name, number)| {
                !lost_names.contains(&(*dir, name.clone()))
                    && number.is_none_or(|number| !lost_numbers.contains(&number))
            });
            let kept = match fate {
                Fate::Lost => false,
                Fate::Kept => true,
                Fate::Torn(times) => chance.happens(times, 256),
            };
            if kept && alone {
                self.make_durable(change);
                continue;
            }
            for (dir, name, number) in change {
                lost_names.insert((dir, name));
                lost_numbers.extend(number);
            }
        }
        for node in self.nodes.values_mut() {
            match node {
                Node::File(content) => content.crash(Fate::draw(chance), chance),
                Node::Dir(names) => names.live.clone_from(&names.durable),
            }
        }
        self.sweep(&BTreeMap::new());
    }

    /// Forgets what has neither a name, live or durable, nor an open handle.
    pub fn sweep(&mut self, open: &BTreeMap<Number, u64>) {
        let mut reached = BTreeSet::new();
        let mut ahead: Vec<Number> = std::iter::once(ROOT).chain(open.keys().copied()).collect();
        while let Some(number) = ahead.pop() {
            if reached.insert(number)
                && let Some(names) = self.names(number)
            {
                ahead.extend(names.live.values().chain(names.durable.values()));
            }
        }
        for change in &self.waiting {
            reached.extend(change.iter().filter_map(|(.., number)| *number));
        }
        self.nodes.retain(|number, _| reached.contains(number));
    }

    /// The content of a file.
    pub fn file(&mut self, number: Number) -> Option<&mut Content> {
        match self.nodes.get_mut(&number) {
            Some(Node::File(content)) => Some(content),
            _ => None,
        }
    }

    /// Every file that is seen, with its path, in order of the paths.
    pub fn files(&self) -> Vec<(String, Number)> {
        let mut files = Vec::new();
        self.gather(ROOT, "", &mut files);
        files
    }

    fn gather(&self, dir: Number, path: &str, files: &mut Vec<(String, Number)>) {
        let Some(names) = self.names(dir) else { return };
        for (name, number) in &names.live {
            let below = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            match self.nodes.get(number) {
                Some(Node::File(_)) => files.push((below, *number)),
                Some(Node::Dir(_)) => self.gather(*number, &below, files),
                None => {}
            }
        }
    }

    /// Sectors taken up by the files that are seen or held open.
    pub fn sectors(&self, open: &BTreeMap<Number, u64>) -> u64 {
        let mut seen: BTreeSet<Number> = self.files().into_iter().map(|(_, number)| number).collect();
        seen.extend(open.keys());
        let contents = seen.iter().filter_map(|number| self.nodes.get(number));
        contents.map(|node| if let Node::File(content) = node { content.sectors() } else { 0 }).sum()
    }

    /// Calls `each` with all that makes this tree differ from another, in order.
    pub fn describe(&self, each: &mut impl FnMut(&[u8])) {
        for (number, node) in &self.nodes {
            each(&number.to_le_bytes());
            match node {
                Node::File(content) => content.describe(each),
                Node::Dir(names) => {
                    for (name, number) in names.live.iter().chain(&names.durable) {
                        each(name.as_bytes());
                        each(&number.to_le_bytes());
                    }
                }
            }
        }
    }
}
