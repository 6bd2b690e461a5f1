# The program stackone-lms, for a user without rights. Data goes to /data, the folder in which it starts.
ARG PYTHON=3.13
FROM python:${PYTHON}-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY stackone_lms ./stackone_lms
RUN python -m venv /opt/stackone-lms \
    && /opt/stackone-lms/bin/pip install --no-cache-dir '.[cli,tls,redis,duckdb,arrow,otel]'

FROM python:${PYTHON}-slim
COPY --from=build /opt/stackone-lms /opt/stackone-lms
RUN useradd --create-home --uid 10001 stackone \
    && install --directory --owner stackone --group stackone /data
ENV PATH=/opt/stackone-lms/bin:$PATH \
    PYTHONUNBUFFERED=1
USER stackone
WORKDIR /data
ENTRYPOINT ["stackone-lms"]
CMD ["--help"]
