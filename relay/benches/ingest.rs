//! Flows from Flight message to Parquet file on one core, and what they weigh on disk.
//!
//! Prints tables for `docs/PERFORMANCE.md`. Arguments: rows (default 300,000), seconds the rows
//! span (default 60).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow_flight::{FlightData, FlightDescriptor};
use bytes::Bytes;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use weir_flow::schema::SCHEMA_VERSION;
use weir_flow::synthetic::{Synthetic, SyntheticOptions};
use weir_flow::wire::{self, BatchId, FLOWS};
use weir_relay::{Decoder, EncodedFile, Message};

const BATCH_ROWS: usize = 8192;
const START_NS: i64 = 1_700_000_000_000_000_000;

fn main() {
    // Cargo adds flags of its own.
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let rows: usize = numbers.next().unwrap_or(300_000);
    let seconds = numbers.next().unwrap_or(60) as i64;

    let (batches, generating) = timed(|| generate(rows, seconds));
    let messages = encode(&batches);
    let wire: usize = messages.iter().map(|m| m.data_body.len() + m.data_header.len()).sum();
    let (decoded, decoding) = timed(|| decode(&messages));
    let (files, encoding) =
        timed(|| weir_relay::encode_flows(&decoded, "a", 0).expect("the columns are right"));
    let (merged, merging) = timed(|| {
        let bodies: Vec<_> = files.iter().map(|file| (file.body.clone(), SCHEMA_VERSION)).collect();
        weir_relay::merge_files(&bodies, "b", 1).expect("the files are whole")
    });
    let size = |files: &[EncodedFile], edges: bool| -> usize {
        files.iter().map(|file| if edges { file.edges.len() } else { file.body.len() }).sum()
    };
    let edges: u64 = files.iter().filter_map(|file| file.file.edges.as_ref()).map(|e| e.rows).sum();

    println!("{rows} rows in {} batches over {seconds} s, one core", batches.len());
    println!();
    println!("| step | rows/s | ns a row |");
    println!("|---|--:|--:|");
    for (step, time) in [
        ("generate (not counted)", generating),
        ("decode Flight messages", decoding),
        ("sort, roll up, encode", encoding),
        ("Flight batch to Parquet", decoding + encoding),
        ("merge: read, sort, roll up, encode", merging),
        ("everything", decoding + encoding + merging),
    ] {
        println!(
            "| {step} | {:.0} | {:.0} |",
            rows as f64 / time.as_secs_f64(),
            time.as_nanos() as f64 / rows as f64
        );
    }
    println!();
    println!("| bytes a row | |");
    println!("|---|--:|");
    for (what, bytes) in [
        ("on the wire", wire),
        ("as flushed", size(&files, false)),
        ("merged", size(&merged, false)),
        ("roll-up as flushed", size(&files, true)),
        ("roll-up merged", size(&merged, true)),
    ] {
        println!("| {what} | {:.2} |", per(bytes, rows));
    }
    println!();
    println!("{edges} edges");
    println!();
    let files: Vec<Bytes> = merged.into_iter().map(|file| file.body).collect();
    print_columns(&files, rows);
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let done = work();
    (done, began.elapsed())
}

fn per(bytes: usize, rows: usize) -> f64 {
    bytes as f64 / rows as f64
}

fn generate(rows: usize, seconds: i64) -> Vec<RecordBatch> {
    let batches = rows.div_ceil(BATCH_ROWS);
    let step = seconds * 1_000_000_000 / batches as i64;
    let size = rows.div_ceil(batches);
    Synthetic::new(&SyntheticOptions::default()).steps(size, START_NS, step).take(batches).collect()
}

fn encode(batches: &[RecordBatch]) -> Vec<FlightData> {
    let mut tracker = DictionaryTracker::new(false);
    let mut context = IpcWriteContext::default();
    let options = IpcWriteOptions::default();
    let generator = IpcDataGenerator::default();
    let schema = batches[0].schema();
    let schema = generator.schema_to_bytes_with_dictionary_tracker(&schema, &mut tracker, &options);
    let mut messages = vec![FlightData {
        flight_descriptor: Some(FlightDescriptor::new_path(vec![FLOWS.into()])),
        ..schema.into()
    }];
    for (sequence, batch) in (1..).zip(batches) {
        let (dictionaries, rows) = generator
            .encode(batch, &mut tracker, &options, &mut context)
            .expect("the columns are right");
        messages.extend(dictionaries.into_iter().map(FlightData::from));
        let id =
            BatchId { collector: "bench".into(), epoch: 1, sequence, status: None, losses: vec![] };
        messages.push(FlightData { app_metadata: wire::encode(&id), ..rows.into() });
    }
    messages
}

fn decode(messages: &[FlightData]) -> Vec<RecordBatch> {
    let mut decoder = Decoder::default();
    messages
        .iter()
        .filter_map(|message| match decoder.read(message).expect("the messages are right") {
            Message::Batch(received) => Some(received.batch),
            Message::Preparation | Message::Heartbeat(_) | Message::Objects { .. } => None,
        })
        .collect()
}

fn print_columns(files: &[Bytes], rows: usize) {
    let mut sizes: BTreeMap<String, usize> = BTreeMap::new();
    let mut columns = 0;
    for file in files {
        let reader = SerializedFileReader::new(file.clone()).expect("the file was just written");
        for group in reader.metadata().row_groups() {
            for column in group.columns() {
                let size = column.compressed_size() as usize;
                columns += size;
                *sizes.entry(column.column_path().string()).or_default() += size;
            }
        }
    }
    let all: usize = files.iter().map(Bytes::len).sum();
    sizes.insert("(footer and indexes)".into(), all - columns);
    let mut sizes: Vec<_> = sizes.into_iter().collect();
    sizes.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    println!("| column | bytes a row |");
    println!("|---|--:|");
    for (column, size) in sizes {
        println!("| {column} | {:.3} |", per(size, rows));
    }
}
