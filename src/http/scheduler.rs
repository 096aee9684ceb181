//! The four verbs of the extender protocol.
//!
//! kube-scheduler reads a body only when the status is 200, so what the protocol can say is said there:
//! filter and bind have an `Error` field. prioritize and preempt have none; an unreadable request gets a 400
//! there, which kube-scheduler ignores and reports respectively.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tracing::debug;

use super::App;
use super::problem::Problem;
use crate::cache::{Event, Outcome};
use crate::extender;
use crate::model::PodKey;
use crate::wire::extender::{BindingArgs, BindingResult, ExtenderArgs, PreemptionArgs, filter_error};

pub(super) async fn filter(State(app): State<App>, body: Body) -> Response {
    let answer = async {
        answers(&app)?;
        let body = read(&app, body).await?;
        let limits = &app.dialect.limits;
        let args = ExtenderArgs::parse(&body, limits.node_names, limits.name_bytes)?;
        app.metrics.filter(args.nodes.len());
        let snapshot = app.model.snapshot();
        let (answer, pod) = extender::filter(app.context(&snapshot, &app.world.claims()), &args);
        if let Some(pod) = pod {
            app.model.tell(Event::PodSeen(pod.into())).await.map_err(|stopped| stopped.to_string())?;
        }
        Ok(answer)
    };
    json(answer.await.unwrap_or_else(|error| filter_error(&refused("filter", error))))
}

pub(super) async fn prioritize(State(app): State<App>, body: Body) -> Response {
    let answer = async {
        answers(&app)?;
        let body = read(&app, body).await?;
        let limits = &app.dialect.limits;
        let args = ExtenderArgs::parse(&body, limits.node_names, limits.name_bytes)?;
        Ok(extender::prioritize(app.context(&app.model.snapshot(), &app.world.claims()), &args))
    };
    answer.await.map_or_else(|error| bad_request("prioritize", error), json)
}

pub(super) async fn preempt(State(app): State<App>, body: Body) -> Response {
    let answer = async {
        answers(&app)?;
        let body = read(&app, body).await?;
        let args = PreemptionArgs::parse(&body, app.dialect.limits.node_names)?;
        let answer = extender::preempt(app.context(&app.model.snapshot(), &app.world.claims()), &args);
        let answer = answer.map_err(|error| error.to_string())?;
        Ok(serde_json::to_vec(&answer).expect("texts and numbers only"))
    };
    answer.await.map_or_else(|error| bad_request("preempt", error), json)
}

pub(super) async fn bind(State(app): State<App>, body: Body) -> Response {
    let answer = async {
        answers(&app)?;
        if let Some(why) = app.world.refuses_binds() {
            return Err(why);
        }
        let args =
            BindingArgs::parse(&read_at_most(BIND_BYTES_MAX, body).await?, app.dialect.limits.name_bytes)?;
        let pod = PodKey { namespace: args.pod_namespace.into(), name: args.pod_name.into() };
        let bind = Event::Bind { pod, uid: args.pod_uid.into(), node: args.node.into() };
        match app.model.apply(bind).await.map_err(|stopped| stopped.to_string())? {
            Outcome::NotBound(error) => Err(error.to_string()),
            Outcome::Bound(_) | Outcome::Changed | Outcome::Unchanged | Outcome::Underway(_) => Ok(()),
        }
    };
    let error = answer.await.err().map(|error| refused("bind", error)).unwrap_or_default();
    json(serde_json::to_vec(&BindingResult { error }).expect("a text only"))
}

/// Whether to answer at all: a model that is not whole refuses what it should not, and for good.
fn answers(app: &App) -> Result<(), String> {
    match app.world.reasons_not_ready().first() {
        None => Ok(()),
        Some(reason) => Err(format!("Tangram is not ready: {reason}")),
    }
}

/// A bind names four things of at most 253 bytes each.
const BIND_BYTES_MAX: usize = 1 << 20;

/// The whole body, within the limit of the configuration.
pub(super) async fn read(app: &App, body: Body) -> Result<Bytes, String> {
    read_at_most(app.dialect.limits.body_bytes, body).await
}

async fn read_at_most(max: usize, body: Body) -> Result<Bytes, String> {
    axum::body::to_bytes(body, max).await.map_err(|error| {
        let is_limit = std::error::Error::source(&error)
            .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>);
        if is_limit {
            format!("the body has more than {max} bytes (limits.bodyBytes)")
        } else {
            format!("the body broke off: {error}")
        }
    })
}

/// Notes a request that could not be served. At debug level: a hostile client must not fill the log.
fn refused(verb: &str, error: String) -> String {
    debug!(verb, %error, "Refused a request of the extender protocol.");
    error
}

fn bad_request(verb: &str, error: String) -> Response {
    Problem::new(StatusCode::BAD_REQUEST, &refused(verb, error)).into_response()
}

pub(super) fn json(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
