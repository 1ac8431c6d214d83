//! Who may publish to and subscribe to which names.
//!
//! A rule **closes** its subjects to everyone whom its list does not name; a subject that no rule names is open. Of
//! several rules that name a subject, all must allow.
//!
//! What is asked at a border is whether a **domain** may: a principal is proven to the node that it is connected to,
//! and to nobody else. So a list of principals alone opens a name to no other domain, and one entry says both:
//! `domain:north/token:alice` is the principal `token:alice` at nodes of `north`, and at a border the domain `north`,
//! which is trusted to have asked.
//!
//! Costs: a walk of the closed patterns that overlap; no rule, nothing.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use event::{Pattern, Wanted};

use crate::names::Name;

/// Whom an entry of a rule names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// Everyone.
    Anyone,
    /// Everyone of a domain.
    Domain(Name),
    /// A principal at a node of any domain; no domain as a whole.
    Principal(Arc<str>),
    /// A principal at a node of a domain; at a border, the domain.
    Member(Name, Arc<str>),
}

/// A rule: who alone may use some subjects.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AclRule {
    /// Its name, for reports.
    pub name: Arc<str>,
    /// What it is about.
    pub subjects: Vec<Pattern>,
    /// Who alone may publish there; `None`: everyone.
    pub publish: Option<Vec<Who>>,
    /// Who alone may subscribe there; `None`: everyone.
    pub subscribe: Option<Vec<Who>>,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// Its domain.
    pub domain: &'a Name,
    /// Its principal, where it is connected to this node; `None`: the domain as a whole, at a border.
    pub principal: Option<&'a str>,
}

/// Rules, ready to be asked.
#[derive(Debug, Clone, Default)]
pub struct Acl {
    rules: Arc<[AclRule]>,
    publish: Wanted<u32>,
    subscribe: Wanted<u32>,
}

impl Who {
    /// Reads `*`, `domain:NAME`, `domain:NAME/PRINCIPAL`, or else a principal.
    ///
    /// # Errors
    /// The text, where it is empty or names a domain that cannot be.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(domain) = text.strip_prefix("domain:") else {
            return match text {
                "" => Err(text.into()),
                "*" => Ok(Who::Anyone),
                principal => Ok(Who::Principal(principal.into())),
            };
        };
        let (domain, principal) = domain.split_once('/').map_or((domain, None), |(one, two)| (one, Some(two)));
        let domain = Name::parse(domain).map_err(|_| String::from(text))?;
        match principal {
            None => Ok(Who::Domain(domain)),
            Some("") => Err(text.into()),
            Some(principal) => Ok(Who::Member(domain, principal.into())),
        }
    }

    /// Whether this entry names who asks.
    pub fn names(&self, asker: &Asker<'_>) -> bool {
        match self {
            Who::Anyone => true,
            Who::Domain(domain) => domain == asker.domain,
            Who::Principal(principal) => asker.principal == Some(&**principal),
            Who::Member(domain, principal) => {
                domain == asker.domain && asker.principal.is_none_or(|asked| asked == &**principal)
            }
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Anyone => f.write_str("*"),
            Who::Domain(domain) => write!(f, "domain:{domain}"),
            Who::Principal(principal) => f.write_str(principal),
            Who::Member(domain, principal) => write!(f, "domain:{domain}/{principal}"),
        }
    }
}

fn allows(list: Option<&Vec<Who>>, asker: &Asker<'_>) -> bool {
    list.is_none_or(|list| list.iter().any(|who| who.names(asker)))
}

impl Acl {
    /// The rules as they stand.
    pub fn new(rules: Arc<[AclRule]>) -> Self {
        let (mut publish, mut subscribe) = (Wanted::default(), Wanted::default());
        for (number, rule) in (0_u32..).zip(rules.iter()) {
            for pattern in &rule.subjects {
                if rule.publish.is_some() {
                    publish.insert(pattern, number);
                }
                if rule.subscribe.is_some() {
                    subscribe.insert(pattern, number);
                }
            }
        }
        Acl { rules, publish, subscribe }
    }

    /// Whether no rule closes anything.
    pub fn is_open(&self) -> bool {
        self.publish.is_empty() && self.subscribe.is_empty()
    }

    /// The rules.
    pub fn rules(&self) -> &[AclRule] {
        &self.rules
    }

    /// Whether who asks may publish to a subject.
    ///
    /// # Errors
    /// The first rule that does not let it.
    pub fn may_publish(&self, asker: &Asker<'_>, subject: &str) -> Result<(), &AclRule> {
        let mut numbers = Vec::new();
        self.publish.each(subject, &mut |number| numbers.push(*number));
        self.first(&numbers, |rule| !allows(rule.publish.as_ref(), asker))
    }

    /// Whether who asks may have all subjects of a pattern: one that overlaps what is closed to it is refused.
    ///
    /// # Errors
    /// The first rule that does not let it.
    pub fn may_subscribe(&self, asker: &Asker<'_>, pattern: &Pattern) -> Result<(), &AclRule> {
        let mut numbers = Vec::new();
        self.subscribe.each_overlapping(pattern, &mut |number| numbers.push(*number));
        self.first(&numbers, |rule| !allows(rule.subscribe.as_ref(), asker))
    }

    /// Whether who asks may listen to a pattern: only one that is closed to it as a whole is refused, since each message
    /// [is judged](Acl::may_hear) besides.
    ///
    /// # Errors
    /// The first rule that does not let it.
    pub fn may_listen(&self, asker: &Asker<'_>, pattern: &Pattern) -> Result<(), &AclRule> {
        let mut numbers = Vec::new();
        self.subscribe.each_overlapping(pattern, &mut |number| numbers.push(*number));
        let whole = |rule: &AclRule| rule.subjects.iter().any(|closed| closed.contains(pattern));
        self.first(&numbers, |rule| whole(rule) && !allows(rule.subscribe.as_ref(), asker))
    }

    /// Whether who asks may be given a message of a subject.
    ///
    /// # Errors
    /// The first rule that does not let it.
    pub fn may_hear(&self, asker: &Asker<'_>, subject: &str) -> Result<(), &AclRule> {
        let mut numbers = Vec::new();
        self.subscribe.each(subject, &mut |number| numbers.push(*number));
        self.first(&numbers, |rule| !allows(rule.subscribe.as_ref(), asker))
    }

    fn first(&self, numbers: &[u32], refuses: impl Fn(&AclRule) -> bool) -> Result<(), &AclRule> {
        let refusing = numbers.iter().filter(|number| self.rules.get(**number as usize).is_some_and(&refuses)).min();
        refusing.and_then(|number| self.rules.get(*number as usize)).map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;

    fn who(texts: &[&str]) -> Option<Vec<Who>> {
        Some(texts.iter().map(|text| Who::parse(text).unwrap()).collect())
    }

    fn rule(name: &str, subject: &str, publish: Option<Vec<Who>>, subscribe: Option<Vec<Who>>) -> AclRule {
        AclRule { name: name.into(), subjects: vec![Pattern::parse(subject).unwrap()], publish, subscribe }
    }

    /// Which of publish to the subject, hear it, and listen to it are refused, by the name of the rule.
    #[track_caller]
    fn check(rules: &[AclRule], domain: &str, principal: Option<&str>, subject: &str, expected: [&str; 3]) {
        let acl = Acl::new(rules.into());
        let domain = Name::parse(domain).unwrap();
        let asker = Asker { domain: &domain, principal };
        let said = |result: Result<(), &AclRule>| result.map_or_else(|rule| rule.name.to_string(), |()| String::new());
        let told = [
            said(acl.may_publish(&asker, subject)),
            said(acl.may_hear(&asker, subject)),
            said(acl.may_listen(&asker, &Pattern::parse(subject).unwrap())),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_rule_closes_its_subjects_to_all_whom_it_does_not_name() {
        let rules = [rule("pay", "pay.>", who(&["domain:bank"]), who(&["domain:bank", "token:audit"]))];
        check(&rules, "bank", None, "pay.x", ["", "", ""]);
        check(&rules, "shop", None, "pay.x", ["pay", "pay", "pay"]);
        check(&rules, "shop", Some("token:audit"), "pay.x", ["pay", "", ""]);
        check(&rules, "shop", None, "news", ["", "", ""]);
        check(&[], "shop", None, "pay.x", ["", "", ""]);
        let (acl, shop) = (Acl::new(rules.into()), Name::parse("shop").unwrap());
        let listens = |pattern| {
            let asker = Asker { domain: &shop, principal: None };
            acl.may_listen(&asker, &Pattern::parse(pattern).unwrap()).is_ok()
        };
        assert!(listens(">") && listens("*.x") && listens("pay") && !listens("pay.>") && !listens("pay.*.y"));
    }

    #[test]
    fn a_principal_opens_no_border_unless_its_domain_is_said() {
        let rules = [rule("a", "a", who(&["token:x"]), None), rule("b", "b", who(&["domain:north/token:x"]), None)];
        check(&rules, "north", Some("token:x"), "a", ["", "", ""]);
        check(&rules, "north", None, "a", ["a", "", ""]);
        check(&rules, "north", None, "b", ["", "", ""]);
        check(&rules, "north", Some("token:y"), "b", ["b", "", ""]);
        check(&rules, "south", Some("token:x"), "b", ["b", "", ""]);
    }

    #[test]
    fn all_rules_that_name_a_subject_must_allow() {
        let rules = [rule("wide", ">", who(&["*"]), None), rule("none", "x", who(&[]), None)];
        check(&rules, "a", None, "y", ["", "", ""]);
        check(&rules, "a", None, "x", ["none", "", ""]);
    }

    #[test]
    fn who_is_read_and_shown() {
        for text in ["*", "domain:a", "domain:a/token:x", "token:x", "nkey:U"] {
            assert_eq!(Who::parse(text).unwrap().to_string(), text);
        }
        for bad in ["", "domain:", "domain:A", "domain:a/"] {
            assert!(Who::parse(bad).is_err(), "{bad}");
        }
    }
}
