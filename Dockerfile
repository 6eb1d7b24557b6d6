# Two images: `worker` (worker, setup and every command) and `standin` (the stand-in of cidaas, for the example only).
# The Python of requirements/runtime.txt; glibc on x86_64, because Faust's compiled stream iterator has no other wheel.
FROM python:3.11-slim-bookworm AS python
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PATH=/venv/bin:$PATH

FROM python AS requirements
RUN python -m venv /venv
COPY requirements/runtime.txt /requirements/
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /requirements/runtime.txt

FROM requirements AS standin-requirements
COPY requirements/dev.txt /requirements/
# bcrypt only, with the hashes of dev.txt: the stand-in verifies passwords.
RUN sed -n '/^bcrypt==/,/[^\\]$/p' /requirements/dev.txt > /requirements/standin.txt \
 && pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /requirements/standin.txt

FROM python AS app
WORKDIR /app
RUN useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin cidaas-sync \
 && install -d -o cidaas-sync -g cidaas-sync -m 700 /data
COPY deploy/answers.py deploy/
VOLUME /data

FROM app AS standin
COPY --from=standin-requirements /venv /venv
COPY demo/__init__.py demo/
COPY demo/standin/ demo/standin/
USER 10001
ENTRYPOINT ["python", "-m", "demo.standin"]
CMD ["--host", "0.0.0.0", "--port", "8070", "--data", "/data/users"]

FROM app AS worker
COPY --from=requirements /venv /venv
COPY pipeline.toml ./
COPY streams/ streams/
USER 10001
ENV APP_DATADIR=/data WEB_BIND=0.0.0.0
EXPOSE 6066
CMD ["faust", "-A", "streams.app", "worker", "-l", "info"]
