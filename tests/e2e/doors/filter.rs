//! The Cloud Logging language over HTTP: where it is only looked at, where flows are asked for, where entries
//! are, and where it follows.

use serde_json::json;

use super::bed::{Bed, Client, Told};
use super::{sql, words};
use crate::random::Random;

struct Filter {
    http: reqwest::Client,
    url: String,
}

impl Client for Filter {
    async fn ask(&mut self, mut random: Random) -> (String, Told) {
        let filter = words::filter(&mut random);
        let at = |path: &str| format!("{}{path}", self.url);
        let request = match random.below(8) {
            0 | 1 => {
                let limit = random.pick(&["1", "5", "0", "-1", "many", "99999999999999999999"]);
                let query = [("filter", filter.as_str()), ("limit", limit)];
                self.http.get(at("/api/v1/flows")).query(&query)
            }
            2 => {
                let body = json!({
                    "resourceNames": ["projects/p"],
                    "filter": filter,
                    "pageSize": random.within(1..4),
                    "orderBy": random.pick(&["timestamp desc", "timestamp asc", "", "size"]),
                    "pageToken": random.pick(&["", "", "a", "AAAA"]),
                });
                self.http.post(at("/v2/entries:list")).json(&body)
            }
            3 => {
                // Whether it is taken comes with the head; what follows is not waited for.
                let query =
                    [("filter", filter.as_str()), ("after", random.pick(&["", "1:1", "a"]))];
                let request = self.http.get(at("/api/v1/flows/tail")).query(&query);
                let response = request.send().await.unwrap();
                let told = match response.status().as_u16() {
                    200 => Told::Answered,
                    _ => sql::told(response).await,
                };
                return (filter, told);
            }
            _ => self.http.post(at("/api/v1/filter")).json(&json!({ "filter": filter })),
        };
        let told = sql::told(request.send().await.unwrap()).await;
        (filter, told)
    }
}

#[test]
fn random_filters_get_an_answer() {
    let bed = Bed::start();
    let url = format!("http://{}", bed.query.door("http"));
    let counts = bed.send(|| Filter {
        http: reqwest::Client::builder().no_proxy().build().unwrap(),
        url: url.clone(),
    });
    assert!(counts.answered > 1_000 && counts.refused > 1_000, "{counts:?}");
}
