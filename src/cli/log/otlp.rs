//! Spans to an OpenTelemetry collector over gRPC, as the variables of OpenTelemetry say.

use anyhow::Context as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::{Builder, Runtime};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::registry::LookupSpan;

/// Either of them turns the export on.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];

/// An export under way. What is not sent yet is sent when this is dropped.
#[derive(Debug)]
pub(super) struct Export {
    provider: SdkTracerProvider,
    /// Of its own: the export begins before the server's threads do and ends after them.
    _runtime: Runtime,
}

impl Drop for Export {
    fn drop(&mut self) {
        self.provider.shutdown().ok(); // the collector may be gone
    }
}

/// Starts the export where the environment names a collector.
pub(super) fn start<S>() -> anyhow::Result<Option<(impl Layer<S>, Export)>>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    if !ENDPOINTS.into_iter().any(is_set) {
        return Ok(None);
    }
    let threads = Builder::new_multi_thread().worker_threads(1).thread_name("otlp").enable_all().build();
    let runtime = threads.context("no thread to export spans with")?;
    let entered = runtime.enter();
    let exporter = SpanExporter::builder().with_tonic().build().context("spans cannot be exported")?;
    drop(entered);
    let resource = Resource::builder();
    let resource = if is_set("OTEL_SERVICE_NAME") { resource } else { resource.with_service_name("tangram") };
    let provider =
        SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build();
    // Tangram's own: those of the libraries below would tell of the export itself.
    let is_ours = filter_fn(|metadata| metadata.is_span() && metadata.target().starts_with("tangram"));
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("tangram"))
        .with_filter(is_ours.and(LevelFilter::DEBUG));
    Ok(Some((layer, Export { provider, _runtime: runtime })))
}

#[expect(clippy::disallowed_methods, reason = "OpenTelemetry is configured by its own variables everywhere")]
fn is_set(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| !value.is_empty())
}
