//! What a user gets wrong is said clearly, and costs nothing that was there.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use weir_lab::LabSpec;

use crate::cluster::{Cluster, address};
use crate::weir::{Service, error_of, run, wait_for};

#[test]
fn wrong_flags_are_named() {
    let output = run(&["frobnicate"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(error_of(&["relay", "--no-such-flag"]).contains("--no-such-flag"));
    assert!(error_of(&["relay"]).contains("--store"));
    assert!(error_of(&["query", "--store", "x", "--timeout", "soon"]).contains("soon"));
    assert!(error_of(&["collector", "--manifests", "x"]).contains("--node"));
    assert!(error_of(&["observe", "--verdict", "denied"]).contains("allow, deny, audit"));
}

/// As `head` does it.
#[test]
fn a_reader_that_goes_away_ends_a_command_without_a_word() {
    let directory = tempfile::tempdir().unwrap();
    let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: x}\nspec: {podSelector: {}}\n";
    std::fs::write(directory.path().join("policy.yaml"), policy).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(crate::weir::binary())
        .args(["policy", "check", directory.path().to_str().unwrap()])
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(141));
}

#[test]
fn a_settings_file_with_an_unknown_key_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("relay.yaml");
    std::fs::write(&file, "store: /tmp/x\nflush_rowz: 5\n").unwrap();
    let error = error_of(&["relay", "--config", file.to_str().unwrap()]);
    assert!(error.contains("flush_rowz") && error.contains("relay.yaml"), "{error}");
}

#[test]
fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("store");
    let store = store.to_str().unwrap();
    for arguments in [
        vec!["relay", "--store", store, "--ingest", &address],
        vec!["query", "--store", store, "--http", &address],
        vec!["query", "--store", store, "--http=127.0.0.1:0", "--grpc", &address],
        vec![
            "query",
            "--store",
            store,
            "--http=127.0.0.1:0",
            "--grpc=127.0.0.1:0",
            "--postgres",
            &address,
        ],
        vec![
            "demo",
            "--synthetic",
            "--http",
            &address,
            "--grpc=127.0.0.1:0",
            "--postgres=127.0.0.1:0",
            "--ingest",
            "127.0.0.1:0",
        ],
    ] {
        let error = error_of(&arguments);
        assert!(error.contains("cannot listen") && error.contains(&address), "{error}");
        assert_eq!(error.matches("in use").count(), 1, "{error}");
    }
}

#[test]
fn the_client_commands_say_when_nobody_answers() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{closed}");
    for arguments in [["sql", "select 1"], ["status", "--output=json"], ["observe", "--last=1"]] {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--url", &url]);
        let error = error_of(&arguments);
        assert!(error.contains("is the query service running"), "{error}");
    }
}

#[test]
fn an_unknown_pod_in_a_case_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("case.json");
    let case = json!({
        "namespaces": [{"name": "x"}],
        "pods": [{"ns": "x", "name": "a", "ip": "10.0.0.1"}],
        "steps": [{"policies": [], "probes": [
            {"from": "x/a", "to": "x/nobody", "port": 80, "protocol": "TCP", "expect": true}
        ]}],
    });
    std::fs::write(&file, case.to_string()).unwrap();
    for simulate in [true, false] {
        let mut arguments = vec!["policy", "test", file.to_str().unwrap()];
        arguments.extend(simulate.then_some("--simulate"));
        let error = error_of(&arguments);
        assert!(error.contains("x/nobody") && error.contains("case.json"), "{error}");
    }
    let missing = error_of(&["policy", "test", "/nonexistent/case.json", "--simulate"]);
    assert!(missing.contains("/nonexistent/case.json"), "{missing}");
}

#[test]
fn hostile_sql_gets_an_error_and_the_service_lives() {
    let directory = tempfile::tempdir().unwrap();
    let demo = Service::start(
        directory.path(),
        "demo",
        &[
            "demo",
            "--synthetic",
            "--http",
            "127.0.0.1:0",
            "--grpc=127.0.0.1:0",
            "--postgres=127.0.0.1:0",
            "--ingest",
            "127.0.0.1:0",
        ],
    );
    let deep = format!("select {}1{}", "(".repeat(10_000), ")".repeat(10_000));
    let sum = format!("select {}1", "1+".repeat(10_000));
    let nots = format!("select * from flows where {} true", "not ".repeat(10_000));
    let escape = directory.path().join("written");
    let copy = format!("copy (select 1) to '{}'", escape.display());
    let statements = [
        "insert into flows values (1)",
        "drop table flows",
        "create table t as select 1",
        "create external table t stored as csv location '/etc/passwd'",
        "select * from '/etc/passwd'",
        "set datafusion.execution.batch_size = 1",
        "select 1; select 2",
        "select * from flows where no_such_column = 1",
        "explain analyze copy (select 1) to '/tmp/never'",
        "",
        &copy,
        &deep,
        &sum,
        &nots,
    ];
    for statement in statements {
        let (status, body) = demo.request("POST", "/api/v1/sql", Some(json!({ "sql": statement })));
        let shown: String = statement.chars().take(60).collect();
        assert_eq!(status, 400, "{shown}: {body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert!(!body["error"]["message"].as_str().unwrap().is_empty(), "{shown}");
    }
    assert!(!escape.exists());
    assert_eq!(demo.number("select 1 as n"), 1);
    let (status, _) = demo.request("GET", "/api/v1/nothing", None);
    assert_eq!(status, 404);
}

#[test]
fn a_bad_manifest_is_reported_and_the_last_good_policy_stays() {
    let directory = tempfile::tempdir().unwrap();
    let spec = LabSpec::default()
        .node("node-1", &["192.168.92.1".parse().unwrap()])
        .pod("node-1", "default/client", &["10.92.1.1".parse().unwrap()])
        .pod("node-1", "default/server", &["10.92.1.2".parse().unwrap()]);
    let cluster = Cluster::start(directory.path(), &spec);
    let to = SocketAddr::new(address(&spec, "default/server"), 9000);
    let _listener = cluster.pod("default/server").enter(|| TcpListener::bind(to).unwrap()).unwrap();
    let connects = || {
        let connect = || TcpStream::connect_timeout(&to, Duration::from_millis(700)).is_ok();
        cluster.pod("default/client").enter(connect).unwrap()
    };
    assert!(connects());
    let good = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
                metadata: {namespace: default, name: closed}\nspec: {podSelector: {}}\n";
    cluster.write_manifest("policy.yaml", good);
    cluster.wait_until_policies(1);
    assert!(!connects());

    // Each would open the pod, if anything of it counted.
    let rule = |rule: &str| format!("{{podSelector: {{}}, ingress: [{{}}, {rule}]}}");
    let block = |block: &str| rule(&format!("{{from: [{{ipBlock: {block}}}]}}"));
    for (spec, field) in [
        ("{podSelektor: {}, ingress: [{}]}".to_owned(), "spec.podSelektor"),
        (rule("{ports: [{port: [80]}]}"), "spec.ingress[1].ports[0].port"),
        (block("{cidr: 10.0.0.0/33}"), "spec.ingress[1].from[0].ipBlock.cidr"),
        (
            block("{cidr: 10.0.0.0/8, except: [192.168.0.0/16]}"),
            "spec.ingress[1].from[0].ipBlock.except[0]",
        ),
        (rule("{ports: [{port: 9000, endPort: 8000}]}"), "spec.ingress[1].ports[0].endPort"),
        (
            "{podSelector: {matchExpressions: [{key: a, operator: In}]}, ingress: [{}]}".to_owned(),
            "spec.podSelector.matchExpressions[0].values",
        ),
    ] {
        cluster.write_manifest("policy.yaml", &good.replace("{podSelector: {}}", &spec));
        let problem = wait_for("the bad manifest to be reported", || {
            let status = cluster.collectors().pop()?;
            let problems = status["problems"].as_array()?;
            let mut problems = problems.iter().filter_map(Value::as_str);
            problems.find(|problem| problem.contains(field)).map(str::to_owned)
        });
        for part in ["policy.yaml", "line 4", "default/closed"] {
            assert!(problem.contains(part), "{problem}");
        }
        assert!(!connects(), "{spec}");
    }

    cluster.write_manifest("policy.yaml", "# none any more\n");
    cluster.wait_until_policies(0);
    assert!(connects());
}

/// A small file system of its own, so that it can be full.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(path: &Path) -> Self {
        std::fs::create_dir_all(path).unwrap();
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
            .arg(path)
            .status()
            .unwrap();
        assert!(status.success(), "cannot mount a tmpfs");
        Self(path.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_delays_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    let disk = SmallDisk::mount(&data.join("store"));
    let filler = disk.0.join("filler");
    let demo = Service::start(
        directory.path(),
        "demo",
        &[
            "demo",
            "--synthetic",
            "--http=127.0.0.1:0",
            "--grpc=127.0.0.1:0",
            "--postgres=127.0.0.1:0",
            "--ingest=127.0.0.1:0",
            "--data-dir",
            data.to_str().unwrap(),
        ],
    );
    let status = || -> Value {
        let (code, body) = demo.request("GET", "/api/v1/status", None);
        assert_eq!(code, 200);
        serde_json::from_str(&body).unwrap()
    };
    // As much as fits.
    let _ = std::fs::write(&filler, vec![0; 16 << 20]);
    wait_for("the full disk to be reported", || {
        let problems = status()["relay"]["status"]["problems"].to_string();
        (problems.contains("space") || problems.contains("full")).then_some(())
    });
    let acknowledged = |status: &Value| status["relay"]["status"]["rows_acknowledged"].as_u64();
    // More may be acknowledged between the two requests, never fewer.
    let before = acknowledged(&status()).unwrap();
    assert!(demo.number("select count(*) as n from flows") >= before);

    std::fs::remove_file(&filler).unwrap();
    wait_for("rows to be stored", || {
        (status()["relay"]["status"]["stored_rows"].as_u64()? >= before).then_some(())
    });
    let before = acknowledged(&status()).unwrap();
    let found = demo.number("select count(*) as n from flows");
    let after = acknowledged(&status()).unwrap();
    assert!((before..=after).contains(&found), "{before} <= {found} <= {after}");
    drop(demo);
}
