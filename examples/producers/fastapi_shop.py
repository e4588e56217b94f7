"""FastAPI: it invokes the producer, whose answer says if the notification is sent now or held, and until when."""

import json
import os
from typing import Any

import boto3
from fastapi import FastAPI, HTTPException

app = FastAPI()
functions = boto3.client("lambda")


@app.post("/coupons/{coupon}", status_code=202)
def send_coupon(coupon: str, customer: str) -> dict[str, Any]:
    """Ask for a notification, and pass on the answer. FastAPI runs a function without `async` in a thread."""
    notification = {
        "id": f"coupon-{coupon}:{customer}",
        "category": "advertising",
        "channel": "webhook",
        "address": customer,
        "content": {"title": "(광고) 쿠폰", "body": f"쿠폰 {coupon}. 무료수신거부 080-000-0000"},
    }
    answer = functions.invoke(FunctionName=os.environ["PRODUCER_FUNCTION_NAME"], Payload=json.dumps(notification))
    said: dict[str, Any] = json.load(answer["Payload"])
    if not said.get("accepted"):
        raise HTTPException(422 if "rejected" in said else 502, said)
    return dict(said["accepted"][0])
