"""The one stage that takes secrets and personal data out of every text, before any destination sees it."""

from genledger.engine.content.redaction.stage import FAILED, MAX_MESSAGE, MAX_NAME, Redactor, stage, use

__all__ = ["FAILED", "MAX_MESSAGE", "MAX_NAME", "Redactor", "stage", "use"]
