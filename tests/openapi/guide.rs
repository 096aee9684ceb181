//! The examples of the API guide: a block of `sh` with curl, and a block of `json` with what is shown of the answer.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// One example.
#[derive(Debug)]
pub(crate) struct Example {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: String,
    pub(crate) answer: Value,
}

/// All examples of a document, in order.
pub(crate) fn examples(text: &str) -> Vec<Example> {
    let blocks = text.split("```sh\n").skip(1).filter(|block| block.starts_with("curl"));
    let example = |block: &str| {
        let (command, rest) = block.split_once("\n```").expect("a block ends");
        let answer = rest.split_once("```json\n").expect("an answer follows").1;
        let answer = answer.split_once("\n```").expect("a block ends").0;
        let answer =
            serde_json::from_str(answer).unwrap_or_else(|error| panic!("{command}: {error}: {answer}"));
        let words = words(&command.replace("\\\n", " "));
        let after = |flag: &str| words.iter().position(|word| word == flag).map(|at| words[at + 1].clone());
        let file = |name: &str| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name.trim_start_matches('@'));
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let body = after("-d").or_else(|| after("--data-binary").map(|name| file(&name)));
        let url = words.iter().find_map(|word| word.strip_prefix("localhost:7240")).expect("a path");
        let by_default = if body.is_some() { "POST" } else { "GET" };
        Example {
            method: after("-X").unwrap_or_else(|| by_default.to_owned()),
            path: url.to_owned(),
            body: body.unwrap_or_default(),
            answer,
        }
    };
    blocks.map(example).collect()
}

/// Words of a shell, with single quotes.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, part) in command.split('\'').enumerate() {
        if number % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// Whether all that is shown is in the answer; the place where it is not. A list shows the first entries.
pub(crate) fn is_part(shown: &Value, answer: &Value) -> Result<(), String> {
    match (shown, answer) {
        (Value::Object(shown), Value::Object(answer)) => {
            for (key, shown) in shown {
                let answer = answer.get(key).ok_or_else(|| format!(".{key} is not there"))?;
                is_part(shown, answer).map_err(|at| format!(".{key}{at}"))?;
            }
            Ok(())
        }
        (Value::Array(shown), Value::Array(answer)) => {
            for (at, shown) in shown.iter().enumerate() {
                let answer = answer.get(at).ok_or_else(|| format!("[{at}] is not there"))?;
                is_part(shown, answer).map_err(|place| format!("[{at}]{place}"))?;
            }
            Ok(())
        }
        _ if shown == answer => Ok(()),
        _ => Err(format!(" is {answer}, not {shown}")),
    }
}
