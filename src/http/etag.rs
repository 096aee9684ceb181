//! Answers that follow from the snapshot alone: who has the last one need not get it again.

use std::process;
use std::sync::OnceLock;
use std::time::SystemTime;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::extract::aside;
use super::problem::Problem;

/// The tag of one generation. Generations begin anew with each process, so the tag says which one it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag(String);

impl Tag {
    pub(super) fn of(generation: u64) -> Self {
        static PROCESS: OnceLock<String> = OnceLock::new();
        #[expect(clippy::disallowed_methods, reason = "a name for this process, and nothing more")]
        let process = PROCESS.get_or_init(|| {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            format!("{:x}-{:x}", process::id(), since.as_millis())
        });
        // Weak: the same cluster, if not the same bytes.
        Self(format!("W/\"{process}-{generation}\""))
    }

    /// Whether whoever asks has this generation already.
    fn is_known(&self, headers: &HeaderMap) -> bool {
        let known = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
        known.is_some_and(|tags| tags.split(',').any(|tag| tag.trim() == self.0))
    }

    fn value(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("digits, letters and quotes")
    }
}

/// The answer that `work` makes of a generation, or none for those who have it.
pub(super) async fn tagged<T: Serialize + Send + 'static>(
    headers: &HeaderMap,
    generation: u64,
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<Response, Problem> {
    let tag = Tag::of(generation);
    let mut response =
        if tag.is_known(headers) { StatusCode::NOT_MODIFIED.into_response() } else { aside(work).await? };
    response.headers_mut().insert(header::ETAG, tag.value());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_known_by_those_who_name_it_and_is_of_one_generation() {
        let asked = |tags: &str| {
            let headers =
                HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_str(tags).unwrap())]);
            Tag::of(7).is_known(&headers)
        };
        let (seven, eight) = (Tag::of(7).0, Tag::of(8).0);
        assert!(asked(&seven) && asked(&format!("{eight}, {seven}")));
        assert!(!asked(&eight) && !asked("*") && !asked(""));
        assert!(!Tag::of(7).is_known(&HeaderMap::new()));
    }
}
