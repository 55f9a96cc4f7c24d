# One image for every service, the command line and the development node: docker build -t evm-kafka-indexer .
ARG PYTHON=3.11-slim-bookworm

FROM rust:1-slim-bookworm AS rust

FROM python:${PYTHON} AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY --from=rust /usr/local/rustup /usr/local/rustup
COPY --from=rust /usr/local/cargo /usr/local/cargo
ENV RUSTUP_HOME=/usr/local/rustup CARGO_HOME=/usr/local/cargo PATH=/usr/local/cargo/bin:$PATH
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev
COPY pyproject.toml requirements.lock ./
COPY tools/sublock.py tools/
RUN python tools/sublock.py =hatchling > build.lock \
    && python -m venv /build && /build/bin/pip install --require-hashes --requirement build.lock
RUN python tools/sublock.py producer decoder persister devchain cli > image.lock \
    && python -m venv /opt/indexer && /opt/indexer/bin/pip install --require-hashes --requirement image.lock
COPY tools/native.py tools/
COPY native native
RUN /build/bin/python tools/native.py build "$(/opt/indexer/bin/python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')"
COPY README.md ./
COPY schemas schemas
COPY indexer indexer
COPY services services
COPY devchain devchain
RUN /build/bin/python -m hatchling build -t wheel -d dist \
    && /opt/indexer/bin/pip install --no-deps --no-index dist/*.whl \
    && /opt/indexer/bin/pip uninstall --yes pip setuptools

FROM python:${PYTHON}
RUN apt-get update && apt-get install --yes --no-install-recommends tini && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent indexer \
    && install --directory --owner indexer --group indexer /var/cache/devchain /var/lib/indexer
COPY --from=build /opt/indexer /opt/indexer
ARG BUILD=unknown
LABEL org.opencontainers.image.title="evm-kafka-indexer" \
      org.opencontainers.image.description="An EVM block indexer on Kafka: every block proven, decoded and stored once" \
      org.opencontainers.image.revision="${BUILD}"
ENV PATH=/opt/indexer/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 INDEXER_BUILD=${BUILD} LOG_FORMAT=json
USER 10001:10001
WORKDIR /var/cache/devchain
ENTRYPOINT ["tini", "--"]
CMD ["indexer", "--help"]
