//! Grafana's Postgres data source: its drivers, and what its macros and its query builder ask.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::access_tests::certificates::{certificates, tls};
use crate::access_tests::{grant, token};
use crate::testing::{BEGIN_NS, Stand, batch, cache, flow};
use crate::{AccessSettings, QueryConfig};

/// The words of `$__timeFilter(time)` over the rows.
const RANGE: &str = "time BETWEEN '2026-01-01T00:00:00Z' AND '2026-01-01T00:09:59.999Z'";

/// Which tables its query builder takes as those that need no schema before their name.
const NEEDS_NO_SCHEMA: &str = "quote_ident(table_schema) IN (
          SELECT
            CASE WHEN trim(s[i]) = '\"$user\"' THEN user ELSE trim(s[i]) END
          FROM
            generate_series(
              array_lower(string_to_array(current_setting('search_path'),','),1),
              array_upper(string_to_array(current_setting('search_path'),','),1)
            ) as i,
            string_to_array(current_setting('search_path'),',') s
          )";

/// What both drivers make of statements, each with a name.
async fn ask(stand: &Stand, more: &str, statements: &[(&str, String)]) -> Vec<Value> {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("grafana.go");
    std::fs::write(&program, include_str!("grafana.go")).unwrap();
    let to =
        format!("host=localhost port={} user=grafana dbname=weir {more}", stand.postgres.port());
    let mut go = Command::new("go");
    go.env("GO111MODULE", "off")
        .env("GOPATH", "/usr/share/gocode")
        .env("GOFLAGS", "")
        .env("GOCACHE", cache().join("go"))
        .args(["run", program.to_str().unwrap(), &to])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut running = go.spawn().expect("there is no go: run scripts/setup test");
    let mut input = running.stdin.take().unwrap();
    for (name, sql) in statements {
        let line = json!([name, sql]).to_string() + "\n";
        input.write_all(line.as_bytes()).await.unwrap();
    }
    drop(input);
    let output = running.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), statements.len());
    answers
}

async fn one(stand: &Stand, sql: &str) -> Value {
    let answer = ask(stand, "sslmode=disable", &[("one", sql.to_owned())]).await.remove(0);
    assert_eq!(answer["error"], "", "{sql}: {answer}");
    answer
}

async fn with_rows() -> Stand {
    let stand = Stand::new().await;
    stand.relay.push(batch((0..600).map(flow)));
    stand.relay.flush();
    stand
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panels_get_their_series() {
    let stand = with_rows().await;
    let group = "floor(extract(epoch from time)/60)*60 AS \"time\"";
    let statements = [
        ("health", "SELECT 1".to_owned()),
        (
            "series",
            format!(
                "SELECT {group}, verdict AS metric, count(*) AS flows, sum(bytes) AS bytes, avg(rtt_ns) AS rtt \
                 FROM flows WHERE {RANGE} GROUP BY 1, 2 ORDER BY 1, 2"
            ),
        ),
        (
            "time",
            format!("SELECT date_trunc('minute', time) AS time, count(*) AS flows FROM flows WHERE {RANGE} GROUP BY 1 ORDER BY 1"),
        ),
        (
            "epoch",
            format!("SELECT extract(epoch from time) as \"time\", bytes FROM flows WHERE {RANGE} ORDER BY time LIMIT 2"),
        ),
        ("builder", "SELECT count(bytes), verdict FROM flows GROUP BY verdict ORDER BY verdict LIMIT 50".to_owned()),
        ("variable", "SELECT DISTINCT source_namespace FROM flows WHERE source_namespace IS NOT NULL ORDER BY 1".to_owned()),
        (
            "annotation",
            "SELECT time AS \"time\", end_time AS timeend, policy AS text, verdict AS tags FROM flows \
             WHERE verdict = 'deny' ORDER BY time LIMIT 1".to_owned(),
        ),
        ("table", "SELECT * FROM flows ORDER BY time LIMIT 3".to_owned()),
        ("nothing", "SELECT time, bytes FROM flows WHERE time > '2026-02-01T00:00:00Z' ORDER BY time".to_owned()),
        ("wrong", "SELECT bites FROM flows".to_owned()),
    ];
    let answers = ask(&stand, "sslmode=disable", &statements).await;
    let of = |name: &str| answers.iter().find(|answer| answer["name"] == name).unwrap();
    for answer in &answers {
        assert_eq!(answer["error"] == "", answer["name"] != "wrong", "{answer}");
    }
    let begin = BEGIN_NS / 1_000_000_000;
    let series = of("series");
    let columns = json!([
        ["time", "float"],
        ["metric", "text"],
        ["flows", "integer"],
        ["bytes", "float"],
        ["rtt", "float"]
    ]);
    assert_eq!(series["columns"], columns);
    let rows = series["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 20, "{series}");
    // Of every three flows one is a deny; the first minute has those of 0 to 59.
    let allowed: u64 = (0..60).filter(|number| number % 3 != 0).map(|number| number * 100).sum();
    assert_eq!(
        rows[0].as_array().unwrap()[..4],
        json!([begin, "allow", 40, allowed]).as_array().unwrap()[..]
    );
    assert_eq!(
        rows[19].as_array().unwrap()[..3],
        json!([begin + 540, "deny", 20]).as_array().unwrap()[..]
    );
    assert_eq!(of("time")["columns"], json!([["time", "time"], ["flows", "integer"]]));
    assert_eq!(of("time")["rows"][9], json!(["2026-01-01T00:09:00Z", 60]));
    assert_eq!(of("epoch")["rows"], json!([[begin, 0], [begin + 1, 100]]));
    assert_eq!(of("builder")["rows"], json!([[400, "allow"], [200, "deny"]]));
    assert_eq!(of("variable")["rows"], json!([["ns-0"], ["ns-1"], ["ns-2"]]));
    let annotation = &of("annotation")["rows"][0];
    assert_eq!(annotation[0], "2026-01-01T00:00:00Z");
    assert_eq!((&annotation[2], &annotation[3]), (&json!("default/redis"), &json!("deny")));
    let names = of("table")["columns"].as_array().unwrap();
    let fields = weir_flow::schema::table_schema();
    assert_eq!(names.len(), fields.fields().len());
    assert_eq!(of("table")["rows"].as_array().unwrap().len(), 3);
    assert_eq!(of("nothing")["rows"], json!([]));
    let wrong = of("wrong");
    assert!(wrong["error"].as_str().unwrap().starts_with("42703 "), "{wrong}");
    assert_eq!(wrong["place"], "8");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_query_builder_finds_tables_and_columns() {
    let stand = with_rows().await;
    let schemas = "'information_schema', 'pg_catalog', '_timescaledb_cache', '_timescaledb_catalog', \
                   '_timescaledb_internal', '_timescaledb_config', 'timescaledb_information', \
                   'timescaledb_experimental'";
    let version =
        one(&stand, "SELECT current_setting('server_version_num')::int/100 as version").await;
    assert!(version["rows"][0][0].as_i64().unwrap() >= 1500, "{version}");
    let extension = "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'";
    assert_eq!(one(&stand, extension).await["rows"], json!([]));
    let found = one(
        &stand,
        &format!(
            "SELECT schema_name AS \"name\"
    FROM information_schema.schemata
    WHERE schema_name NOT IN ('pg_toast', {schemas})
    ORDER BY schema_name"
        ),
    )
    .await;
    assert_eq!(found["rows"], json!([["public"]]));
    let of_schema = one(
        &stand,
        "SELECT quote_ident(table_name) AS \"table\"
      FROM information_schema.tables
      WHERE quote_ident(table_schema) = 'public'
      ORDER BY 1",
    )
    .await;
    let tables = one(
        &stand,
        &format!(
            "SELECT
    CASE WHEN {NEEDS_NO_SCHEMA}
      THEN quote_ident(table_name)
      ELSE quote_ident(table_schema) || '.' || quote_ident(table_name)
    END AS \"table\"
    FROM information_schema.tables
    WHERE quote_ident(table_schema) NOT IN ({schemas})
    ORDER BY CASE WHEN {NEEDS_NO_SCHEMA} THEN 0 ELSE 1 END, 1"
        ),
    )
    .await;
    assert_eq!(tables["rows"], of_schema["rows"]);
    let names = tables["rows"].as_array().unwrap();
    for table in ["flows", "edges_1m", "loss"] {
        assert!(names.contains(&json!([table])), "{table}: {tables}");
    }
    for table in ["flows", "public.flows"] {
        let columns = one(
            &stand,
            &format!(
                "SELECT quote_ident(column_name) AS \"column\", data_type AS \"type\"
    FROM information_schema.columns
    WHERE
      CASE WHEN array_length(parse_ident('{table}'),1) = 2
        THEN quote_ident(table_schema) = (parse_ident('{table}'))[1]
          AND quote_ident(table_name) = (parse_ident('{table}'))[2]
        ELSE quote_ident(table_name) = '{table}'
          AND {NEEDS_NO_SCHEMA}
      END"
            ),
        )
        .await;
        let columns = columns["rows"].as_array().unwrap();
        assert_eq!(columns.len(), weir_flow::schema::table_schema().fields().len(), "{table}");
        assert!(columns.contains(&json!(["time", "timestamp with time zone"])), "{columns:?}");
        assert!(columns.contains(&json!(["bytes", "numeric"])), "{columns:?}");
    }
    // As newer ones ask, by parameters there.
    let columns = one(
        &stand,
        "SELECT column_name, data_type, udt_name, numeric_precision, numeric_scale
		 FROM information_schema.columns
		 WHERE table_schema = 'public' AND table_name = 'flows'
		 ORDER BY ordinal_position",
    )
    .await;
    assert_eq!(columns["rows"][0][0], "time");
    assert_eq!(columns["rows"][0][2], "timestamptz");
    let values = one(
        &stand,
        "SELECT 'verdict' AS col_name, \"verdict\"::text AS val FROM (SELECT DISTINCT \"verdict\" FROM \"public\".\"flows\" \
         WHERE \"verdict\" IS NOT NULL ORDER BY \"verdict\" LIMIT 100) sub_0 UNION ALL \
         SELECT 'bytes' AS col_name, \"bytes\"::text AS val FROM (SELECT DISTINCT \"bytes\" FROM \"public\".\"flows\" \
         WHERE \"bytes\" IS NOT NULL ORDER BY \"bytes\" LIMIT 100) sub_1",
    )
    .await;
    assert_eq!(values["rows"].as_array().unwrap().len(), 102);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_comes_in_by_tls_with_a_password() {
    let directory = tempfile::tempdir().unwrap();
    certificates(directory.path());
    let access = AccessSettings {
        tokens: vec![token("grafana", "grafana-has-a-long-secret")],
        grants: vec![grant("grafana", &["ns-1"], false)],
        ..AccessSettings::default()
    };
    let tls = Some(tls(directory.path()));
    let stand =
        Stand::with(QueryConfig { access: Some(access), tls, ..QueryConfig::default() }).await;
    stand.relay.push(batch((0..60).map(flow)));
    let root = directory.path().join("root.pem");
    let more = format!(
        "sslmode=verify-full sslrootcert={} password=grafana-has-a-long-secret",
        root.display()
    );
    let sql = "SELECT DISTINCT source_namespace FROM flows".to_owned();
    let answers = ask(&stand, &more, &[("namespaces", sql)]).await;
    assert_eq!(answers[0]["rows"], json!([["ns-1"]]), "{answers:?}");
}
