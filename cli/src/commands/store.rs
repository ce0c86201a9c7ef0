//! `weir store`: is it whole, make it smaller, take rows out.

use std::fs::File;
use std::io::{BufWriter, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use weir_flow::schema::stored_schema;
use weir_flow::values::Verdict;
use weir_query::{RowFormat, RowWriter};
use weir_relay::{ParquetRows, Progress, Report, Selection};
use weir_service::settings::Period;

use super::process::store_location;
use crate::output::say;

/// Work on a store, beside a relay that runs or without one.
#[derive(Debug, Subcommand)]
pub(crate) enum Store {
    /// Read every file and compare it with what the manifest says. Exit code 1 if anything is wrong.
    Check(Check),
    /// Merge small files into large ones now.
    Compact(Compact),
    /// Write the flows of a time range to one file.
    Export(Export),
}

#[derive(Debug, Args)]
struct Place {
    /// The store: a directory, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX.
    #[arg(long, value_name = "DIR|URL")]
    store: String,
    /// For the client of a bucket: endpoint=…, allow_http=true, region=…; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    store_option: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    place: Place,
    /// How the report is printed.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Compact {
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    place: Place,
    /// From when: `2026-01-31T12:00:00Z`, or `6h` ago [default: from the first row].
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Until when, the same way; not included [default: to the last row].
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Only flows with this verdict.
    #[arg(long, value_parser = verdict)]
    verdict: Option<Verdict>,
    /// Written as.
    #[arg(long, value_enum, default_value_t = Format::Parquet)]
    format: Format,
    /// The file, which must not be there yet; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Parquet,
    Ndjson,
    Csv,
    Arrow,
}

impl Store {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Check(check) => check.run().await,
            Self::Compact(compact) => compact.run().await,
            Self::Export(export) => export.run().await,
        }
    }
}

impl Place {
    /// Opens it. A directory that is not there is a mistake here: nothing is made.
    fn open(self) -> anyhow::Result<std::sync::Arc<dyn object_store::ObjectStore>> {
        let location = store_location(Some(self.store), Some(self.store_option))?;
        if let Some(directory) = location.directory()
            && !directory.is_dir()
        {
            anyhow::bail!("there is no store at {}", directory.display());
        }
        Ok(weir_store::open(&location)?)
    }
}

impl Check {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let mut meter = Meter::new("checked");
        let report = weir_relay::check(self.place.open()?, |progress| meter.show(progress)).await?;
        meter.end();
        match self.output {
            Output::Json => say!("{}", serde_json::to_string_pretty(&report)?),
            Output::Text => print(&report),
        }
        Ok(if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn print(report: &Report) {
    for problem in &report.problems {
        say!("wrong: {problem}");
    }
    for orphan in &report.orphans {
        say!("named by no manifest: {orphan}");
    }
    say!(
        "manifest {}: {} files, {} bytes, {} rows of flows with count {}; {} problems, {} orphans",
        report.manifest_version,
        report.files,
        report.bytes,
        report.rows,
        report.count,
        report.problems.len(),
        report.orphans.len()
    );
}

impl Compact {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let steps = weir_relay::compact(self.place.open()?, |step| eprintln!("{step}")).await?;
        say!("{steps} steps; replaced files are deleted by a relay or a later compact");
        Ok(ExitCode::SUCCESS)
    }
}

impl Export {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let objects = self.place.open()?;
        let to = self.to.display().to_string();
        let out: Box<dyn Write + Send> = match to.as_str() {
            "-" => Box::new(std::io::stdout()),
            _ => {
                Box::new(File::create_new(&self.to).with_context(|| format!("cannot write {to}"))?)
            }
        };
        let mut writer = Writer::new(self.format, BufWriter::new(out))?;
        let nanoseconds = |time: Timestamp| i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX);
        let selection = Selection {
            since_ns: self.since.map(nanoseconds),
            until_ns: self.until.map(nanoseconds),
            verdict: self.verdict,
        };
        let mut meter = Meter::new("exported");
        let rows = weir_relay::export(
            objects,
            &selection,
            |batch| writer.rows(batch),
            |progress| meter.show(progress),
        )
        .await?;
        writer.end().with_context(|| format!("cannot write {to}"))?;
        meter.end();
        eprintln!("{rows} flows written to {to}");
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes rows in one of the formats.
enum Writer<W: Write + Send> {
    Parquet(Box<ParquetRows<W>>),
    Other(Box<RowWriter>, W),
}

impl<W: Write + Send> Writer<W> {
    fn new(format: Format, mut out: W) -> anyhow::Result<Self> {
        let format = match format {
            Format::Parquet => return Ok(Self::Parquet(Box::new(ParquetRows::new(out)?))),
            Format::Ndjson => RowFormat::NdJson,
            Format::Csv => RowFormat::Csv,
            Format::Arrow => RowFormat::Arrow,
        };
        let mut writer = RowWriter::new(format, &stored_schema())?;
        out.write_all(&writer.begin()?)?;
        Ok(Self::Other(Box::new(writer), out))
    }

    fn rows(&mut self, batch: &arrow::array::RecordBatch) -> anyhow::Result<()> {
        match self {
            Self::Parquet(writer) => Ok(writer.rows(batch)?),
            Self::Other(writer, out) => Ok(out.write_all(&writer.rows(batch)?)?),
        }
    }

    fn end(self) -> anyhow::Result<()> {
        match self {
            Self::Parquet(writer) => Ok(writer.end()?),
            Self::Other(mut writer, mut out) => {
                out.write_all(&writer.end()?)?;
                Ok(out.flush()?)
            }
        }
    }
}

/// Says on standard error how far it is: in place on a terminal, else every few seconds.
struct Meter {
    what: &'static str,
    shown: Option<Instant>,
    terminal: bool,
}

impl Meter {
    fn new(what: &'static str) -> Self {
        Self { what, shown: None, terminal: std::io::stderr().is_terminal() }
    }

    fn show(&mut self, progress: Progress) {
        let pause = Duration::from_millis(if self.terminal { 200 } else { 5000 });
        let last = progress.files == progress.of_files;
        if !last && self.shown.is_some_and(|shown| shown.elapsed() < pause) {
            return;
        }
        self.shown = Some(Instant::now());
        let Progress { files, of_files, bytes, of_bytes } = progress;
        let line =
            format!("{} {files} of {of_files} files, {bytes} of {of_bytes} bytes", self.what);
        if self.terminal {
            eprint!("\r{line}");
        } else {
            eprintln!("{line}");
        }
    }

    fn end(&self) {
        if self.terminal {
            eprintln!();
        }
    }
}

fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(period) = text.parse::<Period>() {
        let ago = jiff::SignedDuration::try_from(period.0).map_err(|error| error.to_string())?;
        return Timestamp::now().checked_sub(ago).map_err(|error| error.to_string());
    }
    text.parse().map_err(|_| {
        format!("`{text}` is neither a time such as 2026-01-31T12:00:00Z nor a length such as 6h")
    })
}

fn verdict(text: &str) -> Result<Verdict, String> {
    let known = Verdict::ALL.iter().find(|verdict| verdict.as_str() == text);
    known.copied().ok_or_else(|| format!("`{text}` is not allow, deny or audit"))
}
