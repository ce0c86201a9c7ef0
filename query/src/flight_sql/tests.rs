//! The door with the driver of ADBC, and with pyarrow.

use serde_json::{Value, json};

use crate::testing::{Stand, batch, flow, python};

async fn ask(address: &str, arguments: &[&str]) -> Value {
    let arguments = [&[address], arguments].concat();
    serde_json::from_str(&python(include_str!("client.py"), &arguments).await).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adbc_asks_binds_and_looks_around() {
    let stand = Stand::new().await;
    stand.relay.push(batch((0..30).map(flow)));
    stand.relay.flush();
    stand.relay.push(batch((30..60).map(flow)));
    let told = ask(&stand.grpc, &[]).await;
    let denied = |below: u64| {
        let flows = (0..60).map(flow).filter(|flow| flow.verdict == "deny" && flow.packets < below);
        flows.count()
    };
    assert_eq!(told["count"], 60);
    assert_eq!(told["bound"], json!([denied(30), denied(60)]), "{told}");
    assert_eq!((&told["injected"], &told["rows"]), (&json!(0), &json!(60)));
    assert_eq!(told["plain"], 60);
    assert_eq!(told["schema"], json!(["verdict: string", "n: int64"]));
    assert_eq!(told["same"], json!(true));
    assert_eq!((&told["complete"], &told["vendor"]), (&json!(true), &json!("Weir")), "{told}");
    assert_eq!((&told["described"], &told["types"]), (&told["columns"], &json!(["TABLE"])));
    assert!(told["tables"].as_array().unwrap().contains(&json!("edges_1m")), "{told}");
    for (sql, expected) in [
        ("delete fr", "read-only"),
        ("select no", "there is no column `nothing`"),
        ("select (1", "cannot be read"),
        ("select 1 ", "words and operators"),
        ("garbage", ""),
    ] {
        let error = told[sql].as_str().unwrap();
        assert!(error.contains(expected) && error != "no error", "{sql}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_begins_with_a_command_that_works() {
    let stand = Stand::new().await;
    stand.relay.push(batch((0..30).map(flow)));
    let page = include_str!("../../../docs/FLIGHT-SQL.md");
    let command = page.split("```").nth(1).unwrap().trim();
    let program = command.strip_prefix("python -c \"").unwrap().strip_suffix('"').unwrap();
    let printed = python(&program.replace("127.0.0.1:4245", &stand.grpc), &[]).await;
    assert!(printed.contains("deny"), "{printed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_ends_by_its_flight_info_and_tables_have_no_keys() {
    let stand = Stand::new().await;
    let printed = python(include_str!("cancel.py"), &[&stand.grpc, &stand.url]).await;
    assert_eq!(printed.trim(), "passed");
}
