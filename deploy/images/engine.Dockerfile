# SGLang, on a GPU (target gpu) or on a CPU with the shim of rollout/engine/sglang/server (target cpu).
FROM python:3.11-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 HF_HUB_OFFLINE=1
RUN useradd --create-home --uid 10001 turngate
WORKDIR /app
EXPOSE 30000
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:30000/health', timeout=2)"]

FROM base AS cpu
ARG PIP_EXTRA_INDEX_URL=
COPY deploy/requirements/engine-cpu.txt deploy/requirements/engine-cpu-nodeps.txt deploy/requirements/
RUN pip install --requirement deploy/requirements/engine-cpu.txt \
  && pip install --no-deps --requirement deploy/requirements/engine-cpu-nodeps.txt
COPY rollout/__init__.py rollout/logs.py rollout/ready_file.py rollout/
COPY rollout/engine/__init__.py rollout/engine/__init__.py
COPY rollout/engine/sglang/__init__.py rollout/engine/sglang/__init__.py
COPY rollout/engine_server rollout/engine_server
COPY rollout/engine/sglang/server rollout/engine/sglang/server
USER 10001
ENV OMP_NUM_THREADS=1
ENTRYPOINT ["python", "-m", "rollout.engine_server", "--host", "0.0.0.0", "--port", "30000"]

FROM base AS gpu
# SGLang compiles kernels at run time, which needs a C++ compiler; versions follow the base image's Debian release.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends build-essential libnuma1 \
  && rm -rf /var/lib/apt/lists/*
RUN pip install sglang==0.5.23
COPY rollout/__init__.py rollout/logs.py rollout/ready_file.py rollout/
COPY rollout/engine/__init__.py rollout/engine/__init__.py
COPY rollout/engine/sglang/__init__.py rollout/engine/sglang/__init__.py
COPY rollout/engine_server rollout/engine_server
COPY rollout/engine/sglang/server rollout/engine/sglang/server
USER 10001
ENTRYPOINT ["python", "-m", "rollout.engine_server", "--host", "0.0.0.0", "--port", "30000"]
