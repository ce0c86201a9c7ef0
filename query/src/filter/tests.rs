use std::fmt::Write as _;
use std::sync::LazyLock;

use arrow::array::{Array as _, AsArray as _};
use arrow::record_batch::RecordBatch;
use datafusion::common::DFSchema;
use datafusion::prelude::SessionContext;
use proptest::prelude::*;
use weir_flow::Flow;

use super::*;
use crate::testing::{BEGIN_NS, STEP_NS, batch, flow};

fn shape(filter: &Filter) -> String {
    let list = |terms: &[Filter]| terms.iter().map(shape).collect::<Vec<_>>().join(" ");
    match filter {
        Filter::And(terms) => format!("(and {})", list(terms)),
        Filter::Or(terms) => format!("(or {})", list(terms)),
        Filter::Not(inner) => format!("(not {})", shape(inner)),
        Filter::Compare(Comparison { column, operator, value }) => {
            let value = match value {
                Value::Text(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Time(nanoseconds) => format!("{nanoseconds}ns"),
            };
            format!("{}{operator}{value}", column.name)
        }
    }
}

fn check(text: &str, expected: &str) {
    let filter = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(shape(&filter.unwrap()), expected, "{text}");
}

#[test]
fn or_binds_tighter_than_and() {
    check("node=a OR node=b AND node=c", "(and (or node=a node=b) node=c)");
    check(
        "node=a OR NOT node=b AND NOT node=c OR node=d",
        "(and (or node=a (not node=b)) (or (not node=c) node=d))",
    );
    check("node=a node=b OR node=c", "(and node=a (or node=b node=c))");
    check("NOT node=a node=b", "(and (not node=a) node=b)");
    check("-node=a", "(not node=a)");
    check("(node=a AND node=b) OR node=c", "(or (and node=a node=b) node=c)");
    check("NOT (node=a OR node=b)", "(not (or node=a node=b))");
    check("node=a\nnode=b", "(and node=a node=b)");
}

#[test]
fn values_take_the_type_of_the_column() {
    check("verdict = \"deny\"", "verdict=deny");
    check(r#"node="a \"b\" \\ OR (""#, r#"node=a "b" \ OR ("#);
    check("destination_port=6379", "destination_port=6379");
    check("destination_port!=\"6379\"", "destination_port!=6379");
    check("source_ip:10.0.0.", "source_ip:10.0.0.");
    check("source_ip=fe80::1 node=a", "(and source_ip=fe80::1 node=a)");
    check("source_pod:web-", "source_pod:web-");
    check("policy=shop/web", "policy=shop/web");
    check("time>=\"1970-01-01T00:00:01Z\"", "time>=1000000000ns");
    check("time<1970-01-01T00:00:01+00:00", "time<1000000000ns");
    assert!(parse(" \n ").unwrap().is_none());
}

#[test]
fn errors_say_where_and_what_to_do() {
    for (text, column, part) in [
        ("sourcepod=\"a\"", 1, "did you mean `source_pod`?"),
        ("node=a AND xyzzy=1", 12, "GET /api/v1/schema"),
        ("node=", 6, "a value is missing after `node=`"),
        ("node= AND node=a", 7, "alone"),
        ("redis", 1, "source_pod:\"redis\""),
        ("\"redis\"", 1, "source_pod=\"redis\""),
        ("node=a AND", 11, "a comparison is missing"),
        ("AND node=a", 1, "a comparison is missing"),
        ("node=a OR OR node=b", 11, "a comparison is missing"),
        ("(node=a", 1, "not closed"),
        ("node=a)", 7, "never opened"),
        ("node=\"a", 6, "not closed"),
        ("node=\"\\x\"", 7, "after \\"),
        ("node==a", 5, "`==` is no operator"),
        ("node=~\"a.*\"", 5, "regexp_like"),
        ("node=(\"a\" OR \"b\")", 6, "lists are not known"),
        ("destination_port=http", 18, "a number from 0 to 65535"),
        ("destination_port=65536", 18, "a number from 0 to 65535"),
        ("packets>-1", 9, "a number from 0"),
        ("time>yesterday", 6, "2026-01-31T12:00:00Z"),
        ("source_labels=\"a\"", 15, "POST /api/v1/sql"),
        ("ñode=a", 1, "put values into double quotes"),
        ("node=a; drop", 6, "alone"),
    ] {
        match parse(text) {
            Ok(filter) => {
                // Words after an operator are values, whatever they are.
                assert_eq!(part, "alone", "{text}: {filter:?}");
            }
            Err(error) => {
                if part != "alone" {
                    assert_eq!(error.column, column, "{text}: {error}");
                    assert!(error.message.contains(part), "{text}: {error}");
                }
            }
        }
    }
}

#[test]
fn deep_and_long_filters_are_refused() {
    let error = |text: &str| parse(text).unwrap_err().message;
    assert!(error(&"(".repeat(15_000)).contains("levels deep"));
    assert!(error(&"NOT ".repeat(4_000)).contains("levels deep"));
    assert!(error(&"-".repeat(15_000)).contains("levels deep"));
    assert!(error(&"node=a OR ".repeat(1_900)).contains("500 comparisons"));
    assert!(error(&"x".repeat(20_001)).contains("20000 are allowed"));
    let most = vec!["node=a"; 500].join(" OR ");
    assert_eq!(matching(&most), Vec::<usize>::new());
}

/// The rows of [`ROWS`] that pass the filter, by the query engine.
fn matching(text: &str) -> Vec<usize> {
    let expr = parse(text).unwrap().unwrap().into_expr();
    let schema = DFSchema::try_from(BATCH.schema()).unwrap();
    let expr = SessionContext::new().state().create_physical_expr(expr, &schema).unwrap();
    let rows = expr.evaluate(&BATCH).unwrap().into_array(BATCH.num_rows()).unwrap();
    let rows = rows.as_boolean();
    assert_eq!(rows.null_count(), 0, "{text}");
    (0..rows.len()).filter(|row| rows.value(*row)).collect()
}

static ROWS: LazyLock<Vec<Flow>> = LazyLock::new(|| (0..60).map(flow).collect());
static BATCH: LazyLock<RecordBatch> = LazyLock::new(|| batch(ROWS.iter().cloned()));

#[test]
fn nulls_and_case_follow_cloud_logging() {
    let all = ROWS.len();
    let null = ROWS.iter().filter(|flow| flow.source_namespace.is_none()).count();
    assert!(null > 0);
    assert_eq!(matching("source_namespace!=\"nowhere\"").len(), all - null);
    assert_eq!(matching("NOT source_namespace=\"nowhere\"").len(), all);
    assert_eq!(matching("rtt_ns!=1").len() + matching("NOT rtt_ns>=0").len(), all);
    assert_eq!(matching("source_pod=\"pOd-7\""), [7]);
}

/// A filter as the test sees it: what it says, and what it means row by row.
#[derive(Clone, Debug)]
enum Naive {
    And(Vec<Naive>),
    Or(Vec<Naive>),
    Not(Box<Naive>, bool),
    Compare(&'static str, Operator, String),
}

impl Naive {
    fn write(&self, out: &mut String) {
        let list = |terms: &[Naive], by: &str, out: &mut String| {
            for (index, term) in terms.iter().enumerate() {
                if index > 0 {
                    out.push_str(by);
                }
                // OR stands in AND without parentheses, as it binds tighter.
                let bare = match term {
                    Naive::And(_) => false,
                    Naive::Or(_) => by != " OR ",
                    _ => true,
                };
                term.write_in(bare, out);
            }
        };
        match self {
            Self::And(terms) if terms.len() % 2 == 0 => list(terms, " AND ", out),
            Self::And(terms) => list(terms, " ", out),
            Self::Or(terms) => list(terms, " OR ", out),
            Self::Not(inner, dash) => {
                out.push_str(if *dash { "-" } else { "NOT " });
                inner.write_in(!matches!(**inner, Self::And(_) | Self::Or(_)), out);
            }
            Self::Compare(name, operator, value) => {
                let _ = write!(out, "{name}{operator}{value:?}");
            }
        }
    }

    fn write_in(&self, bare: bool, out: &mut String) {
        if !bare {
            out.push('(');
        }
        self.write(out);
        if !bare {
            out.push(')');
        }
    }

    fn holds(&self, row: &Flow) -> bool {
        match self {
            Self::And(terms) => terms.iter().all(|term| term.holds(row)),
            Self::Or(terms) => terms.iter().any(|term| term.holds(row)),
            Self::Not(inner, _) => !inner.holds(row),
            Self::Compare(name, operator, value) => compare(row, name, *operator, value),
        }
    }
}

fn compare(row: &Flow, name: &str, operator: Operator, value: &str) -> bool {
    let text = match name {
        "verdict" => Some(row.verdict.clone()),
        "source_pod" => row.source_pod.clone(),
        "source_namespace" => row.source_namespace.clone(),
        "destination_node" => row.destination_node.clone(),
        _ => {
            let number = match name {
                "source_port" => row.source_port.map(i128::from),
                "tcp_flags" => row.tcp_flags.map(i128::from),
                "packets" => Some(i128::from(row.packets)),
                "policy_revision" => Some(i128::from(row.policy_revision)),
                "rtt_ns" => row.rtt_ns.map(i128::from),
                "time" => Some(i128::from(row.time.0)),
                other => panic!("{other}"),
            };
            let value = value
                .parse()
                .unwrap_or_else(|_| value.parse::<jiff::Timestamp>().unwrap().as_nanosecond());
            return number.is_some_and(|number| holds(operator, &number, &value));
        }
    };
    let value = value.to_lowercase();
    text.map(|text| text.to_lowercase()).is_some_and(|text| match operator {
        Operator::Has => text.contains(&value),
        _ => holds(operator, &text, &value),
    })
}

fn holds<T: Ord>(operator: Operator, left: &T, right: &T) -> bool {
    match operator {
        Operator::Equal | Operator::Has => left == right,
        Operator::NotEqual => left != right,
        Operator::Less => left < right,
        Operator::LessOrEqual => left <= right,
        Operator::Greater => left > right,
        Operator::GreaterOrEqual => left >= right,
    }
}

fn comparison() -> impl Strategy<Value = Naive> {
    let operator = prop::sample::select(vec![
        Operator::Equal,
        Operator::NotEqual,
        Operator::Less,
        Operator::LessOrEqual,
        Operator::Greater,
        Operator::GreaterOrEqual,
        Operator::Has,
    ]);
    let text = |name: &'static str, values: &[&str]| {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        prop::sample::select(values).prop_map(move |value| (name, value)).boxed()
    };
    let number = |name: &'static str, range: std::ops::Range<u64>| {
        range.prop_map(move |value| (name, value.to_string())).boxed()
    };
    let time = (0i64..60).prop_map(|number| {
        let time = jiff::Timestamp::from_nanosecond(i128::from(BEGIN_NS + number * STEP_NS));
        ("time", time.unwrap().to_string())
    });
    let side = prop_oneof![
        text("verdict", &["deny", "ALLOW", "d", ""]),
        text("source_pod", &["pod-1", "POD-23", "od-4", "z", "\"quoted\\"]),
        text("source_namespace", &["ns-0", "Ns-1", "ns", "ß"]),
        text("destination_node", &["x", ""]),
        number("source_port", 39_990..40_070),
        number("tcp_flags", 0..5),
        number("packets", 0..60),
        number("policy_revision", u64::MAX - 60..u64::MAX),
        number("rtt_ns", 0..60_000),
        time.boxed(),
    ];
    (side, operator).prop_map(|((name, value), operator)| Naive::Compare(name, operator, value))
}

fn naive() -> impl Strategy<Value = Naive> {
    comparison().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Naive::And),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Naive::Or),
            (inner, any::<bool>()).prop_map(|(inner, dash)| Naive::Not(Box::new(inner), dash)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_agrees_with_a_naive_evaluator(filter in naive()) {
        let mut text = String::new();
        filter.write(&mut text);
        let expected: Vec<usize> =
            (0..ROWS.len()).filter(|row| filter.holds(&ROWS[*row])).collect();
        prop_assert_eq!(matching(&text), expected, "{}", text);
    }

    #[test]
    fn no_text_breaks_the_parser(text in "[ a-z=!<>:()\"\\\\ANDORT.~-]{0,60}|\\PC{0,60}") {
        let _ = parse(&text);
    }
}
