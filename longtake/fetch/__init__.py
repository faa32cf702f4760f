"""A user's URL → bytes, safely."""

from longtake.fetch.addresses import is_allowed, parse_networks
from longtake.fetch.fetcher import Fetched, Fetcher, check_url, decode_data, is_data_url
from longtake.fetch.guard import FetchRules, guarded_client

__all__ = [
    "FetchRules",
    "Fetched",
    "Fetcher",
    "check_url",
    "decode_data",
    "guarded_client",
    "is_allowed",
    "is_data_url",
    "parse_networks",
]
