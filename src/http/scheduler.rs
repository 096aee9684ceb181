//! The four verbs of the extender protocol.
//!
//! kube-scheduler reads a body only when the status is 200, so what the protocol can say is said there:
//! filter and bind have an `Error` field. prioritize and preempt have none; an unreadable request gets a 400
//! there, which kube-scheduler ignores and reports respectively.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tracing::{Instrument as _, debug};

use super::App;
use super::decision::Decision;
use super::extract::{at_most, json};
use super::problem::Problem;
use crate::cache::Event;
use crate::extender;
use crate::metrics::{self, Verb};
use crate::model::PodKey;
use crate::wire::extender::{BindingArgs, BindingResult, ExtenderArgs, PreemptionArgs, filter_error};

pub(super) async fn filter(State(app): State<App>, body: Body) -> Response {
    let decision = Decision::start(&app, Verb::Filter);
    let answer = async {
        answers(&app)?;
        let body = read(&app, body).await?;
        let limits = &app.dialect.limits;
        let args = ExtenderArgs::parse(&body, limits.node_names, limits.name_bytes)?;
        let snapshot = app.model.snapshot();
        let filtered = extender::filtered(app.context(&snapshot, &app.world.claims()), &args);
        let outcome = decision.filtered(&args, &filtered, &snapshot);
        if let Some(pod) = filtered.pod {
            app.model.tell(Event::PodSeen(pod.into())).await.map_err(|stopped| stopped.to_string())?;
        }
        Ok((filtered.body, outcome))
    };
    let answer = answer.instrument(decision.span.clone()).await;
    let (body, outcome) =
        answer.unwrap_or_else(|error| (filter_error(&refused("filter", error)), metrics::Outcome::Error));
    decision.end(outcome);
    json(body)
}

pub(super) async fn prioritize(State(app): State<App>, body: Body) -> Response {
    let decision = Decision::start(&app, Verb::Prioritize);
    let answer = async {
        answers(&app)?;
        let body = read(&app, body).await?;
        let limits = &app.dialect.limits;
        let args = ExtenderArgs::parse(&body, limits.node_names, limits.name_bytes)?;
        let snapshot = app.model.snapshot();
        decision.asks(&args.pod.key(), None, &snapshot);
        Ok(extender::prioritize(app.context(&snapshot, &app.world.claims()), &args))
    };
    let answer = answer.instrument(decision.span.clone()).await;
    decision.end(if answer.is_ok() { metrics::Outcome::Done } else { metrics::Outcome::Error });
    answer.map_or_else(|error| bad_request("prioritize", error), json)
}

pub(super) async fn preempt(State(app): State<App>, body: Body) -> Response {
    let decision = Decision::start(&app, Verb::Preempt);
    let answer = async {
        answers(&app)?;
        let body = read(&app, body).await?;
        let args = PreemptionArgs::parse(&body, app.dialect.limits.node_names)?;
        let snapshot = app.model.snapshot();
        let answer = extender::preempt(app.context(&snapshot, &app.world.claims()), &args);
        let answer = answer.map_err(|error| error.to_string())?;
        let outcome = decision.preempted(&args.pod.key(), answer.victims.len(), &snapshot);
        Ok((serde_json::to_vec(&answer).expect("texts and numbers only"), outcome))
    };
    let answer = answer.instrument(decision.span.clone()).await;
    decision.end(answer.as_ref().map_or(metrics::Outcome::Error, |(_, outcome)| *outcome));
    answer.map_or_else(|error| bad_request("preempt", error), |(body, _)| json(body))
}

pub(super) async fn bind(State(app): State<App>, body: Body) -> Response {
    let decision = Decision::start(&app, Verb::Bind);
    let answer = async {
        answers(&app)?;
        if let Some(why) = app.world.refuses_binds() {
            return Err(why);
        }
        let body = at_most(BIND_BYTES_MAX, body).await.map_err(|unread| unread.to_string())?;
        let args = BindingArgs::parse(&body, app.dialect.limits.name_bytes)?;
        let pod =
            PodKey { namespace: args.pod_namespace.as_str().into(), name: args.pod_name.as_str().into() };
        let (uid, node) = (args.pod_uid.as_str().into(), args.node.as_str().into());
        let bind = Event::Bind { pod, uid, node };
        let outcome = app.model.apply(bind).await.map_err(|stopped| stopped.to_string())?;
        Ok(decision.bound(&args, outcome, &app.model.snapshot()))
    };
    let answer = answer.instrument(decision.span.clone()).await;
    decision.end(match &answer {
        Ok(Ok(())) => metrics::Outcome::Done,
        Ok(Err(_)) => metrics::Outcome::Refused,
        Err(_) => metrics::Outcome::Error,
    });
    let error = answer.flatten().err().map(|error| refused("bind", error)).unwrap_or_default();
    json(serde_json::to_vec(&BindingResult { error }).expect("a text only"))
}

/// Whether to answer at all: a model that is not whole refuses what it should not, and for good.
pub(super) fn answers(app: &App) -> Result<(), String> {
    match app.world.reasons_not_ready().first() {
        None => Ok(()),
        Some(reason) => Err(format!("Tangram is not ready: {reason}")),
    }
}

/// A bind names four things of at most 253 bytes each.
const BIND_BYTES_MAX: usize = 1 << 20;

/// The whole body, within the limit of the configuration.
async fn read(app: &App, body: Body) -> Result<Bytes, String> {
    at_most(app.dialect.limits.body_bytes, body).await.map_err(|unread| unread.to_string())
}

/// Notes a request that could not be served. At debug level: a hostile client must not fill the log.
fn refused(verb: &str, error: String) -> String {
    debug!(verb, %error, "Refused a request of the extender protocol.");
    error
}

fn bad_request(verb: &str, error: String) -> Response {
    Problem::new(StatusCode::BAD_REQUEST, &refused(verb, error)).into_response()
}
