"""What a model may know when a half hour begins."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def before_the_half_hour(table: pa.Table) -> pa.Table:
    """Add the calendar, and what the newest published half hour says about the price.

    A row's values follow from the row itself and from what the config joined to it, so that it
    does not matter how the rows are cut into shards.
    """
    at = table["at"]
    minutes = pc.add(pc.multiply(pc.hour(at), 60), pc.minute(at))
    hour = 2 * np.pi * minutes.to_numpy() / (24 * 60)
    added = {
        "day": pc.strftime(at, "%Y-%m-%d"),
        "hour_sin": pa.array(np.sin(hour)),
        "hour_cos": pa.array(np.cos(hour)),
        "weekday": pc.day_of_week(at),
        "over_day": pc.subtract(table["price"], table["price_day"]),
        "over_week": pc.subtract(table["price"], table["price_week"]),
        "yesterday_over_day": pc.subtract(table["price_yesterday"], table["price_day"]),
        "demand_ahead": pc.subtract(table["demand_yesterday"], table["demand"]),
    }
    for name, values in added.items():
        table = table.append_column(name, values)
    return table
