//! The engine, the engine by way of SQL, and a naive evaluator that looks at the entries as clients get
//! them say the same of random filters and rows.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::TimestampNanosecondType;
use arrow::record_batch::RecordBatch;
use datafusion::common::DFSchema;
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use proptest::prelude::*;
use serde_json::Value;
use weir_flow::Flow;
use weir_flow::schema::LabelMap;

use crate::filter::{Names, Operator, parse};
use crate::functions;
use crate::logging::entry::entry;
use crate::output::lines;
use crate::testing::{BEGIN_NS, STEP_NS, batch, flow};

const ROWS: u64 = 60;

/// Rows with all that makes a difference.
static FLOWS: LazyLock<Vec<Flow>> = LazyLock::new(|| {
    let varied = |number: u64| {
        let mut row = flow(number);
        row.count = number % 4;
        if number % 11 == 4 {
            row.source_pod = None;
            row.source_workload_kind = None;
            row.source_workload = None;
        }
        if number % 4 == 1 {
            row.source_workload_kind = Some("Deployment".into());
        }
        if number % 13 == 6 {
            row.verdict = "audit".into();
            row.policies.clear();
            row.policy = String::new();
        }
        if number % 9 == 2 {
            row.source_port = Some(0);
            row.protocol = "SCTP".into();
            row.policies[0].namespace = String::new();
        }
        if number % 5 == 3 {
            row.destination_labels = LabelMap::from([("app".into(), "Redis".into())]);
            row.destination_names = vec!["redis.shop".into(), "Cache.shop".into()];
        }
        row
    };
    (0..ROWS).map(varied).collect()
});
static BATCH: LazyLock<RecordBatch> = LazyLock::new(|| batch(FLOWS.iter().cloned()));

/// A row as clients see it: its columns, and its entry.
static SEEN: LazyLock<Vec<(Value, Value)>> = LazyLock::new(|| {
    let text = lines(&BATCH).unwrap();
    let columns = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let columns = columns.map(|line| serde_json::from_slice(line).unwrap());
    columns.zip(FLOWS.iter().map(|row| entry(row, &Names::default()))).collect()
});

static SESSION: LazyLock<SessionContext> = LazyLock::new(|| {
    let session = SessionContext::new();
    let mut state = session.state();
    functions::register(&mut state).unwrap();
    let session = SessionContext::new_with_state(state);
    let table = MemTable::try_new(BATCH.schema(), vec![vec![BATCH.clone()]]).unwrap();
    session.register_table("flows", Arc::new(table)).unwrap();
    session
});

fn by_engine(text: &str) -> Vec<usize> {
    let expr = parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).filter.unwrap();
    let schema = DFSchema::try_from(BATCH.schema()).unwrap();
    let expr = SESSION.state().create_physical_expr(expr.into_expr(), &schema).unwrap();
    let rows = expr.evaluate(&BATCH).unwrap().into_array(BATCH.num_rows()).unwrap();
    let rows = rows.as_boolean();
    (0..rows.len()).filter(|row| rows.is_valid(*row) && rows.value(*row)).collect()
}

fn by_sql(text: &str) -> Vec<usize> {
    let condition = parse(text).unwrap().filter.unwrap().to_sql();
    let sql = format!("select time from flows where {condition} order by time");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let batches = runtime.block_on(async {
        let rows = SESSION.sql(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        rows.collect().await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    });
    let number = |time: &i64| usize::try_from((time - BEGIN_NS) / STEP_NS).unwrap();
    let times =
        batches.iter().map(|batch| batch.column(0).as_primitive::<TimestampNanosecondType>());
    times.flat_map(|times| times.values().iter().map(number)).collect()
}

/// A filter as the test sees it.
#[derive(Clone, Debug)]
enum Naive {
    And(Vec<Naive>),
    Or(Vec<Naive>),
    Not(Box<Naive>, bool),
    Compare(&'static str, Operator, Vec<String>, bool),
    Present(&'static str),
    Anywhere(String),
    /// A function's text, and what it does.
    Call(&'static str, fn(&Flow) -> bool),
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
                // Two dashes would begin a comment.
                let twice = matches!(**inner, Self::Not(_, true));
                out.push_str(if *dash && !twice { "-" } else { "NOT " });
                inner.write_in(!matches!(**inner, Self::And(_) | Self::Or(_)), out);
            }
            Self::Compare(name, operator, values, any) => {
                let values: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
                let _ = match values.as_slice() {
                    [value] => write!(out, "{name} {operator} {value}"),
                    many => write!(
                        out,
                        "{name}{operator}({})",
                        many.join(if *any { " OR " } else { " " })
                    ),
                };
            }
            Self::Present(name) => {
                let _ = write!(out, "{name}:*");
            }
            Self::Anywhere(text) => {
                let _ = write!(out, "{text:?}");
            }
            Self::Call(text, _) => out.push_str(text),
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

    fn holds(&self, row: usize) -> bool {
        match self {
            Self::And(terms) => terms.iter().all(|term| term.holds(row)),
            Self::Or(terms) => terms.iter().any(|term| term.holds(row)),
            Self::Not(inner, _) => !inner.holds(row),
            Self::Compare(name, operator, values, any) => {
                let own = values_of(row, name);
                let one = |value: &String| own.iter().any(|own| compare(own, *operator, value));
                if *any { values.iter().any(one) } else { values.iter().all(one) }
            }
            Self::Present(name) => values_of(row, name).iter().any(|value| *value != ""),
            Self::Anywhere(text) => {
                let mut texts = vec!["projects/-/logs/policy-action".to_owned(), "k8s_node".into()];
                all_texts(&SEEN[row].0, "", &mut texts);
                let text = text.to_lowercase();
                texts.iter().any(|own| own.to_lowercase().contains(&text))
            }
            Self::Call(_, call) => call(&FLOWS[row]),
        }
    }
}

/// Everything at a path; what is null or not there is nothing.
fn values_of(row: usize, name: &str) -> Vec<&'static Value> {
    let (columns, entry) = &SEEN[row];
    let path: Vec<&str> = match name.split_once(".\"") {
        Some((first, key)) => vec![first, key.trim_end_matches('"')],
        None => name.split('.').collect(),
    };
    let begin = if columns.get(path[0]).is_some() { columns } else { entry };
    let mut found = vec![begin];
    for part in path {
        found = found
            .into_iter()
            .filter_map(|value| value.get(part))
            .flat_map(|value| match value {
                Value::Array(members) => members.iter().collect(),
                Value::Null => vec![],
                other => vec![other],
            })
            .collect();
    }
    // A policy without a namespace has none, which column `policies` writes as nothing.
    if name == "policies.namespace" {
        found.retain(|value| *value != "");
    }
    found
}

fn all_texts(value: &Value, key: &str, texts: &mut Vec<String>) {
    match value {
        Value::String(text) if !matches!(key, "time" | "end_time") => texts.push(text.clone()),
        Value::Number(number) if key.ends_with("_port") => texts.push(number.to_string()),
        Value::Array(members) => members.iter().for_each(|member| all_texts(member, key, texts)),
        Value::Object(fields) => {
            for (name, field) in fields {
                if key.ends_with("_labels") {
                    texts.push(name.clone());
                }
                all_texts(field, name, texts);
            }
        }
        _ => {}
    }
}

fn compare(own: &Value, operator: Operator, value: &str) -> bool {
    if let Some(number) = own.as_u64() {
        if let Ok(value) = value.parse::<i128>() {
            return holds(operator, i128::from(number).cmp(&value));
        }
        return value.parse::<f64>().is_ok_and(|value| {
            (number as f64).partial_cmp(&value).is_some_and(|order| holds(operator, order))
        });
    }
    let text = own.as_str().unwrap();
    if let (Ok(own), Ok(value)) =
        (text.parse::<jiff::Timestamp>(), value.parse::<jiff::Timestamp>())
    {
        return holds(operator, own.cmp(&value));
    }
    match operator {
        Operator::Matches => regex::Regex::new(value).unwrap().is_match(text),
        Operator::NotMatches => !regex::Regex::new(value).unwrap().is_match(text),
        Operator::Has => text.to_lowercase().contains(&value.to_lowercase()),
        _ => holds(operator, text.to_lowercase().cmp(&value.to_lowercase())),
    }
}

fn holds(operator: Operator, order: std::cmp::Ordering) -> bool {
    match operator {
        Operator::Equal | Operator::Has => order.is_eq(),
        Operator::NotEqual => order.is_ne(),
        Operator::Less => order.is_lt(),
        Operator::LessOrEqual => order.is_le(),
        Operator::Greater => order.is_gt(),
        Operator::GreaterOrEqual => order.is_ge(),
        Operator::Matches | Operator::NotMatches => unreachable!("of texts only"),
    }
}

const TEXTS: [(&str, &[&str]); 26] = [
    ("verdict", &["deny", "ALLOW", "audit", "d", ""]),
    ("reason", &["policy", "default_Deny", "x"]),
    ("source_pod", &["pod-1", "POD-23", "od-4", "z", "\"quoted\\"]),
    ("source_namespace", &["ns-0", "Ns-1", "ns", "ß"]),
    ("destination_node", &["x", ""]),
    ("protocol", &["tcp", "ICMP", "sctp"]),
    ("source_ip", &["10.0.0.7", "10.0.0.", "::1"]),
    ("policy", &["default/redis", "redis", ""]),
    ("destination_names", &["redis.default.svc", "cache.SHOP", "."]),
    ("policies.name", &["redis", "Red", ""]),
    ("policies.namespace", &["default", "e"]),
    ("source_labels.app", &["a,\"b\"", "A"]),
    ("destination_labels.app", &["redis", "x"]),
    ("jsonPayload.disposition", &["deny", "Allow", "al", "b"]),
    ("jsonPayload.connection.protocol", &["tcp", "UNKNOWN", "icmp", "n"]),
    ("jsonPayload.connection.direction", &["ingress", "gress"]),
    ("jsonPayload.src.pod_name", &["pod-1", "pod"]),
    ("jsonPayload.src.namespace", &["ns-0", "ns"]),
    ("jsonPayload.src.instance", &["10.0.0.5", "10."]),
    ("jsonPayload.src.workload_kind", &["deployment", "Pod"]),
    ("jsonPayload.dest.workload_name", &["redis", "r"]),
    ("jsonPayload.policies.namespace", &["default"]),
    ("resource.labels.cluster_name", &["TEST", "x"]),
    ("jsonPayload.policies.name", &["redis"]),
    ("labels.\"weir/reason\"", &["policy", "DEFAULT_deny"]),
    ("labels.\"k8s-pod/app\"", &["redis", "a"]),
];

const NUMBERS: [(&str, &[&str]); 8] = [
    ("source_port", &["40007", "40030.5", "-1", "0", "70000", "many"]),
    ("tcp_flags", &["2", "1.5", "300"]),
    ("packets", &["17", "-3", "18446744073709551616", "1e40"]),
    ("policy_revision", &["18446744073709551600", "18446744073709551615"]),
    ("rtt_ns", &["20000", "0"]),
    ("jsonPayload.count", &["1", "2.0", "2.5", "0"]),
    ("jsonPayload.connection.src_port", &["40010", "0"]),
    ("jsonPayload.connection.dest_port", &["6379", "x"]),
];

type NaiveCall = (&'static str, fn(&Flow) -> bool);

const CALLS: [NaiveCall; 9] = [
    ("ip_in_net(source_ip, \"10.0.0.16/28\")", |row| {
        let last: u8 = row.source_ip.rsplit('.').next().unwrap().parse().unwrap();
        (16..32).contains(&last)
    }),
    ("ip_in_net(source_pod, \"::/0\")", |_| false),
    ("cast(source_port, STRING) =~ \"7$\"", |row| {
        row.source_port.is_some_and(|port| port % 10 == 7)
    }),
    ("CAST(regexp_extract(source_pod, \"-(.*)\"), INT64) < 30", |row| {
        let digits = row.source_pod.as_ref().map(|pod| pod[4..].parse::<i64>().unwrap());
        digits.is_some_and(|number| number < 30)
    }),
    ("SEARCH(source_pod, \"POD\")", |row| row.source_pod.is_some()),
    ("SEARCH(source_pod, \"po\")", |_| false),
    ("SEARCH(\"node redis 6379\")", |row| row.destination_port.is_some()),
    ("cast(time, STRING) : \"00:00:1\"", |row| {
        let second = (row.time.0 - BEGIN_NS) / STEP_NS;
        (10..20).contains(&second)
    }),
    ("sample(source_namespace, 1)", |row| row.source_namespace.is_some()),
];

fn comparison() -> impl Strategy<Value = Naive> {
    let ordered = vec![
        Operator::Equal,
        Operator::NotEqual,
        Operator::Less,
        Operator::LessOrEqual,
        Operator::Greater,
        Operator::GreaterOrEqual,
        Operator::Has,
    ];
    let regular = vec![Operator::Matches, Operator::NotMatches];
    let patterns =
        vec!["^pod".to_owned(), "[0-9]$".into(), "(?i)DEN".into(), "e.".into(), r"\d-".into()];
    let of = |(name, values): (&'static str, &'static [&'static str]), operators: Vec<Operator>| {
        let values = prop::sample::select(values).prop_map(str::to_owned);
        let values = prop::collection::vec(values, 1..3);
        (prop::sample::select(operators), values, any::<bool>())
            .prop_map(move |(operator, values, any)| Naive::Compare(name, operator, values, any))
    };
    let both = ordered.clone();
    let time = (0i64..60).prop_map(|number| {
        let time = jiff::Timestamp::from_nanosecond(i128::from(BEGIN_NS + number * STEP_NS));
        time.unwrap().to_string()
    });
    let names: Vec<&'static str> = TEXTS.iter().chain(&NUMBERS).map(|(name, _)| *name).collect();
    prop_oneof![
        6 => prop::sample::select(&TEXTS[..]).prop_flat_map(move |field| of(field, ordered.clone())),
        3 => prop::sample::select(&NUMBERS[..]).prop_flat_map(move |field| of(field, both.clone())),
        1 => (
            prop::sample::select(&TEXTS[..]),
            prop::sample::select(regular),
            prop::sample::select(patterns),
        )
            .prop_map(|((name, _), operator, pattern)| {
                Naive::Compare(name, operator, vec![pattern], true)
            }),
        1 => (
            prop::sample::select(vec!["time", "timestamp"]),
            prop::sample::select(vec![Operator::Less, Operator::GreaterOrEqual, Operator::Equal]),
            time,
        )
            .prop_map(|(name, operator, time)| Naive::Compare(name, operator, vec![time], true)),
        1 => prop::sample::select(names).prop_map(Naive::Present),
        1 => prop::sample::select(vec!["pod-2", "NODE-1", "4000", "policy-act", "svc", "nothing", "app"])
            .prop_map(|text| Naive::Anywhere(text.to_owned())),
        1 => prop::sample::select(&CALLS[..]).prop_map(|(text, call)| Naive::Call(text, call)),
    ]
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

#[test]
fn what_a_row_does_not_have_is_never_compared() {
    let all = FLOWS.len();
    let null = FLOWS.iter().filter(|row| row.source_namespace.is_none()).count();
    assert!(null > 0);
    assert_eq!(by_engine("source_namespace!=\"nowhere\"").len(), all - null);
    assert_eq!(by_engine("NOT source_namespace=\"nowhere\"").len(), all);
    assert_eq!(by_engine("source_namespace=NULL_VALUE").len(), null);
    assert_eq!(by_engine("source_namespace!=NULL_VALUE").len(), all - null);
    assert_eq!(by_engine("jsonPayload.src.namespace=NULL_VALUE").len(), 0);
    assert_eq!(by_engine("NOT jsonPayload.src.namespace=NULL_VALUE").len(), all);
    // What no entry sets counts as its default, but is not present.
    for always in
        ["trace=\"\"", "trace!=\"a\"", "httpRequest.status=0", "NOT severity:*", "severity<ERROR"]
    {
        assert_eq!(by_engine(always).len(), all, "{always}");
    }
    for never in ["textPayload!=\"a\"", "httpRequest:*", "jsonPayload.nothing!=1", "severity>=400"]
    {
        assert_eq!(by_engine(never).len(), 0, "{never}");
    }
    let id = entry(&FLOWS[7], &Names::default())["insertId"].as_str().unwrap().to_owned();
    assert_eq!(by_engine(&format!("insertId=\"{id}\"")), [7]);
    // Full-width letters and both small sigmas are the same text.
    assert_eq!(by_engine("source_pod=\"Ｐｏｄ-7\""), [7]);
    assert_eq!(functions::fold::fold("ΣΑΣ"), functions::fold::fold("σας"));
    assert_eq!(functions::fold::fold("STRASSE"), functions::fold::fold("straße"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn engine_sql_and_naive_evaluator_agree(filter in naive()) {
        let mut text = String::new();
        filter.write(&mut text);
        let expected: Vec<usize> = (0..FLOWS.len()).filter(|row| filter.holds(*row)).collect();
        prop_assert_eq!(by_engine(&text), expected.clone(), "{}", text);
        prop_assert_eq!(by_sql(&text), expected, "{}", text);
    }

}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_text_breaks_the_parser(text in "[ a-z=!<>:()\"'\\\\ANDORT.,~*`-]{0,80}|\\PC{0,80}|(node|time|labels|jsonPayload|severity|cast|SEARCH|source_ip)([.:=!~<>(]{1,2})(\"a\"|b|\\*|\\(a OR b\\)|NULL_VALUE)( OR | )?[)]{0,2}") {
        if let Ok(parsed) = parse(&text)
            && let Some(filter) = parsed.filter
        {
            let _ = filter.to_sql();
            let schema = DFSchema::try_from(BATCH.schema()).unwrap();
            let expr = SESSION.state().create_physical_expr(filter.into_expr(), &schema);
            prop_assert!(expr.is_ok(), "{}: {:?}", text, expr);
        }
    }
}
