//! The kubelet's gRPC interfaces as Kubernetes defines them: `k8s.io/kubelet` v0.36.2, Apache-2.0.
//!
//! `proto/` holds the two files as they stand there; messages, clients and servers are generated from them
//! when the crate is built, and nothing here is written by hand but the numbers and words that the
//! definitions leave to Go's `constants.go`.

/// Device plugins: `pkg/apis/deviceplugin/v1beta1/api.proto`.
#[allow(
    clippy::all,
    rustdoc::bare_urls,
    rustdoc::invalid_html_tags,
    reason = "generated code, and comments of Go"
)]
pub mod deviceplugin {
    tonic::include_proto!("v1beta1");

    /// Version of the interface (`constants.go`: `Version`), sent with a registration.
    pub const VERSION: &str = "v1beta1";
    /// A device that may be given to a container (`constants.go`: `Healthy`).
    pub const HEALTHY: &str = "Healthy";
    /// A device that may not (`constants.go`: `Unhealthy`).
    pub const UNHEALTHY: &str = "Unhealthy";
    /// Name of the registration socket in the directory of device plugins (`constants.go`: `KubeletSocket`).
    pub const KUBELET_SOCKET: &str = "kubelet.sock";
}

/// Who holds which device: `pkg/apis/podresources/v1/api.proto`.
#[allow(
    clippy::all,
    rustdoc::bare_urls,
    rustdoc::invalid_html_tags,
    reason = "generated code, and comments of Go"
)]
pub mod podresources {
    tonic::include_proto!("v1");
}
