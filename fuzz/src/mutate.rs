//! A mutator for JSON: it takes the documents of an input apart, changes a value or two, and writes them
//! again. Random bytes hardly ever get past a parser; what lies behind it is found this way. Every other
//! input is left to libFuzzer, so that the parser has its share.

use std::sync::LazyLock;

use serde_json::{Map, Value};

/// The words of the dictionary that libFuzzer gets too.
static WORDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let word = |line: &str| serde_json::from_str(line.trim()).ok();
    include_str!("../kubernetes.dict").lines().filter_map(word).collect()
});

/// Numbers at which something tends to end.
const NUMBERS: [i64; 22] = [
    0,
    1,
    2,
    3,
    4,
    6,
    7,
    8,
    12,
    16,
    63,
    64,
    100,
    255,
    256,
    65_535,
    65_536,
    2_147_483_647,
    4_294_967_295,
    -1,
    i64::MIN,
    i64::MAX,
];

/// Changes `data[..size]`; gives back its new size. The first `prefix` bytes are no JSON.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32, prefix: usize) -> usize {
    let mut random = Random(u64::from(seed) << 1 | 1);
    if size <= prefix || random.below(3) == 0 {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    }
    let documents: Result<Vec<Value>, _> =
        serde_json::Deserializer::from_slice(&data[prefix..size]).into_iter().collect();
    let Ok(mut documents) = documents else { return libfuzzer_sys::fuzzer_mutate(data, size, max_size) };
    let mut whole = Value::Array(std::mem::take(&mut documents));
    for _ in 0..=random.below(3) {
        change(&mut whole, &mut random);
    }
    let Value::Array(documents) = whole else { return libfuzzer_sys::fuzzer_mutate(data, size, max_size) };
    let mut text = data[..prefix].to_vec();
    if prefix > 0 && random.below(8) == 0 {
        text[0] = text[0].wrapping_add(1);
    }
    for document in documents {
        text.extend(document.to_string().into_bytes());
        text.push(b'\n');
    }
    if text.len() > max_size.min(data.len()) {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    }
    data[..text.len()].copy_from_slice(&text);
    text.len()
}

/// Changes one value somewhere below `whole`.
fn change(whole: &mut Value, random: &mut Random) {
    let nodes = count(whole);
    let other = nth(whole, &mut random.below(nodes)).expect("it was counted").clone();
    let mut position = random.below(nodes);
    let chosen = nth(whole, &mut position).expect("it was counted");
    match chosen {
        Value::Array(items) if !items.is_empty() && random.below(2) == 0 => {
            let at = random.below(items.len());
            match random.below(4) {
                0 => drop(items.remove(at)),
                1 => items.insert(at, other),
                2 => {
                    let last = items.len() - 1;
                    items.swap(at, last);
                }
                _ => {
                    for _ in 0..=random.below(8) {
                        items.push(items[at].clone());
                    }
                }
            }
        }
        Value::Object(members) if random.below(2) == 0 => change_members(members, other, random),
        Value::String(text) if random.below(2) == 0 => change_text(text, random),
        _ => *chosen = if random.below(3) == 0 { other } else { any(random) },
    }
}

fn change_members(members: &mut Map<String, Value>, other: Value, random: &mut Random) {
    let key = members.keys().nth(random.below(members.len().max(1))).cloned().unwrap_or_default();
    match random.below(4) {
        0 => drop(members.remove(&key)),
        1 => {
            let value = members.remove(&key).unwrap_or_default();
            members.insert(word(random), value);
        }
        2 => drop(members.insert(word(random), other)),
        _ => drop(members.insert(word(random), any(random))),
    }
}

fn change_text(text: &mut String, random: &mut Random) {
    let at =
        text.char_indices().map(|(at, _)| at).nth(random.below(text.chars().count().max(1))).unwrap_or(0);
    match random.below(5) {
        0 => text.truncate(at),
        1 => text.insert_str(at, &word(random)),
        2 => {
            text.insert(at, char::from_digit(u32::try_from(random.below(10)).unwrap_or(0), 10).unwrap_or('0'))
        }
        3 if at < text.len() => _ = text.remove(at),
        _ => *text = word(random),
    }
}

/// A value out of nothing: a word of the dictionary, a number as such or as text, or something empty.
fn any(random: &mut Random) -> Value {
    match random.below(10) {
        0 => Value::Null,
        1 => Value::Bool(random.below(2) == 0),
        2 | 3 => NUMBERS[random.below(NUMBERS.len())].into(),
        4 => Value::String(NUMBERS[random.below(NUMBERS.len())].to_string()),
        5 => Value::Array(Vec::new()),
        6 => Value::Object(Map::new()),
        _ => {
            let word = word(random);
            serde_json::from_str(&word).unwrap_or(Value::String(word))
        }
    }
}

fn word(random: &mut Random) -> String {
    WORDS[random.below(WORDS.len())].clone()
}

/// Number of values in `value`, itself included.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        _ => 0,
    }
}

/// The value at a position of a walk in depth.
fn nth<'a>(value: &'a mut Value, position: &mut usize) -> Option<&'a mut Value> {
    if *position == 0 {
        return Some(value);
    }
    *position -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| nth(item, position)),
        Value::Object(members) => members.values_mut().find_map(|member| nth(member, position)),
        _ => None,
    }
}

/// SplitMix64: equal seeds give equal mutations.
struct Random(u64);

impl Random {
    /// A number below `end`, which is at least 1.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % u64::try_from(end).unwrap_or(1)).unwrap_or(0)
    }
}
