//! What texts mean, and what is said of those that mean nothing.

use crate::catalog::range::TimeRange;
use crate::filter::error::Spanned;
use crate::filter::parse::parse as tree_of;
use crate::filter::syntax::{Comparable, Literal, Term, Tree};
use crate::filter::{Names, parse, parse_for};

fn shape<T>(tree: &Tree<T>, leaf: &dyn Fn(&T) -> String) -> String {
    let list = |terms: &[Tree<T>]| {
        terms.iter().map(|term| shape(term, leaf)).collect::<Vec<_>>().join(" ")
    };
    match tree {
        Tree::And(terms) => format!("(and {})", list(terms)),
        Tree::Or(terms) => format!("(or {})", list(terms)),
        Tree::Not(inner) => format!("(not {})", shape(inner, leaf)),
        Tree::Leaf(inner) => leaf(inner),
    }
}

fn comparable(left: &Comparable) -> String {
    match left {
        Comparable::Word(word) => word.text(),
        Comparable::Call(call) => {
            let arguments: Vec<String> = call.arguments.iter().map(comparable).collect();
            format!("{}[{}]", call.name, arguments.join(","))
        }
    }
}

fn term(term: &Term) -> String {
    let literal = |literal: &Literal| literal.text.clone();
    match term {
        Term::Anywhere(text) => literal(text),
        Term::Call(call) => comparable(&Comparable::Call(call.clone())),
        Term::Compare(compare) => {
            let right = shape(&compare.right, &literal);
            format!("{}{}{right}", comparable(&compare.left), compare.operator)
        }
    }
}

fn check(text: &str, expected: &str) {
    let (tree, _) = tree_of(text).unwrap_or_else(|error: Spanned| panic!("{text}: {error:?}"));
    assert_eq!(shape(&tree.unwrap(), &term), expected, "{text}");
}

#[test]
fn or_binds_tighter_than_and() {
    check("a OR b AND c", "(and (or a b) c)");
    check("a b OR c", "(and a (or b c))");
    check("NOT a b", "(and (not a) b)");
    check("\"a\" OR NOT \"b\" AND NOT \"c\" OR \"d\"", "(and (or a (not b)) (or (not c) d))");
    check("-jsonPayload.x=1", "(not jsonPayload.x=1)");
    check("x and y", "(and x and y)");
    check("x or not y", "(and x or not y)");
    check("(a AND b) OR c", "(or (and a b) c)");
    check("NOT (a OR b)", "(not (or a b))");
    check("NOT NOT a", "(not (not a))");
    check("a\nb", "(and a b)");
    check("a AND\tb", "(and a b)");
}

#[test]
fn comparisons_and_lists_are_read() {
    check("logName=projects/p/logs/l", "logName=projects/p/logs/l");
    check("f=(\"a\" OR \"b\")", "f=(or a b)");
    check("f:(a b)", "f:(and a b)");
    check("f=(a OR b c)", "f=(and (or a b) c)");
    check("f=~(\"^prod\" OR \"^stag\")", "f=~(or ^prod ^stag)");
    check("f:(NOT a OR -b)", "f:(or (not a) (not b))");
    check("-- c\nresource.type=k8s_node", "resource.type=k8s_node");
    check("a -- AND b\n -- c\nd", "(and a d)");
    check("a = -5", "a=-5");
    check("a >= 'it''s'", "(and a>=it s)");
    check("labels.\"a.b/c\"=1", "labels.a.b/c=1");
    check("x.\":name\":*", "x.:name:*");
    check("10.4.1.11", "10.4.1.11");
    check("web-1 k8s_node", "(and web-1 k8s_node)");
    check(r#"a="q \" \\ \n \101 OR (""#, "a=q \" \\ \n A OR (");
    check("source_ip=fe80::1 a", "(and source_ip=fe80::1 a)");
    check(
        "timestamp>=\"2026-11-19T17:07:54.061258+0000\"",
        "timestamp>=2026-11-19T17:07:54.061258+0000",
    );
    check("log_id(\"x\") OR sample(insertId, 0.5)", "(or log_id[x] sample[insertId,0.5])");
    check(
        "CAST(REGEXP_EXTRACT(CAST(timestamp,STRING),\"..(.)\"),INT64) < 500",
        "CAST[REGEXP_EXTRACT[CAST[timestamp,STRING],..(.)],INT64]<500",
    );
    check("source(projects/p)", "source[projects/p]");
    check("NOT(a)", "(not a)");
    assert!(tree_of(" \n -- nothing").unwrap().0.is_none());
    assert!(parse("").unwrap().filter.is_none());
}

#[test]
fn errors_say_where_and_what_to_do() {
    for (text, line, column, end, part) in [
        ("insertId=abc:def", 1, 10, 17, "write \"abc:def\""),
        ("thud=1", 1, 1, 5, "there is no field `thud`"),
        ("operation.thud=1", 1, 1, 15, "there is no field"),
        ("textPayload.thud=1", 1, 1, 17, "there is no field"),
        ("sourcepod=\"a\"", 1, 1, 10, "did you mean `source_pod`?"),
        ("node=a AND\n  xyzzyxyzzy=1", 2, 3, 13, "GET /api/v1/schema"),
        ("source_pod.x=1", 1, 1, 13, "has no parts"),
        ("policies.rul=1", 1, 1, 13, "kind, namespace, name"),
        ("jsonPayload=a", 1, 1, 12, "name a field of it"),
        ("node=", 1, 6, 7, "a value is missing after `=`"),
        ("node=a AND", 1, 11, 12, "a comparison is missing"),
        ("AND node=a", 1, 1, 4, "a comparison is missing"),
        ("node=a OR OR node=b", 1, 11, 13, "a comparison is missing"),
        ("(node=a", 1, 1, 2, "not closed"),
        ("node=a)", 1, 7, 8, "never opened"),
        ("()", 1, 1, 2, "nothing is in these parentheses"),
        ("node=(a, b)", 1, 8, 9, "not by commas"),
        ("node=(a=b)", 1, 8, 9, "a list has values only"),
        ("node=\"a", 1, 6, 8, "not closed"),
        ("node=\"\\x\"", 1, 7, 9, "after \\"),
        ("node==a", 1, 5, 7, "write ="),
        ("node<>a", 1, 5, 7, "write !="),
        ("node=a && node=b", 1, 8, 9, "write AND"),
        ("node=a; drop", 1, 6, 8, "needs quotes"),
        ("node=~a", 1, 7, 8, "needs quotes"),
        ("node=~\"(\"", 1, 7, 10, "cannot be read"),
        ("destination_port=~\"6\"", 1, 17, 19, "cast(destination_port, STRING)"),
        ("ip_in_net(source_ip, \"10.0.0.0/33\")", 1, 22, 35, "is no network"),
        ("regexp_extract(node, \"a\")=1", 1, 22, 25, "0 groups"),
        ("cast(node, TEXT)=1", 1, 12, 16, "STRING, INT64"),
        ("cast(node, STRING)", 1, 1, 19, "compare it"),
        ("log_id(\"a\")=1", 1, 1, 12, "true or false"),
        ("sample(node, 2)", 1, 14, 15, "is no fraction"),
        ("SEARCH()", 1, 1, 9, "SEARCH(\"redis\")"),
        ("SEARCH(\" \")", 1, 1, 12, "needs a word"),
        ("loc_id(\"a\")", 1, 1, 12, "log_id()"),
        ("logName=\"projects//logs/policy-action\"", 1, 9, 39, "the variable"),
    ] {
        let error = parse(text).expect_err(text);
        let place = (error.line, error.column, error.end);
        assert_eq!(place, (line, column, end), "{text}: {error}");
        assert!(error.message.contains(part), "{text}: {error}");
    }
}

#[test]
fn what_is_probably_not_meant_is_warned_of() {
    for (text, column, part) in [
        ("insertId=\"A\" OR \"B\"", 17, "insertId=(\"A\" OR \"B\")"),
        ("text:source_pod:web-1", 1, "source_pod:\"web-1\""),
        ("text:source_pod:\"web 1\"", 1, "source_pod:\"web 1\""),
        ("jsonPayload.dispositon=deny", 1, "`jsonPayload.disposition`"),
        ("destination_port=http", 18, "is not a number"),
        ("time>yesterday", 6, "\"2026-01-31T12:00:00Z\""),
        ("severity=bad", 10, "is not"),
        ("labels.\"app\"=\"a\"", 1, "k8s-pod/app"),
    ] {
        let warnings = parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).warnings;
        let [warning] = warnings.as_slice() else { panic!("{text}: {warnings:?}") };
        assert_eq!(warning.0.column, column, "{text}: {warning}");
        assert!(warning.0.message.contains(part), "{text}: {warning}");
    }
    let pasted = |text| parse(text).unwrap().filter.unwrap().to_sql();
    assert_eq!(pasted("text:source_pod:web-1"), pasted("source_pod:web-1"));
    assert_eq!(pasted("text:verdict=\"deny\""), pasted("verdict=deny"));
}

#[test]
fn filters_have_a_form_in_sql() {
    let sql = |text: &str| parse(text).unwrap().filter.unwrap().to_sql();
    assert_eq!(sql("verdict=DENY"), "verdict = 'deny'");
    assert_eq!(sql("jsonPayload.disposition=\"deny\""), "verdict = 'deny'");
    assert_eq!(sql("destination_port>6379.5"), "destination_port > 6379");
    assert_eq!(sql("NOT destination_port=6379"), "NOT ((destination_port = 6379) IS TRUE)");
    assert_eq!(sql("timestamp>=\"2026-11-29\""), "time >= '2026-11-29T00:00:00Z'");
    assert_eq!(sql("source_ip=10.0.0.1"), "source_ip = '10.0.0.1'");
    assert_eq!(sql("source_pod:\"it's\""), "text_has(source_pod, 'it''s')");
    assert_eq!(sql("duration_ns>2ms"), "duration_ns > 2000000");
    assert_eq!(sql("severity>=WARNING"), "false");
    assert_eq!(sql("severity=default log_id(\"policy-action\")"), "true AND true");
}

#[test]
fn the_time_that_a_filter_leaves_is_known_before_files_are_read() {
    let range = |text: &str| {
        let expr = parse(text).unwrap().filter.unwrap().into_expr();
        let range = TimeRange::of(&[expr]);
        (range.from().map(|time| time.0), range.until().map(|time| time.0))
    };
    let (first, second) = ("\"1970-01-01T00:00:01Z\"", "\"1970-01-01T00:00:02+0000\"");
    let both = format!("verdict=deny AND timestamp>={first} (time<{second} source_pod:x)");
    assert_eq!(range(&both), (Some(1_000_000_000), Some(1_999_999_999)));
    let either = format!("timestamp={first} OR timestamp={second}");
    assert_eq!(range(&either), (Some(1_000_000_000), Some(2_000_000_000)));
    assert_eq!(range(&format!("timestamp=({first} OR {second})")), range(&either));
    assert_eq!(range(&format!("timestamp={first} OR node=a")), (None, None));
    assert_eq!(range(&format!("NOT timestamp={first}")), (None, None));
}

#[test]
fn what_nobody_named_is_called_as_the_filter_says() {
    let seed = "resource.type=\"k8s_node\" jsonPayload.disposition=\"deny\" \
                resource.labels.location=\"europe-west1\" resource.labels.cluster_name=\"c\" \
                logName=\"projects/p/logs/policy-action\"";
    let parsed = parse(seed).unwrap();
    let (project, location) = (Some("p".into()), Some("europe-west1".into()));
    assert_eq!(parsed.names, Names { project, location });
    assert_eq!(
        parsed.filter.unwrap().to_sql(),
        "(true AND (verdict = 'deny')) AND (true AND (text_equal(cluster, 'c') AND true))"
    );
    let location = |text: &str| parse(text).unwrap().names.location;
    assert_eq!(location("resource.labels.location=(\"a\" OR \"b\")"), Some("a".into()));
    assert_eq!(location("-resource.labels.location=\"a\""), None);
    assert_eq!(location("resource.labels.location:*"), None);
    let other = Names { project: Some("q".into()), location: None };
    let sql = parse_for("logName=projects/p/logs/policy-action", other).unwrap();
    assert_eq!(sql.filter.unwrap().to_sql(), "false");
}

#[test]
fn deep_and_long_filters_are_refused() {
    let error = |text: &str| parse(text).unwrap_err().message;
    assert!(error(&"(".repeat(15_000)).contains("levels deep"));
    assert!(error(&"NOT ".repeat(4_000)).contains("levels deep"));
    assert!(error(&"- ".repeat(9_000)).contains("levels deep"));
    assert!(error(&"cast(".repeat(3_000)).contains("levels deep"));
    assert!(error(&"f=(".repeat(6_000)).contains("a list has values only"));
    assert!(error(&"node=a OR ".repeat(1_900)).contains("500 comparisons"));
    assert!(error(&format!("node=({})", "a ".repeat(9_000))).contains("500 comparisons"));
    assert!(error(&"jsonPayload:a ".repeat(400)).contains("2000 tests"));
    assert!(error(&format!("node=~\"{}\"", "(a{99}){99}".repeat(50))).contains("too large"));
    assert!(error(&"x".repeat(20_001)).contains("20000 are allowed"));
    assert!(parse(&"x".repeat(20_000)).is_ok());
    assert!(parse(&vec!["node=a"; 500].join(" OR ")).is_ok());
}
