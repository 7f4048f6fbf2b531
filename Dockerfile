# The image of tagwarden, for linux/amd64 and linux/arm64; it is cross-compiled, so neither needs emulation.
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg REVISION="$(git rev-parse HEAD)" --tag ... --push .
# tests/image/run builds it without a network and tries what comes out.

# Has to have the version of rust-toolchain.toml. A digest pins it further: ...:1.95.0-slim-bookworm@sha256:...
ARG BUILD_IMAGE=public.ecr.aws/docker/library/rust:1.95.0-slim-bookworm

FROM --platform=$BUILDPLATFORM ${BUILD_IMAGE} AS build
WORKDIR /build

# The first puts the list of dependencies into the binary, where scanners of images (Inspector's too) look for it; the
# second writes the bill of materials.
RUN cargo install --locked cargo-auditable@0.7.7 \
 && cargo install --locked cargo-cyclonedx@0.5.9

# Debian names a machine's own compiler like a cross compiler, so that only another machine's has to be installed. Its
# version follows the base image's Debian, whose archive keeps one version only. The allocator is built with make.
# The binary is static, because then it is all that the image needs. glibc's resolver reads /etc/resolv.conf and
# /etc/hosts in a static binary too (since 2.34, "files" and "dns" are part of libc.a); tests/image/run holds that.
ARG TARGETARCH
# hadolint ignore=DL3008
RUN case "$TARGETARCH" in \
      amd64) cpu=x86_64 package=x86-64 ;; \
      arm64) cpu=aarch64 package=aarch64 ;; \
      *) echo "TARGETARCH is '$TARGETARCH'; there is amd64 and arm64" >&2; exit 1 ;; \
    esac \
 && target="$cpu-unknown-linux-gnu" linker="$cpu-linux-gnu-gcc" \
 && set -- \
 && if ! command -v make; then set -- make; fi \
 && if ! command -v "$linker"; then set -- "$@" "gcc-$package-linux-gnu" "libc6-dev-$TARGETARCH-cross"; fi \
 && if test $# -gt 0; then \
      apt-get update \
      && apt-get install --yes --no-install-recommends "$@" \
      && rm -rf /var/lib/apt/lists/*; \
    fi \
 && if ! test -d "$(rustc --print target-libdir --target "$target")"; then rustup target add "$target"; fi \
 && mkdir .cargo \
 && printf '[build]\ntarget = "%s"\n[target.%s]\nlinker = "%s"\nrustflags = ["-C", "target-feature=+crt-static"]\n' \
      "$target" "$target" "$linker" >.cargo/config.toml \
 && echo "$target" >.cargo/target

# The dependencies, with nothing of ours: built again only when the manifests or the lock change. The members of the
# workspace that only tests, benchmarks and the example use are there in name.
COPY Cargo.toml Cargo.lock ./
COPY benches/plot/Cargo.toml benches/plot/
COPY benches/pure/Cargo.toml benches/pure/
COPY examples/local/Cargo.toml examples/local/
COPY tests/aws-sim/Cargo.toml tests/aws-sim/
RUN mkdir -p src tests/aws-sim/src \
 && touch src/lib.rs tests/aws-sim/src/lib.rs \
 && echo 'fn main() {}' >src/main.rs \
 && cargo fetch --locked --target "$(cat .cargo/target)" \
 && cargo auditable build --package tagwarden --release --locked

# A copied file is as old as it was outside, which may be older than the stubs.
COPY build.rs ./
COPY src src
ARG REVISION
RUN touch src/lib.rs src/main.rs \
 && REVISION="$REVISION" cargo auditable build --package tagwarden --release --locked

# With it, the same sources give the same bill of materials; docker buildx passes the variable on.
ARG SOURCE_DATE_EPOCH
RUN cargo cyclonedx --format json --spec-version 1.5 --target "$(cat .cargo/target)" --override-filename tagwarden.cdx

COPY LICENSE ./
RUN install -D -m 0755 "target/$(cat .cargo/target)/release/tagwarden" /image/tagwarden \
 && install -D -m 0644 tagwarden.cdx.json /image/usr/share/sbom/tagwarden.cdx.json \
 && install -D -m 0644 LICENSE /image/usr/share/licenses/tagwarden/LICENSE \
 && install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt


# No shell, no package manager, no user database: nothing but what the build put into /image. The worker writes no file,
# so that the root file system can be read-only.
FROM scratch
COPY --from=build /image/ /
EXPOSE 8080

ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG SOURCE=
LABEL org.opencontainers.image.title="tagwarden" \
      org.opencontainers.image.description="Removes tags from container images in Amazon ECR that have Critical or High findings" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}"

USER 65532:65532
STOPSIGNAL SIGTERM
# For Docker; ECS goes by the health check of the task definition.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["/tagwarden", "healthcheck"]
ENTRYPOINT ["/tagwarden"]
CMD ["run"]
