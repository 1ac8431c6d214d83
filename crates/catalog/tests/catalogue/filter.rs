//! Filters: what is chosen, what is refused.

use catalog::filter::{CatalogService, Filter};
use catalog::{CheckDraft, Command, Form, Health, Node, Register, ServiceDraft, Weights};

use crate::world::World;

fn instance() -> Health {
    let mut world = World::new();
    let mut register = Register::new(Form::Catalog, "n1");
    register.address = "10.0.0.1".into();
    register.node_meta = vec![("rack".into(), "r 1".into())];
    register.service = Some(ServiceDraft {
        id: "web-1".into(),
        name: "web".into(),
        tags: vec!["v1".into(), "blue".into()],
        meta: vec![("version".into(), "1.2".into()), ("odd key".into(), "x".into())],
        port: 80,
        weights: Some(Weights { passing: 5, warning: 1 }),
        ..ServiceDraft::default()
    });
    let check = |id: &str, service: &str, status: &str| CheckDraft {
        id: id.into(),
        service_id: service.into(),
        status: status.into(),
        ..CheckDraft::default()
    };
    register.checks = vec![check("alive", "", "passing"), check("web", "web-1", "warning")];
    world.run(Command::Register(Box::new(register))).unwrap();
    let table = world.state.service("web").unwrap();
    (*table.iter().next().unwrap().1.value).clone()
}

#[test]
fn expressions_choose() {
    let health = instance();
    for (text, expected) in [
        ("Service.Service == web", true),
        ("Service.Service==\"web\"", true),
        ("Service.Service != web", false),
        ("Service.ID == web-1", true),
        ("Service.Port == 80", true),
        ("Service.Port != 81", true),
        ("Service.Weights.Passing == 5", true),
        ("Service.EnableTagOverride == false", true),
        ("v1 in Service.Tags", true),
        ("v2 in Service.Tags", false),
        ("v2 not in Service.Tags", true),
        ("Service.Tags contains blue", true),
        ("Service.Tags not contains `blue`", false),
        ("Service.Tags is empty", false),
        ("Service.Tags is not empty", true),
        ("Service.Meta.version == `1.2`", true),
        ("Service.Meta.version == 1.2", true),
        ("Service.Meta[\"odd key\"] == x", true),
        ("Service.Meta.absent == x", false),
        ("Service.Meta.absent != x", true),
        ("Service.Meta.absent is empty", true),
        ("version in Service.Meta", true),
        ("Service.Meta contains absent", false),
        ("Service.TaggedAddresses is empty", true),
        ("Service.TaggedAddresses.lan.Address == x", false),
        ("Node.Meta.rack == \"r 1\"", true),
        ("Node.Meta.rack matches `^r\\s\\d$`", true),
        ("Node.Meta.rack not matches x", true),
        ("eb in Service.Service", true),
        ("Checks.Status == warning", true),
        ("Checks.Status == critical", false),
        ("Checks.Status != critical", true),
        ("Checks.ServiceID is empty", false),
        ("Checks is not empty", true),
        ("not Service.Service == web", false),
        ("not (Service.Service == web and Node.Node == n2)", true),
        ("Node.Node == n2 or Service.Service == web and v1 in Service.Tags", true),
        ("(Node.Node == n2 or Service.Service == web) and v2 in Service.Tags", false),
        (" ( ( Node.Node == n1 ) ) ", true),
        ("not not Node.Node == n1", true),
    ] {
        let filter = Filter::parse::<Health>(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(filter.matches(&health), expected, "{text}");
    }
    let flat = Filter::parse::<CatalogService<'_>>("ServicePort == 80 and NodeMeta.rack is not empty").unwrap();
    assert!(flat.matches(&CatalogService(&health)));
    assert!(Filter::parse::<Node>("Meta.rack matches `^r`").unwrap().matches(&*health.node));
}

#[test]
fn what_is_no_expression_is_refused() {
    let deep = format!("{}Node.Node == a{}", "(".repeat(1_000), ")".repeat(1_000));
    let nots = format!("{}Node.Node == a", "not ".repeat(1_000));
    let long = format!("Node.Node == \"{}\"", "a".repeat(10_000));
    let large = format!("Node.Node matches `{}`", "(a{1000}){1000}");
    for text in [
        "",
        "   ",
        "Node",
        "Node.Node",
        "Node.Node ==",
        "Node.Node = a",
        "Node.Node < a",
        "== a",
        "Node.Node == a b",
        "Node.Node == a and",
        "Node.Node == a or or Node.Node == b",
        "(Node.Node == a",
        "Node.Node == a)",
        "not",
        "Node.Node == \"a",
        "Node.Node is",
        "Node.Node is not",
        "a in",
        "\"a\" == Node.Node",
        "Node.Nope == a",
        "Nope is empty",
        "Node == a",
        "Service.Tags == a",
        "Service.Port == eighty",
        "Service.Port matches 8",
        "Service.EnableTagOverride == maybe",
        "Node.Node matches `(`",
        &deep,
        &nots,
        &long,
        &large,
    ] {
        let shown: String = text.chars().take(60).collect();
        let error = Filter::parse::<Health>(text).expect_err(&shown).to_string();
        assert!(error.starts_with("Failed to create boolean expression evaluator: "), "{error}");
    }
    let many = vec!["Node.Node == a"; 400].join(" or ");
    assert!(!Filter::parse::<Health>(&many).unwrap().matches(&instance()));
}
