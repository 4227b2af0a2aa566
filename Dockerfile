# tgrpo and everything it needs, for CPUs and NVIDIA GPUs. Pictures are drawn through EGL, without a screen.
#
#   docker build -t tgrpo .                                     # torch with CUDA
#   docker build -t tgrpo:cpu --build-arg TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu .
#   docker run --rm -it --gpus all -v tgrpo-cache:/cache -v "$PWD/runs:/tgrpo/runs" tgrpo \
#       python -m tgrpo_trainer train --recipe quickstart       # leave out --gpus without one
FROM python:3.12-slim-bookworm

ARG TORCH_INDEX_URL=
WORKDIR /tgrpo
COPY . .
# As root the script installs Mesa and glvnd for OpenGL too. NVIDIA's container runtime brings the driver's EGL library,
# and glvnd finds it by this file.
RUN TGRPO_TORCH_INDEX_URL=$TORCH_INDEX_URL scripts/setup.sh \
    && rm -rf /var/lib/apt/lists/* /root/.cache \
    && mkdir -p /usr/share/glvnd/egl_vendor.d \
    && printf '{"file_format_version": "1.0.0", "ICD": {"library_path": "libEGL_nvidia.so.0"}}\n' \
        > /usr/share/glvnd/egl_vendor.d/10_nvidia.json

ENV PATH=/tgrpo/.venv/bin:$PATH \
    NVIDIA_DRIVER_CAPABILITIES=compute,graphics,utility \
    TGRPO_CACHE=/cache
VOLUME /cache
CMD ["python", "-m", "tgrpo_trainer", "--help"]
