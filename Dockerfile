# Grading inside a container, for machines without bubblewrap, for macOS and Windows, and for Gradescope.
#
#   python -m build --wheel                    # or take the wheel of a release: dist/semanticbm-*.whl
#   docker build -t semanticbm .
#   docker run --rm --network none --security-opt seccomp=unconfined -v "$PWD/submissions:/submissions:ro" \
#       -v "$PWD/out:/out" semanticbm /submissions --held-out --json /out/points.json
#
# Docker's filter of system calls forbids what bubblewrap needs, so it is taken off; the sandbox inside has a stricter one.
# On Ubuntu add --security-opt apparmor=unconfined. The network is needed to build the image, not to run it. The folder
# `out` must be writable for the user 1000.
FROM python:3.12-slim-bookworm
RUN apt-get update && apt-get install --yes --no-install-recommends bubblewrap && rm -rf /var/lib/apt/lists/*
COPY constraints.txt dist/semanticbm-*.whl /build/
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
        --constraint /build/constraints.txt /build/semanticbm-*.whl && rm -r /build
RUN useradd --uid 1000 --create-home teacher && mkdir /out && chown teacher /out
USER teacher
ENV XDG_CACHE_HOME=/tmp HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
ENTRYPOINT ["python", "-I", "-m", "semanticbm", "grade"]
