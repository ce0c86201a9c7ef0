//! `weir sql`: one statement, its rows on standard output.

use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use arrow::ipc::reader::StreamReader;
use arrow::util::pretty::pretty_format_batches;
use clap::{Args, ValueEnum};
use futures::StreamExt as _;
use serde_json::json;

use crate::client::{Client, Server};
use crate::completeness::Completeness;
use crate::output::{say, written};

/// Longest statement read from standard input.
const MAX_STATEMENT_BYTES: u64 = 64 * 1024;

#[derive(Debug, Args)]
pub(crate) struct Sql {
    /// The statement; `-` reads it from standard input.
    #[arg(value_name = "STATEMENT")]
    statement: String,
    /// How rows are printed.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Read the flows themselves where roll-ups would say the same.
    #[arg(long)]
    no_roll_ups: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
    Ndjson,
    Csv,
}

impl Sql {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let format = match self.output {
            Output::Table => "arrow",
            Output::Json => "json",
            Output::Ndjson => "ndjson",
            Output::Csv => "csv",
        };
        let statement = statement(self.statement)?;
        let client = Client::new(&self.server)?;
        let mut body = json!({ "sql": statement, "format": format });
        if self.no_roll_ups {
            body["roll_ups"] = false.into();
        }
        let request = client.post("/api/v1/sql").json(&body);
        let response = client.send(request).await?;
        let completeness = Completeness::of(response.headers());
        if self.output == Output::Table {
            let body = response.bytes().await.context("the answer broke off")?;
            print_table(&body, completeness.as_ref())?;
        } else {
            let mut stdout = std::io::stdout().lock();
            let mut body = response.bytes_stream();
            while let Some(chunk) = body.next().await {
                written(stdout.write_all(&chunk.context("the answer broke off")?));
            }
            if self.output == Output::Json {
                written(writeln!(stdout));
            }
            if let Some(told) = completeness.filter(|told| !told.complete()) {
                eprintln!("weir: {told}");
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn statement(argument: String) -> anyhow::Result<String> {
    if argument != "-" {
        return Ok(argument);
    }
    let mut text = String::new();
    std::io::stdin()
        .take(MAX_STATEMENT_BYTES + 1)
        .read_to_string(&mut text)
        .context("cannot read the statement from standard input")?;
    if text.len() as u64 > MAX_STATEMENT_BYTES {
        bail!("the statement has more than {MAX_STATEMENT_BYTES} bytes");
    }
    Ok(text)
}

fn print_table(body: &[u8], completeness: Option<&Completeness>) -> anyhow::Result<()> {
    let reader = StreamReader::try_new(body, None).context("the answer is not an Arrow stream")?;
    let batches = reader.collect::<Result<Vec<_>, _>>().context("the answer broke off")?;
    let rows: usize = batches.iter().map(arrow::array::RecordBatch::num_rows).sum();
    let table = pretty_format_batches(&batches)?;
    say!("{table}");
    let told = completeness.map(|told| format!(", {told}")).unwrap_or_default();
    say!("{rows} row{}{told}", if rows == 1 { "" } else { "s" });
    Ok(())
}
