//! Generates the interfaces without `protoc`, which users would have to install.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["proto/deviceplugin_v1beta1.proto", "proto/podresources_v1.proto"];
    for file in files {
        println!("cargo::rerun-if-changed={file}");
    }
    let definitions = protox::compile(files, ["proto"])?;
    // No transport: who connects, and over what, is the caller's business.
    tonic_prost_build::configure().build_transport(false).compile_fds(definitions)?;
    Ok(())
}
