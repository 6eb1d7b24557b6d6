"""The containers' health check: `python answers.py URL` ends with 0 if a GET of URL is answered with success."""

from __future__ import annotations

import sys
import urllib.request


def main(url: str) -> int:
    """Ask once, without the proxies of the environment."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=4) as answer:
            return 0 if answer.status < 300 else 1
    except OSError as error:  # URLError and HTTPError are OSErrors
        sys.stderr.write(f"{url} does not answer: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
