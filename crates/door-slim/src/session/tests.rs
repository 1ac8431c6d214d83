use super::*;

#[test]
fn a_version_is_three_numbers_and_perhaps_more() {
    let check = |text: &str, expected: bool| assert_eq!(is_version(text), expected, "{text}");
    for good in ["0.0.1", "3.4.6", "10.20.30-rc.1", "1.2.3+build.5", "1.2.3-a+b"] {
        check(good, true);
    }
    for bad in ["", "bogus", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.x", "1.2.3-", "v1.2.3", "1..3", "-1.2.3"] {
        check(bad, false);
    }
}

#[test]
fn whatever_comes_a_session_says_what_to_do() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let rules = Rules {
            node: String::from("n"),
            domain: String::new(),
            version: String::from("1.0.0"),
            strict: false,
            enforce_pqc: false,
            peers: vec![String::from("peer")],
        };
        let mut session = Session::new(rules);
        let (first, rest) = bytes.split_at(bytes.len() / 2);
        let opened = session.handle(first).is_ok();
        assert_eq!(opened, session.is_open());
        assert!(!opened || session.handle(rest).is_ok(), "an open link has no fault");
    });
}
