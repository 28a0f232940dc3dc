# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     notebook_metadata_filter: kernelspec,-jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your first retraining loop
#
# Ten minutes, offline, on real data: scikit-learn's handwritten digits arrive in two batches.
# The first one makes a champion. The second one makes a challenger, which is promoted only if
# it is proven better on the same held-out images.

# %%
import os
import tempfile

# Ratchet writes below `.ratchet` in the current folder: a new, empty one for this notebook.
os.chdir(tempfile.mkdtemp(prefix="first-retrain-"))

# %%
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
from sklearn.datasets import load_digits

import feature_store
from feature_store import FeatureView
from flows.bootstrap import open_project
from flows.retrain import retrain

# %% [markdown]
# ## Data arrives
# A **feature view** says whom a row is about, when it became true, what a model may learn from,
# and what it shall predict. Every `append` is one version: it arrives whole, or not at all.

# %%
pixels = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
view = FeatureView(
    name="digits",
    entities=("image_id",),
    event_time="taken_at",
    features=tuple(pixels),
    label="digit",
)

settings = open_project().settings
store = feature_store.connect(settings.feature_store)
store.create(view)
store.views()

# %%
images, digits = load_digits(return_X_y=True)
order = np.random.default_rng(0).permutation(len(digits))


def batch(day: int, rows: np.ndarray) -> pa.Table:
    """The images of one day, one every few minutes."""
    begin, step = datetime(2026, 3, day, tzinfo=UTC), timedelta(days=1) / len(rows)
    times = [begin + step * i for i in range(len(rows))]
    columns = {"image_id": rows, "taken_at": times, "digit": digits[rows]}
    return pa.table(columns | {name: images[rows, i] for i, name in enumerate(pixels)})


store.append("digits", batch(1, order[:160]))

# %% [markdown]
# ## The flow
# Solid lines carry values from task to task, dotted ones only the order, dashed ones a condition:
# the model is promoted, or the run halts and says why. `extract`, `train` and `evaluate` run on Ray.

# %%
retrain

# %% [markdown]
# ## The first run
# `start` takes overrides as the command line does, or as keywords. It returns at once, and the
# picture follows the run. The first run also starts a Ray of its own, which takes some seconds.

# %%
choices = (
    "features=digits",
    "trainer=logistic",
    "features.holdout.fraction=0.3",
    "features.holdout.min_rows=40",
    "gate=single_night",  # one test a night, at a twelfth of the year's error budget
    "gate.planned=12",
    "gate.min_rows=40",
    "gate.floors={accuracy: 0.7}",
)
run = retrain.start(*choices)

# %%
run.wait()

# %% [markdown]
# There was no champion to beat, so the model had to be surely better than always saying the same
# digit, and to keep the floor: at least 70 % of the held-out images read correctly. The **verdict** holds the decision and every figure behind it.

# %%
first = run.verdict
print(first.decision, "-", first.reason)

# %%
run.logs("train")

# %% [markdown]
# ## Who is live?
# Any MLflow client can tell: the model's alias `champion`.

# %%
from mlflow import MlflowClient

client = MlflowClient(settings.registry.tracking_uri)
champion = client.get_model_version_by_alias("digits", "champion")
print(f"digits v{champion.version}:", champion.tags["ratchet.reason"])

# %% [markdown]
# ## More data, and a challenger
# 900 more images. The challenger is trained on all that is known but the newest part, and then
# both models read images that neither has seen.

# %%
store.append("digits", batch(2, order[160:1060]))
run = retrain.start(*choices)

# %%
run.wait()

# %%
second = run.verdict
print(second.decision, "-", second.reason)
print(f"champion   {second.baseline:.3f} on {second.rows} images that neither has seen")
print(f"challenger {second.challenger_score:.3f}")

# %%
champion = client.get_model_version_by_alias("digits", "champion")
print(f"digits v{champion.version} is live")

# %% [markdown]
# ## Nothing new
# A run without new data is skipped, and says so. Nothing is trained twice on the same rows.

# %%
run = retrain.start(*choices, show=False).wait()
print(run.status, "-", run.reason)

# %% [markdown]
# ## What next
# - Another estimator: `retrain.start("features=digits", "trainer=random_forest")`, or
#   `trainer=xgboost`.
# - The same from a terminal, in this notebook's folder: `ratchet runs`, `ratchet show last`,
#   `ratchet ledger digits --verify`, `ratchet rollback digits --reason "..."`.
# - Your own data: write `conf/features/mine.yaml` and `conf/flow/retrain.yaml` in a folder of
#   yours, and start from there.
# - Your own flow: `from flows import flow, task, when`. A flow that is written in a notebook runs
#   there too, in threads.
