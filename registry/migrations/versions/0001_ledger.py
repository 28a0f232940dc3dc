"""The ledger and its settlements, which no statement may change or remove."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TABLES = ("ledger_entry", "ledger_settlement")


def upgrade() -> None:
    """Create both tables and the triggers that keep them append-only."""
    op.create_table(
        "ledger_entry",
        sa.Column("model", sa.String(256), primary_key=True),
        sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("previous_version", sa.String(64)),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("verdict", sa.Text),
        sa.Column("run_id", sa.String(256)),
        sa.Column("actor", sa.String(256), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("prev_hash", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    op.create_index(
        "ledger_entry_once_a_run",
        "ledger_entry",
        ["model", "run_id", "action", "version"],
        unique=True,
    )
    op.create_table(
        "ledger_settlement",
        sa.Column("model", sa.String(256), primary_key=True),
        sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.ForeignKeyConstraint(["model", "epoch"], ["ledger_entry.model", "ledger_entry.epoch"]),
    )
    if op.get_bind().dialect.name == "postgresql":
        _refuse_in_postgresql()
    else:
        _refuse_in_sqlite()


def downgrade() -> None:
    """There is no way back: the ledger only grows."""
    raise NotImplementedError("The ledger only grows.")


def _refuse_in_sqlite() -> None:
    for table in TABLES:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
            )


def _refuse_in_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$"
    )
    for table in TABLES:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only()"
        )
