//! SQL over HTTP.

use serde_json::{Value, json};

use super::bed::{Bed, Client, Told};
use super::words;
use crate::random::Random;

/// `POST /api/v1/sql`.
pub(super) struct Sql {
    http: reqwest::Client,
    url: String,
}

impl Sql {
    pub(super) fn new(bed: &Bed) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { http, url: format!("http://{}/api/v1/sql", bed.query.door("http")) }
    }

    pub(super) async fn send(&self, body: &Value) -> Told {
        let response = self.http.post(&self.url).json(body).send().await.unwrap();
        told(response).await
    }
}

/// What an answer of HTTP tells.
pub(super) async fn told(response: reqwest::Response) -> Told {
    let code = response.status().as_u16();
    let text = response.text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    let error = body.get("error").filter(|error| !error.is_null());
    match (code, error) {
        (200, None) => Told::Answered,
        (200 | 400 | 403 | 404 | 409 | 413 | 415 | 422 | 429 | 504, Some(error)) => {
            Told::Refused(error["message"].as_str().unwrap_or_default().to_owned())
        }
        _ => Told::Refused(format!("internal error: {code} {text}")),
    }
}

impl Client for Sql {
    async fn ask(&mut self, mut random: Random) -> (String, Told) {
        let sql = words::sql(&mut random);
        let format =
            random.pick(&["json", "json", "json", "ndjson", "csv", "arrow", "parquet", "xml"]);
        let mut body = json!({"sql": sql, "format": format});
        if random.below(4) == 0 {
            body["parameters"] =
                [json!([1]), json!(["a"]), json!([null]), json!([[[]]]), json!("a")]
                    [random.below(5)]
                .clone();
        }
        if random.below(8) == 0 {
            body["limit"] = [json!(0), json!(-1), json!(u64::MAX), json!(2), json!("2")]
                [random.below(5)]
            .clone();
        }
        let told = self.send(&body).await;
        (body.to_string(), told)
    }
}

#[test]
fn random_sql_gets_an_answer() {
    let bed = Bed::start();
    let counts = bed.send(|| Sql::new(&bed));
    assert!(counts.answered > 100 && counts.refused > 5_000, "{counts:?}");
}
