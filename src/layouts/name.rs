//! Names of layouts: made from what they say, so that equal layouts have equal names and others never do.

use super::{Layout, StaticNode};
use crate::mig::Catalog;

/// A label value has at most so many bytes.
const LONGEST: usize = 63;

/// GPUs of a node that are cut alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Their indices; `None` for all GPUs of the node.
    pub gpus: Option<Vec<u16>>,
    /// How.
    pub layout: Layout,
}

/// A node's layouts, those of the lowest indices first.
pub fn entries(node: &StaticNode, layouts: &[Layout]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for (gpu, layout) in node.gpus.iter().zip(layouts) {
        match entries.iter_mut().find(|entry| entry.layout == *layout) {
            Some(entry) => entry.gpus.get_or_insert_default().push(gpu.index),
            None => entries.push(Entry { gpus: Some(vec![gpu.index]), layout: layout.clone() }),
        }
    }
    if let [only] = entries.as_mut_slice() {
        only.gpus = None;
    }
    entries
}

/// The name of a node's layout, valid as a label value: `tangram-a100-80gb-2x1g.10gb-1x2g.20gb-1x3g.40gb` where all
/// GPUs are cut alike, `tangram-a100-80gb-` and a hash where they are not or that is too long.
pub fn config_name(node: &StaticNode, entries: &[Entry]) -> String {
    let prefix = format!("tangram-{}", Catalog::get().row(node.model).key);
    if let [Entry { gpus: None, layout }] = entries {
        let counts = layout.counts();
        // A label value knows no plus sign.
        let words = counts.iter().map(|(profile, count)| format!("-{count}x{}", profile.resource()));
        let name = prefix.clone() + &words.collect::<String>();
        if !counts.is_empty() && name.len() <= LONGEST {
            return name;
        }
    }
    let words: Vec<String> =
        entries.iter().map(|entry| format!("{:?}={};", entry.gpus, entry.layout)).collect();
    format!("{prefix}-{:016x}", hash(&words.concat()))
}

/// FNV-1a (Fowler, Noll, Vo): the same on every machine.
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
