from datetime import UTC, datetime

from storage.session import last_session

LAST = last_session(datetime(2026, 11, 1, tzinfo=UTC))
