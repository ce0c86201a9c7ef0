//! Two principals, and that neither sees a row of the other's by any door, nor learns that there is one.

mod about;
pub(crate) mod certificates;
mod gcloud;
mod logging;

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::testing::{Stand, batch, flow};
use crate::{AccessSettings, GrantSettings, QueryConfig, TokenSettings};

const ALICE: &str = "alice-has-a-long-secret";
const ROOT: &str = "root-has-another-secret";

pub(crate) fn token(name: &str, secret: &str) -> TokenSettings {
    let digest = Sha256::digest(secret.as_bytes());
    let sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    TokenSettings { name: name.into(), sha256: Some(sha256), file: None }
}

pub(crate) fn grant(principal: &str, namespaces: &[&str], admin: bool) -> GrantSettings {
    let namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
    GrantSettings { principals: vec![principal.into()], groups: vec![], namespaces, admin }
}

/// 60 flows, of which alice sees those from `ns-1`: a fifth has no source namespace, the others one of three.
async fn stand(directory: &std::path::Path) -> Stand {
    let access = AccessSettings {
        tokens: vec![token("alice", ALICE), token("root", ROOT)],
        grants: vec![grant("alice", &["ns-1"], false), grant("root", &["*"], true)],
        ..AccessSettings::default()
    };
    let audit = Some(directory.join("audit.jsonl"));
    let stand =
        Stand::with(QueryConfig { access: Some(access), audit, ..QueryConfig::default() }).await;
    stand.relay.push(batch((0..30).map(flow)));
    stand.relay.flush();
    stand.relay.push(batch((30..60).map(flow)));
    stand
}

async fn ask(stand: &Stand, secret: &str, sql: &str) -> (u16, Value) {
    let request = stand.client.post(format!("{}/api/v1/sql", stand.url)).bearer_auth(secret);
    let response = request.json(&json!({"sql": sql})).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_comes_in_without_a_token() {
    let directory = tempfile::tempdir().unwrap();
    let stand = stand(directory.path()).await;
    for path in ["/api/v1/flows", "/api/v1/status", "/metrics", "/api/v1/flows/tail", "/nowhere"] {
        let (code, text) = stand.get(path).await;
        assert_eq!(code, 401, "{path}: {text}");
        assert!(text.contains("Bearer"), "{text}");
    }
    for path in ["/healthz", "/readyz", "/", "/api", "/icon.svg"] {
        assert_eq!(stand.get(path).await.0, 200, "{path}");
    }
    let (code, body) = ask(&stand, "guessed-by-somebody", "select 1").await;
    assert_eq!((code, &body["error"]["status"]), (401, &json!("UNAUTHENTICATED")));
    let audit = std::fs::read_to_string(directory.path().join("audit.jsonl"));
    assert!(!audit.unwrap_or_default().contains("guessed-by-somebody"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_sql_shows_a_row_of_a_namespace_that_is_not_granted() {
    let directory = tempfile::tempdir().unwrap();
    let stand = stand(directory.path()).await;
    let (code, body) = ask(&stand, ROOT, "select count(*) as n from flows").await;
    assert_eq!((code, &body["rows"][0]["n"]), (200, &json!(60)), "{body}");
    let own = "select count(*) as n from flows where source_namespace = 'ns-1'";
    let (_, body) = ask(&stand, ROOT, own).await;
    let own = body["rows"][0]["n"].clone();
    assert!(own.as_u64().unwrap() > 10);
    for (sql, expected) in [
        ("select count(*) as n from flows", &own),
        ("select sum(1) as n from flows limit 1", &own),
        ("select sum(flow_rows) as n from edges_1m", &own),
        ("select count(*) as n from (select * from flows limit 60)", &own),
        ("select count(*) as n from flows where source_namespace <> 'ns-1'", &json!(0)),
        ("select count(*) as n from flows where source_namespace is null", &json!(0)),
        ("select count(distinct source_namespace) as n from flows", &json!(1)),
        (
            "select count(*) as n from flows a join flows b on a.destination_pod = b.destination_pod \
             where b.source_namespace <> 'ns-1'",
            &json!(0),
        ),
        ("select count(*) as n from connections where source_namespace <> 'ns-1'", &json!(0)),
        (
            "with f as (select * from flows) select count(*) as n from f where source_namespace = 'ns-2' or 1 = 1",
            &own,
        ),
        ("select (select count(*) from flows where source_namespace = 'ns-2') as n", &json!(0)),
    ] {
        let (code, body) = ask(&stand, ALICE, sql).await;
        assert_eq!((code, &body["rows"][0]["n"]), (200, expected), "{sql}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_never_looks_at_a_hidden_row() {
    let directory = tempfile::tempdir().unwrap();
    let stand = stand(directory.path()).await;
    // Fails on rows of `ns-2`, and on those only.
    let probes = [
        "select count(*) from flows where 1 / (case when source_namespace = 'ns-2' then 0 else 1 end) = 1",
        "select count(*) from flows where cast(case when source_namespace = 'ns-2' then 'x' else '1' end as int) = 1",
        "select 1 / (case when source_namespace = 'ns-2' then 0 else 1 end) from flows",
    ];
    for sql in probes {
        let (code, body) = ask(&stand, ROOT, sql).await;
        assert!(code >= 400 || body.get("error").is_some(), "{sql}: {body}");
        let (code, body) = ask(&stand, ALICE, sql).await;
        assert!(code == 200 && body.get("error").is_none(), "{sql}: {body}");
    }
    let analyze = "explain analyze select * from flows";
    assert_eq!(ask(&stand, ALICE, analyze).await.0, 403);
    assert_eq!(ask(&stand, ROOT, analyze).await.0, 200);
    assert_eq!(ask(&stand, ALICE, "explain select * from flows").await.0, 200);
    // What files have of each column, and how many rows, stands in the longer form of a plan.
    for plan in
        ["explain verbose select * from flows", "explain verbose select max(source_pod) from flows"]
    {
        let (code, body) = ask(&stand, ALICE, plan).await;
        assert_eq!((code, &body["error"]["status"]), (403, &json!("PERMISSION_DENIED")), "{body}");
        assert_eq!(ask(&stand, ROOT, plan).await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_tells_whether_a_hidden_row_exists() {
    let directory = tempfile::tempdir().unwrap();
    let stand = stand(directory.path()).await;
    // `Pod-2` is in `ns-2`, stored and hot rows have neighbours of it; `Pod-x` is nowhere.
    for sql in [
        "select * from flows where source_pod = '{}'",
        "select count(*) as n from flows where source_pod = '{}' and packets > 0",
        "select * from edges_1m where source_namespace = '{}'",
        "select * from connections where source_pod = '{}'",
        "select 1 / count(*) from flows where source_pod = '{}'",
        "select cast(source_pod as int) from flows where source_pod = '{}'",
        "explain select * from flows where source_pod = '{}'",
    ] {
        let mut answers = Vec::new();
        for name in ["Pod-2", "Pod-x"] {
            let (code, mut body) = ask(&stand, ALICE, &sql.replace("{}", name)).await;
            // Bytes read stay: what is read must not depend on it.
            body.as_object_mut().unwrap().remove("elapsed_ms");
            answers.push((code, body.to_string().replace(name, "NAME")));
        }
        assert_eq!(answers[0], answers[1], "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_gets_its_own_rows_only() {
    let directory = tempfile::tempdir().unwrap();
    let stand = stand(directory.path()).await;
    let request = stand.client.get(format!("{}/api/v1/flows/tail", stand.url)).bearer_auth(ALICE);
    let mut tail = request.send().await.unwrap();
    assert_eq!(tail.status(), 200);
    stand.relay.push(batch((60..90).map(flow)));
    let expected =
        (60..90).map(flow).filter(|flow| flow.source_namespace.as_deref() == Some("ns-1"));
    let expected = expected.count();
    let mut text = String::new();
    let rows = |text: &str| text.matches("\"source_namespace\":\"ns-1\"").count();
    tokio::time::timeout(Duration::from_secs(20), async {
        while rows(&text) < expected {
            text.push_str(&String::from_utf8_lossy(&tail.chunk().await.unwrap().unwrap()));
        }
    })
    .await
    .unwrap();
    assert_eq!(text.matches("\"source_pod\"").count(), expected, "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_are_listed_ended_and_audited() {
    let directory = tempfile::tempdir().unwrap();
    let stand = stand(directory.path()).await;
    let endless =
        "select count(*) from generate_series(1, 9000000) a, generate_series(1, 9000000) b";
    let url = format!("{}/api/v1/queries", stand.url);
    let running = {
        let request = stand.client.post(format!("{}/api/v1/sql", stand.url)).bearer_auth(ALICE);
        let request = request.json(&json!({"sql": endless}));
        tokio::spawn(async move { request.send().await.unwrap().json::<Value>().await.unwrap() })
    };
    let id = loop {
        let list: Value =
            stand.client.get(&url).bearer_auth(ROOT).send().await.unwrap().json().await.unwrap();
        let found =
            list["queries"].as_array().unwrap().iter().find(|query| query["text"] == endless);
        if let Some(found) = found {
            assert_eq!(found["principal"], "alice");
            break found["id"].as_u64().unwrap();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let missing =
        stand.client.delete(format!("{url}/987654")).bearer_auth(ROOT).send().await.unwrap();
    assert_eq!(missing.status(), 404);
    let killed = stand.client.delete(format!("{url}/{id}")).bearer_auth(ROOT).send().await.unwrap();
    assert_eq!(killed.status(), 200);
    let answer = running.await.unwrap();
    assert_eq!(answer["error"]["message"], "the query was ended by root", "{answer}");
    let path = directory.path().join("audit.jsonl");
    let line = loop {
        let text = std::fs::read_to_string(&path).unwrap();
        if let Some(line) = text.lines().find(|line| line.contains("9000000")) {
            break serde_json::from_str::<Value>(line).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!((&line["principal"], &line["outcome"]), (&json!("alice"), &json!("cancelled")));
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains(ALICE) && !text.contains(ROOT));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_keeps_its_token_in_a_cookie() {
    let directory = tempfile::tempdir().unwrap();
    let stand = stand(directory.path()).await;
    let url = format!("{}/api/v1/session", stand.url);
    let refused = stand.client.post(&url).json(&json!({"token": "nobody-knows-this"})).send().await;
    assert_eq!(refused.unwrap().status(), 401);
    let response = stand.client.post(&url).json(&json!({"token": ALICE})).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let cookie = response.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    let me: Value =
        stand.client.get(&url).header("cookie", cookie).send().await.unwrap().json().await.unwrap();
    assert_eq!((&me["principal"], &me["namespaces"]), (&json!("alice"), &json!(["ns-1"])), "{me}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_postgres_wire_gives_a_principal_its_rows_only() {
    let directory = tempfile::tempdir().unwrap();
    let stand = stand(directory.path()).await;
    let port = stand.postgres.port().to_string();
    let psql = |password: &str, sql: &str| {
        let mut command = tokio::process::Command::new("psql");
        command
            .args([
                "-X",
                "-At",
                "-h",
                "127.0.0.1",
                "-p",
                &port,
                "-U",
                "root",
                "-d",
                "any",
                "-c",
                sql,
            ])
            .env("PGPASSWORD", password);
        async move {
            let output = command.output().await.expect("run scripts/setup test");
            let text = |bytes| String::from_utf8(bytes).unwrap().trim().to_owned();
            (text(output.stdout), text(output.stderr))
        }
    };
    let (all, _) = psql(ROOT, "select count(*) from flows").await;
    assert_eq!(all, "60");
    let own = "select count(*) from flows where source_namespace = 'ns-1'";
    let (own, _) = psql(ROOT, own).await;
    for (sql, expected) in [
        ("select count(*) from flows", own.as_str()),
        ("select count(distinct source_namespace) from flows", "1"),
        (
            "select count(*) from flows where source_namespace <> 'ns-1' or source_namespace is null",
            "0",
        ),
        (
            "begin; declare c cursor for select source_namespace from flows; fetch all from c; commit",
            "ns-1",
        ),
        ("show session_authorization", "alice"),
    ] {
        let (printed, complaint) = psql(ALICE, sql).await;
        assert_eq!(complaint, "", "{sql}");
        let mut lines: Vec<_> = printed
            .lines()
            .filter(|line| line.chars().any(|c| c.is_lowercase() || c.is_numeric()))
            .collect();
        lines.dedup();
        assert_eq!(lines, [expected], "{sql}");
    }
    let (_, complaint) = psql(ALICE, "explain analyze select * from flows").await;
    assert!(complaint.contains("EXPLAIN"), "{complaint}");
    let (printed, complaint) = psql("guessed-by-somebody", "select 1").await;
    assert!(printed.is_empty() && complaint.contains("the token is not known"), "{complaint}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flight_sql_gives_a_principal_its_rows_only() {
    let directory = tempfile::tempdir().unwrap();
    let stand = stand(directory.path()).await;
    let client = include_str!("flight_sql/client.py");
    let told = async |token: &str| {
        let printed = crate::testing::python(client, &[&stand.grpc, token]).await;
        serde_json::from_str::<Value>(&printed).unwrap()
    };
    let (all, own) = (told(ROOT).await, told(ALICE).await);
    assert_eq!(all["count"], 60);
    assert_eq!(all["foreign"].as_u64().unwrap() + own["count"].as_u64().unwrap(), 60, "{own}");
    assert_eq!((&own["foreign"], &own["rows"]), (&json!(0), &own["count"]), "{own}");
    let stranger = "import adbc_driver_flightsql.dbapi as sql, sys\n\
                    try:\n    sql.connect('grpc://' + sys.argv[1]).execute('select 1')\n\
                    except Exception as error:\n    print(error)";
    let refused = crate::testing::python(stranger, &[&stand.grpc]).await;
    assert!(refused.contains("access control is on"), "{refused}");
}

/// What somebody gets of a GET.
async fn got(stand: &Stand, secret: &str, path: &str) -> Value {
    let request = stand.client.get(format!("{}/api/v1/{path}", stand.url)).bearer_auth(secret);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    response.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sums_are_of_the_rows_that_one_sees() {
    let directory = tempfile::tempdir().unwrap();
    let stand = stand(directory.path()).await;
    let time = "since=2026-01-01T00:00:00Z&until=2026-01-02T00:00:00Z";
    let own = format!("{time}&filter=source_namespace%3Dns-1");
    for step in ["1s", "1m"] {
        let step = if step == "1s" { "&until=2026-01-01T00:02:00Z&step=1s" } else { "&step=1h" };
        let time = if step.contains("until") { "since=2026-01-01T00:00:00Z" } else { time };
        let all = got(&stand, ALICE, &format!("histogram?{time}{step}")).await;
        let expected =
            got(&stand, ROOT, &format!("histogram?{time}{step}&filter=source_namespace%3Dns-1"))
                .await;
        assert!(all["total"]["count"].as_u64().unwrap() > 10);
        assert_eq!((&all["total"], &all["series"]), (&expected["total"], &expected["series"]));
    }
    let fields = "fields=source_namespace,source_pod,verdict,destination_port&limit=1000";
    let all = got(&stand, ALICE, &format!("facets?{time}&{fields}")).await;
    let expected = got(&stand, ROOT, &format!("facets?{own}&{fields}")).await;
    assert_eq!(all["facets"], expected["facets"]);
    assert_eq!(all["facets"][0]["distinct"], 1, "{all}");
    let foreign = got(&stand, ALICE, &format!("facets?{time}&{fields}&prefix=ns-2")).await;
    assert_eq!(foreign["facets"][0]["distinct"], 0, "{foreign}");
    let all = got(&stand, ALICE, &format!("groups?{time}")).await;
    let expected = got(&stand, ROOT, &format!("groups?{own}")).await;
    assert_eq!(all["groups"], expected["groups"]);
    assert!(!all["groups"].as_array().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_of_whoever_ran_the_query() {
    let directory = tempfile::tempdir().unwrap();
    let stand = stand(directory.path()).await;
    let page = async |secret: &str, body: Value| {
        let request = stand.client.post(format!("{}/api/v1/sql", stand.url)).bearer_auth(secret);
        let response = request.json(&body).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let sql = "select source_namespace from flows order by time";
    let (_, first) = page(ROOT, json!({"sql": sql, "page_size": 10})).await;
    let token = &first["next_page_token"];
    assert!(token.is_string(), "{first}");
    let (code, body) = page(ALICE, json!({"page_token": token})).await;
    assert_eq!((code, &body["error"]["status"]), (410, &json!("NOT_FOUND")), "{body}");
    let (code, _) = page(ROOT, json!({"page_token": token})).await;
    assert_eq!(code, 200);
    let mut rows = Vec::new();
    let (_, mut body) = page(ALICE, json!({"sql": sql, "page_size": 7})).await;
    loop {
        rows.extend(body["rows"].as_array().unwrap().clone());
        let Some(token) = body["next_page_token"].as_str().map(str::to_owned) else { break };
        body = page(ALICE, json!({"page_token": token, "page_size": 7})).await.1;
    }
    assert!(
        rows.len() > 10 && rows.iter().all(|row| row["source_namespace"] == "ns-1"),
        "{rows:?}"
    );
}
