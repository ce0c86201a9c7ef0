//! What somebody who means harm would try, through every door that takes it.

use std::time::{Duration, Instant};

use serde_json::json;

use super::bed::{Bed, Counts, Told};
use super::flight_sql::FlightSql;
use super::postgres::{self, Postgres};
use super::sql::Sql;

/// From the question to its end, where queries may take two seconds; on a machine that does other things.
const SOON: Duration = Duration::from_secs(40);

/// SQL that has to be refused.
fn refused() -> Vec<String> {
    let nested = |open: &str, close: &str, depth| {
        format!("select {}1{}", open.repeat(depth), close.repeat(depth))
    };
    let chain = |term: &str, by: &str, count| vec![term; count].join(by);
    let mut doubled = "with a0 as (select 1 as x)".to_owned();
    for level in 1..40 {
        let before = level - 1;
        doubled += &format!(", a{level} as (select l.x from a{before} l, a{before} r)");
    }
    doubled += " select count(*) from a39";
    let mut refused = vec![
        nested("(", ")", 10_000),
        nested("abs(", ")", 150),
        nested("(select ", ")", 100),
        nested("case when true then ", " else 0 end", 150),
        nested("[", "]", 5_000),
        format!("select {}", chain("1", "+", 10_000)),
        format!("select 1 where {}", chain("1=1", " or ", 10_000)),
        chain("select 1", " union all ", 1_000),
        format!("select * from {}", chain("flows", " cross join ", 400)),
        format!("select '{}'", "x".repeat(900_000)),
        format!("select 1 where 1 in ({})", chain("1", ",", 100_000)),
        doubled,
        "select /*".repeat(1_000),
        "with recursive r as (select 1 as n union all select n + 1 from r) select * from r".into(),
        "select count(*) from flows a, flows b, flows c, flows d, flows e, flows f where a.packets + b.packets + \
         c.packets + d.packets + e.packets + f.packets < 0"
            .into(),
        "select array_agg(a.source_pod || b.source_pod || c.source_pod || d.source_pod) from flows a, flows b, flows c, \
         flows d"
            .into(),
        "select repeat('x', 2000000000)".into(),
        "select lpad('x', 2000000000)".into(),
        "select repeat(repeat(repeat('x', 4000), 4000), 4000)".into(),
        "select count(*) from generate_series(1, 9000000) a, generate_series(1, 9000000) b".into(),
        "select * from generate_series(1, 9223372036854775807)".into(),
        "select regexp_like(source_pod, '((((a{99}){99}){99}){99}){99}') from flows".into(),
        "select regexp_replace('a', '(', 'b')".into(),
        "select 1; drop table flows".into(),
        "select 1 /* ; */ ; select 2; copy flows to '/tmp/weir-never'".into(),
        "select * into t from flows".into(),
        "select * from t for update; delete from flows".into(),
        "grant all on flows to public".into(),
        "do $$ begin perform 1; end $$".into(),
        "create function f() returns int language c as '/lib/x.so', 'f'".into(),
        "create extension dblink".into(),
        "load '/lib/x.so'".into(),
        "alter system set log_min_messages = 'debug5'".into(),
        "vacuum full flows".into(),
        "lock table flows".into(),
        "call f()".into(),
        "prepare p as delete from flows".into(),
        "execute p".into(),
        "kill 1".into(),
        "install httpfs".into(),
        "attach '/etc/passwd' as p".into(),
        "pragma table_info('flows')".into(),
        "select * from '/etc/passwd'".into(),
        "select * from \"/etc/passwd\"".into(),
        "select * from 'file:///etc/passwd'".into(),
        "select * from 'http://127.0.0.1:1/x.parquet'".into(),
    ];
    let functions = [
        "pg_read_file('/etc/passwd')",
        "pg_read_binary_file('/etc/passwd')",
        "pg_ls_dir('/')",
        "lo_import('/etc/passwd')",
        "dblink('host=127.0.0.1', 'select 1')",
        "query_to_xml('select 1', true, true, '')",
        "pg_sleep(60)",
        "pg_terminate_backend(1)",
        "pg_reload_conf()",
        "read_csv('/etc/passwd')",
        "read_text('/etc/passwd')",
        "read_parquet('/etc/passwd')",
        "glob('/*')",
        "getenv('HOME')",
        "url('http://127.0.0.1:1')",
        "system('id')",
        "load_extension('x')",
        "current_setting('ssl_key_file')",
        "set_config('a', 'b', false)",
    ];
    refused.extend(functions.map(|function| format!("select {function}")));
    refused.extend(functions.map(|function| format!("select * from {function}")));
    for target in ["'/tmp/weir-never'", "program 'touch /tmp/weir-never'", "stdout"] {
        refused.push(format!("copy flows to {target}"));
        refused.push(format!("copy (select 1) to {target} stored as csv"));
    }
    for written in [
        "create table t as select 1",
        "create view v as select 1",
        "create external table t stored as csv location '/etc/passwd'",
        "insert into flows select * from flows",
        "update flows set count = 0",
        "delete from flows",
        "truncate flows",
        "drop table flows",
        "alter table flows add column x int",
        "copy flows to '/tmp/weir-never'",
    ] {
        refused.push(written.into());
        refused.push(format!("explain analyze {written}"));
        refused.push(format!("with x as ({written}) select 1"));
    }
    refused
}

/// SQL that may be answered: it has to end, and say nothing of this machine.
const ENDS: [&str; 12] = [
    "select * from information_schema.tables",
    "select * from information_schema.columns",
    "select count(*) from flows where source_pod ~ '(a*)*(a*)*(a*)*$'",
    "select count(*) from flows where source_pod similar to '%(a|a)*%'",
    "select regexp_count(repeat('a', 10000), '(a|a|a)+b') from flows",
    "select count(*) from flows where source_pod like '%_%_%_%_%_%_%_%_%_%_%_%_%_%_%_%_%a'",
    "select sum(packets) over (order by time rows between unbounded preceding and unbounded following) from flows",
    "select max(a.x) from (select unnest([1,2,3]) as x) a, (select unnest([1,2,3]) as x) b",
    "select count(distinct source_labels), count(distinct policies) from flows",
    "select * from flows order by random() limit 1",
    "select '\u{0}', '\u{202e}', '\u{fdfa}'",
    "explain verbose select * from flows a join flows b using (source_pod) join flows c using (source_pod)",
];

/// Asks for all of it by one door.
fn ask(bed: &Bed, door: &str, mut send: impl AsyncFnMut(&str) -> Told) {
    let (mut counts, mut wrong) = (Counts::default(), Vec::new());
    let must = refused().into_iter().map(|sql| (sql, true));
    for (sql, refused) in must.chain(ENDS.iter().map(|sql| ((*sql).to_owned(), false))) {
        let shown = format!("{door}: {}", sql.chars().take(120).collect::<String>());
        let begun = Instant::now();
        let told = bed.run(send(&sql));
        if begun.elapsed() > SOON {
            wrong.push(format!("{shown} took {:?}", begun.elapsed()));
        }
        match &told {
            Told::Refused(message) if message.len() > 2_000 || message.contains("root:") => {
                wrong.push(format!("{shown} is told {message}"));
            }
            Told::Answered | Told::Closed if refused => wrong.push(format!("{shown} is {told:?}")),
            _ => {}
        }
        counts.add("by hand", &shown, told);
    }
    println!("{door}: {} answered, {} refused", counts.answered, counts.refused);
    counts.check();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn hostile_sql_is_refused_at_every_door() {
    let bed = Bed::start();
    let http = Sql::new(&bed);
    ask(&bed, "HTTP", async |sql| http.send(&json!({"sql": sql})).await);
    drop(http);
    bed.settle();
    let mut flight = FlightSql::plain(&bed);
    ask(&bed, "Flight SQL", async |sql| flight.statement(sql).await);
    drop(flight);
    bed.settle();
    let mut simple = Postgres::new(&bed);
    ask(&bed, "Postgres, simple", async |sql| {
        simple.exchange(&postgres::message(b'Q', &[sql.as_bytes(), b"\0"])).await
    });
    drop(simple);
    bed.settle();
    let mut extended = Postgres::new(&bed);
    ask(&bed, "Postgres, extended", async |sql| {
        let messages = [
            postgres::message(b'P', &[b"\0", sql.as_bytes(), b"\0\0\0"]),
            postgres::message(b'B', &[b"\0\0\0\0\0\0\0\0"]),
            postgres::message(b'E', &[b"\0\0\0\0\0"]),
            postgres::message(b'S', &[]),
        ];
        extended.exchange(&messages.concat()).await
    });
    drop(extended);
    bed.settle();
    assert!(!std::path::Path::new("/tmp/weir-never").exists());
}
