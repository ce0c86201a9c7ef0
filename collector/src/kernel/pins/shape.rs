//! What the maps of an object look like: the digest that tells whether pinned maps fit it.

use aya_obj::Object;
use weir_abi::{LAYOUT, LAYOUT_VERSION};

use super::KernelError;

/// The programs' scratch memory, of no worth to others.
const SCRATCH: &str = "WORK";

/// Definitions of all maps that are pinned, sizes as asked for.
#[derive(Debug)]
pub(in crate::kernel) struct Shape(Vec<Map>);

#[derive(Debug)]
struct Map {
    name: String,
    /// Type, size of key and value, entries, flags.
    definition: [u32; 5],
}

impl Shape {
    pub(super) fn of(object: &[u8], sizes: &[(&'static str, u32)]) -> Result<Self, KernelError> {
        let object =
            Object::parse(object).map_err(|error| KernelError::Object(error.to_string()))?;
        let mut maps: Vec<Map> = object
            .maps
            .iter()
            .filter(|(name, _)| *name != SCRATCH && !name.contains('.'))
            .map(|(name, map)| {
                let asked = sizes.iter().find(|(of, _)| of == name).map(|(_, size)| *size);
                let entries = asked.unwrap_or_else(|| map.max_entries());
                let (key, value) = (map.key_size(), map.value_size());
                let definition = [map.map_type(), key, value, entries, map.map_flags()];
                Map { name: name.clone(), definition }
            })
            .collect();
        maps.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self(maps))
    }

    /// Names of the maps.
    pub(super) fn maps(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|map| map.name.as_str())
    }

    /// The name of a directory for maps of this shape.
    pub(super) fn name(&self) -> String {
        let mut bytes = LAYOUT.to_le_bytes().to_vec();
        for map in &self.0 {
            bytes.extend_from_slice(map.name.as_bytes());
            bytes.extend(map.definition.iter().flat_map(|number| number.to_le_bytes()));
        }
        format!("v{LAYOUT_VERSION}-{:016x}", digest(&bytes))
    }
}

/// FNV-1a, 64 bits.
pub(super) fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
