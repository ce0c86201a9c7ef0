//! Many batches as one set of columns, in which equal values are one number: text by its rank among
//! all texts of the column, lists and maps by the order in which they come. No I/O.
//!
//! What follows (sorting, roll-up, encoding) works on these numbers. A row's labels are a dozen
//! strings, and a million rows have a few hundred different sets of them.

use std::hash::Hasher as _;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Int32Array, RecordBatch, StringArray, UInt32Array,
};
use arrow::compute::{concat, interleave, take};
use arrow::datatypes::{DataType, Int32Type, SchemaRef, UInt32Type};
use arrow::error::ArrowError;
use rustc_hash::{FxHashMap, FxHasher};
use weir_flow::schema::sent_schema;

/// The key of a null.
pub(crate) const NULL: u32 = u32::MAX;

/// Rows of one schema.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    pub(crate) schema: SchemaRef,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: usize,
}

/// The values of one column.
#[derive(Clone, Debug)]
pub(crate) enum Column {
    /// Text: keys into sorted values, each of them once; some may not be used.
    Text { values: Arc<StringArray>, keys: Vec<u32> },
    /// Lists or maps: keys into different ones.
    Lists { values: ArrayRef, keys: Vec<u32> },
    /// Anything else.
    Plain(ArrayRef),
}

impl Columns {
    /// All rows of the batches, which are of the schema; lists and maps may be dictionary-encoded.
    ///
    /// # Errors
    /// They are not, or hold more than an Arrow array can.
    pub(crate) fn merge(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Self, ArrowError> {
        let rows = batches.iter().map(RecordBatch::num_rows).sum();
        let mut columns = Vec::with_capacity(schema.fields().len());
        for (index, field) in schema.fields().iter().enumerate() {
            let arrays: Vec<&ArrayRef> = batches.iter().map(|batch| batch.column(index)).collect();
            let expected = field.data_type();
            if let Some(wrong) = arrays.iter().find(|array| !is_of(array.data_type(), expected)) {
                let found = wrong.data_type();
                return Err(ArrowError::SchemaError(format!("column {} is {found}", field.name())));
            }
            columns.push(match expected {
                DataType::Dictionary(..) => text(&arrays),
                DataType::List(_) | DataType::Map(..) => lists(&arrays)?,
                _ => {
                    let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
                    Column::Plain(concat(&arrays)?)
                }
            });
        }
        Ok(Self { schema: schema.clone(), columns, rows })
    }

    /// The column of that name.
    pub(crate) fn column(&self, name: &str) -> Result<&Column, ArrowError> {
        self.schema.index_of(name).map(|index| &self.columns[index])
    }

    /// These rows, in this order.
    pub(crate) fn take(&self, rows: &UInt32Array) -> Result<Self, ArrowError> {
        let gather = |keys: &[u32]| rows.values().iter().map(|&row| keys[row as usize]).collect();
        let columns = self
            .columns
            .iter()
            .map(|column| {
                Ok(match column {
                    Column::Text { values, keys } => {
                        Column::Text { values: values.clone(), keys: gather(keys) }
                    }
                    Column::Lists { values, keys } => {
                        Column::Lists { values: values.clone(), keys: gather(keys) }
                    }
                    Column::Plain(array) => Column::Plain(take(array, rows, None)?),
                })
            })
            .collect::<Result<_, ArrowError>>()?;
        Ok(Self { schema: self.schema.clone(), columns, rows: rows.len() })
    }
}

/// One sorted dictionary of all values.
fn text(arrays: &[&ArrayRef]) -> Column {
    // Batches of one collector mostly share a dictionary.
    let mut dictionaries: Vec<&ArrayRef> = Vec::new();
    let mut dictionary_of = Vec::with_capacity(arrays.len());
    for array in arrays {
        let values = array.as_dictionary::<Int32Type>().values();
        let known = dictionaries.iter().rposition(|known| Arc::ptr_eq(known, values));
        dictionary_of.push(known.unwrap_or_else(|| {
            dictionaries.push(values);
            dictionaries.len() - 1
        }));
    }
    let mut ranks: FxHashMap<&str, u32> = FxHashMap::default();
    for dictionary in &dictionaries {
        ranks.extend(dictionary.as_string::<i32>().iter().flatten().map(|text| (text, 0)));
    }
    let mut sorted: Vec<&str> = ranks.keys().copied().collect();
    sorted.sort_unstable();
    for (rank, value) in (0..).zip(&sorted) {
        ranks.insert(value, rank);
    }
    let ranks: Vec<Vec<u32>> = dictionaries
        .iter()
        .map(|dictionary| {
            let texts = dictionary.as_string::<i32>();
            texts.iter().map(|text| text.map_or(NULL, |text| ranks[text])).collect()
        })
        .collect();
    let mut keys = Vec::with_capacity(arrays.iter().map(Array::len).sum());
    for (array, dictionary) in arrays.iter().zip(dictionary_of) {
        let array = array.as_dictionary::<Int32Type>();
        let ranks = &ranks[dictionary];
        // What lies under a null is anything.
        let rank = |key: i32| {
            usize::try_from(key).ok().and_then(|key| ranks.get(key)).copied().unwrap_or(NULL)
        };
        match array.nulls().filter(|nulls| nulls.null_count() > 0) {
            None => keys.extend(array.keys().values().iter().map(|&key| rank(key))),
            Some(_) => keys.extend(array.keys().iter().map(|key| key.map_or(NULL, rank))),
        }
    }
    Column::Text { values: Arc::new(StringArray::from_iter_values(sorted)), keys }
}

/// Whether an array of type `found` may stand in a column of type `expected`.
fn is_of(found: &DataType, expected: &DataType) -> bool {
    match found {
        DataType::Dictionary(_, values) if expected.is_nested() => **values == *expected,
        found => found == expected,
    }
}

/// Rows with plain lists and maps as rows of [`sent_schema`].
///
/// # Errors
/// They have other columns.
pub(crate) fn pack(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let pack = |column: &ArrayRef| -> Result<ArrayRef, ArrowError> {
        if !column.data_type().is_nested() {
            return Ok(column.clone());
        }
        match lists(&[column])? {
            Column::Lists { values, keys } => {
                let keys = Int32Array::from_iter_values(keys.into_iter().map(u32::cast_signed));
                Ok(Arc::new(DictionaryArray::try_new(keys, values)?))
            }
            _ => Ok(column.clone()),
        }
    };
    let columns = batch.columns().iter().map(pack).collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(sent_schema(), columns)
}

/// The different lists of all arrays, dictionary-encoded or not.
fn lists(arrays: &[&ArrayRef]) -> Result<Column, ArrowError> {
    let dictionaries: Vec<_> =
        arrays.iter().map(|array| array.as_dictionary_opt::<Int32Type>()).collect();
    let values: Vec<&ArrayRef> = arrays
        .iter()
        .zip(&dictionaries)
        .map(|(array, dictionary)| dictionary.map_or(*array, |dictionary| dictionary.values()))
        .collect();
    let flat: Vec<FlatLists<'_>> =
        values.iter().map(|array| FlatLists::of(array)).collect::<Result<_, _>>()?;
    let mut different = Different::default();
    let mut keys = Vec::with_capacity(arrays.iter().map(Array::len).sum());
    for (number, dictionary) in dictionaries.iter().enumerate() {
        let all = (0..flat[number].len()).map(|row| different.key(&flat, number, row));
        match dictionary {
            None => keys.extend(all),
            Some(dictionary) => {
                let all: Vec<u32> = all.collect();
                let rows = dictionary.keys().values().iter();
                keys.extend(rows.map(|&key| all[key as usize]));
            }
        }
    }
    let values: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
    Ok(Column::Lists { values: interleave(&values, &different.found)?, keys })
}

/// Lists that differ from each other.
#[derive(Default)]
struct Different {
    by_hash: FxHashMap<u64, u32>,
    /// Array and row.
    found: Vec<(usize, usize)>,
}

impl Different {
    /// The key of a list.
    fn key(&mut self, all: &[FlatLists<'_>], array: usize, row: usize) -> u32 {
        let lists = &all[array];
        let mut hash = lists.hash(row);
        // Another list may have the same hash; then the next number is tried.
        loop {
            match self.by_hash.get(&hash) {
                Some(&key) => {
                    let (of, at) = self.found[key as usize];
                    if lists.is_equal(row, &all[of], at) {
                        return key;
                    }
                    hash = hash.wrapping_add(1);
                }
                None => {
                    let key = self.found.len() as u32;
                    self.by_hash.insert(hash, key);
                    self.found.push((array, row));
                    return key;
                }
            }
        }
    }
}

/// Lists as offsets into leaf arrays.
pub(crate) struct FlatLists<'a> {
    pub(crate) offsets: &'a [i32],
    pub(crate) leaves: Vec<Leaf<'a>>,
}

/// What lists hold, of one field.
pub(crate) enum Leaf<'a> {
    Text(&'a StringArray),
    Number(&'a UInt32Array),
}

impl<'a> FlatLists<'a> {
    /// Of lists or maps of text and numbers.
    pub(crate) fn of(array: &'a ArrayRef) -> Result<Self, ArrowError> {
        let (offsets, items): (&[i32], &'a ArrayRef) = match array.data_type() {
            DataType::List(_) => {
                (array.as_list::<i32>().offsets(), array.as_list::<i32>().values())
            }
            _ => {
                let map = array.as_map();
                let leaves =
                    map.entries().columns().iter().map(Leaf::of).collect::<Result<_, _>>()?;
                return Ok(Self { offsets: map.offsets(), leaves });
            }
        };
        let leaves = match items.as_struct_opt() {
            Some(fields) => fields.columns().iter().map(Leaf::of).collect::<Result<_, _>>()?,
            None => vec![Leaf::of(items)?],
        };
        Ok(Self { offsets, leaves })
    }

    pub(crate) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Positions of a list's items in the leaves.
    pub(crate) fn items(&self, row: usize) -> std::ops::Range<usize> {
        self.offsets[row] as usize..self.offsets[row + 1] as usize
    }

    fn hash(&self, row: usize) -> u64 {
        let items = self.items(row);
        let mut hasher = FxHasher::default();
        hasher.write_usize(items.len());
        if items.is_empty() {
            return hasher.finish();
        }
        for leaf in &self.leaves {
            match leaf {
                Leaf::Text(texts) => {
                    let offsets = &texts.value_offsets()[items.start..=items.end];
                    let bytes = offsets[0] as usize..offsets[items.len()] as usize;
                    hasher.write(&texts.value_data()[bytes]);
                }
                Leaf::Number(numbers) => {
                    for item in items.clone() {
                        hasher.write_u32(if numbers.is_null(item) {
                            NULL
                        } else {
                            numbers.value(item)
                        });
                    }
                }
            }
        }
        hasher.finish()
    }

    fn is_equal(&self, row: usize, other: &Self, other_row: usize) -> bool {
        let (ours, theirs) = (self.items(row), other.items(other_row));
        ours.len() == theirs.len()
            && self.leaves.iter().zip(&other.leaves).all(|(ours_of, theirs_of)| {
                ours.clone().zip(theirs.clone()).all(|(a, b)| match (ours_of, theirs_of) {
                    (Leaf::Text(x), Leaf::Text(y)) => {
                        x.is_null(a) == y.is_null(b) && (x.is_null(a) || x.value(a) == y.value(b))
                    }
                    (Leaf::Number(x), Leaf::Number(y)) => {
                        x.is_null(a) == y.is_null(b) && (x.is_null(a) || x.value(a) == y.value(b))
                    }
                    _ => false,
                })
            })
    }
}

impl<'a> Leaf<'a> {
    fn of(array: &'a ArrayRef) -> Result<Self, ArrowError> {
        if let Some(texts) = array.as_string_opt::<i32>() {
            return Ok(Self::Text(texts));
        }
        match array.as_primitive_opt::<UInt32Type>() {
            Some(numbers) => Ok(Self::Number(numbers)),
            None => Err(ArrowError::SchemaError(format!("lists of {}", array.data_type()))),
        }
    }
}
