//! Texts out of pieces of a language: mostly wrong, and now and then a query.

use crate::random::Random;

/// Pieces of SQL.
const SQL: [&str; 84] = [
    "select",
    "select",
    "select",
    "from",
    "from flows",
    "from flows",
    "from edges_1m",
    "from loss",
    "from policies",
    "from connections",
    "from endpoints",
    "from information_schema.columns",
    "from pg_catalog.pg_class",
    "where",
    "group by all",
    "group by 1",
    "order by 1",
    "having",
    "limit 3",
    "offset 1",
    "join flows b on true",
    "left join",
    "lateral",
    "union all",
    "intersect",
    "with x as (",
    "with recursive r as (",
    ")",
    "(",
    "*",
    ",",
    "+",
    "-",
    "/",
    "%",
    "||",
    "=",
    "<>",
    "<",
    "and",
    "or",
    "not",
    "in (1, 2)",
    "in (select",
    "between 1 and 2",
    "is null",
    "like '%'",
    "similar to",
    "~ '(a*)*$'",
    "case when",
    "then",
    "else",
    "end",
    "count(*)",
    "count(distinct",
    "sum(count)",
    "max(time)",
    "avg(bytes)",
    "array_agg(",
    "unnest(policies)",
    "cast(",
    "as int)",
    "::text",
    "time",
    "verdict",
    "source_pod",
    "policies",
    "source_labels",
    "source_labels['app']",
    "policies[1]",
    "interval '1 day'",
    "now()",
    "'text'",
    "'",
    "\"",
    "1",
    "0",
    "1e400",
    "18446744073709551616",
    "x'00'",
    "null",
    "$1",
    "explain",
    "over (partition by verdict)",
];

/// Pieces of the Cloud Logging language.
const FILTER: [&str; 72] = [
    "verdict",
    "source_pod",
    "source_namespace",
    "destination_ip",
    "destination_port",
    "source_labels.app",
    "destination_labels.\"a/b\"",
    "policies.name",
    "destination_names",
    "jsonPayload.connection.src_ip",
    "jsonPayload.disposition",
    "jsonPayload",
    "resource.type",
    "resource.labels.location",
    "labels.\"weir/verdict\"",
    "logName",
    "insertId",
    "timestamp",
    "rtt_ns",
    "severity",
    "thud",
    "=",
    "=",
    "=",
    "!=",
    "<",
    ">=",
    ":",
    ":",
    "=~",
    "!~",
    "AND",
    "OR",
    "NOT",
    "-",
    "(",
    ")",
    "(",
    ")",
    "*",
    ",",
    ".",
    "\"deny\"",
    "deny",
    "allow",
    "\"10.0.0.1\"",
    "10.0.0.0/8",
    "6379",
    "-5",
    "1e400",
    "\"2026-01-01T00:00:00Z\"",
    "2ms",
    "NULL_VALUE",
    "\"(a*)*$\"",
    "\"[\"",
    "\"\\101\\x\"",
    "\"",
    "'",
    "--",
    "\n",
    "\u{fdfa}\u{301}",
    "\0",
    "log_id(\"policy-action\")",
    "source(projects/P)",
    "sample(insertId, 0.5)",
    "ip_in_net(source_ip, \"10.0.0.0/8\")",
    "SEARCH(\"redis\")",
    "SEARCH(source_pod,",
    "cast(timestamp, STRING)",
    "regexp_extract(source_pod, \"a(b)\")",
    "text:verdict:deny",
    "projects/p/logs/policy-action",
];

/// A statement, or what looks like one.
pub(super) fn sql(random: &mut Random) -> String {
    let pieces = text(random, &SQL, 14);
    match random.below(3) {
        0 => pieces,
        _ => format!("select {pieces} from flows"),
    }
}

/// A filter, or what looks like one.
pub(super) fn filter(random: &mut Random) -> String {
    match random.below(3) {
        0 => text(random, &FILTER, 14),
        // Comparisons that are whole, in a row that need not be.
        _ => {
            let mut whole = String::new();
            for _ in 0..=random.below(4) {
                let (field, operator) = (random.pick(&FILTER[..21]), random.pick(&FILTER[21..31]));
                let (value, next) = (random.pick(&FILTER[42..56]), random.pick(&FILTER[31..37]));
                whole += &format!("{field}{operator}{value} {next} ");
            }
            whole + "a"
        }
    }
}

fn text(random: &mut Random, pieces: &[&str], most: usize) -> String {
    let count = 1 + random.below(most);
    let mut text = String::new();
    for _ in 0..count {
        text += random.pick(pieces);
        if random.below(8) > 0 {
            text.push(' ');
        }
    }
    text
}
