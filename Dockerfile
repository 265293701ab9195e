# Not the slim image, because jemalloc is built with make.
FROM rust:1-bookworm AS build
WORKDIR /milepost
COPY . .
RUN cargo build --release --locked -p milepost && mkdir /data

# glibc and nothing else; no shell, and a user without rights.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /milepost/target/release/milepost /usr/local/bin/milepost
COPY --from=build --chown=65532:65532 /data /data
# All of the container's addresses: so it starts with a key only (MILEPOST_KEY), or with MILEPOST_INSECURE=true.
ENV HOST=0.0.0.0
VOLUME /data
EXPOSE 8084
ENTRYPOINT ["/usr/local/bin/milepost"]
# With REDIS_URL, Redis keeps the states: then the command is `serve` alone.
CMD ["serve", "--data-dir", "/data"]
