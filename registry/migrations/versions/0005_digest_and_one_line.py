"""What a champion was, by its digest; and chains that cannot fork, whoever appends at once."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

LINES = {"ledger_entry": "ledger_entry_one_line", "watch_entry": "watch_entry_one_line"}


def upgrade() -> None:
    """Add the column, and let one row follow each row.

    A chain that forked before stays as it is, and `ratchet ledger --verify` goes on to say so.
    """
    op.add_column("ledger_entry", sa.Column("digest", sa.String(128)))
    for table, name in LINES.items():
        forks = sa.text(
            f"SELECT 1 FROM {table} GROUP BY model, prev_hash HAVING count(*) > 1 LIMIT 1"
        )
        if op.get_bind().execute(forks).first() is None:
            op.create_index(name, table, ["model", "prev_hash"], unique=True)


def downgrade() -> None:
    """There is no way back: the ledger only grows."""
    raise NotImplementedError("The ledger only grows.")
