"""The docket: every night's open comparisons, which no statement may change or remove."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

TABLE = "docket_entry"


def upgrade() -> None:
    """Create the table and the triggers that keep it append-only."""
    op.create_table(
        TABLE,
        sa.Column("model", sa.String(256), primary_key=True),
        sa.Column("night", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("run_id", sa.String(256), nullable=False),
        sa.Column("challenger", sa.String(64), nullable=False),
        sa.Column("dataset", sa.String(64), nullable=False),
        sa.Column("docket", sa.Text, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("prev_hash", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    op.create_index(
        "docket_entry_once_a_run", TABLE, ["model", "run_id", "challenger"], unique=True
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            f"CREATE TRIGGER {TABLE}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {TABLE} "
            "FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only()"
        )
        return
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {TABLE}_no_{verb.lower()} BEFORE {verb} ON {TABLE} "
            "BEGIN SELECT RAISE(ABORT, 'the docket is append-only'); END"
        )


def downgrade() -> None:
    """There is no way back: the docket only grows."""
    raise NotImplementedError("The docket only grows.")
