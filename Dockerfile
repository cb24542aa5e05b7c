# One image for every role: `python -m service` (the API), `python -m worker`, and the migration.
FROM python:3.11-slim AS build
WORKDIR /src
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev
COPY pyproject.toml setup.py README.md LICENSE ./
COPY chainrule chainrule
COPY service service
COPY worker worker
COPY migrations migrations
RUN python -m venv /opt/chainrule && /opt/chainrule/bin/pip install --no-cache-dir '.[service]'

FROM python:3.11-slim
COPY --from=build /opt/chainrule /opt/chainrule
RUN useradd --system --uid 10001 --create-home chainrule && install -d -o chainrule /data
ENV PATH=/opt/chainrule/bin:$PATH PYTHONUNBUFFERED=1 \
    CHAINRULE_DATA_DIR=/data CHAINRULE_HOST=0.0.0.0 CHAINRULE_PORT=8000 \
    OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1
USER chainrule
VOLUME /data
EXPOSE 8000
CMD ["python", "-m", "service"]
