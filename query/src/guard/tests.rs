use std::time::{Duration, Instant};

use crate::Limits;
use crate::testing::{Stand, batch, flow};

/// The stand after hostile SQL: it still answers.
async fn alive(stand: &Stand) {
    assert_eq!(stand.rows("select 1 as one").await[0]["one"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_and_files_are_refused() {
    let stand = Stand::new().await;
    let target = stand.store.path().join("out.csv");
    let target = target.display();
    let hostile = [
        format!("copy flows to '{target}'"),
        format!("copy (select 1) to '{target}' stored as csv"),
        format!("explain copy (select 1) to '{target}'"),
        format!("explain analyze copy (select 1) to '{target}'"),
        format!("create external table t stored as csv location '{target}'"),
        "create table t as select 1".into(),
        "explain analyze create table t as select 1".into(),
        "create view v as select 1".into(),
        "create schema s".into(),
        "create function f() returns int return 1".into(),
        "insert into flows select * from flows".into(),
        "explain analyze insert into flows select * from flows".into(),
        "update flows set count = 0".into(),
        "delete from flows".into(),
        "truncate table flows".into(),
        "drop table flows".into(),
        "alter table flows add column x int".into(),
        "set datafusion.execution.batch_size = 1".into(),
        "reset datafusion.execution.batch_size".into(),
        "show all".into(),
        "prepare p as select 1".into(),
        "execute p".into(),
        "deallocate p".into(),
        "begin".into(),
        "commit".into(),
        "select 1; select 2".into(),
        "select 1; drop table flows".into(),
        "select * into t from flows".into(),
        "".into(),
        ";".into(),
        "-- nothing".into(),
        "with recursive r as (select 1 as n union all select n + 1 from r) select * from r".into(),
    ];
    for sql in &hostile {
        let message = stand.refused(sql, 400).await;
        assert!(!message.is_empty(), "{sql}");
    }
    assert!(!stand.store.path().join("out.csv").exists());
    for sql in [
        "select * from '/etc/passwd'",
        "select * from '/etc/passwd.csv'",
        "select * from \"file:///etc/passwd\"",
        "select * from information_schema.df_settings",
        "select * from read_csv('/etc/passwd')",
    ] {
        let message = stand.refused(sql, 400).await;
        assert!(!message.contains("root:"), "{message}");
    }
    alive(&stand).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deep_wide_and_long_sql_is_refused_and_the_process_lives() {
    let stand = Stand::new().await;
    let nested = |open: &str, inner: &str, close: &str, depth| {
        format!("select {}{inner}{}", open.repeat(depth), close.repeat(depth))
    };
    let chain = |term: &str, by: &str, count| vec![term; count].join(by);
    let mut doubled = "with a0 as (select 1 as x)".to_owned();
    for level in 1..50 {
        let before = level - 1;
        doubled += &format!(", a{level} as (select l.x from a{before} l, a{before} r)");
    }
    doubled += " select count(*) from a49";
    let hostile = [
        nested("(", "1", ")", 10_000),
        nested("(", "1", ")", 200),
        nested("abs(", "1", ")", 10_000),
        nested("abs(", "1", ")", 120),
        nested("not ", "true", "", 10_000),
        nested("- ", "1", "", 10_000),
        nested("- ", "1", "", 300),
        nested("[", "1", "]", 10_000),
        nested("[", "1", "]", 120),
        nested("case when true then ", "1", " else 0 end", 10_000),
        nested("case when true then ", "1", " else 0 end", 150),
        nested("cast(", "1", " as int)", 5_000),
        nested("(select ", "1", ")", 10_000),
        nested("(select ", "1", ")", 100),
        format!("select {}", chain("1", "+", 10_000)),
        format!("select {}", chain("1", "+", 480)),
        format!("select {}", chain("'a'", "||", 480)),
        format!("select 1 where {}", chain("1=1", " or ", 10_000)),
        format!("select 1 where {}", chain("1=1", " or ", 240)),
        format!("select 1 where {}", chain("1=1", " and ", 10_000)),
        chain("select 1", " union all ", 10_000),
        chain("select 1", " union all ", 450),
        format!("select {}", "x".repeat(100_000)),
        format!("select '{}'", "x".repeat(100_000)),
        format!("select * from {}", chain("flows", " cross join ", 400)),
        doubled,
        "select /*".repeat(1_000),
    ];
    for sql in &hostile {
        let message = stand.refused(sql, 400).await;
        assert!(message.len() < 1_500, "{message}");
    }
    alive(&stand).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_sql_that_is_allowed_survives() {
    let stand = Stand::new().await;
    stand.relay.push(batch((0..10).map(flow)));
    let chain = |term: &str, by: &str, count| vec![term; count].join(by);
    for sql in [
        format!("select {}", chain("1", "+", 98)),
        format!("select {} from flows", chain("packets", "+", 98)),
        format!("select count(*) from flows where {}", chain("packets = 1", " or ", 98)),
        format!("select count(*) from flows where packets in ({})", chain("1", ",", 900)),
        chain("select 1", " union all ", 60),
    ] {
        stand.rows(&sql).await;
    }
    let nested = format!("select {}1{}", "abs(".repeat(20), ")".repeat(20));
    stand.rows(&nested).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_that_make_much_of_little_are_bounded() {
    let stand = Stand::new().await;
    for sql in [
        "select repeat('x', 1000000000)",
        "select lpad('x', 1000000000)",
        "select rpad('x', 1000000000, 'yz')",
        "select array_repeat('x', 1000000000)",
        "select array_resize([1], 1000000000, 0)",
        "select range(1, 10000000000)",
        "select generate_series(1, 10000000000)",
        "select * from generate_series(1, 100000000000)",
        "select * from range(-100000000000, 0)",
    ] {
        stand.refused(sql, 400).await;
    }
    let rows = stand.rows("select lpad('7', 3, '0') as l, repeat('ab', 2) as r").await;
    assert_eq!(rows, [serde_json::json!({"l": "007", "r": "abab"})]);
    assert_eq!(stand.rows("select * from generate_series(1, 3)").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_queries_end() {
    let limits =
        Limits { threads: 2, timeout: Duration::from_secs(2), concurrent: 1, ..Limits::default() };
    let stand = Stand::with_limits(limits).await;
    for part in 0..4 {
        stand.relay.push(batch((part * 5_000..(part + 1) * 5_000).map(flow)));
    }
    let join = "flows a, flows b, flows c";
    for sql in [
        format!("select sum(a.packets + b.packets) from {join}"),
        format!("select count(*) from {join} where a.packets + b.packets + c.packets < 0"),
    ] {
        let begun = Instant::now();
        let message = stand.refused(&sql, 504).await;
        assert!(message.contains("2 seconds"), "{message}");
        // It does not only say so: the only place is free again.
        alive(&stand).await;
        assert!(begun.elapsed() < Duration::from_secs(30), "{sql}");
    }
    alive(&stand).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn queries_that_need_far_more_memory_than_there_is_end() {
    let limits =
        Limits { threads: 2, memory_bytes: 32 << 20, spill_bytes: 1 << 20, ..Limits::default() };
    let stand = Stand::with_limits(limits).await;
    for part in 0..4 {
        stand.relay.push(batch((part * 5_000..(part + 1) * 5_000).map(flow)));
    }
    for sql in [
        "select sum(a.value + b.value) from generate_series(1, 9000000) a, \
         generate_series(1, 9000000) b",
        "select a.source_pod || b.source_pod as x, count(*) from flows a, flows b group by x \
         order by x",
        "select array_agg(a.source_pod || b.source_pod) from flows a, flows b",
    ] {
        let message = stand.refused(sql, 422).await;
        assert!(message.contains("memory"), "{message}");
    }
    alive(&stand).await;
}
