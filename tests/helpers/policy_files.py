"""A policy file of one's own, for tests."""

from __future__ import annotations

from pathlib import Path

OWN = """
title = "Acme"
citation = "Acme's marketing handbook, chapter 4"
date = 2026-11-27
standing = "own rule"
[[closures]]
name = "evening"
days = ["weekdays"]
from = "18:00"
to = "09:00"
categories = ["advertising"]
except_channels = ["email"]
opened_by = "night consent"
"""


def write(folder: Path, text: str = OWN, name: str = "acme") -> Path:
    (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return folder
