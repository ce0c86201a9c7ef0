//! One column of one row group, dictionary-encoded from keys: pages, statistics, page index and
//! bloom filter.
//!
//! The library's writer takes strings and looks each of them up, row by row. Here the keys are
//! known, so a row costs a few bits' packing, whatever the text is.

use std::ops::Range;

use bytes::Bytes;
use parquet::basic::{Encoding, PageType, Type};
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder, PageEncodingStats,
};
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use super::hybrid;
use super::leaf::{KeyedLeaf, Value};
use super::shape::Shape;
use crate::columns::NULL;

/// One answer in a hundred is wrong: a row group is read in vain as often.
const BLOOM_FALSE_POSITIVES: f64 = 0.01;

/// What the pages of a row group have, one after another.
#[derive(Default)]
struct PageValues {
    /// Of those that are not null.
    keys: Vec<u32>,
    definition: Vec<u32>,
    repetition: Vec<u32>,
}

/// Encodes rows of a leaf.
pub(super) fn encode(
    leaf: &KeyedLeaf<'_>,
    descriptor: &ColumnDescPtr,
    rows: Range<usize>,
    shape: &Shape,
    compressor: &mut zstd::bulk::Compressor<'_>,
) -> Result<(Bytes, ColumnCloseResult), ParquetError> {
    let (values, ranks) = leaf.used(rows.clone());
    let width = hybrid::bit_width(values.len().saturating_sub(1) as u32);
    let mut sink = TrackedWrite::new(Vec::new());
    let mut pages = SerializedPageWriter::new(&mut sink);
    let mut totals = Totals::default();

    let mut body = Vec::new();
    values.iter().for_each(|value| value.put(&mut body));
    let dictionary_bytes = body.len();
    let page = Page::DictionaryPage {
        buf: compress(compressor, &body)?,
        num_values: values.len() as u32,
        encoding: Encoding::PLAIN,
        is_sorted: false,
    };
    totals.add(&pages.write_page(CompressedPage::new(page, dictionary_bytes))?);

    let mut column_index = ColumnIndexBuilder::new(descriptor.physical_type());
    let mut offset_index = OffsetIndexBuilder::new();
    let mut data_offset = None;
    let mut page_values = PageValues::default();
    let (mut least, mut greatest, mut nulls, mut count, mut page_count) = (u32::MAX, 0, 0, 0, 0);
    let mut from = rows.start;
    while from < rows.end {
        let to = rows.end.min(from + shape.page_rows);
        page_values.fill(leaf, from..to, &ranks, descriptor.max_def_level() as u32);
        let levels = levels(&page_values, descriptor, to - from);
        body.clear();
        if descriptor.max_rep_level() > 0 {
            put_levels(&page_values.repetition, descriptor.max_rep_level(), &mut body);
        }
        if descriptor.max_def_level() > 0 {
            put_levels(&page_values.definition, descriptor.max_def_level(), &mut body);
        }
        body.push(width as u8);
        hybrid::encode(&page_values.keys, width, &mut body);
        let page = Page::DataPage {
            buf: compress(compressor, &body)?,
            num_values: levels as u32,
            encoding: Encoding::RLE_DICTIONARY,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let written = pages.write_page(CompressedPage::new(page, body.len()))?;
        totals.add(&written);
        data_offset.get_or_insert(written.offset as i64);
        offset_index.append_row_count((to - from) as i64);
        offset_index.append_offset_and_size(written.offset as i64, written.compressed_size as i32);

        let page_least = page_values.keys.iter().copied().min();
        let page_greatest = page_values.keys.iter().copied().max();
        let page_nulls = levels - page_values.keys.len();
        let bytes = |key: Option<u32>| key.map_or(Vec::new(), |key| values[key as usize].bytes());
        column_index.append(
            page_least.is_none(),
            bytes(page_least),
            bytes(page_greatest),
            page_nulls as i64,
        );
        least = least.min(page_least.unwrap_or(u32::MAX));
        greatest = greatest.max(page_greatest.unwrap_or(0));
        nulls += page_nulls;
        count += levels;
        page_count += 1;
        from = to;
    }
    let range = (least != u32::MAX).then(|| (&values[least as usize], &values[greatest as usize]));
    let encoding_stats =
        |page_type, encoding, count| PageEncodingStats { page_type, encoding, count };
    let metadata = ColumnChunkMetaData::builder(descriptor.clone())
        .set_encodings(vec![Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY])
        .set_page_encoding_stats(vec![
            encoding_stats(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1),
            encoding_stats(PageType::DATA_PAGE, Encoding::RLE_DICTIONARY, page_count),
        ])
        .set_compression(shape.compression()?)
        .set_num_values(count as i64)
        .set_total_compressed_size(totals.compressed)
        .set_total_uncompressed_size(totals.uncompressed)
        .set_dictionary_page_offset(Some(0))
        .set_data_page_offset(data_offset.unwrap_or(0))
        .set_statistics(statistics(descriptor.physical_type(), range, nulls as u64))
        .build()?;
    let bloom_filter = match leaf.bloom {
        true => Some(bloom_filter(&values)?),
        false => None,
    };
    let close = ColumnCloseResult {
        bytes_written: totals.compressed as u64,
        rows_written: rows.len() as u64,
        metadata,
        bloom_filter,
        column_index: Some(column_index.build()?),
        offset_index: Some(offset_index.build()),
    };
    Ok((Bytes::from(sink.into_inner()?), close))
}

#[derive(Default)]
struct Totals {
    compressed: i64,
    uncompressed: i64,
}

impl Totals {
    fn add(&mut self, page: &parquet::column::page::PageWriteSpec) {
        self.compressed += page.compressed_size as i64;
        self.uncompressed += page.uncompressed_size as i64;
    }
}

impl PageValues {
    fn fill(&mut self, leaf: &KeyedLeaf<'_>, rows: Range<usize>, ranks: &[u32], max: u32) {
        self.keys.clear();
        self.definition.clear();
        self.repetition.clear();
        let keys = &leaf.keys[rows];
        let Some(lists) = &leaf.lists else {
            if max == 0 {
                self.keys.extend(keys.iter().map(|&key| ranks[key as usize]));
                return;
            }
            for &key in keys {
                self.definition.push(u32::from(key != NULL));
                if key != NULL {
                    self.keys.push(ranks[key as usize]);
                }
            }
            return;
        };
        for &list in keys {
            let items = lists.items(list);
            if items.is_empty() {
                self.repetition.push(0);
                self.definition.push(0);
            }
            for (number, &key) in items.iter().enumerate() {
                self.repetition.push(u32::from(number > 0));
                self.definition.push(if key == NULL { max - 1 } else { max });
                if key != NULL {
                    self.keys.push(ranks[key as usize]);
                }
            }
        }
    }
}

/// How many values a page says it has, nulls and empty lists too.
fn levels(page: &PageValues, descriptor: &ColumnDescPtr, rows: usize) -> usize {
    if descriptor.max_rep_level() > 0 { page.definition.len() } else { rows }
}

fn put_levels(levels: &[u32], max: i16, body: &mut Vec<u8>) {
    let at = body.len();
    body.extend_from_slice(&[0; 4]);
    hybrid::encode(levels, hybrid::bit_width(max as u32), body);
    let length = (body.len() - at - 4) as u32;
    body[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

fn compress(
    compressor: &mut zstd::bulk::Compressor<'_>,
    body: &[u8],
) -> Result<Bytes, ParquetError> {
    let compressed =
        compressor.compress(body).map_err(|error| ParquetError::External(Box::new(error)))?;
    Ok(compressed.into())
}

fn statistics(physical: Type, range: Option<(&Value<'_>, &Value<'_>)>, nulls: u64) -> Statistics {
    let nulls = Some(nulls);
    match physical {
        Type::INT32 => {
            let number = |value: &Value<'_>| match value {
                Value::Number(number) => *number as i32,
                Value::Text(_) => 0,
            };
            let (least, greatest) = range.map(|(a, b)| (number(a), number(b))).unzip();
            Statistics::Int32(ValueStatistics::new(least, greatest, None, nulls, false))
        }
        _ => {
            let text = |value: &Value<'_>| ByteArray::from(value.bytes());
            let (least, greatest) = range.map(|(a, b)| (text(a), text(b))).unzip();
            Statistics::ByteArray(ValueStatistics::new(least, greatest, None, nulls, false))
        }
    }
}

fn bloom_filter(values: &[Value<'_>]) -> Result<Sbbf, ParquetError> {
    let mut filter = Sbbf::new_with_ndv_fpp(values.len().max(1) as u64, BLOOM_FALSE_POSITIVES)?;
    for value in values {
        match value {
            Value::Text(text) => filter.insert(*text),
            Value::Number(number) => filter.insert(&(*number as i32)),
        }
    }
    Ok(filter)
}
