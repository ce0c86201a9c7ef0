use super::*;
use crate::model::{FlowLogging, Interval, Term};

fn with_spec(spec: &str) -> String {
    format!(
        "apiVersion: weir.io/v1alpha1\nkind: FlowLogging\nmetadata: {{name: default}}\nspec: {spec}"
    )
}

fn read(text: &str) -> FlowLogging {
    match parse(text).remove(0) {
        Ok(Object::FlowLogging(logging)) => logging,
        other => panic!("{other:?}"),
    }
}

fn interval(word: &str) -> Interval {
    Interval::from_word(word).unwrap()
}

#[test]
fn the_whole_object() {
    let logging = read(&with_spec(
        "{interval: 1m, namespaces: {shop: 5m}, overrides: [\
         {interval: 5s, until: 2026-11-28T18:00:00Z, namespaces: [shop, web]}, \
         {interval: 30s, until: '1970-01-01T01:00:00+01:00'}]}",
    ));
    assert_eq!(logging.interval, Some(interval("1m")));
    assert_eq!(logging.namespaces, [("shop".to_owned(), interval("5m"))].into());
    let [shop, all] = &logging.overrides[..] else { panic!("{logging:?}") };
    assert_eq!((shop.interval, shop.until_ns), (interval("5s"), 1_795_888_800_000_000_000));
    assert_eq!(shop.namespaces, ["shop".to_owned(), "web".to_owned()].into());
    assert_eq!((all.interval, all.until_ns), (interval("30s"), 0));
    assert!(all.namespaces.is_empty());
    assert_eq!(read(&with_spec("{}")), FlowLogging::default());
}

#[test]
fn what_is_written_is_read_as_the_same() {
    for spec in [
        "{}",
        "{interval: 15m}",
        "{interval: 1m, namespaces: {shop: 5m, '1': 5s, 'on': 30s}, overrides: [\
         {interval: 5s, until: 2026-11-28T18:00:00.5Z, namespaces: [shop, 'true']}, \
         {interval: 30s, until: 2300-01-01T00:00:00Z}]}",
    ] {
        let logging = read(&with_spec(spec));
        let written = write_flow_logging(&logging);
        assert_eq!(read(&written), logging, "{written}");
    }
}

#[test]
fn wrong_ones_are_refused_with_the_field() {
    for (spec, path, says) in [
        ("{interval: 2m}", "spec.interval", "5s, 30s, 1m, 5m, 10m or 15m"),
        ("{interval: 5}", "spec.interval", "quotes"),
        ("{intervall: 5s}", "spec.intervall", "not known"),
        ("{namespaces: {Shop: 5s}}", "spec.namespaces.Shop", "valid namespace"),
        ("{namespaces: {shop: 5}}", "spec.namespaces.shop", "quotes"),
        ("{overrides: [{interval: 5s}]}", "spec.overrides[0].until", "missing"),
        ("{overrides: [{interval: 1h, until: x}]}", "spec.overrides[0].interval", "5s"),
        (
            "{overrides: [{interval: 5s, until: '2026-11-28T18:00'}]}",
            "spec.overrides[0].until",
            "zone",
        ),
        (
            "{overrides: [{interval: 5s, until: 2026-11-28T18:00:00Z, namespaces: []}]}",
            "spec.overrides[0].namespaces",
            "leave it out",
        ),
    ] {
        let error = error(&with_spec(spec));
        assert_eq!(error.path.to_string(), path, "{spec}: {error}");
        assert!(error.message.contains(says), "{spec}: {error}");
    }
    let other = with_spec("{}").replace("name: default", "name: mine");
    assert!(error(&other).message.contains("rename it"));
    let other = with_spec("{}").replace("v1alpha1", "v1");
    assert!(error(&other).message.contains("weir.io/v1alpha1"));
    let other = with_spec("{}").replace("FlowLogging", "FlowLoging");
    assert!(error(&other).message.contains("FlowLogging"));
}

#[test]
fn a_namespace_has_an_interval_by_annotation() {
    let read = |value: &str| {
        let text = format!(
            "apiVersion: v1\nkind: Namespace\n\
             metadata: {{name: shop, annotations: {{weir.io/interval: {value}}}}}\n"
        );
        match parse(&text).remove(0) {
            Ok(Object::Namespace(namespace)) => {
                let again = parse(&write_namespace(&namespace)).remove(0);
                assert_eq!(again, Ok(Object::Namespace(namespace.clone())));
                Ok(namespace.interval)
            }
            Err(error) => Err(error.to_string()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(read("1m"), Ok(Some(Term { interval: interval("1m"), until_ns: None })));
    let term = Term { interval: interval("5s"), until_ns: Some(1_795_888_800_000_000_000) };
    assert_eq!(read("5s until 2026-11-28T18:00:00Z"), Ok(Some(term)));
    for (wrong, says) in [
        ("2m", "write 5s"),
        ("5", "in quotes"),
        ("5s until noon", "a time with its zone"),
        ("5s till 2026-11-28T18:00:00Z", "write 5s"),
    ] {
        let error = read(wrong).unwrap_err();
        assert!(error.contains(says) && error.contains("weir.io/interval"), "{wrong}: {error}");
    }
}

#[test]
fn a_policy_has_no_interval() {
    let text = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {name: p, namespace: x, annotations: {weir.io/interval: 1m}}\n\
         spec: {podSelector: {}}\n";
    assert!(error(text).message.contains("is not known"));
}
