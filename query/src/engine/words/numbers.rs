//! The numbers of words.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{Int32Array, StringArray, StringBuilder, UInt32Array};

/// What a word takes besides its bytes, about: its places in the map and in the list.
const WORD_BYTES: usize = 80;
/// Above this many words a batch's own are looked up one by one.
const SCRATCH_WORDS: usize = 1 << 16;

/// All words that queries group by, until they are too many.
#[derive(Debug)]
pub(crate) struct AllWords {
    limit_bytes: usize,
    current: Mutex<Arc<Words>>,
}

impl AllWords {
    /// Begins anew above so many bytes.
    pub(crate) fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self { limit_bytes, current: Mutex::new(Arc::new(Words::new())) })
    }

    /// Those for the next query.
    pub(super) fn current(&self) -> Arc<Words> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.list().bytes > self.limit_bytes {
            *current = Arc::new(Words::new());
        }
        current.clone()
    }
}

/// Words and their numbers.
#[derive(Debug)]
pub(crate) struct Words {
    id: u64,
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    numbers: HashMap<Arc<str>, u32>,
    words: Vec<Arc<str>>,
    bytes: usize,
}

impl Words {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { id: NEXT.fetch_add(1, Ordering::Relaxed), list: Mutex::default() }
    }

    /// Tells these numbers from others.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The number of each word, new ones if there are any, and the bytes that these take. A null has
    /// number 0, and means nothing.
    pub(super) fn numbers(&self, words: &StringArray) -> (Vec<u32>, usize) {
        let mut list = self.list();
        let before = list.bytes;
        let number = |word: Option<&str>| word.map_or(0, |word| list.number(word));
        let numbers = words.iter().map(number).collect();
        (numbers, list.bytes - before)
    }

    /// The words that numbers stand for, each once, and where in them that of each number is.
    pub(super) fn words(&self, numbers: &UInt32Array) -> (Int32Array, StringArray) {
        let list = self.list();
        let mut places = Places::new(list.words.len(), numbers.len());
        let mut words = StringBuilder::new();
        let mut count = 0;
        let mut key = |number: u32| {
            let place = places.of(number);
            if *place < 0 {
                *place = count;
                count += 1;
                words.append_value(list.words.get(number as usize).map_or("", |word| word));
            }
            *place
        };
        let keys = numbers.iter().map(|number| number.map(&mut key));
        let keys: Int32Array = keys.collect();
        (keys, words.finish())
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl List {
    fn number(&mut self, word: &str) -> u32 {
        if let Some(number) = self.numbers.get(word) {
            return *number;
        }
        let number = u32::try_from(self.words.len()).unwrap_or(u32::MAX);
        let word: Arc<str> = word.into();
        self.bytes += word.len() + WORD_BYTES;
        self.words.push(word.clone());
        self.numbers.insert(word, number);
        number
    }
}

/// Where the word of each number is; -1 where it is not yet.
enum Places {
    All(Vec<i32>),
    Some(HashMap<u32, i32>),
}

impl Places {
    fn new(words: usize, rows: usize) -> Self {
        if words <= SCRATCH_WORDS.max(rows) {
            Self::All(vec![-1; words])
        } else {
            Self::Some(HashMap::new())
        }
    }

    fn of(&mut self, number: u32) -> &mut i32 {
        match self {
            Self::All(places) => &mut places[number as usize],
            Self::Some(places) => places.entry(number).or_insert(-1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back() {
        let words = Words::new();
        let (numbers, bytes) = words.numbers(&StringArray::from(vec!["a", "b", "a"]));
        assert_eq!((numbers.as_slice(), bytes), ([0, 1, 0].as_slice(), 2 * (WORD_BYTES + 1)));
        let (numbers, bytes) = words.numbers(&StringArray::from(vec![Some("c"), None, Some("b")]));
        assert_eq!((numbers.as_slice(), bytes), ([2, 0, 1].as_slice(), WORD_BYTES + 1));
        let (keys, values) = words.words(&vec![Some(2), None, Some(2), Some(1)].into());
        assert_eq!(keys, Int32Array::from(vec![Some(0), None, Some(0), Some(1)]));
        assert_eq!(values, StringArray::from(vec!["c", "b"]));
    }

    #[test]
    fn too_many_words_are_forgotten() {
        let all = AllWords::new(10 * WORD_BYTES);
        let first = all.current();
        first.numbers(&StringArray::from_iter_values((0..20).map(|n| n.to_string())));
        let next = all.current();
        assert_ne!(first.id(), next.id());
        assert_eq!(next.numbers(&StringArray::from(vec!["7"])).0, [0]);
        // Who has the old ones keeps them.
        assert_eq!(first.numbers(&StringArray::from(vec!["7"])).0, [7]);
        assert_eq!(next.id(), all.current().id());
    }
}
