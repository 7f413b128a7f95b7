"""Work is done once: keys that derive themselves, storage, locks, pruning."""

from app.memo.store import Memo as Memo
