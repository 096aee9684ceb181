# The image of Tangram: one program and the C library, no shell, no package manager.
#
#   docker build --tag tangram:0.1.0 .
#
# Not static: the agent loads NVIDIA's libnvidia-ml.so.1, which a static program cannot. glibc, not musl: that
# library is built for it, and musl's allocator is slow when many threads ask at once.

# The toolchain of rust-toolchain.toml; tests/deploy.rs holds the two together.
FROM rust:1.95.0-slim-trixie AS build
WORKDIR /src
COPY . .
# Dependencies and objects stay in BuildKit's cache, so that the next build compiles what changed.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin tangram \
 && cp target/release/tangram /tangram
# What the program needs, and what libnvidia-ml.so.1 does besides; tests/deploy.rs runs the agent in it. By
# debian_version NVIDIA's container runtime knows the folder that libraries are looked for in.
RUN mkdir /image \
 && libraries="$(ldd /tangram | grep --only-matching '/[^ ]*')" \
 && folder="$(dirname "$(echo "$libraries" | grep '/libc\.so\.6$')")" \
 && cp --parents --dereference /tangram /etc/debian_version $libraries \
      "$folder/libdl.so.2" "$folder/libm.so.6" "$folder/libpthread.so.0" "$folder/librt.so.1" /image

FROM scratch
COPY --from=build --chown=0:0 /image /
# Nobody: no entry in a passwd file, so manifests can check that it is not root only by its number. The agent's
# manifest says root.
USER 65532:65532
# 7240: extender and API, 7241: probes and metrics where the configuration says so.
EXPOSE 7240 7241
ENTRYPOINT ["/tangram"]
CMD ["serve"]
