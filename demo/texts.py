"""The texts of the shop: Korean, of every length, with places for names, goods and numbers; and its faulty messages."""

from __future__ import annotations

from random import Random
from typing import Any

_WORDS = {
    "name": ("김서연", "이도윤", "박하은", "최지호", "정수아", "강민준", "조예린", "윤시우", "장다인", "임건우", "한소율"),
    "item": (
        "캐시미어 블렌드 싱글 코트", "울 핸드메이드 자켓", "오버핏 코듀로이 셔츠", "와이드 데님 팬츠", "터틀넥 니트",
        "크롭 패딩 점퍼", "플리츠 미디 스커트", "램스울 가디건", "첼시 부츠", "버킷백", "캔버스 스니커즈", "실크 스카프",
    ),
    "color": ("블랙", "아이보리", "차콜", "카멜", "네이비", "버건디"),
    "size": ("S", "M", "L", "FREE"),
    "place": ("문 앞", "경비실", "무인택배함", "직접 수령"),
    "courier": ("한빛택배", "누리로지스", "새벽배송"),
}  # fmt: skip


def fill(random: Random, template: dict[str, Any]) -> dict[str, str]:
    """Return a notification's content: one of the template's bodies with its places filled."""
    values: dict[str, Any] = {name: random.choice(words) for name, words in _WORDS.items()}
    price = random.randrange(19, 390) * 1000 + 900
    values |= {
        "price": f"{price:,}",
        "half": f"{price // 2 // 100 * 100:,}",
        "order": f"20201111-{random.randrange(10**6):06}",
        "code": f"{random.randrange(10**6):06}",
        "card": f"{random.randrange(10**4):04}",
    }
    content = {"title": template["title"]} if "title" in template else {}
    return content | {"body": random.choice(template["bodies"]).format(**values)}


PURCHASE: dict[str, dict[str, Any]] = {
    "ordered": {
        "source": "orders",
        "via": ("producer", "event"),
        "title": "주문이 접수되었습니다",
        "bodies": (
            "{name}님, 주문해 주셔서 감사합니다.\n\n▶ 주문번호: {order}\n▶ 상품: {item} ({color}/{size})\n▶ 결제예정금액: {price}원"
            "\n\n가상계좌로 주문하신 경우 24시간 안에 입금해 주세요. 기한이 지나면 주문이 자동으로 취소됩니다.",
            "{name}님의 주문({order})을 확인했어요. {item}을(를) 정성껏 준비할게요!",
        ),
    },
    "paid": {
        "source": "payments",
        "via": ("producer", "event"),
        "title": "결제가 완료되었습니다",
        "bodies": (
            "{name}님, {price}원 결제가 완료되었습니다.\n주문번호 {order}\n결제수단 신용카드(****-{card}) 일시불",
            "결제완료 {price}원 · {item}",
        ),
    },
    "shipped": {
        "source": "delivery",
        "via": ("sqs", "event"),
        "title": "상품이 출고되었습니다",
        "bodies": (
            "{name}님, 주문하신 {item} ({color}/{size})이(가) {courier}로 출고되었습니다. 송장번호는 주문 내역에서 확인하실 수 있으며, "
            "조회는 저녁 이후에 가능합니다. 도서·산간 지역은 하루 이틀 더 걸릴 수 있는 점 양해 부탁드립니다.",
            "출고 완료! {courier} · {item}",
        ),
    },
    "delivered": {
        "source": "delivery",
        "via": ("sqs", "event"),
        "title": "배송이 완료되었습니다",
        "bodies": (
            "{name}님, 상품을 {place}에 안전하게 두었습니다. 7일 이내에 구매를 확정해 주세요.",
            "배송 완료: {place}. 교환이나 반품은 수령 후 7일 안에 마이페이지에서 신청하실 수 있습니다. 착용하거나 택을 제거한 상품은 "
            "교환·반품이 어려우니 꼭 확인해 주세요.",
        ),
    },
    "refunded": {
        "source": "payments",
        "via": ("producer", "sqs"),
        "title": "환불이 완료되었습니다",
        "bodies": (
            "{name}님, {order} 주문의 {item} 환불({price}원)이 처리되었습니다. 카드사에 따라 실제 취소까지 3~5영업일이 걸릴 수 있습니다.",
            "환불 {price}원 처리 완료",
        ),
    },
}  # fmt: skip

LOGIN_CODE = {"bodies": ("[온결] 인증번호 {code}를 입력해 주세요. 타인에게 절대 알려주지 마세요.",)}

CART = {
    "title": "(광고) 장바구니에 담아둔 상품이 있어요",
    "bodies": (
        "{name}님, {item} ({color}) 재고가 얼마 남지 않았어요. 지금 주문하면 내일 출고됩니다.\n\n무료수신거부 080-000-0000",
        "아직 고민 중이신가요? {item}, 오늘까지 {half}원!\n무료수신거부 080-000-0000",
    ),
}

BACK_IN_STOCK = {
    "bodies": (
        "(광고) 재입고 {item} {color}/{size}\n\n무료수신거부 080-000-0000",
        "(광고) 기다리시던 {item}이(가) 다시 들어왔어요. 수량이 많지 않아요!\n\n무료수신거부 080-000-0000",
    )
}

_UNSUBSCRIBE = "\n\n무료수신거부 080-000-0000"

# `request`: how many notifications one request carries. `pause_s`: the time between two requests.
CAMPAIGNS: tuple[dict[str, Any], ...] = (
    {
        "name": "early-bird", "customers": 150, "at_s": -30.0, "request": 150, "pause_s": 0, "via": "producer",
        "title": "(광고) 밤 9시 전에 만나는 얼리버드 혜택",
        "bodies": ("{name}님께만 먼저 알려드려요. {item} 얼리버드 특가 {half}원!" + _UNSUBSCRIBE,),
    },
    {
        "name": "last-call", "customers": 90, "at_s": -8.0, "request": 30, "pause_s": 2, "via": "producer",
        "title": "(광고) 오늘의 쿠폰이 곧 사라져요",
        "bodies": ("{name}님의 15% 쿠폰이 자정에 만료됩니다. {item}에도 쓸 수 있어요." + _UNSUBSCRIBE,),
    },
    {
        "name": "night-sale", "customers": 700, "at_s": 4.0, "request": 700, "pause_s": 0, "via": "producer",
        "title": "(광고) 심야 특가, 오늘 밤 단 세 시간",
        "bodies": (
            "{name}님, 밤 12시까지만 열리는 심야 특가!\n\n● {item} {price}원 → {half}원\n● 전 상품 무료배송\n● 첫 구매 고객 추가 5,000원 할인"
            "\n\n인기 색상 {color}은(는) 빠르게 품절될 수 있어요. 지금 바로 앱에서 확인해 보세요." + _UNSUBSCRIBE,
            "심야 특가 시작! {item} {half}원" + _UNSUBSCRIBE,
        ),
    },
    {
        "name": "live-show", "customers": 70, "at_s": 6.0, "request": 70, "pause_s": 0, "via": "producer",
        "expires_at_s": 45,
        "title": "(광고) 라이브 방송이 곧 시작돼요",
        "bodies": ("잠시 후 라이브에서 {item}을(를) 처음 공개합니다. 시청만 해도 적립금 1,000원!" + _UNSUBSCRIBE,),
    },
    {
        "name": "new-week", "customers": 450, "at_s": 22.0, "request": 150, "pause_s": 3, "via": "producer",
        "title": "(광고) 이번 주 신상, 지금 막 올라왔어요",
        "bodies": (
            "{name}님의 취향에 맞춰 골랐어요.\n\n1. {item} ({color})\n2. {item} ({size} 사이즈 한정 수량)\n\n신상 위크 동안 모든 신상품 10% 할인과 "
            "함께 룩북을 보내드립니다. 스타일링이 고민이라면 앱의 코디 추천을 열어 보세요. 마음에 드는 상품을 찜해 두면 가격이 내려갈 때 먼저 "
            "알려드릴게요." + _UNSUBSCRIBE,
            "신상 위크 OPEN · {item} {price}원" + _UNSUBSCRIBE,
        ),
    },
    {
        "name": "wishlist", "customers": 140, "at_s": 12.0, "request": 10, "pause_s": 2.5, "via": "event",
        "title": "(광고) 찜한 상품의 가격이 내려갔어요",
        "bodies": ("{item} {price}원 → {half}원. 찜한 지 30일이 지난 상품이에요." + _UNSUBSCRIBE,),
    },
    {
        "name": "good-morning", "customers": 100, "at_s": 66.0, "request": 100, "pause_s": 0, "via": "producer",
        "title": "(광고) 좋은 아침이에요",
        "bodies": ("{name}님, 오늘 기온에는 {item}이(가) 딱이에요. 오전 주문은 오늘 출고!" + _UNSUBSCRIBE,),
    },
)  # fmt: skip

_LONG = "아" * 11_000

# How each is sent, and its fault: a value replaces a field, None removes it.
FAULTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("producer", {"channel": "카카오톡"}),
    ("producer", {"channel": None}),
    ("producer", {"category": "promo"}),
    ("producer", {"category": "Advertising"}),
    ("producer", {"id": "order 20201111 0001"}),
    ("producer", {"id": "주문-1"}),
    ("producer", {"id": "x" * 129}),
    ("producer", {"content": None}),
    ("producer", {"content": {}}),
    ("producer", {"content": {"title": "제목만 있어요"}}),
    ("producer", {"content": {"body": 12900}}),
    ("producer", {"content": {"body": _LONG}}),
    ("producer", {"content": {"body": "벨소리\u0007"}}),
    ("producer", {"content": {"body": "안녕하세요", "html": "<b>안녕하세요</b>"}}),
    ("producer", {"priority": "high"}),
    ("producer", {"night_consent": True}),
    ("producer", {"expires_at": "2020-11-12T12:00:00"}),
    ("producer", {"expires_at": "내일"}),
    ("producer", {"expires_at": "2020-11-12T12:00:00+09:00"}),
    ("producer", {"address": None}),
    ("producer", {"address": ""}),
    ("producer", {"address": "https://example.com/hook"}),
    ("producer", {"recipient_id": 42}),
    ("producer", {"metadata": ["vip"]}),
    ("sqs", {"channel": "katalk"}),
    ("sqs", {"category": 1}),
    ("sqs", {"content": "결제가 완료되었습니다"}),
    ("sqs", {"address": 1012345678}),
    ("sqs", {"send_at": "08:00"}),
    ("sqs", {"expires_at": "2020-11-12 12:00"}),
    ("event", {"channel": "fax"}),
    ("event", {"content": {"body": ""}}),
    ("event", {"source": {"service": "payments"}}),
    ("event", {"opted_out": False}),
)

NOT_JSON = (
    '{"id":"cut-off:paid","channel":"webhook","content":{"body":"결제가 완료',
    "결제가 완료되었습니다",
    "[]",
)
