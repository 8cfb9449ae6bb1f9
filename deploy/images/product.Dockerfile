# The gateway and the trainer. Build from the repository root:
#   docker build -f deploy/images/product.Dockerfile --target gateway -t turngate-gateway .
# pip takes its indexes from the build arguments, so that a CPU-only build of torch can be chosen.
FROM python:3.11-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 OMP_NUM_THREADS=1
RUN useradd --create-home --uid 10001 turngate && install -d -o turngate /data /weights
WORKDIR /app
COPY LICENSE ./
COPY deploy/requirements/gateway.txt deploy/requirements/product.txt deploy/requirements/

FROM base AS gateway
RUN pip install --requirement deploy/requirements/gateway.txt
COPY rollout rollout
COPY gateway gateway
USER 10001
ENV TURNGATE_GATEWAY_HOST=0.0.0.0 TURNGATE_GATEWAY_PORT=8080 TURNGATE_GATEWAY_METRICS_PORT=9464
EXPOSE 8080 9464
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["python", "-m", "gateway"]

FROM base AS trainer
# On a GPU Megatron compiles its fused activation at first use; versions follow the base image's Debian release.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev \
  && rm -rf /var/lib/apt/lists/*
ARG PIP_EXTRA_INDEX_URL=
RUN pip install --requirement deploy/requirements/product.txt
COPY rollout rollout
COPY trainer trainer
USER 10001
ENV TURNGATE_TRAINER_METRICS_HOST=0.0.0.0 TURNGATE_TRAINER_METRICS_PORT=9465 TURNGATE_TRAINER_CHECKPOINT_DIR=/data ONEDNN_PRIMITIVE_CACHE_CAPACITY=64 LRU_CACHE_CAPACITY=64
EXPOSE 9465
ENTRYPOINT ["python", "-m", "trainer"]
