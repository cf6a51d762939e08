# The image of head and workers. KubeRay runs `ray start` in it and asks with bash, wget and grep
# whether it is alive.
#
#   docker build -t spheroserve .
#
# torch comes with CUDA. For nodes without a GPU, gigabytes less:
#
#   docker build --build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu .
#
# BASE names another image with Python 3.11 on Debian, such as the copy in a registry of your own.
# scripts/try_image runs what was built as the pods do.

ARG BASE=python:3.11.17-slim-trixie@sha256:45037981b62b34b44602584fccbc4d884d5f7dc92c7ee86bb38a698a79fe1e51

FROM ${BASE} AS build
ARG PIP_EXTRA_INDEX_URL=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv --without-pip /opt/spheroserve
WORKDIR /src
# The dependencies are a layer of their own, which a change of our code leaves as it is.
COPY pyproject.toml constraints.txt scripts/requirements ./
RUN ./requirements s3 > requirements.txt \
    && pip --python /opt/spheroserve/bin/python install \
       --constraint constraints.txt --requirement requirements.txt
COPY README.md LICENSE ./
COPY configs configs
COPY deployments deployments
COPY serve_app serve_app
RUN pip --python /opt/spheroserve/bin/python install --no-deps .

FROM ${BASE}
RUN apt-get update \
    && apt-get install --yes --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin spheroserve
COPY --from=build /opt/spheroserve /opt/spheroserve
# The root file system is read-only in the cluster: what libraries cache goes to /tmp.
ENV PATH=/opt/spheroserve/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RAY_USAGE_STATS_ENABLED=0
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
CMD ["spheroserve", "up", "--host", "0.0.0.0"]
