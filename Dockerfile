# mri2pet-bids on the CPU (docs/bids.md, "In a container"):
#
#   docker build --build-arg REVISION="$(git describe --always --abbrev=40)" -t mri2pet .
#
# A tag can move. To build on one exact base, name its digest, which
# `docker buildx imagetools inspect debian:12.15-slim` prints:
#
#   docker build --build-arg BASE=debian@sha256:… -t mri2pet .
#
# tools/try_container.sh carries these lines out without Docker.
ARG BASE=debian:12.15-slim

FROM ${BASE} AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
      ca-certificates cmake g++ ninja-build python3-dev python3-venv \
 && rm -rf /var/lib/apt/lists/*
# One environment to build in, and the one that is shipped, which needs no pip.
RUN python3 -m venv /build && python3 -m venv --without-pip /opt/mri2pet
WORKDIR /src
COPY constraints.txt ./
ENV PIP_CONSTRAINT=/src/constraints.txt PIP_NO_CACHE_DIR=1
# PyPI's torch brings gigabytes of CUDA; PyTorch's own index has it without.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN /build/bin/pip --python /opt/mri2pet/bin/python install --no-deps --index-url "$TORCH_INDEX" torch
COPY CMakeLists.txt LICENSE README.md pyproject.toml ./
COPY bench bench
COPY csrc csrc
COPY export export
COPY python python
ARG REVISION=unknown
RUN echo "$REVISION" > REVISION \
 && MRI2PET_CUDA=OFF /build/bin/pip wheel --no-deps -w /wheels . \
 && /build/bin/pip --python /opt/mri2pet/bin/python install /wheels/*.whl

FROM ${BASE}
ARG REVISION=unknown
LABEL org.opencontainers.image.title="mri2pet" \
      org.opencontainers.image.description="Synthetic AV45 PET from a T1-weighted MRI, as a BIDS app; not for clinical use" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
RUN apt-get update \
 && apt-get install -y --no-install-recommends libgomp1 libstdc++6 python3 \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/mri2pet /opt/mri2pet
# All that is written besides the results goes to /tmp, so the root may be read-only.
ENV PATH=/opt/mri2pet/bin:/usr/local/bin:/usr/bin:/bin \
    TMPDIR=/tmp MPLCONFIGDIR=/tmp/matplotlib XDG_CACHE_HOME=/tmp/cache \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# Nobody's number: without a name, a home or a right to write anywhere in the image.
USER 65532:65532
ENTRYPOINT ["mri2pet-bids"]
