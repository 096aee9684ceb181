# The image of Tangram: one static program and nothing else, no shell, no libraries.
#
#   docker build --tag tangram:0.1.0 .
#
# Static against glibc, not musl: musl's allocator is slow when many threads ask at once, and a scheduler waits.

# The toolchain of rust-toolchain.toml; tests/deploy.rs holds the two together.
FROM rust:1.95.0-slim-trixie AS build
WORKDIR /src
COPY . .
# With --target, RUSTFLAGS are for the program alone: build scripts and macros cannot be static. Dependencies and
# objects stay in BuildKit's cache, so that the next build compiles what changed.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    host="$(rustc --version --verbose | sed -n 's/^host: //p')" \
 && RUSTFLAGS="-C target-feature=+crt-static" \
    cargo build --release --locked --bin tangram --target "$host" \
 && cp "target/$host/release/tangram" /tangram

FROM scratch
COPY --from=build --chown=0:0 --chmod=0555 /tangram /tangram
# Nobody: no entry in a passwd file, so manifests can check that it is not root only by its number.
USER 65532:65532
# 7240: extender and API, 7241: probes and metrics where the configuration says so.
EXPOSE 7240 7241
ENTRYPOINT ["/tangram"]
CMD ["serve"]
