"""Usage and cost of calls.

Importing this package is cheap: prices are loaded when the first price is asked for.
"""

from typing import TYPE_CHECKING

from genledger.pricing.cost import UNPRICED_REASONS as UNPRICED_REASONS
from genledger.pricing.cost import Cost as Cost
from genledger.pricing.cost import CostSource as CostSource
from genledger.pricing.cost import Part as Part
from genledger.pricing.usage import INPUT_BUCKETS as INPUT_BUCKETS
from genledger.pricing.usage import OUTPUT_BUCKETS as OUTPUT_BUCKETS
from genledger.pricing.usage import TOKEN_BUCKETS as TOKEN_BUCKETS
from genledger.pricing.usage import Usage as Usage
from genledger.shared.lazy import lazy

if TYPE_CHECKING:
    from genledger.pricing.calculate import Recorded as Recorded
    from genledger.pricing.calculate import backfill as backfill
    from genledger.pricing.calculate import max_price as max_price
    from genledger.pricing.calculate import price as price
    from genledger.pricing.calculate import warn_rejected as warn_rejected
    from genledger.pricing.calculate import warn_unpriced as warn_unpriced
    from genledger.pricing.estimate import estimate_tokens as estimate_tokens
    from genledger.pricing.price_file import PriceFileError as PriceFileError
    from genledger.pricing.price_file import configure as configure
    from genledger.pricing.price_file import load_overrides as load_overrides
    from genledger.pricing.price_file import override as override
    from genledger.pricing.quotes import Quote as Quote
    from genledger.pricing.quotes import quote as quote
    from genledger.pricing.readers.reading import Reading as Reading
    from genledger.pricing.readers.reading import read_usage as read_usage
    from genledger.pricing.response import cost_of_response as cost_of_response
else:  # hidden from type checkers, which would take every name for one of these
    __getattr__ = lazy(
        __name__,
        {
            "calculate": "Recorded backfill max_price price warn_rejected warn_unpriced",
            "estimate": "estimate_tokens",
            "price_file": "PriceFileError configure load_overrides override",
            "quotes": "Quote quote",
            "readers.reading": "Reading read_usage",
            "response": "cost_of_response",
        },
    )
