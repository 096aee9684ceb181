//! Who a token belongs to and what they may do, asked of the API server: `TokenReview` and `SubjectAccessReview`.
//!
//! Answers are kept for [`KEPT_MS`], as the API server's own delegated authorization keeps them: so long a right
//! that was taken away may still be used. A question that the API server does not answer is asked again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewStatus, UserInfo};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tracing::debug;

use super::access::{Access, Reply};
use super::age::Clock;
use crate::http::{Admission, Denied, Gate};

/// How long an answer holds.
const KEPT_MS: u64 = 10_000;
/// Answers of one kind that are kept.
const KEPT_MAX: usize = 4096;
/// Questions to the API server at the same time: who guesses tokens must not keep it from answering binds.
const UNDERWAY_MAX: usize = 8;
/// How long a question waits for its turn.
const WAIT: Duration = Duration::from_secs(2);
/// Bytes of a token: one of a service account has about 1,000.
const TOKEN_BYTES_MAX: usize = 16 << 10;

/// Asks the API server about everybody who asks Tangram.
pub struct Reviews {
    access: Access,
    audiences: Vec<String>,
    clock: Clock,
    underway: Semaphore,
    users: Kept<Box<str>, Result<Arc<User>, Denied>>,
    rights: Kept<Question, Result<(), Denied>>,
}

/// Who, verb, path.
type Question = (Arc<str>, Box<str>, Box<str>);

impl std::fmt::Debug for Reviews {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without what is kept: tokens are secrets.
        f.debug_struct("Reviews").field("audiences", &self.audiences).finish_non_exhaustive()
    }
}

/// Somebody whom the API server knows.
#[derive(Debug)]
struct User {
    /// All that a right may depend on, as one text.
    identity: Arc<str>,
    name: Arc<str>,
    info: UserInfo,
}

impl Reviews {
    /// Tokens must be for one of the audiences; for the API server itself when there are none.
    pub fn new(access: Access, audiences: Vec<String>, clock: Clock) -> Self {
        let underway = Semaphore::new(UNDERWAY_MAX);
        Self { access, audiences, clock, underway, users: Kept::default(), rights: Kept::default() }
    }

    async fn user(&self, token: &str) -> Result<Arc<User>, Denied> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Denied::Unauthenticated(format!("a token has at most {TOKEN_BYTES_MAX} bytes")));
        }
        if let Some(known) = self.users.get(token, self.clock.now_ms()) {
            return known;
        }
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": { "token": token, "audiences": self.audiences },
        });
        let answer: TokenReview = self.ask("/apis/authentication.k8s.io/v1/tokenreviews", &review).await?;
        let user = user_of(answer.status.unwrap_or_default(), &self.audiences);
        self.users.put(token.into(), user.clone(), self.clock.now_ms());
        user
    }

    async fn may(&self, user: &User, verb: &str, path: &str) -> Result<(), Denied> {
        let question: Question = (user.identity.clone(), verb.into(), path.into());
        if let Some(known) = self.rights.get(&question, self.clock.now_ms()) {
            return known;
        }
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": user.info.username,
                "uid": user.info.uid,
                "groups": user.info.groups,
                "extra": user.info.extra,
                "nonResourceAttributes": { "verb": verb, "path": path },
            },
        });
        let path_of = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let answer: SubjectAccessReview = self.ask(path_of, &review).await?;
        let may = match answer.status {
            Some(status) if status.allowed => Ok(()),
            _ => Err(Denied::Forbidden(format!(
                "{} may not {verb} {path:.200}: no RBAC rule allows it",
                user.name
            ))),
        };
        self.rights.put(question, may.clone(), self.clock.now_ms());
        may
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str, review: &Value) -> Result<T, Denied> {
        let underway = tokio::time::timeout(WAIT, self.underway.acquire()).await;
        let _underway = underway.map_err(|_| Denied::Busy)?;
        let unknown = |why: &str| {
            debug!(path, why, "The API server did not say who may what.");
            Err(Denied::Unknown("the API server does not say who asks".to_owned()))
        };
        match self.access.create(path, review).await {
            Reply::Done(body) => serde_json::from_slice(&body).or_else(|error| unknown(&error.to_string())),
            Reply::Refused { message, .. } => unknown(&message),
            Reply::Unknown(why) => unknown(&why),
        }
    }
}

fn user_of(status: TokenReviewStatus, audiences: &[String]) -> Result<Arc<User>, Denied> {
    let unknown = || Err(Denied::Unauthenticated("the API server does not know the token".to_owned()));
    let (Some(true), Some(info)) = (status.authenticated, status.user) else { return unknown() };
    // An API server that knows no audiences says none, and has checked none.
    let is_meant = |audience: &String| audiences.contains(audience);
    if !audiences.is_empty() && !status.audiences.unwrap_or_default().iter().any(is_meant) {
        return unknown();
    }
    let Some(name) = info.username.as_deref().filter(|name| !name.is_empty()) else { return unknown() };
    let name = Arc::from(name);
    let identity = serde_json::to_string(&info).expect("texts only").into();
    Ok(Arc::new(User { identity, name, info }))
}

impl Gate for Reviews {
    fn admit<'a>(&'a self, token: Option<&'a str>, verb: &'a str, path: &'a str) -> Admission<'a> {
        Box::pin(async move {
            let nobody = "a token is needed: Authorization: Bearer TOKEN, or Tangram-Authorization where a \
                proxy takes that for itself";
            let token = token.ok_or_else(|| Denied::Unauthenticated(nobody.to_owned()))?;
            let user = self.user(token).await?;
            self.may(&user, verb, path).await?;
            Ok(user.name.clone())
        })
    }

    fn is_open(&self) -> bool {
        false
    }
}

/// Answers with the time from which they do not hold any more.
#[derive(Debug)]
struct Kept<K, V>(Mutex<BTreeMap<K, (u64, V)>>);

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord, V: Clone> Kept<K, V> {
    fn get<Q: Ord + ?Sized>(&self, key: &Q, now_ms: u64) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
    {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(key).filter(|(until_ms, _)| now_ms < *until_ms).map(|(_, value)| value.clone())
    }

    fn put(&self, key: K, value: V, now_ms: u64) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MAX {
            kept.retain(|_, (until_ms, _)| now_ms < *until_ms);
        }
        if kept.len() >= KEPT_MAX {
            kept.clear(); // a flood: asking again is dear, and no more than that
        }
        kept.insert(key, (now_ms + KEPT_MS, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(authenticated: bool, name: &str, audiences: &[&str]) -> TokenReviewStatus {
        TokenReviewStatus {
            authenticated: Some(authenticated),
            user: Some(UserInfo { username: Some(name.to_owned()), ..UserInfo::default() }),
            audiences: Some(audiences.iter().map(|&audience| audience.to_owned()).collect()),
            ..TokenReviewStatus::default()
        }
    }

    #[test]
    fn a_token_is_somebodys_when_the_api_server_says_so_for_an_audience_that_was_asked_for() {
        let name = |status, audiences: &[&str]| {
            let audiences: Vec<String> = audiences.iter().map(|&audience| audience.to_owned()).collect();
            user_of(status, &audiences).ok().map(|user| user.name.to_string())
        };
        assert_eq!(name(status(true, "ann", &["api"]), &[]), Some("ann".to_owned()));
        assert_eq!(name(status(true, "ann", &["tangram"]), &["other", "tangram"]), Some("ann".to_owned()));
        for (status, audiences) in [
            (status(false, "ann", &["api"]), &[][..]),
            (status(true, "", &["api"]), &[]),
            (status(true, "ann", &["api"]), &["tangram"]),
            (status(true, "ann", &[]), &["tangram"]),
            (TokenReviewStatus::default(), &[]),
        ] {
            assert_eq!(name(status, audiences), None);
        }
    }

    #[test]
    fn answers_hold_for_ten_seconds_and_no_more_than_a_bounded_number() {
        let kept = Kept::<u32, u32>::default();
        kept.put(1, 10, 500);
        assert_eq!(
            (kept.get(&1, 500), kept.get(&1, 10_499), kept.get(&1, 10_500)),
            (Some(10), Some(10), None)
        );
        for key in 0..10_000 {
            kept.put(key, key, 600);
        }
        assert!(kept.0.lock().unwrap().len() <= KEPT_MAX);
        assert_eq!(kept.get(&9_999, 700), Some(9_999));
    }
}
