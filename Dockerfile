# CPU:  docker build -t yolox-jax .
# GPU:  docker build -t yolox-jax --build-arg EXTRAS=cuda13 .     (also cuda12, cuda12-v100; several as onnx,cuda13)
#
# Without arguments, the container trains on generated shapes for a few minutes (configs/quickstart.py). Arguments are
# those of yolox-jax. On GPUs, add `--gpus all`, and for worker processes `--shm-size 8g`:
#   docker run --rm -v "$PWD:/data" --gpus all yolox-jax train --data mine/data.yaml --workdir runs/mine
FROM python:3.12-slim-bookworm

ARG EXTRAS=""

WORKDIR /opt/yolox_jax
COPY pyproject.toml README.md LICENSE ./
COPY configs configs
COPY yolox_jax yolox_jax
# jax's wheels bring CUDA; the host has the driver and the NVIDIA Container Toolkit. The package has no version to pin,
# because it is the one copied above.
# hadolint ignore=DL3013
RUN pip install --no-cache-dir ".${EXTRAS:+[${EXTRAS}]}" \
    && useradd --create-home --uid 1000 yolox \
    && install --directory --owner=yolox /data

USER 1000
WORKDIR /data
ENTRYPOINT ["yolox-jax"]
CMD ["train", "--config", "quickstart", "--workdir", "runs/quickstart"]
