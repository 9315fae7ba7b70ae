"""When to try again."""

from perdure.core.definition import RetryPolicy

# Lost attempts at one step (its worker fell silent, or the server stopped in mid-call) after which no further one is
# made, whatever the step's own retry policy: a loss is no failure (E7), and one or several in a row are workers and
# servers being replaced. Ten at the same step are the step's own doing, e.g. a tool that exhausts the memory, and each
# may take down all else that its process was working on.
MOST_LOST = 10
# So many of them are taken again at once: what is seen after an ordinary crash is that the work goes on.
LOST_WITHOUT_WAIT = 3
# Then 1, 2, 4, 8, 16 and 32 s: a minute in all, in which other work gets through.
_BETWEEN_LOSSES = RetryPolicy(max_attempts=MOST_LOST, delay_ms=1_000, jitter=0.0)


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


def retake_at(losses: int, now_ms: int) -> int | None:
    """The time of the next attempt after *losses* lost ones (at least 1, under `MOST_LOST`); None: at once."""
    if losses <= LOST_WITHOUT_WAIT:
        return None
    return retry_at(_BETWEEN_LOSSES, losses - LOST_WITHOUT_WAIT, now_ms, 0.5)
