"""What servers of one database must know of each other: facts of the database, and the films that are made."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    facts = op.create_table(
        "facts",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("value", sa.String(100), nullable=False),
    )
    op.bulk_insert(facts, [{"name": "models", "value": ""}, {"name": "folder", "value": ""}])
    op.create_table(
        "films",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False, unique=True),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("model", sa.String(100), nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("size", sa.String(40), nullable=False),
        sa.Column("seconds", sa.String(40), nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("status", sa.String(20), nullable=False, index=True),
        sa.Column("completed", sa.Float),
        sa.Column("error", sa.JSON),
        sa.Column("server", sa.String(64), nullable=False),
    )
    op.create_index("films_of_a_tenant", "films", ["tenant", "number"])
