"""How long a provider asks to wait: the headers `retry-after-ms` and `Retry-After`."""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime


def retry_after_ms(headers: Mapping[str, str], now_ms: int) -> int | None:
    """The wait that the headers (names in lower case) ask for, in milliseconds; None when they ask for none.

    `Retry-After` is seconds or a date, which is compared with *now_ms*, wall time.
    """
    try:
        if "retry-after-ms" in headers:
            return max(0, int(float(headers["retry-after-ms"])))
        value = headers.get("retry-after")
        if value is None:
            return None
        if value.strip().replace(".", "", 1).isdigit():
            return int(float(value) * 1000)
        return max(0, int(parsedate_to_datetime(value).timestamp() * 1000) - now_ms)
    except (ValueError, OverflowError):
        return None
