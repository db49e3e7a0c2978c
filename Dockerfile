# Only a base with its digest makes the image reproducible. A release passes it:
#   --build-arg BASE=docker.io/library/python:3.13-slim-trixie@sha256:…
ARG BASE=docker.io/library/python:3.13-slim-trixie

FROM ${BASE} AS build

# Hashes in a fixed order give the same bytecode in every build.
ENV PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src

# "runtime", or "demo" for an image that can simulate nodes too.
ARG REQUIREMENTS=runtime
COPY requirements/build.txt requirements/${REQUIREMENTS}.txt requirements/
RUN python -m venv /build \
    && /build/bin/python -m pip install --require-hashes --only-binary=:all: --no-compile -r requirements/build.txt \
    && python -m venv --without-pip /opt/ginkgo-exporter \
    && /build/bin/python -m pip --python /opt/ginkgo-exporter/bin/python \
        install --require-hashes --only-binary=:all: --no-compile -r "requirements/${REQUIREMENTS}.txt"

COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY exporter exporter
COPY alerts alerts
ARG REVISION=unknown
RUN echo "${REVISION}" >exporter/REVISION \
    && /build/bin/hatchling build -t wheel -d dist \
    && /build/bin/python -m pip --python /opt/ginkgo-exporter/bin/python \
        install --no-index --no-deps --no-compile dist/*.whl \
    # No program needs the tests of a library.
    && rm -rf /opt/ginkgo-exporter/lib/python3*/site-packages/tornado/test \
    # The image runs with a read-only root, so bytecode is made here. It is never checked, since no file changes.
    && /opt/ginkgo-exporter/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/ginkgo-exporter/lib


FROM ${BASE}

ARG BASE
ARG VERSION=unknown
ARG REVISION=unknown
# The commit's time, and not the build's: the same commit gives the same bytes.
ARG CREATED=
ARG REPOSITORY=https://github.com/ginkgo-trading/ginkgo-exporter
LABEL org.opencontainers.image.title="ginkgo-exporter" \
      org.opencontainers.image.description="Prometheus metrics and alerts for the ExecutionNodes of the Ginkgo trading platform" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.source="${REPOSITORY}" \
      org.opencontainers.image.url="${REPOSITORY}" \
      org.opencontainers.image.documentation="${REPOSITORY}/tree/main/docs" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}"

COPY --from=build /opt/ginkgo-exporter /opt/ginkgo-exporter

ENV PATH=/opt/ginkgo-exporter/bin:${PATH} PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# A number, because Kubernetes cannot tell whether a user with a name is root.
USER 65532:65532
EXPOSE 19121
# For plain Docker; Kubernetes has probes. It finds the exporter's address by itself and needs no other tool.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["python", "-m", "exporter.commands.healthcheck"]
ENTRYPOINT ["ginkgo-exporter"]
