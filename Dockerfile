# jacoscope in a container, on the CPU or on a GPU:
#   docker build -t jacoscope .                                    docker build -t jacoscope --build-arg TORCH=cuda .
#   docker run --rm -v "$PWD/logs:/jacoscope/logs" jacoscope       (add --gpus all)
#   docker run --rm -v "$PWD/logs:/jacoscope/logs" -p 6006:6006 jacoscope make board ARGS="--host 0.0.0.0"
FROM python:3.12-slim
ARG TORCH=cpu
# Debian keeps one version of a package: a pinned one would soon be gone.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends git make && rm -rf /var/lib/apt/lists/*
WORKDIR /jacoscope
# torch first, in a layer of its own: it is large and seldom changes. The default wheels have CUDA.
RUN python -m venv .venv && \
    case "$TORCH" in \
        cpu) set -- --index-url https://download.pytorch.org/whl/cpu ;; \
        cuda) set -- ;; \
        *) echo "TORCH=$TORCH: type cpu or cuda" && exit 1 ;; \
    esac && \
    .venv/bin/pip install --no-cache-dir torch torchvision "$@"
COPY . .
RUN make .venv/.installed
CMD ["make", "train"]
