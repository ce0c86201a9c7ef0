//! Queries over several processes have the answers that one process gives.

mod bed;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::weir::{error_of, wait_for};
use bed::{Bed, GUEST, ROOT, SEEN};

/// Long enough to be disturbed: every two rows of a workload and port, of a part of all.
const LONG: &str = "SELECT a.protocol, count(*) AS pairs, sum(a.bytes % 7 + b.packets % 5) AS mixed \
    FROM flows a JOIN flows b ON a.source_workload = b.source_workload AND a.destination_port = b.destination_port \
    WHERE b.packets % 5 = 0 GROUP BY a.protocol ORDER BY a.protocol";

/// What the benchmark does not ask: functions, views, joins, windows, lists and maps.
const OTHERS: [&str; 19] = [
    "SELECT count(*) AS n, sum(count) AS verdicts, min(time) AS first, max(end_time) AS last FROM flows",
    "SELECT connection_id, count(*) AS n, avg(rtt_ns) AS rtt FROM flows GROUP BY connection_id ORDER BY n DESC, connection_id LIMIT 30",
    "SELECT host_of(destination_names, destination_ip) AS host, count(*) AS n FROM flows WHERE ip_in_net(destination_ip, '0.0.0.0/1') GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 20",
    "SELECT time_bucket('1m', time) AS minute, label(source_labels, 'team') AS team, sum(bytes) AS sent FROM flows GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT CAST(time AS BIGINT) AS at, policies, source_labels, destination_names FROM flows WHERE verdict = 'deny' ORDER BY time, source_ip, source_port, destination_ip, destination_port, direction, node, count LIMIT 40",
    "SELECT source_namespace, count(*) AS n FROM flows WHERE row_has('cache', source_pod, destination_pod, source_labels) GROUP BY 1 ORDER BY 1",
    "SELECT verdict, count(*) AS n FROM flows WHERE source_workload NOT IN (SELECT destination_workload FROM flows WHERE verdict = 'deny' AND destination_port = 5432 AND destination_workload IS NOT NULL) GROUP BY 1 ORDER BY 1",
    "SELECT count(*) AS n FROM flows WHERE bytes > (SELECT avg(bytes) FROM flows)",
    "SELECT source_workload, place, sent FROM (SELECT source_workload, sum(bytes) AS sent, rank() OVER (ORDER BY sum(bytes) DESC) AS place FROM flows GROUP BY source_workload) WHERE place <= 10 ORDER BY place, source_workload",
    "SELECT DISTINCT protocol, direction FROM flows ORDER BY 1, 2",
    "SELECT a.source_namespace, a.n, b.n AS denied FROM (SELECT source_namespace, count(*) AS n FROM flows GROUP BY 1) a LEFT JOIN (SELECT source_namespace, count(*) AS n FROM flows WHERE verdict = 'deny' GROUP BY 1) b ON a.source_namespace IS NOT DISTINCT FROM b.source_namespace ORDER BY 1",
    "SELECT source_workload, destination_workload, sum(flow_rows) AS n, sum(bytes) AS sent FROM edges_1m GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 25",
    "SELECT egress_verdict, ingress_verdict, count(*) AS n, sum(bytes) AS sent FROM connections GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT n % 3 AS rest, count(*) AS times FROM (SELECT row_number() OVER (ORDER BY time, source_ip, source_port) AS n FROM flows) GROUP BY 1 ORDER BY 1",
    "SELECT count(*) AS n, count(b.port) AS matched FROM (SELECT DISTINCT source_workload AS name FROM flows) a LEFT JOIN (SELECT DISTINCT destination_port AS port, bytes % 50 AS rest FROM flows) b ON length(a.name) > b.port + b.rest",
    "SELECT count(*) AS n FROM (SELECT DISTINCT source_workload AS name FROM flows) a WHERE NOT EXISTS (SELECT 1 FROM flows b WHERE length(a.name) > b.destination_port)",
    "SELECT a.source_pod, count(*) AS n FROM flows a JOIN (SELECT DISTINCT destination_pod FROM flows WHERE verdict = 'deny') b ON a.source_pod = b.destination_pod GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 20",
    "SELECT a.name, b.name AS other FROM (SELECT DISTINCT source_namespace AS name FROM flows) a FULL JOIN (SELECT DISTINCT destination_namespace AS name FROM flows WHERE verdict = 'deny') b ON a.name = b.name ORDER BY 1, 2",
    "SELECT protocol, sum(n) AS n FROM (SELECT protocol, count(*) AS n FROM flows GROUP BY 1 UNION ALL SELECT 'none', 7 UNION ALL SELECT verdict, sum(count) FROM edges_1m GROUP BY 1) GROUP BY 1 ORDER BY 1",
];

/// The benchmark's, with what they look for in these rows.
fn benchmark(bed: &Bed) -> Vec<String> {
    let specification: Value =
        serde_json::from_str(include_str!("../../../benches/queries.json")).unwrap();
    let text = |sql: &str| {
        let (rows, _) = bed.rows(&bed.here, ROOT, sql);
        rows[0].as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned()
    };
    let pod = text(
        "SELECT source_pod FROM flows WHERE destination_port = 53 AND source_pod IS NOT NULL ORDER BY 1 LIMIT 1",
    );
    let address = text(
        "SELECT destination_ip FROM flows WHERE destination_kind = 'world' GROUP BY 1 ORDER BY count(*), 1 LIMIT 1",
    );
    let queries = specification["queries"].as_array().unwrap().iter();
    queries
        .map(|query| {
            let sql = query["weir"].as_str().unwrap();
            let prefix = pod.rsplit_once('-').unwrap().0;
            sql.replace("{prefix}", prefix).replace("{port}", "53").replace("{address}", &address)
        })
        .collect()
}

#[test]
fn distributed_and_single_answers_are_equal() {
    let directory = tempfile::tempdir().unwrap();
    let bed = Bed::start(directory.path(), None);
    let parts = "SELECT count(*) AS n FROM flows";
    let (rows, _) = bed.rows(&bed.here, ROOT, parts);
    assert_eq!(rows, [json!({"n": 40_000})]);
    let benchmark = benchmark(&bed);
    assert_eq!(benchmark.len(), 8);
    for sql in benchmark.iter().map(String::as_str).chain(OTHERS) {
        assert_ne!(bed.both(ROOT, sql), [] as [Value; 0], "{sql}");
    }

    // What an answer says about itself.
    let (_, answer) = bed.rows(&bed.there, ROOT, &benchmark[0]);
    assert_ne!(answer["bytes_scanned"], json!(0), "{answer}");
    let (_, answer) = bed.ask(&bed.there, ROOT, "SELECT 1 AS one FROM flows LIMIT 0");
    assert_eq!(answer["distributed"], json!(false));
    let all = "SELECT time, source_pod FROM flows";
    let (status, answer) = bed.ask(&bed.there, ROOT, all);
    assert_eq!((status, &answer["distributed"]), (200, &json!(true)));
    assert_eq!(answer["row_count"], json!(40_000));

    let sql = "SELECT protocol AS x FROM flows WHERE bytes < 0 UNION ALL SELECT CAST(value AS TEXT) FROM generate_series(1, 3)";
    let (status, answer) = bed.ask(&bed.there, ROOT, sql);
    assert_eq!((status, &answer["row_count"]), (200, &json!(3)), "{answer}");
    assert_ne!(answer["not_distributed_because"], Value::Null, "{answer}");

    the_guest_sees_its_namespace_alone(&bed, &benchmark);
    errors_are_those_of_one_process(&bed);
    a_query_that_is_ended_ends_there_too(&bed);
    an_executor_killed_in_the_middle_changes_nothing(bed, &benchmark);
}

fn the_guest_sees_its_namespace_alone(bed: &Bed, benchmark: &[String]) {
    let foreign = format!(
        "SELECT count(*) AS n FROM flows WHERE (source_namespace IS NULL OR source_namespace <> '{SEEN}') \
         AND (destination_namespace IS NULL OR destination_namespace <> '{SEEN}')"
    );
    assert_eq!(bed.both(GUEST, &foreign), [json!({"n": 0})]);
    assert_ne!(bed.both(ROOT, &foreign), [json!({"n": 0})]);
    let seen = bed.both(GUEST, "SELECT count(*) AS n, sum(bytes) AS sent FROM flows");
    let own = format!(
        "SELECT count(*) AS n, sum(bytes) AS sent FROM flows WHERE source_namespace = '{SEEN}' \
         OR destination_namespace = '{SEEN}'"
    );
    assert_eq!(seen, bed.both(ROOT, &own));
    for sql in benchmark.iter().map(String::as_str).chain(OTHERS) {
        bed.both(GUEST, sql);
    }
    // A condition that fails on a hidden row tells nothing of it.
    let failing = format!(
        "SELECT count(*) AS n FROM flows WHERE 1 / (CASE WHEN source_namespace = '{SEEN}' OR \
         destination_namespace = '{SEEN}' THEN 1 ELSE 0 END) = 1"
    );
    assert_eq!(bed.both(GUEST, &failing)[0]["n"], seen[0]["n"]);
    for service in [&bed.here, &bed.there] {
        let (status, answer) = bed.ask(service, ROOT, &failing);
        assert!(status != 200 || answer["error"] != Value::Null, "{answer}");
    }
}

fn errors_are_those_of_one_process(bed: &Bed) {
    for sql in [
        "SELECT 1 / (count - count) AS x FROM flows",
        "SELECT nothing FROM flows",
        "SELECT * FROM elsewhere",
        "SELECT repeat(source_pod, 1000000000) AS x FROM flows",
        "DELETE FROM flows",
        "SELECT count(*) AS n FROM flows WHERE bytes > (SELECT bytes FROM flows)",
    ] {
        let (status, here) = bed.ask(&bed.here, ROOT, sql);
        let (there_status, there) = bed.ask(&bed.there, ROOT, sql);
        assert_eq!((status, &here["error"]), (there_status, &there["error"]), "{sql}");
        assert_ne!(status, 200, "{sql}");
    }
}

fn a_query_that_is_ended_ends_there_too(bed: &Bed) {
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| bed.ask(&bed.there, ROOT, LONG));
        bed.wait_until_busy(&bed.executors[0]);
        let running = bed.send(reqwest::Method::GET, "/api/v1/queries");
        let id = running["queries"][0]["id"].as_u64().unwrap();
        bed.send(reqwest::Method::DELETE, &format!("/api/v1/queries/{id}"));
        let (status, answer) = asking.join().unwrap();
        assert_ne!(status, 200);
        assert!(answer.to_string().contains("was ended by root"), "{answer}");
    });
    nothing_runs(bed);
    // A client that goes away ends its query too.
    let url = format!("http://{}/api/v1/sql", bed.there.door("http"));
    let mut client = std::process::Command::new("curl")
        .args(["--silent", "--noproxy", "*", "--header", "content-type: application/json"])
        .args(["--header", &format!("authorization: Bearer {ROOT}")])
        .args(["--data", &json!({ "sql": LONG }).to_string(), &url])
        .spawn()
        .unwrap();
    bed.wait_until_busy(&bed.executors[0]);
    client.kill().unwrap();
    client.wait().unwrap();
    nothing_runs(bed);
}

fn nothing_runs(bed: &Bed) {
    wait_for("the cluster to be idle", || {
        let tasks = bed.executors.iter().map(|e| bed.metric(e, "weir_executor_tasks_running"));
        let queries = bed.metric(&bed.scheduler, "weir_scheduler_queries_running");
        (tasks.sum::<u64>() + queries == 0).then_some(())
    });
}

fn an_executor_killed_in_the_middle_changes_nothing(mut bed: Bed, benchmark: &[String]) {
    let (expected, _) = bed.rows(&bed.here, ROOT, LONG);
    // While it reads, while it joins, and later.
    for (number, after_ms) in [(3, 0), (4, 100), (5, 300), (6, 800)] {
        let victim = bed.executors.remove(0);
        let began = Instant::now();
        let (rows, answer) = std::thread::scope(|scope| {
            let asking = scope.spawn(|| bed.rows(&bed.there, ROOT, LONG));
            bed.wait_until_busy(&victim);
            std::thread::sleep(Duration::from_millis(after_ms));
            assert!(!asking.is_finished(), "the query was over before the executor was killed");
            victim.kill();
            asking.join().unwrap()
        });
        assert_eq!(rows, expected, "killed after {after_ms} ms");
        assert_eq!(answer["distributed"], json!(true));
        assert!(began.elapsed() > Duration::from_secs(1), "nothing was done again");
        bed.add_executor(number);
    }
    assert!(bed.log_of("there").contains("running it again"), "nothing was lost");
    nothing_runs(&bed);
    for sql in benchmark {
        bed.both(ROOT, sql);
    }

    // Without executors or a scheduler it is said what is missing, and what needs none goes on.
    for executor in bed.executors.drain(..) {
        executor.stop();
    }
    let (status, answer) = bed.ask(&bed.there, ROOT, &benchmark[0]);
    assert_eq!(status, 503, "{answer}");
    assert!(answer.to_string().contains("start `weir executor`"), "{answer}");
    nothing_runs(&bed);
    bed.scheduler.signal(rustix::process::Signal::TERM);
    let said = wait_for("the query service to miss the scheduler", || {
        let (status, answer) = bed.ask(&bed.there, ROOT, &benchmark[0]);
        (status == 503).then(|| answer.to_string())
    });
    assert!(said.contains("start `weir scheduler`"), "{said}");
    let (status, answer) = bed.ask(&bed.there, ROOT, "SELECT count(*) AS n FROM nodes");
    assert_eq!((status, &answer["distributed"]), (200, &json!(false)), "{answer}");
}

#[test]
fn doors_that_other_machines_reach_are_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("store");
    let store = store.to_str().unwrap();
    for arguments in [
        &["scheduler", "--listen", "0.0.0.0:0"][..],
        &["executor", "--store", store, "--tasks", "0.0.0.0:0", "--rows", "127.0.0.1:0"],
        &["executor", "--store", store, "--tasks", "127.0.0.1:0", "--rows", "0.0.0.0:0"],
    ] {
        let error = error_of(arguments);
        assert!(error.contains("--open"), "{error}");
    }
    let error = error_of(&["query", "--store", store, "--distributed", "nowhere"]);
    assert!(error.contains("HOST:PORT"), "{error}");
}

/// A root with a certificate for this machine, and somebody whom it did not sign.
const CERTIFICATES: &str = "
new() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj \"/CN=$1\" -keyout $1.key \"${@:2}\"; }
new root -x509 -days 1 -out root.pem
new member -out member.csr
echo 'subjectAltName=IP:127.0.0.1' >member.ext
openssl x509 -req -in member.csr -CA root.pem -CAkey root.key -CAcreateserial -days 1 -extfile member.ext -out member.pem
new stranger -x509 -days 1 -out stranger.pem";

#[test]
fn a_cluster_with_certificates_answers_those_that_it_knows() {
    let directory = tempfile::tempdir().unwrap();
    let mut openssl = std::process::Command::new("bash");
    let made = openssl.args(["-ec", CERTIFICATES]).current_dir(directory.path()).output().unwrap();
    assert!(made.status.success(), "openssl: {made:?}");
    let tls = |name: &str| {
        let file = |file: &str| directory.path().join(file).display().to_string();
        let (certificate, key) = (file(&format!("{name}.pem")), file(&format!("{name}.key")));
        format!("{{certificate: {certificate}, key: {key}, ca: {}}}", file("root.pem"))
    };
    let bed = Bed::start(directory.path(), Some(&tls("member")));
    let sql = "SELECT source_namespace, count(*) AS n, sum(bytes) AS sent FROM flows GROUP BY 1 ORDER BY 1";
    assert_ne!(bed.both(ROOT, sql), [] as [Value; 0]);
    let joined = "SELECT a.source_pod, count(*) AS n FROM flows a JOIN (SELECT DISTINCT destination_pod FROM \
        flows WHERE verdict = 'deny') b ON a.source_pod = b.destination_pod GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 20";
    assert_ne!(bed.both(ROOT, joined), [] as [Value; 0]);
    for settings in [String::new(), format!("distributed_tls: {}\n", tls("stranger"))] {
        let stranger = bed.stranger(&settings);
        let (status, answer) = bed.ask(&stranger, ROOT, sql);
        assert_eq!(status, 503, "{answer}");
        assert!(answer.to_string().contains("cannot be asked"), "{answer}");
    }
}

#[test]
fn the_page_begins_with_what_works() {
    let page = include_str!("../../../docs/DISTRIBUTED.md");
    let mut blocks = page.split("```").skip(1).step_by(2);
    let (processes, question) = (blocks.next().unwrap(), blocks.next().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let bed = Bed::start(directory.path(), None);
    std::os::unix::fs::symlink(directory.path().join("store"), directory.path().join("data"))
        .unwrap();
    std::os::unix::fs::symlink(crate::weir::binary(), directory.path().join("weir")).unwrap();
    // In a network namespace of its own, where every port is free.
    let script = format!(
        "ip link set lo up; export PATH=$PWD:$PATH; ({}) >page.log 2>&1 & \
         until answer=$({}) && grep -q '\"distributed\":true' <<<\"$answer\"; do sleep 0.2; done; \
         echo \"$answer\"; trap '' TERM; kill -- -$$; wait",
        processes.trim(),
        question.trim()
    );
    let mut shell = std::process::Command::new("timeout");
    let shell = shell.args(["--foreground", "120", "setsid", "--wait", "unshare", "--net"]);
    let output =
        shell.args(["bash", "-c", &script]).current_dir(directory.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let log = std::fs::read_to_string(directory.path().join("page.log")).unwrap();
    assert!(text.contains("\"distributed\":true"), "{text}{log}");
    drop(bed);
}
