//! The door with real clients: psql and psycopg. And with what no client sends.

mod grafana;

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::testing::{Stand, batch, cache, flow};
use crate::{Limits, QueryConfig};

/// 60 flows, half of them stored.
async fn stand() -> Stand {
    with(QueryConfig::default()).await
}

async fn with(config: QueryConfig) -> Stand {
    let stand = Stand::with(config).await;
    stand.relay.push(batch((0..30).map(flow)));
    stand.relay.flush();
    stand.relay.push(batch((30..60).map(flow)));
    stand
}

/// psql 15, as one types: what it printed, and what it complained about.
async fn psql(stand: &Stand, arguments: &[&str]) -> (String, String) {
    let mut command = Command::new("psql");
    command
        .args(["-X", "-h", "127.0.0.1", "-p", &stand.postgres.port().to_string()])
        .args(["-U", "anybody", "-d", "any", "-P", "pager=off"])
        .args(arguments)
        .env("PGCONNECT_TIMEOUT", "10")
        .stdin(Stdio::null());
    let Output { stdout, stderr, .. } = output(command, None).await;
    (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// What a program of Python prints, as JSON. It finds the door's address in `DSN`.
async fn python(stand: &Stand, program: &str) -> Value {
    let python = cache().join("python/bin/python");
    assert!(python.exists(), "there is no {}: run scripts/setup test", python.display());
    let mut command = Command::new(python);
    let dsn = format!("host=127.0.0.1 port={} user=me dbname=any", stand.postgres.port());
    command.arg("-").env("DSN", dsn).env("URL", &stand.url).stdin(Stdio::piped());
    let Output { status, stdout, stderr } = output(command, Some(program.to_owned())).await;
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    assert!(status.success(), "{stderr}");
    serde_json::from_slice(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout:?} {stderr}"))
}

async fn output(mut command: Command, input: Option<String>) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = move || {
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!("{:?}: {error}: run scripts/setup test", command.get_program())
        });
        if let Some(input) = input {
            child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        }
        child.wait_with_output().unwrap()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_asks_and_is_told_what_is_wrong() {
    let stand = stand().await;
    let (printed, _) = psql(
        &stand,
        &["-At", "-c", "select count(*), min(time), sum(packets), max(verdict) from flows"],
    )
    .await;
    let flows: Vec<_> = (0..60).map(flow).collect();
    let packets: u64 = flows.iter().map(|flow| flow.packets).sum();
    assert_eq!(printed.trim(), format!("60|2026-01-01 00:00:00+00|{packets}|deny"));
    let (printed, complaint) =
        psql(&stand, &["-At", "-c", "begin; select 1; select 2; commit"]).await;
    assert_eq!((printed.as_str(), complaint.as_str()), ("BEGIN\n1\n2\nCOMMIT\n", ""));
    for (sql, code, told) in [
        ("select 1;\nselect (1 from flows", "42601", "LINE 2"),
        ("select verdikt from flows", "42703", "did you mean `verdict`"),
        ("select 1;\nselect verdikt from flows", "42703", "LINE 2: select verdikt"),
        ("select * from flws", "42P01", "there is no table"),
        ("delete from flows", "25006", "read-only"),
        ("copy flows to stdout", "25006", "read-only"),
        ("create table a (b int)", "25006", "read-only"),
        ("select 1 from flows for update; drop table flows", "25006", "read-only"),
        ("show nothing", "42704", "SHOW ALL"),
    ] {
        let (_, complaint) = psql(&stand, &["-v", "VERBOSITY=verbose", "-c", sql]).await;
        assert!(complaint.contains(code) && complaint.contains(told), "{sql}: {complaint}");
    }
    let (printed, _) = psql(&stand, &["-At", "-c", "set datestyle to iso; show timezone"]).await;
    assert_eq!(printed, "SET\nUTC\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_describes_what_is_there() {
    let stand = stand().await;
    let mut wrong = Vec::new();
    for (command, expected) in [
        ("\\dt", &["public", "flows", "connections", "edges_1m", "loss", "table"][..]),
        ("\\d", &["flows", "loss"]),
        ("\\d flows", &["verdict", "timestamp with time zone", "source_labels", "numeric"]),
        ("\\d+ loss", &["node", "Description"]),
        ("\\dt+ flows", &["flows"]),
        ("\\l+", &["weir"]),
        ("\\dn+", &["public"]),
        ("\\l", &["weir", "UTF-8"]),
        ("\\dn", &["public"]),
        ("\\conninfo", &["any"]),
        ("\\du", &["List of roles"]),
        ("\\dg", &["List of roles"]),
        ("\\df", &["List of functions"]),
        ("\\df ip_in_net", &["List of functions"]),
        ("\\dx", &[]),
        ("\\dp", &["flows", "Access privileges", "Policies"]),
        ("\\z flows", &["flows"]),
        ("\\dT", &["List of data types"]),
        ("\\df+", &["List of functions"]),
        ("\\db", &["List of tablespaces"]),
        ("\\do", &["List of operators"]),
        ("\\dc", &["List of conversions"]),
        ("\\dF", &["List of text search configurations"]),
        ("\\da", &["List of aggregate functions"]),
        ("\\des", &["List of foreign servers"]),
    ] {
        let (printed, complaint) = psql(&stand, &["-c", command]).await;
        let missing: Vec<_> = expected.iter().filter(|word| !printed.contains(**word)).collect();
        if !complaint.is_empty() || !missing.is_empty() {
            wrong.push(format!("{command}: {complaint} {missing:?} {printed}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let (first, _) = psql(&stand, &["-At", "-c", "select 'flows'::regclass::oid"]).await;
    let (again, _) = psql(&stand, &["-At", "-c", "select 'flows'::regclass::oid"]).await;
    assert_eq!((first.is_empty(), &first), (false, &again));
    let columns = "select column_name, ordinal_position, data_type, udt_name, is_nullable, numeric_precision \
                   from information_schema.columns where table_name = 'flows' and column_name in \
                   ('time', 'verdict', 'destination_port', 'bytes', 'policies', 'source_names') order by 2";
    let (printed, complaint) = psql(&stand, &["-At", "-c", columns]).await;
    let told: Vec<(&str, &str)> = printed.lines().filter_map(|line| line.split_once('|')).collect();
    let found = |name: &str| {
        let (_, told) = told.iter().find(|(column, _)| *column == name).unwrap();
        told.split_once('|').unwrap()
    };
    assert_eq!((told.len(), complaint.as_str()), (6, ""), "{printed}");
    assert_eq!(found("time"), ("1", "timestamp with time zone|timestamptz|NO|"));
    for (name, expected) in [
        ("verdict", "text|text|NO|"),
        ("destination_port", "integer|int4|YES|32"),
        ("bytes", "numeric|numeric|NO|"),
        ("policies", "jsonb|jsonb|NO|"),
        ("source_names", "ARRAY|_text|NO|"),
    ] {
        assert_eq!(found(name).1, expected, "{name}");
    }
    for view in ["views", "table_constraints", "key_column_usage", "referential_constraints"] {
        let sql = format!("select count(*) from information_schema.{view}");
        assert_eq!(psql(&stand, &["-At", "-c", &sql]).await, ("0\n".into(), String::new()));
    }
    for (sql, expected) in [
        ("select current_setting('search_path'), current_setting('timezone')", "public|UTC\n"),
        ("select current_setting('work_mem', true) is null", "t\n"),
    ] {
        assert_eq!(psql(&stand, &["-At", "-c", sql]).await, (expected.into(), String::new()));
    }
    let (_, complaint) = psql(&stand, &["-c", "select current_setting('work_mem')"]).await;
    assert!(complaint.contains("there is no setting \"work_mem\""), "{complaint}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psycopg_binds_prepares_and_fetches() {
    let stand = stand().await;
    let told = python(
        &stand,
        r#"
import datetime, json, os, psycopg
out = {}
with psycopg.connect(os.environ["DSN"]) as connection:
    out["version"] = connection.info.server_version
    for binary in (False, True):
        cursor = connection.cursor(binary=binary)
        row = cursor.execute(
            "select count(*), sum(bytes), min(time), max(source_port), bool_or(verdict = 'deny'), avg(packets) "
            "from flows where source_namespace = %s and packets <> %s and time >= %s",
            ("ns-1", 1, datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc))).fetchone()
        out[f"row {binary}"] = [row[0], int(row[1]), row[2].isoformat(), row[3], row[4], row[5]]
        out[f"types {binary}"] = [type(value).__name__ for value in row]
        row = cursor.execute("select policies, source_labels, null, source_names, time, rtt_ns from flows order by packets limit 1").fetchone()
        out[f"nested {binary}"] = [type(value).__name__ for value in row]
        out[f"labels {binary}"] = row[1]
    cursor = connection.cursor()
    out["prepared"] = [cursor.execute("select count(*) from flows where packets < %s", (n,), prepare=True).fetchone()[0] for n in (10, 20, 30)]
    out["any"] = cursor.execute("select count(*) from flows where source_namespace = any(%s)", (["ns-1", "ns-2"],)).fetchone()[0]
    out["null"] = cursor.execute("select %s::text is null", (None,)).fetchone()[0]
    out["limit"] = len(cursor.execute("select * from flows limit %s", (7,)).fetchall())
    out["injected"] = cursor.execute("select count(*) from flows where source_pod = %s", ("x' or '1'='1",)).fetchone()[0]
    with connection.cursor("named") as named:
        named.itersize = 7
        named.execute("select packets from flows where packets < %s order by packets", (50,))
        out["cursor"] = [row[0] for row in named] == list(range(50))
    try:
        cursor.execute("select nothing from flows")
    except psycopg.errors.UndefinedColumn as error:
        out["error"] = str(error)
    try:
        cursor.execute("select 1")
    except psycopg.errors.InFailedSqlTransaction:
        out["failed"] = True
    connection.rollback()
    out["after"] = cursor.execute("select 1").fetchone()[0]
    with connection.pipeline():
        a = connection.execute("select 1"); b = connection.execute("select 2")
        out["pipeline"] = [a.fetchone()[0], b.fetchone()[0]]
print(json.dumps(out, default=str))
"#,
    )
    .await;
    assert_eq!(told["version"], 150_012);
    assert_eq!(told["row False"], told["row True"], "{told}");
    let own: Vec<_> =
        (0..60).map(flow).filter(|flow| flow.source_namespace.as_deref() == Some("ns-1")).collect();
    let counted = own.iter().filter(|flow| flow.packets != 1);
    assert_eq!(told["row True"][0], counted.count(), "{told}");
    assert_eq!(told["types True"], json!(["int", "Decimal", "datetime", "int", "bool", "float"]));
    assert_eq!(told["types True"], told["types False"]);
    assert_eq!(told["nested True"], told["nested False"]);
    assert_eq!(told["nested True"][0], "list");
    assert_eq!(told["labels True"], told["labels False"]);
    assert_eq!(told["prepared"], json!([10, 20, 30]));
    assert_eq!(
        (&told["null"], &told["limit"], &told["injected"]),
        (&json!(true), &json!(7), &json!(0))
    );
    assert_eq!((&told["cursor"], &told["pipeline"]), (&json!(true), &json!([1, 2])), "{told}");
    assert_eq!((&told["failed"], &told["after"]), (&json!(true), &json!(1)));
    assert!(told["error"].as_str().unwrap().contains("there is no column `nothing`"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_ends_when_its_client_asks_or_goes() {
    let stand = stand().await;
    let told = python(
        &stand,
        r#"
import json, os, psycopg, threading, time, urllib.request
def runs(text):
    while text not in urllib.request.urlopen(os.environ["URL"] + "/api/v1/queries").read().decode():
        time.sleep(0.01)
def cancel():
    runs("9000000")
    connection.cancel()
connection = psycopg.connect(os.environ["DSN"], autocommit=True)
threading.Thread(target=cancel).start()
try:
    connection.execute("select count(*) from generate_series(1, 9000000) a, generate_series(1, 9000000) b")
except psycopg.errors.QueryCanceled as error:
    code = error.sqlstate
gone = psycopg.connect(os.environ["DSN"], autocommit=True)
gone.pgconn.send_query(b"select count(*) from generate_series(1, 9000001) a, generate_series(1, 9000001) b")
gone.pgconn.flush()
runs("9000001")
gone.close()
print(json.dumps([code, connection.execute("select 1").fetchone()[0]]))
"#,
    )
    .await;
    assert_eq!(told, json!(["57014", 1]));
    let empty = async {
        loop {
            let (_, list) = stand.get("/api/v1/queries").await;
            if !list.contains("generate_series") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), empty).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_begins_with_a_command_that_works() {
    let stand = stand().await;
    let page = include_str!("../../../docs/POSTGRES.md");
    let command = page.split("```").nth(1).unwrap().trim();
    let mut bash = Command::new("bash");
    bash.args(["-c", &command.replace("5433", &stand.postgres.port().to_string())]);
    let printed = String::from_utf8(output(bash, None).await.stdout).unwrap();
    assert!(printed.contains("deny") && printed.contains("rows)"), "{printed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_told() {
    let limits = Limits { max_rows: 5, ..Limits::default() };
    let stand = with(QueryConfig { limits, ..QueryConfig::default() }).await;
    let (printed, complaint) = psql(&stand, &["-At", "-c", "select packets from flows"]).await;
    assert_eq!(printed.lines().count(), 5);
    assert!(complaint.contains("only the first 5 rows"), "{complaint}");
    let deep = format!("select {}1", "1 + ".repeat(600));
    let (_, complaint) = psql(&stand, &["-c", &deep]).await;
    assert!(complaint.contains("words and operators"), "{complaint}");
    let nested = format!(
        "select * from pg_catalog.pg_class where {}true{}",
        "(".repeat(400),
        ")".repeat(400)
    );
    let (_, complaint) = psql(&stand, &["-c", &nested]).await;
    assert!(complaint.contains("too deeply"), "{complaint}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_spoken_where_it_is_set() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    let mut openssl = Command::new("openssl");
    openssl
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "1", "-subj", "/CN=weir", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate);
    assert!(output(openssl, None).await.status.success());
    let tls = Some(crate::TlsSettings { certificate, key });
    let stand = with(QueryConfig { tls, ..QueryConfig::default() }).await;
    for mode in ["sslmode=require", "sslmode=disable"] {
        let database = format!("{mode} dbname=any");
        let (printed, complaint) =
            psql(&stand, &["-At", "-d", &database, "-c", "\\conninfo"]).await;
        assert_eq!(complaint, "");
        assert_eq!(printed.contains("TLSv1.3"), mode == "sslmode=require", "{printed}");
    }
}

/// Sends bytes and reads until the door closes the connection or says nothing for a while.
async fn raw(stand: &Stand, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(stand.postgres).await.unwrap();
    // The door may close before all is sent.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_millis(300), stream.read_to_end(&mut answer)).await;
    answer
}

fn startup() -> Vec<u8> {
    let body = b"\0\x03\0\0user\0me\0\0";
    [&u32::try_from(body.len() + 4).unwrap().to_be_bytes()[..], body].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_client_sends_is_refused() {
    let stand = stand().await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    for (bytes, told) in [
        (&b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..], "no client of Postgres"),
        (b"\x7f\xff\xff\xff\0\x03\0\0", "no client of Postgres"),
        (b"\0\0\0\x08\0\x02\0\0", "use 3.0"),
        (&[&b"\0\0\x08\0\0\x03\0\0"[..], &b"a\0b\0".repeat(510)].concat(), "settings at startup"),
    ] {
        let answer = raw(&stand, bytes).await;
        assert!(text(&answer).contains(told), "{told}: {}", text(&answer));
    }
    for frame in [
        &b"Q\x7f\xff\xff\xff"[..],
        b"Q\0\0\0\0",
        b"P\0\0\0\x08a\0\0",
        b"B\0\0\0\x0a\0\0\xff\xff\xff\xff",
        b"z\0\0\0\x04",
        b"p\0\0\0\x06a\0",
    ] {
        let answer = raw(&stand, &[&startup()[..], frame].concat()).await;
        assert!(
            text(&answer).contains("08P01") || text(&answer).contains("08006") || frame[0] == b'P',
            "{frame:?}: {}",
            text(&answer)
        );
    }
    let (printed, _) = psql(&stand, &["-At", "-c", "select count(*) from flows"]).await;
    assert_eq!(printed, "60\n");
}
