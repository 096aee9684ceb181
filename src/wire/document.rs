//! Files and bodies with many objects: what `kubectl get … -o json` or `-o yaml` prints, or several
//! documents behind one another.
//!
//! JSON is read as a stream, one object at a time, so that a file of gigabytes needs the memory of its
//! largest object. YAML has to be read whole.

use std::fmt;
use std::io::Read;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use thiserror::Error;

/// Why a document cannot be read at all.
#[derive(Debug, Error)]
pub enum DocumentError {
    /// The bytes are not JSON; whoever wrote them has to mend it.
    #[error("not valid JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The text is not YAML.
    #[error("not valid YAML: {0}")]
    Yaml(String),
    /// Reading failed.
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// There is no object in it.
    #[error("holds no Kubernetes object")]
    Empty,
}

/// What every object says about itself.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Head {
    /// Kind; for items of a typed list that do not repeat it, the list's.
    pub kind: String,
}

/// Reads every object of a document and hands its head and JSON text to `sink`.
///
/// Items of a List come one by one; an item that is not an object is handed over like any other.
pub fn read_objects(mut reader: impl Read, mut sink: impl FnMut(&Head, &str)) -> Result<(), DocumentError> {
    let mut start = Vec::new();
    // White space may come first; JSON documents then start with a brace, YAML ones never do in practice.
    let first = loop {
        let mut byte = [0];
        if reader.read(&mut byte)? == 0 {
            return Err(DocumentError::Empty);
        }
        start.push(byte[0]);
        if !byte[0].is_ascii_whitespace() {
            break byte[0];
        }
        if start.len() > 1 << 20 {
            return Err(DocumentError::Empty);
        }
    };
    let reader = std::io::Cursor::new(start).chain(reader);
    let mut count = 0_usize;
    let mut counted = |head: &Head, text: &str| {
        count += 1;
        sink(head, text);
    };
    if first == b'{' {
        read_json(reader, &mut counted)?;
    } else {
        read_yaml(reader, &mut counted)?;
    }
    if count == 0 { Err(DocumentError::Empty) } else { Ok(()) }
}

type Sink<'a> = &'a mut dyn FnMut(&Head, &str);

fn read_json(reader: impl Read, sink: Sink<'_>) -> Result<(), DocumentError> {
    let mut reader = serde_json::Deserializer::from_reader(reader);
    // end() skips white space, and refuses only when something follows: the next document.
    while reader.end().is_err() {
        Document(&mut *sink).deserialize(&mut reader)?;
    }
    Ok(())
}

fn read_yaml(mut reader: impl Read, sink: Sink<'_>) -> Result<(), DocumentError> {
    let mut text = String::new();
    reader.read_to_string(&mut text)?;
    // The library's own bounds on size fit configuration files, and a cluster file is larger: about as many
    // nodes as bytes. Its bounds on depth, anchors and aliases stay, so nothing small becomes huge.
    let most = text.len().saturating_mul(2).saturating_add(1024);
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_events: most, max_nodes: most, max_documents: most, max_total_scalar_bytes: most },
    };
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple_with_options(&text, options)
        .map_err(|error| DocumentError::Yaml(error.to_string()))?;
    for document in documents.into_iter().filter(|document| !document.is_null()) {
        let json = serde_json::to_string(&document)?;
        drop(document);
        Document(&mut *sink).deserialize(&mut serde_json::Deserializer::from_str(&json))?;
    }
    Ok(())
}

/// One top-level object: a List, whose items are handed over as they are read, or an object of its own.
struct Document<'a>(Sink<'a>);

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Kubernetes object or a List of them")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut fields: Vec<(String, Box<RawValue>)> = Vec::new();
        let mut kind = String::new();
        let mut is_list = false;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "items" => {
                    is_list = true;
                    let kind = kind.strip_suffix("List").unwrap_or_default();
                    map.next_value_seed(Items { kind, sink: &mut *self.0 })?;
                }
                "kind" => kind = map.next_value::<Option<String>>()?.unwrap_or_default(),
                _ if is_list => _ = map.next_value::<IgnoredAny>()?,
                _ => fields.push((key, map.next_value()?)),
            }
        }
        if !is_list {
            let body = fields.iter().map(|(key, value)| format!("{}:{}", quoted(key), value.get()));
            let text = format!("{{{}}}", body.collect::<Vec<_>>().join(","));
            (self.0)(&Head { kind }, &text);
        }
        Ok(())
    }
}

fn quoted(key: &str) -> String {
    serde_json::to_string(key).expect("a text is always JSON")
}

struct Items<'a, 'k> {
    kind: &'k str,
    sink: Sink<'a>,
}

impl<'de> DeserializeSeed<'de> for Items<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Items<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element::<Box<RawValue>>()? {
            let mut head: Head = serde_json::from_str(item.get()).unwrap_or_default();
            if head.kind.is_empty() {
                self.kind.clone_into(&mut head.kind);
            }
            (self.sink)(&head, item.get());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Result<Vec<String>, String> {
        let mut kinds = Vec::new();
        let read = read_objects(text.as_bytes(), |head, json| {
            let is_json = serde_json::from_str::<IgnoredAny>(json).is_ok();
            kinds.push(format!("{}{}", head.kind, if is_json { "" } else { "!" }));
        });
        read.map(|()| kinds).map_err(|error| error.to_string())
    }

    #[test]
    fn every_form_that_kubectl_prints() {
        let ok = |kinds: &[&str]| Ok(kinds.iter().map(|&kind| kind.to_owned()).collect::<Vec<_>>());
        assert_eq!(
            kinds(r#"{"kind":"List","items":[{"kind":"Node"},{"kind":"Pod"}]}"#),
            ok(&["Node", "Pod"])
        );
        assert_eq!(kinds(r#"{"kind":"NodeList","items":[{"metadata":{}}]}"#), ok(&["Node"]));
        assert_eq!(kinds(" {\"kind\":\"Node\"}\n{\"kind\":\"Pod\"}\n"), ok(&["Node", "Pod"]));
        assert_eq!(
            kinds("---\nkind: Node\n---\n---\nkind: List\nitems:\n- kind: Pod\n- 3\n"),
            ok(&["Node", "Pod", ""])
        );
        assert_eq!(kinds(r#"{"kind":"List","items":null}"#), Err("holds no Kubernetes object".to_owned()));
    }

    #[test]
    fn what_is_no_document_says_so() {
        assert_eq!(kinds(" \n"), Err("holds no Kubernetes object".to_owned()));
        for truncated in
            [r#"{"kind":"List","items":[{"kind":"#, r#"{"kind":"Node"} {"kind""#, r#"{"kind":"Node"} {"#]
        {
            assert!(kinds(truncated).unwrap_err().starts_with("not valid JSON: EOF"), "{truncated}");
        }
        assert!(kinds("a: [b").unwrap_err().starts_with("not valid YAML"));
        // Nine times nine times nine… of something small.
        let line = |(of, name)| format!("{name}: &{name} [{}]", vec![format!("*{of}"); 9].join(","));
        let bomb: Vec<String> = "abcdefgh".chars().zip("bcdefghi".chars()).map(line).collect();
        let error =
            kinds(&format!("a: &a [x,x,x,x,x,x,x,x,x]\n{}\nkind: Pod\n", bomb.join("\n"))).unwrap_err();
        assert!(error.contains("budget breached"), "{error}");
    }
}
