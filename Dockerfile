# edgekit with PyTorch on the CPU, also as a node of a Ray cluster (docs/cluster.md).
# Every node of a cluster has to have the same image: it is held against edgekit's own code.

FROM python:3.12-slim AS build
RUN pip install --no-cache-dir uv
WORKDIR /src
COPY pyproject.toml constraints-dev.txt README.md CHANGELOG.md LICENSE ./
COPY edgekit edgekit
COPY converters converters
COPY clients clients
COPY compilers compilers
COPY sources sources
RUN uv venv /opt/edgekit \
    && uv pip install --python /opt/edgekit/bin/python --no-cache --torch-backend cpu \
        --constraints constraints-dev.txt '.[torch,validate,ray]'

FROM python:3.12-slim
# Bubblewrap confines converters where the kernel has no Landlock.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends bubblewrap \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 edgekit \
    && install --directory --owner edgekit --group edgekit /var/lib/edgekit /work
COPY --from=build /opt/edgekit /opt/edgekit
ENV PATH=/opt/edgekit/bin:$PATH \
    EDGEKIT_HOME=/var/lib/edgekit \
    RAY_USAGE_STATS_ENABLED=0
# The environments of converters: built once, kept.
VOLUME /var/lib/edgekit
USER edgekit
WORKDIR /work
CMD ["edgekit", "--help"]
