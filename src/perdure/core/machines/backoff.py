"""When to try again."""

from perdure.core.definition import RetryPolicy


def retry_at(
    policy: RetryPolicy, failures: int, now_ms: int, jitter: float, retry_after_ms: int | None = None
) -> int:
    """The time of the next attempt after *failures* failed ones (at least 1).

    *jitter* is a random number from 0 up to 1; the wait varies by `policy.jitter` of itself in both directions
    (the even spread of the AWS Architecture Blog's "Exponential Backoff and Jitter", bounded). A provider's
    `retry_after_ms` is honoured as the least wait, and only lengthened by the jitter.
    """
    if policy.backoff == "fixed":
        wait = float(policy.delay_ms)
    elif policy.backoff == "linear":
        wait = float(policy.delay_ms * failures)
    else:
        wait = float(policy.delay_ms * 2 ** min(failures - 1, 30))
    wait = min(wait, float(policy.max_delay_ms))
    if retry_after_ms is not None and retry_after_ms >= wait:
        return now_ms + retry_after_ms + int(policy.delay_ms * policy.jitter * jitter)
    return now_ms + max(0, int(wait * (1 + policy.jitter * (2 * jitter - 1))))
