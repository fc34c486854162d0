# One image per program: a static binary on an empty file system. The last stage is the bot, so that a plain
# `docker build -t kotonoha-bot:local .` makes the bot.
#
#   from source:                docker build --target log-shipper -t localhost/kotonoha-log-shipper:0.1.0 .
#   from binaries in prebuilt/: docker build --build-arg BINARIES=prebuilt --target bot -t … .   (fetches nothing)
#
# BuildKit skips the stages it does not need. The legacy builder does not: use Dockerfile.prebuilt there.
ARG BINARIES=builder

FROM rust:1.95-bookworm AS builder
WORKDIR /src
COPY . .
# What `--version` says: docker build --build-arg KOTONOHA_COMMIT="$(git rev-parse --short HEAD)" …
ARG KOTONOHA_COMMIT
RUN target="$(rustc -vV | sed -n 's/^host: //p')" \
    && RUSTFLAGS="-C target-feature=+crt-static" \
       cargo build --locked --release --target "$target" -p bot -p backup-sidecar -p log-shipper \
    && mkdir -p /prebuilt/root/tmp \
    && chmod 1777 /prebuilt/root/tmp \
    && cp "target/$target/release/bot" "target/$target/release/backup-sidecar" \
          "target/$target/release/log-shipper" /prebuilt/

FROM scratch AS prebuilt
COPY prebuilt/ /prebuilt/

FROM ${BINARIES} AS binaries

# --- everything below is the same in Dockerfile.prebuilt; a test holds the two together ---

FROM scratch AS base
# /tmp with its own mode: the tmpfs of a restarted container takes the mode of what it is mounted on, and without this
# nobody but root could write there from the second start on (seen with runc 1.1.5).
COPY --from=binaries /prebuilt/root/ /
# Volumes are mounted below it; nothing else exists in an image besides its program.
WORKDIR /app
# Any UID works; compose sets the owner's. This one is for a plain `docker run`.
USER 1000:1000
CMD ["run"]
LABEL org.opencontainers.image.title="kotonoha" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="0.1.0"

FROM base AS backup-sidecar
COPY --from=binaries /prebuilt/backup-sidecar /usr/local/bin/backup-sidecar
ENTRYPOINT ["/usr/local/bin/backup-sidecar"]
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s --retries=3 CMD ["/usr/local/bin/backup-sidecar", "healthcheck"]

FROM base AS log-shipper
COPY --from=binaries /prebuilt/log-shipper /usr/local/bin/log-shipper
ENTRYPOINT ["/usr/local/bin/log-shipper"]
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s --retries=3 CMD ["/usr/local/bin/log-shipper", "healthcheck"]

FROM base AS bot
COPY --from=binaries /prebuilt/bot /usr/local/bin/bot
ENTRYPOINT ["/usr/local/bin/bot"]
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s --retries=3 CMD ["/usr/local/bin/bot", "healthcheck"]
