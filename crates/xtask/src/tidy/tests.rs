//! Each rule is shown to fail on a bad sample, and the good sample to pass all.

use std::collections::BTreeSet;

use super::check;
use crate::tree::{Package, Tree};

const MAP: &str = "\
# Map
<!-- tidy: edges -->
| crate | floor | may know | and from elsewhere |
|---|---|---|---|
| **event** | pure | nothing | bytes |
| host | rim | event | any |

<!-- tidy: only -->
| crate from elsewhere | only |
|---|---|
| tokio, axum | host |
";

fn package(name: &str, inner: &[&str], outer: &[&str]) -> Package {
    let set = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<String>>();
    Package {
        name: name.to_string(),
        folder: format!("crates/{name}"),
        licence: Some("Apache-2.0".to_string()),
        inner: set(inner),
        outer: set(outer),
    }
}

fn good() -> Tree {
    let mut tree = Tree {
        packages: vec![package("event", &[], &["bytes"]), package("host", &["event"], &["tokio"])],
        ..Tree::default()
    };
    write(&mut tree, "ARCHITECTURE.md", MAP);
    write(&mut tree, "crates/event/src/lib.rs", "//! Events.\n\n#![no_std]\n");
    write(&mut tree, "crates/host/src/lib.rs", "//! The body.\n");
    write(&mut tree, "docs/adr/README.md", "[one](0001-one.md)\n");
    write(&mut tree, "docs/adr/0001-one.md", "# 0001: one\n");
    tree
}

fn write(tree: &mut Tree, path: &str, text: &str) {
    tree.paths.insert(path.to_string());
    tree.texts.insert(path.to_string(), text.to_string());
}

/// Spoils the good sample and expects exactly one failure, which says `expected`. Empty: none.
#[track_caller]
fn check_spoilt(expected: &str, spoil: impl FnOnce(&mut Tree)) {
    let mut tree = good();
    spoil(&mut tree);
    let findings: Vec<String> = check(&tree).iter().filter(|f| !f.warning).map(ToString::to_string).collect();
    if expected.is_empty() {
        assert_eq!(findings, Vec::<String>::new());
    } else {
        assert_eq!(findings.len(), 1, "{findings:#?}");
        assert!(findings[0].contains(expected), "{} lacks {expected}", findings[0]);
    }
}

#[track_caller]
fn check_source(expected: &str, source: &str) {
    check_spoilt(expected, |tree| write(tree, "crates/host/src/a.rs", &format!("//! A.\n{source}")));
}

#[test]
fn a_good_tree_has_no_findings() {
    check_spoilt("", |_| {});
}

#[test]
fn an_edge_that_is_not_listed_is_found_and_one_that_is_gone_too() {
    check_spoilt("'event' may not know 'host'", |tree| {
        tree.packages[0].inner.insert("host".to_string());
    });
    check_spoilt("'host' may know 'event' and does not", |tree| tree.packages[1].inner.clear());
}

#[test]
fn a_crate_that_is_not_listed_is_found_and_one_that_is_gone_too() {
    check_spoilt("does not list the crate 'new'", |tree| tree.packages.push(package("new", &[], &[])));
    check_spoilt("lists the crate 'host', which does not exist", |tree| {
        tree.packages.pop();
    });
}

#[test]
fn the_map_and_its_tables_must_be_there() {
    check_spoilt("ARCHITECTURE.md: is missing", |tree| {
        tree.texts.remove("ARCHITECTURE.md");
    });
    check_spoilt("has no table", |tree| {
        let cut = MAP.split("<!-- tidy: only -->").next().unwrap().to_string();
        write(tree, "ARCHITECTURE.md", &cut);
    });
}

#[test]
fn a_crate_from_elsewhere_stays_where_it_belongs() {
    check_spoilt("'host' may not know 'axum'", |tree| {
        tree.packages[1].outer.insert("axum".to_string());
        write(tree, "ARCHITECTURE.md", &MAP.replace("| tokio, axum | host |", "| tokio | host |\n| axum | event |"));
    });
    check_spoilt("'event' is pure and may not know 'rand'", |tree| {
        tree.packages[0].outer.insert("rand".to_string());
    });
}

#[test]
fn the_pure_floor_has_no_standard_library() {
    check_spoilt("lacks the line #![no_std]", |tree| write(tree, "crates/event/src/lib.rs", "//! Events.\n"));
}

#[test]
fn a_manifest_has_a_licence_and_a_name_that_says_something() {
    check_spoilt("has no licence", |tree| tree.packages[0].licence = None);
    check_spoilt("the name 'util' says nothing", |tree| {
        tree.packages.push(package("util", &[], &[]));
        write(tree, "ARCHITECTURE.md", &MAP.replace("| host | rim", "| util | rim | nothing | any |\n| host | rim"));
    });
    check_spoilt("belongs in crates/host", |tree| tree.packages[1].folder = "crates/body".to_string());
}

#[test]
fn files_and_functions_have_a_size() {
    check_source("has 1002 lines", &"\n".repeat(1001));
    check_source("", &"\n".repeat(998));
    check_source("'long' has 71 lines", &format!("fn long() {{{}}}", "\n".repeat(70)));
    check_source("", &format!("fn right() {{{}}}", "\n".repeat(69)));
}

#[test]
fn the_ratchet_only_tightens() {
    let with = |line: &'static str, lines: usize| {
        move |tree: &mut Tree| {
            write(tree, "crates/xtask/ratchet.txt", line);
            write(tree, "crates/host/src/a.rs", &format!("//! A.\nfn long() {{{}}}", "\n".repeat(lines - 1)));
        }
    };
    check_spoilt("", with("# why\ncrates/host/src/a.rs long 80", 80));
    check_spoilt("grew from 80 lines to 81", with("crates/host/src/a.rs long 80", 81));
    check_spoilt("shrank from 80 lines to 79", with("crates/host/src/a.rs long 80", 79));
    check_spoilt("is as it must be now", with("crates/host/src/a.rs long 80", 70));
    let with = |line: &'static str, times: usize| {
        move |tree: &mut Tree| {
            write(tree, "crates/xtask/ratchet.txt", line);
            write(tree, "crates/host/tests/a.rs", &"fn a() { thread::sleep(x) }\n".repeat(times));
        }
    };
    check_spoilt("", with("crates/host/tests/a.rs thread::sleep 1", 1));
    check_spoilt("says thread::sleep 1 times, no longer 2", with("crates/host/tests/a.rs thread::sleep 2", 1));
    check_spoilt("says thread::sleep", with("", 1));
    check_spoilt("is not 'path name number'", |tree| {
        write(tree, "crates/xtask/ratchet.txt", "crates/host/src/a.rs long")
    });
}

#[test]
fn banned_words_are_found_in_code_and_nowhere_else() {
    check_source("says todo!", "fn a() { todo!() }");
    check_source("says unimplemented!", "fn a() { unimplemented!() }");
    check_source("says dbg!", "fn a() { dbg!(1); }");
    check_source("says #[ignore", "#[test]\n#[ignore]\nfn a() {}");
    check_source("says .unwrap()", "fn a() { b.unwrap() }");
    check_source("says thread::sleep", "#[cfg(test)]\nmod tests {\nfn a() { std::thread::sleep(x) }\n}");
    check_source("", "// todo!\nfn a() { \"dbg!\"; std::thread::sleep(x); my_todo!() }");
    check_source("", "#[cfg(test)]\nmod tests {\nfn a() { b.unwrap() }\n}");
    check_spoilt("tests/a.rs:1: says thread::sleep", |tree| {
        write(tree, "crates/host/tests/a.rs", "fn a() { std::thread::sleep(x); b.unwrap() }");
    });
}

#[test]
fn a_module_opens_with_what_it_is() {
    check_spoilt("opens without //!", |tree| write(tree, "crates/host/src/b.rs", "fn a() {}\n"));
}

#[test]
fn a_path_of_one_machine_is_found() {
    let place = ["", "home", "me", "x"].join("/");
    check_spoilt("docs/a.md:2: names a path of one machine", |tree| write(tree, "docs/a.md", &format!("a\n{place}\n")));
    check_spoilt("", |tree| write(tree, "docs/a.md", &format!("see https://example.com{place} and a{place}\n")));
}

#[test]
fn links_lead_somewhere() {
    check_spoilt("'none.md' leads nowhere", |tree| write(tree, "docs/a.md", "[x](none.md)\n"));
    check_spoilt("'#no' leads nowhere", |tree| write(tree, "docs/a.md", "# Yes\n[x](#yes) [x](#no)\n"));
    check_spoilt("", |tree| {
        write(
            tree,
            "docs/a.md",
            "[x](../ARCHITECTURE.md#map) [x](adr/) [x](https://a.b) `[x](none)`\n```\n[x](y)\n```\n",
        );
    });
}

#[test]
fn decisions_are_numbered_without_gaps_and_indexed() {
    check_spoilt("numbered 0002", |tree| {
        write(tree, "docs/adr/0003-three.md", "# 0003: three\n");
        write(tree, "docs/adr/README.md", "[one](0001-one.md) [three](0003-three.md)\n");
    });
    check_spoilt("does not list 0002-two.md", |tree| write(tree, "docs/adr/0002-two.md", "# 0002: two\n"));
    check_spoilt("is to open with", |tree| write(tree, "docs/adr/0001-one.md", "# one\n"));
}

#[test]
fn the_two_lists_of_licences_are_one() {
    check_spoilt("differ in", |tree| write(tree, "deny.toml", "[licenses]\nallow = [\n  \"MIT\",\n]\n"));
}
