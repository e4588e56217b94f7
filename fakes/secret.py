"""The channel secret with which every channel calls the fakes."""

from __future__ import annotations

from typing import Any

from . import aws, slack, solapi, webhook

RATE_PER_S = 200
"""The rate of the demo's webhook, for all channels: their defaults are the low rates of new accounts."""

PROVIDERS = {
    "solapi": "kakao",
    "aws-sms": "sms",
    "ses": "email",
    "sns": "push",
    "slack": "slack",
    "webhook": "webhook",
}
"""The names of the fakes in their book, and the channel that each serves."""


def secret(url: str) -> dict[str, Any]:
    """Return the secret with all fakes at `url`."""
    common = {"endpoint_url": url, "rate_per_s": RATE_PER_S}
    return {
        "kakao": {"api_key": solapi.API_KEY, "api_secret": solapi.API_SECRET, "pf_id": solapi.PF_ID} | common,
        "sms": {"provider": "aws", "from": aws.ORIGINATION} | common,
        "email": {
            "from": f"온결 <shop@{aws.SENDER}>",
            "configuration_set": "shop",
            "unsubscribe_url": f"https://{aws.SENDER}/unsubscribe?n={{id}}",
        }
        | common,
        "push": common,
        "slack": {"token": slack.TOKEN} | common,
        "webhook": {"url": url + webhook.PATH, "secret": webhook.SECRET},
    }
