"""The quality report as one self-contained HTML page: no script, no resource from outside, charts as inline SVG."""

from cracktrader.quality.html.page import render

__all__ = ["render"]
