# robustood for CPUs: docker build --tag robustood . && docker run --rm --volume "$PWD:/app" robustood run --detector gat
FROM python:3.12-slim

# PyTorch from its own index: the one of PyPI brings CUDA, about 5 GB. A layer of its own, which changes of the code keep.
# hadolint ignore=DL3013  # the package's own bounds choose versions; a pinned environment is requirements/test.lock
RUN pip install --no-cache-dir torch torchvision --index-url https://download.pytorch.org/whl/cpu

COPY . /src
RUN pip install --no-cache-dir /src && useradd --create-home --uid 1000 bench

USER 1000
WORKDIR /app
ENTRYPOINT ["bench"]
CMD ["--help"]
